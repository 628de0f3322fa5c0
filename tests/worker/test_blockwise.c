/* Blockwise training of slices: against its formulas, over any stages of ranks, and what ends it early. */
#include "worker/slices_fixture.h"

#include <signal.h>

#include "io/checkpoint.h"
#include "worker/evaluate.h"
#include "worker/slice_run.h"
#include "worker/slice_state.h"

/* Trains a target from the usual start; the result is owned. */
static struct params *trained(const struct machine *machine, const struct nets *nets,
                              const struct training_config *config, struct slice_train_result *result) {
    struct dataset *data = open_data(machine->node, 0);
    struct params *params = net_params(nets->target, 8);
    struct slice_task task = {.config = config,
                              .epochs = config->epochs,
                              .seed = 21,
                              .data = data,
                              .augment = !strcmp(config->slices.cache, "off"),
                              .slicing = nets->slicing,
                              .load = slice_load,
                              .context = &(struct slice_models){nets->source_params, params},
                              .params = params};
    must(slice_train(machine, &task, result));
    dataset_close(&data);
    return params;
}

/* ---- formulas ---- */

#define PIXELS (SIDE * SIDE)
#define HIDDEN 2
#define WIDE 4
#define BATCH 20
#define MICRO 5
#define RATE 0.05

static const int64_t linear_kept[HIDDEN] = {1, 3};

/* Two dense layers without biases or activations. */
static struct opgraph *linear_net(int hidden, int *end) {
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(-1, SIDE, SIDE, 1));
    x = net_reshape(g, x, SHAPE(-1, PIXELS));
    x = *end = net_dense(g, x, hidden, false);
    x = net_dense(g, x, CLASSES, false);
    net_finish(g, 1, &x);
    return g;
}

static void product(int64_t n, int64_t k, int64_t m, const double *a, const float *w, double *out) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) {
            out[i * m + j] = 0;
            for (int64_t l = 0; l < k; l++) out[i * m + j] += a[i * k + l] * (double)w[l * m + j];
        }
}

/* w -= rate * scale * aT (found - wanted) */
static void descend(int64_t n, int64_t k, int64_t m, const double *a, const double *found,
                    const double *wanted, double scale, float *w) {
    for (int64_t l = 0; l < k; l++)
        for (int64_t j = 0; j < m; j++) {
            double sum = 0;
            for (int64_t i = 0; i < n; i++) sum += a[i * k + l] * (found[i * m + j] - wanted[i * m + j]);
            w[l * m + j] -= (float)(RATE * scale * sum);
        }
}

/* One step on samples x (BATCH, PIXELS) by the header's words: the first slice towards the source's hidden
 * values, relative to their size in each micro-batch; the second towards its logits. */
static void formula_step(const double *x, const struct params *source, bool own, float *w1, float *w2) {
    double wide[BATCH * WIDE], wanted[BATCH * HIDDEN], logits[BATCH * CLASSES], found[BATCH * HIDDEN],
        out[BATCH * CLASSES];
    product(BATCH, PIXELS, WIDE, x, params_at(source, 0), wide);
    product(BATCH, WIDE, CLASSES, wide, params_at(source, 1), logits);
    for (int i = 0; i < BATCH; i++)
        for (int j = 0; j < HIDDEN; j++) wanted[i * HIDDEN + j] = wide[i * WIDE + linear_kept[j]];
    product(BATCH, PIXELS, HIDDEN, x, w1, found);
    for (int m = 0; m < BATCH / MICRO; m++) {
        double size = 0;
        int64_t at = (int64_t)m * MICRO;
        for (int i = 0; i < MICRO * HIDDEN; i++) size += wanted[at * HIDDEN + i] * wanted[at * HIDDEN + i];
        descend(MICRO, PIXELS, HIDDEN, x + at * PIXELS, found + at * HIDDEN, wanted + at * HIDDEN,
                2.0 * MICRO / BATCH / size, w1);
    }
    const double *input = own ? found : wanted;
    product(BATCH, HIDDEN, CLASSES, input, w2, out);
    descend(BATCH, HIDDEN, CLASSES, input, out, logits, 2.0 / CLASSES / BATCH, w2);
}

