/* MultiHeadAttention, GroupedQueryAttention, Attention, AdditiveAttention, EinsumDense: shapes, weights, what
 * they lower to. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "graph_build.h"
#include "shared/channels.h"

#define B SHAPE_UNKNOWN

/* Inputs, separated by blanks, and one layer on them. */
static struct graph *on_inputs(const char *inputs, const char *class_name, const char *attrs) {
    struct graph *g;
    char copy[256], name[8], *rest = NULL;
    int in[4], n = 0;
    build_ok(graph_create("one", &g));
    snprintf(copy, sizeof copy, "%s", inputs);
    for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        snprintf(name, sizeof name, "x%d", n);
        in[n++] = build_input(g, name, word);
    }
    build_output(g, build_layer(g, class_name, "layer", attrs, n, in));
    return g;
}

static int last_node(const struct graph *g) {
    return g->output[0].node;
}

static void test_shapes_and_weights(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs, *inputs;
        struct shape out;
        int64_t params;
    } cases[] = {
        {"MultiHeadAttention",
         "num_heads=4 key_dim=3",
         "?,7,16 ?,7,16",
         {3, {B, 7, 16}},
         3 * (16 * 12 + 12) + 12 * 16 + 16},
        {"MultiHeadAttention",
         "num_heads=4 key_dim=3 value_dim=5 use_bias=false",
         "?,7,16 ?,9,8 ?,9,6",
         {3, {B, 7, 16}},
         16 * 12 + 6 * 12 + 8 * 20 + 20 * 16},
        {"MultiHeadAttention",
         "num_heads=2 key_dim=3 output_shape=10",
         "?,?,16 ?,?,8",
         {3, {B, B, 10}},
         16 * 6 + 8 * 6 + 8 * 6 + 3 * 6 + 6 * 10 + 10},
        {"MultiHeadAttention",
         "num_heads=2 key_dim=3 output_shape=4,5",
         "?,7,16 ?,7,16",
         {4, {B, 7, 4, 5}},
         3 * (96 + 6) + 6 * 20 + 20},
        {"MultiHeadAttention",
         "num_heads=2 key_dim=3 attention_axes=1,2",
         "?,3,7,16 ?,4,5,16",
         {4, {B, 3, 7, 16}},
         3 * (96 + 6) + 6 * 16 + 16},
        {"MultiHeadAttention",
         "num_heads=2 key_dim=3 attention_axes=2",
         "?,3,7,16 ?,3,5,16",
         {4, {B, 3, 7, 16}},
         3 * (96 + 6) + 6 * 16 + 16},
        {"MultiHeadAttention",
         "num_heads=2 key_dim=3 attention_axes=-2",
         "?,3,7,16 ?,3,5,16",
         {4, {B, 3, 7, 16}},
         3 * (96 + 6) + 6 * 16 + 16},
        {"GroupedQueryAttention",
         "head_dim=3 num_query_heads=6 num_key_value_heads=2",
         "?,7,16 ?,9,16",
         {3, {B, 7, 16}},
         16 * 18 + 18 + 2 * (16 * 6 + 6) + 18 * 16 + 16},
        {"Attention", "", "?,7,4 ?,9,4", {3, {B, 7, 4}}, 0},
        {"Attention", "use_scale=true", "?,7,4 ?,9,5 ?,9,4", {3, {B, 7, 5}}, 1},
        {"Attention", "use_scale=true score_mode=concat", "?,?,4 ?,?,4", {3, {B, B, 4}}, 2},
        {"AdditiveAttention", "", "?,7,4 ?,9,4", {3, {B, 7, 4}}, 4},
        {"AdditiveAttention", "use_scale=false causal=true", "?,7,4 ?,9,4", {3, {B, 7, 4}}, 0},
        {"EinsumDense", "equation=abc,cd->abd output_shape=?,6 bias_axes=d", "?,7,4", {3, {B, 7, 6}}, 30},
        {"EinsumDense", "equation=...x,xy->...y output_shape=6", "?,3,7,4", {4, {B, 3, 7, 6}}, 24},
        {"EinsumDense",
         "equation=abc,cde->abde output_shape=?,2,3 bias_axes=de",
         "?,?,4",
         {4, {B, B, 2, 3}},
         30},
        {"EinsumDense",
         "equation=abc,cde->abde output_shape=?,2,3 bias_axes=e",
         "?,7,4",
         {4, {B, 7, 2, 3}},
         27},
        {"EinsumDense", "equation=abcd,cde->abe output_shape=?,6 bias_axes=e", "?,7,2,3", {3, {B, 7, 6}}, 42},
        {"EinsumDense", "equation=ab,bc->ac output_shape=6", "?,4", {2, {B, 6}}, 24},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = on_inputs(cases[i].inputs, cases[i].class_name, cases[i].attrs);
        struct graph_counts counts;
        struct opgraph *ops;
        build_ok(graph_infer(g));
        build_shape_is(&g->node[last_node(g)].out[0], &cases[i].out);
        build_ok(graph_count(g, &counts));
        assert_int_equal(counts.params, cases[i].params);
        build_ok(graph_lower(g, &ops, NULL));
        /* Operations see parameters of as many elements as the file has. */
        for (int p = 0; p < ops->nparams; p++) {
            int64_t count;
            build_ok(shape_count(&g->layer[ops->param[p].layer].weight[ops->param[p].weight].shape, &count));
            assert_int_equal(ops->param[p].count, count);
        }
        opgraph_destroy(&ops);
        graph_destroy(&g);
    }
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs, *inputs;
        enum status_code code;
        const char *message;
    } cases[] = {
        {"MultiHeadAttention", "num_heads=0 key_dim=3", "?,7,16 ?,7,16", STATUS_DATA, "\"num_heads\" is 0"},
        {"MultiHeadAttention", "num_heads=9999999999 key_dim=9999999999", "?,7,16 ?,7,16", STATUS_DATA,
         "too large"},
        {"MultiHeadAttention", "num_heads=2 key_dim=3", "?,16 ?,16", STATUS_DATA, "(batch, steps, features)"},
        {"MultiHeadAttention", "num_heads=2 key_dim=3", "?,7,16 ?,9,16 ?,8,16", STATUS_DATA,
         "(?, 9, 16) and (?, 8, 16) do not fit"},
        {"MultiHeadAttention", "num_heads=2 key_dim=3 attention_axes=1", "?,3,7,16 ?,3,7,16",
         STATUS_UNSUPPORTED, "attention_axes with 1 are not supported"},
        {"MultiHeadAttention", "num_heads=2 key_dim=3 attention_axes=2", "?,3,7,16 ?,4,7,16", STATUS_DATA,
         "do not fit"},
        {"MultiHeadAttention", "num_heads=2 key_dim=3 output_shape=0", "?,7,16 ?,7,16", STATUS_DATA,
         "output_shape has 0"},
        {"MultiHeadAttention", "num_heads=2 key_dim=3", "?,7,16", STATUS_DATA, "has 1 inputs"},
        {"GroupedQueryAttention", "head_dim=3 num_query_heads=5 num_key_value_heads=2", "?,7,16 ?,7,16",
         STATUS_DATA, "num_query_heads is no multiple"},
        {"Attention", "score_mode=cosine", "?,7,4 ?,9,4", STATUS_UNSUPPORTED, "score_mode \"cosine\""},
        {"Attention", "", "?,7,4 ?,9,5", STATUS_DATA, "do not fit"},
        {"EinsumDense", "equation=abc,bd->adc output_shape=6,4", "?,7,4", STATUS_UNSUPPORTED,
         "equation \"abc,bd->adc\" is not supported"},
        {"EinsumDense", "equation=abc,cd->adb output_shape=6,7", "?,7,4", STATUS_UNSUPPORTED, "equation"},
        {"EinsumDense", "equation=abc,cd output_shape=6,7", "?,7,4", STATUS_UNSUPPORTED, "equation"},
        {"EinsumDense", "equation=ab,c->abc output_shape=7,4", "?,7", STATUS_UNSUPPORTED, "equation"},
        {"EinsumDense", "equation=abc,cd->abd output_shape=7,6 bias_axes=bd", "?,7,4", STATUS_UNSUPPORTED,
         "bias_axes \"bd\""},
        {"EinsumDense", "equation=abc,cd->abd output_shape=6", "?,7,4", STATUS_DATA, "output_shape has 1"},
        {"EinsumDense", "equation=abc,cd->abd output_shape=7,?", "?,7,4", STATUS_DATA, "its kernel"},
        {"EinsumDense", "equation=abc,cd->abd output_shape=7,6", "?,4", STATUS_DATA, "its input has shape"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = on_inputs(cases[i].inputs, cases[i].class_name, cases[i].attrs);
        build_refused(graph_infer(g), cases[i].code, cases[i].message);
        graph_destroy(&g);
    }
}

