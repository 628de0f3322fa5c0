/* .keras archives: however they are packed, damaged or hostile. The archives are made here, byte by byte. */
#include "io/io_testing.h"

#include "io/keras_testing.h"

#include <sys/stat.h>
#include <zlib.h>

#define MAX_ENTRIES 8

/* How an entry is packed. */
struct packing {
    bool deflate, descriptor; /* sizes after the data */
    int extra;                /* bytes of an extra field in the local header */
    int gap;                  /* bytes that belong to nobody, before it */
    int flags;                /* added in both headers */
    int method;               /* another number for the method, if not 0 */
    int64_t claim;            /* bytes it says it expands to, if not 0 */
};

struct archive_maker {
    FILE *file;
    int n;
    struct {
        const char *name;
        uint32_t crc, packed, size, at;
        uint16_t flags, method;
    } entry[MAX_ENTRIES];
};

static void put(FILE *file, uint64_t value, int nbytes) {
    for (int i = 0; i < nbytes; i++) fputc(i < 8 ? (int)(value >> 8 * i & 255) : 0, file);
}

static struct archive_maker make(void) {
    struct archive_maker m = {.file = fopen(in_folder("m.keras"), "wb")};
    assert_non_null(m.file);
    return m;
}

/* Raw deflate, as zip has it; owned. */
static unsigned char *deflated(const void *data, size_t n, size_t *packed) {
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    *packed = deflateBound(&stream, n);
    unsigned char *out = malloc(*packed);
    stream.next_in = (unsigned char *)(uintptr_t)data;
    stream.avail_in = (uInt)n;
    stream.next_out = out;
    stream.avail_out = (uInt)*packed;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    *packed = stream.total_out;
    deflateEnd(&stream);
    return out;
}

static void add(struct archive_maker *m, const char *name, const void *data, size_t n, struct packing p) {
    size_t packed = n;
    unsigned char *copy = p.deflate ? deflated(data, n, &packed) : NULL;
    for (int i = 0; i < p.gap && m->n; i++) fputc('?', m->file);
    int i = m->n++;
    m->entry[i].name = name;
    m->entry[i].crc = (uint32_t)crc32(0, data, (uInt)n);
    m->entry[i].packed = (uint32_t)packed;
    m->entry[i].size = (uint32_t)(p.claim ? p.claim : (int64_t)n);
    m->entry[i].at = (uint32_t)ftell(m->file);
    m->entry[i].flags = (uint16_t)(p.flags | (p.descriptor ? 8 : 0));
    m->entry[i].method = (uint16_t)(p.method ? p.method : p.deflate ? 8 : 0);
    put(m->file, 0x04034b50, 4);
    put(m->file, 20, 2);
    put(m->file, m->entry[i].flags, 2);
    put(m->file, m->entry[i].method, 2);
    put(m->file, 0x00210000, 4); /* 1980-01-01 */
    put(m->file, p.descriptor ? 0 : m->entry[i].crc, 4);
    put(m->file, p.descriptor ? 0 : packed, 4);
    put(m->file, p.descriptor ? 0 : m->entry[i].size, 4);
    put(m->file, strlen(name), 2);
    put(m->file, (uint64_t)p.extra, 2);
    fputs(name, m->file);
    if (p.extra) { /* one field of an id that nobody uses */
        put(m->file, 0x7777, 2);
        put(m->file, (uint64_t)(p.extra - 4), 2);
        for (int k = 4; k < p.extra; k++) fputc(0, m->file);
    }
    fwrite(copy ? copy : data, 1, packed, m->file);
    free(copy);
    if (!p.descriptor) return;
    put(m->file, 0x08074b50, 4);
    put(m->file, m->entry[i].crc, 4);
    put(m->file, packed, 4);
    put(m->file, m->entry[i].size, 4);
}

static void finish(struct archive_maker *m) {
    long start = ftell(m->file);
    for (int i = 0; i < m->n; i++) {
        put(m->file, 0x02014b50, 4);
        put(m->file, 20, 2);
        put(m->file, 20, 2);
        put(m->file, m->entry[i].flags, 2);
        put(m->file, m->entry[i].method, 2);
        put(m->file, 0x00210000, 4);
        put(m->file, m->entry[i].crc, 4);
        put(m->file, m->entry[i].packed, 4);
        put(m->file, m->entry[i].size, 4);
        put(m->file, strlen(m->entry[i].name), 2);
        put(m->file, 0, 12); /* no extra field, no comment, first disk, attributes */
        put(m->file, m->entry[i].at, 4);
        fputs(m->entry[i].name, m->file);
    }
    long end = ftell(m->file);
    put(m->file, 0x06054b50, 4);
    put(m->file, 0, 4);
    put(m->file, (uint64_t)m->n, 2);
    put(m->file, (uint64_t)m->n, 2);
    put(m->file, (uint64_t)(end - start), 4);
    put(m->file, (uint64_t)start, 4);
    put(m->file, 0, 2);
    assert_int_equal(fclose(m->file), 0);
}

