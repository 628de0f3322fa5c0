/* TensorFlow.js layers models: shards, types of elements, names, and what is wrong with a model. */
#include "io/io_testing.h"

#include "io/keras_testing.h"

#include <math.h>
#include <sys/stat.h>

#define LAYERS                                                                                               \
    "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"small\", \"layers\": ["                       \
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": 4, \"batch_input_shape\": [null, " \
    "3]}},"                                                                                                  \
    "{\"class_name\": \"BatchNormalization\", \"config\": {\"name\": \"n\"}}]}}"
#define TOPOLOGY "{\"keras_version\": \"2.7.0\", \"backend\": \"tensorflow\", \"model_config\": " LAYERS "}"

/* Weights as the graph has them: kernel, bias, gamma, beta, mean, variance. */
static const int counts[] = {12, 4, 4, 4, 4, 4};
static const char *const names[] = {"d/kernel", "d/bias",        "n/gamma",
                                    "n/beta",   "n/moving_mean", "n/moving_variance"};
#define NWEIGHTS 6

/* A model being written. */
struct tfjs {
    const char *topology, *prefix, *kernel_shape;
    char manifest[8192];
    unsigned char bytes[1024];
    size_t nbytes;
};

static struct tfjs begin(void) {
    return (struct tfjs){.topology = TOPOLOGY, .prefix = "", .kernel_shape = "[3, 4]"};
}

/* Appends one weight to the manifest. `rest` follows its shape: ", "dtype": ...". */
static void add(struct tfjs *t, int weight, const char *rest, const void *bytes, size_t nbytes) {
    size_t used = strlen(t->manifest);
    snprintf(t->manifest + used, sizeof t->manifest - used, "%s{\"name\": \"%s%s\", \"shape\": %s%s}",
             used ? ", " : "", t->prefix, names[weight], weight ? "[4]" : t->kernel_shape, rest);
    memcpy(t->bytes + t->nbytes, bytes, nbytes);
    t->nbytes += nbytes;
}

static void add_floats(struct tfjs *t, int weight, float first) {
    float values[12];
    for (int i = 0; i < counts[weight]; i++) values[i] = first + (float)i;
    add(t, weight, ", \"dtype\": \"float32\"", values, (size_t)counts[weight] * sizeof *values);
}

static void write_text(const char *name, const char *text) {
    write_bytes(in_folder(name), text, strlen(text));
}

/* model.json with the shards `paths` ("\"a\", \"b\""). */
static void write_model(const struct tfjs *t, const char *paths) {
    char text[16384];
    snprintf(text, sizeof text,
             "{\"format\": \"layers-model\", \"modelTopology\": %s, \"weightsManifest\": [{\"paths\": [%s], "
             "\"weights\": [%s]}]}",
             t->topology, paths, t->manifest);
    write_text("model.json", text);
}

/* Shards that end at bytes `end` of the weights; 0 ends the list. */
static void write_shards(const struct tfjs *t, const size_t *end) {
    char paths[256] = "";
    for (size_t i = 0, from = 0; end[i]; from = end[i++]) {
        char name[32];
        snprintf(name, sizeof name, "shard%zu.bin", i);
        write_bytes(in_folder(name), t->bytes + from, end[i] - from);
        snprintf(paths + strlen(paths), sizeof paths - strlen(paths), "%s\"%s\"", i ? ", " : "", name);
    }
    write_model(t, paths);
}

static void write_whole(const struct tfjs *t) {
    write_shards(t, (const size_t[]){t->nbytes, 0});
}

static struct tfjs all_floats(void) {
    struct tfjs t = begin();
    for (int w = 0; w < NWEIGHTS; w++) add_floats(&t, w, 100.0f * (float)w);
    return t;
}

