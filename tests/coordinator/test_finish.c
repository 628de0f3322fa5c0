/* The last transforms of whole targets: kernels rounded by gptq after one another, on the inputs that the
 * rounded layers before give; the same bytes on any number of ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>

#include "coordinator/trial_source.h"
#include "worker/calibration.h"
#include "worker/finish.h"

#define SAMPLES 300

static struct comm *self;
static struct log *logbook;

/* A kernel whose inputs cannot be weighed, and one that can. */
static struct graph *recurrent(void) {
    int x;
    struct graph *g = begin("-1,6,3", &x);
    x = on(g, "LSTM", "lstm", "units=5", x);
    x = on(g, "Dense", "d", "units=4", x);
    build_output(g, x);
    return g;
}

static struct graph *attending(void) {
    int x;
    struct graph *g = begin("-1,6,8", &x);
    x = build_layer(g, "MultiHeadAttention", "m", "num_heads=2 key_dim=3", 2, (int[]){x, x});
    x = on(g, "Conv1D", "c", "filters=6 kernel_size=3 groups=2 activation=relu", x);
    x = on(g, "Dense", "d", "units=4", x);
    build_output(g, x);
    return g;
}

static const struct net more[] = {{"attending", attending, 0}, {"recurrent", recurrent, 0}};
#define ALL (NNETS + 2)

static bool agreed(bool mine) {
    bool any = false;
    build_ok(comm_any(world, !mine, &any));
    return !any;
}

/* This rank's whole blocks of the samples x. */
static struct calibration share_of(const struct comm *over, float *x, int64_t sample, int64_t total) {
    int64_t nblocks = (total + CALIBRATION_BLOCK - 1) / CALIBRATION_BLOCK;
    int64_t first = share_begin(nblocks, comm_rank(over), comm_size(over)),
            end = share_begin(nblocks, comm_rank(over) + 1, comm_size(over)) * CALIBRATION_BLOCK;
    int64_t begin = first * CALIBRATION_BLOCK;
    if (end > total) end = total;
    return (struct calibration){.n = end > begin ? end - begin : 0,
                                .total = total,
                                .first = first,
                                .sample = sample,
                                .x = x + begin * sample};
}

static void finish_on(const struct comm *over, const struct trial_source *t, struct model *model, float *x,
                      int64_t samples) {
    struct machine machine = {.world = over, .log = logbook, .engine = t->engine, .threads = 1};
    struct calibration c = share_of(over, x, net_count(model->ops, model->ops->input[0], 1), samples);
    struct finish task = {t->compiled->plan, model->ops, model->params, &c};
    build_ok(finish(&machine, &task));
}

/* The target of a precision, whose kernels are rounded on so many samples. */
static struct model *made(struct trial_source *t, char *precision, const struct comm *over, float *x,
                          int64_t samples) {
    compiled_destroy(&t->compiled);
    build_ok(compile_target(t->graph, "source.h5", NULL,
                            &(struct target_config){.width = 1, .precision = precision}, "small",
                            &t->compiled));
    build_ok(compile_choose(t->compiled, NULL));
    struct graph *copy = NULL;
    struct model *model = NULL;
    struct partition *partition = NULL;
    double *cost = calloc((size_t)t->compiled->plan->nslices + 1, sizeof *cost);
    build_ok(graph_clone(t->compiled->target, &copy));
    build_ok(model_create(copy, &model));
    build_ok(partition_create(t->compiled->plan->nslices, cost, 1, &partition));
    struct machine machine = {.world = self, .log = logbook, .engine = t->engine, .threads = 1};
    struct migration job = {.file = t->file, .plan = t->compiled->plan, .partition = partition};
    build_ok(migrate(&machine, &job, model->params));
    partition_destroy(&partition);
    free(cost);
    finish_on(over, t, model, x, samples);
    return model;
}

/* Whole multiples of a seventh of the channel's largest weight. */
static bool is_rounded(const float *w, int64_t rows, int64_t columns, int64_t column) {
    double largest = 0;
    for (int64_t r = 0; r < rows; r++) largest = fmax(largest, fabs(w[r * columns + column]));
    for (int64_t r = 0; r < rows && largest > 0; r++) {
        double level = w[r * columns + column] / (largest / 7);
        if (!(fabs(level - rint(level)) < 1e-4)) return false;
    }
    return true;
}

