/* Makes the corpora that fuzzing starts with: fuzz_seeds FOLDER [MODELS [CONFIGS]]
 *
 * For each kind of layer the smallest model that has one, as topology, HDF5 file and TensorFlow.js folder;
 * what is small among the files of the folder MODELS, and the topologies of all of them; configurations;
 * programs; images; and a dictionary of all keys and values that topologies have (FOLDER/keys.dict). */
#include "io/config.h"
#include "io/file.h"
#include "io/image.h"
#include "io/keras.h"
#include "io/keras/container.h"
#include "shared/transform.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SEED_BYTES (100 << 10)

static _Noreturn void fail(status error) {
    fprintf(stderr, "fuzz_seeds: %s\n", status_message(error));
    exit(1);
}

static void must(status error) {
    if (error) fail(error);
}

static char *text_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *text_of(const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) exit(1);
    va_end(args);
    return text;
}

/* FOLDER/<corpus>/<name> */
static void put(const char *folder, const char *corpus, const char *name, const void *data, size_t size) {
    char *in = text_of("%s/%s", folder, corpus), *path = text_of("%s/%s", in, name);
    must(file_make_folders(in));
    must(file_write_atomic(path, data, size));
    free(path);
    free(in);
}

/* ---- a model of one layer ---- */

/* A value for an attribute that has no default. */
static const char *value_of(const struct attr_spec *spec) {
    switch (spec->type) {
    case ATTR_BOOL:
        return "true";
    case ATTR_INT:
        return "4";
    case ATTR_FLOAT:
        return "0.5";
    case ATTR_STRING:
        return "\"relu\"";
    case ATTR_INTS:
        return spec->length == 1 ? "[2]" : spec->length == 3 ? "[2, 2, 2]" : "[2, 2]";
    case ATTR_FLOATS:
        return "[0.5]";
    case ATTR_SHAPE:
        return "[4, 8]";
    case ATTR_LAYERS:
        return "[{\"class_name\": \"GRUCell\", \"config\": {\"name\": \"inner\", \"units\": 3}}]";
    case ATTR_LAYER:
        return "{\"class_name\": \"LSTM\", \"config\": {\"name\": \"inner\", \"units\": 3, "
               "\"return_sequences\": true}}";
    }
    return "null";
}

static char *model_json(const struct layer_kind *kind, const char *shape) {
    char *config = text_of("\"name\": \"a\""), *inputs = text_of("%s", ""), *calls = text_of("%s", ""),
         *ends = text_of("%s", "");
    for (int i = 0; i < kind->nattrs; i++) {
        const struct attr_spec *spec = &kind->attrs[i];
        if (spec->initial || spec->call) continue;
        char *more =
            text_of("%s, \"%s\": %s", config, spec->keras2 ? spec->keras2 : spec->name, value_of(spec));
        free(config);
        config = more;
    }
    int n = kind->min_inputs > 1 ? kind->min_inputs : 1;
    for (int i = 0; i < n; i++) {
        char *more = text_of("%s{\"class_name\": \"InputLayer\", \"name\": \"x%d\", \"config\": {\"name\": "
                             "\"x%d\", \"batch_input_shape\": %s, \"dtype\": \"float32\"}, "
                             "\"inbound_nodes\": []}, ",
                             inputs, i, i, shape);
        free(inputs);
        inputs = more;
        more = text_of("%s%s[\"x%d\", 0, 0, {}]", calls, i ? ", " : "", i);
        free(calls);
        calls = more;
        more = text_of("%s%s[\"x%d\", 0, 0]", ends, i ? ", " : "", i);
        free(ends);
        ends = more;
    }
    char *json = text_of("{\"class_name\": \"Functional\", \"config\": {\"name\": \"m\", \"layers\": [%s"
                         "{\"class_name\": \"%s\", \"name\": \"a\", \"config\": {%s}, \"inbound_nodes\": "
                         "[[%s]]}], \"input_layers\": [%s], \"output_layers\": [[\"a\", 0, 0]]}}",
                         inputs, kind->class_name, config, calls, ends);
    free(ends);
    free(calls);
    free(inputs);
    free(config);
    return json;
}

