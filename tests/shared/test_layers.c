/* Layer kinds one by one: attributes, shapes, weights, what they lower to. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "graph_build.h"

#define B SHAPE_UNKNOWN

/* An input and one layer on it. */
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
        int64_t params, trainable;
    } cases[] = {
        {"Conv2D",
         "filters=32 kernel_size=3,5 strides=2,1",
         "?,28,28,1",
         {4, {B, 13, 24, 32}},
         15 * 32 + 32,
         512},
        {"Conv2D",
         "filters=8 kernel_size=3 groups=2 padding=same",
         "?,9,9,4",
         {4, {B, 9, 9, 8}},
         9 * 2 * 8 + 8,
         152},
        {"Conv2D",
         "filters=8 kernel_size=3 dilation_rate=2",
         "?,9,9,4",
         {4, {B, 5, 5, 8}},
         9 * 4 * 8 + 8,
         296},
        {"Conv2D", "filters=8 kernel_size=3 use_bias=false", "?,?,9,4", {4, {B, B, 7, 8}}, 9 * 4 * 8, 288},
        {"DepthwiseConv2D",
         "kernel_size=3 padding=same strides=2",
         "?,7,8,6",
         {4, {B, 4, 4, 6}},
         9 * 6 + 6,
         60},
        {"DepthwiseConv2D",
         "kernel_size=3 depth_multiplier=3",
         "?,7,8,6",
         {4, {B, 5, 6, 18}},
         9 * 18 + 18,
         180},
        {"SeparableConv2D",
         "filters=10 kernel_size=3 padding=same",
         "?,7,7,4",
         {4, {B, 7, 7, 10}},
         36 + 40 + 10,
         86},
        {"SeparableConv2D",
         "filters=10 kernel_size=3 depth_multiplier=2 use_bias=false",
         "?,7,7,4",
         {4, {B, 5, 5, 10}},
         72 + 80,
         152},
        {"Dense", "units=10", "?,784", {2, {B, 10}}, 7850, 7850},
        {"Dense", "units=10 use_bias=false", "?,5,7", {3, {B, 5, 10}}, 70, 70},
        {"BatchNormalization", "", "?,7,7,16", {4, {B, 7, 7, 16}}, 64, 32},
        {"BatchNormalization", "scale=false axis=3", "?,7,7,16", {4, {B, 7, 7, 16}}, 48, 16},
        {"BatchNormalization", "center=false scale=false", "?,16", {2, {B, 16}}, 32, 0},
        {"Activation", "activation=tanh", "?,3,4", {3, {B, 3, 4}}, 0, 0},
        {"ReLU", "max_value=6", "?,3,4", {3, {B, 3, 4}}, 0, 0},
        {"LeakyReLU", "", "?,3,4", {3, {B, 3, 4}}, 0, 0},
        {"ELU", "", "?,3,4", {3, {B, 3, 4}}, 0, 0},
        {"Softmax", "axis=1", "?,3,4", {3, {B, 3, 4}}, 0, 0},
        {"MaxPooling2D", "", "?,7,8,3", {4, {B, 3, 4, 3}}, 0, 0},
        {"MaxPooling2D", "pool_size=3 strides=2 padding=same", "?,7,8,3", {4, {B, 4, 4, 3}}, 0, 0},
        {"AveragePooling2D", "pool_size=3,2 strides=1", "?,7,8,3", {4, {B, 5, 7, 3}}, 0, 0},
        {"GlobalAveragePooling2D", "", "?,?,?,5", {2, {B, 5}}, 0, 0},
        {"GlobalAveragePooling2D", "keepdims=true", "?,4,4,5", {4, {B, 1, 1, 5}}, 0, 0},
        {"GlobalMaxPooling2D", "", "?,4,4,5", {2, {B, 5}}, 0, 0},
        {"Flatten", "", "?,4,4,5", {2, {B, 80}}, 0, 0},
        {"Flatten", "", "?", {2, {B, 1}}, 0, 0},
        {"Flatten", "", "?,?,4,5", {2, {B, B}}, 0, 0},
        {"Reshape", "target_shape=1,1,80", "?,80", {4, {B, 1, 1, 80}}, 0, 0},
        {"Reshape", "target_shape=-1,4", "?,4,4,5", {3, {B, 20, 4}}, 0, 0},
        {"Reshape", "target_shape=-1,4", "?,?,4,5", {3, {B, B, 4}}, 0, 0},
        {"Dropout", "rate=0.5", "?,4,4,5", {4, {B, 4, 4, 5}}, 0, 0},
        {"ZeroPadding2D", "", "?,4,5,3", {4, {B, 6, 7, 3}}, 0, 0},
        {"ZeroPadding2D", "padding=3", "?,4,5,3", {4, {B, 10, 11, 3}}, 0, 0},
        {"ZeroPadding2D", "padding=1,2", "?,4,5,3", {4, {B, 6, 9, 3}}, 0, 0},
        {"ZeroPadding2D", "padding=0,1,2,3", "?,4,?,3", {4, {B, 5, B, 3}}, 0, 0},
        {"UpSampling2D", "", "?,4,5,3", {4, {B, 8, 10, 3}}, 0, 0},
        {"UpSampling2D", "size=3,1 interpolation=bilinear", "?,4,?,3", {4, {B, 12, B, 3}}, 0, 0},
        {"Rescaling", "scale=0.00392156862745098", "?,4,5,3", {4, {B, 4, 5, 3}}, 0, 0},
        {"Rescaling", "scale=0.1,0.2,0.3 offset=-1", "?,4,5,3", {4, {B, 4, 5, 3}}, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = one_layer(cases[i].input, cases[i].class_name, cases[i].attrs);
        struct graph_counts counts;
        struct opgraph *ops;
        build_ok(graph_infer(g));
        build_shape_is(&g->node[1].out[0], &cases[i].out);
        build_ok(graph_count(g, &counts));
        assert_int_equal(counts.params, cases[i].params);
        assert_int_equal(counts.trainable, cases[i].trainable);
        build_ok(graph_lower(g, &ops, NULL)); /* checks that operations have the layers' shapes */
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
        {"Conv2D", "filters=4 kernel_size=3 data_format=sideways", "?,3,8,8", STATUS_UNSUPPORTED,
         "data_format \"sideways\""},
        {"Dense", "units=4 activation=sparsemax", "?,3", STATUS_UNSUPPORTED, "activation \"sparsemax\""},
        {"BatchNormalization", "axis=0", "?,3,8,8", STATUS_UNSUPPORTED, "axis 0"},
        {"UpSampling2D", "interpolation=bicubic", "?,8,8,3", STATUS_UNSUPPORTED, "interpolation \"bicubic\""},
        {"UpSampling2D", "size=0", "?,8,8,3", STATUS_DATA, "\"size\" has 0"},
        {"Dropout", "rate=0.5 noise_shape=1,1,3", "?,8,3", STATUS_UNSUPPORTED, "1 for the batch"},
        {"Dropout", "rate=1.5", "?,8,3", STATUS_DATA, "rate is 1.5"},
        {"Dropout", "rate=nan", "?,8,3", STATUS_DATA, "rate is nan"},
        {"Softmax", "axis=0", "?,8", STATUS_UNSUPPORTED, "axis 0"},
        {"Softmax", "axis=2", "?,8", STATUS_DATA, "\"axis\" is 2"},
        {"Concatenate", "axis=0", "?,8", STATUS_UNSUPPORTED, "axis 0"},
        {"Reshape", "target_shape=5,-1", "?,8", STATUS_DATA, "cannot be reshaped"},
        {"Reshape", "target_shape=2,3", "?,8", STATUS_DATA, "(?, 8) cannot be reshaped to (?, 2, 3)"},
        {"Reshape", "target_shape=-1,-1", "?,8", STATUS_DATA, "one may be -1"},
        {"Reshape", "target_shape=1,1,1,1,1,1,1,8", "?,8", STATUS_DATA, "8 dimensions"},
        {"ZeroPadding2D", "padding=-1", "?,8,8,3", STATUS_DATA, "\"padding\" has -1"},
        {"ZeroPadding2D", "padding=1,2,3", "?,8,8,3", STATUS_DATA, "3 numbers"},
        {"Rescaling", "scale=1,2", "?,8,8,3", STATUS_DATA, "\"scale\" has 2 numbers"},
        {"Rescaling", "", "?,8,8,3", STATUS_DATA, "\"scale\" is missing"},
        {"DepthwiseConv2D", "kernel_size=3 depth_multiplier=0", "?,8,8,3", STATUS_DATA,
         "\"depth_multiplier\" is 0"},
        {"DepthwiseConv2D", "kernel_size=3 depth_multiplier=9223372036854775807", "?,8,8,3", STATUS_DATA,
         "too large"},
        {"Conv2D", "filters=9223372036854775807 kernel_size=3", "?,8,8,3", STATUS_DATA,
         "a dimension can be at most 2147483647"},
        {"Conv2D", "filters=2147483647 kernel_size=32768", "?,?,?,2147483647", STATUS_DATA,
         "too many elements"},
        {"ZeroPadding2D", "", "?,2147483647,8,3", STATUS_DATA, "at most 2147483647"},
        {"UpSampling2D", "size=32768", "?,2147483647,8,3", STATUS_DATA, "at most 2147483647"},
        {"Conv2D", "filters=4 kernel_size=9999999999", "?,8,8,3", STATUS_DATA,
         "\"kernel_size\" has 9999999999"},
        {"Subtract", "", "?,8", STATUS_DATA, "has 1 inputs; it takes 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = one_layer(cases[i].input, cases[i].class_name, cases[i].attrs);
        build_refused(graph_infer(g), cases[i].code, cases[i].message);
        graph_destroy(&g);
    }
}

/* ---- what single layers lower to ---- */

static struct opgraph *lower_one(const char *input, const char *class_name, const char *attrs,
                                 int keras_version) {
    struct graph *g = one_layer(input, class_name, attrs);
    struct opgraph *ops;
    g->keras_version = keras_version;
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    graph_destroy(&g);
    return ops;
}

static void test_activations(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int version;
        enum activation kind;
        float alpha, beta;
    } cases[] = {
        {"relu", 2, ACTIVATION_RELU, 0, INFINITY},
        {"relu6", 2, ACTIVATION_RELU, 0, 6},
        {"leaky_relu", 3, ACTIVATION_RELU, 0.2f, INFINITY},
        {"elu", 2, ACTIVATION_ELU, 1, 0},
        {"silu", 3, ACTIVATION_SILU, 0, 0},
        {"swish", 2, ACTIVATION_SILU, 0, 0},
        {"gelu", 3, ACTIVATION_GELU, 0, 0},
        {"hard_sigmoid", 1, ACTIVATION_HARD_SIGMOID, 0.2f, 0.5f},
        {"hard_sigmoid", 2, ACTIVATION_HARD_SIGMOID, 0.2f, 0.5f},
        {"hard_sigmoid", 3, ACTIVATION_HARD_SIGMOID, 1.0f / 6, 0.5f},
        {"hard_silu", 3, ACTIVATION_HARD_SILU, 0, 0},
        {"sigmoid", 2, ACTIVATION_SIGMOID, 0, 0},
        {"tanh", 2, ACTIVATION_TANH, 0, 0},
        {"softplus", 2, ACTIVATION_SOFTPLUS, 0, 0},
        {"softsign", 2, ACTIVATION_SOFTSIGN, 0, 0},
        {"selu", 2, ACTIVATION_SELU, 0, 0},
        {"exponential", 2, ACTIVATION_EXPONENTIAL, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char attrs[64];
        snprintf(attrs, sizeof attrs, "activation=%s", cases[i].name);
        struct opgraph *ops = lower_one("?,4", "Activation", attrs, cases[i].version);
        assert_int_equal(ops->nops, 1);
        assert_int_equal(ops->op[0].kind, OP_ACTIVATION);
        assert_int_equal(ops->op[0].u.act.kind, cases[i].kind);
        assert_true(ops->op[0].u.act.alpha == cases[i].alpha);
        assert_true(ops->op[0].u.act.beta == cases[i].beta);
        assert_int_equal(ops->op[0].node, 1);
        opgraph_destroy(&ops);
    }
    struct opgraph *ops = lower_one("?,4", "Activation", "activation=linear", 2);
    assert_int_equal(ops->nops, 0);
    assert_int_equal(ops->output[0], ops->input[0]);
    opgraph_destroy(&ops);
    ops = lower_one("?,7,4", "Dense", "units=5 activation=softmax", 2);
    assert_int_equal(ops->op[1].kind, OP_SOFTMAX);
    assert_int_equal(ops->op[1].u.axis.axis, 2);
    assert_int_equal(opgraph_before_softmax(ops, ops->output[0]), ops->op[0].out);
    opgraph_destroy(&ops);
}

static void test_relu_family(void **state) {
    (void)state;
    struct opgraph *ops = lower_one("?,4", "ReLU", "max_value=6 negative_slope=0.1 threshold=0.5", 2);
    assert_int_equal(ops->op[0].u.act.kind, ACTIVATION_RELU);
    assert_true(ops->op[0].u.act.alpha == 0.1f && ops->op[0].u.act.beta == 6 &&
                ops->op[0].u.act.gamma == 0.5f);
    opgraph_destroy(&ops);
    ops = lower_one("?,4", "LeakyReLU", "", 2);
    assert_int_equal(ops->op[0].u.act.kind, ACTIVATION_RELU);
    assert_true(ops->op[0].u.act.alpha == 0.3f && isinf(ops->op[0].u.act.beta) &&
                ops->op[0].u.act.gamma == 0);
    opgraph_destroy(&ops);
    ops = lower_one("?,4", "ELU", "alpha=0.7", 2);
    assert_int_equal(ops->op[0].u.act.kind, ACTIVATION_ELU);
    assert_true(ops->op[0].u.act.alpha == 0.7f);
    opgraph_destroy(&ops);
}

static void test_batch_normalization_lowering(void **state) {
    (void)state;
    struct opgraph *ops = lower_one("?,4,4,8", "BatchNormalization", "", 2);
    const struct op *op = &ops->op[0];
    assert_int_equal(op->kind, OP_BATCH_NORM);
    assert_true(op->u.norm.epsilon == 0.001f && op->u.norm.momentum == 0.99f);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(op->param[i], i);
        assert_int_equal(ops->param[i].trainable, i < 2);
    }
    opgraph_destroy(&ops);
    ops = lower_one("?,4,4,8", "BatchNormalization", "scale=false epsilon=0.1", 2);
    op = &ops->op[0];
    assert_int_equal(op->param[0], -1);
    assert_int_equal(op->param[1], 0);
    assert_int_equal(op->param[2], 1);
    assert_int_equal(op->param[3], 2);
    assert_true(op->u.norm.epsilon == 0.1f);
    opgraph_destroy(&ops);
    ops = lower_one("?,4,4,8", "BatchNormalization", "center=false", 2);
    op = &ops->op[0];
    assert_int_equal(op->param[0], 0);
    assert_int_equal(op->param[1], -1);
    assert_int_equal(op->param[2], 1);
    opgraph_destroy(&ops);
}

