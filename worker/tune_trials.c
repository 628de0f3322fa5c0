/* The parts of a tuning that try settings: learning rate and distillation, augmentation, a new task's head.
 */
#include "worker/tuner.h"

#include "worker/halving.h"
#include "worker/range_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHORT_SHARE 2 /* a first trial is this part of an epoch ... */
#define SHORT_MIN 100 /* ... within these steps */
#define SHORT_MAX 1000
#define LONG_TRIAL 4     /* times as long are the trials of augmentation */
#define HEAD_TRIAL 2     /* ... and of a head */
#define BUDGET_SHARE 0.3 /* of training.budget_s for trials */
#define ALL_TRIALS 50    /* first trials' lengths that all trials take, about */
#define STEPS_MIN 10     /* of a first trial */
#define CANDIDATES_MAX 16
#define FURTHER_MAX 4       /* rates beyond the three around the range test's */
#define AUGMENTED_COST 1.03 /* what augmentation may cost in a trial's loss */
#define SHIFT_SHARE 16      /* of an image's side */

/* ---- lengths ---- */

status tuner_set_lengths(struct tuner *t) {
    int64_t epoch = dataset_size(t->task.data, DATASET_TRAIN) / t->config->batch, steps = epoch / SHORT_SHARE;
    steps = steps < SHORT_MIN ? SHORT_MIN : steps > SHORT_MAX ? SHORT_MAX : steps;
    double budget = t->config->budget_s * BUDGET_SHARE / (ALL_TRIALS * t->tuning->step_s);
    if (t->config->budget_s > 0 && budget < (double)steps)
        steps = budget > STEPS_MIN ? (int64_t)budget : STEPS_MIN;
    t->steps = steps;
    return SUCCESS;
}

static status make_teacher(struct tuner *t, bool augment, struct teacher **teacher) {
    const struct tune_task *s = t->source;
    int64_t classes = shape_sample_count(&s->source->value[s->source->output[0]]);
    struct teacher_options options = {
        .variants = teacher_variants(dataset_size(t->task.data, DATASET_TRAIN), classes, augment),
        .batch = 64,
        .augment = augment};
    return teacher_create(t->machine, s->source, s->source_params, t->task.data, &options, teacher);
}

status tuner_plain_teacher(struct tuner *t) {
    if (!t->source || t->teacher) return SUCCESS;
    STATUS_TRY(comm_agree(t->machine->world, make_teacher(t, false, &t->teacher)));
    return teacher_begin_epoch(t->teacher, t->machine, 0);
}

/* ---- learning rate and distillation ---- */

struct candidate {
    double rate, distillation, temperature;
};

struct candidates {
    struct tuner *tuner;
    struct candidate list[CANDIDATES_MAX];
};

static status try_candidate(void *context, const struct machine *machine, int i, int64_t budget,
                            double *score) {
    const struct candidates *all = context;
    struct training_config config = *all->tuner->config;
    struct train_task task = all->tuner->task;
    struct trial_result result;
    config.schedule.rate = all->list[i].rate;
    config.loss.distillation = all->list[i].distillation;
    config.loss.temperature = all->list[i].temperature;
    task.config = &config;
    task.augment = false;
    task.teacher = all->tuner->teacher;
    STATUS_TRY(trial_run(machine, &task, budget, &result, NULL));
    *score = result.score;
    return SUCCESS;
}

/* Pairs of a weight of the source's outputs and a temperature; returns how many. */
static int distillations(const struct tuner *t, struct candidate pair[4]) {
    static const struct candidate usual[] = {{0, 0.9, 2}, {0, 0.5, 2}, {0, 0.9, 4}, {0, 0.5, 4}};
    const struct loss_config *loss = &t->config->loss;
    bool weight = loss->distillation < 0, temperature = loss->temperature == 0 && loss->distillation != 0;
    int n = 0;
    for (int i = 0; i < 4; i++) {
        if ((i & 1 && !weight) || (i & 2 && !temperature)) continue;
        pair[n] = usual[i];
        if (!weight) pair[n].distillation = loss->distillation;
        if (!temperature) pair[n].temperature = loss->temperature > 0 ? loss->temperature : 1;
        n++;
    }
    return n;
}

