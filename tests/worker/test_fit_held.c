/* Fits with held-out blocks, and of what follows an operation: against fits with fixed ridges, least squares
 * by Gauss elimination, and errors from their formulas. Checks are on values reduced over the ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

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
#define HELD 4 /* every fourth block */
#define IN 7
#define OUT 4
#define ROW (IN + 1)

static const struct outcome linear = {.kind = OUTCOME_LINEAR, .maximum = INFINITY};
static const struct outcome softmax = {.kind = OUTCOME_SOFTMAX, .maximum = INFINITY};

/* A dense layer called once or twice on inputs x (SAMPLES, IN) each, and what it is to give. */
struct problem {
    int calls;
    struct opgraph *g;
    struct params *truth;
    float *x[2], *y[2];
    const float *counts; /* NULL, or which samples count */
};

static struct problem problem_create(int calls, float noise) {
    struct problem p = {.calls = calls, .g = net_create()};
    int x[2] = {0}, out[2] = {0};
    for (int c = 0; c < calls; c++) x[c] = net_input(p.g, SHAPE(-1, IN));
    for (int c = 0; c < calls; c++)
        out[c] = c ? net_again(p.g, out[0], x[c]) : net_dense(p.g, x[c], OUT, true);
    net_finish(p.g, calls, out);
    p.truth = net_params(p.g, 4);
    for (int c = 0; c < calls; c++) {
        p.x[c] = random_floats(SAMPLES * IN, 10 + (uint64_t)c);
        p.y[c] = random_floats(SAMPLES * OUT, 20 + (uint64_t)c);
        for (int r = 0; r < SAMPLES; r++)
            for (int j = 0; j < OUT; j++) {
                float *y = &p.y[c][r * OUT + j];
                *y = noise * *y + params_at(p.truth, 1)[j];
                for (int i = 0; i < IN; i++) *y += p.x[c][r * IN + i] * params_at(p.truth, 0)[i * OUT + j];
            }
    }
    return p;
}

static void problem_destroy(struct problem *p) {
    for (int c = 0; c < p->calls; c++) {
        free(p->x[c]);
        free(p->y[c]);
    }
    params_destroy(&p->truth);
    opgraph_destroy(&p->g);
}

static bool is_held(int sample) {
    return sample / BLOCK % HELD == HELD - 1;
}

/* The parameters after a fit over the ranks of `over`; owned. */
static struct params *fitted(const struct problem *p, const struct comm *over,
                             const struct fit_options *options, const struct outcome *outcome,
                             struct fit_result *result) {
    struct machine machine = {.world = over, .engine = engine, .threads = 1};
    int64_t block = share_begin(SAMPLES / BLOCK, comm_rank(over), comm_size(over)), first = BLOCK * block;
    int64_t end = BLOCK * share_begin(SAMPLES / BLOCK, comm_rank(over) + 1, comm_size(over));
    struct fit_call call[2];
    for (int c = 0; c < p->calls; c++)
        call[c] = (struct fit_call){.op = &p->g->op[c],
                                    .x = p->x[c] + first * IN,
                                    .y = p->y[c] + first * OUT,
                                    .counts = p->counts ? p->counts + first : NULL,
                                    .width = OUT,
                                    .outcome = *outcome};
    struct fit_data data = {.ncalls = p->calls,
                            .call = call,
                            .n = end - first,
                            .total = SAMPLES,
                            .block = BLOCK,
                            .first = block,
                            .held = HELD};
    struct params *params = net_params(p->g, 1234);
    must(fit_operation(&machine, p->g, &data, options, params_at(params, 0), params_at(params, 1), result));
    return params;
}

/* What the layer gives for row r of call c. */
static void predict(const struct problem *p, const struct params *params, int c, int r, double *z) {
    for (int j = 0; j < OUT; j++) {
        z[j] = params_at(params, 1)[j];
        for (int i = 0; i < IN; i++) z[j] += (double)p->x[c][r * IN + i] * params_at(params, 0)[i * OUT + j];
    }
}

static double held_error(const struct problem *p, const struct params *params) {
    double error = 0, z[OUT];
    for (int r = 0; r < SAMPLES; r++) {
        predict(p, params, 0, r, z);
        for (int j = 0; j < OUT && is_held(r); j++) error += pow(z[j] - p->y[0][r * OUT + j], 2);
    }
    return error;
}

/* Divergence of the softmax of the outputs from the softmax of the wanted ones, over all samples. */
static double divergence(const struct problem *p, const struct params *params, double *of_equal) {
    double sum = 0, z[OUT];
    *of_equal = 0;
    for (int r = 0; r < SAMPLES; r++) {
        double a = 0, b = 0;
        predict(p, params, 0, r, z);
        for (int j = 0; j < OUT; j++) {
            a += exp(p->y[0][r * OUT + j]);
            b += exp(z[j]);
        }
        for (int j = 0; j < OUT; j++) {
            double q = exp(p->y[0][r * OUT + j]) / a;
            sum += q * log(q / (exp(z[j]) / b));
            *of_equal += q * log(q * OUT);
        }
    }
    return sum;
}