static void assert_values(const char *path) {
    struct graph *graph = NULL;
    struct params *params = NULL;
    assert_success(load_model(path, NULL, &graph, &params));
    assert_int_equal(params->n, NWEIGHTS);
    for (int w = 0; w < NWEIGHTS; w++)
        for (int i = 0; i < counts[w]; i++)
            assert_true(params_at(params, w)[i] == 100.0f * (float)w + (float)i);
    graph_destroy(&graph);
    params_destroy(&params);
}

static void refuse(enum status_code code, const char *part) {
    struct graph *graph;
    struct params *params;
    assert_error(load_model(test_folder, NULL, &graph, &params), code, part);
}

/* ---- what is read ---- */

static void shards_are_joined(void **state) {
    (void)state;
    struct tfjs t = all_floats();
    write_whole(&t);
    assert_values(test_folder);
    assert_values(in_folder("model.json"));
    /* Weights, and even their elements, lie in two shards; some shards are empty. */
    write_shards(&t, (const size_t[]){5, 5, 50, 51, 52, 53, 54, 96, 96, t.nbytes, 0});
    assert_values(test_folder);
    for (size_t cut = 1; cut < t.nbytes; cut += 9) {
        write_shards(&t, (const size_t[]){cut, t.nbytes, 0});
        assert_values(test_folder);
    }
}

static void rows_are_read_from_shards(void **state) {
    (void)state;
    struct tfjs t = all_floats();
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    float rows[8];
    write_shards(&t, (const size_t[]){18, t.nbytes, 0});
    assert_success(keras_open(test_folder, NULL, &file, &graph));
    assert_success(keras_read_rows(file, 1, 0, 1, 2, rows));
    for (int i = 0; i < 8; i++) assert_true(rows[i] == (float)(4 + i));
    assert_error(keras_read_rows(file, 1, 0, 2, 2, rows), STATUS_INTERNAL, "rows");
    keras_close(&file);
    graph_destroy(&graph);
}

static void names_say_which_weight_it_is(void **state) {
    (void)state;
    struct tfjs t = begin();
    static const int order[] = {3, 1, 5, 0, 4, 2};
    t.prefix = "small/"; /* of a model around the layers */
    for (int k = 0; k < NWEIGHTS; k++) add_floats(&t, order[k], 100.0f * (float)order[k]);
    write_whole(&t);
    assert_values(test_folder);
}

static void weights_are_in_groups(void **state) {
    (void)state;
    struct tfjs a = begin(), b = begin();
    char text[16384];
    mkdir(in_folder("sub"), 0777);
    for (int w = 0; w < NWEIGHTS; w++) add_floats(w % 2 ? &a : &b, w, 100.0f * (float)w);
    write_bytes(in_folder("a.bin"), a.bytes, a.nbytes);
    write_bytes(in_folder("sub/b.bin"), b.bytes, b.nbytes);
    snprintf(text, sizeof text,
             "{\"modelTopology\": %s, \"weightsManifest\": [{\"paths\": [\"a.bin\"], \"weights\": [%s]}, "
             "{\"paths\": [\"sub/b.bin\"], \"weights\": [%s]}]}",
             TOPOLOGY, a.manifest, b.manifest);
    write_text("model.json", text);
    assert_values(test_folder);
}

/* As TensorFlow.js itself writes it. */
static void a_bare_topology_is_read(void **state) {
    (void)state;
    struct tfjs t = all_floats();
    t.topology = LAYERS;
    write_whole(&t);
    assert_values(test_folder);
}