/* The loss in which rates are tested: the first pair's. */
static status test_range(struct tuner *t, const struct candidate *with, const int64_t *thaw,
                         struct range_test *range) {
    struct training_config config = *t->config;
    struct train_task task = t->task;
    config.loss.distillation = with->distillation;
    config.loss.temperature = with->temperature;
    task.config = &config;
    task.augment = false;
    task.teacher = t->teacher;
    if (thaw) task.thaw = thaw;
    STATUS_TRY(range_test(t->machine, &task, range));
    LOG_EVENT(t->machine->log, "range_test", {"rate", range->rate, NULL}, {"least_at", range->least_at, NULL},
              {"fall", range->fall, NULL}, {"start", range->start, NULL},
              {"doubled_at", range->doubled_at, NULL});
    return SUCCESS;
}

static void tell_range(struct tuner *t, const struct range_test *r) {
    char doubled[64] = "and was never doubled";
    if (isfinite(r->doubled_at)) snprintf(doubled, sizeof doubled, "and was doubled at %.2g", r->doubled_at);
    tuner_tell(
        t, "range test over %lld steps: the loss of %.3g fell most, by %.2g, at a learning rate of %.2g, %s",
        (long long)r->steps, r->start, r->fall, r->least_at, doubled);
}

/* Halves the candidates down to one. */
static status choose(struct candidates *all, int n, struct candidate *chosen, double *score, double *worst) {
    struct tuner *t = all->tuner;
    double scores[CANDIDATES_MAX] = {0};
    int best = 0;
    struct halving halving = {
        .n = n, .budget = t->steps, .score = try_candidate, .context = all, .scores = scores};
    STATUS_TRY(halving_run(t->machine, &halving, &best));
    *chosen = all->list[best];
    *score = *worst = scores[best];
    for (int i = 0; i < n; i++) {
        if (isfinite(scores[i])) *worst = fmax(*worst, scores[i]);
        LOG_EVENT(t->machine->log, "candidate", {"rate", all->list[i].rate, NULL},
                  {"distillation", all->list[i].distillation, NULL},
                  {"temperature", all->list[i].temperature, NULL}, {"last_loss", scores[i], NULL});
    }
    return SUCCESS;
}

/* The rate that is best of three may be the first or the last: goes on in that direction while it gains. */
static status go_on(struct candidates *all, double factor, struct candidate *chosen, double *score) {
    for (int i = 0; i < FURTHER_MAX; i++) {
        double further = INFINITY;
        struct halving once = {.n = 1,
                               .budget = 2 * all->tuner->steps, /* as the last of the three had */
                               .score = try_candidate,
                               .context = all,
                               .scores = &further};
        all->list[0] = *chosen;
        all->list[0].rate *= factor;
        STATUS_TRY(halving_score_all(all->tuner->machine, &once));
        tuner_tell(all->tuner, "learning rate %.3g: hold-out loss %.4f after %.4f with %.3g",
                   all->list[0].rate, further, *score, chosen->rate);
        if (!(further < *score)) return SUCCESS;
        *chosen = all->list[0];
        *score = further;
    }
    return SUCCESS;
}

/* One of three rates around the range test's, or further out. */
static status choose_rate(struct tuner *t, const struct candidate *with) {
    static const double factor[] = {1, 1.0 / 3, 3};
    struct candidates all = {.tuner = t};
    struct candidate chosen;
    struct range_test range;
    double score, worst;
    if (t->config->schedule.rate > 0) return SUCCESS;
    STATUS_TRY(test_range(t, with, NULL, &range));
    tell_range(t, &range);
    for (int i = 0; i < 3; i++) {
        all.list[i] = *with;
        all.list[i].rate = range.rate * factor[i];
    }
    double least = all.list[1].rate, most = all.list[2].rate;
    STATUS_TRY(choose(&all, 3, &chosen, &score, &worst));
    if (chosen.rate == least) STATUS_TRY(go_on(&all, factor[1], &chosen, &score));
    else if (chosen.rate == most) STATUS_TRY(go_on(&all, factor[2], &chosen, &score));
    t->config->schedule.rate = chosen.rate;
    tuner_tell(
        t,
        "training.schedule.rate %.3g: the best on the hold-out part, loss %.4f (the worst: %.4f), beginning "
        "with %.3g to %.3g, in trials of %lld steps and more",
        chosen.rate, score, worst, least, most, (long long)t->steps);
    return SUCCESS;
}