/* As TensorFlow.js's converter writes it, in one shard; model.json, a NUL byte, the shard. */
static void put_tfjs(const char *folder, const char *name, const char *json, const struct graph *graph,
                     const struct params *params) {
    char *list = text_of("%s", "");
    size_t nbytes = 0, at;
    for (int l = 0, i = 0; l < graph->nlayers; l++)
        for (int w = 0; w < graph->layer[l].nweights; w++, i++) {
            const struct weight *weight = &graph->layer[l].weight[w];
            char *shape = text_of("%s", "");
            for (int k = 0; k < weight->shape.rank; k++) {
                char *more = text_of("%s%s%lld", shape, k ? ", " : "", (long long)weight->shape.dim[k]);
                free(shape);
                shape = more;
            }
            char *more = text_of("%s%s{\"name\": \"%s/%s\", \"shape\": [%s], \"dtype\": \"float32\"}", list,
                                 *list ? ", " : "", graph->layer[l].name,
                                 weight->keras2 ? weight->keras2 : weight->name, shape);
            free(shape);
            free(list);
            list = more;
            nbytes += (size_t)params->count[i] * sizeof(float);
        }
    char *model = text_of("{\"format\": \"layers-model\", \"modelTopology\": {\"keras_version\": \"2.15.0\", "
                          "\"backend\": \"tensorflow\", \"model_config\": %s}, \"weightsManifest\": "
                          "[{\"paths\": [\"group1-shard1of1.bin\"], \"weights\": [%s]}]}",
                          json, list);
    at = strlen(model) + 1;
    char *both = malloc(at + nbytes);
    if (!both) exit(1);
    memcpy(both, model, at);
    for (int i = 0; i < params->n; i++) {
        memcpy(both + at, params_at(params, i), (size_t)params->count[i] * sizeof(float));
        at += (size_t)params->count[i] * sizeof(float);
    }
    put(folder, "tfjs", name, both, at);
    free(both);
    free(model);
    free(list);
}

static bool put_layer(const char *folder, const struct layer_kind *kind, const char *shape) {
    char *json = model_json(kind, shape);
    struct graph *graph = NULL;
    struct opgraph *ops = NULL;
    struct params *params = NULL;
    status error = keras_graph_from_json(json, &graph);
    if (!error) error = graph_infer(graph);
    if (!error) error = graph_lower(graph, &ops, NULL);
    if (!error) error = params_create(ops, &params);
    if (!error) {
        char *name = text_of("%s.json", kind->class_name),
             *path = text_of("%s/h5/%s.h5", folder, kind->class_name);
        put(folder, "topology", name, json, strlen(json));
        put_tfjs(folder, name, json, graph, params);
        error = keras_write(path, graph, params, NULL);
        free(path);
        path = text_of("%s/keras/%s.keras", folder, kind->class_name);
        status no_archive = keras_write_archive(path, graph, params, NULL);
        status_drop(&no_archive); /* not all layers are in Keras 3 */
        free(path);
        free(name);
    }
    bool good = !error;
    status_drop(&error);
    params_destroy(&params);
    opgraph_destroy(&ops);
    graph_destroy(&graph);
    free(json);
    return good;
}

static void put_layers(const char *folder) {
    static const char *const shapes[] = {"[null, 8, 8, 4]", "[null, 8, 4]", "[null, 4]", "[null, 8]"};
    for (int k = 0; k < layer_kind_count(); k++) {
        const struct layer_kind *kind = layer_kind_at(k);
        bool good = kind->max_inputs == 0;
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes && !good; s++)
            good = put_layer(folder, kind, shapes[s]);
        if (!good) fprintf(stderr, "fuzz_seeds: no seed for %s\n", kind->class_name);
    }
}

/* ---- files that are there ---- */

static void put_file(const char *folder, const char *corpus, const char *name, const char *path) {
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size > MAX_SEED_BYTES) return;
    FILE *file = fopen(path, "rb");
    char *data = malloc((size_t)info.st_size + 1);
    if (!file || !data || fread(data, 1, (size_t)info.st_size, file) != (size_t)info.st_size) exit(1);
    fclose(file);
    put(folder, corpus, name, data, (size_t)info.st_size);
    free(data);
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