static void check_formula(const struct engine *engine, double progressive, const char *stages) {
    int wide_end, end;
    char squares[] = "mean_squared_error";
    struct nets nets = {.source = linear_net(WIDE, &wide_end), .target = linear_net(HIDDEN, &end)};
    nets.source_params = net_params(nets.source, 99);
    struct boundary *candidate = calloc(1, sizeof *candidate);
    assert_non_null(candidate);
    *candidate = (struct boundary){wide_end, end, malloc(sizeof linear_kept)};
    memcpy(candidate->column, linear_kept, sizeof linear_kept);
    must(slicing_create(nets.source, nets.target, true, 1, candidate, &nets.slicing));
    struct training_config c = config_of(1, BATCH);
    c.slices.micro_batches = BATCH / MICRO;
    c.schedule.rate = RATE;
    c.optimizer = (struct optimizer_config){.kind = sgd};
    c.loss = (struct loss_config){.kind = squares, .distillation = 1, .temperature = 1};
    c.slices.progressive = progressive;
    c.slices.stages = text_of(stages);
    struct machine machine = machine_of(engine, world);
    struct dataset *data = open_data(node, 0);
    struct params *params = net_params(nets.target, 8), *wanted = net_params(nets.target, 8);
    struct slice_task task = {.config = &c,
                              .epochs = 1,
                              .seed = 21,
                              .data = data,
                              .slicing = nets.slicing,
                              .load = slice_load,
                              .context = &(struct slice_models){nets.source_params, params},
                              .params = params};
    struct slice_train_result result;
    must(slice_train(&machine, &task, &result));

    int64_t order[SAMPLES];
    float batch[BATCH * PIXELS];
    double x[BATCH * PIXELS];
    must(dataset_order(data, DATASET_TRAIN, 0, order));
    for (int step = 0; step < SAMPLES / BATCH; step++) {
        struct batch_request request = {.part = DATASET_TRAIN, .index = order + step * BATCH, .n = BATCH};
        must(dataset_read(data, &request, batch, NULL));
        for (int i = 0; i < BATCH * PIXELS; i++) x[i] = (double)batch[i];
        formula_step(x, nets.source_params, progressive > 0 && step > 0, params_at(wanted, 0),
                     params_at(wanted, 1));
    }
    all_true(close_params(params, wanted, 1e-5));
    params_destroy(&params);
    params_destroy(&wanted);
    dataset_close(&data);
    close_nets(&nets);
}

static void test_formula(void **state) {
    (void)state;
    write_data();
    static const char *const ways[4][2] = {
        {"2:1", "2:1"}, {"1:1 1:1", "2:2"}, {"1:2 1:1", "2:3"}, {"1:1 1:3", "1:2 1:2"}};
    for (int e = 0; e < engine_count(); e++)
        for (int i = 0; i < 2; i++) {
            check_formula(engine_at(e), 0, ways[comm_size(world) - 1][i]);
            check_formula(engine_at(e), 1e-9, ways[comm_size(world) - 1][i]); /* its own from step 1 on */
        }
}

/* ---- stages ---- */

static void compare_stages(const struct engine *engine, struct training_config *c) {
    struct nets nets = open_nets(true);
    struct machine alone = machine_of(engine, self), together = machine_of(engine, world);
    struct slice_train_result one, result;
    c->slices.stages = text_of("3:1");
    struct params *wanted = trained(&alone, &nets, c, &one);
    for (int i = 0; stages_at(comm_size(world), i); i++) {
        c->slices.stages = text_of(stages_at(comm_size(world), i));
        struct params *params = trained(&together, &nets, c, &result), *again = NULL;
        all_true(close_params(params, wanted, 1e-4) &&
                 fabs(result.boundary_error - one.boundary_error) <= 1e-4 * one.boundary_error &&
                 fabs(result.train_loss - one.train_loss) <= 1e-4 * one.train_loss);
        struct slice_train_result twice;
        again = trained(&together, &nets, c, &twice);
        all_true(!memcmp(again->data, params->data, (size_t)params->total * sizeof(float)));
        params_destroy(&again);
        params_destroy(&params);
    }
    /* By what slices take, whatever comes out; and as many stages as there can be. */
    char most[8];
    snprintf(most, sizeof most, "%d", comm_size(world) < NSLICES ? comm_size(world) : NSLICES);
    for (int i = 0; i < 2; i++) {
        c->slices.stages = i ? most : nothing;
        struct params *params = trained(&together, &nets, c, &result);
        all_true(close_params(params, wanted, 1e-4) && result.measured > 0 && result.bytes > 0 &&
                 result.balance > 0 && result.balance <= 1.0001);
        int stages = 1;
        for (const char *at = result.stages; (at = strchr(at, ' ')); at++) stages++;
        all_true(i == 0 || stages == atoi(most));
        params_destroy(&params);
    }
    params_destroy(&wanted);
    close_nets(&nets);
}

