/* Models that we write, computed by TensorFlow.js and by every engine. */
#include "io/keras.h"
#include "worker/engine.h"

#include "io/io_testing.h"

#include <hdf5.h>
#include <math.h>

#define TOLERANCE 1e-4 /* of the largest output */
#define BATCH 3
#define MAX_ENDS 4

/* Branches of different depth, a layer that is called twice, two inputs and outputs, weights of every kind.
 * The layers are not in Keras's order. */
static const char branches[] =
    "{\"class_name\": \"Functional\", \"config\": {\"name\": \"branches\", \"layers\": ["
    "{\"class_name\": \"Dense\", \"name\": \"twice\", \"config\": {\"units\": 6, \"activation\": \"tanh\"},"
    " \"inbound_nodes\": [[[\"left_flat\", 0, 0, {}]], [[\"b\", 0, 0, {}]]]},"
    "{\"class_name\": \"Softmax\", \"name\": \"first\", \"config\": {}, \"inbound_nodes\": [[[\"twice\", 0, "
    "0, {}]]]},"
    "{\"class_name\": \"Concatenate\", \"name\": \"joined\", \"config\": {\"axis\": -1},"
    " \"inbound_nodes\": [[[\"twice\", 1, 0, {}], [\"right_mean\", 0, 0, {}], [\"twice\", 0, 0, {}]]]},"
    "{\"class_name\": \"Dense\", \"name\": \"second\", \"config\": {\"units\": 4, \"use_bias\": false, "
    "\"activation\": \"sigmoid\"},"
    " \"inbound_nodes\": [[[\"joined\", 0, 0, {}]]]},"
    "{\"class_name\": \"GlobalAveragePooling2D\", \"name\": \"right_mean\", \"config\": {}, "
    "\"inbound_nodes\": [[[\"sum\", 0, 0, {}]]]},"
    "{\"class_name\": \"Add\", \"name\": \"sum\", \"config\": {},"
    " \"inbound_nodes\": [[[\"right_leaky\", 0, 0, {}], [\"right_short\", 0, 0, {}], [\"product\", 0, 0, "
    "{}]]]},"
    "{\"class_name\": \"Multiply\", \"name\": \"product\", \"config\": {},"
    " \"inbound_nodes\": [[[\"right_leaky\", 0, 0, {}], [\"right_short\", 0, 0, {}]]]},"
    "{\"class_name\": \"Conv2D\", \"name\": \"right_short\", \"config\": {\"filters\": 6, \"kernel_size\": "
    "[1, 1], \"use_bias\": false},"
    " \"inbound_nodes\": [[[\"a\", 0, 0, {}]]]},"
    "{\"class_name\": \"LeakyReLU\", \"name\": \"right_leaky\", \"config\": {\"negative_slope\": 0.2}, "
    "\"inbound_nodes\": [[[\"right_norm\", 0, 0, {}]]]},"
    "{\"class_name\": \"BatchNormalization\", \"name\": \"right_norm\", \"config\": {\"scale\": false, "
    "\"epsilon\": 0.01},"
    " \"inbound_nodes\": [[[\"right_depth\", 0, 0, {}]]]},"
    "{\"class_name\": \"DepthwiseConv2D\", \"name\": \"right_depth\", \"config\": {\"kernel_size\": [3, 2], "
    "\"depth_multiplier\": 2, \"padding\": \"same\"},"
    " \"inbound_nodes\": [[[\"a\", 0, 0, {}]]]},"
    "{\"class_name\": \"Flatten\", \"name\": \"left_flat\", \"config\": {}, \"inbound_nodes\": "
    "[[[\"left_relu\", 0, 0, {}]]]},"
    "{\"class_name\": \"ReLU\", \"name\": \"left_relu\", \"config\": {\"max_value\": 0.75}, "
    "\"inbound_nodes\": [[[\"left_pool\", 0, 0, {}]]]},"
    "{\"class_name\": \"AveragePooling2D\", \"name\": \"left_pool\", \"config\": {\"pool_size\": [3, 3], "
    "\"strides\": [3, 4], \"padding\": \"same\"},"
    " \"inbound_nodes\": [[[\"left_norm\", 0, 0, {}]]]},"
    "{\"class_name\": \"BatchNormalization\", \"name\": \"left_norm\", \"config\": {\"axis\": [3]}, "
    "\"inbound_nodes\": [[[\"left_sep\", 0, 0, {}]]]},"
    "{\"class_name\": \"SeparableConv2D\", \"name\": \"left_sep\", \"config\": {\"filters\": 5, "
    "\"kernel_size\": [3, 3], \"strides\": [2, 2], \"depth_multiplier\": 2},"
    " \"inbound_nodes\": [[[\"left_pad\", 0, 0, {}]]]},"
    "{\"class_name\": \"ZeroPadding2D\", \"name\": \"left_pad\", \"config\": {\"padding\": [[1, 0], [2, "
    "1]]}, \"inbound_nodes\": [[[\"left_conv\", 0, 0, {}]]]},"
    "{\"class_name\": \"Conv2D\", \"name\": \"left_conv\", \"config\": {\"filters\": 4, \"kernel_size\": [3, "
    "5], \"padding\": \"same\", \"dilation_rate\": [2, 1], \"activation\": \"relu\"},"
    " \"inbound_nodes\": [[[\"left_up\", 0, 0, {}]]]},"
    "{\"class_name\": \"UpSampling2D\", \"name\": \"left_up\", \"config\": {\"size\": [2, 1]}, "
    "\"inbound_nodes\": [[[\"a\", 0, 0, {}]]]},"
    "{\"class_name\": \"InputLayer\", \"name\": \"b\", \"config\": {\"name\": \"b\", \"batch_input_shape\": "
    "[null, 30]}, \"inbound_nodes\": []},"
    "{\"class_name\": \"InputLayer\", \"name\": \"a\", \"config\": {\"name\": \"a\", \"batch_input_shape\": "
    "[null, 7, 9, 3]}, \"inbound_nodes\": []}],"
    "\"input_layers\": [[\"a\", 0, 0], [\"b\", 0, 0]], \"output_layers\": [[\"first\", 0, 0], [\"second\", "
    "0, 0]]}}";

