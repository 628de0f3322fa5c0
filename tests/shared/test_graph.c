/* Model graphs: shapes, order, errors, lowering, counts. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "graph_build.h"

#define B SHAPE_UNKNOWN

static void expect_shape(const struct graph *graph, const char *layer, struct shape expected) {
    build_shape_is(&graph->node[build_node(graph, layer)].out[0], &expected);
}

/* conv - bn - relu - conv + shortcut - relu - pool - dense, on 28 x 28 images. */
static struct graph *residual_net(const char *input_shape) {
    struct graph *g;
    build_ok(graph_create("residual", &g));
    int x = build_input(g, "image", input_shape);
    x = build_layer(g, "Conv2D", "stem", "filters=16 kernel_size=3 strides=2 padding=same use_bias=false", 1,
                    &x);
    x = build_layer(g, "BatchNormalization", "stem_bn", "", 1, &x);
    int shortcut = x = build_layer(g, "ReLU", "stem_relu", "", 1, &x);
    x = build_layer(g, "Conv2D", "a", "filters=16 kernel_size=3 padding=same activation=relu", 1, &x);
    x = build_layer(g, "Conv2D", "b", "filters=16 kernel_size=3 padding=same", 1, &x);
    x = build_layer(g, "Add", "add", "", 2, (int[]){x, shortcut});
    x = build_layer(g, "Activation", "act", "activation=relu", 1, &x);
    x = build_layer(g, "MaxPooling2D", "pool", "", 1, &x);
    x = build_layer(g, "GlobalAveragePooling2D", "gap", "", 1, &x);
    x = build_layer(g, "Dense", "head", "units=10 activation=softmax", 1, &x);
    build_output(g, x);
    return g;
}

static void test_residual_shapes(void **state) {
    (void)state;
    struct graph *g = residual_net("?,28,28,1");
    build_ok(graph_infer(g));
    expect_shape(g, "image", SHAPE(B, 28, 28, 1));
    expect_shape(g, "stem", SHAPE(B, 14, 14, 16));
    expect_shape(g, "add", SHAPE(B, 14, 14, 16));
    expect_shape(g, "pool", SHAPE(B, 7, 7, 16));
    expect_shape(g, "gap", SHAPE(B, 16));
    expect_shape(g, "head", SHAPE(B, 10));
    graph_destroy(&g);
    assert_null(g);
}

static void test_residual_counts(void **state) {
    (void)state;
    struct graph *g = residual_net("?,28,28,1");
    struct graph_counts counts;
    build_ok(graph_infer(g));
    build_ok(graph_count(g, &counts));
    int64_t stem = 3 * 3 * 1 * 16, bn = 4 * 16, conv = 3 * 3 * 16 * 16 + 16, dense = 16 * 10 + 10;
    assert_int_equal(counts.params, stem + bn + 2 * conv + dense);
    assert_int_equal(counts.trainable, stem + bn / 2 + 2 * conv + dense);
    double p = 14 * 14 * 16;                             /* positions times channels */
    double flops = p * 2 * 9 + p * 2 + p                 /* stem, batch norm, relu */
                   + 2 * p * (2 * 9 * 16 + 1) + p        /* two convolutions with bias, one relu */
                   + p + p + 7 * 7 * 16 * 4 + 7 * 7 * 16 /* add, relu, max pool, mean */
                   + 10 * (2 * 16 + 1) + 3 * 10;         /* dense, softmax */
    assert_true(fabs(counts.flops - flops) < 0.5);
    int64_t values = 28 * 28 + 7 * 14 * 14 * 16 + 7 * 7 * 16 + 16 + 10;
    assert_int_equal(counts.activation_bytes, 4 * values);
    g->layer[graph_find_layer(g, "a")].trainable = false;
    build_ok(graph_count(g, &counts));
    assert_int_equal(counts.trainable, stem + bn / 2 + conv + dense);
    graph_destroy(&g);
}