static void put_models(const char *folder, const char *models) {
    DIR *dir = opendir(models);
    if (!dir) return;
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        const char *name = entry->d_name;
        char *path = text_of("%s/%s", models, name), *json = NULL;
        bool h5 = ends_with(name, ".h5") || ends_with(name, ".hdf5"), zip = ends_with(name, ".keras");
        struct stat info;
        int version;
        if (name[0] != '.' && stat(path, &info) == 0 && S_ISDIR(info.st_mode)) put_models(folder, path);
        if (h5) put_file(folder, "h5", name, path);
        if (zip) put_file(folder, "keras", name, path);
        if ((h5 || zip) && !ends_with(name, ".golden.h5")) {
            status error = container_topology(path, &json, &version);
            if (!error) {
                char *as = text_of("%s.json", name);
                put(folder, "topology", as, json, strlen(json));
                free(as);
            }
            status_drop(&error);
        }
        free(json);
        free(path);
    }
    closedir(dir);
}

static void put_configs(const char *folder, const char *configs) {
    struct config *config = NULL;
    char *json = NULL;
    must(config_parse("{}", "defaults", &config));
    must(config_print(config, &json));
    put(folder, "config", "defaults.json", json, strlen(json));
    free(json);
    config_destroy(&config);
    DIR *dir = opendir(configs);
    if (!dir) return;
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        char *path = text_of("%s/%s", configs, entry->d_name);
        if (ends_with(entry->d_name, ".json")) put_file(folder, "config", entry->d_name, path);
        free(path);
    }
    closedir(dir);
}

/* Aliases of a class "C", and a model with a layer of it. */
static void put_aliases(const char *folder) {
    static const char *const aliases[] = {
        "{\"C\": {\"class_name\": \"Rescaling\", \"config\": {\"scale\": \"$beta\", \"offset\": "
        "\"$d:0.5\"}}}",
        "{\"_\": \"a comment\", \"mine>C\": {\"class_name\": \"Dense\", \"config\": \"$all\"}}",
        "{\"C\": [{\"class_name\": \"Dense\", \"config\": {\"units\": \"$units\"}}, {\"class_name\": "
        "\"ReLU\"}]}",
        "{\"C\": {\"class_name\": \"Dense\", \"config\": {\"$all\": true, \"activation\": \"$$a\"}}}"};
    static const struct layer_kind custom = {.class_name = "C", .min_inputs = 1};
    char *json = model_json(&custom, "[null, 4]");
    char *mark = strstr(json, "{\"name\": \"a\"}");
    if (!mark) exit(1);
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++) {
        char name[16], *both = NULL;
        int n = asprintf(&both, "%s%c%.*s{\"name\": \"a\", \"beta\": 0.25, \"units\": 3}%s", aliases[i], 0,
                         (int)(mark - json), json, mark + strlen("{\"name\": \"a\"}"));
        if (n < 0) exit(1);
        snprintf(name, sizeof name, "%zu", i);
        put(folder, "aliases", name, both, (size_t)n);
        free(both);
    }
    free(json);
}

/* ---- programs ---- */

/* Of the model that fuzz_program.c has: one program that does not transform, and one with each transform as
 * its documentation uses it. */
static void put_programs(const char *folder) {
    static const char head[] = "plan 1\nsource \"s.h5\" digest sha256:0a1b\ntarget \"t\"\n\n"
                               "keep k0 = select(\"conv\", 4 of 6, [0 2 3 5])\n"
                               "keep k1 = channels(\"x\", 2 of 4)\n\nslice 0 \"a/b\" {\n",
                      tail[] = "}\n";
    static const char plain[] =
        "  \"conv/kernel\" (3, 3, 2, 4) = refit(fold_bn(source[\"conv/kernel\"], \"norm\")[:, :, k1, k0])\n"
        "  \"conv/bias\" (4,) = fold_bn_bias(init(zeros, (6,)), \"norm\")[k0]  # residual 0.5\n"
        "  \"a/b/kernel\" (4, 5) = source[\"a/b/kernel\"][0:6:2, [1 0]]\n";
    char *text = text_of("%s%s%s", head, plain, tail);
    put(folder, "program", "plain", text, strlen(text));
    free(text);
    for (int i = 0; i < transform_count(); i++) {
        const struct transform *t = transform_at(i);
        text = text_of("%s  \"conv/kernel\" (1,) = %s\n%s", head, t->usage, tail);
        for (char *x; (x = strstr(text, "(x,")) || (x = strstr(text, "(x)"));) {
            char *more = text_of("%.*s(source[\"conv/kernel\"]%s", (int)(x - text), text, x + 2);
            free(text);
            text = more;
        }
        put(folder, "program", t->name, text, strlen(text));
        free(text);
    }
}

/* ---- words ---- */

