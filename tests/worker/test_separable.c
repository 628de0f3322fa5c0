/* Separable convolutions in the place of plain ones, fitted: where the outputs are those of a separable one,
 * it is found; otherwise no kernels near those found are better; the same bytes on any number of ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph_build.h"
#include "shared/rng.h"
#include "worker/engine_check.h"
#include "worker/nets.h"
#include "worker/separable.h"

enum {
    SAMPLES = 64,
    BLOCK = 8,
    SIDE = 5,
    AREA = SIDE * SIDE,
    C = 4,
    T = 9,
    M = 6,
    WIDE = 8,
    ROWS = SAMPLES * AREA,
    MOST = 3 /* multiplier */
};

static struct comm *world, *self;
static const struct engine *engine;
static struct log *quiet;

/* On all ranks, so that none waits for another that has failed. */
static void all_true(bool mine) {
    bool any_false = false;
    assert_null(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

static const int64_t column[M] = {0, 2, 3, 4, 6, 7};

struct problem {
    struct opgraph *g;
    int multiplier;
    float x[ROWS * C], y[ROWS * WIDE];
};

struct kernels {
    float depthwise[T * C * MOST], pointwise[C * MOST * M];
};

/* Input channel c that tap t sees at position p of sample s: same padding, zeros outside. */
static double seen(const struct problem *p, int s, int at, int t, int c) {
    int y = at / SIDE + t / 3 - 1, x = at % SIDE + t % 3 - 1;
    return y < 0 || y >= SIDE || x < 0 || x >= SIDE ? 0 : p->x[((s * SIDE + y) * SIDE + x) * C + c];
}

/* y = conv(x, K) + 2 and noise, K of `rank` products of a window and outputs for each input channel. */
static void make(struct problem *p, int rank, int multiplier, double noise) {
    struct rng rng = rng_make(23, 1, (uint64_t)(rank * 10 + multiplier));
    static double k[T][C][WIDE];
    memset(k, 0, sizeof k);
    p->multiplier = multiplier;
    for (int c = 0; c < C; c++)
        for (int r = 0; r < rank; r++) {
            double window[T], outputs[WIDE];
            for (int t = 0; t < T; t++) window[t] = rng_normal(&rng) / (1 + r);
            for (int j = 0; j < WIDE; j++) outputs[j] = rng_normal(&rng);
            for (int t = 0; t < T; t++)
                for (int j = 0; j < WIDE; j++) k[t][c][j] += window[t] * outputs[j];
        }
    for (int i = 0; i < ROWS * C; i += C) { /* channels that depend on each other */
        double common = rng_normal(&rng);
        for (int c = 0; c < C; c++)
            p->x[i + c] = (float)(0.3 * c + common + (0.5 + 0.3 * c) * rng_normal(&rng));
    }
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < WIDE; j++) {
            double sum = 2 + noise * rng_normal(&rng);
            for (int t = 0; t < T; t++)
                for (int c = 0; c < C; c++) sum += seen(p, r / AREA, r % AREA, t, c) * k[t][c][j];
            p->y[r * WIDE + j] = (float)sum;
        }
    p->g = net_create();
    int x = net_input(p->g, SHAPE(-1, SIDE, SIDE, C));
    x = net_depthwise(p->g, x, 3, 3, multiplier, (struct window_options){.same = true, .no_bias = true});
    net_finish(p->g, 1, &x);
}

static struct fit_result fit(const struct problem *p, const struct comm *over, struct kernels *k) {
    struct machine machine = {.world = over, .log = quiet, .engine = engine, .threads = 1};
    int64_t first = share_begin(SAMPLES / BLOCK, comm_rank(over), comm_size(over)) * BLOCK,
            end = share_begin(SAMPLES / BLOCK, comm_rank(over) + 1, comm_size(over)) * BLOCK;
    struct fit_call call = {
        .op = &p->g->op[0], .x = p->x + first * AREA * C, .y = p->y + first * AREA * WIDE, .width = WIDE};
    struct fit_data data = {.ncalls = 1,
                            .call = &call,
                            .column = column,
                            .n = end - first,
                            .total = SAMPLES,
                            .block = BLOCK,
                            .first = first / BLOCK};
    struct fit_options options = {.ridge = 1e-9};
    struct fit_result result;
    struct rng rng = rng_make(4, 1, 1);
    memset(k, 0, sizeof *k);
    for (int i = 0; i < T * C * p->multiplier; i++) k->depthwise[i] = (float)rng_normal(&rng);
    for (int i = 0; i < C * p->multiplier * M; i++) k->pointwise[i] = (float)rng_normal(&rng);
    build_ok(separable_fit(&machine, p->g, &data, M, true, &options, k->depthwise, k->pointwise, &result));
    return result;
}

/* The variance of what the two kernels leave: the bias is the mean. And that of the outputs. */
static double left(const struct problem *p, const struct kernels *k, double *whole) {
    static double w[T][C][M];
    double error = 0;
    *whole = 0;
    memset(w, 0, sizeof w);
    for (int t = 0; t < T; t++)
        for (int c = 0; c < C; c++)
            for (int d = 0; d < p->multiplier; d++)
                for (int j = 0; j < M; j++)
                    w[t][c][j] += (double)k->depthwise[(t * C + c) * p->multiplier + d] *
                                  k->pointwise[(c * p->multiplier + d) * M + j];
    for (int j = 0; j < M; j++) {
        double sum[2] = {0, 0}, square[2] = {0, 0};
        for (int r = 0; r < ROWS; r++) {
            double y = p->y[r * WIDE + column[j]], d = y;
            for (int t = 0; t < T; t++)
                for (int c = 0; c < C; c++) d -= seen(p, r / AREA, r % AREA, t, c) * w[t][c][j];
            sum[0] += d;
            square[0] += d * d;
            sum[1] += y;
            square[1] += y * y;
        }
        error += square[0] - sum[0] * sum[0] / ROWS;
        *whole += square[1] - sum[1] * sum[1] / ROWS;
    }
    return error;
}

/* One that there is, is found, from any start. */
static void test_exact(void **state) {
    (void)state;
    struct problem *p = malloc(sizeof *p);
    struct kernels k;
    bool found = true;
    assert_non_null(p);
    for (int multiplier = 1; multiplier <= 2; multiplier++) {
        double whole;
        make(p, multiplier, multiplier, 0);
        struct fit_result result = fit(p, world, &k);
        double rest = left(p, &k, &whole);
        found = found && rest < 1e-3 * whole && result.after < 1e-3 && !result.kept;
        opgraph_destroy(&p->g);
    }
    free(p);
    all_true(found);
}

/* Others near those found are not better; the errors told are those of the start and of what was found. */
static void test_best(void **state) {
    (void)state;
    struct problem *p = malloc(sizeof *p);
    struct kernels k;
    assert_non_null(p);
    make(p, 5, 2, 0.1);
    struct fit_result result = fit(p, world, &k);
    struct rng rng = rng_make(2, 1, 1);
    double whole, least = left(p, &k, &whole);
    bool right = fabs(result.after - least / whole) < 1e-4 && result.after < 0.5 * result.before;
    for (int trial = 0; trial < 100; trial++) {
        struct kernels other = k;
        double size = pow(10, -1 - trial % 4);
        for (int i = 0; i < T * C * 2; i++) other.depthwise[i] += (float)(size * rng_normal(&rng));
        for (int i = 0; i < C * 2 * M; i++) other.pointwise[i] += (float)(size * rng_normal(&rng));
        right = right && left(p, &other, &whole) >= least * (1 - 1e-3);
    }
    opgraph_destroy(&p->g);
    free(p);
    all_true(right);
}

static void test_ranks(void **state) {
    (void)state;
    struct problem *p = malloc(sizeof *p);
    struct kernels k[2];
    assert_non_null(p);
    make(p, 5, 3, 0.1);
    fit(p, world, &k[0]);
    fit(p, self, &k[1]);
    opgraph_destroy(&p->g);
    free(p);
    all_true(!memcmp(&k[0], &k[1], sizeof k[0]));
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = comm_split(world, comm_rank(world), 0, &self);
    if (!error) error = engine_find("openblas", &engine);
    if (!error) error = log_create(comm_rank(world), LOG_ERROR, &quiet);
    if (error) return 70;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exact), cmocka_unit_test(test_best),
                                       cmocka_unit_test(test_ranks)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    log_destroy(&quiet);
    comm_destroy(&self);
    comm_stop(&world);
    return failed;
}
