/* Operations of sequence models on every engine: forward against the definition in double precision,
 * gradients against central differences of that. */
#include "worker/engine_check.h"
#include "worker/nets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void check(struct opgraph *g, int output, int64_t batch) {
    net_finish(g, 1, &output);
    struct trial *t = trial_create(g, batch, 3);
    trial_check(t);
    trial_destroy(t);
}

static void check_transpose(struct shape in, const int *axis, int64_t batch) {
    struct opgraph *g = net_create();
    check(g, net_transpose(g, net_input(g, in), axis), batch);
}

static void transpose(void **state) {
    (void)state;
    check_transpose(SHAPE(-1, 7), (int[]){0, 1}, 3);
    check_transpose(SHAPE(-1, 5, 3), (int[]){0, 2, 1}, 2);
    check_transpose(SHAPE(-1, 40, 3), (int[]){0, 2, 1}, 2);
    check_transpose(SHAPE(-1, 3, 40), (int[]){0, 2, 1}, 2);
    check_transpose(SHAPE(-1, 37, 50), (int[]){0, 2, 1}, 2);
    check_transpose(SHAPE(-1, 130, 150), (int[]){0, 2, 1}, 1);
    static const int three[][4] = {{0, 1, 2, 3}, {0, 1, 3, 2}, {0, 2, 1, 3},
                                   {0, 2, 3, 1}, {0, 3, 1, 2}, {0, 3, 2, 1}};
    for (int i = 0; i < 6; i++) {
        check_transpose(SHAPE(-1, 4, 3, 5), three[i], 2);
        check_transpose(SHAPE(-1, 18, 2, 17), three[i], 2);
        check_transpose(SHAPE(-1, 6, 1, 5), three[i], 2);
    }
    check_transpose(SHAPE(-1, 2, 3, 2, 3, 4), (int[]){0, 1, 4, 3, 2, 5}, 2);
    check_transpose(SHAPE(-1, 2, 3, 1, 2, 3, 2, 2), (int[]){0, 7, 2, 5, 4, 3, 1, 6}, 2);
}

static void check_slice(struct shape in, const int *start, const int *step, const int *n) {
    struct opgraph *g = net_create();
    check(g, net_slice(g, net_input(g, in), start, step, n), 2);
}

static void slice(void **state) {
    (void)state;
    check_slice(SHAPE(-1, 9), (int[]){0, 2}, (int[]){1, 1}, (int[]){0, 5});
    check_slice(SHAPE(-1, 9), (int[]){0, 0}, (int[]){1, 1}, (int[]){0, 9});
    check_slice(SHAPE(-1, 9), (int[]){0, 8}, (int[]){1, -1}, (int[]){0, 9});
    check_slice(SHAPE(-1, 9), (int[]){0, 7}, (int[]){1, -3}, (int[]){0, 3});
    check_slice(SHAPE(-1, 6, 5, 4), (int[]){0, 1, 2, 0}, (int[]){1, 1, 1, 1}, (int[]){0, 4, 2, 4});
    check_slice(SHAPE(-1, 6, 5, 4), (int[]){0, 0, 4, 3}, (int[]){1, 2, -2, -1}, (int[]){0, 3, 3, 4});
    check_slice(SHAPE(-1, 6, 40), (int[]){0, 5, 0}, (int[]){1, -1, 1}, (int[]){0, 6, 40});
    check_slice(SHAPE(-1, 6, 40), (int[]){0, 5, 3}, (int[]){1, 1, 2}, (int[]){0, 1, 18});
    check_slice(SHAPE(-1, 20, 40, 30), (int[]){0, 1, 2, 3}, (int[]){1, 1, 1, 1}, (int[]){0, 18, 37, 25});
    check_slice(SHAPE(-1, 2, 3, 2, 2, 3, 2, 2), (int[]){0, 1, 0, 1, 0, 2, 0, 1},
                (int[]){1, 1, 1, -1, 1, -2, 1, 1}, (int[]){0, 1, 3, 2, 2, 2, 2, 1});
}

