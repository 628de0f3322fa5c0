/* Models written: read again, complete or absent, in Keras's order. */
#include "io/keras.h"

#include "io/io_testing.h"

#include <hdf5.h>
#include <math.h>
#include <sys/mount.h>
#include <sys/stat.h>

static const char *const models[] = {"keras3/seq_cnn.h5", "keras3/mobilenet_v2.h5",
                                     "fer2013_big_XCEPTION.hdf5"};
#define NMODELS (sizeof models / sizeof *models)

static const char *shared(const char *name) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/models/%s", GODWIT_SHARED_DIR, name);
    if (access(path, R_OK) == 0) return path;
    print_message("[   SKIP   ] %s is absent\n", path);
    skip();
    return NULL;
}

static void load(const char *path, struct graph **graph, struct params **params) {
    struct keras_file *file = NULL;
    struct opgraph *ops = NULL;
    assert_success(keras_open(path, NULL, &file, graph));
    assert_success(graph_lower(*graph, &ops, NULL));
    assert_success(params_create(ops, params));
    assert_success(keras_read_params(file, *params));
    opgraph_destroy(&ops);
    keras_close(&file);
}

static void assert_same_graph(const struct graph *a, const struct graph *b) {
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->sequential, b->sequential);
    assert_int_equal(a->keras_version, b->keras_version);
    assert_int_equal(a->nlayers, b->nlayers);
    assert_int_equal(a->nnodes, b->nnodes);
    assert_int_equal(a->ninputs, b->ninputs);
    assert_int_equal(a->noutputs, b->noutputs);
    for (int l = 0; l < a->nlayers; l++) {
        const struct layer *x = &a->layer[l], *y = &b->layer[l];
        assert_string_equal(x->name, y->name);
        assert_ptr_equal(x->kind, y->kind);
        assert_int_equal(x->trainable, y->trainable);
        for (int i = 0; i < x->kind->nattrs; i++)
            assert_true(attr_equal(&x->kind->attrs[i], &x->attr[i], &y->attr[i]));
    }
    for (int i = 0; i < a->nnodes; i++) {
        assert_int_equal(a->node[i].layer, b->node[i].layer);
        assert_int_equal(a->node[i].nin, b->node[i].nin);
        assert_memory_equal(a->node[i].in, b->node[i].in, (size_t)a->node[i].nin * sizeof *a->node[i].in);
    }
    assert_memory_equal(a->output, b->output, (size_t)a->noutputs * sizeof *a->output);
    assert_memory_equal(a->input, b->input, (size_t)a->ninputs * sizeof *a->input);
}

static void what_is_written_is_read(void **state) {
    (void)state;
    for (size_t m = 0; m < NMODELS; m++) {
        struct graph *graph = NULL, *again = NULL;
        struct params *params = NULL, *params_again = NULL;
        const char *path = in_folder("model.h5");
        load(shared(models[m]), &graph, &params);
        assert_success(keras_write(path, graph, params, m ? "{\"mode\": \"scale\"}" : NULL));
        assert_int_equal(count_entries(test_folder), 1);
        load(path, &again, &params_again);
        assert_same_graph(graph, again);
        assert_int_equal(params->total, params_again->total);
        assert_memory_equal(params->data, params_again->data, (size_t)params->total * sizeof *params->data);

        struct keras_file *file = NULL;
        char *preprocessing = NULL;
        graph_destroy(&again);
        assert_success(keras_open(path, NULL, &file, &again));
        assert_success(keras_read_preprocessing(file, &preprocessing));
        if (m) assert_string_equal(preprocessing, "{\"mode\": \"scale\"}");
        else assert_null(preprocessing);
        free(preprocessing);
        keras_close(&file);
        graph_destroy(&graph);
        graph_destroy(&again);
        params_destroy(&params);
        params_destroy(&params_again);
    }
}

/* Keras assigns weights by the order of layers alone, and derives that order from the graph. Its own files
 * list layers in it, so a graph with its layers reversed must be written in the order of Keras's file. */
static void layers_are_in_keras_order(void **state) {
    (void)state;
    for (size_t m = 1; m < NMODELS; m++) {
        struct graph *graph = NULL, *reversed = NULL, *again = NULL;
        struct params *params = NULL;
        load(shared(models[m]), &graph, &params);
        assert_success(graph_create("reversed", &reversed));
        for (int l = graph->nlayers - 1; l >= 0; l--) {
            struct layer copy;
            assert_success(layer_copy(&graph->layer[l], graph->layer[l].name, &copy));
            assert_success(graph_add_layer(reversed, &copy, NULL));
        }
        for (int i = 0; i < graph->nnodes; i++)
            assert_success(graph_add_node(reversed, graph->nlayers - 1 - graph->node[i].layer,
                                          graph->node[i].nin, graph->node[i].in, NULL));
        for (int i = 0; i < graph->ninputs; i++) assert_success(graph_add_input(reversed, graph->input[i]));
        for (int i = 0; i < graph->noutputs; i++)
            assert_success(graph_add_output(reversed, graph->output[i]));
        assert_success(graph_infer(reversed));
        char *json = NULL;
        assert_success(keras_graph_to_json(reversed, &json));
        assert_success(keras_graph_from_json(json, &again));
        assert_int_equal(again->nlayers, graph->nlayers);
        for (int l = 0; l < graph->nlayers; l++)
            assert_string_equal(again->layer[l].name, graph->layer[l].name);
        free(json);
        graph_destroy(&graph);
        graph_destroy(&reversed);
        graph_destroy(&again);
        params_destroy(&params);
    }
}

