/* Embedding, Masking, SimpleRNN, LSTM, GRU: shapes, weights, what they lower to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "graph_build.h"

#define B SHAPE_UNKNOWN

static struct graph *one_layer(const char *input, const char *class_name, const char *attrs) {
    struct graph *g;
    build_ok(graph_create("one", &g));
    int x = build_input(g, "x", input);
    build_output(g, build_layer(g, class_name, "layer", attrs, 1, &x));
    return g;
}

static void test_shapes_and_weights(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs, *input;
        struct shape out;
        int64_t params;
    } cases[] = {
        {"Embedding", "input_dim=50 output_dim=16", "?,12", {3, {B, 12, 16}}, 800},
        {"Embedding", "input_dim=50 output_dim=16 mask_zero=true", "?,?", {3, {B, B, 16}}, 800},
        {"Embedding", "input_dim=50 output_dim=16", "?,3,4", {4, {B, 3, 4, 16}}, 800},
        {"Embedding", "input_dim=5 output_dim=2", "?", {2, {B, 2}}, 10},
        {"Masking", "", "?,7,3", {3, {B, 7, 3}}, 0},
        {"SimpleRNN", "units=5", "?,7,3", {2, {B, 5}}, 3 * 5 + 5 * 5 + 5},
        {"SimpleRNN", "units=5 use_bias=false return_sequences=true", "?,7,3", {3, {B, 7, 5}}, 40},
        {"LSTM", "units=5", "?,7,3", {2, {B, 5}}, 4 * 45},
        {"LSTM", "units=5 return_sequences=true", "?,?,3", {3, {B, B, 5}}, 180},
        {"LSTM", "units=5 return_sequences=true go_backwards=true", "?,7,3", {3, {B, 7, 5}}, 180},
        {"GRU", "units=5", "?,7,3", {2, {B, 5}}, 3 * 45},
        {"GRU", "units=5 reset_after=true", "?,?,3", {2, {B, 5}}, 3 * 50},
        {"GRU", "units=5 reset_after=true use_bias=false", "?,7,3", {2, {B, 5}}, 3 * 40},
        {"CuDNNLSTM", "units=5", "?,7,3", {2, {B, 5}}, 180},
        {"CuDNNGRU", "units=5", "?,7,3", {2, {B, 5}}, 150},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = one_layer(cases[i].input, cases[i].class_name, cases[i].attrs);
        struct graph_counts counts;
        struct opgraph *ops;
        build_ok(graph_infer(g));
        build_shape_is(&g->node[1].out[0], &cases[i].out);
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
        const char *class_name, *attrs, *input;
        enum status_code code;
        const char *message;
    } cases[] = {
        {"LSTM", "units=0", "?,7,3", STATUS_DATA, "\"units\" is 0"},
        {"LSTM", "units=9223372036854775807", "?,7,3", STATUS_DATA, "at most 2147483647"},
        {"LSTM", "units=5", "?,7", STATUS_DATA, "(batch, steps, features)"},
        {"LSTM", "units=5", "?,7,?", STATUS_DATA, "features known"},
        {"GRU", "units=5 activation=softmax", "?,7,3", STATUS_UNSUPPORTED, "\"softmax\""},
        {"GRU", "units=5 recurrent_activation=own", "?,7,3", STATUS_UNSUPPORTED, "\"own\""},
        {"Embedding", "input_dim=0 output_dim=3", "?,7", STATUS_DATA, "\"input_dim\" is 0"},
        {"Embedding", "input_dim=4 output_dim=3", "?,1,1,1,1,1,1,1", STATUS_DATA, "7 dimensions at most"},
        {"Masking", "", "?,7", STATUS_DATA, "(batch, steps, features)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = one_layer(cases[i].input, cases[i].class_name, cases[i].attrs);
        build_refused(graph_infer(g), cases[i].code, cases[i].message);
        graph_destroy(&g);
    }
    struct graph *g;
    build_ok(graph_create("states", &g));
    int in[3] = {build_input(g, "x", "?,7,3"), build_input(g, "h", "?,5"), build_input(g, "c", "?,4")};
    build_output(g, build_layer(g, "LSTM", "two", "units=5", 2, in));
    build_refused(graph_infer(g), STATUS_DATA, "\"two\" (LSTM): has 2 inputs; it takes 1, or 3");
    graph_destroy(&g);
    build_ok(graph_create("states", &g));
    in[0] = build_input(g, "x", "?,7,3"), in[1] = build_input(g, "h", "?,5"),
    in[2] = build_input(g, "c", "?,4");
    build_output(g, build_layer(g, "LSTM", "wide", "units=5", 3, in));
    build_refused(graph_infer(g), STATUS_DATA, "a state has shape (?, 4); it must be (?, 5)");
    graph_destroy(&g);
}

/* Operations of the graph, by kind. */
static void assert_ops(const struct opgraph *ops, int n, const enum op_kind *kinds) {
    for (int i = 0; i < n && i < ops->nops; i++)
        if (ops->op[i].kind != kinds[i])
            fail_msg("operation %d is %s, not %s", i, op_name(ops->op[i].kind), op_name(kinds[i]));
    assert_int_equal(ops->nops, n);
}

