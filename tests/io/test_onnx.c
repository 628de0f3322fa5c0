/* What is written as ONNX, parsed again. That it computes the same is tested with ONNX Runtime
 * (tests/worker/test_onnx_peer.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "graph_build.h"
#include "io/io_testing.h"
#include "io/onnx/onnx.h"

#include <math.h>
#include <onnx.pb-c.h>
#include <sys/stat.h>

/* ---- helpers ---- */

/* Parameters are their own numbers: 0, 1, 2, ... over all of them. */
static struct model *model_of(struct graph *graph) {
    struct model *model = NULL;
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &model));
    for (int i = 0, n = 0; i < model->params->n; i++)
        for (int64_t k = 0; k < model->params->count[i]; k++) params_at(model->params, i)[k] = (float)n++;
    return model;
}

static const float *weight_of(const struct model *model, const char *layer, int weight) {
    const int l = graph_find_layer(model->graph, layer);
    assert_true(l >= 0);
    return params_at(model->params, graph_first_param(model->graph, l) + weight);
}

static struct graph *new_graph(const char *name) {
    struct graph *graph = NULL;
    build_ok(graph_create(name, &graph));
    return graph;
}

static Onnx__ModelProto *parse(const char *path) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const size_t n = (size_t)ftell(file);
    uint8_t *bytes = malloc(n + 1);
    rewind(file);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, n, file), n);
    fclose(file);
    Onnx__ModelProto *proto = onnx__model_proto__unpack(NULL, n, bytes);
    free(bytes);
    assert_non_null(proto);
    return proto;
}

static const Onnx__TensorProto *constant(const Onnx__ModelProto *m, const char *name) {
    for (size_t i = 0; i < m->graph->n_initializer; i++)
        if (!strcmp(m->graph->initializer[i]->name, name)) return m->graph->initializer[i];
    return NULL;
}

static bool is_defined(const Onnx__ModelProto *m, size_t before, const char *name) {
    for (size_t i = 0; i < m->graph->n_input; i++)
        if (!strcmp(m->graph->input[i]->name, name)) return true;
    for (size_t i = 0; i < before; i++)
        for (size_t k = 0; k < m->graph->node[i]->n_output; k++)
            if (!strcmp(m->graph->node[i]->output[k], name)) return true;
    return constant(m, name);
}

/* Names are defined once, before they are used; constants are as large as their shapes say. */
static void check_form(const Onnx__ModelProto *m) {
    const Onnx__GraphProto *g = m->graph;
    assert_int_equal(m->ir_version, 8);
    assert_string_equal(m->producer_name, "Godwit");
    assert_int_equal(m->n_opset_import, 1);
    assert_int_equal(m->opset_import[0]->version, 17);
    for (size_t i = 0; i < g->n_node; i++) {
        for (size_t k = 0; k < g->node[i]->n_input; k++)
            if (*g->node[i]->input[k]) assert_true(is_defined(m, i, g->node[i]->input[k]));
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            if (*g->node[i]->output[k]) assert_false(is_defined(m, i, g->node[i]->output[k]));
    }
    for (size_t i = 0; i < g->n_output; i++) assert_true(is_defined(m, g->n_node, g->output[i]->name));
    for (size_t i = 0; i < g->n_initializer; i++) {
        size_t n = g->initializer[i]->data_type == 7 ? 8 : 4;
        for (size_t k = 0; k < g->initializer[i]->n_dims; k++) n *= (size_t)g->initializer[i]->dims[k];
        if (g->initializer[i]->has_raw_data) assert_int_equal(g->initializer[i]->raw_data.len, n);
    }
}

static Onnx__ModelProto *written(const struct model *model) {
    assert_success(onnx_write(in_folder("m.onnx"), model));
    Onnx__ModelProto *m = parse(in_folder("m.onnx"));
    check_form(m);
    return m;
}

/* "Conv Relu Conv" */
static void assert_types(const Onnx__ModelProto *m, const char *expected) {
    char types[2048] = "";
    for (size_t i = 0; i < m->graph->n_node; i++)
        snprintf(types + strlen(types), sizeof types - strlen(types), "%s%s", i ? " " : "",
                 m->graph->node[i]->op_type);
    assert_string_equal(types, expected);
}

