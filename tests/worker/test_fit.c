/* Closed-form fits, against Gauss elimination in double precision and maps that are known. Checks are on
 * values reduced over the ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "shared/rng.h"
#include "worker/fit.h"
#include "worker/least_squares.h"
#include "worker/nets.h"

static struct comm *world, *self;
static const struct engine *engine;

static void all_true(bool mine) {
    bool any_false = false;
    assert_null(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

#define SAMPLES 40
#define BLOCK 5

/* An operation with its inputs, and outputs wanted from it. */
struct problem {
    struct opgraph *g;
    struct params *truth; /* makes the wanted outputs, unless they are changed */
    int64_t in, rows, m;  /* floats of an input, rows and columns of an output */
    float *x, *y;         /* all samples */
};

enum kind { CONV, STRIDED, DILATED, DENSE, DENSE_ROWS, DEPTHWISE, NO_BIAS, GROUPED, TRANSPOSED, KINDS };

static struct opgraph *operation(enum kind kind) {
    struct opgraph *g = net_create();
    int x = net_input(g, kind == DENSE        ? SHAPE(-1, 11)
                         : kind == DENSE_ROWS ? SHAPE(-1, 5, 9)
                                              : SHAPE(-1, 7, 6, 4));
    switch (kind) {
    case CONV:
        x = net_conv(g, x, 3, 3, 5, (struct window_options){.same = true});
        break;
    case STRIDED:
        x = net_conv(g, x, 3, 2, 5,
                     (struct window_options){.stride = {2, 3}, .before = {2, 0}, .after = {1, 2}});
        break;
    case DILATED:
        x = net_conv(g, x, 2, 3, 5, (struct window_options){.dilation = {3, 2}, .same = true});
        break;
    case DEPTHWISE:
        x = net_depthwise(g, x, 3, 3, 2, (struct window_options){.stride = {1, 2}, .same = true});
        break;
    case NO_BIAS:
        x = net_conv(g, x, 3, 3, 5, (struct window_options){.no_bias = true});
        break;
    case GROUPED:
        x = net_conv(g, x, 3, 2, 6, (struct window_options){.groups = 2, .stride = {1, 2}, .same = true});
        break;
    case TRANSPOSED:
        x = net_conv_transpose(g, x, 3, 3, 5, (int64_t[]){14, 12},
                               (struct window_options){.stride = {2, 2}, .same = true});
        break;
    default:
        x = net_dense(g, x, 6, true);
    }
    net_finish(g, 1, &x);
    return g;
}

/* Outputs of the operation alone. */
static float *outputs(const struct opgraph *g, struct params *params, const float *x, int64_t n) {
    struct exec *exec = NULL;
    must(engine->compile(g, &(struct exec_options){.batch = n, .mode = EXEC_INFER, .threads = 1}, &exec));
    must(exec_set_params(exec, params));
    must(exec_forward(exec, (const float *const[]){x}));
    size_t nbytes = (size_t)net_count(g, g->output[0], n) * sizeof(float);
    float *y = malloc(nbytes);
    assert_non_null(y);
    memcpy(y, exec_output(exec, 0), nbytes);
    exec_destroy(&exec);
    return y;
}

static struct problem problem_create(enum kind kind) {
    struct problem p = {.g = operation(kind)};
    p.truth = net_params(p.g, 4);
    p.in = net_count(p.g, p.g->input[0], 1);
    const struct shape *out = &p.g->value[p.g->output[0]];
    p.m = out->dim[out->rank - 1];
    p.rows = net_count(p.g, p.g->output[0], 1) / p.m;
    p.x = random_floats(SAMPLES * p.in, 50 + (uint64_t)kind);
    p.y = outputs(p.g, p.truth, p.x, SAMPLES);
    return p;
}

static void problem_destroy(struct problem *p) {
    opgraph_destroy(&p->g);
    params_destroy(&p->truth);
    free(p->x);
    free(p->y);
}

