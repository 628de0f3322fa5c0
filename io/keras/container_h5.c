/* HDF5: whole models in Keras's legacy format (model_config, and weights below model_weights), files of
 * weights alone in that format, and Keras 3's .weights.h5. Format:
 * keras/src/legacy/saving/legacy_h5_format.py (Keras 3), tf_keras/saving/legacy/hdf5_format.py (Keras 2),
 * keras/src/saving/saving_lib.py. */
#include "io/keras/locate.h"
#include "io/keras/marks.h"

#include <stdlib.h>
#include <string.h>

struct h5 {
    int64_t file, root; /* HDF5 ids; root has the layers' groups */
    bool variables;     /* of Keras 3's .weights.h5 */
    struct hdf5_sources sources;
};

static bool recognise(const char *path, const unsigned char *head, size_t n) {
    (void)path;
    return hdf5_signature(head, n);
}

static void close_file(struct container *c) {
    struct h5 *h5 = c->state;
    if (!h5) return;
    hdf5_sources_clear(&h5->sources);
    if (h5->root != h5->file) hdf5_close(h5->root);
    hdf5_close(h5->file);
    free(h5);
    c->state = NULL;
}

/* An attribute of the file or of the group with the weights; owned, NULL if neither has it. */
static status read_either(const struct h5 *h5, const char *name, char **text) {
    *text = NULL;
    STATUS_TRY(hdf5_read_text(h5->file, name, text));
    return *text || h5->root == h5->file ? SUCCESS : hdf5_read_text(h5->root, name, text);
}

/* Major version of the Keras that wrote the file; 0 if it does not say. */
static status read_version(const struct h5 *h5, int *version) {
    char *text = NULL;
    STATUS_TRY(read_either(h5, "keras_version", &text));
    *version = text ? atoi(text) : 0;
    if (*version < 1 || *version > 9) *version = 0;
    free(text);
    return SUCCESS;
}

/* A whole model has its weights below model_weights; a file of weights alone has them at its root. */
static status open_root(struct h5 *h5, bool whole) {
    STATUS_TRY(hdf5_open_object(h5->file, "model_weights", &h5->root));
    if (h5->root < 0 && whole)
        return status_fail(STATUS_DATA,
                           "there is no group model_weights; save the whole model, not its topology alone");
    if (h5->root < 0) h5->root = h5->file;
    if (whole) return SUCCESS;
    struct names names = {0};
    STATUS_TRY(hdf5_read_names(h5->root, "layer_names", &names));
    bool legacy = names.n > 0;
    names_clear(&names);
    if (!legacy) STATUS_TRY(locate_has_variables(h5->root, &h5->variables));
    if (legacy || h5->variables) return SUCCESS;
    return status_fail(STATUS_DATA,
                       "this HDF5 file is not a Keras model: it has no attribute model_config or "
                       "layer_names, and no group layers");
}

static status read_frame(struct container *c, struct h5 *h5) {
    STATUS_TRY(hdf5_read_text(h5->file, "model_config", &c->config));
    STATUS_TRY(open_root(h5, c->config));
    STATUS_TRY(read_version(h5, &c->keras_version));
    return marks_read(h5->file, &c->keras_version, &c->preprocessing);
}

static status open_file(struct container *c, const struct keras_options *options) {
    (void)options;
    struct h5 *h5 = calloc(1, sizeof *h5);
    if (!h5) return status_no_memory("a model file", sizeof *h5);
    h5->file = h5->root = -1;
    c->state = h5;
    STATUS_TRY(hdf5_open(c->path, c->fd, &h5->file));
    return status_context(read_frame(c, h5), "%s", c->path);
}

/* Keras 1 did not say that it was Keras 1. */
static status read_origin(const struct h5 *h5, const struct topology *topology, struct origin *origin) {
    char *backend = NULL;
    STATUS_TRY(read_version(h5, &origin->keras_version));
    STATUS_TRY(read_either(h5, "backend", &backend));
    if (!origin->keras_version) origin->keras_version = topology->graph->keras_version > 2 ? 3 : 1;
    origin->theano = backend && !strcmp(backend, "theano");
    free(backend);
    return SUCCESS;
}

static status locate(struct container *c, const struct topology *topology, struct places *places) {
    struct h5 *h5 = c->state;
    struct origin origin;
    int file;
    STATUS_TRY(places_file(places, c->path, &file));
    STATUS_TRY(hdf5_sources_create(h5->root, places->n, &h5->sources));
    if (h5->variables) return locate_variables(topology, file, 0, &h5->sources, places);
    STATUS_TRY(read_origin(h5, topology, &origin));
    return locate_weights(topology, &origin, file, &h5->sources, places);
}

static status read_rows(struct container *c, const struct place *place, int number, int64_t first,
                        int64_t nrows, float *rows) {
    return hdf5_source_read(&((struct h5 *)c->state)->sources, place, number, first, nrows, rows);
}

const struct container_kind container_h5 = {
    .name = "h5",
    .description = "HDF5 (.h5, .hdf5, .weights.h5)",
    .recognise = recognise,
    .open = open_file,
    .locate = locate,
    .read = read_rows,
    .close = close_file,
};