static void assert_end(const Onnx__ValueInfoProto *end, const char *name, int rank, const int64_t *dims) {
    const Onnx__TensorShapeProto *shape = end->type->tensor_type->shape;
    assert_string_equal(end->name, name);
    assert_int_equal(end->type->tensor_type->elem_type, 1);
    assert_int_equal(shape->n_dim, rank);
    for (int i = 0; i < rank; i++) {
        if (dims[i] >= 0) assert_int_equal(shape->dim[i]->dim_value, dims[i]);
        else assert_true(shape->dim[i]->dim_param && *shape->dim[i]->dim_param);
    }
    assert_string_equal(shape->dim[0]->dim_param, "N");
}

static const Onnx__NodeProto *node_of(const Onnx__ModelProto *m, const char *type, int which) {
    for (size_t i = 0; i < m->graph->n_node; i++)
        if (!strcmp(m->graph->node[i]->op_type, type) && which-- == 0) return m->graph->node[i];
    fail_msg("no %s", type);
    return NULL;
}

static const Onnx__AttributeProto *attribute(const Onnx__NodeProto *node, const char *name) {
    for (size_t i = 0; i < node->n_attribute; i++)
        if (!strcmp(node->attribute[i]->name, name)) return node->attribute[i];
    fail_msg("%s has no %s", node->op_type, name);
    return NULL;
}

static float float_at(const Onnx__TensorProto *tensor, int64_t i) {
    float value;
    memcpy(&value, tensor->raw_data.data + (size_t)i * sizeof value, sizeof value);
    return value;
}

static void done(Onnx__ModelProto *m, struct model *model) {
    onnx__model_proto__free_unpacked(m, NULL);
    model_destroy(&model);
}

/* ---- tests ---- */

/* Convolutions follow each other in ONNX's layout; only the input and what is flattened are transposed. */
static void images(void **state) {
    (void)state;
    struct graph *g = new_graph("images");
    int x = build_input(g, "image", "-1,8,6,3");
    int a = build_layer(g, "Conv2D", "first", "filters=4 kernel_size=3,2 padding=same use_bias=false", 1, &x);
    int b = build_layer(g, "BatchNormalization", "norm", "", 1, &a);
    int c = build_layer(g, "ReLU", "six", "max_value=6", 1, &b);
    int d = build_layer(g, "DepthwiseConv2D", "deep", "kernel_size=3 depth_multiplier=2 padding=same", 1, &c);
    int e = build_layer(g, "Conv2D", "back", "filters=4 kernel_size=1 activation=relu", 1, &d);
    int both[2] = {c, e};
    int f = build_layer(g, "Add", "sum", "", 2, both);
    int h = build_layer(g, "MaxPooling2D", "pool", "pool_size=2", 1, &f);
    int i = build_layer(g, "Flatten", "flat", "", 1, &h);
    build_output(g, build_layer(g, "Dense", "classes", "units=5 activation=softmax", 1, &i));
    struct model *model = model_of(g);
    Onnx__ModelProto *m = written(model);
    assert_types(m,
                 "Transpose Conv BatchNormalization Clip Conv Conv Relu Add MaxPool Transpose Reshape Gemm "
                 "Softmax");
    assert_int_equal(m->graph->n_input, 1);
    assert_end(m->graph->input[0], "image", 4, (const int64_t[]){-1, 8, 6, 3});
    assert_end(m->graph->output[0], "classes", 2, (const int64_t[]){-1, 5});

    const Onnx__NodeProto *conv = node_of(m, "Conv", 0);
    const Onnx__TensorProto *kernel = constant(m, conv->input[1]);
    const float *from = weight_of(model, "first", 0);
    assert_int_equal(conv->n_input, 2);
    assert_memory_equal(kernel->dims, ((const int64_t[]){4, 3, 3, 2}), 4 * sizeof(int64_t));
    for (int o = 0; o < 4; o++)
        for (int k = 0; k < 3; k++)
            for (int y = 0; y < 3; y++)
                for (int z = 0; z < 2; z++)
                    assert_true(float_at(kernel, ((o * 3 + k) * 3 + y) * 2 + z) ==
                                from[((y * 2 + z) * 3 + k) * 4 + o]);
    assert_memory_equal(attribute(conv, "pads")->ints, ((const int64_t[]){1, 0, 1, 1}), 4 * sizeof(int64_t));

    const Onnx__NodeProto *deep = node_of(m, "Conv", 1);
    kernel = constant(m, deep->input[1]);
    from = weight_of(model, "deep", 0);
    assert_int_equal(attribute(deep, "group")->i, 4);
    assert_memory_equal(kernel->dims, ((const int64_t[]){8, 1, 3, 3}), 4 * sizeof(int64_t));
    for (int o = 0; o < 8; o++)
        for (int y = 0; y < 9; y++) assert_true(float_at(kernel, o * 9 + y) == from[y * 8 + o]);
    done(m, model);
}