/* This rank's whole blocks of the samples. */
static struct fit_data data_of(const struct problem *p, const struct comm *over,
                               const struct outcome *outcome, const int64_t *column, int64_t width,
                               struct fit_call *call) {
    int64_t block = share_begin(SAMPLES / BLOCK, comm_rank(over), comm_size(over)), first = BLOCK * block;
    int64_t end = BLOCK * share_begin(SAMPLES / BLOCK, comm_rank(over) + 1, comm_size(over));
    *call = (struct fit_call){.op = &p->g->op[0],
                              .x = p->x + first * p->in,
                              .y = p->y + first * p->rows * width,
                              .width = width,
                              .outcome = *outcome};
    return (struct fit_data){.ncalls = 1,
                             .call = call,
                             .column = column,
                             .n = end - first,
                             .total = SAMPLES,
                             .block = BLOCK,
                             .first = block};
}

static const struct outcome linear = {.kind = OUTCOME_LINEAR, .maximum = INFINITY};

static void fit_start(const struct problem *p, const struct comm *over, const struct fit_data *data,
                      const struct fit_options *options, struct params *params, struct fit_result *result) {
    struct machine machine = {.world = over, .engine = engine, .threads = 1 + comm_rank(over) % 2};
    const struct op *op = &p->g->op[0];
    must(fit_operation(&machine, p->g, data, options, params_at(params, op->param[0]),
                       op->param[1] >= 0 ? params_at(params, op->param[1]) : NULL, result));
}

/* Fits from another start; the parameters are owned. */
static struct params *fitted(const struct problem *p, const struct comm *over,
                             const struct fit_options *options, const struct outcome *outcome,
                             const int64_t *column, int64_t width, struct fit_result *result) {
    struct fit_call call;
    struct fit_data data = data_of(p, over, outcome, column, width, &call);
    struct params *params = net_params(p->g, 1234);
    fit_start(p, over, &data, options, params, result);
    return params;
}

static bool params_close(const char *what, const struct params *a, const struct params *b, double tolerance) {
    double scale = 0, worst = 0;
    for (int64_t i = 0; i < a->total; i++) {
        scale = fmax(scale, fabs(b->data[i]));
        worst = fmax(worst, fabs((double)a->data[i] - b->data[i]));
    }
    if (!(worst <= tolerance * scale))
        print_error("rank %d: %s: off by %g (scale %g)\n", comm_rank(world), what, worst, scale);
    return worst <= tolerance * scale;
}

static void test_recovers_the_map(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        struct problem p = problem_create((enum kind)kind);
        struct fit_options options = {.ridge = 1e-9};
        struct fit_result result = {0};
        struct params *found = fitted(&p, world, &options, &linear, NULL, p.m, &result);
        char what[32];
        snprintf(what, sizeof what, "operation %d", kind);
        bool right = params_close(what, found, p.truth, 1e-4) && result.before > 0.1 && result.after < 1e-8;
        params_destroy(&found);
        problem_destroy(&p);
        all_true(right);
    }
}

/* The wanted outputs are some columns of wider rows. */
static void test_columns(void **state) {
    (void)state;
    struct problem p = problem_create(CONV);
    enum { WIDTH = 9 };
    static const int64_t column[] = {0, 3, 4, 7, 8};
    float *wide = random_floats(SAMPLES * p.rows * WIDTH, 6);
    for (int64_t r = 0; r < SAMPLES * p.rows; r++)
        for (int j = 0; j < 5; j++) wide[r * WIDTH + column[j]] = p.y[r * p.m + j];
    free(p.y);
    p.y = wide;
    struct fit_result result = {0};
    struct params *found =
        fitted(&p, world, &(struct fit_options){.ridge = 1e-9}, &linear, column, WIDTH, &result);
    bool right = params_close("columns", found, p.truth, 1e-4);
    params_destroy(&found);
    problem_destroy(&p);
    all_true(right);
}

