/* Recurrent layers on every engine: forward against the formulas in double precision, gradients against
 * central differences of that. */
#include "worker/engine_check.h"
#include "worker/nets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TANH                                                                                                 \
    { .kind = ACTIVATION_TANH }
#define SIGMOID                                                                                              \
    { .kind = ACTIVATION_SIGMOID }

static const struct recurrent CELLS[] = {
    {.cell = CELL_SIMPLE, .activation = TANH, .gate = SIGMOID},
    {.cell = CELL_LSTM, .activation = TANH, .gate = SIGMOID},
    {.cell = CELL_GRU, .activation = TANH, .gate = SIGMOID},
    {.cell = CELL_GRU, .activation = TANH, .gate = SIGMOID, .reset_after = true},
};
enum { NCELLS = sizeof CELLS / sizeof CELLS[0] };

/* A layer on inputs of its own: x, the states, the mask, of which the first `masked` steps of sample 0, all
 * of sample 1 and some here and there are zero. */
static struct trial *trial_of(const struct recurrent *r, int64_t batch, int64_t steps, int channels,
                              int units, bool bias) {
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(-1, steps, channels)), more[3], n = 0;
    for (int i = 0; i < r->states; i++) more[n++] = net_input(g, SHAPE(-1, units));
    if (r->mask) more[n++] = net_activation(g, net_input(g, SHAPE(-1, steps)), ACTIVATION_NOT_EQUAL, 0, 0, 0);
    int y = net_recurrent(g, x, units, r, more, bias);
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, batch, 5);
    if (!r->mask) return t;
    float *mask = t->input[1 + r->states];
    for (int64_t i = 0; i < batch * steps; i++) {
        const int64_t sample = i / steps, at = i % steps;
        bool zero = at % 3 == 0; /* less than half of all: at a zero there is no derivative to compare */
        if (batch > 1) zero = sample == 1 || (sample == 0 ? at < 2 : at == sample);
        mask[i] = zero ? 0 : 1 + (float)at;
    }
    return t;
}

static void check(const struct recurrent *r, int64_t batch, int64_t steps, int channels, int units,
                  bool bias) {
    struct trial *t = trial_of(r, batch, steps, channels, units, bias);
    trial_check(t);
    trial_destroy(t);
}

static void cells(void **state) {
    (void)state;
    for (int i = 0; i < NCELLS; i++) {
        check(&CELLS[i], 3, 5, 4, 6, true);
        check(&CELLS[i], 1, 4, 3, 1, true);
        check(&CELLS[i], 5, 1, 2, 17, false);
        check(&CELLS[i], 2, 3, 33, 35, false);
    }
}

/* More steps than are computed at a time; more samples than panels_product() takes in one block. */
static void long_and_wide(void **state) {
    (void)state;
    for (int i = 0; i < NCELLS; i++) {
        check(&CELLS[i], 2, 37, 2, 3, true);
        check(&CELLS[i], 51, 2, 2, 3, true);
    }
}

static void backwards(void **state) {
    (void)state;
    for (int i = 0; i < NCELLS; i++) {
        struct recurrent r = CELLS[i];
        r.backwards = true;
        check(&r, 3, 5, 4, 6, true);
        check(&r, 2, 37, 2, 3, true);
    }
}

static void states_mask_and_cell_state(void **state) {
    (void)state;
    for (int i = 0; i < NCELLS; i++)
        for (int option = 1; option < 16; option++) {
            struct recurrent r = CELLS[i];
            if (option & 1) r.states = r.cell == CELL_LSTM ? 2 : 1;
            r.mask = option & 2;
            r.backwards = option & 4;
            r.cell_state = option & 8;
            if (r.cell_state && r.cell != CELL_LSTM) continue;
            check(&r, 4, 6, 3, 5, true);
            if (option & 3) check(&r, 1, 35, 2, 3, option & 4);
        }
}

/* Every activation for both functions; sums are not large, so that kinks are rare and nothing overflows. */
static void activations(void **state) {
    (void)state;
    static const struct activation_function functions[] = {
        {.kind = ACTIVATION_LINEAR},
        {ACTIVATION_RELU, 0, INFINITY, 0},
        {ACTIVATION_RELU, 0.1f, 6, 0.2f},
        {.kind = ACTIVATION_SIGMOID},
        {.kind = ACTIVATION_TANH},
        {.kind = ACTIVATION_SOFTPLUS},
        {.kind = ACTIVATION_SOFTSIGN},
        {.kind = ACTIVATION_ELU, .alpha = 1},
        {.kind = ACTIVATION_SELU},
        {.kind = ACTIVATION_EXPONENTIAL},
        {.kind = ACTIVATION_SILU},
        {.kind = ACTIVATION_GELU},
        {.kind = ACTIVATION_GELU_TANH},
        {.kind = ACTIVATION_HARD_SIGMOID, .alpha = 0.2f, .beta = 0.5f},
        {.kind = ACTIVATION_HARD_SIGMOID, .alpha = 1.0f / 6, .beta = 0.5f},
        {.kind = ACTIVATION_HARD_SILU},
        {.kind = ACTIVATION_MISH},
        {.kind = ACTIVATION_CLIP, .alpha = -1, .beta = 2},
    };
    for (int i = 0; i < NCELLS; i++)
        for (size_t k = 0; k < sizeof functions / sizeof functions[0]; k++) {
            struct recurrent r = CELLS[i];
            if (functions[k].kind != ACTIVATION_EXPONENTIAL) { /* it grows without bound */
                r.activation = functions[k];
                check(&r, 2, 3, 3, 4, true);
                r = CELLS[i];
            }
            r.gate = functions[k];
            if (r.cell != CELL_SIMPLE) check(&r, 2, 2, 3, 4, true);
        }
}