/* A chain of convolutions on sequences, a model that is channels first, squeeze and excite. */
static void layouts(void **state) {
    (void)state;
    struct graph *g = new_graph("sequences");
    int x = build_input(g, "x", "-1,12,3");
    int a = build_layer(g, "Conv1D", "a", "filters=4 kernel_size=3 activation=relu", 1, &x);
    int b = build_layer(g, "Conv1D", "b", "filters=4 kernel_size=3", 1, &a);
    build_output(g, build_layer(g, "GlobalAveragePooling1D", "mean", "", 1, &b));
    struct model *model = model_of(g);
    Onnx__ModelProto *m = written(model);
    int transposes = 0;
    for (size_t i = 0; i < m->graph->n_node; i++)
        transposes += !strcmp(m->graph->node[i]->op_type, "Transpose");
    assert_int_equal(transposes, 1);
    done(m, model);

    g = new_graph("first");
    x = build_input(g, "x", "-1,3,8,8");
    a = build_layer(g, "Conv2D", "a", "filters=4 kernel_size=3 data_format=channels_first", 1, &x);
    build_output(g,
                 build_layer(g, "Conv2D", "b", "filters=2 kernel_size=3 data_format=channels_first", 1, &a));
    model = model_of(g);
    m = written(model);
    assert_types(m, "Conv Conv");
    done(m, model);

    g = new_graph("excite");
    x = build_input(g, "x", "-1,6,6,4");
    a = build_layer(g, "Conv2D", "a", "filters=4 kernel_size=1", 1, &x);
    b = build_layer(g, "GlobalAveragePooling2D", "mean", "", 1, &a);
    b = build_layer(g, "Reshape", "image", "target_shape=1,1,4", 1, &b);
    b = build_layer(g, "Conv2D", "gate", "filters=4 kernel_size=1 activation=sigmoid", 1, &b);
    int both[2] = {a, b};
    b = build_layer(g, "Multiply", "excited", "", 2, both);
    build_output(g, build_layer(g, "GlobalMaxPooling2D", "most", "", 1, &b));
    model = model_of(g);
    m = written(model);
    assert_types(m,
                 "Transpose Conv GlobalAveragePool Flatten Reshape Conv Sigmoid Mul GlobalMaxPool Flatten");
    done(m, model);
}

/* Of unknown sizes too. */
static void blocks(void **state) {
    (void)state;
    struct graph *g = new_graph("blocks");
    int x = build_input(g, "x", "-1,-1,-1,12");
    int a = build_layer(g, "Conv2D", "conv", "filters=12 kernel_size=3 padding=same", 1, &x);
    a = build_layer(g, "DepthToSpace", "space", "block_size=2", 1, &a);
    build_output(g, build_layer(g, "Conv2D", "last", "filters=3 kernel_size=1", 1, &a));
    struct model *model = model_of(g);
    Onnx__ModelProto *m = written(model);
    assert_types(m, "Transpose Conv DepthToSpace Conv Transpose");
    assert_int_equal(attribute(node_of(m, "DepthToSpace", 0), "blocksize")->i, 2);
    done(m, model);
}

