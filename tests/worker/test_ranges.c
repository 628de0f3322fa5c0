/* What values lie between, over ranks: largest and least, and outliers clipped as the squared error wants it.
 * Run on 1, 2, 3 and 4 ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/nets.h"
#include "worker/ranges.h"

#include "shared/rng.h"

#include <math.h>
#include <stdlib.h>

#define SAMPLES 203
#define SIZE 64

static struct comm *world;

static void all_true(bool mine) {
    bool any_false = false;
    must(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

/* This rank's samples of all. */
static const float *share(const float *x, int64_t *n) {
    const int64_t first = share_begin(SAMPLES, comm_rank(world), comm_size(world));
    *n = share_begin(SAMPLES, comm_rank(world) + 1, comm_size(world)) - first;
    return x + first * SIZE;
}

static bool near(float a, double b, double tolerance) {
    return fabs((double)a - b) <= tolerance * fabs(b);
}

/* Uniform values lose by any clipping; the input is never clipped. */
static void extremes(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(0, SIZE));
    int y = net_affine(g, x, 1, (float[]){3}, (float[]){-1}), z = net_relu(g, y);
    net_finish(g, 1, &z);
    struct params *params = net_params(g, 1);
    float *all = malloc(SAMPLES * SIZE * sizeof *all);
    assert_non_null(all);
    struct rng rng = rng_make(1, RNG_INIT, 0);
    for (int i = 0; i < SAMPLES * SIZE; i++) all[i] = (float)rng_uniform(&rng);
    all[SAMPLES * SIZE - 1] = 1;
    all[5] = 0;
    for (int e = 0; e < engine_count(); e++) {
        const struct machine machine = {.world = world, .engine = engine_at(e), .threads = 1};
        struct value_range range[8];
        int64_t n;
        const float *mine = share(all, &n);
        must(ranges_measure(&machine, g, params, n, mine, range));
        all_true(range[x].low == 0 && range[x].high == 1);
        all_true(near(range[y].low, -1, 1e-6) && near(range[y].high, 2, 1e-6));
        all_true(range[z].low == 0 && near(range[z].high, 2, 1e-6));
    }
    free(all);
    params_destroy(&params);
    opgraph_destroy(&g);
}

/* Mean squared error of rounding |v| in steps of t/127, clipped at t, by its definition. */
static double squared_error(const float *v, int64_t n, double t) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        const double unit = t / 127, q = fmin(fmax(nearbyint((double)v[i] / unit), -127), 127);
        sum += ((double)v[i] - q * unit) * ((double)v[i] - q * unit);
    }
    return sum / (double)n;
}

/* A normal distribution with one outlier. */
static void outliers(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(0, SIZE)), y = net_affine(g, x, 1, (float[]){1}, (float[]){0});
    net_finish(g, 1, &y);
    struct params *params = net_params(g, 1);
    float *all = random_floats(SAMPLES * SIZE, 3);
    all[77] = -40;
    double best = INFINITY;
    for (double t = 1; t < 41; t += 0.02) best = fmin(best, squared_error(all, SAMPLES * SIZE, t));
    const struct machine machine = {.world = world, .engine = engine_at(0), .threads = 1};
    struct value_range range[4];
    int64_t n;
    const float *mine = share(all, &n);
    must(ranges_measure(&machine, g, params, n, mine, range));
    const double kept = fmax((double)range[y].high, -(double)range[y].low);
    all_true(range[x].low == -40);
    const double error = squared_error(all, SAMPLES * SIZE, kept);
    all_true(error < 1.01 * best && error < 0.97 * squared_error(all, SAMPLES * SIZE, 40));
    free(all);
    params_destroy(&params);
    opgraph_destroy(&g);
}

static void not_finite(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(0, SIZE)), y = net_relu(g, x);
    net_finish(g, 1, &y);
    struct params *params = net_params(g, 1);
    float *all = random_floats(SAMPLES * SIZE, 3);
    all[SAMPLES * SIZE - 3] = NAN;
    const struct machine machine = {.world = world, .engine = engine_at(0), .threads = 1};
    struct value_range range[4];
    int64_t n;
    const float *mine = share(all, &n);
    status error = ranges_measure(&machine, g, params, n, mine, range);
    all_true(status_code(error) == STATUS_DATA);
    status_drop(&error);
    free(all);
    params_destroy(&params);
    opgraph_destroy(&g);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(extremes), cmocka_unit_test(outliers),
                                       cmocka_unit_test(not_finite)};
    status error = comm_start(&argc, &argv, &world);
    if (error) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_stop(&world);
    return failed;
}