static void put_words(const char *folder) {
    static const char *const others[] = {"class_name",
                                         "config",
                                         "layers",
                                         "name",
                                         "inbound_nodes",
                                         "input_layers",
                                         "output_layers",
                                         "Model",
                                         "Functional",
                                         "Sequential",
                                         "batch_input_shape",
                                         "batch_shape",
                                         "args",
                                         "kwargs",
                                         "__keras_tensor__",
                                         "keras_history",
                                         "module",
                                         "registered_name",
                                         "dtype",
                                         "float32",
                                         "DTypePolicy",
                                         "trainable",
                                         "build_config",
                                         "input_shape",
                                         "keras_version",
                                         "2.15.0",
                                         "3.5.0",
                                         "model_config",
                                         "modelTopology",
                                         "weightsManifest",
                                         "paths",
                                         "weights",
                                         "quantization",
                                         "scale",
                                         "min",
                                         "uint8",
                                         "uint16",
                                         "float16",
                                         "format",
                                         "layers-model",
                                         "node",
                                         "symbol",
                                         "__tuple__",
                                         "items",
                                         "builtins",
                                         "function",
                                         "TFOpLambda",
                                         "Lambda",
                                         "return_sequences",
                                         "mask",
                                         "null",
                                         "training"};
    char *path = text_of("%s/keys.dict", folder);
    FILE *out = fopen(path, "w");
    if (!out) fail(file_fail("write", path, 0));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) fprintf(out, "\"\\\"%s\\\"\"\n", others[i]);
    for (int i = 0; i < transform_count(); i++) fprintf(out, "\"%s(\"\n", transform_at(i)->name);
    for (int k = 0; k < layer_kind_count(); k++) {
        const struct layer_kind *kind = layer_kind_at(k);
        fprintf(out, "\"\\\"%s\\\"\"\n", kind->class_name);
        for (int i = 0; i < kind->nattrs; i++) {
            const struct attr_spec *spec = &kind->attrs[i];
            fprintf(out, "\"\\\"%s\\\"\"\n", spec->name);
            if (spec->keras2) fprintf(out, "\"\\\"%s\\\"\"\n", spec->keras2);
            for (const char *word = spec->choices; word && *word; word += strspn(word, "|")) {
                int length = (int)strcspn(word, "|");
                fprintf(out, "\"\\\"%.*s\\\"\"\n", length, word);
                word += length;
            }
        }
    }
    fclose(out);
    free(path);
}

/* ---- images ---- */

/* A byte that chooses, and the file. */
static void put_image(const char *folder, const char *ending, int height, int width, int channels) {
    struct image *image = NULL;
    char *path = text_of("%s/image.%s", folder, ending),
         *text = text_of("%s/image/%d%d.%s", folder, width, channels, ending);
    char bytes[1 << 16] = {(char)(height + channels)};
    must(image_create(height, width, channels, &image));
    for (int i = 0; i < height * width * channels; i++) image->pixel[i] = (uint8_t)(i * i);
    must(image_write(path, image));
    FILE *in = fopen(path, "rb"), *out = fopen(text, "wb");
    if (!in || !out) fail(file_fail("write", text, 0));
    fwrite(bytes, 1, 1 + fread(bytes + 1, 1, sizeof bytes - 1, in), out);
    fclose(in);
    fclose(out);
    unlink(path);
    free(path);
    free(text);
    image_destroy(&image);
}

static void put_images(const char *folder) {
    static const char *const endings[] = {"png", "jpg"};
    char *path = text_of("%s/image", folder);
    must(file_make_folders(path));
    free(path);
    for (int e = 0; e < 2; e++)
        for (int size = 1; size <= 19; size += 6)
            for (int channels = 1; channels <= 3; channels += 2)
                put_image(folder, endings[e], size, 20 - size, channels);
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > 4) {
        fprintf(stderr, "usage: fuzz_seeds FOLDER [MODELS [CONFIGS]]\n");
        return 2;
    }
    char *h5 = text_of("%s/h5", argv[1]), *keras = text_of("%s/keras", argv[1]);
    must(file_make_folders(h5));
    must(file_make_folders(keras));
    free(keras);
    free(h5);
    put_layers(argv[1]);
    put_configs(argv[1], argc > 3 ? argv[3] : "configs");
    put_aliases(argv[1]);
    put_programs(argv[1]);
    put_images(argv[1]);
    if (argc > 2) put_models(argv[1], argv[2]);
    put_words(argv[1]);
    return 0;
}
