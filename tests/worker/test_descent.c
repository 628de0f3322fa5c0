/* One operation fitted towards the outputs of what comes after it: linear maps that can be met exactly,
 * errors computed anew, held-out samples, sums, and the number of ranks. Checks are on values reduced over
 * the ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "worker/descent.h"
#include "worker/nets.h"

static struct comm *world, *self;
static const struct engine *engine;

static void all_true(bool mine) {
    bool any_false = false;
    assert_null(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

#define SAMPLES 72
#define BLOCK 10 /* the last one is not whole */
#define NBLOCKS 8

/* A net whose operation 0 is to be fitted, with wanted outputs that other parameters of that operation give.
 */
struct problem {
    struct opgraph *g;
    struct params *truth;
    int noutputs;
    const int *value;
    int64_t in;
    float *x, *y[2];
};

enum kind { LINEAR, RELU, CONV, DEPTHWISE, GROUPED, DROPOUT, SUM, KINDS };

static const struct window_options same = {.same = true};

static struct opgraph *net(enum kind kind, int *value, int *noutputs) {
    struct opgraph *g = net_create();
    bool dense = kind == LINEAR || kind == RELU || kind == DROPOUT;
    int input = net_input(g, dense ? SHAPE(-1, 9) : SHAPE(-1, 6, 5, 4)), x = input;
    if (kind == DEPTHWISE) x = net_depthwise(g, x, 3, 3, 1, same);
    else if (kind == GROUPED) x = net_conv(g, x, 3, 3, 4, (struct window_options){.groups = 2, .same = true});
    else x = dense ? net_dense(g, x, 5, true) : net_conv(g, x, 3, 3, 4, same);
    if (kind == SUM) x = net_binary(g, BINARY_ADD, x, input);
    if (kind != LINEAR) x = net_relu(g, x);
    if (kind == DROPOUT) x = net_dropout(g, x, 0.5f);
    *noutputs = kind == CONV ? 2 : 1;
    for (int i = 0; i < *noutputs; i++)
        value[i] = dense ? net_dense(g, x, 5, true) : net_conv(g, x, 3, 3, 5 + i, same);
    net_finish(g, *noutputs, value);
    return g;
}

/* All outputs for all samples; owned. */
static void outputs(const struct problem *p, struct params *params, float **y) {
    struct exec *exec = NULL;
    must(engine->compile(p->g, &(struct exec_options){.batch = SAMPLES, .mode = EXEC_INFER, .threads = 1},
                         &exec));
    must(exec_set_params(exec, params));
    must(exec_forward(exec, (const float *const[]){p->x}));
    for (int i = 0; i < p->noutputs; i++) {
        size_t nbytes = (size_t)net_count(p->g, p->value[i], SAMPLES) * sizeof(float);
        y[i] = malloc(nbytes);
        assert_non_null(y[i]);
        memcpy(y[i], exec_output(exec, i), nbytes);
    }
    exec_destroy(&exec);
}

/* The truth with another operation 0; owned. */
static struct params *start_of(const struct problem *p) {
    struct params *start = NULL, *other = net_params(p->g, 99);
    must(params_clone(p->truth, &start));
    for (int i = 0; i < 2; i++) {
        int n = p->g->op[0].param[i];
        for (int64_t j = 0; j < start->count[n]; j++) params_at(start, n)[j] += 0.3f * params_at(other, n)[j];
    }
    params_destroy(&other);
    return start;
}

static struct problem problem_create(enum kind kind, int *value) {
    struct problem p = {.value = value};
    p.g = net(kind, value, &p.noutputs);
    p.truth = net_params(p.g, 4);
    p.in = net_count(p.g, p.g->input[0], 1);
    p.x = random_floats(SAMPLES * p.in, 50 + (uint64_t)kind);
    outputs(&p, p.truth, p.y);
    return p;
}

static void problem_destroy(struct problem *p) {
    for (int i = 0; i < p->noutputs; i++) free(p->y[i]);
    free(p->x);
    params_destroy(&p->truth);
    opgraph_destroy(&p->g);
}