static void test_separable_lowering(void **state) {
    (void)state;
    struct opgraph *ops =
        lower_one("?,8,8,4", "SeparableConv2D",
                  "filters=6 kernel_size=3 strides=2 padding=same depth_multiplier=2 activation=relu", 2);
    assert_int_equal(ops->nops, 3);
    assert_int_equal(ops->op[0].kind, OP_DEPTHWISE);
    assert_int_equal(ops->op[0].param[0], 0);
    assert_int_equal(ops->op[0].param[1], -1);
    assert_int_equal(ops->op[0].u.conv.window.stride[0], 2);
    assert_int_equal(ops->op[0].u.conv.window.before[0], 0); /* even input, 3, stride 2: nothing before, */
    assert_int_equal(ops->op[0].u.conv.window.after[0], 1);  /* one after */
    build_shape_is(&ops->value[ops->op[0].out], &SHAPE(B, 4, 4, 8));
    assert_int_equal(ops->op[1].kind, OP_CONV);
    assert_int_equal(ops->op[1].param[0], 1);
    assert_int_equal(ops->op[1].param[1], 2);
    assert_int_equal(ops->op[1].u.conv.window.stride[0], 1);
    assert_int_equal(ops->op[2].kind, OP_ACTIVATION);
    double outputs = 4 * 4 * 6;
    assert_true(opgraph_flops(ops) == 4 * 4 * 8 * 2 * 9 + outputs * (2 * 8 + 1) + outputs);
    opgraph_destroy(&ops);
}