static status choose_distillation(struct tuner *t, const struct candidate *pair, int n) {
    struct candidates all = {.tuner = t};
    struct candidate chosen = pair[0];
    double score, worst;
    for (int i = 0; i < n; i++) {
        all.list[i] = pair[i];
        all.list[i].rate = t->config->schedule.rate;
    }
    if (n > 1) {
        STATUS_TRY(choose(&all, n, &chosen, &score, &worst));
        tuner_tell(
            t,
            "training.loss.distillation %g, training.loss.temperature %g: best of %d on the hold-out part, "
            "loss %.4f (the worst: %.4f), in trials of %lld steps and more",
            chosen.distillation, chosen.temperature, n, score, worst, (long long)t->steps);
    }
    t->config->loss.distillation = chosen.distillation;
    t->config->loss.temperature = chosen.temperature;
    return SUCCESS;
}

status tuner_choose_rate(struct tuner *t) {
    struct candidate pair[4];
    int npairs = distillations(t, pair);
    if (t->config->loss.distillation != 0) STATUS_TRY(tuner_plain_teacher(t));
    STATUS_TRY(choose_rate(t, &pair[0]));
    return choose_distillation(t, pair, npairs);
}

/* ---- augmentation ---- */

struct augmentations {
    struct tuner *tuner;
    const struct augmentation *list;
    int64_t steps;
};

static status try_augmentation(void *context, const struct machine *machine, int i, int64_t budget,
                               double *score) {
    const struct augmentations *all = context;
    struct tuner *t = all->tuner;
    struct train_task task = t->task;
    struct trial_result result;
    struct teacher *teacher = NULL;
    const struct augmentation *a = &all->list[i];
    bool changes = a->flip || a->shift, distils = t->source && t->config->loss.distillation > 0;
    status error = dataset_augment(task.data, a);
    if (!error && changes && distils) error = make_teacher(t, true, &teacher);
    error = comm_agree(machine->world, error);
    task.augment = changes;
    task.teacher = changes ? teacher : t->teacher;
    if (!error) error = trial_run(machine, &task, budget, &result, NULL);
    if (!error) *score = result.score;
    teacher_destroy(&teacher);
    return error;
}

/* Trials side by side, one of each. */
static status try_all(struct tuner *t, const struct augmentation *list, int n, int64_t steps,
                      double *scores) {
    struct augmentations all = {t, list, steps};
    return halving_score_all(
        t->machine,
        &(struct halving){
            .n = n, .budget = steps, .score = try_augmentation, .context = &all, .scores = scores});
}

status tuner_choose_augmentation(struct tuner *t) {
    static const char *const name[] = {"none", "flips", "shifts", "flips and shifts"};
    int64_t steps = LONG_TRIAL * t->steps;
    int64_t side = dataset_image_side(t->task.data), shift = side / SHIFT_SHARE > 1 ? side / SHIFT_SHARE : 1;
    struct augmentation list[] = {{false, 0}, {true, 0}, {false, shift}, {true, shift}};
    double score[4];
    int best = 0;
    if (!t->augment || side <= shift) return SUCCESS;
    if (t->config->loss.distillation > 0) STATUS_TRY(tuner_plain_teacher(t));
    STATUS_TRY(try_all(t, list, 4, steps, score));
    STATUS_TRY(dataset_augment(t->task.data, &list[0]));
    double most = AUGMENTED_COST * score[0];
    if (score[3] <= most) best = 3;
    else if (fmin(score[1], score[2]) <= most) best = score[1] <= score[2] ? 1 : 2;
    for (int i = 0; i < 4; i++)
        LOG_EVENT(t->machine->log, "augmentation", {"flip", list[i].flip, NULL},
                  {"shift", (double)list[i].shift, NULL}, {"loss", score[i], NULL});
    tuner_tell(
        t,
        "data.flip %s, data.shift %lld: hold-out loss after %lld steps %.4f, with flips %.4f, shifts %.4f, "
        "both %.4f; %s, as the most that costs less than %.0f %% so early",
        list[best].flip ? "true" : "false", (long long)list[best].shift, (long long)steps, score[0], score[1],
        score[2], score[3], name[best], 100 * (AUGMENTED_COST - 1));
    t->tuning->augmentation = list[best];
    return SUCCESS;
}

