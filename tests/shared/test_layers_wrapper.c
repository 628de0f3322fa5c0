/* Bidirectional and TimeDistributed: shapes, weights, what they lower to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "graph_build.h"

#define B SHAPE_UNKNOWN

/* An input and a wrapper around one layer on it. */
static struct graph *wrapped(const char *input, const char *wrapper, const char *attrs,
                             const char *class_name, const char *inner) {
    struct graph *g;
    build_ok(graph_create("wrapped", &g));
    int x = build_input(g, "x", input);
    int node = build_layer(g, wrapper, "layer", attrs, 1, &x);
    build_inner(g, node, "layer", class_name, inner);
    build_output(g, node);
    return g;
}

static void test_shapes_and_weights(void **state) {
    (void)state;
    static const struct {
        const char *wrapper, *attrs, *class_name, *inner, *input;
        int nout;
        struct shape out[6];
        int64_t params;
    } cases[] = {
        {"Bidirectional", "merge_mode=concat", "LSTM", "units=5", "?,7,3", 1, {{2, {B, 10}}}, 360},
        {"Bidirectional",
         "merge_mode=sum",
         "GRU",
         "units=5 return_sequences=true",
         "?,?,3",
         1,
         {{3, {B, B, 5}}},
         270},
        {"Bidirectional",
         "",
         "SimpleRNN",
         "units=5 return_sequences=true",
         "?,7,3",
         2,
         {{3, {B, 7, 5}}, {3, {B, 7, 5}}},
         90},
        {"Bidirectional",
         "merge_mode=ave",
         "LSTM",
         "units=5 return_state=true",
         "?,7,3",
         5,
         {{2, {B, 5}}, {2, {B, 5}}, {2, {B, 5}}, {2, {B, 5}}, {2, {B, 5}}},
         360},
        {"Bidirectional",
         "",
         "LSTM",
         "units=5 return_state=true return_sequences=true",
         "?,7,3",
         6,
         {{3, {B, 7, 5}}, {3, {B, 7, 5}}, {2, {B, 5}}, {2, {B, 5}}, {2, {B, 5}}, {2, {B, 5}}},
         360},
        {"TimeDistributed", "", "Dense", "units=5", "?,7,3", 1, {{3, {B, 7, 5}}}, 20},
        {"TimeDistributed", "", "Dense", "units=5", "?,?,7,3", 1, {{4, {B, B, 7, 5}}}, 20},
        {"TimeDistributed",
         "",
         "Conv2D",
         "filters=4 kernel_size=3",
         "?,6,8,9,2",
         1,
         {{5, {B, 6, 6, 7, 4}}},
         76},
        {"TimeDistributed", "", "Flatten", "", "?,6,8,9,2", 1, {{3, {B, 6, 144}}}, 0},
        {"TimeDistributed", "", "BatchNormalization", "axis=3", "?,6,8,9,2", 1, {{5, {B, 6, 8, 9, 2}}}, 8},
        {"TimeDistributed", "", "LSTM", "units=5", "?,4,7,3", 1, {{3, {B, 4, 5}}}, 180},
        {"TimeDistributed", "", "Embedding", "input_dim=9 output_dim=2", "?,4,7", 1, {{4, {B, 4, 7, 2}}}, 18},
        {"TimeDistributed", "", "GlobalAveragePooling2D", "", "?,?,8,9,2", 1, {{3, {B, B, 2}}}, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g =
            wrapped(cases[i].input, cases[i].wrapper, cases[i].attrs, cases[i].class_name, cases[i].inner);
        struct graph_counts counts;
        struct opgraph *ops;
        build_ok(graph_infer(g));
        assert_int_equal(g->node[1].nout, cases[i].nout);
        for (int k = 0; k < cases[i].nout; k++) build_shape_is(&g->node[1].out[k], &cases[i].out[k]);
        build_ok(graph_count(g, &counts));
        assert_int_equal(counts.params, cases[i].params);
        build_ok(graph_lower(g, &ops, NULL));
        opgraph_destroy(&ops);
        graph_destroy(&g);
    }
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *wrapper, *attrs, *class_name, *inner, *input;
        enum status_code code;
        const char *message;
    } cases[] = {
        {"Bidirectional", "", "Dense", "units=5", "?,7,3", STATUS_UNSUPPORTED,
         "inner layer \"Dense\" (Dense) is not a recurrent layer"},
        {"Bidirectional", "merge_mode=max", "LSTM", "units=5", "?,7,3", STATUS_UNSUPPORTED, "merge_mode"},
        {"Bidirectional", "", "LSTM", "units=5 activation=own", "?,7,3", STATUS_UNSUPPORTED,
         "inner layer \"LSTM\" (LSTM): activation \"own\""},
        {"TimeDistributed", "", "Attention", "", "?,7,3", STATUS_UNSUPPORTED, "(Attention)"},
        {"TimeDistributed", "", "LSTM", "units=5 return_state=true", "?,4,7,3", STATUS_UNSUPPORTED,
         "return_state"},
        {"TimeDistributed", "", "Dense", "units=5", "?,3", STATUS_DATA, "(batch, steps, ...)"},
        {"TimeDistributed", "", "Dense", "units=0", "?,7,3", STATUS_DATA, "\"units\" is 0"},
        {"TimeDistributed", "", "Flatten", "", "?,5000,7,3", STATUS_UNSUPPORTED, "5000 steps"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g =
            wrapped(cases[i].input, cases[i].wrapper, cases[i].attrs, cases[i].class_name, cases[i].inner);
        build_refused(graph_infer(g), cases[i].code, cases[i].message);
        graph_destroy(&g);
    }
    struct graph *g = wrapped("?,7,3", "Bidirectional", "merge_mode=sum", "LSTM", "units=5");
    build_inner(g, 1, "backward_layer", "LSTM", "units=5");
    build_refused(graph_infer(g), STATUS_DATA, "both of its layers go the same way");
    graph_destroy(&g);
    g = wrapped("?,7,3", "Bidirectional", "merge_mode=sum", "LSTM", "units=5");
    build_inner(g, 1, "backward_layer", "LSTM", "units=4 go_backwards=true");
    build_refused(graph_infer(g), STATUS_DATA, "cannot be merged");
    graph_destroy(&g);
}

/* Names are unique, paths are those of Keras 3's .weights.h5, forward comes first. */
static void test_weights(void **state) {
    (void)state;
    static const char *const names[] = {"forward/kernel",  "forward/recurrent_kernel",  "forward/bias",
                                        "backward/kernel", "backward/recurrent_kernel", "backward/bias"};
    struct graph *g = wrapped("?,7,3", "Bidirectional", "merge_mode=concat", "LSTM", "units=5");
    build_ok(graph_infer(g));
    assert_int_equal(g->layer[1].nweights, 6);
    for (int i = 0; i < 6; i++) {
        assert_string_equal(g->layer[1].weight[i].name, names[i]);
        assert_string_equal(g->layer[1].weight[i].path, i < 3 ? "forward_layer/cell" : "backward_layer/cell");
    }
    build_shape_is(&g->layer[1].weight[3].shape, &SHAPE(3, 20));
    graph_destroy(&g);

    g = wrapped("?,7,3", "TimeDistributed", "", "BatchNormalization", "");
    build_ok(graph_infer(g));
    assert_int_equal(g->layer[1].nweights, 4);
    assert_string_equal(g->layer[1].weight[2].name, "moving_mean");
    assert_string_equal(g->layer[1].weight[2].path, "layer");
    assert_false(g->layer[1].weight[2].trainable);
    graph_destroy(&g);

    g = wrapped("?,4,7,3", "TimeDistributed", "", "LSTM", "units=5");
    layer_attr(&g->layer[1], "layer")->u.layer->trainable = false;
    build_ok(graph_infer(g));
    assert_string_equal(g->layer[1].weight[0].path, "layer/cell");
    assert_false(g->layer[1].weight[0].trainable);
    graph_destroy(&g);
}

static int count_ops(const struct opgraph *ops, enum op_kind kind) {
    int n = 0;
    for (int i = 0; i < ops->nops; i++) n += ops->op[i].kind == kind;
    return n;
}

static void test_bidirectional_lowering(void **state) {
    (void)state;
    struct opgraph *ops;
    struct graph *g =
        wrapped("?,7,3", "Bidirectional", "merge_mode=concat", "GRU", "units=5 return_sequences=true");
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    static const enum op_kind kinds[] = {OP_RECURRENT, OP_RECURRENT, OP_SLICE, OP_CONCAT};
    assert_int_equal(ops->nops, 4);
    for (int i = 0; i < 4; i++) assert_int_equal(ops->op[i].kind, kinds[i]);
    assert_false(ops->op[0].u.recurrent.backwards);
    assert_true(ops->op[1].u.recurrent.backwards);
    assert_int_equal(ops->op[1].param[0], 3);
    assert_int_equal(ops->op[1].param[2], 5);
    assert_int_equal(ops->op[2].in[0], ops->op[1].out); /* turned round in time */
    assert_int_equal(ops->op[2].u.slice.start[1], 6);
    assert_int_equal(ops->op[2].u.slice.step[1], -1);
    assert_int_equal(ops->op[3].u.axis.axis, 2);
    opgraph_destroy(&ops);
    graph_destroy(&g);

    /* Layers of their own: the backward one has no bias, and its parameters follow the forward one's. */
    g = wrapped("?,7,3", "Bidirectional", "merge_mode=mul", "LSTM", "units=5");
    build_inner(g, 1, "backward_layer", "LSTM", "units=5 go_backwards=true use_bias=false");
    build_ok(graph_infer(g));
    assert_int_equal(g->layer[1].nweights, 5);
    build_ok(graph_lower(g, &ops, NULL));
    for (int i = 0; i < ops->nops; i++)
        if (ops->op[i].kind == OP_RECURRENT && ops->op[i].u.recurrent.backwards) {
            assert_int_equal(ops->op[i].param[0], 3);
            assert_int_equal(ops->op[i].param[1], 4);
            assert_int_equal(ops->op[i].param[2], -1);
        }
    assert_int_equal(ops->op[ops->nops - 1].u.binary.kind, BINARY_MUL);
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

static void test_states(void **state) {
    (void)state;
    struct graph *g;
    struct opgraph *ops;
    build_ok(graph_create("states", &g));
    int in[5] = {build_input(g, "x", "?,7,3"), build_input(g, "h", "?,5"), build_input(g, "c", "?,5"),
                 build_input(g, "hb", "?,5"), build_input(g, "cb", "?,5")};
    int node = build_layer(g, "Bidirectional", "layer", "merge_mode=concat", 5, in);
    build_inner(g, node, "layer", "LSTM", "units=5");
    build_output(g, node);
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    const struct op *forward = &ops->op[0], *backward = forward;
    for (int i = 1; i < ops->nops; i++)
        if (ops->op[i].kind == OP_RECURRENT) backward = &ops->op[i];
    assert_int_equal(forward->in[0], backward->in[0]);
    for (int k = 1; k < 3; k++) {
        assert_int_equal(forward->in[k], ops->input[k]);
        assert_int_equal(backward->in[k], ops->input[k + 2]);
    }
    opgraph_destroy(&ops);
    graph_destroy(&g);
    build_ok(graph_create("states", &g));
    for (int i = 0; i < 4; i++) {
        char name[8];
        snprintf(name, sizeof name, "i%d", i);
        in[i] = build_input(g, name, i ? "?,5" : "?,7,3");
    }
    node = build_layer(g, "Bidirectional", "layer", "merge_mode=concat", 4, in);
    build_inner(g, node, "layer", "LSTM", "units=5");
    build_output(g, node);
    build_refused(graph_infer(g), STATUS_DATA, "has 4 inputs");
    graph_destroy(&g);
}

static void test_time_distributed_lowering(void **state) {
    (void)state;
    struct opgraph *ops;
    /* Position by position: the layer itself, on one axis more. */
    struct graph *g = wrapped("?,7,3", "TimeDistributed", "", "Dense", "units=5 activation=relu");
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    assert_int_equal(ops->nops, 2);
    assert_int_equal(ops->op[0].kind, OP_DENSE);
    opgraph_destroy(&ops);
    graph_destroy(&g);
    /* An axis counted from the front is one further back. */
    g = wrapped("?,7,4,3", "TimeDistributed", "", "Softmax", "axis=1");
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    assert_int_equal(ops->op[0].u.axis.axis, 2);
    opgraph_destroy(&ops);
    graph_destroy(&g);
    /* Anything else, step by step, with the same parameters. */
    g = wrapped("?,3,8,8,2", "TimeDistributed", "", "Conv2D", "filters=4 kernel_size=3");
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    assert_int_equal(count_ops(ops, OP_CONV), 3);
    assert_int_equal(count_ops(ops, OP_CONCAT), 1);
    for (int i = 0, step = 0; i < ops->nops; i++) {
        if (ops->op[i].kind == OP_SLICE) assert_int_equal(ops->op[i].u.slice.start[1], step++);
        if (ops->op[i].kind == OP_CONV) assert_int_equal(ops->op[i].param[0], 0);
    }
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

static void test_width(void **state) {
    (void)state;
    struct graph *g = wrapped("?,7,3", "TimeDistributed", "", "Dense", "units=8");
    build_ok(g->layer[1].kind->set_width(&g->layer[1], 5));
    build_ok(graph_infer(g));
    build_shape_is(&g->node[1].out[0], &SHAPE(B, 7, 5));
    graph_destroy(&g);
}

/* A stack of cells in an attribute of the node's layer. */
static void put_cells(struct graph *g, int node, int n, const char *const *classes,
                      const char *const *attrs) {
    build_inner(g, node, "cell", "StackedRNNCells", "");
    struct attr *cells = layer_attr(layer_attr(&g->layer[g->node[node].layer], "cell")->u.layer, "cells");
    cells->present = true;
    cells->u.layers.n = n;
    cells->u.layers.v = malloc((size_t)n * sizeof *cells->u.layers.v);
    assert_non_null(cells->u.layers.v);
    for (int i = 0; i < n; i++) build_alone(classes[i], "cell", attrs[i], &cells->u.layers.v[i]);
}

static void test_rnn(void **state) {
    (void)state;
    struct graph *g, *copy;
    struct opgraph *ops;
    build_ok(graph_create("rnn", &g));
    int x = build_input(g, "x", "?,7,3");
    int one = build_layer(g, "RNN", "one", "return_sequences=true go_backwards=true", 1, &x);
    build_inner(g, one, "cell", "GRUCell", "units=4 reset_after=true");
    int stack = build_layer(g, "RNN", "stack", "return_state=true go_backwards=true", 1, &one);
    put_cells(g, stack, 3, (const char *[]){"LSTMCell", "LSTMCell", "SimpleRNNCell"},
              (const char *[]){"units=5", "units=6 use_bias=false", "units=2"});
    for (int i = 0; i < 6; i++) build_ok(graph_add_output(g, (struct edge){stack, i}));
    build_ok(graph_clone(g, &copy));
    assert_true(layer_equal(&g->layer[2], &copy->layer[2]));
    layer_attr(layer_attr(&copy->layer[2], "cell")->u.layer, "cells")->u.layers.v[1].attr[0].u.i = 7;
    assert_false(layer_equal(&g->layer[2], &copy->layer[2]));
    graph_destroy(&copy);
    build_ok(graph_infer(g));
    build_shape_is(&g->node[one].out[0], &SHAPE(B, 7, 4));
    assert_string_equal(g->layer[1].weight[0].name, "kernel");
    assert_string_equal(g->layer[1].weight[0].path, "cell");
    build_shape_is(&g->layer[1].weight[2].shape, &SHAPE(2, 12));
    assert_int_equal(g->node[stack].nout, 6); /* output; h, c; h, c; h */
    static const int widths[] = {2, 5, 5, 6, 6, 2};
    for (int i = 0; i < 6; i++) build_shape_is(&g->node[stack].out[i], &SHAPE(B, widths[i]));
    const struct layer *layer = &g->layer[2];
    assert_int_equal(layer->nweights, 8);
    assert_string_equal(layer->weight[2].name, "cell0/bias");
    assert_string_equal(layer->weight[3].name, "cell1/kernel");
    assert_string_equal(layer->weight[0].path, "cell/cells/lstm_cell");
    assert_string_equal(layer->weight[3].path, "cell/cells/lstm_cell_1");
    assert_string_equal(layer->weight[5].path, "cell/cells/simple_rnn_cell");
    build_shape_is(&layer->weight[3].shape, &SHAPE(5, 24));
    build_ok(graph_lower(g, &ops, NULL));
    int backwards = 0, recurrent = 0;
    for (int i = 0; i < ops->nops; i++)
        if (ops->op[i].kind == OP_RECURRENT) {
            recurrent++;
            backwards += ops->op[i].u.recurrent.backwards;
        }
    assert_int_equal(recurrent, 4);
    assert_int_equal(backwards, 2); /* what follows the first cell of a stack is in its order */
    opgraph_destroy(&ops);
    graph_destroy(&g);

    build_ok(graph_create("rnn", &g));
    x = build_input(g, "x", "?,7,3");
    one = build_layer(g, "RNN", "one", "", 1, &x);
    build_inner(g, one, "cell", "Dense", "units=4");
    build_output(g, one);
    build_refused(graph_infer(g), STATUS_UNSUPPORTED, "cell \"Dense\" (Dense) is not supported");
    graph_destroy(&g);
    build_ok(graph_create("rnn", &g));
    x = build_input(g, "x", "?,7,3");
    build_output(g, build_layer(g, "LSTMCell", "one", "units=4", 1, &x));
    build_refused(graph_infer(g), STATUS_UNSUPPORTED, "a cell outside of an RNN");
    graph_destroy(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_and_weights),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_bidirectional_lowering),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_time_distributed_lowering),
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_rnn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