static void fill_ids(float *ids, int64_t n, int rows) {
    for (int64_t i = 0; i < n; i++) ids[i] = (float)((i * i + 3 * i) % rows);
}

static void check_embedding(struct shape in, int rows, int width, int64_t batch) {
    struct opgraph *g = net_create();
    int y = net_embedding(g, net_input(g, in), rows, width);
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, batch, 3);
    fill_ids(t->input[0], net_count(g, g->input[0], batch), rows);
    trial_check(t);
    trial_destroy(t);
}

static void embedding(void **state) {
    (void)state;
    check_embedding(SHAPE(-1, 6), 10, 4, 3);
    check_embedding(SHAPE(-1, 50), 3, 300, 2); /* many places a row */
    check_embedding(SHAPE(-1, 4, 3), 7, 5, 2);
    check_embedding(SHAPE(-1, 1), 1, 1, 1);
    check_embedding(SHAPE(-1, 2, 2, 1, 2, 1, 2), 5, 3, 2); /* rank 7 to 8 */
}

/* Ids outside the table, negative or no number end the forward with an error that names them; fractions are
 * dropped, as an integer conversion does. */
static void embedding_out_of_range(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int y = net_embedding(g, net_input(g, SHAPE(-1, 5)), 10, 4);
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, 2, 1);
    for (int e = 0; e < engine_count(); e++)
        for (int train = 0; train < 2; train++) {
            struct exec_options options = {.batch = 2, .mode = train ? EXEC_TRAIN : EXEC_INFER, .threads = 2};
            struct exec *exec = exec_must(engine_at(e), g, &options);
            must(exec_set_params(exec, t->params));
            static const float bad[] = {10, -1, 1e30f, -INFINITY, NAN};
            for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                fill_ids(t->input[0], 10, 10);
                t->input[0][7] = bad[i];
                status error = exec_forward(exec, trial_inputs(t));
                assert_int_equal(status_code(error), STATUS_DATA);
                assert_non_null(strstr(status_message(error), "10 rows"));
                if (i == 0) assert_non_null(strstr(status_message(error), "id 10 (sample 1 of"));
                status_drop(&error);
            }
            static const float good[] = {9.75f, -0.5f, 0, 9};
            static const int row[] = {9, 0, 0, 9};
            for (int i = 0; i < 4; i++) {
                t->input[0][7] = good[i];
                must(exec_forward(exec, trial_inputs(t)));
                assert_memory_equal(exec_output(exec, 0) + 28, params_at(t->params, 0) + row[i] * 4,
                                    4 * sizeof(float));
            }
            exec_destroy(&exec);
        }
    trial_destroy(t);
}

/* The table's gradient does not depend on the number of threads. */
static void embedding_threads(void **state) {
    (void)state;
    enum { BATCH = 8, N = 200, ROWS = 50, WIDTH = 32 };
    struct opgraph *g = net_create();
    int y = net_embedding(g, net_input(g, SHAPE(-1, N)), ROWS, WIDTH);
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, BATCH, 1);
    fill_ids(t->input[0], BATCH * N, ROWS);
    struct params *first, *grads;
    must(params_create(g, &first));
    must(params_create(g, &grads));
    for (int e = 0; e < engine_count(); e++)
        for (int threads = 1; threads <= 4; threads++) {
            struct exec_options options = {.batch = BATCH, .mode = EXEC_TRAIN, .threads = threads};
            struct exec *exec = exec_must(engine_at(e), g, &options);
            must(exec_set_params(exec, t->params));
            must(exec_forward(exec, trial_inputs(t)));
            must(exec_backward(exec, trial_weights(t), threads == 1 ? first : grads));
            if (threads > 1)
                assert_memory_equal(grads->data, first->data, (size_t)first->total * sizeof(float));
            exec_destroy(&exec);
        }
    params_destroy(&first);
    params_destroy(&grads);
    trial_destroy(t);
}