static void assert_ops(const struct opgraph *ops, int n, const enum op_kind *kinds) {
    for (int i = 0; i < n && i < ops->nops; i++)
        if (ops->op[i].kind != kinds[i])
            fail_msg("operation %d is %s, not %s", i, op_name(ops->op[i].kind), op_name(kinds[i]));
    assert_int_equal(ops->nops, n);
}

/* Which axes are of heads, and of features; fewer heads. */
static void test_axes_of_heads(void **state) {
    (void)state;
    static const unsigned axes[] = {2, 1, 2, 1, 2, 1, 1, 0};
    static const int out_axes[] = {-1, -1, -1, -1, -1, -1, 2, 0};
    struct graph *g = on_inputs("?,7,16 ?,9,16", "MultiHeadAttention", "num_heads=4 key_dim=3 value_dim=5");
    build_ok(graph_infer(g));
    struct layer *layer = &g->layer[g->node[last_node(g)].layer];
    for (int i = 0; i < 8; i++) {
        assert_int_equal(layer->weight[i].inner_axes, axes[i]);
        assert_int_equal(layer->weight[i].out_axis, out_axes[i]);
    }
    build_ok(layer->kind->set_inner(layer, 3));
    build_ok(graph_infer(g));
    build_shape_is(&layer->weight[0].shape, &SHAPE(16, 3, 3));
    build_shape_is(&layer->weight[6].shape, &SHAPE(3, 5, 16));
    build_shape_is(&g->node[last_node(g)].out[0], &SHAPE(B, 7, 16));
    graph_destroy(&g);
    g = on_inputs("?,7,16 ?,9,16", "GroupedQueryAttention",
                  "head_dim=2 num_query_heads=12 num_key_value_heads=4");
    build_ok(graph_infer(g));
    layer = &g->layer[g->node[last_node(g)].layer];
    build_ok(layer->kind->set_inner(layer, 3));
    build_ok(graph_infer(g));
    build_shape_is(&layer->weight[0].shape, &SHAPE(16, 9, 2)); /* three queries for each */
    build_shape_is(&layer->weight[2].shape, &SHAPE(16, 3, 2));
    build_shape_is(&layer->weight[6].shape, &SHAPE(9, 2, 16));
    graph_destroy(&g);
    g = on_inputs("?,7,16 ?,9,16", "MultiHeadAttention", "num_heads=4 key_dim=3 output_shape=10");
    build_ok(graph_infer(g));
    layer = &g->layer[g->node[last_node(g)].layer];
    build_ok(layer->kind->set_width(layer, 6));
    build_ok(graph_infer(g));
    build_shape_is(&g->node[last_node(g)].out[0], &SHAPE(B, 7, 6));
    graph_destroy(&g);
}