/* All calls of a layer are fitted together, and held-out samples not at all. */
static void test_calls_and_held_samples(void **state) {
    (void)state;
    for (int calls = 1; calls <= 2; calls++) {
        struct problem p = problem_create(calls, 1);
        double g[ROW * ROW] = {0}, w[ROW * OUT] = {0}, worst = 0;
        for (int c = 0; c < calls; c++)
            for (int r = 0; r < SAMPLES; r++) {
                double u[ROW];
                for (int i = 0; i < ROW; i++) u[i] = i < IN ? p.x[c][r * IN + i] : 1;
                for (int i = 0; i < ROW && !is_held(r); i++) {
                    for (int j = 0; j < ROW; j++) g[i * ROW + j] += u[i] * u[j];
                    for (int j = 0; j < OUT; j++) w[i * OUT + j] += u[i] * p.y[c][r * OUT + j];
                }
            }
        gauss(ROW, OUT, g, w);
        struct fit_result result = {0};
        struct params *found = fitted(&p, world, &(struct fit_options){.ridge = 1e-9}, &linear, &result);
        for (int i = 0; i < ROW * OUT; i++) {
            double v = i < IN * OUT ? params_at(found, 0)[i] : params_at(found, 1)[i - IN * OUT];
            worst = fmax(worst, fabs(v - w[i]));
        }
        params_destroy(&found);
        problem_destroy(&p);
        all_true(worst < 1e-5 && !result.kept);
    }
}

/* Where the samples that are fitted to say other things than the held-out ones, the start stays. */
static void test_start_is_kept(void **state) {
    (void)state;
    struct problem p = problem_create(1, 0);
    struct params *start = net_params(p.g, 1234);
    for (int r = 0; r < SAMPLES; r++) {
        double z[OUT];
        predict(&p, start, 0, r, z);
        for (int j = 0; j < OUT && is_held(r); j++) p.y[0][r * OUT + j] = (float)z[j];
    }
    struct fit_result result = {0};
    struct params *found = fitted(&p, world, &(struct fit_options){.ridge = 1e-6}, &linear, &result);
    bool right = result.kept && result.after == result.before &&
                 !memcmp(found->data, start->data, (size_t)start->total * sizeof(float));
    params_destroy(&found);
    params_destroy(&start);
    problem_destroy(&p);
    all_true(right);
}

/* Of all ridges the one chosen is the best on the held-out samples. */
static void test_ridge_is_chosen(void **state) {
    (void)state;
    static const double others[] = {1e-5, 1e-4, 1e-3, 1e-2};
    static const float noises[] = {0, 3};
    double chosen[2];
    for (int n = 0; n < 2; n++) {
        struct problem p = problem_create(1, noises[n]);
        struct fit_result result = {0}, other;
        struct params *found = fitted(&p, world, &(struct fit_options){0}, &linear, &result);
        double error = held_error(&p, found);
        bool right = !result.kept;
        for (int i = 0; i < 4; i++) {
            struct params *fixed =
                fitted(&p, world, &(struct fit_options){.ridge = others[i]}, &linear, &other);
            right = right && error <= held_error(&p, fixed) * (1 + 1e-6);
            if (others[i] == result.ridge)
                right = right && !memcmp(found->data, fixed->data, (size_t)found->total * sizeof(float));
            params_destroy(&fixed);
        }
        chosen[n] = result.ridge;
        params_destroy(&found);
        problem_destroy(&p);
        all_true(right);
    }
    assert_true(chosen[0] == 1e-5); /* without noise the least */
}

/* Inputs of which one copies another and one is constant, as the bias's is: two directions are left out, and
 * the outputs are met nevertheless. */
/* Rows that do not count may hold anything: the others are exact, and so is the solution. */
static void test_rows_that_do_not_count(void **state) {
    (void)state;
    struct problem p = problem_create(1, 0);
    const struct fit_options options = {.ridge = 1e-9};
    float counts[SAMPLES];
    for (int r = 0; r < SAMPLES; r++) {
        counts[r] = r % 3 != 0;
        for (int j = 0; j < OUT && r % 3 == 0; j++) p.y[0][r * OUT + j] = 1000;
    }
    struct fit_result result;
    p.counts = counts;
    struct params *found = fitted(&p, world, &options, &linear, &result);
    bool right = result.after < 1e-8 && result.before > 1e-3;
    for (int i = 0; i < IN * OUT; i++)
        right = right && fabsf(params_at(found, 0)[i] - params_at(p.truth, 0)[i]) < 1e-4F;
    for (int i = 0; i < OUT; i++)
        right = right && fabsf(params_at(found, 1)[i] - params_at(p.truth, 1)[i]) < 1e-4F;
    params_destroy(&found);
    problem_destroy(&p);
    all_true(right);
}

