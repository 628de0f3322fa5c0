/* The same model in every container that Keras writes, and in those that we write. */
#include "io/io_testing.h"

#include "io/keras_testing.h"

#include <sys/stat.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keras3_writes_the_same_model),
        IN_FOLDER(what_we_write_is_the_same_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