/* Outputs that no weights give: the ridge solution, drawn to the start. */
static void test_ridge(void **state) {
    (void)state;
    struct problem p = problem_create(DENSE);
    free(p.y);
    p.y = random_floats(SAMPLES * p.rows * p.m, 8);
    struct fit_result result = {0};
    struct params *found =
        fitted(&p, world, &(struct fit_options){.ridge = 0.3}, &linear, NULL, p.m, &result);
    struct params *from = net_params(p.g, 1234);
    enum { K = 12, M = 6 };
    float u[SAMPLES * K], w[K * M];
    double start[K * M], wanted[K * M];
    for (int r = 0; r < SAMPLES; r++)
        for (int i = 0; i < K; i++) u[r * K + i] = i < K - 1 ? p.x[r * (K - 1) + i] : 1;
    for (int i = 0; i < K * M; i++) {
        int64_t at = i < (K - 1) * M ? i : i - (K - 1) * M;
        start[i] = params_at(from, i < (K - 1) * M ? 0 : 1)[at];
        w[i] = params_at(found, i < (K - 1) * M ? 0 : 1)[at];
    }
    ridge_solution(SAMPLES, K, M, u, p.y, K - 1, 0.3, start, wanted);
    bool right = close_to("ridge", w, wanted, K * M, 1e-5);
    params_destroy(&found);
    params_destroy(&from);
    problem_destroy(&p);
    all_true(right);
}

static double clip(double v, double maximum) {
    return v < 0 ? 0 : v > maximum ? maximum : v;
}

/* Squared error after the ReLU, relative to the outputs. */
static double relu_error(const struct problem *p, struct params *params, double maximum) {
    float *z = outputs(p->g, params, p->x, SAMPLES);
    double error = 0, base = 0;
    for (int64_t i = 0; i < SAMPLES * p->rows * p->m; i++) {
        double a = clip(p->y[i], maximum), b = clip(z[i], maximum);
        error += (a - b) * (a - b);
        base += a * a;
    }
    free(z);
    return error / base;
}

/* What the outputs depend on is partly missing from the inputs, as in a narrower target. */
static void test_relu_rounds(void **state) {
    (void)state;
    static const float maxima[] = {INFINITY, 1};
    for (int kind = 0; kind < KINDS; kind++)
        for (int i = 0; i < 2; i++) {
            struct problem p = problem_create((enum kind)kind);
            float *noise = random_floats(SAMPLES * p.rows * p.m, 9);
            for (int64_t j = 0; j < SAMPLES * p.rows * p.m; j++) p.y[j] += 0.8f * noise[j] - 0.4f;
            free(noise);
            double error[2], told[2], start;
            for (int aware = 0; aware < 2; aware++) {
                struct fit_options options = {.ridge = 1e-6, .rounds = 6 * aware};
                struct outcome relu = {.kind = OUTCOME_RELU, .maximum = maxima[i]};
                struct fit_result result = {0};
                struct params *found = fitted(&p, world, &options, &relu, NULL, p.m, &result),
                              *from = net_params(p.g, 1234);
                error[aware] = relu_error(&p, found, maxima[i]);
                start = relu_error(&p, from, maxima[i]);
                told[aware] = result.after;
                all_true(fabs(result.before - start) <= 1e-4 * start);
                params_destroy(&found);
                params_destroy(&from);
            }
            bool right = error[1] < error[0] && fabs(told[0] - error[0]) <= 1e-4 * error[0] &&
                         fabs(told[1] - error[1]) <= 1e-4 * error[1];
            if (!right)
                print_error("operation %d: error %g (told %g), ReLU-aware %g (told %g)\n", kind, error[0],
                            told[0], error[1], told[1]);
            problem_destroy(&p);
            all_true(right);
        }
}