static void test_dependent_inputs(void **state) {
    (void)state;
    struct problem p = problem_create(1, 0);
    for (int r = 0; r < SAMPLES; r++) {
        float *x = &p.x[0][r * IN];
        x[2] = x[1];
        x[4] = 3;
        for (int j = 0; j < OUT; j++) p.y[0][r * OUT + j] = 2 * x[0] - x[1] + x[5] * (float)j + 7;
    }
    struct fit_result result = {0};
    struct params *found = fitted(&p, world, &(struct fit_options){.ridge = 1e-15}, &linear, &result);
    double worst = 0;
    for (int i = 0; i < IN * OUT; i++) worst = fmax(worst, fabs(params_at(found, 0)[i]));
    bool right = result.after < 1e-8 && worst < 20;
    if (comm_is_root(world)) right = right && result.dropped == 2;
    if (!right)
        print_error("error %g, dropped %d, weights to %g\n", result.after, (int)result.dropped, worst);
    params_destroy(&found);
    problem_destroy(&p);
    all_true(right);
}

/* Wanted outputs that no weights give, large where the softmax is flat: rounds before a softmax lower the
 * divergence of the probabilities, which is what is told. */
static void test_softmax_rounds(void **state) {
    (void)state;
    struct problem p = problem_create(1, 0.2f);
    for (int i = 0; i < SAMPLES * OUT; i++) p.y[0][i] = p.y[0][i] * p.y[0][i] * p.y[0][i] + p.y[0][i];
    double found[2], told[2], equal;
    for (int aware = 0; aware < 2; aware++) {
        struct fit_options options = {.ridge = 1e-6, .rounds = 8 * aware};
        struct fit_result result = {0};
        struct params *params = fitted(&p, world, &options, &softmax, &result);
        found[aware] = divergence(&p, params, &equal) / equal;
        told[aware] = result.after;
        params_destroy(&params);
    }
    problem_destroy(&p);
    if (!(found[1] < 0.9 * found[0]))
        print_error("divergence %g (told %g), with rounds %g (told %g)\n", found[0], told[0], found[1],
                    told[1]);
    all_true(found[1] < 0.9 * found[0] && fabs(told[0] - found[0]) < 1e-4 * found[0] &&
             fabs(told[1] - found[1]) < 1e-4 * found[1]);
}

/* Fewer positions: each is one of the sample's, none comes twice, all come among the samples, and what is
 * gathered is what is there. */
static void test_thin_patches(void **state) {
    (void)state;
    enum { N = 128, SIDE = 9, CHANNELS = 2, POSITIONS = SIDE * SIDE };
    struct opgraph *g = net_create();
    int x = net_conv(g, net_input(g, SHAPE(-1, SIDE, SIDE, CHANNELS)), 3, 3, 4,
                     (struct window_options){.same = true});
    net_finish(g, 1, &x);
    struct patches all, thin;
    must(patches_init(g, &g->op[0], &all));
    thin = all;
    patches_thin(&thin, N, 600); /* of 10368 rows */
    assert_true(thin.step == 16 && thin.rows == POSITIONS / 16);
    struct patches enough = all;
    patches_thin(&enough, 8, 600); /* there are 648 */
    assert_true(enough.step == 1 && enough.rows == POSITIONS);
    float *data = random_floats(N * POSITIONS * CHANNELS, 3);
    float wanted[9 * CHANNELS], found[9 * CHANNELS];
    bool seen[POSITIONS] = {0};
    for (int64_t row = 0, last = -1; row < N * thin.rows; row++) {
        int64_t at = patches_position(&thin, row);
        assert_true(at > last && at / POSITIONS == row / thin.rows);
        last = at;
        seen[at % POSITIONS] = true;
        patches_gather(&thin, data, row, 1, thin.columns, 1, found);
        patches_gather(&all, data, at, 1, all.columns, 1, wanted);
        assert_memory_equal(found, wanted, sizeof found);
    }
    for (int i = 0; i < 16 * (POSITIONS / 16); i++) assert_true(seen[i]);
    free(data);
    opgraph_destroy(&g);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = comm_split(world, comm_rank(world), 0, &self);
    if (!error) error = engine_find("openblas", &engine);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_calls_and_held_samples), cmocka_unit_test(test_start_is_kept),
        cmocka_unit_test(test_ridge_is_chosen),        cmocka_unit_test(test_softmax_rounds),
        cmocka_unit_test(test_rows_that_do_not_count), cmocka_unit_test(test_dependent_inputs),
        cmocka_unit_test(test_thin_patches),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_destroy(&self);
    comm_stop(&world);
    return failed;
}