static void test_pooling_lowering(void **state) {
    (void)state;
    struct opgraph *ops = lower_one("?,7,7,4", "AveragePooling2D", "pool_size=3 padding=same", 2);
    const struct op *op = &ops->op[0];
    assert_int_equal(op->kind, OP_POOL);
    assert_int_equal(op->u.pool.kind, POOL_MEAN);
    assert_int_equal(op->u.pool.window.stride[1], 3); /* strides null: the size */
    assert_int_equal(op->u.pool.window.before[0], 1);
    assert_int_equal(op->u.pool.window.after[0], 1);
    opgraph_destroy(&ops);
    ops = lower_one("?,7,7,4", "GlobalMaxPooling2D", "", 2);
    assert_int_equal(ops->op[0].kind, OP_REDUCE);
    assert_int_equal(ops->op[0].u.reduce.kind, REDUCE_MAX);
    assert_int_equal(ops->op[0].u.reduce.axes, 6);
    opgraph_destroy(&ops);
}

static void test_padding_resize_and_affine_lowering(void **state) {
    (void)state;
    struct opgraph *ops = lower_one("?,4,5,3", "ZeroPadding2D", "padding=0,1,2,3", 2);
    const struct op *op = &ops->op[0];
    assert_int_equal(op->kind, OP_PAD);
    const int before[] = {0, 0, 2, 0}, after[] = {0, 1, 3, 0};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(op->u.pad.before[i], before[i]);
        assert_int_equal(op->u.pad.after[i], after[i]);
    }
    opgraph_destroy(&ops);
    ops = lower_one("?,4,5,3", "UpSampling2D", "size=3,2 interpolation=bilinear", 2);
    assert_int_equal(ops->op[0].kind, OP_RESIZE);
    assert_int_equal(ops->op[0].u.resize.kind, RESIZE_BILINEAR);
    build_shape_is(&ops->value[ops->op[0].out], &SHAPE(B, 12, 10, 3));
    opgraph_destroy(&ops);
    ops = lower_one("?,4,5,3", "Rescaling", "scale=0.5 offset=1,2,3", 2);
    op = &ops->op[0];
    assert_int_equal(op->kind, OP_AFFINE);
    assert_int_equal(op->u.affine.n, 3);
    for (int i = 0; i < 3; i++)
        assert_true(op->u.affine.scale[i] == 0.5f && op->u.affine.offset[i] == (float)(i + 1));
    opgraph_destroy(&ops);
    ops = lower_one("?,4,5,3", "Rescaling", "scale=0.00784313725490196 offset=-1", 2);
    assert_int_equal(ops->op[0].u.affine.n, 1);
    assert_true(ops->op[0].u.affine.offset[0] == -1);
    opgraph_destroy(&ops);
}

