/* The tuner on small problems whose answers are known, on any number of ranks. Checks are on values reduced
 * over the ranks. */
#include "io/dataset_testing.h"

#include <math.h>
#include <signal.h>

#include "io/checkpoint.h"
#include "shared/rng.h"
#include "worker/nets.h"
#include "worker/evaluate.h"
#include "worker/range_test.h"
#include "worker/tune.h"

#define SIDE 8

static struct comm *world, *node, *self;
static struct log *quiet;

static char sgd[] = "sgd", adamw[] = "adamw", cosine[] = "cosine", frozen[] = "frozen",
            cross_entropy[] = "cross_entropy", squared[] = "mean_squared_error";

static void all_true(bool mine) {
    bool any_false = false;
    assert_null(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

static int make_shared_folder(void **state) {
    int made = comm_is_root(world) ? make_test_folder(state) : 0;
    status error = comm_bcast(world, 0, test_folder, sizeof test_folder);
    return error ? -1 : made;
}

static int remove_shared_folder(void **state) {
    status error = comm_barrier(world);
    if (error) return -1;
    return comm_is_root(world) ? remove_test_folder(state) : 0;
}
#define IN_SHARED_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_shared_folder, remove_shared_folder)

/* ---- data and nets ---- */

/* Two classes, bright on the left or on the right (`sideways`), or above or below, under noise. Mirroring
 * left-right turns the classes of the first kind into each other. */
static void write_data(uint32_t n, bool sideways) {
    if (comm_is_root(world)) {
        uint8_t *bytes = malloc(16 + (size_t)n * SIDE * SIDE + n);
        assert_non_null(bytes);
        size_t used = idx_header(bytes, 0x08, 3, (uint32_t[]){n, SIDE, SIDE});
        for (uint32_t i = 0; i < n; i++) {
            struct rng rng = rng_make(5, 1, i);
            for (int y = 0; y < SIDE; y++)
                for (int x = 0; x < SIDE; x++) {
                    bool bright = (sideways ? x : y) / (SIDE / 2) == (int)(i % 2);
                    double v = 90 + 40 * bright + 60 * rng_normal(&rng);
                    bytes[used++] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
                }
        }
        write_bytes(in_folder("train-images-idx3-ubyte"), bytes, used);
        used = idx_header(bytes, 0x08, 1, (uint32_t[]){n});
        for (uint32_t i = 0; i < n; i++) bytes[used++] = (uint8_t)(i % 2);
        write_bytes(in_folder("train-labels-idx1-ubyte"), bytes, used);
        free(bytes);
    }
    must(comm_barrier(world));
}

static struct dataset *open_data(const struct comm *over) {
    char path[512], format[] = "idx";
    snprintf(path, sizeof path, "%s", test_folder);
    struct data_config config = make_config(format, path);
    config.holdout = -1;
    struct dataset *data = NULL;
    must(dataset_open(&config, &SHAPE(-1, SIDE, SIDE, 1), 2, 5, over, &data));
    return data;
}

static struct opgraph *net(int filters) {
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(-1, SIDE, SIDE, 1));
    x = net_relu(g, net_conv(g, x, 3, 3, filters, (struct window_options){.stride = {2, 2}}));
    x = net_dense(g, net_reshape(g, x, SHAPE(-1, net_count(g, x, 1))), 2, true);
    net_finish(g, 1, &x);
    return g;
}

static struct training_config automatic(void) {
    return (struct training_config){
        .epochs = -1,
        .batch_norm = frozen,
        .average = -1,
        .schedule = {.kind = cosine, .warmup = 0.05, .final = 0.01},
        .optimizer = {.kind = adamw, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 1e-4},
        .loss = {.kind = cross_entropy, .distillation = -1},
    };
}

static struct machine machine_of(const struct comm *over) {
    struct machine m = {.world = over, .node = over, .log = quiet, .threads = 1};
    must(engine_find("openblas", &m.engine));
    return m;
}

/* ---- range test ---- */

/* A linear model under squared error by plain gradient descent: steps diverge beyond 2 over the Hessian's
 * largest eigenvalue, which power iteration gives. */
static double largest_stable_rate(struct dataset *data) {
    enum { K = SIDE * SIDE + 1 };
    int64_t n = dataset_size(data, DATASET_TRAIN);
    float *x = malloc((size_t)n * SIDE * SIDE * sizeof *x);
    double v[K], value = 0;
    assert_non_null(x);
    read_range(data, DATASET_TRAIN, 0, n, x, NULL);
    for (int k = 0; k < K; k++) v[k] = 1;
    for (int round = 0; round < 100; round++) {
        double w[K] = {0}, norm = 0;
        for (int64_t i = 0; i < n; i++) {
            double dot = v[K - 1];
            for (int k = 0; k < K - 1; k++) dot += v[k] * x[i * (K - 1) + k];
            for (int k = 0; k < K - 1; k++) w[k] += dot * x[i * (K - 1) + k] / (double)n;
            w[K - 1] += dot / (double)n;
        }
        for (int k = 0; k < K; k++) norm += w[k] * w[k];
        value = sqrt(norm);
        for (int k = 0; k < K; k++) v[k] = w[k] / value;
    }
    free(x);
    /* The loss is the mean over two outputs: its Hessian is E[xx'] for each. */
    return 2 / value;
}

static void test_range(void **state) {
    (void)state;
    write_data(600, false);
    struct machine machine = machine_of(world);
    struct dataset *data = open_data(node);
    struct opgraph *g = net_create();
    int x = net_reshape(g, net_input(g, SHAPE(-1, SIDE, SIDE, 1)), SHAPE(-1, SIDE * SIDE));
    x = net_dense(g, x, 2, true);
    net_finish(g, 1, &x);
    struct params *params = net_params(g, 3);
    struct training_config c = automatic();
    c.batch = 60;
    c.optimizer = (struct optimizer_config){.kind = sgd};
    c.loss = (struct loss_config){.kind = squared, .temperature = 1};
    struct train_task task = {.config = &c, .seed = 2, .data = data, .graph = g, .params = params};
    struct range_test r;
    double limit = largest_stable_rate(data);
    must(range_test(&machine, &task, &r));
    if (!(r.least_at <= 4 * limit && r.rate >= limit / 50 && r.rate <= 2 * limit))
        print_error("rate %g, least at %g, limit %g\n", r.rate, r.least_at, limit);
    /* The loss falls for some steps more after the rate has passed the limit. */
    all_true(r.fall > 0 && r.least_at <= 4 * limit && r.rate >= limit / 50 && r.rate <= 2 * limit);
    all_true(r.doubled_at > limit / 2 && r.doubled_at < 30 * limit);
    params_destroy(&params);
    opgraph_destroy(&g);
    dataset_close(&data);
}

/* ---- settings ---- */

struct decided {
    struct training_config config;
    struct augmentation augmentation;
    char evidence[4096];
};

static struct decided tuned_with(const struct machine *machine, const struct comm *over,
                                 const struct training_config *c, bool distil, const char *file,
                                 const char *key) {
    struct dataset *data = open_data(over);
    struct opgraph *g = net(4), *source = net(8);
    struct params *params = net_params(g, 8), *before = NULL, *source_params = net_params(source, 9);
    must(params_clone(params, &before));
    struct tune_task task = {
        .train = {.config = c, .seed = 21, .data = data, .graph = g, .params = params, .checkpoint_key = key},
        .source = distil ? source : NULL,
        .source_params = source_params,
        .augment = true,
        .file = file,
    };
    struct tuning tuning;
    must(tune(machine, &task, &tuning));
    struct decided d = {tuning.config, tuning.augmentation, ""};
    struct augmentation now = dataset_augmentation(data);
    all_true(now.flip == d.augmentation.flip && now.shift == d.augmentation.shift);
    all_true((tuning.teacher != NULL) == (distil && d.config.loss.distillation > 0));
    all_true(!memcmp(params->data, before->data, (size_t)params->total * sizeof(float)));
    if (tuning.evidence) snprintf(d.evidence, sizeof d.evidence, "%s", tuning.evidence);
    tune_release(&tuning);
    params_destroy(&params);
    params_destroy(&before);
    params_destroy(&source_params);
    opgraph_destroy(&g);
    opgraph_destroy(&source);
    dataset_close(&data);
    return d;
}

static struct decided tuned(const struct comm *over, const struct training_config *c, bool distil) {
    struct machine machine = machine_of(over);
    return tuned_with(&machine, over == self ? NULL : node, c, distil, NULL, NULL);
}

/* Where mirroring destroys the labels it is not chosen; where it keeps them it is. */
static void test_flips(void **state) {
    (void)state;
    struct training_config c = automatic();
    c.batch = 16; /* not by timings */
    write_data(700, true);
    struct decided d = tuned(world, &c, false);
    all_true(!d.augmentation.flip);
    write_data(700, false);
    d = tuned(world, &c, false);
    all_true(d.augmentation.flip);
}

/* The same decisions on one rank and on all, and again. */
static void test_ranks_do_not_matter(void **state) {
    (void)state;
    write_data(600, false);
    struct training_config c = automatic();
    c.batch = 16;
    struct decided a = tuned(world, &c, true), b = tuned(self, &c, true), again = tuned(world, &c, true);
    all_true(a.config.schedule.rate == again.config.schedule.rate &&
             a.config.loss.distillation == again.config.loss.distillation &&
             a.config.loss.temperature == again.config.loss.temperature &&
             a.augmentation.flip == again.augmentation.flip &&
             a.augmentation.shift == again.augmentation.shift);
    all_true(fabs(a.config.schedule.rate - b.config.schedule.rate) <= 1e-9 * b.config.schedule.rate);
    all_true(a.config.loss.distillation == b.config.loss.distillation);
    all_true(a.config.loss.temperature == b.config.loss.temperature);
    all_true(a.config.schedule.rate > 0 && a.config.loss.distillation > 0 && a.config.loss.temperature > 0);
}

/* What is set stays, and is not tried. */
static void test_set_values_stay(void **state) {
    (void)state;
    write_data(300, false);
    struct training_config c = automatic();
    c.batch = 30;
    c.schedule.rate = 0.0123;
    c.loss.temperature = 7;
    struct decided d = tuned(world, &c, true);
    all_true(d.config.batch == 30 && d.config.schedule.rate == 0.0123 && d.config.loss.temperature == 7);
    all_true(d.config.loss.distillation == 0.5 || d.config.loss.distillation == 0.9);
    all_true(!strstr(d.evidence, "range test") && strstr(d.evidence, "training.loss.distillation"));
    c.batch = 0;
    d = tuned(world, &c, false);
    all_true(d.config.batch >= 8 && d.config.batch <= 16); /* 270 samples: 28 steps need 9 */
    all_true(d.config.loss.distillation == 0);
}

/* A right rate trains to a good accuracy, and training by cycles ends; with a budget it ends in time. */
static void train_whole(double budget_s, struct train_result *result, double *seconds) {
    struct machine machine = machine_of(world);
    struct dataset *data = open_data(node);
    struct opgraph *g = net(4);
    struct params *params = net_params(g, 8);
    struct training_config c = automatic();
    double start = comm_time();
    c.batch = 16;
    c.budget_s = budget_s;
    struct tune_task task = {.train = {.config = &c, .seed = 21, .data = data, .graph = g, .params = params},
                             .augment = true};
    struct tuning tuning;
    must(tune(&machine, &task, &tuning));
    struct train_task trained = task.train;
    trained.config = &tuning.config;
    trained.augment = tuning.augmentation.flip || tuning.augmentation.shift;
    trained.spent_s = tuning.seconds;
    trained.step_s = tuning.step_s;
    must(train(&machine, &trained, result));
    *seconds = comm_time() - start;
    struct evaluation e;
    must(evaluate(&machine, g, params, data, DATASET_HOLDOUT, &e));
    all_true(e.accuracy == result->holdout_accuracy);
    tune_release(&tuning);
    params_destroy(&params);
    opgraph_destroy(&g);
    dataset_close(&data);
}

static void test_whole_training(void **state) {
    (void)state;
    struct train_result whole, again, short_one;
    double seconds, short_seconds;
    write_data(1200, false);
    train_whole(0, &whole, &seconds);
    all_true(whole.holdout_accuracy > 0.85); /* one half is chance */
    int64_t first = 6;                       /* 400 steps of 67 an epoch */
    all_true(whole.epochs == first || whole.epochs == 3 * first || whole.epochs == 7 * first ||
             whole.epochs == 15 * first || whole.epochs == 31 * first);
    train_whole(0, &again, &seconds);
    all_true(again.epochs == whole.epochs && again.train_loss == whole.train_loss);
    /* A tenth of the time it took: no cycle fits, and training is cut short to less than the first one. */
    double budget = seconds / 10;
    must(comm_bcast(world, 0, &budget, sizeof budget));
    train_whole(budget, &short_one, &short_seconds);
    all_true(short_one.epochs < whole.epochs && short_one.epochs >= 1);
}

/* ---- going on ---- */

static void stop_at_first_decision(void *data, int rank, const char *phase, const char *event,
                                   const struct log_figure *figures, int n) {
    (void)rank, (void)phase, (void)figures, (void)n;
    const int *stop_rank = data;
    if (!strcmp(event, "range_test") && comm_rank(world) == *stop_rank) raise(SIGTERM);
}

/* Decisions that are kept are taken again; SIGTERM ends tuning on all ranks. */
static void test_resumed(void **state) {
    (void)state;
    write_data(500, false);
    struct training_config c = automatic();
    struct machine machine = machine_of(world);
    char path[600];
    c.batch = 16;
    snprintf(path, sizeof path, "%s", in_folder("decisions"));
    struct decided a = tuned_with(&machine, node, &c, true, path, "key"),
                   b = tuned_with(&machine, node, &c, true, path, "key"),
                   other = tuned_with(&machine, node, &c, true, path, "another run");
    all_true(strstr(other.evidence, "range test") != NULL);
    all_true(strstr(b.evidence, "as found before") && !strstr(b.evidence, "range test"));
    all_true(a.config.schedule.rate == b.config.schedule.rate && a.config.batch == b.config.batch &&
             a.config.loss.distillation == b.config.loss.distillation &&
             a.config.loss.temperature == b.config.loss.temperature &&
             a.augmentation.flip == b.augmentation.flip && a.augmentation.shift == b.augmentation.shift);
    int stopped = comm_size(world) - 1;
    struct log *stopping = NULL;
    must(log_create(comm_rank(world), LOG_ERROR, &stopping));
    log_listen(stopping, stop_at_first_decision, &stopped);
    machine.log = stopping;
    struct dataset *data = open_data(node);
    struct opgraph *g = net(4);
    struct params *params = net_params(g, 8);
    struct tune_task task = {.train = {.config = &c, .seed = 1, .data = data, .graph = g, .params = params}};
    struct tuning tuning;
    status error = tune(&machine, &task, &tuning);
    all_true(status_code(error) == STATUS_CHECKPOINTED);
    status_drop(&error);
    params_destroy(&params);
    opgraph_destroy(&g);
    dataset_close(&data);
    log_destroy(&stopping);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = comm_split_node(world, &node);
    if (!error) error = comm_split(world, comm_rank(world), 0, &self);
    if (!error) error = log_create(comm_rank(world), LOG_ERROR, &quiet);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        IN_SHARED_FOLDER(test_range),           IN_SHARED_FOLDER(test_flips),
        IN_SHARED_FOLDER(test_set_values_stay), IN_SHARED_FOLDER(test_ranks_do_not_matter),
        IN_SHARED_FOLDER(test_whole_training),  IN_SHARED_FOLDER(test_resumed),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    log_destroy(&quiet);
    comm_destroy(&self);
    comm_destroy(&node);
    comm_stop(&world);
    return failed;
}
