/* Models written: complete or absent. */
#include "io/keras/write.h"

#include "io/file.h"
#include "io/keras/topology.h"

#include <stdlib.h>
#include <string.h>

struct keras_writer {
    const struct keras_format *format;
    char *path, *temporary; /* owned */
    char *config;           /* owned; of the format */
    struct hdf5_writer *weights;
};

void keras_writer_abandon(struct keras_writer **writer) {
    struct keras_writer *w = *writer;
    if (!w) return;
    hdf5_writer_discard(&w->weights);
    file_abandon(w->temporary);
    free(w->path);
    free(w->temporary);
    free(w->config);
    free(w);
    *writer = NULL;
}

static status create(struct keras_writer *w, const char *path, const struct graph *graph,
                     const char *preprocessing) {
    w->path = strdup(path);
    if (!w->path) return status_no_memory("a path", strlen(path));
    STATUS_TRY(file_temporary(path, &w->temporary));
    STATUS_TRY(hdf5_writer_create(w->temporary, path, graph, &w->weights));
    return status_context(w->format->lay_out(w->weights, graph, preprocessing, &w->config), "cannot write %s",
                          path);
}

static status create_writer(const char *path, const struct keras_format *format, const struct graph *graph,
                            const char *preprocessing, struct keras_writer **writer) {
    struct keras_writer *w = calloc(1, sizeof *w);
    if (!w) return status_no_memory("a model file", sizeof *w);
    w->format = format;
    status error = create(w, path, graph, preprocessing);
    if (error) keras_writer_abandon(&w);
    *writer = w;
    return error;
}

status keras_writer_create(const char *path, const struct graph *graph, const char *preprocessing,
                           struct keras_writer **writer) {
    return create_writer(path, &keras_format_legacy, graph, preprocessing, writer);
}

status keras_writer_rows(struct keras_writer *writer, int layer, int weight, int64_t first, int64_t nrows,
                         const float *rows) {
    return hdf5_writer_rows(writer->weights, layer, weight, first, nrows, rows);
}

/* What takes the model's name is made beside it, of the complete file of weights. */
static status pack(struct keras_writer *w) {
    char *packed = NULL;
    STATUS_TRY(file_temporary(w->path, &packed));
    status error = status_context(w->format->pack(w->temporary, w->config, packed), "%s", w->path);
    if (error) file_abandon(packed);
    else error = file_commit(packed, w->path);
    free(packed);
    return error;
}

status keras_writer_commit(struct keras_writer **writer) {
    struct keras_writer *w = *writer;
    status error = hdf5_writer_finish(&w->weights);
    if (!error && w->format->pack) {
        error = pack(w);
    } else if (!error) {
        error = file_commit(w->temporary, w->path);
        free(w->temporary);
        w->temporary = NULL;
    }
    keras_writer_abandon(writer);
    return error;
}

static status write_model(const char *path, const struct keras_format *format, const struct graph *graph,
                          const struct params *params, const char *preprocessing) {
    struct keras_writer *w = NULL;
    STATUS_TRY(create_writer(path, format, graph, preprocessing, &w));
    status error = SUCCESS;
    for (int l = 0, param = 0; l < graph->nlayers && !error; l++)
        for (int i = 0; i < graph->layer[l].nweights && !error; i++, param++) {
            if (!hdf5_writer_has(w->weights, l, i)) continue; /* no output needs it */
            int64_t rows, columns;
            shape_rows(&graph->layer[l].weight[i].shape, &rows, &columns);
            error = keras_writer_rows(w, l, i, 0, rows, params_at(params, param));
        }
    if (!error) return keras_writer_commit(&w);
    keras_writer_abandon(&w);
    return error;
}

status keras_write(const char *path, const struct graph *graph, const struct params *params,
                   const char *preprocessing) {
    return write_model(path, &keras_format_legacy, graph, params, preprocessing);
}

status keras_write_archive(const char *path, const struct graph *graph, const struct params *params,
                           const char *preprocessing) {
    return write_model(path, &keras_format_archive, graph, params, preprocessing);
}

status keras_lay_out(const char *path, const struct graph *graph, const char *preprocessing,
                     struct keras_place *place) {
    struct hdf5_writer *w = NULL;
    char *config = NULL;
    STATUS_TRY(hdf5_writer_create(path, path, graph, &w));
    status error = keras_format_legacy.lay_out(w, graph, preprocessing, &config);
    for (int l = 0, n = 0; l < graph->nlayers && !error; l++)
        for (int i = 0; i < graph->layer[l].nweights && !error; i++, n++)
            error = hdf5_writer_leave(w, l, i, &place[n]);
    error = status_context(error, "cannot write %s", path);
    free(config);
    if (!error) return hdf5_writer_finish(&w);
    hdf5_writer_discard(&w);
    return error;
}

/* An activation that is another function in Keras 3 than in Keras 2. */
static bool has_hard_sigmoid(const struct layer *layer) {
    for (int i = 0; i < layer->kind->nattrs; i++) {
        const struct attr *attr = &layer->attr[i];
        if (!attr->present) continue;
        if (layer->kind->attrs[i].type == ATTR_STRING && !strcmp(attr->u.s, "hard_sigmoid")) return true;
        if (layer->kind->attrs[i].type == ATTR_LAYER && has_hard_sigmoid(attr->u.layer)) return true;
    }
    return false;
}

status keras_readers(const struct graph *graph, const char **text) {
    bool both = topology_dialect_of(graph) == TOPOLOGY_COMMON, keras3 = graph->keras_version > 2;
    *text = both ? "Keras 2 and Keras 3" : "Keras 3";
    for (int l = 0; l < graph->nlayers && both; l++)
        if (has_hard_sigmoid(&graph->layer[l])) *text = keras3 ? "Keras 3" : "Keras 2";
    return SUCCESS;
}