static double distance(const struct model *a, const struct trial_source *t, const float *x, int64_t n) {
    float *y = model_run(t->engine, a->ops, a->params, n, x);
    float *z = model_run(t->engine, t->source->ops, t->source->params, n, x);
    double sum = 0, base = 0;
    for (int64_t i = 0; i < net_count(a->ops, a->ops->output[0], n); i++) {
        sum += (y[i] - z[i]) * (y[i] - z[i]);
        base += z[i] * z[i];
    }
    free(y);
    free(z);
    return sum / base;
}

static void test_nets(void **state) {
    (void)state;
    static char gptq[] = "int4_gptq", plain[] = "int4";
    double logs = 0;
    int better = 0;
    for (int i = 0; i < ALL; i++) {
        struct trial_source t;
        const struct net *net = i < NNETS ? &nets[i] : &more[i - NNETS];
        make_source(net, 20 + (uint64_t)i, &t);
        write_and_open(&t);
        float *x = random_floats(net_count(t.source->ops, t.source->ops->input[0], SAMPLES), 5);
        struct model *nearest = made(&t, plain, self, x, 0), *none = made(&t, gptq, self, x, 0),
                     *alone = made(&t, gptq, self, x, SAMPLES), *together = made(&t, gptq, world, x, SAMPLES);
        size_t nbytes = (size_t)alone->params->total * sizeof(float);
        bool same = !memcmp(alone->params->data, together->params->data, nbytes),
             fallen_back = !memcmp(none->params->data, nearest->params->data, nbytes);
        assert_true(agreed(same));
        assert_true(agreed(fallen_back));
        for (int p = 0; p < alone->ops->nparams; p++) {
            const struct param *param = &alone->ops->param[p];
            const struct weight *w = &alone->graph->layer[param->layer].weight[param->weight];
            int64_t rows, columns;
            if (w->shape.rank < 2 || w->out_axis != w->shape.rank - 1) continue;
            shape_rows(&w->shape, &rows, &columns);
            for (int64_t c = 0; c < columns; c++)
                assert_true(agreed(is_rounded(params_at(alone->params, p), rows, columns, c)));
        }
        double with = distance(alone, &t, x, SAMPLES), without = distance(nearest, &t, x, SAMPLES);
        print_message("%s: %.4f, to the nearest %.4f\n", net->name, with, without);
        better += with < without;
        logs += log(with / without) / ALL;
        if (i == ALL - 1) { /* of the LSTM's kernels no Gram matrix is known */
            const char *const names[] = {"kernel", "recurrent_kernel"};
            for (int k = 0; k < 2; k++) {
                int p = model_param(alone->graph, "lstm", names[k]);
                assert_true(agreed(!memcmp(params_at(alone->params, p), params_at(nearest->params, p),
                                           (size_t)alone->params->count[p] * sizeof(float))));
            }
        }
        model_destroy(&nearest);
        model_destroy(&none);
        model_destroy(&alone);
        model_destroy(&together);
        free(x);
        close_source(&t);
    }
    assert_true(agreed(better >= ALL - 3 && logs < log(0.6)));
}

/* What is asked for stands in the program, and a program's text may ask for it. */
static void test_program(void **state) {
    (void)state;
    static char gptq[] = "int8_gptq";
    struct trial_source t;
    struct compiled *again = NULL;
    struct position at;
    char *text = NULL, *second = NULL;
    make_source(&nets[0], 3, &t);
    write_and_open(&t);
    const struct target_config config = {.width = 1, .precision = gptq};
    build_ok(compile_target(t.graph, "source.h5", NULL, &config, "small", &t.compiled));
    build_ok(plan_print(t.compiled->plan, &text));
    assert_non_null(strstr(text, "\"c2/kernel\" (3, 3, 6, 8) = quantize(refit(fold_bn(source[\"c2/kernel\"], "
                                 "\"n2\")), int8, axis 3, rounding gptq)"));
    build_ok(compile_program(t.graph, "source.h5", NULL, text, &config, "small", &again, &at));
    build_ok(plan_print(again->plan, &second));
    assert_string_equal(text, second);
    free(text);
    free(second);
    compiled_destroy(&again);
    close_source(&t);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (error) return 70;
    build_ok(comm_split(world, comm_rank(world), 0, &self));
    build_ok(log_create(comm_rank(world), LOG_WARN, &logbook));
    const struct CMUnitTest tests[] = {IN_FOLDER(test_nets), IN_FOLDER(test_program)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    log_destroy(&logbook);
    comm_destroy(&self);
    comm_stop(&world);
    return failed;
}