static void test_merging(void **state) {
    (void)state;
    struct graph *g;
    struct opgraph *ops;
    build_ok(graph_create("merge", &g));
    int a = build_input(g, "a", "?,4,4,8"), b = build_input(g, "b", "?,4,4,8"),
        c = build_input(g, "c", "?,8");
    int d = build_input(g, "d", "?,4,4,1"), e = build_input(g, "e", "?,?,4,3");
    build_output(g, build_layer(g, "Add", "add", "", 3, (int[]){a, b, a}));
    build_output(g, build_layer(g, "Multiply", "mul", "", 2, (int[]){a, c}));
    build_output(g, build_layer(g, "Maximum", "max", "", 2, (int[]){d, a}));
    build_output(g, build_layer(g, "Minimum", "min", "", 2, (int[]){a, b}));
    build_output(g, build_layer(g, "Subtract", "sub", "", 2, (int[]){a, b}));
    build_output(g, build_layer(g, "Concatenate", "cat", "", 3, (int[]){a, e, d}));
    build_output(g, build_layer(g, "Concatenate", "rows", "axis=1", 2, (int[]){a, b}));
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    static const enum op_kind kinds[] = {OP_BINARY, OP_BINARY, OP_RESHAPE, OP_BINARY, OP_BINARY,
                                         OP_BINARY, OP_BINARY, OP_CONCAT,  OP_CONCAT};
    assert_int_equal(ops->nops, 9);
    for (int i = 0; i < 9; i++) assert_int_equal(ops->op[i].kind, kinds[i]);
    assert_int_equal(ops->op[0].u.binary.kind, BINARY_ADD);
    assert_int_equal(ops->op[3].u.binary.kind, BINARY_MUL);
    build_shape_is(&ops->value[ops->op[2].out], &SHAPE(B, 1, 1, 8)); /* (N,8) on (N,4,4,8) */
    assert_int_equal(ops->op[4].u.binary.kind, BINARY_MAX);
    build_shape_is(&ops->value[ops->op[4].out], &SHAPE(B, 4, 4, 8));
    assert_int_equal(ops->op[5].u.binary.kind, BINARY_MIN);
    assert_int_equal(ops->op[6].u.binary.kind, BINARY_SUB);
    assert_int_equal(ops->op[7].u.axis.axis, 3);
    assert_int_equal(ops->op[7].nin, 3);
    build_shape_is(&ops->value[ops->op[7].out], &SHAPE(B, 4, 4, 12));
    build_shape_is(&ops->value[ops->op[8].out], &SHAPE(B, 8, 4, 8));
    opgraph_destroy(&ops);
    graph_destroy(&g);

    build_ok(graph_create("misfit", &g));
    a = build_input(g, "a", "?,4,4,8"), b = build_input(g, "b", "?,4,5,8");
    build_output(g, build_layer(g, "Concatenate", "cat", "", 2, (int[]){a, b}));
    build_refused(graph_infer(g), STATUS_DATA,
                  "\"cat\" (Concatenate): inputs of shapes (?, 4, 4, 8) and (?, 4, 5, 8)");
    graph_destroy(&g);
}