static void test_unknown_size_passes_through(void **state) {
    (void)state;
    struct graph *g = residual_net("?,?,?,3");
    struct graph_counts counts;
    build_ok(graph_infer(g));
    expect_shape(g, "add", SHAPE(B, B, B, 16));
    expect_shape(g, "head", SHAPE(B, 10));
    build_ok(graph_count(g, &counts));
    assert_true(counts.flops == -1);
    assert_int_equal(counts.activation_bytes, -1);
    struct opgraph *ops;
    build_ok(graph_lower(g, &ops, NULL));
    assert_int_equal(ops->nparams, 1 + 4 + 2 + 2 + 2);
    opgraph_destroy(&ops);

    build_ok(graph_set_input_shapes(g, &SHAPE(B, 33, 20, 3)));
    expect_shape(g, "add", SHAPE(B, 17, 10, 16));
    graph_destroy(&g);
}

/* ceil(in / s) for "same", ceil((in - d (k - 1)) / s) for "valid". */
static void test_window_formula(void **state) {
    (void)state;
    for (int in = 5; in <= 17; in++)
        for (int k = 1; k <= 5; k++)
            for (int s = 1; s <= 3; s++)
                for (int d = 1; d <= (k > 1 && s == 1 && in > 8 ? 2 : 1); d++) {
                    struct graph *g;
                    char attrs[128], shape[64];
                    build_ok(graph_create("window", &g));
                    snprintf(shape, sizeof shape, "?,%d,%d,2", in, in + 1);
                    int x = build_input(g, "x", shape);
                    snprintf(attrs, sizeof attrs,
                             "filters=3 kernel_size=%d strides=%d dilation_rate=%d padding=same", k, s, d);
                    build_output(g, build_layer(g, "Conv2D", "same", attrs, 1, &x));
                    snprintf(attrs, sizeof attrs, "filters=3 kernel_size=%d strides=%d dilation_rate=%d", k,
                             s, d);
                    build_output(g, build_layer(g, "Conv2D", "valid", attrs, 1, &x));
                    build_ok(graph_infer(g));
                    int hole = d * (k - 1);
                    expect_shape(g, "same", SHAPE(B, (in + s - 1) / s, (in + 1 + s - 1) / s, 3));
                    expect_shape(g, "valid",
                                 SHAPE(B, (in - hole + s - 1) / s, (in + 1 - hole + s - 1) / s, 3));
                    struct opgraph *ops;
                    build_ok(graph_lower(g, &ops, NULL));
                    const struct window *w = &ops->op[0].u.conv.window;
                    int total = ((in + s - 1) / s - 1) * s + hole + 1 - in;
                    total = total < 0 ? 0 : total;
                    assert_int_equal(w->before[0], total / 2);
                    assert_int_equal(w->after[0], total - total / 2);
                    opgraph_destroy(&ops);
                    graph_destroy(&g);
                }
}

static void test_sorts_nodes(void **state) {
    (void)state;
    struct graph *g;
    build_ok(graph_create("unsorted", &g));
    /* Node 0 reads node 1, which reads node 2, the input. */
    int out = build_layer(g, "Dense", "out", "units=3", 1, (int[]){1});
    int mid = build_layer(g, "Dense", "mid", "units=4", 1, (int[]){2});
    int in = build_input(g, "in", "?,5");
    build_output(g, out);
    (void)mid, (void)in;
    build_ok(graph_infer(g));
    assert_int_equal(g->input[0].node, 0);
    assert_int_equal(g->output[0].node, 2);
    assert_int_equal(build_node(g, "in"), 0);
    assert_int_equal(build_node(g, "mid"), 1);
    assert_int_equal(build_node(g, "out"), 2);
    expect_shape(g, "out", SHAPE(B, 3));
    assert_int_equal(graph_first_param(g, graph_find_layer(g, "mid")), 2); /* layers keep their order */
    graph_destroy(&g);
}