static void test_stages_do_not_matter(void **state) {
    (void)state;
    write_data();
    for (int e = 0; e < engine_count(); e++) {
        struct training_config c = config_of(3, 12);
        c.slices.micro_batches = 4;
        c.slices.progressive = 0.5;
        c.optimizer.clip = 0.1;
        compare_stages(engine_at(e), &c);
        c.slices.cache = on;
        c.slices.progressive = 0;
        c.average = 3;
        compare_stages(engine_at(e), &c);
    }
}

/* What is kept of the source's activations has eight bits of a number's, the logits all. */
static void test_cache(void **state) {
    (void)state;
    write_data();
    const struct engine *engine = NULL;
    must(engine_find("openblas", &engine));
    struct nets nets = open_nets(true);
    struct machine machine = machine_of(engine, world);
    struct slice_train_result a, b;
    struct params *result[2];
    for (int i = 0; i < 2; i++) {
        struct training_config c = config_of(3, 12);
        c.slices.micro_batches = 4;
        c.slices.cache = i ? on : off;
        struct dataset *data = open_data(node, 0);
        result[i] = net_params(nets.target, 8);
        struct slice_task task = {.config = &c,
                                  .epochs = 3,
                                  .seed = 21,
                                  .data = data,
                                  .slicing = nets.slicing,
                                  .load = slice_load,
                                  .context = &(struct slice_models){nets.source_params, result[i]},
                                  .params = result[i]};
        must(slice_train(&machine, &task, i ? &b : &a));
        dataset_close(&data);
    }
    all_true(close_params(result[0], result[1], 2e-3) &&
             memcmp(result[0]->data, result[1]->data, (size_t)result[0]->total * sizeof(float)));
    params_destroy(&result[0]);
    params_destroy(&result[1]);
    close_nets(&nets);
}

/* A target that is the source has nothing to learn from it. */
static void test_source_stays(void **state) {
    (void)state;
    write_data();
    int end[2];
    struct nets nets = {.source = net(1, end), .target = net(1, end)};
    nets.source_params = net_params(nets.source, 8); /* what the target starts from */
    for (int i = 0; i < nets.target->nops; i++) {
        if (nets.target->op[i].kind == OP_DROPOUT) nets.target->op[i].u.dropout.rate = 0;
    }
    struct boundary *candidate = calloc(2, sizeof *candidate);
    assert_non_null(candidate);
    for (int i = 0; i < 2; i++) candidate[i] = (struct boundary){end[i], end[i], NULL};
    must(slicing_create(nets.source, nets.target, true, 2, candidate, &nets.slicing));
    struct training_config c = config_of(2, 12);
    c.optimizer.weight_decay = 0;
    c.loss.distillation = 1;
    c.slices.progressive = 0.3;
    const struct engine *engine = NULL;
    must(engine_find("openblas", &engine));
    struct machine machine = machine_of(engine, world);
    struct slice_train_result result;
    struct params *params = trained(&machine, &nets, &c, &result);
    all_true(close_params(params, nets.source_params, 1e-5) && result.boundary_error < 1e-9);
    params_destroy(&params);
    close_nets(&nets);
}