static void all_types_of_elements_are_converted(void **state) {
    (void)state;
    struct tfjs t = begin();
    struct graph *graph = NULL;
    struct params *params = NULL;
    const double scale8 = 0.0123456789012, min8 = -1.23456789, scale16 = 3.0517578e-05 / 7, min16 = -0.1;
    unsigned char q8[12];
    uint16_t q16[4] = {0, 1, 40000, 65535};
    uint16_t half[4] = {0x3c01, 0x8001, 0x7bff, 0x3555}; /* 1+2^-10, -2^-24, 65504, 0.333251953125 */
    int32_t whole[4] = {-7, 0, 1, 1 << 30};
    unsigned char truth[4] = {0, 1, 1, 0}, bytes[4] = {0, 7, 128, 255};
    char rest[256];
    for (int i = 0; i < 12; i++) q8[i] = (unsigned char)(i * 23);
    snprintf(rest, sizeof rest,
             ", \"dtype\": \"float32\", \"quantization\": {\"dtype\": \"uint8\", \"scale\": %.17g, \"min\": "
             "%.17g, "
             "\"original_dtype\": \"float32\"}",
             scale8, min8);
    add(&t, 0, rest, q8, sizeof q8);
    snprintf(rest, sizeof rest,
             ", \"dtype\": \"float32\", \"quantization\": {\"dtype\": \"uint16\", \"scale\": %.17g, \"min\": "
             "%.17g}",
             scale16, min16);
    add(&t, 1, rest, q16, sizeof q16);
    add(&t, 2, ", \"dtype\": \"float32\", \"quantization\": {\"dtype\": \"float16\"}", half, sizeof half);
    add(&t, 3, ", \"dtype\": \"int32\"", whole, sizeof whole);
    add(&t, 4, ", \"dtype\": \"bool\"", truth, sizeof truth);
    add(&t, 5, ", \"dtype\": \"uint8\"", bytes, sizeof bytes);
    write_shards(&t, (const size_t[]){13, t.nbytes, 0});
    assert_success(load_model(test_folder, NULL, &graph, &params));
    for (int i = 0; i < 12; i++) {
        volatile double product = q8[i] * scale8; /* rounded before the sum, as JavaScript does */
        assert_true(params_at(params, 0)[i] == (float)(product + min8));
    }
    for (int i = 0; i < 4; i++) {
        volatile double product = q16[i] * scale16;
        assert_true(params_at(params, 1)[i] == (float)(product + min16));
        assert_true(params_at(params, 3)[i] == (float)whole[i]);
        assert_true(params_at(params, 4)[i] == (float)truth[i]);
        assert_true(params_at(params, 5)[i] == (float)bytes[i]);
    }
    static const float halves[] = {1 + 0x1p-10f, -0x1p-24f, 65504, 0x1.554p-2f};
    assert_memory_equal(params_at(params, 2), halves, sizeof halves);
    graph_destroy(&graph);
    params_destroy(&params);
}

/* ---- what is wrong ---- */

static void wrong_shards_are_named(void **state) {
    (void)state;
    struct tfjs t = all_floats();
    write_model(&t, "\"absent.bin\"");
    refuse(STATUS_IO, "absent.bin");
    write_shards(&t, (const size_t[]){20, t.nbytes - 1, 0});
    refuse(STATUS_DATA, "weight group 0 have 127 bytes, and its weights take 128");
    t.nbytes++;
    write_shards(&t, (const size_t[]){20, t.nbytes, 0});
    refuse(STATUS_DATA, "have 129 bytes");
    write_model(&t, "");
    refuse(STATUS_DATA, "have 0 bytes");
    mkdir(in_folder("folder"), 0777);
    write_model(&t, "\"folder\"");
    refuse(STATUS_DATA, "is a folder");
    static const char *const outside[] = {"../x.bin", "a/../../x.bin",     "/etc/passwd",
                                          "",         "http://host/x.bin", ".."};
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        char paths[64];
        snprintf(paths, sizeof paths, "\"%s\"", outside[i]);
        write_model(&t, paths);
        refuse(STATUS_DATA, "not in the model's folder");
    }
    write_model(&t, "17");
    refuse(STATUS_DATA, "not in the model's folder");
}

