/* Masks of time steps: which layers make them, pass them on, drop them and use them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "graph_build.h"

/* The recurrent operation of a graph. */
static const struct op *recurrent(const struct opgraph *ops) {
    for (int i = 0; i < ops->nops; i++)
        if (ops->op[i].kind == OP_RECURRENT && ops->op[i].node == ops->op[ops->nops - 1].node)
            return &ops->op[i];
    fail_msg("no recurrent operation");
    return NULL;
}

/* Does a masked embedding's mask reach a GRU through this layer? */
static bool reaches(const char *class_name, const char *attrs, const char *inner, const char *inner_attrs) {
    struct graph *g;
    struct opgraph *ops;
    build_ok(graph_create("masks", &g));
    int ids = build_input(g, "ids", "?,7");
    int e = build_layer(g, "Embedding", "e", "input_dim=9 output_dim=4 mask_zero=true", 1, &ids);
    int in[2] = {e, e};
    int through = build_layer(g, class_name, "through", attrs, layer_kind_find(class_name)->min_inputs, in);
    if (inner) build_inner(g, through, "layer", inner, inner_attrs);
    build_output(g, build_layer(g, "GRU", "gru", "units=3", 1, &through));
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    const struct op *op = recurrent(ops);
    bool masked = op->u.recurrent.mask;
    assert_int_equal(op->nin, masked ? 2 : 1);
    if (masked) build_shape_is(&ops->value[op->in[1]], &SHAPE(SHAPE_UNKNOWN, 7));
    opgraph_destroy(&ops);
    graph_destroy(&g);
    return masked;
}

static void test_passing(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs, *inner, *inner_attrs;
        bool passes;
    } cases[] = {
        {"Dense", "units=3", NULL, NULL, true},
        {"Activation", "activation=relu", NULL, NULL, true},
        {"ReLU", "", NULL, NULL, true},
        {"LeakyReLU", "", NULL, NULL, true},
        {"ELU", "", NULL, NULL, true},
        {"Dropout", "rate=0.5", NULL, NULL, true},
        {"BatchNormalization", "", NULL, NULL, true},
        {"LSTM", "units=3 return_sequences=true", NULL, NULL, true},
        {"Bidirectional", "merge_mode=sum", "LSTM", "units=3 return_sequences=true", true},
        {"TimeDistributed", "", "Dense", "units=3", true},
        {"TimeDistributed", "", "Reshape", "target_shape=4", true},
        {"Add", "", NULL, NULL, true},
        {"MultiHeadAttention", "num_heads=2 key_dim=3", NULL, NULL, true},
        {"Attention", "", NULL, NULL, true},
        {"Masking", "", NULL, NULL, true},
        {"Reshape", "target_shape=7,4", NULL, NULL, false},
        {"EinsumDense", "equation=abc,cd->abd output_shape=?,3", NULL, NULL, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (reaches(cases[i].class_name, cases[i].attrs, cases[i].inner, cases[i].inner_attrs) !=
            cases[i].passes)
            fail_msg("%s %s a mask", cases[i].class_name, cases[i].passes ? "drops" : "passes");
}

/* An embedding has a mask only if token 0 means none; the mask is of the tokens, not of what becomes of them.
 */
static void test_embedding(void **state) {
    (void)state;
    for (int masked = 0; masked < 2; masked++) {
        struct graph *g;
        struct opgraph *ops;
        build_ok(graph_create("masks", &g));
        int ids = build_input(g, "ids", "?,7");
        int e = build_layer(g, "Embedding", "e",
                            masked ? "input_dim=9 output_dim=4 mask_zero=true" : "input_dim=9 output_dim=4",
                            1, &ids);
        build_output(g, build_layer(g, "GRU", "gru", "units=3", 1, &e));
        build_ok(graph_infer(g));
        build_ok(graph_lower(g, &ops, NULL));
        assert_int_equal(recurrent(ops)->u.recurrent.mask, masked);
        if (masked) {
            const struct op *mask = &ops->op[opgraph_producer(ops, recurrent(ops)->in[1])];
            assert_int_equal(mask->kind, OP_ACTIVATION);
            assert_int_equal(mask->u.act.kind, ACTIVATION_NOT_EQUAL);
            assert_true(mask->u.act.gamma == 0);
            assert_int_equal(mask->in[0], ops->input[0]);
        }
        opgraph_destroy(&ops);
        graph_destroy(&g);
    }
}

/* The last output of a sequence has no time steps, and no mask; nor have states. */
static void test_ends(void **state) {
    (void)state;
    struct graph *g;
    struct opgraph *ops;
    build_ok(graph_create("masks", &g));
    int ids = build_input(g, "ids", "?,7");
    int e = build_layer(g, "Embedding", "e", "input_dim=9 output_dim=4 mask_zero=true", 1, &ids);
    int last = build_layer(g, "LSTM", "last", "units=6", 1, &e);
    int shaped = build_layer(g, "Reshape", "shaped", "target_shape=2,3", 1, &last);
    build_output(g, build_layer(g, "GRU", "gru", "units=3", 1, &shaped));
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    assert_false(recurrent(ops)->u.recurrent.mask);
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

/* What has no place for a mask says so. */
static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *input, *class_name, *attrs, *message;
    } cases[] = {
        {"?,7", "Softmax", "", "a mask of time steps on an input of shape (?, 7, 4)"},
        {"?,3,7", "MultiHeadAttention", "num_heads=2 key_dim=3", "a mask over several axes of attention"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g;
        struct opgraph *ops;
        build_ok(graph_create("masks", &g));
        int ids = build_input(g, "ids", cases[i].input);
        int e = build_layer(g, "Embedding", "e", "input_dim=9 output_dim=4 mask_zero=true", 1, &ids);
        int in[2] = {e, e}, n = layer_kind_find(cases[i].class_name)->min_inputs;
        build_output(g, build_layer(g, cases[i].class_name, "layer", cases[i].attrs, n, in));
        build_ok(graph_infer(g));
        build_refused(graph_lower(g, &ops, NULL), STATUS_UNSUPPORTED, cases[i].message);
        graph_destroy(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passing),
        cmocka_unit_test(test_embedding),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