static void descend(const struct problem *p, const struct comm *over, int64_t held, int64_t steps,
                    struct params *params, struct descent_result *result) {
    struct machine machine = {.world = over, .engine = engine, .threads = 1};
    int64_t block = share_begin(NBLOCKS, comm_rank(over), comm_size(over)), first = BLOCK * block;
    int64_t end = BLOCK * share_begin(NBLOCKS, comm_rank(over) + 1, comm_size(over));
    if (end > SAMPLES) end = SAMPLES;
    struct activations *inputs = NULL;
    must(activations_create(&machine, p->g, params, p->x + first * p->in, end - first, BLOCK, &inputs));
    struct descent_output output[2];
    for (int i = 0; i < p->noutputs; i++) {
        const struct shape *s = &p->g->value[p->value[i]];
        output[i] = (struct descent_output){.value = p->value[i],
                                            .y = p->y[i] + first * net_count(p->g, p->value[i], 1),
                                            .width = s->dim[s->rank - 1],
                                            .outcome = {.kind = OUTCOME_LINEAR, .maximum = INFINITY}};
    }
    struct descent task = {.graph = p->g,
                           .params = params,
                           .op = 0,
                           .inputs = inputs,
                           .noutputs = p->noutputs,
                           .output = output,
                           .n = end - first,
                           .total = SAMPLES,
                           .block = BLOCK,
                           .first = block,
                           .held = held,
                           .rows = 1000000,
                           .steps = steps};
    must(descent_run(&machine, &task, result));
    activations_destroy(&inputs);
}

/* Squared error of all outputs, each relative to its squares; over the number of outputs. */
static double error_of(const struct problem *p, struct params *params) {
    float *z[2];
    double sum = 0;
    outputs(p, params, z);
    for (int i = 0; i < p->noutputs; i++) {
        double error = 0, base = 0;
        for (int64_t j = 0; j < net_count(p->g, p->value[i], SAMPLES); j++) {
            error += pow((double)z[i][j] - p->y[i][j], 2);
            base += (double)p->y[i][j] * p->y[i][j];
        }
        sum += error / base / p->noutputs;
        free(z[i]);
    }
    return sum;
}

/* The wanted outputs can be met: steps come near, and exactly where all is linear. No other operation
 * changes. */
static void test_comes_near(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        int value[2];
        struct problem p = problem_create((enum kind)kind, value);
        struct params *params = start_of(&p);
        double before = error_of(&p, params);
        struct descent_result result;
        descend(&p, world, 0, kind == LINEAR ? 40 : 15, params, &result);
        double after = error_of(&p, params), least = kind == LINEAR ? 1e-6 : 0.1;
        bool right = result.possible && before > 0.01 && after < least * before &&
                     fabs(result.before - before) < 1e-4 * before &&
                     fabs(result.after - after) < 1e-4 * after + 1e-8;
        if (!right)
            print_error("net %d: error %g (told %g) -> %g (told %g)\n", kind, before, result.before, after,
                        result.after);
        for (int i = 2; i < p.g->nparams; i++)
            right = right && !memcmp(params_at(params, i), params_at(p.truth, i),
                                     (size_t)params->count[i] * sizeof(float));
        params_destroy(&params);
        problem_destroy(&p);
        all_true(right);
    }
}

/* Where all that the steps do makes the held-out samples worse, nothing is changed. */
static void test_held_out_samples_decide(void **state) {
    (void)state;
    enum { HELD = 4 };
    int value[2];
    struct problem p = problem_create(RELU, value);
    struct params *start = start_of(&p), *params = NULL;
    float *z[2];
    outputs(&p, start, z);
    int64_t floats = net_count(p.g, value[0], 1);
    for (int64_t j = 0; j < SAMPLES * floats; j++)
        if (j / floats / BLOCK % HELD == HELD - 1) p.y[0][j] = z[0][j] * (1 + 1e-3f);
    free(z[0]);
    must(params_clone(start, &params));
    struct descent_result result;
    descend(&p, world, HELD, 10, params, &result);
    bool right = result.after == result.before &&
                 !memcmp(params->data, start->data, (size_t)start->total * sizeof(float));
    params_destroy(&params);
    params_destroy(&start);
    problem_destroy(&p);
    all_true(right);
}

static void test_ranks_do_not_matter(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        int value[2];
        struct problem p = problem_create((enum kind)kind, value);
        struct params *together = start_of(&p), *alone = start_of(&p);
        struct descent_result a, b;
        descend(&p, world, 4, 5, together, &a);
        descend(&p, self, 4, 5, alone, &b);
        bool right = a.after < a.before && fabs(a.after - b.after) < 1e-9 * b.after &&
                     !memcmp(together->data, alone->data, (size_t)alone->total * sizeof(float));
        params_destroy(&together);
        params_destroy(&alone);
        problem_destroy(&p);
        all_true(right);
    }
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = comm_split(world, comm_rank(world), 0, &self);
    if (!error) error = engine_find("openblas", &engine);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_comes_near),
        cmocka_unit_test(test_held_out_samples_decide),
        cmocka_unit_test(test_ranks_do_not_matter),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_destroy(&self);
    comm_stop(&world);
    return failed;
}
