/* Operations among layers: Keras 3's, TensorFlow's by name, TensorFlow's nodes. */
#include "io/topology_testing.h"

#include <math.h>

/* ---- pieces ---- */

#define IMAGE "[null, 6, 8, 3]"
#define X INPUT("x", IMAGE)
/* A model of x that ends in a layer. */
#define OF_X(last, layers) MODEL(X ", " layers, "[[\"x\", 0, 0]]", "[[\"" last "\", 0, 0]]")

/* Keras 3: a class of keras.src.ops, arguments as they come. */
#define OP3(class_name, config, args)                                                                        \
    "{\"module\": \"keras.src.ops.numpy\", \"class_name\": \"" class_name                                    \
    "\", \"config\": {\"name\": \"op\"" config "}, \"registered_name\": \"" class_name                       \
    "\", \"name\": \"op\", \"inbound_nodes\": [{\"args\": [" args "], \"kwargs\": {}}]}"
#define T3(name) TENSOR(name, IMAGE)

/* Keras 2: a function by its name; the tensor that comes first is in no list. */
#define OP2(function, nodes)                                                                                 \
    "{\"class_name\": \"TFOpLambda\", \"config\": {\"name\": \"op\", \"trainable\": true, \"dtype\": "       \
    "\"float32\", \"function\": \"" function "\"}, \"name\": \"op\", \"inbound_nodes\": [" nodes "]}"
#define T2(keywords) "[\"x\", 0, 0, {" keywords "}]"

/* TensorFlow 2.0 to 2.3: a node, constants by the number of the input. */
#define OP1(op, attrs, constants, nodes)                                                                     \
    "{\"class_name\": \"TensorFlowOpLayer\", \"config\": {\"name\": \"op\", \"trainable\": true, "           \
    "\"dtype\": \"float32\", \"node_def\": {\"name\": \"op\", \"op\": \"" op                                 \
    "\", \"input\": [\"x\", \"y\"], \"attr\": {" attrs "}}, \"constants\": {" constants                      \
    "}}, \"name\": \"op\", \"inbound_nodes\": [[" nodes "]]}"
#define T1 "[\"x\", 0, 0, {}]"

static struct graph *with_op(const char *op) {
    char *json = NULL;
    assert_true(asprintf(&json, OF_X("op", "%s"), op) > 0);
    struct graph *graph = read_graph(json);
    free(json);
    return graph;
}

/* One layer of this class, called on x `nin` times. */
static struct graph *as_layer(const char *op, const char *class_name, int nin) {
    struct graph *graph = with_op(op);
    const struct layer *layer = layer_of(graph, graph->output[0].node);
    if (strcmp(layer->kind->class_name, class_name)) fail_msg("%s became %s", op, layer->kind->class_name);
    assert_string_equal(layer->name, "op");
    assert_int_equal(graph->nlayers, 2);
    assert_int_equal(graph->node[graph->output[0].node].nin, nin);
    for (int k = 0; k < nin; k++) assert_string_equal(source(graph, graph->output[0].node, k), "x");
    return graph;
}

static const struct layer *last(const struct graph *graph) {
    return layer_of(graph, graph->output[0].node);
}

static void assert_rescaling(const char *op, double scale, double offset) {
    struct graph *graph = as_layer(op, "Rescaling", 1);
    assert_true(layer_attr(last(graph), "scale")->u.floats.v[0] == scale);
    assert_true(layer_attr(last(graph), "offset")->u.floats.v[0] == offset);
    graph_destroy(&graph);
}

static void refuse_op(const char *op, const char *part) {
    char *json = NULL;
    assert_true(asprintf(&json, OF_X("op", "%s"), op) > 0);
    refuse(json, STATUS_UNSUPPORTED, part);
    free(json);
}

/* ---- arithmetic ---- */