static void test_weight_names_and_axes(void **state) {
    (void)state;
    struct graph *g = one_layer("?,8,8,4", "DepthwiseConv2D", "kernel_size=3");
    build_ok(graph_infer(g));
    const struct layer *layer = &g->layer[1];
    assert_int_equal(layer->nweights, 2);
    assert_string_equal(layer->weight[0].name, "kernel");
    assert_string_equal(layer->weight[0].keras2, "depthwise_kernel");
    build_shape_is(&layer->weight[0].shape, &SHAPE(3, 3, 4, 1));
    assert_int_equal(layer->weight[0].in_axis, 2);
    graph_destroy(&g);

    g = one_layer("?,8,8,4", "Conv2D", "filters=5 kernel_size=3");
    build_ok(graph_infer(g));
    layer = &g->layer[1];
    build_shape_is(&layer->weight[0].shape, &SHAPE(3, 3, 4, 5));
    assert_int_equal(layer->weight[0].in_axis, 2);
    assert_int_equal(layer->weight[0].out_axis, 3);
    assert_int_equal(layer->weight[1].in_axis, -1);
    assert_int_equal(layer->weight[1].out_axis, 0);
    graph_destroy(&g);
}

static void test_set_width(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs, *input;
    } cases[] = {
        {"Conv2D", "filters=8 kernel_size=3", "?,8,8,4"},
        {"SeparableConv2D", "filters=8 kernel_size=3", "?,8,8,4"},
        {"Dense", "units=8", "?,4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = one_layer(cases[i].input, cases[i].class_name, cases[i].attrs);
        build_ok(g->layer[1].kind->set_width(&g->layer[1], 3));
        build_ok(graph_infer(g));
        const struct shape *out = &g->node[1].out[0];
        assert_int_equal(out->dim[out->rank - 1], 3);
        graph_destroy(&g);
    }
}

