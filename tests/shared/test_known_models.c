/* Models of keras.applications, built from their papers' tables: parameter counts as Keras's documentation
 * and model.summary() give them, multiply-adds as published. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "graph_build.h"

static int on(struct graph *g, const char *class_name, const char *attrs, int in) {
    char name[32];
    snprintf(name, sizeof name, "layer%d", g->nlayers);
    return build_layer(g, class_name, name, attrs, 1, &in);
}

static int add(struct graph *g, int a, int b) {
    char name[32];
    snprintf(name, sizeof name, "layer%d", g->nlayers);
    return build_layer(g, "Add", name, "", 2, (int[]){a, b});
}

static int conv(struct graph *g, int filters, int size, int stride, const char *more, int in) {
    char attrs[128];
    snprintf(attrs, sizeof attrs, "filters=%d kernel_size=%d strides=%d %s", filters, size, stride, more);
    return on(g, "Conv2D", attrs, in);
}

static int bn_relu(struct graph *g, const char *relu, int in) {
    return on(g, "ReLU", relu, on(g, "BatchNormalization", "", in));
}

static struct graph *begin(const char *input_shape, int *x) {
    struct graph *g;
    build_ok(graph_create("model", &g));
    *x = build_input(g, "input", input_shape);
    return g;
}

static void expect_params(struct graph *g, int output, int64_t params, int64_t trainable) {
    struct graph_counts counts;
    build_output(g, output);
    build_ok(graph_infer(g));
    build_ok(graph_count(g, &counts));
    assert_int_equal(counts.params, params);
    assert_int_equal(counts.trainable, trainable);
}

/* Multiply-adds of convolutions and matrix products, biases left out. */
static double multiply_adds(const struct graph *g) {
    struct opgraph *ops;
    double sum = 0;
    build_ok(graph_lower(g, &ops, NULL));
    for (int i = 0; i < ops->nops; i++) {
        const struct op *op = &ops->op[i];
        if (op->kind != OP_CONV && op->kind != OP_DEPTHWISE && op->kind != OP_DENSE) continue;
        double bias = op->param[1] >= 0 ? (double)shape_sample_count(&ops->value[op->out]) : 0;
        sum += (op_flops(ops, op) - bias) / 2;
    }
    opgraph_destroy(&ops);
    return sum;
}

static void test_vgg16(void **state) {
    (void)state;
    int x;
    struct graph *g = begin("?,224,224,3", &x);
    static const int stages[][2] = {{64, 2}, {128, 2}, {256, 3}, {512, 3}, {512, 3}};
    for (int s = 0; s < 5; s++) {
        for (int i = 0; i < stages[s][1]; i++)
            x = conv(g, stages[s][0], 3, 1, "padding=same activation=relu", x);
        x = on(g, "MaxPooling2D", "", x);
    }
    x = on(g, "Flatten", "", x);
    x = on(g, "Dense", "units=4096 activation=relu", x);
    x = on(g, "Dense", "units=4096 activation=relu", x);
    x = on(g, "Dense", "units=1000 activation=softmax", x);
    expect_params(g, x, 138357544, 138357544);
    assert_true(multiply_adds(g) == 15470264320.0);
    graph_destroy(&g);
}

static int mobile_block(struct graph *g, int expansion, int channels, int filters, int stride, int x) {
    int in = x;
    if (expansion > 1)
        x = bn_relu(g, "max_value=6", conv(g, channels * expansion, 1, 1, "padding=same use_bias=false", x));
    if (stride == 2) {
        x = on(g, "ZeroPadding2D", "padding=0,1,0,1", x);
        x = on(g, "DepthwiseConv2D", "kernel_size=3 strides=2 use_bias=false", x);
    } else {
        x = on(g, "DepthwiseConv2D", "kernel_size=3 padding=same use_bias=false", x);
    }
    x = bn_relu(g, "max_value=6", x);
    x = on(g, "BatchNormalization", "", conv(g, filters, 1, 1, "padding=same use_bias=false", x));
    return channels == filters && stride == 1 ? add(g, in, x) : x;
}

