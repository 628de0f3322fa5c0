/* Keras 3's .keras: a zip archive of metadata.json, config.json and model.weights.h5 (keras/src/saving/
 * saving_lib.py). The weights are not copied: HDF5 sees the archive's own bytes, mapped. */
#include "io/keras/archive.h"
#include "io/keras/locate.h"
#include "io/keras/marks.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG "config.json"
#define METADATA "metadata.json"
#define WEIGHTS "model.weights.h5"

/* What entries may expand to. Weights hardly compress, unless most are zero; topologies do so some twenty
 * times. */
#define WEIGHTS_FREE_BYTES ((size_t)64 << 20)
#define WEIGHTS_RATIO 64
#define TEXT_FREE_BYTES ((size_t)1 << 20)
#define TEXT_RATIO 200

struct keras_archive {
    struct archive *archive;
    struct archive_bytes weights;
    int64_t hdf5; /* of the weights, -1 before */
    struct hdf5_sources sources;
};

static bool recognise(const char *path, const unsigned char *head, size_t n) {
    (void)path;
    return archive_signature(head, n);
}

static void close_archive(struct container *c) {
    struct keras_archive *k = c->state;
    if (!k) return;
    hdf5_sources_clear(&k->sources);
    hdf5_close(k->hdf5);
    archive_unmap(&k->weights);
    archive_close(&k->archive);
    free(k);
    c->state = NULL;
}

static status read_text(struct archive *archive, const char *name, char **text) {
    size_t max_bytes;
    STATUS_TRY(archive_limit(archive, name, TEXT_FREE_BYTES, TEXT_RATIO, &max_bytes));
    return archive_read_text(archive, name, max_bytes < TOPOLOGY_MAX_BYTES ? max_bytes : TOPOLOGY_MAX_BYTES,
                             text);
}

/* Major version of the Keras that wrote the archive; 0 if it does not say. */
static status read_version(struct archive *archive, int *version) {
    char *text = NULL;
    cJSON *json = NULL;
    *version = 0;
    if (!archive_has(archive, METADATA)) return SUCCESS;
    STATUS_TRY(read_text(archive, METADATA, &text));
    status error = status_context(topology_parse(text, &json), METADATA);
    const char *said = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "keras_version"));
    if (said) *version = atoi(said);
    if (*version < 1 || *version > 9) *version = 0;
    cJSON_Delete(json);
    free(text);
    return error;
}

static status open_weights(struct keras_archive *k) {
    size_t max_bytes;
    if (!archive_has(k->archive, WEIGHTS))
        return status_fail(STATUS_DATA,
                           "the archive has no " WEIGHTS "; save the model with Keras's defaults");
    STATUS_TRY(archive_limit(k->archive, WEIGHTS, WEIGHTS_FREE_BYTES, WEIGHTS_RATIO, &max_bytes));
    STATUS_TRY(archive_map(k->archive, WEIGHTS, max_bytes, &k->weights));
    return status_context(hdf5_open_image(k->weights.data, k->weights.n, &k->hdf5), WEIGHTS);
}

static status read_archive(struct container *c, struct keras_archive *k) {
    STATUS_TRY(archive_open(c->fd, &k->archive));
    if (!archive_has(k->archive, CONFIG))
        return status_fail(STATUS_DATA, "this zip archive is not a Keras model: it has no " CONFIG);
    STATUS_TRY(read_version(k->archive, &c->keras_version));
    STATUS_TRY(read_text(k->archive, CONFIG, &c->config));
    STATUS_TRY(open_weights(k));
    return marks_read(k->hdf5, &c->keras_version, &c->preprocessing);
}

static status open_archive(struct container *c, const struct keras_options *options) {
    (void)options;
    struct keras_archive *k = calloc(1, sizeof *k);
    if (!k) return status_no_memory("a model file", sizeof *k);
    k->hdf5 = -1;
    c->state = k;
    return status_context(read_archive(c, k), "%s", c->path);
}

static status locate(struct container *c, const struct topology *topology, struct places *places) {
    struct keras_archive *k = c->state;
    int file;
    STATUS_TRY(places_file(places, c->path, &file));
    STATUS_TRY(hdf5_sources_create(k->hdf5, places->n, &k->sources));
    return locate_variables(topology, k->weights.offset >= 0 ? file : -1, k->weights.offset, &k->sources,
                            places);
}

static status read_rows(struct container *c, const struct place *place, int number, int64_t first,
                        int64_t nrows, float *rows) {
    return hdf5_source_read(&((struct keras_archive *)c->state)->sources, place, number, first, nrows, rows);
}

const struct container_kind container_keras = {
    .name = "keras",
    .description = "a Keras archive (.keras)",
    .recognise = recognise,
    .open = open_archive,
    .locate = locate,
    .read = read_rows,
    .close = close_archive,
};
