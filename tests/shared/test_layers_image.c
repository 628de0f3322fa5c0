/* Layers of images and normalizations: shapes against Keras's formulas, weights, options that are refused,
 * what they lower to, and channels that come first. */
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

static struct opgraph *lower(struct graph *g) {
    struct opgraph *all, *needed;
    build_ok(graph_lower(g, &all, NULL));
    build_ok(opgraph_cut(all, all->ninputs, all->input, all->noutputs, all->output, &needed));
    opgraph_destroy(&all);
    return needed;
}

static int count_ops(const struct opgraph *ops, enum op_kind kind) {
    int n = 0;
    for (int i = 0; i < ops->nops; i++) n += ops->op[i].kind == kind;
    return n;
}

/* The first operation of a kind. */
static const struct op *op_of(const struct opgraph *ops, enum op_kind kind) {
    for (int i = 0; i < ops->nops; i++)
        if (ops->op[i].kind == kind) return &ops->op[i];
    fail_msg("no operation %s", op_name(kind));
    return NULL;
}

static void test_shapes_and_weights(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs, *input;
        struct shape out;
        int64_t params, trainable;
    } cases[] = {
        {"Conv2DTranspose", "filters=6 kernel_size=3", "?,5,7,4", {4, {B, 7, 9, 6}}, 9 * 24 + 6, 222},
        {"Conv2DTranspose",
         "filters=6 kernel_size=3,2 strides=2 use_bias=false",
         "?,5,7,4",
         {4, {B, 11, 14, 6}},
         144,
         144},
        {"Conv2DTranspose",
         "filters=6 kernel_size=2 strides=3 padding=valid",
         "?,5,7,4",
         {4, {B, 15, 21, 6}},
         102,
         102},
        {"Conv2DTranspose",
         "filters=6 kernel_size=3 strides=2 padding=same",
         "?,5,?,4",
         {4, {B, 10, B, 6}},
         222,
         222},
        {"Conv2DTranspose",
         "filters=6 kernel_size=3 strides=2 padding=same output_padding=0",
         "?,5,7,4",
         {4, {B, 9, 13, 6}},
         222,
         222},
        {"Conv2DTranspose",
         "filters=6 kernel_size=3 strides=2 padding=valid output_padding=1,0",
         "?,5,7,4",
         {4, {B, 12, 15, 6}},
         222,
         222},
        {"Conv2DTranspose",
         "filters=6 kernel_size=3 dilation_rate=2 padding=valid",
         "?,5,7,4",
         {4, {B, 9, 11, 6}},
         222,
         222},
        {"Conv2DTranspose",
         "filters=6 kernel_size=3 strides=2 padding=same data_format=channels_first",
         "?,4,5,7",
         {4, {B, 6, 10, 14}},
         222,
         222},
        {"Conv2D",
         "filters=6 kernel_size=3 data_format=channels_first",
         "?,4,9,8",
         {4, {B, 6, 7, 6}},
         222,
         222},
        {"DepthwiseConv2D",
         "kernel_size=3 depth_multiplier=2 data_format=channels_first",
         "?,4,9,8",
         {4, {B, 8, 7, 6}},
         80,
         80},
        {"SeparableConv2D",
         "filters=5 kernel_size=3 data_format=channels_first",
         "?,4,?,8",
         {4, {B, 5, B, 6}},
         36 + 20 + 5,
         61},
        {"SeparableConv2D",
         "filters=5 kernel_size=3 dilation_rate=2 padding=same",
         "?,?,?,4",
         {4, {B, B, B, 5}},
         61,
         61},
        {"MaxPooling2D", "data_format=channels_first", "?,3,7,8", {4, {B, 3, 3, 4}}, 0, 0},
        {"AveragePooling2D", "padding=same data_format=channels_first", "?,3,7,8", {4, {B, 3, 4, 4}}, 0, 0},
        {"GlobalAveragePooling2D", "data_format=channels_first", "?,3,7,8", {2, {B, 3}}, 0, 0},
        {"GlobalMaxPooling2D",
         "data_format=channels_first keepdims=true",
         "?,3,7,8",
         {4, {B, 3, 1, 1}},
         0,
         0},
        {"Flatten", "data_format=channels_first", "?,3,7,8", {2, {B, 168}}, 0, 0},
        {"Cropping2D", "cropping=1", "?,9,8,3", {4, {B, 7, 6, 3}}, 0, 0},
        {"Cropping2D", "cropping=1,2", "?,9,8,3", {4, {B, 7, 4, 3}}, 0, 0},
        {"Cropping2D", "cropping=1,0,2,3", "?,9,?,3", {4, {B, 8, B, 3}}, 0, 0},
        {"Cropping2D", "cropping=1,2 data_format=channels_first", "?,3,9,8", {4, {B, 3, 7, 4}}, 0, 0},
        {"ZeroPadding2D", "padding=1,2 data_format=channels_first", "?,3,9,8", {4, {B, 3, 11, 12}}, 0, 0},
        {"UpSampling2D", "size=2,3 data_format=channels_first", "?,3,4,?", {4, {B, 3, 8, B}}, 0, 0},
        {"Resizing", "height=11 width=5", "?,?,8,3", {4, {B, 11, 5, 3}}, 0, 0},
        {"Resizing", "height=11 width=5 data_format=channels_first", "?,3,9,8", {4, {B, 3, 11, 5}}, 0, 0},
        {"SpatialDropout2D", "rate=0.5", "?,4,5,3", {4, {B, 4, 5, 3}}, 0, 0},
        {"Dropout", "rate=0.5 noise_shape=?,1,1,3", "?,4,5,3", {4, {B, 4, 5, 3}}, 0, 0},
        {"StochasticDepth", "drop_path_rate=0.1", "?,4,5,3", {4, {B, 4, 5, 3}}, 0, 0},
        {"DepthToSpace", "block_size=2", "?,4,?,12", {4, {B, 8, B, 3}}, 0, 0},
        {"DepthToSpace", "block_size=2 data_format=channels_first", "?,12,4,5", {4, {B, 3, 8, 10}}, 0, 0},
        {"SpaceToDepth", "block_size=2", "?,4,6,3", {4, {B, 2, 3, 12}}, 0, 0},
        {"Permute", "dims=3,1,2", "?,4,5,6", {4, {B, 6, 4, 5}}, 0, 0},
        {"LayerScale", "projection_dim=6", "?,4,5,6", {4, {B, 4, 5, 6}}, 6, 6},
        {"PReLU", "", "?,4,5,6", {4, {B, 4, 5, 6}}, 120, 120},
        {"PReLU", "shared_axes=1,2", "?,?,?,6", {4, {B, B, B, 6}}, 6, 6},
        {"PReLU", "shared_axes=2,3", "?,6,4,5", {4, {B, 6, 4, 5}}, 6, 6},
        {"ThresholdedReLU", "theta=0.5", "?,4", {2, {B, 4}}, 0, 0},
        {"BatchNormalization", "axis=1", "?,3,7,7", {4, {B, 3, 7, 7}}, 12, 6},
        {"BatchNormalization", "axis=-2", "?,7,5,3", {4, {B, 7, 5, 3}}, 20, 10},
        {"LayerNormalization", "", "?,?,7,6", {4, {B, B, 7, 6}}, 12, 12},
        {"LayerNormalization", "center=false", "?,7,6", {3, {B, 7, 6}}, 6, 6},
        {"LayerNormalization", "axis=1,2,3 scale=false", "?,2,7,6", {4, {B, 2, 7, 6}}, 84, 84},
        {"LayerNormalization", "rms_scaling=true", "?,7,6", {3, {B, 7, 6}}, 6, 6},
        {"RMSNormalization", "", "?,7,6", {3, {B, 7, 6}}, 6, 6},
        {"GroupNormalization", "groups=3", "?,?,?,6", {4, {B, B, B, 6}}, 12, 12},
        {"GroupNormalization", "groups=-1 axis=1", "?,6,4,5", {4, {B, 6, 4, 5}}, 12, 12},
        {"UnitNormalization", "axis=1,2", "?,4,5,6", {4, {B, 4, 5, 6}}, 0, 0},
        {"Normalization", "", "?,4,5,3", {4, {B, 4, 5, 3}}, 7, 0},
        {"Normalization", "axis=1,-1", "?,4,?,3", {4, {B, 4, B, 3}}, 25, 0},
        {"Normalization", "mean=1,2,3 variance=4", "?,4,5,3", {4, {B, 4, 5, 3}}, 0, 0},
        {"Softmax", "axis=1,2", "?,4,5,3", {4, {B, 4, 5, 3}}, 0, 0},
        {"GaussianNoise", "stddev=0.5", "?,4", {2, {B, 4}}, 0, 0},
        {"GaussianDropout", "rate=0.5", "?,4", {2, {B, 4}}, 0, 0},
        {"AlphaDropout", "rate=0.5", "?,4", {2, {B, 4}}, 0, 0},
        {"ActivityRegularization", "l1=0.5", "?,4", {2, {B, 4}}, 0, 0},
        {"Identity", "", "?,4", {2, {B, 4}}, 0, 0},
        {"RandomFlip", "", "?,4,5,3", {4, {B, 4, 5, 3}}, 0, 0},
        {"RandomZoom", "height_factor=-0.5,0.5", "?,?,?,3", {4, {B, B, B, 3}}, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = one_layer(cases[i].input, cases[i].class_name, cases[i].attrs);
        struct graph_counts counts;
        build_ok(graph_infer(g));
        build_shape_is(&g->node[1].out[0], &cases[i].out);
        build_ok(graph_count(g, &counts));
        assert_int_equal(counts.params, cases[i].params);
        assert_int_equal(counts.trainable, cases[i].trainable);
        struct opgraph *ops = lower(g); /* checks that operations have the layers' shapes */
        for (int p = 0; p < ops->nparams; p++) {
            const struct weight *weight = &g->layer[1].weight[p];
            int64_t count;
            build_ok(shape_count(&weight->shape, &count));
            assert_int_equal(count, ops->param[p].count);
        }
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
        {"Conv2D", "filters=4 kernel_size=3", "?,8,8", STATUS_DATA, "(batch, height, width, channels)"},
        {"Conv2D", "filters=4 kernel_size=3 data_format=channels_first", "?,?,8,8", STATUS_DATA,
         "(batch, channels, height, width)"},
        {"Conv2DTranspose", "filters=4 kernel_size=3 strides=2 output_padding=2", "?,8,8,3", STATUS_DATA,
         "\"output_padding\" has 2"},
        {"Conv2DTranspose", "filters=4 kernel_size=3 padding=causal", "?,8,8,3", STATUS_UNSUPPORTED,
         "padding \"causal\""},
        {"Cropping2D", "cropping=4", "?,8,9,3", STATUS_DATA, "8 cells cannot be taken off an axis of 8"},
        {"Cropping2D", "cropping=1,2,3", "?,8,9,3", STATUS_DATA, "3 numbers"},
        {"Resizing", "height=4 width=4 crop_to_aspect_ratio=true", "?,8,9,3", STATUS_UNSUPPORTED,
         "crop_to_aspect_ratio"},
        {"Resizing", "height=4 width=4 pad_to_aspect_ratio=true", "?,8,9,3", STATUS_UNSUPPORTED,
         "pad_to_aspect_ratio"},
        {"Resizing", "height=4 width=4 antialias=true", "?,8,9,3", STATUS_UNSUPPORTED, "antialias"},
        {"Resizing", "height=4 width=4 interpolation=bicubic", "?,8,9,3", STATUS_UNSUPPORTED, "bicubic"},
        {"Resizing", "height=0 width=4", "?,8,9,3", STATUS_DATA, "\"height\" is 0"},
        {"Permute", "dims=1,1", "?,8,9", STATUS_DATA, "does not order the axes 1 to 2"},
        {"Permute", "dims=1,2,3", "?,8,9", STATUS_DATA, "does not order the axes 1 to 2"},
        {"LayerScale", "projection_dim=4", "?,8,9", STATUS_DATA, "projection_dim is 4"},
        {"DepthToSpace", "block_size=2", "?,8,9,3", STATUS_DATA, "block_size 2"},
        {"SpaceToDepth", "block_size=2", "?,8,9,3", STATUS_DATA, "block_size 2"},
        {"PReLU", "shared_axes=3", "?,?,4,5", STATUS_DATA, "dimension 1 must be known"},
        {"PReLU", "shared_axes=0", "?,4,5", STATUS_DATA, "0, the batch"},
        {"LayerNormalization", "axis=0", "?,4,5", STATUS_UNSUPPORTED, "axis 0"},
        {"LayerNormalization", "axis=1,1", "?,4,5", STATUS_DATA, "axis 1 twice"},
        {"LayerNormalization", "axis=1", "?,?,5", STATUS_DATA, "dimension 1 must be known"},
        {"LayerNormalization", "epsilon=-1", "?,5", STATUS_DATA, "epsilon is -1"},
        {"GroupNormalization", "groups=4", "?,5,6", STATUS_DATA, "4 groups do not divide 6 channels"},
        {"GroupNormalization", "groups=0", "?,5,6", STATUS_DATA, "0 groups"},
        {"Normalization", "mean=1", "?,5,6", STATUS_DATA, "only one of \"mean\" and \"variance\""},
        {"Normalization", "mean=1,2 variance=1,2", "?,5,6", STATUS_DATA,
         "\"mean\" has 2 numbers; it takes 6"},
        {"Normalization", "axis=1", "?,?,6", STATUS_DATA, "dimension 1 must be known"},
        {"Dropout", "rate=0.5 noise_shape=?,1", "?,8,3", STATUS_DATA, "noise_shape has 2 dimensions"},
        {"Dropout", "rate=0.5 noise_shape=?,2,3", "?,8,3", STATUS_DATA, "noise_shape has 2"},
        {"Activation", "activation=glu", "?,8", STATUS_UNSUPPORTED, "activation \"glu\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = one_layer(cases[i].input, cases[i].class_name, cases[i].attrs);
        build_refused(graph_infer(g), cases[i].code, cases[i].message);
        graph_destroy(&g);
    }
}

/* Padding and sizes as TensorFlow computes them: `same` takes (kernel - stride) cells off, the odd one at the
 * end; `valid` none. */
static void test_transposed_windows(void **state) {
    (void)state;
    static const struct {
        const char *attrs;
        int before, after;
    } cases[] = {
        {"filters=2 kernel_size=3 strides=2 padding=same", 0, 1},
        {"filters=2 kernel_size=4 strides=2 padding=same", 1, 1},
        {"filters=2 kernel_size=3 padding=same", 1, 1},
        {"filters=2 kernel_size=5 strides=2 padding=same", 1, 2},
        {"filters=2 kernel_size=5 strides=2 padding=same output_padding=1", 1, 2},
        {"filters=2 kernel_size=5 strides=2 padding=same output_padding=0", 2, 2},
        {"filters=2 kernel_size=2 strides=3 padding=same", 0, 0},
        {"filters=2 kernel_size=3 dilation_rate=2 padding=same", 2, 2},
        {"filters=2 kernel_size=3 strides=2 padding=valid", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = one_layer("?,6,6,3", "Conv2DTranspose", cases[i].attrs);
        build_ok(graph_infer(g));
        struct opgraph *ops = lower(g);
        const struct op *op = op_of(ops, OP_CONV_TRANSPOSE);
        const struct shape *out = &ops->value[op->out];
        const struct window *w = &op->u.conv.window;
        int64_t back[2];
        assert_int_equal(w->before[0], cases[i].before);
        assert_int_equal(w->after[1], cases[i].after);
        window_output(w, (const int64_t[]){out->dim[1], out->dim[2]}, back);
        assert_int_equal(back[0], 6); /* the convolution of the output gives the input */
        assert_int_equal(back[1], 6);
        opgraph_destroy(&ops);
        graph_destroy(&g);
    }
}

static void test_weight_axes(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs, *input, *name;
        struct shape shape;
        int weight, in_axis, out_axis;
    } cases[] = {
        {"Conv2DTranspose", "filters=6 kernel_size=3", "?,5,5,4", "kernel", {4, {3, 3, 6, 4}}, 0, 3, 2},
        {"Conv2DTranspose", "filters=6 kernel_size=3", "?,5,5,4", "bias", {1, {6}}, 1, -1, 0},
        {"PReLU", "shared_axes=1,2", "?,5,5,4", "alpha", {3, {1, 1, 4}}, 0, 2, 2},
        {"PReLU", "shared_axes=3", "?,5,5,4", "alpha", {3, {5, 5, 1}}, 0, -1, -1},
        {"LayerNormalization", "axis=3,1", "?,5,5,4", "gamma", {2, {4, 5}}, 0, 0, 0},
        {"LayerNormalization", "axis=1", "?,5,5,4", "beta", {1, {5}}, 1, -1, -1},
        {"BatchNormalization", "axis=1", "?,5,5,4", "gamma", {1, {5}}, 0, -1, -1},
        {"Normalization", "", "?,5,5,4", "variance", {1, {4}}, 1, 0, 0},
        {"Normalization", "", "?,5,5,4", "count", {0, {0}}, 2, -1, -1},
        {"RMSNormalization", "", "?,5,5,4", "scale", {1, {4}}, 0, 0, 0},
        {"LayerScale", "projection_dim=4", "?,5,5,4", "gamma", {1, {4}}, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = one_layer(cases[i].input, cases[i].class_name, cases[i].attrs);
        build_ok(graph_infer(g));
        const struct weight *weight = &g->layer[1].weight[cases[i].weight];
        assert_string_equal(weight->name, cases[i].name);
        build_shape_is(&weight->shape, &cases[i].shape);
        assert_int_equal(weight->in_axis, cases[i].in_axis);
        assert_int_equal(weight->out_axis, cases[i].out_axis);
        graph_destroy(&g);
    }
}

/* A scalar mean has no axes; empty lists of them are in files. */
static void test_normalization_of_all(void **state) {
    (void)state;
    struct graph *g = one_layer("?,5,?,4", "Normalization", "");
    layer_attr(&g->layer[1], "axis")->u.ints.n = 0;
    build_ok(graph_infer(g));
    assert_int_equal(g->layer[1].nweights, 3);
    assert_int_equal(g->layer[1].weight[0].shape.rank, 0);
    struct opgraph *ops = lower(g);
    const struct op *norm = op_of(ops, OP_BATCH_NORM);
    assert_true(norm->u.norm.fixed);
    assert_int_equal(norm->param[2], 0);
    assert_int_equal(norm->param[3], 1);
    build_shape_is(&ops->param[0].shape, &SHAPE(1));
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

static void test_constants(void **state) {
    (void)state;
    struct graph *g = one_layer("?,5,3", "Normalization", "mean=1,2,3 variance=4,0,9");
    build_ok(graph_infer(g));
    assert_int_equal(g->layer[1].nweights, 0);
    struct opgraph *ops = lower(g);
    const struct op *op = op_of(ops, OP_AFFINE);
    assert_int_equal(op->u.affine.n, 3);
    static const double deviation[] = {2, 1e-7, 3};
    for (int i = 0; i < 3; i++) {
        assert_true(fabs((double)op->u.affine.scale[i] * deviation[i] - 1) < 1e-6);
        assert_true(fabs((double)op->u.affine.offset[i] * deviation[i] / -(i + 1) - 1) < 1e-6);
    }
    opgraph_destroy(&ops);
    graph_destroy(&g);
    g = one_layer("?,5,3", "Normalization", "mean=1,2,3 variance=4 invert=true");
    build_ok(graph_infer(g));
    ops = lower(g);
    op = op_of(ops, OP_AFFINE);
    for (int i = 0; i < 3; i++)
        assert_true(op->u.affine.scale[i] == 2 && op->u.affine.offset[i] == (float)(i + 1));
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

static void test_shared_draws(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs;
        unsigned shared;
    } cases[] = {
        {"Dropout", "rate=0.5", 0},
        {"Dropout", "rate=0.5 noise_shape=?,1,1,3", 6},
        {"Dropout", "rate=0.5 noise_shape=32,1,?,1", 10}, /* the batch in numbers */
        {"SpatialDropout2D", "rate=0.5", 6},
        {"SpatialDropout2D", "rate=0.5 data_format=channels_first", 12},
        {"StochasticDepth", "drop_path_rate=0.5", 14},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = one_layer("?,4,5,3", cases[i].class_name, cases[i].attrs);
        build_ok(graph_infer(g));
        struct opgraph *ops = lower(g);
        assert_int_equal(op_of(ops, OP_DROPOUT)->u.dropout.shared, cases[i].shared);
        assert_true(op_of(ops, OP_DROPOUT)->u.dropout.rate == 0.5f);
        opgraph_destroy(&ops);
        graph_destroy(&g);
    }
}

static void test_more_activations(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum activation kind;
        float alpha, beta, gamma;
    } cases[] = {
        {"celu", ACTIVATION_ELU, 1, 0, 0},
        {"mish", ACTIVATION_MISH, 0, 0, 0},
        {"hard_tanh", ACTIVATION_CLIP, -1, 1, 0},
        {"sparse_sigmoid", ACTIVATION_HARD_SIGMOID, 0.5f, 0.5f, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char attrs[64];
        struct activation_function function;
        snprintf(attrs, sizeof attrs, "activation=%s", cases[i].name);
        struct graph *g = one_layer("?,4", "Activation", attrs);
        build_ok(graph_infer(g));
        struct opgraph *ops = lower(g);
        assert_int_equal(ops->nops, 1);
        build_ok(activation_find(cases[i].name, 2, &function));
        for (int k = 0; k < 2; k++) {
            const struct activation_function *f = k ? &function : &ops->op[0].u.act;
            assert_int_equal(f->kind, cases[i].kind);
            assert_true(f->alpha == cases[i].alpha && f->beta == cases[i].beta && f->gamma == cases[i].gamma);
        }
        opgraph_destroy(&ops);
        graph_destroy(&g);
    }
    struct activation_function function;
    build_refused(activation_find("log_softmax", 3, &function), STATUS_UNSUPPORTED, "log_softmax");
    assert_true(activation_is_elementwise("mish"));
    assert_false(activation_is_elementwise("softmax"));
    assert_false(activation_is_elementwise("log_softmax"));
}

/* ---- channels first ---- */

#define FIRST " data_format=channels_first"

static int on(struct graph *g, const char *class_name, const char *name, const char *attrs, int in) {
    return build_layer(g, class_name, name, attrs, 1, &in);
}

/* A network with everything that transpositions pass: its channels are moved at its input, and at its output
 * if they matter there, and nowhere between. */
static void test_channels_first_move_once(void **state) {
    (void)state;
    struct graph *g;
    build_ok(graph_create("first", &g));
    int x = build_input(g, "x", "?,3,12,10");
    x = on(g, "ZeroPadding2D", "pad", "padding=1" FIRST, x);
    x = on(g, "Conv2D", "conv", "filters=8 kernel_size=3" FIRST, x);
    x = on(g, "BatchNormalization", "bn", "axis=1", x);
    x = on(g, "Activation", "act", "activation=mish", x);
    int a = on(g, "DepthwiseConv2D", "dw", "kernel_size=3 padding=same activation=relu" FIRST, x);
    int b = on(g, "SeparableConv2D", "sep", "filters=8 kernel_size=3 padding=same" FIRST, x);
    int sum = build_layer(g, "Add", "add", "", 2, (int[]){a, b});
    int cat = build_layer(g, "Concatenate", "cat", "axis=1", 2, (int[]){sum, x});
    x = on(g, "Dropout", "drop", "rate=0.2", cat);
    x = on(g, "MaxPooling2D", "pool", FIRST, x);
    x = on(g, "Rescaling", "scale", "scale=2 offset=1", x);
    int y = on(g, "Conv2DTranspose", "up", "filters=4 kernel_size=3 strides=2 padding=same" FIRST, x);
    build_output(g, y);
    build_output(g, on(g, "Flatten", "flat", FIRST, y));
    build_output(g, on(g, "GlobalAveragePooling2D", "gap", FIRST, x));
    build_ok(graph_infer(g));
    struct opgraph *ops = lower(g);
    assert_int_equal(count_ops(ops, OP_TRANSPOSE), 2);
    build_shape_is(&ops->value[ops->op[0].out], &SHAPE(B, 12, 10, 3));
    build_shape_is(&ops->value[op_of(ops, OP_CONCAT)->out], &SHAPE(B, 12, 10, 16));
    assert_int_equal(op_of(ops, OP_CONCAT)->u.axis.axis, 3);
    build_shape_is(&ops->value[ops->output[0]], &SHAPE(B, 4, 12, 10));
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

/* An image with one channel has the same elements in either order. */
static void test_one_channel_does_not_move(void **state) {
    (void)state;
    struct graph *g = one_layer("?,1,12,10", "Conv2D", "filters=8 kernel_size=3" FIRST);
    build_ok(graph_infer(g));
    struct opgraph *ops = lower(g);
    assert_int_equal(count_ops(ops, OP_TRANSPOSE), 1); /* of the output */
    assert_int_equal(ops->op[0].kind, OP_RESHAPE);
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

/* Keras applies softmax to the last axis, which is the width here: after the channels have moved. */
static void test_softmax_of_channels_first(void **state) {
    (void)state;
    struct graph *g = one_layer("?,3,12,10", "Conv2D", "filters=8 kernel_size=3 activation=softmax" FIRST);
    build_ok(graph_infer(g));
    struct opgraph *ops = lower(g);
    assert_int_equal(ops->op[ops->nops - 1].kind, OP_SOFTMAX);
    build_shape_is(&ops->value[ops->op[ops->nops - 1].out], &SHAPE(B, 8, 10, 8));
    assert_int_equal(ops->op[ops->nops - 1].u.axis.axis, 3);
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

static void test_transpositions_join(void **state) {
    (void)state;
    struct graph *g;
    build_ok(graph_create("turns", &g));
    int x = build_input(g, "x", "?,4,5,6"), y;
    y = on(g, "Permute", "a", "dims=2,3,1", x);
    y = on(g, "ReLU", "relu", "", y);
    build_output(g, on(g, "Permute", "b", "dims=3,1,2", y)); /* back again */
    build_output(g, on(g, "Permute", "c", "dims=2,3,1", y)); /* the same turn twice */
    build_ok(graph_infer(g));
    struct opgraph *ops = lower(g);
    assert_int_equal(ops->nops, 2);
    assert_int_equal(ops->op[0].kind, OP_ACTIVATION);
    assert_int_equal(ops->output[0], ops->op[0].out);
    const int axis[] = {0, 3, 1, 2};
    assert_memory_equal(ops->op[1].u.transpose.axis, axis, sizeof axis);
    build_shape_is(&ops->value[ops->output[1]], &SHAPE(B, 6, 4, 5));
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes_and_weights),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_transposed_windows),
        cmocka_unit_test(test_weight_axes),
        cmocka_unit_test(test_normalization_of_all),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_shared_draws),
        cmocka_unit_test(test_more_activations),
        cmocka_unit_test(test_channels_first_move_once),
        cmocka_unit_test(test_one_channel_does_not_move),
        cmocka_unit_test(test_softmax_of_channels_first),
        cmocka_unit_test(test_transpositions_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
