/* Models that Keras itself wrote: topology and weights. */
#include "io/keras.h"
#include "shared/layer.h"

#include "io/io_testing.h"

#include <hdf5.h>

static const char *shared(const char *name) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/models/%s", GODWIT_SHARED_DIR, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        print_message("[   SKIP   ] %s is absent\n", path);
        skip();
    }
    fclose(file);
    return path;
}

/* Opens a model and reads all its weights, once whole and once row by row in odd pieces. */
static void read_both_ways(const char *path, struct graph **graph) {
    struct keras_file *file = NULL;
    struct opgraph *ops = NULL;
    struct params *params = NULL;
    assert_success(keras_open(path, NULL, &file, graph));
    assert_success(graph_lower(*graph, &ops, NULL));
    assert_success(params_create(ops, &params));
    assert_int_equal(keras_bytes_read(file), 0);
    assert_success(keras_read_params(file, params));
    int64_t floats = 0;
    for (int i = 0; i < params->n; i++) floats += params->count[i];
    assert_int_equal(keras_bytes_read(file), floats * 4);
    for (int i = 0; i < ops->nparams; i++) {
        const struct shape *shape = &ops->param[i].shape;
        int64_t columns = shape->rank ? shape->dim[shape->rank - 1] : 1, rows = params->count[i] / columns;
        float *part = calloc((size_t)params->count[i], sizeof *part);
        int64_t step = 1;
        for (int64_t first = 0; first < rows; first += step, step = step * 2 + 1) {
            int64_t n = rows - first < step ? rows - first : step;
            assert_success(keras_read_rows(file, ops->param[i].layer, ops->param[i].weight, first, n,
                                           part + first * columns));
        }
        assert_memory_equal(part, params_at(params, i), (size_t)params->count[i] * sizeof *part);
        free(part);
    }
    assert_int_equal(keras_bytes_read(file), floats * 8);
    params_destroy(&params);
    opgraph_destroy(&ops);
    keras_close(&file);
    assert_null(file);
}

static void mobilenet_v2_of_keras3(void **state) {
    (void)state;
    struct graph *graph = NULL;
    read_both_ways(shared("keras3/mobilenet_v2.h5"), &graph);
    struct graph_counts counts;
    assert_success(graph_count(graph, &counts));
    assert_int_equal(graph->keras_version, 3);
    assert_false(graph->sequential);
    assert_string_equal(graph->name, "mobilenetv2_0.35_64");
    assert_int_equal(graph->ninputs, 1);
    assert_int_equal(graph->noutputs, 1);
    /* Elements of the file's datasets (h5ls), and those of moving_mean and moving_variance. */
    assert_int_equal(counts.params, 423018);
    assert_int_equal(counts.params - counts.trainable, 14080);
    graph_destroy(&graph);
}

static void xception_of_keras2(void **state) {
    (void)state;
    struct graph *graph = NULL;
    read_both_ways(shared("fer2013_big_XCEPTION.hdf5"), &graph);
    assert_int_equal(graph->keras_version, 2);
    struct graph_counts counts;
    assert_success(graph_count(graph, &counts));
    assert_int_equal(counts.params, 208871);
    assert_int_equal(counts.params - counts.trainable, 2496);
    graph_destroy(&graph);
}

static void sequential_of_keras3(void **state) {
    (void)state;
    struct graph *graph = NULL;
    read_both_ways(shared("keras3/seq_cnn.h5"), &graph);
    assert_true(graph->sequential);
    assert_int_equal(graph->nlayers, 11);
    const struct layer *pad = &graph->layer[2];
    struct attr *padding = layer_attr(pad, "padding");
    static const int64_t expected[] = {1, 0, 2, 1};
    assert_int_equal(padding->u.ints.n, 4);
    assert_memory_equal(padding->u.ints.v, expected, sizeof expected);
    graph_destroy(&graph);
}

/* Layers inside layers, with their options and weights. */
static void lstm_text_of_keras3(void **state) {
    (void)state;
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    float row[32];
    assert_success(keras_open(shared("keras3/lstm_text.h5"), NULL, &file, &graph));
    const struct layer *both = &graph->layer[graph_find_layer(graph, "bidirectional")],
                       *gru = &graph->layer[graph_find_layer(graph, "gru")];
    const struct layer *forward = layer_attr(both, "layer")->u.layer,
                       *backward = layer_attr(both, "backward_layer")->u.layer;
    assert_string_equal(forward->kind->class_name, "LSTM");
    assert_int_equal(layer_int(forward, "units"), 8);
    assert_true(layer_bool(forward, "return_sequences") && !layer_bool(forward, "go_backwards"));
    assert_true(layer_bool(backward, "go_backwards"));
    assert_string_equal(layer_string(both, "merge_mode"), "concat");
    assert_int_equal(both->nweights, 6);
    assert_true(layer_bool(gru, "reset_after") && !layer_bool(gru, "return_sequences"));
    assert_true(shape_equal(&gru->weight[2].shape, &SHAPE(2, 21)));
    /* The backward kernel is the fourth weight of the layer. */
    assert_success(keras_read_rows(file, graph_find_layer(graph, "bidirectional"), 3, 15, 1, row));
    hid_t hdf5 = H5Fopen(shared("keras3/lstm_text.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t dataset = H5Dopen2(hdf5, "model_weights/bidirectional/bidirectional/backward_lstm/lstm_cell/kernel",
                             H5P_DEFAULT);
    float kernel[16][32];
    assert_true(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, kernel) >= 0);
    H5Dclose(dataset);
    H5Fclose(hdf5);
    assert_memory_equal(row, kernel[15], sizeof row);
    keras_close(&file);
    graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mobilenet_v2_of_keras3),
        cmocka_unit_test(xception_of_keras2),
        cmocka_unit_test(sequential_of_keras3),
        cmocka_unit_test(lstm_text_of_keras3),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