static const char two_in_two_out[] =
    "{\"class_name\": \"Functional\", \"config\": {\"name\": \"m\", \"layers\": ["
    "{\"class_name\": \"InputLayer\", \"name\": \"a\", \"inbound_nodes\": [], \"config\": {\"name\": \"a\", "
    "\"batch_input_shape\": [null, 3]}},"
    "{\"class_name\": \"InputLayer\", \"name\": \"b\", \"inbound_nodes\": [], \"config\": {\"name\": \"b\", "
    "\"batch_input_shape\": [null, 3]}},"
    "{\"class_name\": \"Dense\", \"name\": \"both\", \"config\": {\"name\": \"both\", \"units\": 4, "
    "\"trainable\": false},"
    " \"inbound_nodes\": [[[\"a\", 0, 0, {}]], [[\"b\", 0, 0, {}]]]},"
    "{\"class_name\": \"Add\", \"name\": \"sum\", \"config\": {\"name\": \"sum\"},"
    " \"inbound_nodes\": [[[\"both\", 0, 0, {}], [\"both\", 1, 0, {}]]]}],"
    "\"input_layers\": [[\"b\", 0, 0], [\"a\", 0, 0]], \"output_layers\": [[\"sum\", 0, 0], [\"both\", 1, "
    "0]]}}";

static struct params *random_params(const struct graph *graph) {
    struct opgraph *ops = NULL;
    struct params *params = NULL;
    assert_success(graph_lower(graph, &ops, NULL));
    assert_success(params_create(ops, &params));
    for (int i = 0; i < params->n; i++)
        for (int64_t k = 0; k < params->count[i]; k++)
            params_at(params, i)[k] = (float)(i + 1) + (float)k / 64;
    opgraph_destroy(&ops);
    return params;
}

/* A layer called twice, inputs in another order than the layers, a frozen layer. */
static void shared_layers_are_written(void **state) {
    (void)state;
    struct graph *graph = NULL, *again = NULL;
    struct params *params_again = NULL;
    assert_success(keras_graph_from_json(two_in_two_out, &graph));
    struct params *params = random_params(graph);
    assert_int_equal(params->n, 2);
    assert_int_equal(graph->nnodes, 5);
    assert_success(keras_write(in_folder("m.h5"), graph, params, NULL));
    load(in_folder("m.h5"), &again, &params_again);
    assert_int_equal(again->nlayers, 4);
    assert_int_equal(again->nnodes, 5);
    const struct node *sum = &again->node[again->output[0].node],
                      *second = &again->node[again->output[1].node];
    assert_string_equal(again->layer[sum->layer].name, "sum");
    assert_int_equal(sum->nin, 2);
    assert_int_equal(sum->in[1].node, again->output[1].node);
    assert_string_equal(again->layer[again->node[second->in[0].node].layer].name, "b");
    assert_string_equal(again->layer[again->node[again->input[0].node].layer].name, "b");
    assert_false(again->layer[second->layer].trainable);
    assert_memory_equal(params->data, params_again->data, (size_t)params->total * sizeof *params->data);
    graph_destroy(&graph);
    graph_destroy(&again);
    params_destroy(&params);
    params_destroy(&params_again);
}

/* Rows of a convolution's kernel in pieces that cross its axes, written out of order. */
static void rows_come_in_any_order(void **state) {
    (void)state;
    struct graph *graph = NULL, *again = NULL;
    struct params *params = NULL, *params_again = NULL;
    struct keras_writer *writer = NULL;
    load(shared(models[0]), &graph, &params);
    assert_success(keras_writer_create(in_folder("m.h5"), graph, NULL, &writer));
    for (int pass = 0; pass < 2; pass++)
        for (int l = 0; l < graph->nlayers; l++)
            for (int w = 0; w < graph->layer[l].nweights; w++) {
                const struct shape *shape = &graph->layer[l].weight[w].shape;
                int i = graph_first_param(graph, l) + w;
                int64_t columns = shape->dim[shape->rank - 1], rows = params->count[i] / columns;
                for (int64_t first = pass * 5; first < rows; first += 10) {
                    int64_t n = rows - first < 5 ? rows - first : 5;
                    assert_success(
                        keras_writer_rows(writer, l, w, first, n, params_at(params, i) + first * columns));
                }
            }
    assert_success(keras_writer_commit(&writer));
    assert_null(writer);
    load(in_folder("m.h5"), &again, &params_again);
    assert_memory_equal(params->data, params_again->data, (size_t)params->total * sizeof *params->data);
    graph_destroy(&graph);
    graph_destroy(&again);
    params_destroy(&params);
    params_destroy(&params_again);
}

