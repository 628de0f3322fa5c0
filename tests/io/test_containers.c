/* The same model in every container that Keras writes, and in those that we write. */
#include "io/io_testing.h"

#include "io/keras_testing.h"

#include <hdf5.h>

static const char *const models[] = {"seq_cnn", "graph_mix", "lstm_text", "transformer", "mobilenet_v2"};
#define NMODELS (sizeof models / sizeof *models)

static const char *keras3(const char *name, const char *extension) {
    char path[256];
    snprintf(path, sizeof path, "keras3/%s%s", name, extension);
    return shared_model(path);
}

/* Loads a model of Keras 3 from its whole-model HDF5; false if it cannot be, which is said. */
static bool load_reference(const char *name, struct graph **graph, struct params **params) {
    const char *path = keras3(name, ".h5");
    if (!path) return false;
    status error = load_model(path, NULL, graph, params);
    if (status_code(error) == STATUS_UNSUPPORTED) {
        print_message("[   SKIP   ] %s\n", status_message(error));
        status_drop(&error);
        return false;
    }
    assert_success(error);
    return true;
}

static void assert_loads_as(const char *path, const struct keras_options *options, const struct graph *graph,
                            const struct params *params) {
    struct graph *other = NULL;
    struct params *other_params = NULL;
    print_message("%s\n", path);
    assert_success(load_model(path, options, &other, &other_params));
    assert_same_graph(graph, other);
    assert_same_params(params, other_params);
    graph_destroy(&other);
    params_destroy(&other_params);
}

static void keras3_writes_the_same_model(void **state) {
    (void)state;
    for (size_t m = 0; m < NMODELS; m++) {
        struct graph *graph = NULL;
        struct params *params = NULL;
        if (!load_reference(models[m], &graph, &params)) continue;
        const char *archive = keras3(models[m], ".keras"), *weights = keras3(models[m], ".weights.h5");
        assert_loads_as(archive, NULL, graph, params);
        assert_loads_as(weights, &(struct keras_options){.topology = keras3(models[m], ".h5")}, graph,
                        params);
        assert_loads_as(weights, &(struct keras_options){.topology = archive}, graph, params);
        graph_destroy(&graph);
        params_destroy(&params);
    }
}

static void what_we_write_is_the_same_model(void **state) {
    (void)state;
    for (size_t m = 0; m < NMODELS; m++) {
        struct graph *graph = NULL;
        struct params *params = NULL;
        if (!load_reference(models[m], &graph, &params)) continue;
        assert_success(keras_write(in_folder("m.h5"), graph, params, NULL));
        assert_loads_as(in_folder("m.h5"), NULL, graph, params);
        assert_success(keras_write_archive(in_folder("m.keras"), graph, params, "{\"mode\": \"scale\"}"));
        assert_loads_as(in_folder("m.keras"), NULL, graph, params);
        assert_int_equal(count_entries(test_folder), 2);
        graph_destroy(&graph);
        params_destroy(&params);
    }
}

/* ---- what Keras finds in our archives ---- */

/* Cuts the HDF5 file out of an archive: entries are stored, the directory comes last. */
static void cut_weights(const char *archive, const char *to) {
    FILE *file = fopen(archive, "rb");
    size_t room = (size_t)64 << 20;
    unsigned char *all = malloc(room);
    size_t n = fread(all, 1, room, file);
    fclose(file);
    unsigned char *from = memmem(all, n, "\x89HDF\r\n", 6), *end = memmem(all, n, "PK\1\2", 4);
    assert_true(from && end && end > from);
    write_bytes(to, from, (size_t)(end - from));
    free(all);
}

struct comparison {
    hid_t other;
    int ndatasets;
};

/* Each dataset, and each group's name, is in the other file too, with the same values. */
static herr_t compare_object(hid_t file, const char *path, const H5O_info_t *info, void *data) {
    struct comparison *c = data;
    if (info->type != H5O_TYPE_DATASET) return 0;
    c->ndatasets++;
    if (c->other < 0) return 0;
    hid_t a = H5Dopen2(file, path, H5P_DEFAULT), b = H5Dopen2(c->other, path, H5P_DEFAULT);
    if (b < 0) fail_msg("%s is missing", path);
    hid_t space = H5Dget_space(a), other_space = H5Dget_space(b);
    if (H5Sextent_equal(space, other_space) <= 0) fail_msg("%s has another shape", path);
    size_t n = (size_t)H5Sget_simple_extent_npoints(space);
    float *values = calloc(2 * n, sizeof *values);
    assert_true(H5Dread(a, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    assert_true(H5Dread(b, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values + n) >= 0);
    if (memcmp(values, values + n, n * sizeof *values) != 0) fail_msg("%s has other values", path);
    free(values);
    H5Sclose(space);
    H5Sclose(other_space);
    H5Dclose(a);
    H5Dclose(b);
    return 0;
}

static int count_datasets(const char *path, hid_t other) {
    struct comparison c = {.other = other};
    hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_true(H5Ovisit(file, H5_INDEX_NAME, H5_ITER_INC, compare_object, &c) >= 0);
    H5Fclose(file);
    return c.ndatasets;
}

/* Keras looks for a layer's variables by path alone: they have to be where Keras itself puts them. */
static void variables_are_where_keras_puts_them(void **state) {
    (void)state;
    for (size_t m = 0; m < NMODELS; m++) {
        struct graph *graph = NULL;
        struct params *params = NULL;
        if (!load_reference(models[m], &graph, &params)) continue;
        const char *keras = keras3(models[m], ".weights.h5"), *ours = in_folder("ours.h5");
        print_message("%s\n", models[m]);
        assert_success(keras_write_archive(in_folder("m.keras"), graph, params, NULL));
        cut_weights(in_folder("m.keras"), ours);
        hid_t file = H5Fopen(ours, H5F_ACC_RDONLY, H5P_DEFAULT);
        int n = count_datasets(keras, file);
        H5Fclose(file);
        assert_true(n > 0);
        assert_int_equal(count_datasets(ours, -1), n);
        graph_destroy(&graph);
        params_destroy(&params);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keras3_writes_the_same_model),
        IN_FOLDER(what_we_write_is_the_same_model),
        IN_FOLDER(variables_are_where_keras_puts_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