static void test_lowering(void **state) {
    (void)state;
    struct opgraph *ops;
    struct graph *g = one_layer("?,7,3", "LSTM",
                                "units=5 return_sequences=true go_backwards=true activation=relu "
                                "recurrent_activation=hard_sigmoid");
    g->keras_version = 2;
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    assert_ops(ops, 1, (enum op_kind[]){OP_RECURRENT});
    const struct recurrent *r = &ops->op[0].u.recurrent;
    assert_int_equal(r->cell, CELL_LSTM);
    assert_int_equal(r->activation.kind, ACTIVATION_RELU);
    assert_int_equal(r->gate.kind, ACTIVATION_HARD_SIGMOID);
    assert_true(r->gate.alpha == 0.2f && r->gate.beta == 0.5f);
    assert_true(r->backwards && !r->mask && !r->cell_state && !r->reset_after);
    assert_int_equal(r->states, 0);
    for (int i = 0; i < 3; i++) assert_int_equal(ops->op[0].param[i], i);
    opgraph_destroy(&ops);
    g->keras_version = 3;
    build_ok(graph_lower(g, &ops, NULL));
    assert_true(ops->op[0].u.recurrent.gate.alpha == 1.0f / 6);
    opgraph_destroy(&ops);
    graph_destroy(&g);

    g = one_layer("?,7,3", "GRU", "units=5 reset_after=true use_bias=false");
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    assert_ops(ops, 3, (enum op_kind[]){OP_RECURRENT, OP_SLICE, OP_RESHAPE});
    assert_int_equal(ops->op[0].u.recurrent.cell, CELL_GRU);
    assert_true(ops->op[0].u.recurrent.reset_after);
    assert_int_equal(ops->op[0].param[2], -1);
    assert_int_equal(ops->op[1].u.slice.start[1], 6); /* the last step */
    build_shape_is(&ops->value[ops->op[1].out], &SHAPE(B, 1, 5));
    opgraph_destroy(&ops);
    graph_destroy(&g);

    g = one_layer("?,7", "Embedding", "input_dim=5 output_dim=4");
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    assert_ops(ops, 1, (enum op_kind[]){OP_EMBEDDING});
    build_shape_is(&ops->value[ops->op[0].out], &SHAPE(B, 7, 4));
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

static void test_states(void **state) {
    (void)state;
    struct graph *g;
    struct opgraph *ops;
    build_ok(graph_create("states", &g));
    int in[3] = {build_input(g, "x", "?,7,3"), build_input(g, "h", "?,5"), build_input(g, "c", "?,5")};
    int lstm = build_layer(g, "LSTM", "lstm", "units=5 return_sequences=true return_state=true", 3, in);
    for (int slot = 0; slot < 3; slot++) build_ok(graph_add_output(g, (struct edge){lstm, slot}));
    build_ok(graph_infer(g));
    assert_int_equal(g->node[lstm].nout, 3);
    build_shape_is(&g->node[lstm].out[0], &SHAPE(B, 7, 5));
    build_shape_is(&g->node[lstm].out[1], &SHAPE(B, 5));
    build_shape_is(&g->node[lstm].out[2], &SHAPE(B, 5));
    build_ok(graph_lower(g, &ops, NULL));
    assert_int_equal(ops->op[0].kind, OP_RECURRENT);
    assert_int_equal(ops->op[0].nin, 3);
    assert_int_equal(ops->op[0].u.recurrent.states, 2);
    assert_true(ops->op[0].u.recurrent.cell_state);
    build_shape_is(&ops->value[ops->op[0].out], &SHAPE(B, 7, 10)); /* hidden and cell */
    build_shape_is(&ops->value[ops->output[0]], &SHAPE(B, 7, 5));
    build_shape_is(&ops->value[ops->output[1]], &SHAPE(B, 5));
    assert_int_not_equal(ops->output[1], ops->output[2]);
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

/* Gates, one after the other, of all units each; the recurrent kernel reads the units again. */
static void test_axes_of_channels(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs;
        int gates, bias_axis;
    } cases[] = {
        {"SimpleRNN", "units=5", 1, 0}, {"LSTM", "units=5", 4, 0},
        {"GRU", "units=5", 3, 0},       {"GRU", "units=5 reset_after=true", 3, 1},
        {"CuDNNGRU", "units=5", 3, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = one_layer("?,7,3", cases[i].class_name, cases[i].attrs);
        build_ok(graph_infer(g));
        const struct layer *layer = &g->layer[g->node[1].layer];
        const struct weight *kernel = &layer->weight[0], *again = &layer->weight[1],
                            *bias = &layer->weight[2];
        assert_int_equal(kernel->in_axis, 0);
        assert_false(kernel->feedback);
        assert_int_equal(again->in_axis, 0);
        assert_true(again->feedback);
        assert_int_equal(kernel->out_axis, 1);
        assert_int_equal(again->out_axis, 1);
        assert_int_equal(bias->in_axis, -1);
        assert_int_equal(bias->out_axis, cases[i].bias_axis);
        for (int w = 0; w < 3; w++) assert_int_equal(layer->weight[w].blocks, cases[i].gates);
        graph_destroy(&g);
    }
    struct graph *g = one_layer("?,7,3", "LSTM", "units=5"); /* narrower */
    build_ok(graph_infer(g));
    struct layer *layer = &g->layer[g->node[1].layer];
    build_ok(layer->kind->set_width(layer, 2));
    build_ok(graph_infer(g));
    build_shape_is(&g->node[1].out[0], &SHAPE(B, 2));
    build_shape_is(&layer->weight[1].shape, &SHAPE(2, 8));
    graph_destroy(&g);
}

/* CuDNN's layers are read as the others: tables of attributes must be alike. */
static void test_becomes(void **state) {
    (void)state;
    for (int i = 0; i < layer_kind_count(); i++) {
        const struct layer_kind *kind = layer_kind_at(i), *other = kind->becomes;
        if (!other) continue;
        assert_int_equal(kind->nattrs, other->nattrs);
        for (int a = 0; a < kind->nattrs; a++) {
            assert_string_equal(kind->attrs[a].name, other->attrs[a].name);
            assert_int_equal(kind->attrs[a].type, other->attrs[a].type);
        }
    }
    assert_ptr_equal(layer_kind_find("CuDNNLSTM")->becomes, layer_kind_find("LSTM"));
    assert_ptr_equal(layer_kind_find("CuDNNGRU")->becomes, layer_kind_find("GRU"));
}

static void test_input_shape_of_tokens(void **state) {
    (void)state;
    struct graph *g;
    struct opgraph *ops;
    build_ok(graph_create("text", &g));
    int x = build_input(g, "ids", "?,?");
    int e = build_layer(g, "Embedding", "e", "input_dim=9 output_dim=4 mask_zero=true", 1, &x);
    build_output(g, build_layer(g, "LSTM", "lstm", "units=5", 1, &e));
    build_ok(graph_infer(g));
    build_ok(graph_set_input_shapes(g, &SHAPE(B, 11)));
    build_shape_is(&g->node[e].out[0], &SHAPE(B, 11, 4));
    build_ok(graph_lower(g, &ops, NULL));
    for (int i = 0; i < ops->nvalues; i++) assert_true(shape_sample_count(&ops->value[i]) > 0);
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_and_weights),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_lowering),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_axes_of_channels),
        cmocka_unit_test(test_becomes),
        cmocka_unit_test(test_input_shape_of_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