/* ---- the model inside ---- */

static const char metadata[] = "{\"keras_version\": \"3.5.0\", \"date_saved\": \"2024-09-01@12:00:00\"}";
static const char config[] =
    "{\"module\": \"keras\", \"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", \"layers\": ["
    "{\"module\": \"keras.layers\", \"class_name\": \"InputLayer\", \"config\": {\"name\": \"x\", "
    "\"batch_shape\": "
    "[null, 3]}},"
    "{\"module\": \"keras.layers\", \"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": "
    "400}}]}}";

/* The parts of an archive, and the values in it. */
struct parts {
    unsigned char *weights; /* owned */
    size_t nweights;
    struct params *params;
};

/* Weights come from an archive of our own. */
static struct parts make_parts(void) {
    struct parts parts = {0};
    struct graph *graph = NULL;
    struct opgraph *ops = NULL;
    assert_success(keras_graph_from_json(config, &graph));
    assert_success(graph_lower(graph, &ops, NULL));
    assert_success(params_create(ops, &parts.params));
    for (int64_t i = 0; i < parts.params->total; i++) parts.params->data[i] = (float)(i % 7);
    assert_success(keras_write_archive(in_folder("own.keras"), graph, parts.params, NULL));
    opgraph_destroy(&ops);
    graph_destroy(&graph);
    FILE *file = fopen(in_folder("own.keras"), "rb");
    unsigned char *all = malloc(1 << 20);
    size_t n = fread(all, 1, 1 << 20, file);
    fclose(file);
    unsigned char *start = memmem(all, n, "\x89HDF", 4), *end = memmem(all, n, "PK\1\2", 4);
    assert_non_null(start);
    parts.nweights = (size_t)(end - start);
    parts.weights = malloc(parts.nweights);
    memcpy(parts.weights, start, parts.nweights);
    free(all);
    unlink(in_folder("own.keras"));
    return parts;
}

static void parts_clear(struct parts *parts) {
    free(parts->weights);
    params_destroy(&parts->params);
}

static void add_all(struct archive_maker *m, const struct parts *parts, struct packing p) {
    add(m, "metadata.json", metadata, strlen(metadata), p);
    add(m, "config.json", config, strlen(config), p);
    add(m, "model.weights.h5", parts->weights, parts->nweights, p);
}

static status load(struct graph **graph, struct params **params) {
    return load_model(in_folder("m.keras"), NULL, graph, params);
}

static void refuse(const char *part) {
    struct graph *graph;
    struct params *params;
    assert_error(load(&graph, &params), STATUS_DATA, part);
}

/* ---- what is read ---- */

static void packed_in_any_way(void **state) {
    (void)state;
    struct parts parts = make_parts();
    static const struct packing ways[] = {
        {0},
        {.deflate = true},
        {.extra = 11},
        {.descriptor = true},
        {.deflate = true, .descriptor = true},
        {.gap = 5},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct archive_maker m = make();
        struct graph *graph = NULL;
        struct params *params = NULL;
        add_all(&m, &parts, ways[i]);
        add(&m, "assets/vocabulary.txt", "a\nb\n", 4, ways[i]);
        finish(&m);
        assert_success(load(&graph, &params));
        assert_int_equal(graph->keras_version, 2 + 1);
        assert_same_params(params, parts.params);
        graph_destroy(&graph);
        params_destroy(&params);
    }
    parts_clear(&parts);
}

/* Weights that are stored are not copied: they are read where they lie. */
static void metadata_may_be_absent(void **state) {
    (void)state;
    struct parts parts = make_parts();
    struct archive_maker m = make();
    struct graph *graph = NULL;
    struct params *params = NULL;
    add(&m, "model.weights.h5", parts.weights, parts.nweights, (struct packing){0});
    add(&m, "config.json", config, strlen(config), (struct packing){0});
    finish(&m);
    assert_success(load(&graph, &params));
    assert_same_params(params, parts.params);
    graph_destroy(&graph);
    params_destroy(&params);
    parts_clear(&parts);
}

/* ---- what is refused ---- */