static void test_keeps_order(void **state) {
    (void)state;
    struct graph *g;
    build_ok(graph_create("sorted", &g));
    int x = build_input(g, "x", "?,5");
    int a = build_layer(g, "Dense", "a", "units=4", 1, &x);
    int b = build_layer(g, "Dense", "b", "units=4", 1, &x);
    int y = build_layer(g, "Add", "y", "", 2, (int[]){b, a});
    build_output(g, y);
    build_ok(graph_infer(g));
    assert_int_equal(build_node(g, "a"), a);
    assert_int_equal(build_node(g, "b"), b);
    assert_int_equal(build_node(g, "y"), y);
    graph_destroy(&g);
}

static void test_cycle(void **state) {
    (void)state;
    struct graph *g;
    build_ok(graph_create("cycle", &g));
    int x = build_input(g, "x", "?,5");
    int a = build_layer(g, "Add", "a", "", 2, (int[]){x, 2});
    int b = build_layer(g, "ReLU", "b", "", 1, &a);
    build_output(g, b);
    build_refused(graph_infer(g), STATUS_DATA, "cycle");
    graph_destroy(&g);
}

static void test_self_loop(void **state) {
    (void)state;
    struct graph *g;
    build_ok(graph_create("loop", &g));
    int x = build_input(g, "x", "?,5");
    int a = build_layer(g, "Add", "a", "", 2, (int[]){x, 1});
    build_output(g, a);
    build_refused(graph_infer(g), STATUS_DATA, "\"a\" is part of a cycle");
    graph_destroy(&g);
}

static void test_dangling_edges(void **state) {
    (void)state;
    struct graph *g;
    build_ok(graph_create("dangling", &g));
    build_input(g, "x", "?,5");
    int a = build_layer(g, "ReLU", "a", "", 1, (int[]){7});
    build_output(g, a);
    build_refused(graph_infer(g), STATUS_DATA, "layer \"a\" refers to a tensor");
    graph_destroy(&g);

    build_ok(graph_create("slot", &g));
    int layer, x = build_input(g, "x", "?,5");
    layer = build_uncalled(g, "ReLU", "a", "");
    build_ok(graph_add_node(g, layer, 1, &(struct edge){x, 1}, &a));
    build_output(g, a);
    build_refused(graph_infer(g), STATUS_DATA, "takes output 1 of layer \"x\", which has 1");
    graph_destroy(&g);

    build_ok(graph_create("no output", &g));
    build_input(g, "x", "?,5");
    build_refused(graph_infer(g), STATUS_DATA, "has no output");
    graph_destroy(&g);

    build_ok(graph_create("no input", &g));
    x = build_layer(g, "InputLayer", "x", "batch_shape=?,5", 0, NULL);
    build_output(g, x);
    build_refused(graph_infer(g), STATUS_DATA, "\"x\" is not among the inputs");
    graph_destroy(&g);
}

