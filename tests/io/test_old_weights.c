/* Weights as Keras 1, Theano and cuDNN's layers kept them, in files of weights alone, against the formulas of
 * Keras's own conversion (preprocess_weights_for_loading in tf_keras/saving/legacy/hdf5_format.py). */
#include "io/io_testing.h"

#include "io/hdf5_testing.h"
#include "io/keras_testing.h"

#define MAX_VALUES 4096

/* A file of weights being made: layers hang below its root. */
struct maker {
    hid_t file;
    int nlayers;
    const char *layer[8];
};

static struct maker make(const char *version, const char *backend) {
    struct maker m = {.file = H5Fcreate(in_folder("w.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT)};
    if (version) put_text(m.file, "keras_version", version, false);
    if (backend) put_text(m.file, "backend", backend, false);
    return m;
}

/* A tensor of a layer; dims end with 0. Value k of it is first + k. */
struct tensor_spec {
    const char *name;
    hsize_t dims[5];
    double first;
};

static void put_layer(struct maker *m, const char *layer, int n, const struct tensor_spec *spec) {
    hid_t group = H5Gcreate2(m->file, layer, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const char *names[24];
    for (int i = 0; i < n; i++) {
        double values[MAX_VALUES];
        int rank = 0;
        hsize_t count = 1;
        while (spec[i].dims[rank]) count *= spec[i].dims[rank++];
        assert_in_range(count, 1, MAX_VALUES);
        for (hsize_t k = 0; k < count; k++) values[k] = spec[i].first + (double)k;
        names[i] = spec[i].name;
        put_data(group, names[i], H5T_IEEE_F32LE, H5P_DEFAULT, rank, spec[i].dims, values);
    }
    put_names(group, "weight_names", n, names, false);
    H5Gclose(group);
    m->layer[m->nlayers++] = layer;
}

static void finish(struct maker *m) {
    put_names(m->file, "layer_names", m->nlayers, m->layer, false);
    H5Fclose(m->file);
}

#define MODEL(layers)                                                                                        \
    "{\"class_name\": \"Sequential\", \"keras_version\": \"2.2.4\", \"config\": {\"name\": \"m\", "          \
    "\"layers\": [" layers "]}}"

static status load(const char *topology, struct graph **graph, struct params **params) {
    write_bytes(in_folder("t.json"), topology, strlen(topology));
    return load_model(in_folder("w.h5"), &(struct keras_options){.topology = in_folder("t.json")}, graph,
                      params);
}

/* Loads and gives the weights; the graph is not needed. */
static struct params *load_params(const char *topology) {
    struct graph *graph = NULL;
    struct params *params = NULL;
    assert_success(load(topology, &graph, &params));
    graph_destroy(&graph);
    return params;
}

/* ---- convolutions ---- */

enum { KH = 2, KW = 3, IN = 4, OUT = 5 };

#define CONV                                                                                                 \
    MODEL("{\"class_name\": \"Conv2D\", \"config\": {\"name\": \"c\", \"filters\": 5, \"kernel_size\": [2, " \
          "3], "                                                                                             \
          "\"batch_input_shape\": [null, 8, 8, 4]}}")

static float at(const struct params *params, int y, int x, int i, int o) {
    return params_at(params, 0)[((y * KW + x) * IN + i) * OUT + o];
}

/* Stored (filters, channels, height, width). */
static double theano(int y, int x, int i, int o) {
    return ((o * IN + i) * KH + y) * KW + x;
}

static void kernels_of_keras1(void **state) {
    (void)state;
    static const struct tensor_spec first[] = {{"c_W", {OUT, IN, KH, KW}, 0}, {"c_b", {OUT}, 1000}};
    static const struct tensor_spec last[] = {{"c_W", {KH, KW, IN, OUT}, 0}, {"c_b", {OUT}, 1000}};
    static const char *const backends[] = {"theano", "tensorflow", NULL};
    for (int b = 0; b < 3; b++)
        for (int channels_first = 0; channels_first < 2; channels_first++) {
            struct maker m = make(b == 1 ? "1.2.2" : NULL, backends[b]);
            put_layer(&m, "c", 2, channels_first ? first : last);
            finish(&m);
            struct params *params = load_params(CONV);
            for (int y = 0; y < KH; y++)
                for (int x = 0; x < KW; x++)
                    for (int i = 0; i < IN; i++)
                        for (int o = 0; o < OUT; o++) {
                            int fy = b == 0 ? KH - 1 - y : y, fx = b == 0 ? KW - 1 - x : x;
                            double expected =
                                channels_first ? theano(fy, fx, i, o) : ((fy * KW + fx) * IN + i) * OUT + o;
                            assert_true(at(params, y, x, i, o) == (float)expected);
                        }
            for (int o = 0; o < OUT; o++) assert_true(params_at(params, 1)[o] == (float)(1000 + o));
            params_destroy(&params);
        }
}

/* Keras 2 on Theano stores kernels as all others do, but convolves with them flipped. */
static void kernels_of_keras2_on_theano(void **state) {
    (void)state;
    static const struct tensor_spec spec[] = {{"c/kernel:0", {KH, KW, IN, OUT}, 0},
                                              {"c/bias:0", {OUT}, 1000}};
    struct maker m = make("2.1.6", "theano");
    put_layer(&m, "c", 2, spec);
    finish(&m);
    struct params *params = load_params(CONV);
    for (int y = 0; y < KH; y++)
        for (int x = 0; x < KW; x++)
            for (int i = 0; i < IN; i++)
                for (int o = 0; o < OUT; o++)
                    assert_true(at(params, y, x, i, o) ==
                                (float)((((KH - 1 - y) * KW + KW - 1 - x) * IN + i) * OUT + o));
    params_destroy(&params);

    static const struct tensor_spec turned[] = {{"c/kernel:0", {OUT, IN, KH, KW}, 0},
                                                {"c/bias:0", {OUT}, 1000}};
    struct graph *graph;
    m = make("2.1.6", "theano");
    put_layer(&m, "c", 2, turned);
    finish(&m);
    assert_error(load(CONV, &graph, &params), STATUS_DATA,
                 "has shape (5, 4, 2, 3), but the topology needs (2, 3, 4, 5)");
}

/* ---- recurrent layers ---- */

enum { UNITS = 2, WIDTH = 3 };

#define RECURRENT(class, more)                                                                               \
    "{\"class_name\": \"" class "\", \"config\": {\"name\": \"r\", \"units\": 2, \"batch_input_shape\": "    \
                                "[null, 5, 3]" more "}}"

/* W, U and b of each gate in the order of its letters; values of gate g begin at 100 * g + from. */
static void put_gates(struct maker *m, const char *layer, const char *gates, int copies, double from) {
    static char names[24][16];
    struct tensor_spec spec[24];
    int n = 0;
    for (int c = 0; c < copies; c++)
        for (int g = 0; gates[g]; g++)
            for (int k = 0; k < 3; k++, n++) {
                snprintf(names[n], sizeof names[n], "%d_%c_%c", c, "WUb"[k], gates[g]);
                spec[n] = (struct tensor_spec){.name = names[n], .first = from + 1000 * c + 100 * g + 10 * k};
                if (k < 2) spec[n].dims[0] = k ? UNITS : WIDTH;
                spec[n].dims[k < 2] = UNITS;
            }
    put_layer(m, layer, n, spec);
}

/* Weights 3 * copy .. of a layer: gates side by side; order[g] is the stored gate of gate g. */
static void assert_gates(const struct params *params, int copy, int ngates, const int *order, double from) {
    for (int k = 0; k < 3; k++) {
        const float *weight = params_at(params, 3 * copy + k);
        int rows = k == 0 ? WIDTH : k == 1 ? UNITS : 1;
        for (int i = 0; i < rows; i++)
            for (int g = 0; g < ngates; g++)
                for (int j = 0; j < UNITS; j++)
                    assert_true(weight[(i * ngates + g) * UNITS + j] ==
                                (float)(from + 1000 * copy + 100 * order[g] + 10 * k + i * UNITS + j));
    }
}

static void gates_of_keras1(void **state) {
    (void)state;
    static const int lstm[] = {0, 2, 1, 3}, gru[] = {0, 1, 2}; /* stored i, c, f, o and z, r, h */
    struct maker m = make("1.0.3", NULL);
    put_gates(&m, "r", "icfo", 1, 0.5);
    finish(&m);
    struct params *params = load_params(MODEL(RECURRENT("LSTM", "")));
    assert_gates(params, 0, 4, lstm, 0.5);
    params_destroy(&params);

    m = make(NULL, NULL);
    put_gates(&m, "r", "zrh", 1, 0.25);
    finish(&m);
    params = load_params(MODEL(RECURRENT("GRU", ", \"reset_after\": false")));
    assert_gates(params, 0, 3, gru, 0.25);
    params_destroy(&params);

    m = make("1.2.0", "theano");
    put_gates(&m, "b", "icfo", 2, 0);
    finish(&m);
    params = load_params(
        MODEL("{\"class_name\": \"Bidirectional\", \"config\": {\"name\": \"b\", \"batch_input_shape\": "
              "[null, 5, 3], \"layer\": " RECURRENT("LSTM", "") "}}"));
    assert_gates(params, 0, 4, lstm, 0);
    assert_gates(params, 1, 4, lstm, 0);
    params_destroy(&params);

    struct graph *graph;
    m = make("2.0.5", NULL); /* Keras 2 does not do this */
    put_gates(&m, "r", "icfo", 1, 0);
    finish(&m);
    assert_error(load(MODEL(RECURRENT("LSTM", "")), &graph, &params), STATUS_DATA,
                 "needs 3 weights, and the file has 12");
}

/* The three weights of cuDNN's layer, which the plain layer takes as well. */
static void put_cudnn(struct maker *m, int gates) {
    const hsize_t width = (hsize_t)(gates * UNITS);
    const struct tensor_spec spec[] = {{"r/kernel:0", {WIDTH, width}, 0},
                                       {"r/recurrent_kernel:0", {UNITS, width}, 100},
                                       {"r/bias:0", {2 * width}, 200}};
    put_layer(m, "r", 3, spec);
}

static void weights_of_cudnn(void **state) {
    (void)state;
    static const char *const topologies[] = {MODEL(RECURRENT("LSTM", "")), MODEL(RECURRENT("CuDNNLSTM", "")),
                                             MODEL(RECURRENT("GRU", ", \"reset_after\": true")),
                                             MODEL(RECURRENT("CuDNNGRU", ""))};
    for (int t = 0; t < 4; t++) {
        int gates = t < 2 ? 4 : 3, width = gates * UNITS;
        struct maker m = make("2.2.4", "tensorflow");
        put_cudnn(&m, gates);
        finish(&m);
        struct params *params = load_params(topologies[t]);
        const float *kernel = params_at(params, 0), *recurrent = params_at(params, 1),
                    *bias = params_at(params, 2);
        for (int g = 0; g < gates; g++)
            for (int j = 0; j < UNITS; j++) {
                for (int i = 0; i < WIDTH; i++) { /* k.T.reshape(k.shape, order="F") of each gate's k */
                    int k = j * WIDTH + i;        /* of k's values in order */
                    assert_true(kernel[i * width + g * UNITS + j] ==
                                (float)(k / UNITS * width + g * UNITS + k % UNITS));
                }
                for (int i = 0; i < UNITS; i++)
                    assert_true(recurrent[i * width + g * UNITS + j] ==
                                (float)(100 + j * width + g * UNITS + i));
            }
        if (gates == 4)
            for (int i = 0; i < width; i++) assert_true(bias[i] == (float)(200 + i + 200 + width + i));
        else
            for (int i = 0; i < 2 * width; i++) assert_true(bias[i] == (float)(200 + i));
        params_destroy(&params);
    }
    struct graph *graph;
    struct params *params;
    struct maker m = make("2.2.4", "tensorflow");
    put_cudnn(&m, 3);
    finish(&m);
    assert_error(load(MODEL(RECURRENT("GRU", ", \"reset_after\": false")), &graph, &params), STATUS_DATA,
                 "has shape (12,), but the topology needs (6,)");
}

/* ---- whole models of Keras 1 ---- */

static void a_whole_model_of_keras1(void **state) {
    (void)state;
    static const char config[] =
        "[{\"class_name\": \"Convolution2D\", \"config\": {\"name\": \"c\", \"nb_filter\": 5, \"nb_row\": 2, "
        "\"nb_col\": 3, \"dim_ordering\": \"tf\", \"border_mode\": \"valid\", \"subsample\": [1, 1], "
        "\"bias\": true, "
        "\"activation\": \"relu\", \"trainable\": true, \"batch_input_shape\": [null, 8, 8, 4]}}, "
        "{\"class_name\": \"Flatten\", \"config\": {\"name\": \"f\", \"trainable\": true}}, "
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"output_dim\": 2, \"init\": "
        "\"glorot_uniform\", "
        "\"activation\": \"softmax\", \"bias\": true, \"input_dim\": 210, \"trainable\": true}}]";
    static const struct tensor_spec conv[] = {{"c_W", {OUT, IN, KH, KW}, 0}, {"c_b", {OUT}, 1000}};
    static const struct tensor_spec dense[] = {{"d_W", {210, 2}, 0}, {"d_b", {2}, 7}};
    char *json = NULL;
    assert_true(asprintf(&json, "{\"class_name\": \"Sequential\", \"config\": %s}", config) > 0);
    struct maker m = make(NULL, NULL);
    put_text(m.file, "model_config", json, false);
    free(json);
    hid_t file = m.file;
    m.file = H5Gcreate2(file, "model_weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    put_layer(&m, "c", 2, conv);
    put_layer(&m, "f", 0, NULL);
    put_layer(&m, "d", 2, dense);
    put_names(m.file, "layer_names", m.nlayers, m.layer, false);
    H5Gclose(m.file);
    H5Fclose(file);
    struct graph *graph = NULL;
    struct params *params = NULL;
    assert_success(load_model(in_folder("w.h5"), NULL, &graph, &params));
    assert_int_equal(graph->keras_version, 1);
    for (int y = 0; y < KH; y++)
        for (int x = 0; x < KW; x++)
            for (int i = 0; i < IN; i++)
                for (int o = 0; o < OUT; o++)
                    assert_true(at(params, y, x, i, o) == (float)theano(y, x, i, o));
    assert_true(params_at(params, 2)[419] == 419 && params_at(params, 3)[1] == 8);
    params_destroy(&params);
    graph_destroy(&graph);
}

/* ---- rows of converted weights ---- */

static void converted_weights_are_read_by_rows(void **state) {
    (void)state;
    static const struct tensor_spec spec[] = {{"c_W", {OUT, IN, KH, KW}, 0}, {"c_b", {OUT}, 1000}};
    struct maker m = make(NULL, NULL);
    put_layer(&m, "c", 2, spec);
    finish(&m);
    struct params *params = load_params(CONV);
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    float rows[KH * KW * IN * OUT];
    assert_success(keras_open(in_folder("w.h5"), &(struct keras_options){.topology = in_folder("t.json")},
                              &file, &graph));
    for (int64_t first = 0, n; first < KH * KW * IN; first += n) {
        n = first % 5 + 1 < KH * KW * IN - first ? first % 5 + 1 : KH * KW * IN - first;
        assert_success(keras_read_rows(file, 1, 1, 0, 1, rows)); /* another weight in between */
        assert_true(rows[3] == 1003);
        assert_success(keras_read_rows(file, 1, 0, first, n, rows));
        assert_memory_equal(rows, params_at(params, 0) + first * OUT, (size_t)(n * OUT) * sizeof *rows);
    }
    keras_close(&file);
    graph_destroy(&graph);
    params_destroy(&params);
}

/* ---- numbers ---- */

#define DENSE                                                                                                \
    MODEL("{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": 3, \"batch_input_shape\": "  \
          "[null, 2]}}")

/* Keras 3 keeps bfloat16 as opaque values or as 16-bit integers, and says so. */
static void bfloat16_is_widened(void **state) {
    (void)state;
    static const uint16_t bits[6] = {0x3f80, 0xbf80, 0x7f7f, 0x0001, 0x8000, 0x4049};
    static const uint32_t expected[6] = {0x3f800000, 0xbf800000, 0x7f7f0000,
                                         0x00010000, 0x80000000, 0x40490000};
    for (int opaque = 0; opaque < 2; opaque++) {
        struct maker m = make("3.4.0", "jax");
        hid_t group = H5Gcreate2(m.file, "d", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        hid_t type = opaque ? H5Tcreate(H5T_OPAQUE, 2) : H5Tcopy(H5T_STD_U16LE);
        hid_t space = H5Screate_simple(2, (hsize_t[]){2, 3}, NULL);
        hid_t kernel = H5Dcreate2(group, "kernel", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        assert_true(H5Dwrite(kernel, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bits) >= 0);
        put_text(kernel, "dtype", "bfloat16", true);
        put_data(group, "bias", H5T_IEEE_F64LE, H5P_DEFAULT, 1, (hsize_t[]){3}, (double[]){1, 2, 3});
        put_names(group, "weight_names", 2, (const char *const[]){"kernel", "bias"}, true);
        H5Dclose(kernel);
        H5Sclose(space);
        H5Tclose(type);
        H5Gclose(group);
        m.layer[m.nlayers++] = "d";
        finish(&m);
        struct params *params = load_params(DENSE);
        assert_memory_equal(params_at(params, 0), expected, sizeof expected);
        params_destroy(&params);

        struct keras_file *file = NULL;
        struct graph *graph = NULL;
        float row[3];
        assert_success(keras_open(in_folder("w.h5"), &(struct keras_options){.topology = in_folder("t.json")},
                                  &file, &graph));
        assert_success(keras_read_rows(file, 1, 0, 1, 1, row));
        assert_memory_equal(row, expected + 3, sizeof row);
        keras_close(&file);
        graph_destroy(&graph);
    }
}

/* ---- topologies ---- */

static void weights_alone_need_a_topology(void **state) {
    (void)state;
    static const struct tensor_spec spec[] = {{"d_W", {2, 3}, 0}, {"d_b", {3}, 6}};
    struct graph *graph;
    struct params *params;
    struct maker m = make("2.0.5", "tensorflow");
    put_layer(&m, "d", 2, spec);
    finish(&m);
    assert_error(load_model(in_folder("w.h5"), NULL, &graph, &params), STATUS_DATA,
                 "w.h5 has weights only; say with --topology");
    assert_error(load("{\"class_name\": \"Seq", &graph, &params), STATUS_DATA,
                 "t.json: the topology is not JSON");
    assert_error(load_model(in_folder("w.h5"), &(struct keras_options){.topology = in_folder("w.h5")}, &graph,
                            &params),
                 STATUS_DATA, "w.h5 has no topology itself");
    assert_error(load_model(in_folder("w.h5"), &(struct keras_options){.topology = in_folder("absent")},
                            &graph, &params),
                 STATUS_IO, "absent");
    assert_error(load(CONV, &graph, &params), STATUS_DATA,
                 "has shape (2, 3), but the topology needs (2, 3, 4, 5)");
    params = load_params(DENSE);
    for (int i = 0; i < 6; i++) assert_true(params_at(params, 0)[i] == (float)i);
    params_destroy(&params);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(kernels_of_keras1),       IN_FOLDER(kernels_of_keras2_on_theano),
        IN_FOLDER(gates_of_keras1),         IN_FOLDER(weights_of_cudnn),
        IN_FOLDER(a_whole_model_of_keras1), IN_FOLDER(converted_weights_are_read_by_rows),
        IN_FOLDER(bfloat16_is_widened),     IN_FOLDER(weights_alone_need_a_topology),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