/* ---- attributes ---- */

static void test_attributes(void **state) {
    (void)state;
    static const struct attr_spec ints = {.name = "n", .type = ATTR_INTS, .length = 2};
    static const struct attr_spec shape = {.name = "s", .type = ATTR_SHAPE};
    static const struct attr_spec floats = {.name = "f", .type = ATTR_FLOATS};
    static const struct attr_spec flag = {.name = "b", .type = ATTR_BOOL};
    static const struct attr_spec integer = {.name = "i", .type = ATTR_INT};
    struct attr a, b;
    build_ok(attr_parse(&ints, "3", &a));
    assert_int_equal(a.u.ints.n, 2);
    assert_int_equal(a.u.ints.v[1], 3);
    build_ok(attr_copy(&ints, &a, &b));
    assert_true(attr_equal(&ints, &a, &b));
    b.u.ints.v[1] = 4;
    assert_false(attr_equal(&ints, &a, &b));
    attr_clear(&ints, &a);
    attr_clear(&ints, &b);
    assert_false(a.present);
    assert_true(attr_equal(&ints, &a, &b));
    build_ok(attr_parse(&shape, "?,28", &a));
    assert_int_equal(a.u.ints.v[0], SHAPE_UNKNOWN);
    attr_clear(&shape, &a);
    build_ok(attr_parse(&floats, "0.5,1e-3", &a));
    assert_int_equal(a.u.floats.n, 2);
    assert_true(a.u.floats.v[1] == 1e-3);
    attr_clear(&floats, &a);
    build_ok(attr_parse(&flag, "null", &a));
    assert_false(a.present);
    build_refused(attr_parse(&flag, "yes", &a), STATUS_DATA, "cannot read \"yes\"");
    build_refused(attr_parse(&integer, "3x", &a), STATUS_DATA, "cannot read \"3x\"");
    build_refused(attr_parse(&integer, "", &a), STATUS_DATA, "cannot read");
    build_refused(attr_parse(&integer, "99999999999999999999", &a), STATUS_DATA, "cannot read");
    build_refused(attr_parse(&ints, "1,", &a), STATUS_DATA, "cannot read");
    build_refused(attr_parse(&ints, "1;2", &a), STATUS_DATA, "cannot read");
}