static void test_shapes_that_do_not_fit(void **state) {
    (void)state;
    static const struct {
        const char *input, *class_name, *attrs, *message;
    } cases[] = {
        {"?,28,28", "Conv2D", "filters=4 kernel_size=3", "its input has shape (?, 28, 28)"},
        {"?,28,28,?", "Conv2D", "filters=4 kernel_size=3", "channels known"},
        {"?,2,2,1", "Conv2D", "filters=4 kernel_size=3", "does not fit"},
        {"?,8,8,6", "Conv2D", "filters=8 kernel_size=3 groups=4", "4 groups do not divide 6"},
        {"?,8,8,6", "Conv2D", "filters=0 kernel_size=3", "\"filters\" is 0"},
        {"?,8,8,6", "Conv2D", "filters=4 kernel_size=0", "\"kernel_size\" has 0"},
        {"?,8,8,6", "Conv2D", "filters=4 kernel_size=1,2,3", "\"kernel_size\" has 3 numbers, not 2"},
        {"?,8,8,6", "Conv2D", "kernel_size=3", "\"filters\" is missing"},
        {"?,?", "Dense", "units=4", "the last dimension must be known"},
        {"?,4", "Dense", "units=-1", "\"units\" is -1"},
        {"?,4", "BatchNormalization", "axis=2", "\"axis\" is 2"},
        {"?,4", "BatchNormalization", "epsilon=-1", "epsilon is -1"},
        {"?,0", "Dense", "units=4", "dimension of 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g;
        build_ok(graph_create("misfit", &g));
        int x = build_input(g, "x", cases[i].input);
        build_output(g, build_layer(g, cases[i].class_name, "layer", cases[i].attrs, 1, &x));
        build_refused(graph_infer(g), STATUS_DATA, cases[i].message);
        graph_destroy(&g);
    }
}

static void test_add_of_different_channels(void **state) {
    (void)state;
    struct graph *g;
    build_ok(graph_create("add", &g));
    int a = build_input(g, "a", "?,4,4,8"), b = build_input(g, "b", "?,4,4,6");
    build_output(g, build_layer(g, "Add", "sum", "", 2, (int[]){a, b}));
    build_refused(graph_infer(g), STATUS_DATA,
                  "\"sum\" (Add): inputs of shapes (?, 4, 4, 8) and (?, 4, 4, 6)");
    graph_destroy(&g);
}

static void test_lists_all_unsupported(void **state) {
    (void)state;
    struct graph *g;
    build_ok(graph_create("odd", &g));
    int x = build_input(g, "x", "?,3,8,8");
    x = build_layer(g, "Conv2D", "conv", "filters=4 kernel_size=3 data_format=sideways", 1, &x);
    x = build_layer(g, "Activation", "act", "activation=sparsemax", 1, &x);
    x = build_layer(g, "MaxPooling2D", "pool", "padding=causal", 1, &x);
    build_output(g, x);
    status error = graph_check(g);
    assert_int_equal(status_code(error), STATUS_UNSUPPORTED);
    assert_non_null(strstr(status_message(error), "\"conv\" (Conv2D): data_format \"sideways\""));
    assert_non_null(strstr(status_message(error), "\"act\" (Activation): activation \"sparsemax\""));
    assert_non_null(strstr(status_message(error), "\"pool\" (MaxPooling2D): padding \"causal\""));
    status_drop(&error);
    build_refused(graph_infer(g), STATUS_UNSUPPORTED, "sideways");
    graph_destroy(&g);
}

static void test_layer_called_twice(void **state) {
    (void)state;
    struct graph *g;
    build_ok(graph_create("twins", &g));
    int a = build_input(g, "a", "?,6"), b = build_input(g, "b", "?,6"), first, second;
    int dense = build_uncalled(g, "Dense", "tower", "units=4");
    build_ok(graph_add_node(g, dense, 1, &(struct edge){a, 0}, &first));
    build_ok(graph_add_node(g, dense, 1, &(struct edge){b, 0}, &second));
    build_output(g, build_layer(g, "Add", "sum", "", 2, (int[]){first, second}));
    build_ok(graph_infer(g));
    struct graph_counts counts;
    assert_int_equal(graph_only_reader(g, a), first);
    assert_int_equal(graph_only_reader(g, build_node(g, "sum")), -1); /* an output of the graph */
    build_ok(graph_count(g, &counts));
    assert_int_equal(counts.params, 6 * 4 + 4);           /* once */
    assert_true(counts.flops == 2 * 4 * (2 * 6 + 1) + 4); /* twice */
    struct opgraph *ops;
    int *value_of;
    build_ok(graph_lower(g, &ops, &value_of));
    assert_int_equal(ops->nparams, 2);
    assert_int_equal(ops->op[0].param[0], ops->op[1].param[0]);
    assert_int_equal(ops->nops, 3);
    assert_int_equal(ops->op[2].in[0], value_of[first]);
    assert_int_equal(ops->op[2].in[1], value_of[second]);
    assert_int_equal(ops->ninputs, 2);
    assert_int_equal(ops->input[1], value_of[b]);
    free(value_of);
    opgraph_destroy(&ops);
    graph_destroy(&g);

    build_ok(graph_create("not twins", &g));
    a = build_input(g, "a", "?,6"), b = build_input(g, "b", "?,7");
    dense = build_uncalled(g, "Dense", "tower", "units=4");
    build_ok(graph_add_node(g, dense, 1, &(struct edge){a, 0}, &first));
    build_ok(graph_add_node(g, dense, 1, &(struct edge){b, 0}, &second));
    build_output(g, first);
    build_output(g, second);
    build_refused(graph_infer(g), STATUS_DATA, "weight \"kernel\" as (6, 4) and as (7, 4)");
    graph_destroy(&g);
}

static void test_parameters_are_numbered_by_layer(void **state) {
    (void)state;
    struct graph *g = residual_net("?,28,28,1");
    struct opgraph *ops;
    build_ok(graph_infer(g));
    build_ok(graph_lower(g, &ops, NULL));
    int at = 0;
    for (int i = 0; i < g->nlayers; i++) {
        assert_int_equal(graph_first_param(g, i), at);
        for (int w = 0; w < g->layer[i].nweights; w++, at++) {
            assert_int_equal(ops->param[at].layer, i);
            assert_int_equal(ops->param[at].weight, w);
            assert_true(shape_equal(&ops->param[at].shape, &g->layer[i].weight[w].shape));
        }
    }
    assert_int_equal(ops->nparams, at);
    assert_false(ops->param[graph_first_param(g, graph_find_layer(g, "stem_bn")) + 2].trainable);
    opgraph_destroy(&ops);
    graph_destroy(&g);
}

static void test_names_are_unique(void **state) {
    (void)state;
    struct graph *g;
    struct layer layer;
    build_ok(graph_create("names", &g));
    build_input(g, "x", "?,5");
    build_ok(layer_create(layer_kind_find("ReLU"), "x", &layer));
    build_refused(graph_add_layer(g, &layer, NULL), STATUS_DATA, "two layers are named \"x\"");
    assert_null(layer.name);
    graph_destroy(&g);
}

static void test_clone_is_equal_and_apart(void **state) {
    (void)state;
    struct graph *g = residual_net("?,28,28,1"), *copy;
    build_ok(graph_infer(g));
    g->keras_version = 3;
    g->layer[2].trainable = false;
    build_ok(graph_clone(g, &copy));
    assert_int_equal(copy->keras_version, 3);
    assert_false(copy->layer[2].trainable);
    assert_string_equal(copy->name, g->name);
    assert_int_equal(copy->nlayers, g->nlayers);
    assert_int_equal(copy->nnodes, g->nnodes);
    for (int i = 0; i < g->nlayers; i++) {
        assert_string_equal(copy->layer[i].name, g->layer[i].name);
        assert_int_equal(copy->layer[i].nweights, g->layer[i].nweights);
        for (int a = 0; a < g->layer[i].kind->nattrs; a++)
            assert_true(
                attr_equal(&g->layer[i].kind->attrs[a], &g->layer[i].attr[a], &copy->layer[i].attr[a]));
    }
    for (int i = 0; i < g->nnodes; i++) assert_true(shape_equal(&copy->node[i].out[0], &g->node[i].out[0]));
    struct layer *stem = &copy->layer[graph_find_layer(copy, "stem")];
    build_ok(stem->kind->set_width(stem, 8));
    assert_int_equal(layer_int(&g->layer[graph_find_layer(g, "stem")], "filters"), 16);
    graph_destroy(&g);
    build_refused(graph_infer(copy), STATUS_DATA, "\"add\" (Add): inputs of shapes");
    graph_destroy(&copy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_residual_shapes),
        cmocka_unit_test(test_residual_counts),
        cmocka_unit_test(test_unknown_size_passes_through),
        cmocka_unit_test(test_window_formula),
        cmocka_unit_test(test_sorts_nodes),
        cmocka_unit_test(test_keeps_order),
        cmocka_unit_test(test_cycle),
        cmocka_unit_test(test_self_loop),
        cmocka_unit_test(test_dangling_edges),
        cmocka_unit_test(test_shapes_that_do_not_fit),
        cmocka_unit_test(test_add_of_different_channels),
        cmocka_unit_test(test_lists_all_unsupported),
        cmocka_unit_test(test_layer_called_twice),
        cmocka_unit_test(test_parameters_are_numbered_by_layer),
        cmocka_unit_test(test_names_are_unique),
        cmocka_unit_test(test_clone_is_equal_and_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