static void two_tensors_are_merged(void **state) {
    (void)state;
    static const struct {
        const char *op, *class_name;
    } cases[] = {
        {OP3("Add", "", T3("x") ", " T3("x")), "Add"},
        {OP3("Subtract", "", T3("x") ", " T3("x")), "Subtract"},
        {OP3("Multiply", "", T3("x") ", " T3("x")), "Multiply"},
        {OP3("Maximum", "", T3("x") ", " T3("x")), "Maximum"},
        {OP2("__operators__.add", T2("\"y\": [\"x\", 0, 0], \"name\": null")), "Add"},
        {OP2("math.multiply", T2("\"y\": [\"x\", 0, 0], \"name\": null")), "Multiply"},
        {OP2("math.minimum", T2("\"y\": [\"x\", 0, 0]")), "Minimum"},
        {OP2("math.add_n", "[" T2("") ", " T2("") "]"), "Add"},
        {OP1("AddV2", "\"T\": {\"type\": \"DT_FLOAT\"}", "", T1 ", " T1), "Add"},
        {OP1("Mul", "", "", T1 ", " T1), "Multiply"},
        {OP1("Sub", "", "", T1 ", " T1), "Subtract"},
        {OP1("AddN", "", "", T1 ", " T1), "Add"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = as_layer(cases[i].op, cases[i].class_name, 2);
        graph_destroy(&graph);
    }
    struct graph *graph = as_layer(OP2("math.square", T2("\"name\": null")), "Multiply", 2);
    graph_destroy(&graph);
    graph = as_layer(OP3("Power", "", T3("x") ", 3"), "Multiply", 3);
    graph_destroy(&graph);
}

static void numbers_rescale(void **state) {
    (void)state;
    assert_rescaling(OP3("Add", "", T3("x") ", 3.0"), 1, 3);
    assert_rescaling(OP3("Multiply", "", "0.25, " T3("x")), 0.25, 0);
    assert_rescaling(OP3("Subtract", "", T3("x") ", 3"), 1, -3);
    assert_rescaling(OP3("Subtract", "", "3, " T3("x")), -1, 3);
    assert_rescaling(OP3("TrueDivide", "", T3("x") ", 8"), 0.125, 0);
    assert_rescaling(OP3("Negative", "", T3("x")), -1, 0);
    assert_rescaling(OP2("__operators__.add", T2("\"y\": 3.0, \"name\": null")), 1, 3);
    assert_rescaling(OP2("math.multiply", T2("\"y\": 0.16666667, \"name\": null")), 0.16666667, 0);
    assert_rescaling(OP2("math.truediv", T2("\"y\": 2")), 0.5, 0);
    assert_rescaling(OP2("math.subtract", "[\"_CONSTANT_VALUE\", -1, 5, {\"y\": [\"x\", 0, 0]}]"), -1, 5);
    assert_rescaling(OP1("AddV2", "", "\"1\": 3.0", T1), 1, 3);
    assert_rescaling(OP1("Sub", "", "\"0\": 1.5", T1), -1, 1.5);
    assert_rescaling(OP1("RealDiv", "", "\"1\": 4.0", T1), 0.25, 0);
    assert_rescaling(OP1("Mul", "", "\"1\": [[[[2.0]]]]", T1), 2, 0);

    /* One number per channel. */
    struct graph *graph = as_layer(OP2("math.subtract", T2("\"y\": [[[1, 2, 3]]]")), "Rescaling", 1);
    const struct attr *offset = layer_attr(last(graph), "offset");
    assert_int_equal(offset->u.floats.n, 3);
    assert_true(offset->u.floats.v[1] == -2);
    graph_destroy(&graph);
}

/* The value that the layers give for one number: what they are must be what they say. */
static double run(const struct graph *graph, int node, double x) {
    const struct layer *layer = layer_of(graph, node);
    const char *class_name = layer->kind->class_name;
    if (!graph->node[node].nin) return x;
    double v = run(graph, graph->node[node].in[0].node, x);
    if (!strcmp(class_name, "Rescaling"))
        return v * layer_attr(layer, "scale")->u.floats.v[0] + layer_attr(layer, "offset")->u.floats.v[0];
    if (!strcmp(class_name, "ReLU")) {
        const struct attr *most = layer_attr(layer, "max_value");
        return fmin(fmax(v, 0), most->present ? most->u.f : INFINITY);
    }
    if (!strcmp(class_name, "Activation")) return tanh(v);
    for (int k = 1; k < graph->node[node].nin; k++) {
        double w = run(graph, graph->node[node].in[k].node, x);
        v = !strcmp(class_name, "Add") ? v + w : !strcmp(class_name, "Maximum") ? fmax(v, w) : v * w;
    }
    return v;
}

static double maximum(double x) {
    return fmax(x, 0.5);
}
static double minimum(double x) {
    return fmin(x, 2);
}
static double clip(double x) {
    return fmin(fmax(x, -1), 1.5);
}
static double cube(double x) {
    return x * x * x;
}
static double gelu(double x) {
    return 0.5 * x * (1 + tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)));
}

