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
    const char *names[16];
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
        IN_FOLDER(kernels_of_keras1),
        IN_FOLDER(kernels_of_keras2_on_theano),
        IN_FOLDER(converted_weights_are_read_by_rows),
        IN_FOLDER(bfloat16_is_widened),
        IN_FOLDER(weights_alone_need_a_topology),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