static void check_matmul(struct shape a, struct shape b, bool ta, bool tb, float scale, int64_t batch) {
    struct opgraph *g = net_create();
    int x = net_input(g, a), y = net_input(g, b);
    check(g, net_matmul(g, x, y, ta, tb, scale), batch);
}

static void matmul(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        const bool ta = i & 1, tb = i & 2;
        struct shape a = ta ? SHAPE(-1, 6, 4) : SHAPE(-1, 4, 6), b = tb ? SHAPE(-1, 5, 6) : SHAPE(-1, 6, 5);
        check_matmul(a, b, ta, tb, 1, 3);
        check_matmul(a, b, ta, tb, -0.25f, 3);
        a = ta ? SHAPE(-1, 3, 20, 150) : SHAPE(-1, 3, 150, 20);
        b = tb ? SHAPE(-1, 3, 33, 20) : SHAPE(-1, 3, 20, 33);
        check_matmul(a, b, ta, tb, 0.5f, 1);
    }
    check_matmul(SHAPE(-1, 1, 6), SHAPE(-1, 6, 1), false, false, 1, 2);
    check_matmul(SHAPE(-1, 2, 1, 2, 1, 2, 3, 4), SHAPE(-1, 2, 1, 2, 1, 2, 4, 2), false, false, 2, 2);
    /* Both inputs are one value. */
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(-1, 5, 4));
    check(g, net_matmul(g, x, x, false, true, 1), 2);
}

static void softmax_causal(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    check(g, net_softmax_causal(g, net_input(g, SHAPE(-1, 6, 6))), 3);
    g = net_create();
    check(g, net_softmax_causal(g, net_input(g, SHAPE(-1, 2, 5, 8))), 2);
    g = net_create();
    check(g, net_softmax_causal(g, net_input(g, SHAPE(-1, 8, 5))), 2);
    g = net_create();
    check(g, net_softmax_causal(g, net_input(g, SHAPE(-1, 40, 40))), 2);
}

/* Causal attention does not see later positions, even if they are no numbers. */
static void softmax_causal_ignores_later(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int y = net_softmax_causal(g, net_input(g, SHAPE(-1, 3, 3)));
    net_finish(g, 1, &y);
    const float x[] = {1, NAN, INFINITY, 0, 0, NAN, 1, 1, 1}, *inputs[] = {x};
    const float expected[] = {1, 0, 0, 0.5f, 0.5f, 0, 1 / 3.0f, 1 / 3.0f, 1 / 3.0f};
    for (int e = 0; e < engine_count(); e++) {
        struct exec *exec =
            exec_must(engine_at(e), g, &(struct exec_options){.batch = 1, .mode = EXEC_INFER, .threads = 1});
        must(exec_forward(exec, inputs));
        assert_close("causal softmax", exec_output(exec, 0), expected, 9, 1e-6);
        exec_destroy(&exec);
    }
    opgraph_destroy(&g);
}

/* ---- together ---- */

/* One table for two inputs. */
static void shared_table(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int ids[2] = {net_input(g, SHAPE(-1, 5)), net_input(g, SHAPE(-1, 5))};
    int a = net_embedding(g, ids[0], 9, 4), b = net_again(g, a, ids[1]);
    int y = net_matmul(g, a, b, false, true, 0.5f);
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, 3, 3);
    for (int i = 0; i < 2; i++) fill_ids(t->input[i], 15, 7 + i);
    trial_check(t);
    trial_destroy(t);
}

/* (N,T,H*d) to (N,H,T,d) */
static int split_heads(struct opgraph *g, int x, int heads) {
    const struct shape s = g->value[x];
    x = net_reshape(g, x, SHAPE(-1, s.dim[1], heads, s.dim[2] / heads));
    return net_transpose(g, x, (int[]){0, 2, 1, 3});
}