static void several_layers_compute_the_same(void **state) {
    (void)state;
    static const struct {
        const char *op;
        double (*expected)(double);
    } cases[] = {
        {OP3("Maximum", "", T3("x") ", 0.5"), maximum},
        {OP2("math.minimum", "[\"_CONSTANT_VALUE\", -1, 2, {\"y\": [\"x\", 0, 0]}]"), minimum},
        {OP2("clip_by_value", T2("\"clip_value_min\": -1, \"clip_value_max\": 1.5")), clip},
        {OP3("Clip", ", \"x_min\": -1, \"x_max\": 1.5", T3("x")), clip},
        {OP3("Absolute", "", T3("x")), fabs},
        {OP2("math.pow", T2("\"y\": 3")), cube},
        {OP3("Gelu", ", \"approximate\": true", T3("x")), gelu},
        {OP2("nn.gelu", T2("\"approximate\": true")), gelu},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = with_op(cases[i].op);
        assert_string_equal(last(graph)->name, "op");
        for (double x = -3; x <= 3; x += 0.25) {
            double is = run(graph, graph->output[0].node, x), should = cases[i].expected(x);
            if (fabs(is - should) > 1e-12) fail_msg("%s: %g is %g, not %g", cases[i].op, x, is, should);
        }
        graph_destroy(&graph);
    }
}

/* ---- activations ---- */