/* Two layers, one in each direction, on the same input, and the first again with the same weights. */
static void bidirectional_and_shared(void **state) {
    (void)state;
    for (int i = 0; i < NCELLS; i++) {
        struct opgraph *g = net_create();
        struct recurrent r = CELLS[i], back = CELLS[i];
        back.backwards = true;
        int x = net_input(g, SHAPE(-1, 4, 5)), a = net_recurrent(g, x, 5, &r, NULL, true);
        int both = net_binary(g, BINARY_MUL, a, net_recurrent(g, x, 5, &back, NULL, true));
        int y = net_dense(g, net_concat(g, 2, 2, (int[]){both, net_again(g, a, a)}), 3, true);
        net_finish(g, 1, &y);
        struct trial *t = trial_create(g, 3, 6);
        trial_check(t);
        trial_destroy(t);
    }
}

/* In inference, what comes of a sample does not depend on its place, on the others or on the threads. */
static void place_in_batch(void **state) {
    (void)state;
    enum { BATCH = 19, STEPS = 21, CHANNELS = 7, UNITS = 37 };
    for (int i = 0; i < NCELLS; i++) {
        struct trial *t = trial_of(&CELLS[i], BATCH, STEPS, CHANNELS, UNITS, true);
        float *alone = NULL;
        const int64_t n = STEPS * CHANNELS, m = STEPS * UNITS;
        for (int e = 0; e < engine_count(); e++)
            for (int threads = 1; threads <= 3; threads++) {
                struct exec_options options = {.batch = BATCH, .mode = EXEC_INFER, .threads = threads};
                struct exec *exec = exec_must(engine_at(e), t->graph, &options);
                must(exec_set_params(exec, t->params));
                must(exec_forward(exec, trial_inputs(t)));
                options.batch = 1;
                struct exec *one = exec_must(engine_at(e), t->graph, &options);
                must(exec_set_params(one, t->params));
                for (int s = 0; s < BATCH; s += 6) {
                    must(exec_forward(one, (const float *[]){t->input[0] + s * n}));
                    assert_memory_equal(exec_output(exec, 0) + s * m, exec_output(one, 0),
                                        (size_t)m * sizeof *alone);
                }
                exec_destroy(&one);
                exec_destroy(&exec);
            }
        trial_destroy(t);
    }
}

/* Inference keeps no gates: less than a third of what training holds. */
static void memory(void **state) {
    (void)state;
    for (int e = 0; e < engine_count(); e++)
        for (int i = 1; i < NCELLS; i++) {
            struct trial *t = trial_of(&CELLS[i], 8, 200, 4, 32, true);
            struct exec_options options = {.batch = 8, .mode = EXEC_TRAIN, .threads = 1};
            struct exec *trains = exec_must(engine_at(e), t->graph, &options);
            options.mode = EXEC_INFER;
            struct exec *infers = exec_must(engine_at(e), t->graph, &options);
            assert_true(3 * exec_memory(infers) < exec_memory(trains));
            exec_destroy(&trains);
            exec_destroy(&infers);
            trial_destroy(t);
        }
}

/* Shapes that do not fit are errors, not crashes. */
static void mismatches(void **state) {
    (void)state;
    for (int e = 0; e < engine_count(); e++)
        for (int what = 0; what < 6; what++) {
            struct recurrent r = CELLS[1];
            r.states = 2;
            struct trial *t = trial_of(&r, 2, 4, 3, 5, true);
            struct opgraph *g = t->graph;
            struct op *op = &g->op[0];
            if (what == 0) g->param[op->param[0]].shape.dim[0] = 4;
            if (what == 1) g->param[op->param[1]].shape.dim[1] = 19;
            if (what == 2) g->param[op->param[2]].shape.dim[0] = 40;
            if (what == 3) g->value[op->in[2]].dim[1] = 6;
            if (what == 4) g->value[op->out].dim[2] = 10;
            if (what == 5) op->u.recurrent.states = 1;
            struct exec *exec = NULL;
            status error = engine_at(e)->compile(
                g, &(struct exec_options){.batch = 2, .mode = EXEC_INFER, .threads = 1}, &exec);
            assert_int_equal(status_code(error), STATUS_INTERNAL);
            assert_non_null(strstr(status_message(error), "recurrent"));
            status_drop(&error);
            assert_null(exec);
            trial_destroy(t);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells),          cmocka_unit_test(long_and_wide),
        cmocka_unit_test(backwards),      cmocka_unit_test(states_mask_and_cell_state),
        cmocka_unit_test(activations),    cmocka_unit_test(bidirectional_and_shared),
        cmocka_unit_test(place_in_batch), cmocka_unit_test(memory),
        cmocka_unit_test(mismatches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