static void wrong_weights_are_named(void **state) {
    (void)state;
    struct tfjs t = begin();
    float values[12] = {0};
    for (int w = 1; w < NWEIGHTS; w++) add_floats(&t, w, 0);
    write_whole(&t);
    refuse(STATUS_DATA, "layer \"d\" needs 2 weights, and weightsManifest has 1");
    add_floats(&t, 0, 0);
    add_floats(&t, 0, 0);
    write_whole(&t);
    refuse(STATUS_DATA, "layer \"d\" needs 2 weights, and weightsManifest has more: d/kernel");

    static const struct {
        const char *rest, *message;
        enum status_code code;
    } wrong[] = {
        {", \"dtype\": \"string\"", "elements of type \"string\"", STATUS_UNSUPPORTED},
        {", \"dtype\": \"complex64\"", "elements of type \"complex64\"", STATUS_UNSUPPORTED},
        {"", "elements of type \"\"", STATUS_UNSUPPORTED},
        {", \"dtype\": \"float32\", \"quantization\": {\"dtype\": \"uint8\", \"min\": 0}", "no scale",
         STATUS_DATA},
        {", \"dtype\": \"float32\", \"quantization\": {\"dtype\": \"int4\"}", "elements of type \"int4\"",
         STATUS_UNSUPPORTED},
        {", \"dtype\": \"float32\", \"dtype\": \"float32\"", "\"dtype\" is there twice", STATUS_DATA},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        t = begin();
        add(&t, 0, wrong[i].rest, values, sizeof values);
        for (int w = 1; w < NWEIGHTS; w++) add_floats(&t, w, 0);
        write_whole(&t);
        refuse(wrong[i].code, wrong[i].message);
    }

    static const char *const shapes[] = {"[4, 3]", "[3.5, 4]", "[-3, -4]", "[1e300]", "[null]", "12"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        t = begin();
        t.kernel_shape = shapes[i];
        for (int w = 0; w < NWEIGHTS; w++) add_floats(&t, w, 0);
        write_whole(&t);
        refuse(STATUS_DATA, i ? "weight d/kernel" : "has shape (4, 3), but the topology needs (3, 4)");
    }

    t = all_floats();
    ((float *)(void *)t.bytes)[5] = NAN;
    write_whole(&t);
    refuse(STATUS_DATA, "weight d/kernel: is NaN at element 5");
}

static void other_json_is_refused(void **state) {
    (void)state;
    write_text("model.json",
               "{\"format\": \"graph-model\", \"modelTopology\": {\"node\": []}, \"weightsManifest\": []}");
    refuse(STATUS_UNSUPPORTED, "only layers models are read");
    write_text("model.json", "{\"modelTopology\": {\"node\": []}, \"weightsManifest\": []}");
    refuse(STATUS_UNSUPPORTED, "only layers models are read");
    write_text("model.json", "{\"modelTopology\": " TOPOLOGY "}");
    refuse(STATUS_DATA, "no weightsManifest");
    write_text("model.json", "{\"modelTopology\": " TOPOLOGY ", \"weightsManifest\": {}}");
    refuse(STATUS_DATA, "weightsManifest is not a list");
    write_text("model.json", "{\"modelTopology\": " TOPOLOGY ", \"weightsManifest\": [{\"weights\": []}]}");
    refuse(STATUS_DATA, "without paths");
    write_text("model.json", "{\"modelTopology\": " TOPOLOGY ", \"weightsManifest\": [[]]}");
    refuse(STATUS_DATA, "without weights");
    write_text("model.json", LAYERS);
    refuse(STATUS_DATA, "it is not a model of TensorFlow.js");
    write_text("model.json", "{\"modelTopology\": ");
    refuse(STATUS_DATA, "not JSON");
    unlink(in_folder("model.json"));
    refuse(STATUS_DATA, "is not a Keras model");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(shards_are_joined),
        IN_FOLDER(rows_are_read_from_shards),
        IN_FOLDER(names_say_which_weight_it_is),
        IN_FOLDER(weights_are_in_groups),
        IN_FOLDER(a_bare_topology_is_read),
        IN_FOLDER(all_types_of_elements_are_converted),
        IN_FOLDER(wrong_shards_are_named),
        IN_FOLDER(wrong_weights_are_named),
        IN_FOLDER(other_json_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