static void test_own_share(void **state) {
    (void)state;
    /* Four slices over half of 60 steps: each of the last three has ten steps to change over. */
    const struct {
        int slice;
        int64_t step;
        double share;
    } cases[] = {{0, 59, 0}, {1, 0, 0},    {1, 5, 0.5}, {1, 10, 1},   {1, 59, 1},
                 {2, 10, 0}, {2, 15, 0.5}, {3, 20, 0},  {3, 29, 0.9}, {3, 30, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_float_equal(slice_own_share(0.5, cases[i].slice, 4, cases[i].step, 60), cases[i].share, 1e-12);
    assert_true(slice_own_share(0, 3, 4, 59, 60) == 0);
}

/* Accuracies are those of models that one rank has as a whole. */
static void test_accuracies(void **state) {
    (void)state;
    write_data();
    const struct engine *engine = NULL;
    must(engine_find(NULL, &engine));
    struct nets nets = open_nets(true);
    struct machine alone = machine_of(engine, self), machine = machine_of(engine, world);
    for (int i = 0; stages_at(comm_size(world), i); i++) {
        struct training_config c = config_of(2, 12);
        c.slices.stages = text_of(stages_at(comm_size(world), i));
        struct dataset *data = open_data(node, 0);
        struct params *params = net_params(nets.target, 8);
        struct evaluation source, start, end;
        must(evaluate(&alone, nets.source, nets.source_params, data, DATASET_TEST, &source));
        must(evaluate(&alone, nets.target, params, data, DATASET_TEST, &start));
        struct slice_task task = {.config = &c,
                                  .epochs = 2,
                                  .seed = 21,
                                  .data = data,
                                  .slicing = nets.slicing,
                                  .load = slice_load,
                                  .context = &(struct slice_models){nets.source_params, params},
                                  .params = params,
                                  .test = true};
        struct slice_train_result result;
        must(slice_train(&machine, &task, &result));
        must(evaluate(&alone, nets.target, params, data, DATASET_TEST, &end));
        all_true(result.source_accuracy == source.accuracy && result.start_accuracy == start.accuracy &&
                 result.accuracy == end.accuracy);
        params_destroy(&params);
        dataset_close(&data);
    }
    close_nets(&nets);
}

/* ---- what ends it ---- */

static status error_of(struct training_config *c, const struct machine *machine) {
    struct nets nets = open_nets(true);
    struct dataset *data = open_data(node, 0);
    struct params *params = net_params(nets.target, 8);
    struct slice_task task = {.config = c,
                              .epochs = c->epochs,
                              .seed = 21,
                              .data = data,
                              .augment = true,
                              .slicing = nets.slicing,
                              .load = slice_load,
                              .context = &(struct slice_models){nets.source_params, params},
                              .params = params};
    struct slice_train_result result;
    status error = slice_train(machine, &task, &result);
    params_destroy(&params);
    dataset_close(&data);
    close_nets(&nets);
    return error;
}

static void all_have_error(status error, enum status_code code, const char *part) {
    bool right = status_code(error) == code && strstr(status_message(error), part);
    if (!right) print_error("rank %d: \"%s\"\n", comm_rank(world), status_message(error));
    status_drop(&error);
    all_true(right);
}

static void test_errors(void **state) {
    (void)state;
    write_data();
    const struct engine *engine = NULL;
    must(engine_find(NULL, &engine));
    struct machine machine = machine_of(engine, world);
    struct training_config c = config_of(1, 12);
    c.slices.micro_batches = 5;
    all_have_error(error_of(&c, &machine), STATUS_USAGE, "no multiple of its 5 micro-batches");
    c = config_of(1, SAMPLES + 1);
    all_have_error(error_of(&c, &machine), STATUS_USAGE, "only 60 training samples");
    c = config_of(1, 12);
    c.slices.stages = text_of("1:1 1:1");
    all_have_error(error_of(&c, &machine), STATUS_USAGE, "training.slices.stages");
    c = config_of(1, 12);
    c.slices.cache = on;
    all_have_error(error_of(&c, &machine), STATUS_USAGE, "training.slices.cache is on");
    c = config_of(1, 12);
    c.slices.rank_mib = 1e-5;
    all_have_error(error_of(&c, &machine), STATUS_USAGE, "one slice alone needs");
    c = config_of(3, 12);
    c.schedule.rate = 1e30;
    all_have_error(error_of(&c, &machine), STATUS_DATA,
                   "not finite"); /* the loss, or the weights before it is seen */
}

/* An engine whose forwards fail on one rank from the `fail_at`-th on. */
static struct {
    const struct engine *engine;
    struct exec_class class, inner;
    int rank, calls, fail_at;
} faulty;

static status faulty_forward(struct exec *exec, const float *const *inputs) {
    if (comm_rank(world) == faulty.rank && faulty.calls++ >= faulty.fail_at)
        return status_fail(STATUS_INTERNAL, "injected");
    return faulty.inner.forward(exec, inputs);
}

static status faulty_compile(const struct opgraph *graph, const struct exec_options *options,
                             struct exec **exec) {
    STATUS_TRY(faulty.engine->compile(graph, options, exec));
    faulty.inner = *(*exec)->class;
    faulty.class = faulty.inner;
    faulty.class.forward = faulty_forward;
    (*exec)->class = &faulty.class;
    return SUCCESS;
}

/* One rank fails at some moment, in measuring, in a step or in evaluation: all end with its error. */
static void test_failing_rank(void **state) {
    (void)state;
    write_data();
    must(engine_find("openblas", &faulty.engine));
    const struct engine engine = {.name = "faulty", .compile = faulty_compile};
    struct machine machine = machine_of(&engine, world);
    for (int r = 0; r < comm_size(world); r++)
        for (int i = 0; stages_at(comm_size(world), i); i++)
            for (int at = 0; at < 40; at += 13) {
                struct training_config c = config_of(6, 12);
                c.slices.micro_batches = 4;
                c.slices.progressive = 0.5;
                c.slices.stages = text_of(stages_at(comm_size(world), i));
                faulty.rank = r;
                faulty.calls = 0;
                faulty.fail_at = at;
                all_have_error(error_of(&c, &machine), STATUS_INTERNAL, "injected");
            }
}

/* ---- going on ---- */

/* Asks this rank to stop once the second epoch is over. */
static void stop_after_second_epoch(void *data, int rank, const char *phase, const char *event,
                                    const struct log_figure *figures, int n) {
    (void)rank, (void)phase, (void)n;
    int *stop_rank = data;
    if (!strcmp(event, "epoch") && figures[0].number == 2 && comm_rank(world) == *stop_rank) raise(SIGTERM);
}

/* Each rank in turn gets SIGTERM: all end with CHECKPOINTED, and going on, with the same stages or others,
 * comes to what an undisturbed run does. */
static void test_stopped_and_resumed(void **state) {
    (void)state;
    write_data();
    const struct engine *engine = NULL;
    must(engine_find(NULL, &engine));
    struct machine machine = machine_of(engine, world);
    struct nets nets = open_nets(true);
    struct training_config c = config_of(4, 12);
    c.optimizer = (struct optimizer_config){.kind = adamw, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-3};
    c.average = 3;
    c.slices.micro_batches = 4;
    c.slices.progressive = 0.5;
    char path[600];
    snprintf(path, sizeof path, "%s", in_folder("checkpoint"));
    for (int joint = 0; joint < 2; joint++)
        for (int r = 0; r < comm_size(world); r++) {
            struct params *result[3] = {0};
            struct slice_train_result told[3];
            for (int run = 0; run < 3; run++) { /* undisturbed, stopped, gone on with */
                struct log *stopping = NULL;
                must(log_create(comm_rank(world), LOG_ERROR, &stopping));
                if (run == 1) log_listen(stopping, stop_after_second_epoch, &r);
                machine.log = stopping;
                c.slices.stages =
                    text_of(stages_at(comm_size(world), run == 2 && stages_at(comm_size(world), 1) ? 1 : 0));
                struct dataset *data = open_data(node, 0.2);
                result[run] = net_params(nets.target, 8);
                struct slice_task task = {.config = &c,
                                          .joint = joint,
                                          .epochs = 4,
                                          .seed = 21,
                                          .data = data,
                                          .augment = true,
                                          .slicing = nets.slicing,
                                          .load = slice_load,
                                          .context = &(struct slice_models){nets.source_params, result[run]},
                                          .params = result[run],
                                          .checkpoint = run ? path : NULL,
                                          .checkpoint_key = "test"};
                status error = slice_train(&machine, &task, &told[run]);
                if (run == 1) all_have_error(error, STATUS_CHECKPOINTED, "run the same command again");
                else must(error);
                dataset_close(&data);
                log_destroy(&stopping);
            }
            all_true(close_params(result[2], result[0], 1e-4) && told[2].best_epoch == told[0].best_epoch &&
                     fabs(told[2].train_loss - told[0].train_loss) <= 1e-4 * told[0].train_loss);
            for (int run = 0; run < 3; run++) params_destroy(&result[run]);
            must(comm_barrier(world));
            if (comm_is_root(world)) checkpoint_remove(path);
            must(comm_barrier(world));
        }
    close_nets(&nets);
}

/* A stage that turns out to be slower than was thought loses slices, or gets ranks, and nothing that has been
 * learned is lost. */
static void test_rebalanced(void **state) {
    (void)state;
    write_data();
    const struct engine *engine = NULL;
    must(engine_find("openblas", &engine));
    struct machine machine = machine_of(engine, world);
    struct nets nets = open_nets(true);
    struct training_config c = config_of(2, 12);
    c.optimizer = (struct optimizer_config){.kind = adamw, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-3};
    c.slices.micro_batches = 4;
    c.average = 3;
    struct dataset *data = open_data(node, 0);
    struct params *params = net_params(nets.target, 8), *wanted = NULL;
    int64_t order[SAMPLES];
    double equal[NSLICES + 1] = {1, 1, 1, 0}, none[NSLICES + 1] = {0};
    double compute[NSLICES] = {1, 1, 1};
    for (int moved = 0; moved < 2; moved++) {
        struct slice_task task = {.config = &c,
                                  .epochs = 2,
                                  .seed = 21,
                                  .data = data,
                                  .slicing = nets.slicing,
                                  .load = slice_load,
                                  .context = &(struct slice_models){nets.source_params, params},
                                  .params = params};
        struct slice_train_result result = {0};
        struct slice_run r = {
            .machine = &machine, .task = &task, .way = &slice_way_blockwise, .result = &result};
        memcpy(compute, equal, sizeof compute);
        r.cost.compute = compute;
        r.cost.cost = (struct stages_cost){.nslices = NSLICES,
                                           .compute = compute,
                                           .transfer = none,
                                           .sum = none,
                                           .bytes = none,
                                           .micro_batches = 4};
        must(stages_create(&r.cost.cost, comm_size(world), comm_size(world) > 1 ? 2 : 1, &r.stages));
        must(slice_run_open(&r));
        must(params_clone(r.stage.params, &r.best));
        struct slice_progress progress = {0};
        for (int epoch = 0; epoch < 2; epoch++) {
            must(dataset_order(data, DATASET_TRAIN, (uint64_t)epoch, order));
            stage_begin_epoch(&r.stage, epoch, order);
            must(r.way->run(r.self, 0, r.stage.steps_per_epoch, &progress));
            if (epoch == 1 || !moved) continue;
            int first = r.stages->first_slice[1];
            /* The first stage took ten times as long. */
            must(slice_run_rebalance(&r, (r.stage.index == 0 ? 10 : 1) * (double)r.stage.steps_per_epoch));
            all_true(comm_size(world) == 1 || r.stages->first_slice[1] < first ||
                     stages_ranks(r.stages, 0) > 1 || r.stages->nstages != 2);
        }
        struct params *all = net_params(nets.target, 8);
        must(slice_state_move(world, nets.slicing, false, r.stages, weight_average_params(r.stage.average),
                              all));
        if (!moved) wanted = all;
        else {
            all_true(close_params(all, wanted, 1e-4));
            params_destroy(&all);
        }
        slice_run_close(&r);
        stages_destroy(&r.stages);
        params_destroy(&r.best);
    }
    params_destroy(&wanted);
    params_destroy(&params);
    dataset_close(&data);
    close_nets(&nets);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        IN_SHARED_FOLDER(test_formula),
        IN_SHARED_FOLDER(test_stages_do_not_matter),
        IN_SHARED_FOLDER(test_cache),
        IN_SHARED_FOLDER(test_source_stays),
        IN_SHARED_FOLDER(test_accuracies),
        IN_SHARED_FOLDER(test_errors),
        cmocka_unit_test(test_own_share),
        IN_SHARED_FOLDER(test_failing_rank),
        IN_SHARED_FOLDER(test_stopped_and_resumed),
        IN_SHARED_FOLDER(test_rebalanced),
    };
    return run_on_ranks(argc, argv, tests, sizeof tests / sizeof *tests);
}