/* Every kind: a name of its own, defaults that parse and pass, the functions that all must have. */
static void test_registry(void **state) {
    (void)state;
    assert_null(layer_kind_find("NoSuchLayer"));
    for (int i = 0; i < layer_kind_count(); i++) {
        const struct layer_kind *kind = layer_kind_at(i);
        struct layer layer;
        assert_ptr_equal(layer_kind_find(kind->class_name), kind);
        assert_non_null(kind->infer);
        assert_non_null(kind->lower);
        build_ok(layer_create(kind, "layer", &layer));
        for (int a = 0; a < kind->nattrs; a++) {
            assert_ptr_equal(layer_attr(&layer, kind->attrs[a].name), &layer.attr[a]);
            if (kind->attrs[a].initial) build_ok(attr_check(&kind->attrs[a], &layer.attr[a]));
        }
        assert_false(layer_has_attr(&layer, "no_such_attribute"));
        layer_clear(&layer);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_and_weights),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_relu_family),
        cmocka_unit_test(test_batch_normalization_lowering),
        cmocka_unit_test(test_separable_lowering),
        cmocka_unit_test(test_pooling_lowering),
        cmocka_unit_test(test_padding_resize_and_affine_lowering),
        cmocka_unit_test(test_merging),
        cmocka_unit_test(test_weight_names_and_axes),
        cmocka_unit_test(test_set_width),
        cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_registry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
