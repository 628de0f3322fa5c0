/* Blockwise training of slices, against its formulas and over any stages of ranks. */
#include "worker/slices_fixture.h"

#include "worker/slice_way.h"

/* Trains a target from the usual start; the result is owned. */
static char scratch[] = "scratch";

static struct params *trained(const struct machine *machine, const struct nets *nets,
                              const struct training_config *config, struct slice_train_result *result) {
    struct dataset *data = open_data(machine->node, 0);
    struct params *params = net_params(nets->target, 8);
    struct slice_models models;
    struct slice_task task = task_of(nets, config, data, params, &models);
    task.augment = !strcmp(config->slices.cache, "off");
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
    struct slice_models models;
    struct slice_task task = task_of(&nets, &c, data, params, &models);
    task.epochs = 1;
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
    struct params *result[3];
    const int entries = count_entries(test_folder);
    for (int i = 0; i < 3; i++) {
        struct training_config c = config_of(3, 12);
        c.slices.micro_batches = 4;
        c.slices.cache = (char *[]){off, on, scratch}[i];
        c.slices.scratch = test_folder;
        struct dataset *data = open_data(node, 0);
        result[i] = net_params(nets.target, 8);
        struct slice_models models;
        struct slice_task task = task_of(&nets, &c, data, result[i], &models);
        task.epochs = 3;
        must(slice_train(&machine, &task, i ? &b : &a));
        dataset_close(&data);
    }
    const size_t nbytes = (size_t)result[0]->total * sizeof(float);
    all_true(close_params(result[0], result[1], 2e-3) && memcmp(result[0]->data, result[1]->data, nbytes) &&
             !memcmp(result[1]->data, result[2]->data, nbytes));
    if (comm_is_root(world))
        assert_int_equal(count_entries(test_folder), entries); /* nothing is left there */
    for (int i = 0; i < 3; i++) params_destroy(&result[i]);
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

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        IN_SHARED_FOLDER(test_formula),   IN_SHARED_FOLDER(test_stages_do_not_matter),
        IN_SHARED_FOLDER(test_cache),     IN_SHARED_FOLDER(test_source_stays),
        cmocka_unit_test(test_own_share),
    };
    return run_on_ranks(argc, argv, tests, sizeof tests / sizeof *tests);
}