static void test_multi_head_lowering(void **state) {
    (void)state;
    static const enum op_kind kinds[] = {
        OP_DENSE,     OP_RESHAPE, OP_TRANSPOSE, OP_DENSE,   OP_RESHAPE, OP_TRANSPOSE, OP_DENSE,   OP_RESHAPE,
        OP_TRANSPOSE, OP_MATMUL,  OP_SOFTMAX,   OP_DROPOUT, OP_MATMUL,  OP_TRANSPOSE, OP_RESHAPE, OP_DENSE};
    struct opgraph *ops;
    struct graph *g = on_inputs("?,7,16 ?,9,8 ?,9,6", "MultiHeadAttention",
                                "num_heads=4 key_dim=3 value_dim=5 dropout=0.1 use_causal_mask=true");
    build_ok(graph_infer(g));
    const struct layer *layer = &g->layer[g->node[last_node(g)].layer];
    static const char *const names[] = {"query/kernel",
                                        "query/bias",
                                        "key/kernel",
                                        "key/bias",
                                        "value/kernel",
                                        "value/bias",
                                        "attention_output/kernel",
                                        "attention_output/bias"};
    static const char *const paths[] = {"query_dense", "key_dense", "value_dense", "output_dense"};
    assert_int_equal(layer->nweights, 8);
    for (int i = 0; i < 8; i++) {
        assert_string_equal(layer->weight[i].name, names[i]);
        assert_string_equal(layer->weight[i].path, paths[i / 2]);
    }
    build_shape_is(&layer->weight[0].shape, &SHAPE(16, 4, 3));
    build_shape_is(&layer->weight[0].view, &SHAPE(16, 12));
    build_shape_is(&layer->weight[2].shape, &SHAPE(6, 4, 3)); /* the key is the third input */
    build_shape_is(&layer->weight[4].shape, &SHAPE(8, 4, 5));
    build_shape_is(&layer->weight[6].shape, &SHAPE(4, 5, 16));
    build_ok(graph_lower(g, &ops, NULL));
    assert_ops(ops, 16, kinds);
    assert_int_equal(ops->op[3].in[0], ops->input[2]);
    assert_int_equal(ops->op[6].in[0], ops->input[1]);
    build_shape_is(&ops->value[ops->op[2].out], &SHAPE(B, 4, 7, 3));
    build_shape_is(&ops->value[ops->op[9].out], &SHAPE(B, 4, 7, 9));
    assert_true(ops->op[9].u.matmul.transpose_b && !ops->op[9].u.matmul.transpose_a);
    assert_true(ops->op[9].u.matmul.scale == (float)(1 / sqrt(3.0)));
    assert_true(ops->op[10].u.axis.causal && ops->op[10].u.axis.axis == 3);
    assert_true(ops->op[11].u.dropout.rate == 0.1f);
    build_shape_is(&ops->value[ops->op[14].out], &SHAPE(B, 7, 20));
    for (int i = 0; i < 4; i++) {
        const struct op *dense = &ops->op[(int[]){0, 3, 6, 15}[i]];
        assert_int_equal(dense->param[0], 2 * i);
        assert_int_equal(dense->param[1], 2 * i + 1);
    }
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

/* Each head of key and value serves three of the query. */
static void test_grouped_lowering(void **state) {
    (void)state;
    struct opgraph *ops;
    struct graph *g = on_inputs("?,7,16 ?,9,16", "GroupedQueryAttention",
                                "head_dim=3 num_query_heads=6 num_key_value_heads=2");
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    int products = 0;
    for (int i = 0; i < ops->nops; i++) {
        const struct op *op = &ops->op[i];
        if (op->kind == OP_SOFTMAX) build_shape_is(&ops->value[op->in[0]], &SHAPE(B, 6, 7, 9));
        if (op->kind != OP_MATMUL) continue;
        build_shape_is(&ops->value[op->in[0]], products ? &SHAPE(B, 2, 21, 9) : &SHAPE(B, 2, 21, 3));
        build_shape_is(&ops->value[op->in[1]], &SHAPE(B, 2, 9, 3));
        products++;
    }
    assert_int_equal(products, 2);
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

static void test_attention_lowering(void **state) {
    (void)state;
    struct opgraph *ops;
    struct graph *g = on_inputs("?,7,4 ?,9,5 ?,9,4", "Attention", "causal=true");
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    assert_ops(ops, 3, (enum op_kind[]){OP_MATMUL, OP_SOFTMAX, OP_MATMUL});
    assert_int_equal(ops->op[0].in[1], ops->input[2]);
    assert_true(ops->op[0].u.matmul.scale == 1 && ops->op[1].u.axis.causal);
    assert_int_equal(ops->op[2].in[1], ops->input[1]);
    opgraph_destroy(&ops);
    graph_destroy(&g);

    g = on_inputs("?,7,4 ?,9,4", "AdditiveAttention", "");
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    assert_ops(ops, 8,
               (enum op_kind[]){OP_RESHAPE, OP_RESHAPE, OP_BINARY, OP_ACTIVATION, OP_SCALE, OP_REDUCE,
                                OP_SOFTMAX, OP_MATMUL});
    build_shape_is(&ops->value[ops->op[2].out], &SHAPE(B, 7, 9, 4));
    assert_int_equal(ops->op[5].u.reduce.kind, REDUCE_SUM);
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

/* Without an output_shape the output has the query's channels, so that both stay where it is the model's;
 * with one the query's channels are free if they are key's and value's as well. */
static void test_channels(void **state) {
    (void)state;
    static const struct {
        const char *attrs;
        bool other, fixed;
    } cases[] = {{"num_heads=2 key_dim=3", false, true},
                 {"num_heads=2 key_dim=3 output_shape=10", false, false},
                 {"num_heads=2 key_dim=3 output_shape=10", true, true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g;
        struct channel_map *map;
        int width;
        build_ok(graph_create("attention", &g));
        int x = build_input(g, "x", "?,7,16");
        int a = build_layer(g, "Dense", "a", "units=8", 1, &x),
            b = build_layer(g, "Dense", "b", "units=8", 1, &x);
        int in[2] = {b, cases[i].other ? a : b};
        build_output(g, build_layer(g, "MultiHeadAttention", "attention", cases[i].attrs, 2, in));
        build_ok(graph_infer(g));
        build_ok(channel_map_create(g, &map));
        const struct channel *channel =
            channel_map_of(map, build_node(g, cases[i].other ? "a" : "b"), &width);
        assert_int_equal(width, 8);
        assert_int_equal(channel_map_fixed(map, channel[0].group), cases[i].fixed);
        assert_true(channel_map_fixed(map, channel_map_of(map, last_node(g), &width)[0].group));
        channel_map_destroy(&map);
        graph_destroy(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_and_weights), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_axes_of_heads),      cmocka_unit_test(test_multi_head_lowering),
        cmocka_unit_test(test_grouped_lowering),   cmocka_unit_test(test_attention_lowering),
        cmocka_unit_test(test_channels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
