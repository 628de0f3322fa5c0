/* Layers of sequences as images of height 1: shapes, weights, what they lower to. */
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
        {"Conv1D", "filters=5 kernel_size=3", "?,9,4", {3, {B, 7, 5}}, 65},
        {"Conv1D", "filters=5 kernel_size=3 strides=2 padding=same", "?,9,4", {3, {B, 5, 5}}, 65},
        {"Conv1D", "filters=5 kernel_size=3 padding=causal dilation_rate=4", "?,9,4", {3, {B, 9, 5}}, 65},
        {"Conv1D", "filters=5 kernel_size=3 padding=causal strides=2", "?,9,4", {3, {B, 5, 5}}, 65},
        {"Conv1D", "filters=6 kernel_size=3 groups=2", "?,?,4", {3, {B, B, 6}}, 42},
        {"Conv1D", "filters=5 kernel_size=3 data_format=channels_first", "?,4,9", {3, {B, 5, 7}}, 65},
        {"SeparableConv1D",
         "filters=5 kernel_size=3 depth_multiplier=2",
         "?,9,4",
         {3, {B, 7, 5}},
         24 + 40 + 5},
        {"SeparableConv1D", "filters=5 kernel_size=3", "?,?,4", {3, {B, B, 5}}, 12 + 20 + 5},
        {"DepthwiseConv1D", "kernel_size=3 depth_multiplier=2 strides=2", "?,9,4", {3, {B, 4, 8}}, 24 + 8},
        {"Conv1DTranspose", "filters=5 kernel_size=3 strides=2 padding=same", "?,9,4", {3, {B, 18, 5}}, 65},
        {"Conv1DTranspose", "filters=5 kernel_size=3 strides=2", "?,9,4", {3, {B, 19, 5}}, 65},
        {"Conv1DTranspose",
         "filters=5 kernel_size=3 strides=2 output_padding=1",
         "?,9,4",
         {3, {B, 20, 5}},
         65},
        {"MaxPooling1D", "", "?,9,4", {3, {B, 4, 4}}, 0},
        {"MaxPooling1D", "pool_size=3 strides=1 padding=same", "?,9,4", {3, {B, 9, 4}}, 0},
        {"AveragePooling1D", "data_format=channels_first", "?,4,9", {3, {B, 4, 4}}, 0},
        {"GlobalAveragePooling1D", "", "?,?,4", {2, {B, 4}}, 0},
        {"GlobalAveragePooling1D", "keepdims=true", "?,9,4", {3, {B, 1, 4}}, 0},
        {"GlobalMaxPooling1D", "data_format=channels_first keepdims=true", "?,4,9", {3, {B, 4, 1}}, 0},
        {"UpSampling1D", "size=3", "?,9,4", {3, {B, 27, 4}}, 0},
        {"ZeroPadding1D", "padding=2", "?,9,4", {3, {B, 13, 4}}, 0},
        {"ZeroPadding1D", "padding=2,0", "?,9,4", {3, {B, 11, 4}}, 0},
        {"Cropping1D", "cropping=1,3", "?,9,4", {3, {B, 5, 4}}, 0},
        {"Cropping1D", "", "?,?,4", {3, {B, B, 4}}, 0},
        {"SpatialDropout1D", "rate=0.5", "?,9,4", {3, {B, 9, 4}}, 0},
        {"RepeatVector", "n=7", "?,4", {3, {B, 7, 4}}, 0},
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
        {"Conv1D", "filters=4 kernel_size=3", "?,8,8,3", STATUS_DATA, "(batch, steps, channels)"},
        {"Conv1D", "filters=4 kernel_size=3 data_format=channels_first", "?,?,8", STATUS_DATA,
         "(batch, channels, steps)"},
        {"Conv1D", "filters=4 kernel_size=3", "?,2,3", STATUS_DATA, "does not fit"},
        {"MaxPooling1D", "padding=causal", "?,8,3", STATUS_UNSUPPORTED, "padding \"causal\""},
        {"UpSampling1D", "size=0", "?,8,3", STATUS_DATA, "\"size\" has 0"},
        {"ZeroPadding1D", "padding=1,2,3,4", "?,8,3", STATUS_DATA, "it takes 1 or 2"},
        {"Cropping1D", "cropping=4,4", "?,8,3", STATUS_DATA, "8 cells"},
        {"RepeatVector", "n=0", "?,8", STATUS_DATA, "\"n\" is 0"},
        {"RepeatVector", "n=2", "?,8,3", STATUS_DATA, "(batch, features)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = one_layer(cases[i].input, cases[i].class_name, cases[i].attrs);
        build_refused(graph_infer(g), cases[i].code, cases[i].message);
        graph_destroy(&g);
    }
}