/* A channel that is always zero says nothing about its weights: they keep their start. */
static void test_dead_channel_keeps_the_start(void **state) {
    (void)state;
    static const enum kind kinds[] = {CONV, DEPTHWISE};
    for (int k = 0; k < 2; k++) {
        struct problem p = problem_create(kinds[k]);
        for (int64_t i = 2; i < SAMPLES * p.in; i += 4) p.x[i] = 0;
        float *y = outputs(p.g, p.truth, p.x, SAMPLES);
        free(p.y);
        p.y = y;
        struct fit_result result = {0};
        struct params *found =
            fitted(&p, world, &(struct fit_options){.ridge = 1e-6}, &linear, NULL, p.m, &result);
        struct params *from = net_params(p.g, 1234);
        const struct shape *s = &p.g->param[0].shape;
        bool right = true;
        for (int64_t i = 0; i < found->count[0]; i++) {
            bool dead = i / s->dim[3] % s->dim[2] == 2;
            const struct params *wanted = dead ? from : p.truth;
            right = right &&
                    fabs((double)params_at(found, 0)[i] - params_at(wanted, 0)[i]) < (dead ? 1e-6 : 1e-3);
        }
        params_destroy(&found);
        params_destroy(&from);
        problem_destroy(&p);
        all_true(right);
    }
}

/* The same bytes on any number of ranks. */
static void test_ranks_do_not_matter(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        struct problem p = problem_create((enum kind)kind);
        float *noise = random_floats(SAMPLES * p.rows * p.m, 9);
        for (int64_t j = 0; j < SAMPLES * p.rows * p.m; j++) p.y[j] += 0.5f * noise[j];
        free(noise);
        static const struct outcome outcomes[] = {{.kind = OUTCOME_RELU, .maximum = INFINITY},
                                                  {.kind = OUTCOME_SOFTMAX}};
        struct fit_options options = {.rounds = 3};
        struct fit_result a, b;
        struct fit_call call;
        struct params *together = net_params(p.g, 1234), *alone = net_params(p.g, 1234);
        struct fit_data data = data_of(&p, world, &outcomes[kind == DENSE], NULL, p.m, &call);
        data.held = 4;
        fit_start(&p, world, &data, &options, together, &a);
        data = data_of(&p, self, &outcomes[kind == DENSE], NULL, p.m, &call);
        data.held = 4;
        fit_start(&p, self, &data, &options, alone, &b);
        bool right = !memcmp(alone->data, together->data, (size_t)together->total * sizeof(float)) &&
                     fabs(a.after - b.after) <= 1e-12 * b.after && a.ridge == b.ridge;
        if (!right) print_error("operation %d: not the same bytes\n", kind);
        params_destroy(&together);
        params_destroy(&alone);
        problem_destroy(&p);
        all_true(right);
    }
}

/* Values that are not finite have no fit: one error on all ranks. */
static void test_not_finite(void **state) {
    (void)state;
    struct problem p = problem_create(CONV);
    p.x[7] = NAN; /* of rank 0 */
    struct machine machine = {.world = world, .engine = engine, .threads = 1};
    struct fit_call call;
    struct fit_data data = data_of(&p, world, &linear, NULL, p.m, &call);
    struct params *params = net_params(p.g, 1);
    struct fit_result result;
    status error = fit_operation(&machine, p.g, &data, &(struct fit_options){.ridge = 1e-4},
                                 params_at(params, 0), params_at(params, 1), &result);
    bool right = status_code(error) == STATUS_DATA;
    status_drop(&error);
    params_destroy(&params);
    problem_destroy(&p);
    all_true(right);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = comm_split(world, comm_rank(world), 0, &self);
    if (!error) error = engine_find("openblas", &engine);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recovers_the_map),
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_ridge),
        cmocka_unit_test(test_relu_rounds),
        cmocka_unit_test(test_dead_channel_keeps_the_start),
        cmocka_unit_test(test_ranks_do_not_matter),
        cmocka_unit_test(test_not_finite),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_destroy(&self);
    comm_stop(&world);
    return failed;
}
