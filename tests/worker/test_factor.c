/* Layers that are products of two, fitted: the product is what the least-squares fit of the whole layer is
 * after it was projected on the largest directions of the outputs; the same bytes on any number of ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph_build.h"
#include "shared/rng.h"
#include "worker/decomposition.h"
#include "worker/energy.h"
#include "worker/engine_check.h"
#include "worker/factor.h"
#include "worker/nets.h"

enum { SAMPLES = 256, BLOCK = 16, K = 9, M = 7, RANK = 3, WIDE = 10 };

static struct comm *world, *self;
static const struct engine *engine;
static struct log *quiet;

/* On all ranks, so that none waits for another that has failed. */
static void all_true(bool mine) {
    bool any_false = false;
    assert_null(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

static const int64_t column[M] = {0, 2, 3, 5, 6, 8, 9};

struct problem {
    struct opgraph *g; /* of the first factor */
    float x[SAMPLES * K], y[SAMPLES * WIDE];
    double w[K][WIDE];
};

/* y = x W + 3, W of rank `rank`, and noise. */
static void make(struct problem *p, int rank, double noise) {
    struct rng rng = rng_make(17, 1, (uint64_t)rank);
    double a[K][WIDE], b[WIDE][WIDE];
    memset(p->w, 0, sizeof p->w);
    for (int i = 0; i < K; i++)
        for (int r = 0; r < rank; r++) a[i][r] = rng_normal(&rng);
    for (int r = 0; r < rank; r++)
        for (int j = 0; j < WIDE; j++) b[r][j] = rng_normal(&rng);
    for (int i = 0; i < K; i++)
        for (int j = 0; j < WIDE; j++)
            for (int r = 0; r < rank; r++) p->w[i][j] += a[i][r] * b[r][j];
    for (int s = 0; s < SAMPLES; s++) {
        for (int i = 0; i < K; i++) p->x[s * K + i] = (float)(rng_normal(&rng) * (1 + i % 3) + 0.5 * i);
        for (int j = 0; j < WIDE; j++) {
            double sum = 3 + noise * rng_normal(&rng);
            for (int i = 0; i < K; i++) sum += p->x[s * K + i] * p->w[i][j];
            p->y[s * WIDE + j] = (float)sum;
        }
    }
    p->g = net_create();
    int x = net_input(p->g, SHAPE(-1, K));
    x = net_dense(p->g, x, RANK, false);
    net_finish(p->g, 1, &x);
}

static void fit(const struct problem *p, const struct comm *over, float *left, float *right) {
    struct machine machine = {.world = over, .log = quiet, .engine = engine, .threads = 1};
    int64_t first = share_begin(SAMPLES / BLOCK, comm_rank(over), comm_size(over)) * BLOCK,
            end = share_begin(SAMPLES / BLOCK, comm_rank(over) + 1, comm_size(over)) * BLOCK;
    struct fit_call call = {
        .op = &p->g->op[0], .x = p->x + first * K, .y = p->y + first * WIDE, .width = WIDE};
    struct fit_data data = {.ncalls = 1,
                            .call = &call,
                            .column = column,
                            .n = end - first,
                            .total = SAMPLES,
                            .block = BLOCK,
                            .first = first / BLOCK};
    struct fit_options options = {.ridge = 1e-9};
    struct fit_result result;
    for (int i = 0; i < K * RANK; i++) left[i] = 0.5f;
    memset(right, 0, RANK * M * sizeof *right);
    build_ok(factor_fit(&machine, p->g, &data, M, &options, left, right, &result));
}

/* Of a layer that has this rank the product is the layer. */
static void test_exact(void **state) {
    (void)state;
    struct problem *p = malloc(sizeof *p);
    float left[K * RANK], right[RANK * M];
    assert_non_null(p);
    make(p, RANK, 0);
    fit(p, world, left, right);
    double worst = 0;
    for (int i = 0; i < K; i++)
        for (int j = 0; j < M; j++) {
            double product = 0;
            for (int r = 0; r < RANK; r++) product += (double)left[i * RANK + r] * right[r * M + j];
            worst = fmax(worst, fabs(product - p->w[i][column[j]]));
        }
    opgraph_destroy(&p->g);
    free(p);
    all_true(worst < 1e-4);
}

/* Otherwise no other product of this rank, with the best bias, is better: those near it are not. */
static void test_best(void **state) {
    (void)state;
    struct problem *p = malloc(sizeof *p);
    float left[K * RANK], right[RANK * M];
    assert_non_null(p);
    make(p, 6, 0.1);
    fit(p, world, left, right);
    struct rng rng = rng_make(2, 1, 1);
    double least = 0;
    bool right_one = true;
    for (int trial = 0; trial < 300; trial++) {
        double a[K * RANK], b[RANK * M], error = 0;
        double size = trial ? pow(10, -1 - trial % 4) : 0;
        for (int i = 0; i < K * RANK; i++) a[i] = left[i] + size * rng_normal(&rng);
        for (int i = 0; i < RANK * M; i++) b[i] = right[i] + size * rng_normal(&rng);
        for (int j = 0; j < M; j++) { /* the variance of what is left: the bias is the mean */
            double sum = 0, square = 0;
            for (int s = 0; s < SAMPLES; s++) {
                double d = p->y[s * WIDE + column[j]];
                for (int r = 0; r < RANK; r++) {
                    double z = 0;
                    for (int i = 0; i < K; i++) z += p->x[s * K + i] * a[i * RANK + r];
                    d -= z * b[r * M + j];
                }
                sum += d;
                square += d * d;
            }
            error += square - sum * sum / SAMPLES;
        }
        if (!trial) least = error;
        right_one = right_one && error >= least * (1 - 1e-4);
    }
    opgraph_destroy(&p->g);
    free(p);
    all_true(right_one);
}

/* How many directions hold a part of the outputs' variance: by the singular values of the outputs themselves.
 */
static void test_energy(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(-1, K)), y = net_dense(g, x, M, true);
    net_finish(g, 1, &y);
    struct params *params = net_params(g, 3);
    float *in = random_floats(SAMPLES * K, 8);
    double *out = calloc(SAMPLES * M, sizeof *out), *u = calloc(SAMPLES * M, sizeof *u), s[M], vt[M * M];
    assert_true(out && u);
    const float *w = params_at(params, 0), *b = params_at(params, 1);
    for (int j = 0; j < M; j++) {
        double mean = 0;
        for (int i = 0; i < SAMPLES; i++) {
            double sum = b[j];
            for (int k = 0; k < K; k++) sum += in[i * K + k] * w[k * M + j];
            out[i * M + j] = sum;
            mean += sum / SAMPLES;
        }
        for (int i = 0; i < SAMPLES; i++) out[i * M + j] -= mean;
    }
    build_ok(singular_values(SAMPLES, M, out, u, s, vt));
    int64_t first = share_begin(SAMPLES / BLOCK, comm_rank(world), comm_size(world)) * BLOCK,
            end = share_begin(SAMPLES / BLOCK, comm_rank(world) + 1, comm_size(world)) * BLOCK;
    struct machine machine = {.world = world, .log = quiet, .engine = engine, .threads = 1};
    struct calibration calibration = {
        .n = end - first, .total = SAMPLES, .first = first / BLOCK, .sample = K, .x = in + first * K};
    bool right = true;
    for (double energy = 0.3; energy < 1; energy += 0.1) {
        double all = 0, sum = 0;
        int64_t expected = 0, rank = 0;
        for (int j = 0; j < M; j++) all += s[j] * s[j];
        while (sum < energy * all) {
            sum += s[expected] * s[expected];
            expected++;
        }
        build_ok(energy_ranks(&machine, g, params, &calibration, energy, 1, &y, &rank));
        right = right && rank == expected;
    }
    free(out);
    free(u);
    free(in);
    params_destroy(&params);
    opgraph_destroy(&g);
    all_true(right);
}

static void test_ranks(void **state) {
    (void)state;
    struct problem *p = malloc(sizeof *p);
    float left[2][K * RANK], right[2][RANK * M];
    assert_non_null(p);
    make(p, 6, 0.1);
    fit(p, world, left[0], right[0]);
    fit(p, self, left[1], right[1]);
    opgraph_destroy(&p->g);
    free(p);
    all_true(!memcmp(left[0], left[1], sizeof left[0]) && !memcmp(right[0], right[1], sizeof right[0]));
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = comm_split(world, comm_rank(world), 0, &self);
    if (!error) error = engine_find("openblas", &engine);
    if (!error) error = log_create(comm_rank(world), LOG_ERROR, &quiet);
    if (error) return 70;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_exact), cmocka_unit_test(test_best),
                                       cmocka_unit_test(test_ranks), cmocka_unit_test(test_energy)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    log_destroy(&quiet);
    comm_destroy(&self);
    comm_stop(&world);
    return failed;
}