/* Files have kernels (k, C, M), operations take (1, k, C, M). */
static void test_kernels_are_seen_as_of_images(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs;
        int weight, in_axis, out_axis;
        struct shape shape, view;
    } cases[] = {
        {"Conv1D", "filters=5 kernel_size=3", 0, 1, 2, {3, {3, 4, 5}}, {4, {1, 3, 4, 5}}},
        {"SeparableConv1D", "filters=5 kernel_size=3", 0, 1, -1, {3, {3, 4, 1}}, {4, {1, 3, 4, 1}}},
        {"SeparableConv1D", "filters=5 kernel_size=3", 1, 1, 2, {3, {1, 4, 5}}, {4, {1, 1, 4, 5}}},
        {"DepthwiseConv1D", "kernel_size=3", 0, 1, 1, {3, {3, 4, 1}}, {4, {1, 3, 4, 1}}},
        {"Conv1DTranspose", "filters=5 kernel_size=3", 0, 2, 1, {3, {3, 5, 4}}, {4, {1, 3, 5, 4}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = one_layer("?,9,4", cases[i].class_name, cases[i].attrs);
        struct opgraph *ops;
        build_ok(graph_infer(g));
        build_ok(graph_lower(g, &ops, NULL));
        const struct weight *weight = &g->layer[1].weight[cases[i].weight];
        build_shape_is(&weight->shape, &cases[i].shape);
        assert_int_equal(weight->in_axis, cases[i].in_axis);
        assert_int_equal(weight->out_axis, cases[i].out_axis);
        build_shape_is(&ops->param[cases[i].weight].shape, &cases[i].view);
        opgraph_destroy(&ops);
        graph_destroy(&g);
    }
}

/* What comes out at a step sees no later one: all the padding is before. */
static void test_causal_window(void **state) {
    (void)state;
    struct graph *g = one_layer("?,9,4", "Conv1D", "filters=5 kernel_size=3 dilation_rate=2 padding=causal");
    struct opgraph *ops;
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    assert_int_equal(ops->op[0].kind, OP_RESHAPE);
    assert_int_equal(ops->op[1].kind, OP_CONV);
    const struct window *w = &ops->op[1].u.conv.window;
    const int size[] = {1, 3}, dilation[] = {1, 2}, before[] = {0, 4}, after[] = {0, 0};
    assert_memory_equal(w->size, size, sizeof size);
    assert_memory_equal(w->dilation, dilation, sizeof dilation);
    assert_memory_equal(w->before, before, sizeof before);
    assert_memory_equal(w->after, after, sizeof after);
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

/* A mask of the steps makes the average one of those that count. */
static void test_masked_average(void **state) {
    (void)state;
    struct graph *g;
    struct opgraph *ops;
    build_ok(graph_create("masked", &g));
    int x = build_input(g, "x", "?,9");
    x = build_layer(g, "Embedding", "words", "input_dim=50 output_dim=4 mask_zero=true", 1, &x);
    int mean = build_layer(g, "GlobalAveragePooling1D", "mean", "", 1, &x);
    int max = build_layer(g, "GlobalMaxPooling1D", "max", "", 1, &x);
    build_output(g, mean);
    build_output(g, max);
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    const struct op *last = &ops->op[opgraph_producer(ops, ops->output[0])];
    assert_int_equal(last->kind, OP_BINARY);
    assert_int_equal(last->u.binary.kind, BINARY_DIV);
    build_shape_is(&ops->value[last->in[0]], &SHAPE(B, 4));
    build_shape_is(&ops->value[last->in[1]], &SHAPE(B, 1));
    last = &ops->op[opgraph_producer(ops, ops->output[1])];
    assert_int_equal(last->kind, OP_REDUCE);
    assert_int_equal(last->u.reduce.kind, REDUCE_MAX);
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_and_weights),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_kernels_are_seen_as_of_images),
        cmocka_unit_test(test_causal_window),
        cmocka_unit_test(test_masked_average),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