static void activations(void **state) {
    (void)state;
    static const struct {
        const char *op, *name;
    } cases[] = {
        {OP3("Sigmoid", "", T3("x")), "sigmoid"},
        {OP3("Silu", "", T3("x")), "silu"},
        {OP3("Tanh", "", T3("x")), "tanh"},
        {OP3("HardSigmoid", "", T3("x")), "hard_sigmoid"},
        {OP3("HardSilu", "", T3("x")), "hard_silu"},
        {OP3("Gelu", ", \"approximate\": false", T3("x")), "gelu"},
        {OP2("math.sigmoid", T2("\"name\": null")), "sigmoid"},
        {OP2("nn.silu", T2("\"beta\": 1.0")), "silu"},
        {OP2("compat.v1.nn.softsign", T2("")), "softsign"},
        {OP2("nn.gelu", T2("\"approximate\": false")), "gelu"},
        {OP1("Sigmoid", "", "", T1), "sigmoid"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct graph *graph = as_layer(cases[i].op, "Activation", 1);
        assert_string_equal(layer_string(last(graph), "activation"), cases[i].name);
        graph_destroy(&graph);
    }
    struct graph *graph = as_layer(OP2("nn.relu6", T2("\"name\": null")), "ReLU", 1);
    assert_true(layer_float(last(graph), "max_value") == 6);
    graph_destroy(&graph);
    graph = as_layer(OP1("Relu", "", "", T1), "ReLU", 1);
    assert_false(layer_attr(last(graph), "max_value")->present);
    graph_destroy(&graph);
    graph = as_layer(OP1("LeakyRelu", "\"alpha\": {\"f\": 0.125}", "", T1), "LeakyReLU", 1);
    assert_true(layer_float(last(graph), "negative_slope") == 0.125);
    graph_destroy(&graph);
    graph = as_layer(OP2("nn.leaky_relu", T2("")), "LeakyReLU", 1);
    assert_true(layer_float(last(graph), "negative_slope") == 0.2);
    graph_destroy(&graph);
    graph = as_layer(OP3("Softmax", ", \"axis\": 1", T3("x")), "Softmax", 1);
    assert_int_equal(layer_int(last(graph), "axis"), 1);
    graph_destroy(&graph);
}

/* ---- shapes ---- */

static void assert_gives(const char *op, struct shape expected) {
    struct graph *graph = with_op(op);
    char is[SHAPE_TEXT_MAX], should[SHAPE_TEXT_MAX];
    const struct shape *shape = &graph->node[graph->output[0].node].out[graph->output[0].slot];
    if (!shape_equal(shape, &expected))
        fail_msg("%s gives %s, not %s", op, shape_format(shape, is), shape_format(&expected, should));
    graph_destroy(&graph);
}

#define N SHAPE_UNKNOWN

static void shapes(void **state) {
    (void)state;
    assert_gives(OP3("Reshape", ", \"newshape\": [-1, 48, 3]", T3("x")), SHAPE(N, 48, 3));
    assert_gives(OP2("reshape", T2("\"shape\": [-1, 144]")), SHAPE(N, 144));
    assert_gives(OP1("Reshape", "", "\"1\": [-1, 8, 18]", T1), SHAPE(N, 8, 18));
    assert_gives(OP3("Concatenate", ", \"axis\": -1", "[" T3("x") ", " T3("x") "]"), SHAPE(N, 6, 8, 6));
    assert_gives(OP2("concat", "[" T2("\"axis\": 1") ", " T2("\"axis\": 1") "]"), SHAPE(N, 12, 8, 3));
    assert_gives(OP1("ConcatV2", "", "\"2\": -1", T1 ", " T1), SHAPE(N, 6, 8, 6));
    assert_gives(OP3("ExpandDims", ", \"axis\": -1", T3("x")), SHAPE(N, 6, 8, 3, 1));
    assert_gives(OP2("expand_dims", T2("\"axis\": 1")), SHAPE(N, 1, 6, 8, 3));
    assert_gives(OP3("Mean", ", \"axis\": [1, 2], \"keepdims\": true", T3("x")), SHAPE(N, 1, 1, 3));
    assert_gives(OP3("Max", ", \"axis\": [-3, -2], \"keepdims\": false", T3("x")), SHAPE(N, 3));
    assert_gives(OP2("math.reduce_mean", T2("\"axis\": [1, 2], \"keepdims\": true, \"name\": null")),
                 SHAPE(N, 1, 1, 3));
    assert_gives(OP1("Mean", "\"keep_dims\": {\"b\": false}", "\"1\": [1, 2]", T1), SHAPE(N, 3));
    assert_gives(OP2("pad", T2("\"paddings\": [[0, 0], [1, 2], [3, 4], [0, 0]], \"mode\": \"CONSTANT\"")),
                 SHAPE(N, 9, 15, 3));
    assert_gives(
        OP3("Pad", ", \"pad_width\": [[0, 0], [1, 1], [0, 0], [0, 0]], \"mode\": \"constant\"", T3("x")),
        SHAPE(N, 8, 8, 3));
    assert_gives(OP2("image.resize", T2("\"size\": [12, 16], \"method\": \"bilinear\"")),
                 SHAPE(N, 12, 16, 3));
    assert_gives(OP1("ResizeNearestNeighbor", "\"half_pixel_centers\": {\"b\": true}", "\"1\": [18, 8]", T1),
                 SHAPE(N, 18, 8, 3));
    assert_gives(OP2("image.resize", T2("\"size\": [9, 5], \"method\": \"nearest\"")), SHAPE(N, 9, 5, 3));
    assert_gives(OP3("Transpose", ", \"axes\": [0, 3, 1, 2]", T3("x")), SHAPE(N, 3, 6, 8));
    assert_gives(OP1("Transpose", "", "\"1\": [0, 2, 1, 3]", T1), SHAPE(N, 8, 6, 3));
    /* What changes nothing is nothing. */
    struct graph *graph = with_op(OP2("cast", T2("\"dtype\": \"float32\"")));
    assert_int_equal(graph->nlayers, 1);
    graph_destroy(&graph);
    graph = with_op(OP2("identity", T2("\"name\": null")));
    assert_string_equal(last(graph)->name, "x");
    graph_destroy(&graph);
}

/* ---- slices ---- */

#define SLICE3(start, stop, step)                                                                            \
    "{\"class_name\": \"__slice__\", \"config\": {\"start\": " start ", \"stop\": " stop ", \"step\": " step \
    "}}"
#define SLICE2(start, stop, step) "{\"start\": " start ", \"stop\": " stop ", \"step\": " step "}"
#define ALL3 SLICE3("null", "null", "null")
#define ALL2 SLICE2("null", "null", "null")
#define GET2(slices)                                                                                         \
    "{\"class_name\": \"SlicingOpLambda\", \"config\": {\"name\": \"op\", \"function\": "                    \
    "\"__operators__.getitem\"}, \"name\": \"op\", \"inbound_nodes\": [" T2("\"slice_spec\": [" slices       \
                                                                            "]") "]}"

static void slices(void **state) {
    (void)state;
    /* x[:, 1:-1, 2:, :] */
    assert_gives(OP3("GetItem", "",
                     T3("x") ", [" ALL3
                             ", " SLICE3("1", "-1", "null") ", " SLICE3("2", "null", "null") ", " ALL3 "]"),
                 SHAPE(N, 4, 6, 3));
    assert_gives(GET2(ALL2 ", " SLICE2("1", "-1", "null") ", " SLICE2("2", "null", "null") ", " ALL2),
                 SHAPE(N, 4, 6, 3));
    /* x[:, 0], x[:, -1, 3] */
    assert_gives(GET2(ALL2 ", 0"), SHAPE(N, 8, 3));
    assert_gives(OP3("GetItem", "", T3("x") ", [" ALL3 ", -1, 3]"), SHAPE(N, 3));
    /* x[:, ::2, 1::3] */
    assert_gives(GET2(ALL2 ", " SLICE2("null", "null", "2") ", " SLICE2("1", "null", "3")),
                 SHAPE(N, 3, 3, 3));
    /* x[..., 2:4, :] */
    assert_gives(GET2("{\"class_name\": \"__ellipsis__\"}, " SLICE2("2", "4", "null") ", " ALL2),
                 SHAPE(N, 6, 2, 3));
    /* x[:] */
    struct graph *graph = with_op(GET2(ALL2));
    assert_string_equal(last(graph)->name, "x");
    graph_destroy(&graph);
    /* TensorFlow's node of x[:, 1:5, 2] */
    assert_gives(
        OP1("StridedSlice",
            "\"begin_mask\": {\"i\": \"1\"}, \"end_mask\": {\"i\": \"1\"}, \"shrink_axis_mask\": {\"i\": "
            "\"4\"}, \"ellipsis_mask\": {\"i\": \"0\"}, \"new_axis_mask\": {\"i\": \"0\"}",
            "\"1\": [0, 1, 2], \"2\": [0, 5, 3], \"3\": [1, 1, 1]", T1),
        SHAPE(N, 4, 3));
    /* What is cropped is what was asked for. */
    graph = as_layer(GET2(ALL2 ", " SLICE2("1", "-2", "null")), "Cropping2D", 1);
    const struct attr *cropping = layer_attr(last(graph), "cropping");
    static const int64_t expected[] = {1, 2, 0, 0};
    assert_int_equal(cropping->u.ints.n, 4);
    for (int i = 0; i < 4; i++) assert_int_equal(cropping->u.ints.v[i], expected[i]);
    graph_destroy(&graph);
    static const char *const refused[] = {
        GET2("0"),                                          /* of the batch */
        GET2(ALL2 ", " ALL2 ", " ALL2 ", 0"),               /* of the channels */
        GET2(ALL2 ", " SLICE2("null", "null", "-1")),       /* backwards */
        GET2(ALL2 ", " SLICE2("4", "2", "null")),           /* nothing */
        GET2(ALL2 ", 6"),                                   /* beyond */
        GET2(ALL2 ", " ALL2 ", " ALL2 ", " ALL2 ", " ALL2), /* too many */
        GET2(ALL2 ", null"),                                /* a new axis */
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        refuse_op(refused[i], "layer \"op\" (SlicingOpLambda): operation __operators__.getitem");
}

static void squeezed(void **state) {
    (void)state;
    struct graph *graph = read_graph(OF_X(
        "op",
        "{\"class_name\": \"GlobalAveragePooling2D\", \"name\": \"g\", \"config\": {\"name\": \"g\", "
        "\"keepdims\": true}, \"inbound_nodes\": [[[\"x\", 0, 0, {}]]]}, "
        "{\"class_name\": \"TFOpLambda\", \"name\": \"op\", \"config\": {\"name\": \"op\", \"function\": "
        "\"squeeze\"}, \"inbound_nodes\": [[\"g\", 0, 0, {\"axis\": [1, 2]}]]}"));
    assert_shape(graph, graph->output[0].node, SHAPE(N, 3));
    assert_string_equal(last(graph)->kind->class_name, "Reshape");
    graph_destroy(&graph);
}

/* A layer is taken for an operation neither by its name nor for want of keys. */
static void layers_are_no_operations(void **state) {
    (void)state;
    struct graph *graph = read_graph(
        OF_X("op", "{\"class_name\": \"Add\", \"name\": \"op\", \"config\": {\"name\": \"op\"}, "
                   "\"inbound_nodes\": [{\"args\": [[" T3("x") ", " T3("x") "]], \"kwargs\": {}}]}"));
    assert_int_equal(graph->nlayers, 2);
    graph_destroy(&graph);
    /* Without a module, as in Keras 3's .h5. */
    graph = with_op("{\"class_name\": \"Multiply\", \"name\": \"op\", \"config\": {\"name\": \"op\"}, "
                    "\"inbound_nodes\": [{\"args\": [" T3("x") ", 0.5], \"kwargs\": {}}]}");
    assert_string_equal(last(graph)->kind->class_name, "Rescaling");
    graph_destroy(&graph);
}

/* ---- what cannot be translated ---- */

static void others_are_named(void **state) {
    (void)state;
    refuse_op(OP3("Sqrt", "", T3("x")), "layer \"op\": operation Sqrt");
    refuse_op(OP3("Power", "", T3("x") ", 0.5"), "layer \"op\": operation Power");
    refuse_op(OP3("Divide", "", "1, " T3("x")), "operation Divide");
    refuse_op(OP2("linalg.matmul", T2("\"b\": [\"x\", 0, 0]")),
              "layer \"op\" (TFOpLambda): operation linalg.matmul");
    refuse_op(OP2("math.reduce_mean", T2("\"axis\": -1")), "operation math.reduce_mean");
    refuse_op(OP2("concat", "[" T2("\"axis\": 0") ", " T2("\"axis\": 0") "]"), "operation concat");
    refuse_op(OP2("transpose", T2("\"perm\": [1, 0, 2, 3]")), "operation transpose");
    refuse_op(OP2("reshape", T2("\"shape\": [2, -1]")), "operation reshape");
    refuse_op(OP2("pad", T2("\"paddings\": [[0, 0], [1, 1], [1, 1], [0, 0]], \"mode\": \"REFLECT\"")),
              "operation pad");
    refuse_op(OP2("image.resize", T2("\"size\": [12, 16], \"method\": \"bicubic\"")),
              "operation image.resize");
    refuse_op(OP2("cast", T2("\"dtype\": \"int32\"")), "operation cast");
    refuse_op(OP1("ResizeBilinear", "\"align_corners\": {\"b\": true}", "\"1\": [12, 16]", T1),
              "layer \"op\" (TensorFlowOpLayer): operation ResizeBilinear");
    refuse_op(
        "{\"class_name\": \"TensorFlowOpLayer\", \"name\": \"op\", \"config\": {\"node_def\": \"\\u0001\"}, "
        "\"inbound_nodes\": [[" T1 "]]}",
        "layer \"op\" (TensorFlowOpLayer): operation ?");
    refuse_op(OP2("math.multiply", T2("\"y\": [[1, 2], [3, 4]]")), "operation math.multiply");
    refuse_op(OP3("Multiply", "", T3("x") ", \"two\""), "operation Multiply");
    /* All at once, with the other problems. */
    char *json = NULL;
    assert_true(asprintf(&json,
                         OF_X("l", "%s, {\"class_name\": \"Lambda\", \"name\": \"l\", \"config\": {\"name\": "
                                   "\"l\"}, \"inbound_nodes\": [[[\"op\", 0, 0, {}]]]}"),
                         OP3("Sqrt", "", T3("x"))) > 0);
    struct graph *graph = NULL;
    status error = keras_graph_from_json(json, &graph);
    assert_int_equal(status_code(error), STATUS_UNSUPPORTED);
    assert_non_null(strstr(status_message(error), "layer \"l\" (Lambda)"));
    assert_non_null(strstr(status_message(error), "layer \"op\": operation Sqrt"));
    status_drop(&error);
    free(json);
}

/* ---- whole models ---- */

/* Squeeze-and-excite of MobileNetV3: hard_sigmoid made of ReLU6(x + 3) / 6, as Keras 2.15 writes it. */
static void mobilenet_v3_of_keras2(void **state) {
    (void)state;
    struct graph *graph = read_graph(OF_X(
        "tf.math.add",
        LAYER("GlobalAveragePooling2D", "pool", ", \"keepdims\": true", "[[[\"x\", 0, 0, {}]]]") "," LAYER(
            "Conv2D", "c", ", \"filters\": 3, \"kernel_size\": [1, 1]",
            "[[[\"pool\", 0, 0, {}]]]") "," LAYER("TFOpLambda", "tf.__operators__.add",
                                                  ", \"function\": \"__operators__.add\"",
                                                  "[[\"c\", 0, 0, {\"y\": 3.0, \"name\": "
                                                  "null}]]") "," LAYER("ReLU", "re_lu",
                                                                       ", \"max_value\": 6.0",
                                                                       "[[[\"tf.__operators__."
                                                                       "add\", 0, 0, "
                                                                       "{}]]]") "," LAYER("TFOpL"
                                                                                          "ambd"
                                                                                          "a",
                                                                                          "tf."
                                                                                          "math."
                                                                                          "multi"
                                                                                          "ply",
                                                                                          ", "
                                                                                          "\"fun"
                                                                                          "ction"
                                                                                          "\": "
                                                                                          "\"mat"
                                                                                          "h."
                                                                                          "multi"
                                                                                          "ply"
                                                                                          "\"",
                                                                                          "[["
                                                                                          "\"re_"
                                                                                          "lu\","
                                                                                          " 0, "
                                                                                          "0, "
                                                                                          "{\"y"
                                                                                          "\": "
                                                                                          "0."
                                                                                          "16666"
                                                                                          "66666"
                                                                                          "66666"
                                                                                          "66,"
                                                                                          " \"na"
                                                                                          "me\":"
                                                                                          " "
                                                                                          "null}"
                                                                                          "]]") "," LAYER("Mu"
                                                                                                          "lt"
                                                                                                          "ip"
                                                                                                          "l"
                                                                                                          "y",
                                                                                                          "mu"
                                                                                                          "l",
                                                                                                          "",
                                                                                                          "[["
                                                                                                          "["
                                                                                                          "\""
                                                                                                          "x"
                                                                                                          "\""
                                                                                                          ", "
                                                                                                          "0,"
                                                                                                          " 0"
                                                                                                          ", "
                                                                                                          "{}"
                                                                                                          "],"
                                                                                                          " ["
                                                                                                          "\""
                                                                                                          "tf"
                                                                                                          ".m"
                                                                                                          "at"
                                                                                                          "h."
                                                                                                          "mu"
                                                                                                          "lt"
                                                                                                          "ip"
                                                                                                          "ly"
                                                                                                          "\""
                                                                                                          ", "
                                                                                                          "0,"
                                                                                                          " 0"
                                                                                                          ", "
                                                                                                          "{}"
                                                                                                          "]]"
                                                                                                          "]") "," LAYER("TFOpLambda",
                                                                                                                         "tf.math.add",
                                                                                                                         ", \"function\": \"math.add\"",
                                                                                                                         "[[\"mul\", 0, 0, {\"y\": [\"x\", 0, 0], \"name\": null}]]")));
    assert_string_equal(layer_named(graph, "tf.__operators__.add")->kind->class_name, "Rescaling");
    assert_string_equal(layer_named(graph, "tf.math.multiply")->kind->class_name, "Rescaling");
    assert_string_equal(layer_named(graph, "tf.math.add")->kind->class_name, "Add");
    int mul = graph->node[graph->output[0].node].in[0].node;
    assert_string_equal(source(graph, mul, 1), "tf.math.multiply");
    assert_string_equal(source(graph, graph->node[mul].in[1].node, 0), "re_lu");

    /* What is written has no operations, and is the same. */
    char *text = NULL;
    assert_success(keras_graph_to_json(graph, &text));
    assert_null(strstr(text, "TFOpLambda"));
    struct graph *again = read_graph(text);
    assert_graphs_equal(graph, again);
    graph_destroy(&again);
    graph_destroy(&graph);
    free(text);
}

#define R3(name)                                                                                             \
    "{\"class_name\": \"__keras_tensor__\", \"config\": {\"shape\": [null, 1, 1, 3], \"dtype\": "            \
    "\"float32\", \"keras_history\": [\"" name "\", 0, 0]}}"
#define NODE3(class_name, module, name, config, args)                                                        \
    "{\"module\": \"" module "\", \"class_name\": \"" class_name "\", \"name\": \"" name                     \
    "\", \"config\": {\"name\": \"" name "\"" config "}, \"inbound_nodes\": [{\"args\": [" args              \
    "], \"kwargs\": {}}]}"

/* The same of Keras 3. */
static void mobilenet_v3_of_keras3(void **state) {
    (void)state;
    struct graph *graph = read_graph(OF_X(
        "act",
        NODE3("GlobalAveragePooling2D", "keras.layers", "pool", ", \"keepdims\": true", T3("x")) "," NODE3(
            "Add", "keras.src.ops.numpy", "add", "",
            R3("pool") ", 3.0") "," NODE3("ReLU", "keras.layers", "re_lu", ", \"max_value\": 6.0",
                                          R3("add")) "," NODE3("Multiply", "keras.src.ops.numpy", "multiply",
                                                               "",
                                                               R3("re_lu") ", 0.16666666666666666") "," NODE3("Multiply",
                                                                                                              "keras.layers",
                                                                                                              "mul",
                                                                                                              "",
                                                                                                              "[" T3("x") ", " R3(
                                                                                                                  "multiply") "]") "," NODE3("Activation",
                                                                                                                                             "keras.layers",
                                                                                                                                             "act",
                                                                                                                                             ", \"activation\": \"hard_silu\"",
                                                                                                                                             T3("mul"))));
    assert_int_equal(graph->keras_version, 3);
    assert_int_equal(graph->nlayers, 7);
    assert_string_equal(layer_named(graph, "add")->kind->class_name, "Rescaling");
    assert_string_equal(layer_named(graph, "multiply")->kind->class_name, "Rescaling");
    assert_string_equal(layer_named(graph, "mul")->kind->class_name, "Multiply");
    graph_destroy(&graph);
}

/* An operation in a model that is called twice: for each call its own layer, of its own name. */
static void operations_in_inner_models(void **state) {
    (void)state;
    const char *inner =
        "{\"class_name\": \"Functional\", \"name\": \"inner\", \"config\": {\"name\": \"inner\", \"layers\": "
        "[" INPUT("y", IMAGE) ", " LAYER(
            "TFOpLambda", "op", ", \"function\": \"math.multiply\"",
            "[[\"y\", 0, 0, {\"y\": 2}]]") "], \"input_layers\": [[\"y\", 0, 0]], \"output_layers\": "
                                           "[[\"op\", 0, 0]]}, \"inbound_nodes\": "
                                           "[[[\"x\", 0, 0, {}]], [[\"inner\", 1, 0, {}]]]}";
    char *json = NULL;
    assert_true(asprintf(&json, MODEL(X ", %s", "[[\"x\", 0, 0]]", "[[\"inner\", 2, 0]]"), inner) > 0);
    struct graph *graph = read_graph(json);
    assert_int_equal(graph->nlayers, 3);
    assert_string_equal(graph->layer[1].name, "op");
    assert_string_equal(graph->layer[2].name, "inner_op");
    graph_destroy(&graph);
    free(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_tensors_are_merged),
        cmocka_unit_test(numbers_rescale),
        cmocka_unit_test(several_layers_compute_the_same),
        cmocka_unit_test(activations),
        cmocka_unit_test(shapes),
        cmocka_unit_test(slices),
        cmocka_unit_test(squeezed),
        cmocka_unit_test(layers_are_no_operations),
        cmocka_unit_test(others_are_named),
        cmocka_unit_test(mobilenet_v3_of_keras2),
        cmocka_unit_test(mobilenet_v3_of_keras3),
        cmocka_unit_test(operations_in_inner_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