static char *peers(void) {
    const char *folder = getenv("GODWIT_PEERS");
    return strdup(folder ? folder : GODWIT_SOURCE_DIR "/build/peers");
}

static float *read_values(hid_t file, const char *name, int64_t *n) {
    hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT), space = H5Dget_space(dataset);
    *n = H5Sget_simple_extent_npoints(space);
    float *values = malloc((size_t)*n * sizeof *values);
    assert_true(H5Dread(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Sclose(space);
    H5Dclose(dataset);
    return values;
}

static void compare(const struct engine *engine, const struct opgraph *ops, struct params *params,
                    const float *const *x, const char *answers) {
    struct exec *exec = NULL;
    struct exec_options options = {.batch = BATCH, .mode = EXEC_INFER, .threads = 1};
    assert_success(engine->compile(ops, &options, &exec));
    assert_success(exec_set_params(exec, params));
    assert_success(exec_forward(exec, x));
    hid_t file = H5Fopen(answers, H5F_ACC_RDONLY, H5P_DEFAULT);
    for (int i = 0; i < ops->noutputs; i++) {
        char name[16];
        int64_t n;
        double largest = 0, difference = 0;
        snprintf(name, sizeof name, "y%d", i);
        float *y = read_values(file, name, &n);
        assert_int_equal(n, BATCH * shape_sample_count(&ops->value[ops->output[i]]));
        const float *out = exec_output(exec, i);
        for (int64_t k = 0; k < n; k++) {
            if (fabs((double)y[k]) > largest) largest = fabs((double)y[k]);
            double d = fabs((double)out[k] - (double)y[k]);
            if (!(d <= difference)) difference = d; /* NaN counts */
        }
        print_message("%s, output %d: max|d| %.2e, max|y| %.3g\n", engine->name, i, difference, largest);
        assert_true(largest > 0);
        assert_true(difference <= TOLERANCE * largest);
        free(y);
    }
    H5Fclose(file);
    exec_destroy(&exec);
}

/* Writes the model, lets TensorFlow.js compute it and compares. */
static void check_model(const struct graph *graph, struct params *params, const struct opgraph *ops) {
    char command[2048];
    char *folder = peers();
    const char *model = in_folder("model.h5"), *answers = in_folder("answers.h5");
    assert_success(keras_write(model, graph, params, NULL));
    snprintf(command, sizeof command, "node '%s/tests/io/keras_oracle.mjs' '%s' '%s' '%s' %d >'%s' 2>&1",
             GODWIT_SOURCE_DIR, folder, model, answers, BATCH, in_folder("log"));
    if (system(command) != 0) {
        snprintf(command, sizeof command, "tail -n 20 '%s'", in_folder("log"));
        system(command);
        fail_msg("TensorFlow.js could not run the model");
    }
    float *x[MAX_ENDS];
    hid_t file = H5Fopen(answers, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_in_range(ops->ninputs, 1, MAX_ENDS);
    for (int i = 0; i < ops->ninputs; i++) {
        char name[16];
        int64_t n;
        snprintf(name, sizeof name, "x%d", i);
        x[i] = read_values(file, name, &n);
        assert_int_equal(n, BATCH * shape_sample_count(&ops->value[ops->input[i]]));
    }
    H5Fclose(file);
    for (int i = 0; i < engine_count(); i++)
        compare(engine_at(i), ops, params, (const float *const *)x, answers);
    for (int i = 0; i < ops->ninputs; i++) free(x[i]);
    free(folder);
}

/* Of the models there, those whose layers TensorFlow.js has: no grouped convolution, attention, or GRU that
 * resets after. */
static void models_of_keras_written_again(void **state) {
    (void)state;
    static const struct {
        const char *path, *topology; /* NULL: its own */
    } models[] = {{"keras3/seq_cnn.h5", NULL},
                  {"keras3/seq_cnn.keras", NULL},
                  {"keras3/mobilenet_v2.h5", NULL},
                  {"keras3/mobilenet_v2.keras", NULL},
                  {"keras3/mobilenet_v2.weights.h5", "keras3/mobilenet_v2.keras"},
                  {"fer2013_big_XCEPTION.hdf5", NULL}};
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        char path[1024], topology[1024];
        struct keras_options options = {.topology = models[m].topology ? topology : NULL};
        struct keras_file *file = NULL;
        struct graph *graph = NULL;
        struct opgraph *ops = NULL;
        struct params *params = NULL;
        snprintf(path, sizeof path, "%s/models/%s", GODWIT_SHARED_DIR, models[m].path);
        snprintf(topology, sizeof topology, "%s/models/%s", GODWIT_SHARED_DIR,
                 models[m].topology ? models[m].topology : "");
        print_message("%s\n", models[m].path);
        if (access(path, R_OK) != 0) {
            print_message("[   SKIP   ] it is absent\n");
            continue;
        }
        assert_success(keras_open(path, &options, &file, &graph));
        assert_success(graph_lower(graph, &ops, NULL));
        assert_success(params_create(ops, &params));
        assert_success(keras_read_params(file, params));
        check_model(graph, params, ops);
        params_destroy(&params);
        opgraph_destroy(&ops);
        graph_destroy(&graph);
        keras_close(&file);
    }
}

static void layers_of_all_kinds_of_weights(void **state) {
    (void)state;
    struct graph *graph = NULL;
    struct opgraph *ops = NULL;
    struct params *params = NULL;
    assert_success(keras_graph_from_json(branches, &graph));
    assert_success(graph_lower(graph, &ops, NULL));
    assert_success(params_create(ops, &params));
    /* Different everywhere, so that none can be mistaken for another. */
    for (int i = 0; i < params->n; i++) {
        const struct weight *weight = &graph->layer[ops->param[i].layer].weight[ops->param[i].weight];
        float least = strstr(weight->name, "variance") ? 0.5f : -0.4f;
        for (int64_t k = 0; k < params->count[i]; k++)
            params_at(params, i)[k] = least + (float)((unsigned)(k * 7919 + i * 104729) % 1000u) / 1250.0f;
    }
    check_model(graph, params, ops);
    params_destroy(&params);
    opgraph_destroy(&ops);
    graph_destroy(&graph);
}

int main(void) {
    char *folder = peers(), path[1024];
    snprintf(path, sizeof path, "%s/node_modules/h5wasm", folder);
    if (access(path, R_OK) != 0) {
        printf("skipped: %s is absent; scripts/install_peers.sh installs it\n", path);
        free(folder);
        return 77;
    }
    free(folder);
    const struct CMUnitTest tests[] = {
        IN_FOLDER(models_of_keras_written_again),
        IN_FOLDER(layers_of_all_kinds_of_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