static void missing_parts(void **state) {
    (void)state;
    struct parts parts = make_parts();
    struct archive_maker m = make();
    add(&m, "metadata.json", metadata, strlen(metadata), (struct packing){0});
    add(&m, "model.weights.h5", parts.weights, parts.nweights, (struct packing){0});
    finish(&m);
    refuse("not a Keras model: it has no config.json");
    m = make();
    add(&m, "config.json", config, strlen(config), (struct packing){0});
    add(&m, "model.weights.npz", "x", 1, (struct packing){0});
    finish(&m);
    refuse("no model.weights.h5");
    m = make();
    add(&m, "config.json", config, strlen(config), (struct packing){0});
    add(&m, "model.weights.h5", parts.weights, parts.nweights / 2, (struct packing){0});
    finish(&m);
    refuse("model.weights.h5: it is damaged or truncated");
    m = make();
    add(&m, "config.json", config, strlen(config), (struct packing){0});
    add(&m, "model.weights.h5", "", 0, (struct packing){0});
    finish(&m);
    refuse("model.weights.h5: it is damaged or truncated");
    m = make();
    add(&m, "config.json", "{\0}", 3, (struct packing){0});
    add(&m, "model.weights.h5", parts.weights, parts.nweights, (struct packing){0});
    finish(&m);
    refuse("config.json of the archive is not text");
    m = make();
    add(&m, "metadata.json", "{\"keras_version\": ", 18, (struct packing){0});
    add(&m, "config.json", config, strlen(config), (struct packing){0});
    add(&m, "model.weights.h5", parts.weights, parts.nweights, (struct packing){0});
    finish(&m);
    refuse("metadata.json: the topology is not JSON");
    parts_clear(&parts);
}

static void hostile_names(void **state) {
    (void)state;
    struct parts parts = make_parts();
    static const char *const names[] = {"../x", "a/../../x", "/etc/passwd", "a\\..\\x", "assets/.."};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct archive_maker m = make();
        add_all(&m, &parts, (struct packing){0});
        add(&m, names[i], "x", 1, (struct packing){0});
        finish(&m);
        refuse("leads out of it");
    }
    static const char *const twice[] = {"config.json", "model.weights.h5", "assets/a"};
    for (size_t i = 0; i < sizeof twice / sizeof *twice; i++) {
        struct archive_maker m = make();
        add_all(&m, &parts, (struct packing){0});
        add(&m, "assets/a", "x", 1, (struct packing){0});
        add(&m, twice[i], "x", 1, (struct packing){0});
        finish(&m);
        refuse("two entries of one name");
    }
    parts_clear(&parts);
}

static void hostile_packing(void **state) {
    (void)state;
    struct parts parts = make_parts();
    struct archive_maker m = make();
    add_all(&m, &parts, (struct packing){.flags = 1});
    finish(&m);
    refuse("is encrypted");
    m = make();
    add_all(&m, &parts, (struct packing){.method = 12});
    finish(&m);
    refuse("compressed by method 12");
    /* It says that it is larger, or smaller, than it is. */
    m = make();
    add(&m, "config.json", config, strlen(config), (struct packing){.deflate = true});
    add(&m, "model.weights.h5", parts.weights, parts.nweights,
        (struct packing){.deflate = true, .claim = (int64_t)parts.nweights + 1000});
    finish(&m);
    refuse("model.weights.h5 of the archive is damaged");
    m = make();
    add(&m, "config.json", config, strlen(config), (struct packing){.deflate = true});
    add(&m, "model.weights.h5", parts.weights, parts.nweights,
        (struct packing){.deflate = true, .claim = (int64_t)parts.nweights - 1000});
    finish(&m);
    refuse("model.weights.h5 of the archive is damaged");
    parts_clear(&parts);
}

static void bombs(void **state) {
    (void)state;
    struct parts parts = make_parts();
    size_t n = (size_t)96 << 20;
    char *zeros = calloc(1, n);
    struct archive_maker m = make();
    add(&m, "config.json", config, strlen(config), (struct packing){0});
    add(&m, "model.weights.h5", zeros, n, (struct packing){.deflate = true});
    finish(&m);
    refuse("entry model.weights.h5 of the archive expands from");
    n = (size_t)32 << 20;
    memset(zeros, ' ', n);
    m = make();
    add(&m, "config.json", zeros, n, (struct packing){.deflate = true});
    add(&m, "model.weights.h5", parts.weights, parts.nweights, (struct packing){0});
    finish(&m);
    refuse("entry config.json of the archive expands from");
    m = make();
    add(&m, "config.json", config, strlen(config), (struct packing){0});
    add(&m, "model.weights.h5", parts.weights, parts.nweights,
        (struct packing){.deflate = true, .claim = UINT32_MAX - 1});
    finish(&m);
    refuse("model.weights.h5 of the archive expands from");
    free(zeros);
    parts_clear(&parts);
}

static void truncated(void **state) {
    (void)state;
    struct parts parts = make_parts();
    struct archive_maker m = make();
    struct stat info;
    add_all(&m, &parts, (struct packing){0});
    finish(&m);
    assert_int_equal(stat(in_folder("m.keras"), &info), 0);
    for (off_t size = info.st_size - 1; size > 4; size -= size > info.st_size - 250 ? 7 : 997) {
        assert_int_equal(truncate(in_folder("m.keras"), size), 0);
        refuse("m.keras");
    }
    parts_clear(&parts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(packed_in_any_way), IN_FOLDER(metadata_may_be_absent), IN_FOLDER(missing_parts),
        IN_FOLDER(hostile_names),     IN_FOLDER(hostile_packing),        IN_FOLDER(bombs),
        IN_FOLDER(truncated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