static void test_mobilenet_v2(void **state) {
    (void)state;
    int x, channels = 32;
    struct graph *g = begin("?,224,224,3", &x);
    static const int table[][4] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                                   {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    x = bn_relu(g, "max_value=6", conv(g, 32, 3, 2, "padding=same use_bias=false", x));
    for (int r = 0; r < 7; r++)
        for (int i = 0; i < table[r][2]; i++) {
            x = mobile_block(g, table[r][0], channels, table[r][1], i ? 1 : table[r][3], x);
            channels = table[r][1];
        }
    x = bn_relu(g, "max_value=6", conv(g, 1280, 1, 1, "use_bias=false", x));
    x = on(g, "GlobalAveragePooling2D", "", x);
    x = on(g, "Dense", "units=1000 activation=softmax", x);
    expect_params(g, x, 3538984, 3504872);
    assert_true(multiply_adds(g) == 300774272.0);
    int *nodes, n;
    build_ok(graph_boundaries(g, &nodes, &n));
    /* All nodes but those inside the ten residual blocks: 8 layers beside the shortcut in each. */
    assert_int_equal(n, g->nnodes - 10 * 8);
    free(nodes);
    graph_destroy(&g);
}

static void test_resnet50(void **state) {
    (void)state;
    int x;
    struct graph *g = begin("?,224,224,3", &x);
    static const int stages[][2] = {{64, 3}, {128, 4}, {256, 6}, {512, 3}};
    x = conv(g, 64, 7, 2, "", on(g, "ZeroPadding2D", "padding=3", x));
    x = on(g, "ZeroPadding2D", "", bn_relu(g, "", x));
    x = on(g, "MaxPooling2D", "pool_size=3 strides=2", x);
    build_ok(graph_add_output(g, (struct edge){x, 0}));
    build_ok(graph_infer(g));
    build_shape_is(&g->node[x].out[0], &SHAPE(SHAPE_UNKNOWN, 56, 56, 64));
    g->noutputs = 0;
    for (int s = 0; s < 4; s++)
        for (int i = 0; i < stages[s][1]; i++) {
            int f = stages[s][0], stride = i || s == 0 ? 1 : 2, shortcut = x;
            if (i == 0) shortcut = on(g, "BatchNormalization", "", conv(g, 4 * f, 1, stride, "", x));
            x = bn_relu(g, "", conv(g, f, 1, stride, "", x));
            x = bn_relu(g, "", conv(g, f, 3, 1, "padding=same", x));
            x = on(g, "BatchNormalization", "", conv(g, 4 * f, 1, 1, "", x));
            x = on(g, "Activation", "activation=relu", add(g, shortcut, x));
        }
    x = on(g, "GlobalAveragePooling2D", "", x);
    x = on(g, "Dense", "units=1000 activation=softmax", x);
    expect_params(g, x, 25636712, 25583592);
    graph_destroy(&g);
}

static int separable(struct graph *g, int filters, int x) {
    char attrs[96];
    snprintf(attrs, sizeof attrs, "filters=%d kernel_size=3 padding=same use_bias=false", filters);
    return on(g, "BatchNormalization", "", on(g, "SeparableConv2D", attrs, x));
}

static int relu(struct graph *g, int x) {
    return on(g, "Activation", "activation=relu", x);
}

/* Two separable convolutions and a pooling beside a strided 1 x 1 convolution. */
static int xception_down(struct graph *g, int first, int second, bool relu_first, int x) {
    int shortcut = on(g, "BatchNormalization", "", conv(g, second, 1, 2, "padding=same use_bias=false", x));
    x = separable(g, first, relu_first ? relu(g, x) : x);
    x = separable(g, second, relu(g, x));
    x = on(g, "MaxPooling2D", "pool_size=3 strides=2 padding=same", x);
    return add(g, x, shortcut);
}

static void test_xception(void **state) {
    (void)state;
    int x;
    struct graph *g = begin("?,299,299,3", &x);
    x = bn_relu(g, "", conv(g, 32, 3, 2, "use_bias=false", x));
    x = bn_relu(g, "", conv(g, 64, 3, 1, "use_bias=false", x));
    x = xception_down(g, 128, 128, false, x);
    x = xception_down(g, 256, 256, true, x);
    x = xception_down(g, 728, 728, true, x);
    for (int i = 0; i < 8; i++) {
        int shortcut = x;
        for (int k = 0; k < 3; k++) x = separable(g, 728, relu(g, x));
        x = add(g, x, shortcut);
    }
    x = xception_down(g, 728, 1024, true, x);
    x = relu(g, separable(g, 1536, x));
    x = relu(g, separable(g, 2048, x));
    x = on(g, "GlobalAveragePooling2D", "", x);
    x = on(g, "Dense", "units=1000 activation=softmax", x);
    expect_params(g, x, 22910480, 22855952);
    graph_destroy(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vgg16),
        cmocka_unit_test(test_mobilenet_v2),
        cmocka_unit_test(test_resnet50),
        cmocka_unit_test(test_xception),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