static int attention(struct opgraph *g, int x, int heads, bool causal) {
    const struct shape s = g->value[x];
    const int width = (int)s.dim[2];
    int q = split_heads(g, net_dense(g, x, width, true), heads);
    int k = split_heads(g, net_dense(g, x, width, true), heads);
    int v = split_heads(g, net_dense(g, x, width, true), heads);
    int scores = net_matmul(g, q, k, false, true, 0.5f);
    int y = causal ? net_softmax_causal(g, scores) : net_softmax(g, scores, 3);
    y = net_transpose(g, net_matmul(g, y, v, false, false, 1), (int[]){0, 2, 1, 3});
    return net_dense(g, net_reshape(g, y, SHAPE(-1, s.dim[1], width)), width, true);
}

/* A transformer's block: attention and two dense layers, each after a layer norm, added with a factor. */
static int transformer(struct opgraph *g, bool causal) {
    int x = net_input(g, SHAPE(-1, 5, 8));
    int y = attention(g, net_layer_norm(g, x, 4, true, true), 2, causal);
    x = net_binary(g, BINARY_ADD, x, net_scale(g, y, true, false));
    y = net_dense(g, net_layer_norm(g, x, 4, true, true), 12, true);
    y = net_dense(g, net_activation(g, y, ACTIVATION_GELU, 0, 0, 0), 8, true);
    x = net_binary(g, BINARY_ADD, x, y);
    x = net_activation(g, net_layer_norm(g, x, 4, true, true), ACTIVATION_RELU, 0, INFINITY, 0);
    return net_softmax(g, net_dense(g, net_reduce(g, x, REDUCE_SUM, 2, false), 3, true), 1);
}

static void transformer_block(void **state) {
    (void)state;
    for (int causal = 0; causal < 2; causal++) {
        struct opgraph *g = net_create();
        check(g, transformer(g, causal), 3);
        /* With every value an output, whatever shares memory. */
        g = net_create();
        transformer(g, causal);
        int outputs[64];
        assert_true(g->nvalues <= 64);
        for (int v = 0; v < g->nvalues; v++) outputs[v] = v;
        net_finish(g, g->nvalues, outputs);
        struct trial *t = trial_create(g, 2, 4);
        trial_check(t);
        trial_destroy(t);
    }
}

/* A sample's result is the same wherever in the batch it stands, and however many there are. */
static void place_in_batch(void **state) {
    (void)state;
    enum { BATCH = 11 };
    struct opgraph *g = net_create();
    int y = transformer(g, true);
    net_finish(g, 1, &y);
    struct trial *t = trial_create(g, BATCH, 5);
    const int64_t n = net_count(g, g->input[0], 1), m = net_count(g, y, 1);
    for (int s = 1; s < BATCH; s++) memcpy(t->input[0] + s * n, t->input[0], (size_t)n * sizeof(float));
    for (int e = 0; e < engine_count(); e++)
        for (int threads = 1; threads <= 2; threads++) {
            struct exec_options options = {.batch = BATCH, .mode = EXEC_INFER, .threads = threads};
            struct exec *exec = exec_must(engine_at(e), g, &options);
            must(exec_set_params(exec, t->params));
            must(exec_forward(exec, trial_inputs(t)));
            options.batch = 1;
            struct exec *alone = exec_must(engine_at(e), g, &options);
            must(exec_set_params(alone, t->params));
            must(exec_forward(alone, trial_inputs(t)));
            for (int s = 0; s < BATCH; s++)
                assert_memory_equal(exec_output(alone, 0), exec_output(exec, 0) + s * m,
                                    (size_t)m * sizeof(float));
            exec_destroy(&exec);
            exec_destroy(&alone);
        }
    trial_destroy(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transpose),         cmocka_unit_test(slice),
        cmocka_unit_test(embedding),         cmocka_unit_test(embedding_out_of_range),
        cmocka_unit_test(embedding_threads), cmocka_unit_test(matmul),
        cmocka_unit_test(softmax_causal),    cmocka_unit_test(softmax_causal_ignores_later),
        cmocka_unit_test(shared_table),      cmocka_unit_test(transformer_block),
        cmocka_unit_test(place_in_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