/* Zeros before a maximum of what may be negative are not what ONNX Runtime may make its padding. */
static void zeros_before_maximum(void **state) {
    (void)state;
    for (int positive = 0; positive < 2; positive++) {
        struct graph *g = new_graph("padded");
        int x = build_input(g, "x", "-1,6,6,2");
        int a = build_layer(g, "Conv2D", "conv",
                            positive ? "filters=2 kernel_size=1 activation=relu" : "filters=2 kernel_size=1",
                            1, &x);
        a = build_layer(g, "ZeroPadding2D", "pad", "padding=1", 1, &a);
        build_output(g, build_layer(g, "MaxPooling2D", "pool", "pool_size=3 strides=2", 1, &a));
        struct model *model = model_of(g);
        Onnx__ModelProto *m = written(model);
        const Onnx__NodeProto *pad = node_of(m, "Pad", 0);
        assert_int_equal(pad->n_input, positive ? 2 : 3);
        if (!positive) {
            const float zero = float_at(constant(m, pad->input[2]), 0);
            assert_true(zero == 0 && signbit(zero));
        }
        done(m, model);
    }
}

/* Unknown sizes are symbolic where nothing depends on them. */
static void unknown_sizes(void **state) {
    (void)state;
    for (int strided = 0; strided < 2; strided++) {
        struct graph *g = new_graph("any");
        int x = build_input(g, "x", "-1,-1,-1,3");
        int a = build_layer(g, "Conv2D", "conv",
                            strided ? "filters=2 kernel_size=3 padding=same strides=2"
                                    : "filters=2 kernel_size=3 padding=same",
                            1, &x);
        build_output(g, build_layer(g, "UpSampling2D", "larger", "size=2,3", 1, &a));
        struct model *model = model_of(g);
        if (strided) {
            assert_error(onnx_write(in_folder("s.onnx"), model), STATUS_UNSUPPORTED, "\"conv\"");
            assert_int_equal(count_entries(in_folder("")), 1); /* what was written before */
            build_ok(model_set_inputs(model, &SHAPE(SHAPE_UNKNOWN, 8, 6, 3)));
        }
        Onnx__ModelProto *m = written(model);
        assert_types(m, "Transpose Conv Resize Transpose");
        assert_end(m->graph->output[0], "larger", 4,
                   strided ? (const int64_t[]){-1, 8, 9, 2} : (const int64_t[]){-1, -1, -1, 2});
        const Onnx__TensorProto *scales = constant(m, node_of(m, "Resize", 0)->input[2]);
        const float expected[] = {1, 1, 2, 3};
        for (int i = 0; i < 4; i++) assert_true(float_at(scales, i) == expected[i]);
        done(m, model);
    }
}

/* Of two outputs one is made of the other. */
static void outputs_of_outputs(void **state) {
    (void)state;
    struct graph *g = new_graph("two");
    int x = build_input(g, "in", "-1,4,3");
    int d = build_layer(g, "Dense", "d", "units=5", 1, &x);
    build_output(g, d);
    build_output(g, build_layer(g, "Permute", "p", "dims=2,1", 1, &d));
    struct model *model = model_of(g);
    Onnx__ModelProto *m = written(model);
    assert_int_equal(m->graph->n_output, 2);
    assert_string_equal(m->graph->output[0]->name, "d");
    assert_string_equal(m->graph->output[1]->name, "p");
    done(m, model);
}

/* Neither file of a pair takes its name before both are written. */
static void pair_is_complete(void **state) {
    (void)state;
    struct graph *g = new_graph("pair");
    int x = build_input(g, "x", "-1,40");
    build_output(g, build_layer(g, "Dense", "dense", "units=30", 1, &x));
    struct model *model = model_of(g);
    mkdir(in_folder("pair.onnx"), 0777); /* cannot be written */
    status error = onnx_write_parts(in_folder("pair.onnx"), model, 1000);
    assert_int_equal(status_code(error), STATUS_IO);
    status_drop(&error);
    assert_int_equal(access(in_folder("pair.onnx.data"), F_OK), -1);
    model_destroy(&model);
}