/* ---- a new task's head ---- */

/* The first epoch in which a weight is trained: none but the head's are. Owned. */
static status head_alone(const struct tuner *t, int64_t **thaw) {
    void *memory = NULL;
    int n = t->task.graph->nparams;
    STATUS_TRY(memory_alloc("frozen weights", (size_t)n, sizeof(int64_t), &memory));
    *thaw = memory;
    for (int i = 0; i < n; i++) (*thaw)[i] = t->head[i] ? 0 : INT64_MAX;
    return SUCCESS;
}

static status train_head(struct tuner *t, const int64_t *thaw, struct params *trained) {
    struct training_config config = *t->config;
    struct train_task task = t->task;
    struct trial_result result;
    config.schedule.rate = t->head_rate;
    task.config = &config;
    task.thaw = thaw;
    task.augment = false;
    return trial_run(t->machine, &task, HEAD_TRIAL * t->steps, &result, trained);
}

static status compare_heads(struct tuner *t, struct params *headed) {
    struct training_config config = *t->config;
    struct train_task task = t->task;
    struct trial_result whole, first;
    struct range_test range;
    struct params *start = t->task.params;
    task.config = &config;
    task.augment = false;
    if (config.schedule.rate == 0) {
        t->task.params = headed;
        status error = test_range(t, &(struct candidate){0, 0, 1}, NULL, &range);
        t->task.params = start;
        STATUS_TRY(error);
        config.schedule.rate = range.rate;
    }
    STATUS_TRY(trial_run(t->machine, &task, HEAD_TRIAL * t->steps, &whole, NULL));
    task.params = headed;
    STATUS_TRY(trial_run(t->machine, &task, HEAD_TRIAL * t->steps, &first, NULL));
    t->head_first = first.score < whole.score;
    tuner_tell(t,
               "the new task's layer %s: hold-out loss %.4f with it trained alone at first, %.4f without, "
               "%lld steps each",
               t->head_first ? "is trained alone at first" : "is trained together with the others",
               first.score, whole.score, (long long)(HEAD_TRIAL * t->steps));
    if (t->head_first) memcpy(start->data, headed->data, (size_t)start->total * sizeof(float));
    return SUCCESS;
}

status tuner_try_head(struct tuner *t) {
    int64_t *thaw = NULL;
    struct params *headed = NULL;
    struct range_test range;
    if (!t->head || t->task.thaw) return SUCCESS;
    status error = head_alone(t, &thaw);
    if (!error) error = params_clone(t->task.params, &headed);
    error = comm_agree(t->machine->world, error);
    if (!error) error = test_range(t, &(struct candidate){0, 0, 1}, thaw, &range);
    if (!error) t->head_rate = range.rate;
    if (!error) error = train_head(t, thaw, headed);
    if (!error) error = compare_heads(t, headed);
    params_destroy(&headed);
    free(thaw);
    return error;
}

status tuner_train_head_again(struct tuner *t) {
    int64_t *thaw = NULL;
    struct params *headed = NULL;
    if (!t->head_first) return SUCCESS;
    status error = head_alone(t, &thaw);
    if (!error) error = params_clone(t->task.params, &headed);
    error = comm_agree(t->machine->world, error);
    if (!error) error = train_head(t, thaw, headed);
    if (!error) memcpy(t->task.params->data, headed->data, (size_t)headed->total * sizeof(float));
    params_destroy(&headed);
    free(thaw);
    return error;
}

/* ---- the end ---- */

status tuner_finish(struct tuner *t) {
    const struct augmentation *a = &t->tuning->augmentation;
    bool changes = a->flip || a->shift, distils = t->source && t->config->loss.distillation > 0;
    status error = dataset_augment(t->task.data, a);
    if (!error && distils && (changes || !t->teacher)) error = make_teacher(t, changes, &t->tuning->teacher);
    STATUS_TRY(comm_agree(t->machine->world, error));
    if (distils && !t->tuning->teacher) {
        t->tuning->teacher = t->teacher;
        t->teacher = NULL;
    }
    return SUCCESS;
}