static void incomplete_models_are_not_left(void **state) {
    (void)state;
    struct graph *graph = NULL;
    struct keras_writer *writer = NULL;
    assert_success(keras_graph_from_json(two_in_two_out, &graph));
    struct params *params = random_params(graph);

    assert_success(keras_writer_create(in_folder("m.h5"), graph, NULL, &writer));
    assert_success(keras_writer_rows(writer, 2, 0, 0, 3, params_at(params, 0)));
    assert_error(keras_writer_commit(&writer), STATUS_INTERNAL, "bias");
    assert_int_equal(count_entries(test_folder), 0);

    assert_success(keras_writer_create(in_folder("m.h5"), graph, NULL, &writer));
    assert_error(keras_writer_rows(writer, 2, 0, 2, 2, params_at(params, 0)), STATUS_INTERNAL, "rows");
    keras_writer_abandon(&writer);
    assert_null(writer);
    assert_int_equal(count_entries(test_folder), 0);

    params_at(params, 0)[7] = NAN;
    assert_error(keras_write(in_folder("m.h5"), graph, params, NULL), STATUS_DATA, "NaN at element 7");
    assert_int_equal(count_entries(test_folder), 0);

    /* An older file stays as it is. */
    write_bytes(in_folder("old.h5"), "old", 3);
    assert_error(keras_write(in_folder("old.h5"), graph, params, NULL), STATUS_DATA, "NaN");
    struct stat info;
    assert_int_equal(stat(in_folder("old.h5"), &info), 0);
    assert_int_equal(info.st_size, 3);
    params_at(params, 0)[7] = 0;
    assert_error(keras_write(in_folder("absent/m.h5"), graph, params, NULL), STATUS_IO, "absent");
    graph_destroy(&graph);
    params_destroy(&params);
}

/* File systems too small for the model at every stage of writing it: its frame, its weights, the last flush.
 */
static void a_full_disk_leaves_nothing(void **state) {
    (void)state;
    struct graph *graph = NULL;
    struct params *params = NULL;
    struct stat info;
    load(shared("fer2013_big_XCEPTION.hdf5"), &graph, &params);
    assert_success(keras_write(in_folder("m.h5"), graph, params, NULL));
    assert_int_equal(stat(in_folder("m.h5"), &info), 0);
    int whole = (int)(info.st_size / 4096 + 1);
    for (int pages = 1; pages < whole; pages += pages < whole - 12 ? whole / 16 : 1) {
        char *folder = in_folder("small"), options[32];
        mkdir(folder, 0777);
        snprintf(options, sizeof options, "size=%dk", 4 * pages);
        if (mount("tmpfs", folder, "tmpfs", 0, options) != 0) {
            print_message("[   SKIP   ] a small file system cannot be mounted here\n");
            graph_destroy(&graph);
            params_destroy(&params);
            skip();
        }
        status error = keras_write(in_folder("small/m.h5"), graph, params, NULL);
        int left = count_entries(folder);
        umount(folder);
        assert_error(error, STATUS_IO, "No space left on device");
        assert_int_equal(left, 0);
        assert_int_equal(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
    }
    graph_destroy(&graph);
    params_destroy(&params);
}

/* More names than one attribute holds. */
static void many_layers_are_listed_in_parts(void **state) {
    (void)state;
    struct graph *graph = NULL, *again = NULL;
    struct keras_file *file = NULL;
    enum { N = 9000 };
    char *json = malloc(N * 100), *end = json;
    end += sprintf(end, "{\"class_name\": \"Sequential\", \"config\": [{\"class_name\": \"Dense\", "
                        "\"config\": {\"units\": 2, \"batch_input_shape\": [null, 3]}}");
    for (int i = 0; i < N; i++)
        end += sprintf(end, ",{\"class_name\": \"Flatten\", \"config\": {\"name\": \"flatten_%d\"}}", i);
    strcpy(end, "]}");
    assert_success(keras_graph_from_json(json, &graph));
    struct params *params = random_params(graph);
    assert_success(keras_write(in_folder("m.h5"), graph, params, NULL));
    assert_success(keras_open(in_folder("m.h5"), NULL, &file, &again));
    assert_int_equal(again->nlayers, N + 2);
    keras_close(&file);
    hid_t id = H5Fopen(in_folder("m.h5"), H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(H5Aexists_by_name(id, "model_weights", "layer_names0", H5P_DEFAULT) > 0);
    assert_true(H5Aexists_by_name(id, "model_weights", "layer_names2", H5P_DEFAULT) > 0);
    assert_int_equal(H5Aexists_by_name(id, "model_weights", "layer_names", H5P_DEFAULT), 0);
    H5Fclose(id);
    graph_destroy(&graph);
    graph_destroy(&again);
    params_destroy(&params);
    free(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(what_is_written_is_read),         IN_FOLDER(layers_are_in_keras_order),
        IN_FOLDER(shared_layers_are_written),       IN_FOLDER(rows_come_in_any_order),
        IN_FOLDER(incomplete_models_are_not_left),  IN_FOLDER(a_full_disk_leaves_nothing),
        IN_FOLDER(many_layers_are_listed_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