/* Constants in a file of their own. */
static void external_data(void **state) {
    (void)state;
    struct graph *g = new_graph("large");
    int x = build_input(g, "x", "-1,40");
    build_output(g, build_layer(g, "Dense", "dense", "units=30", 1, &x));
    struct model *model = model_of(g);
    assert_success(onnx_write_parts(in_folder("e.onnx"), model, 1000));
    Onnx__ModelProto *m = parse(in_folder("e.onnx"));
    check_form(m);
    const Onnx__TensorProto *kernel = constant(m, "dense/kernel");
    assert_false(kernel->has_raw_data);
    assert_int_equal(kernel->data_location, 1);
    assert_int_equal(kernel->n_external_data, 3);
    assert_string_equal(kernel->external_data[0]->value, "e.onnx.data");
    FILE *file = fopen(in_folder("e.onnx.data"), "rb");
    float values[1200];
    assert_non_null(file);
    assert_int_equal(fseek(file, atol(kernel->external_data[1]->value), SEEK_SET), 0);
    assert_int_equal(atol(kernel->external_data[2]->value), sizeof values);
    assert_int_equal(fread(values, sizeof *values, 1200, file), 1200);
    fclose(file);
    assert_memory_equal(values, weight_of(model, "dense", 0), sizeof values);
    assert_true(constant(m, "dense/bias")->has_raw_data); /* not worth it */
    onnx__model_proto__free_unpacked(m, NULL);
    assert_error(onnx_write(in_folder("nowhere/e.onnx"), model), STATUS_IO, "nowhere");
    model_destroy(&model);
}

/* ONNX's gates of an LSTM are i, o, f, c. A mask is what its operator does not have. */
static void recurrent(void **state) {
    static const int gate[] = {0, 3, 1, 2};
    (void)state;
    struct graph *g = new_graph("lstm");
    int x = build_input(g, "x", "-1,5,3");
    build_output(g, build_layer(g, "LSTM", "lstm", "units=2", 1, &x));
    struct model *model = model_of(g);
    Onnx__ModelProto *m = written(model);
    const Onnx__NodeProto *lstm = node_of(m, "LSTM", 0);
    const float *kernel = weight_of(model, "lstm", 0), *bias = weight_of(model, "lstm", 2);
    for (int i = 0; i < 8; i++) {
        const int column = gate[i / 2] * 2 + i % 2;
        for (int k = 0; k < 3; k++)
            assert_true(float_at(constant(m, lstm->input[1]), i * 3 + k) == kernel[k * 8 + column]);
        assert_true(float_at(constant(m, lstm->input[3]), i) == bias[column]);
        assert_true(float_at(constant(m, lstm->input[3]), 8 + i) == 0);
    }
    assert_types(m, "Transpose LSTM Transpose Reshape"); /* only the last step */
    done(m, model);

    g = new_graph("masked");
    x = build_input(g, "x", "-1,5,3");
    x = build_layer(g, "Masking", "mask", "mask_value=0", 1, &x);
    build_output(g, build_layer(g, "LSTM", "lstm", "units=2", 1, &x));
    model = model_of(g);
    m = written(model);
    int products = 0;
    for (size_t i = 0; i < m->graph->n_node; i++) {
        assert_string_not_equal(m->graph->node[i]->op_type, "LSTM");
        products += !strcmp(m->graph->node[i]->op_type, "MatMul");
    }
    assert_int_equal(products, 1 + 5);
    done(m, model);
}

/* Outputs that are inputs, that are given twice; what is kept with the model. */
static void ends(void **state) {
    (void)state;
    struct graph *g = new_graph("ends");
    int x = build_input(g, "x", "-1,4");
    int a = build_layer(g, "Dense", "dense", "units=2", 1, &x);
    build_output(g, a);
    build_output(g, a);
    build_output(g, x);
    struct model *model = model_of(g);
    model->preprocessing = strdup("{\"scale\": 0.5}");
    Onnx__ModelProto *m = written(model);
    assert_types(m, "Gemm Identity Identity");
    assert_string_equal(m->graph->output[0]->name, "dense");
    assert_string_equal(m->graph->output[1]->name, "dense_1");
    assert_string_equal(m->graph->output[2]->name, "x_1");
    assert_string_equal(m->graph->node[1]->input[0], "dense");
    assert_string_equal(m->graph->node[2]->input[0], "x");
    assert_int_equal(m->n_metadata_props, 1);
    assert_string_equal(m->metadata_props[0]->value, "{\"scale\": 0.5}");
    done(m, model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(images),
        IN_FOLDER(layouts),
        IN_FOLDER(blocks),
        IN_FOLDER(zeros_before_maximum),
        IN_FOLDER(unknown_sizes),
        IN_FOLDER(external_data),
        IN_FOLDER(outputs_of_outputs),
        IN_FOLDER(pair_is_complete),
        IN_FOLDER(recurrent),
        IN_FOLDER(ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
