/* TensorFlow.js layers models: a folder with model.json and shards of weights, or its model.json.
 * Format: tfjs-layers/src/models.ts and tfjs-converter/python/tensorflowjs/converters/keras_h5_conversion.py.
 */
#include "io/file.h"
#include "io/keras/container.h"
#include "io/keras/manifest.h"
#include "io/keras/recipe.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODEL "model.json"
#define BUFFER_BYTES 65536

struct tfjs {
    char *folder; /* owned */
    struct manifest manifest;
    int *weight_of; /* [places], owned: the manifest's weight of each place */
    int shard, fd;  /* the shard that is open; -1 */
};

static char *join(const char *folder, const char *name) {
    char *path = NULL;
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

static bool recognise(const char *path, const unsigned char *head, size_t n) {
    if (head) {
        size_t i = 0;
        while (i < n && head[i] && strchr(" \t\r\n", head[i])) i++;
        return i < n && head[i] == '{';
    }
    char *model = join(path, MODEL);
    bool has = model && access(model, F_OK) == 0;
    free(model);
    return has;
}

static void close_model(struct container *c) {
    struct tfjs *t = c->state;
    if (!t) return;
    if (t->fd >= 0) close(t->fd);
    manifest_clear(&t->manifest);
    free(t->weight_of);
    free(t->folder);
    free(t);
    c->state = NULL;
}

/* ---- opening ---- */

/* The folder of the model, and its model.json; both owned. */
static status find_model(const struct container *c, char **folder, char **model) {
    bool is_folder = recognise(c->path, NULL, 0);
    const char *slash = strrchr(c->path, '/');
    *folder = is_folder ? strdup(c->path)
              : slash   ? strndup(c->path, (size_t)(slash - c->path) + (slash == c->path))
                        : strdup(".");
    *model = is_folder ? join(c->path, MODEL) : strdup(c->path);
    return *folder && *model ? SUCCESS : status_no_memory("a path", strlen(c->path));
}

static status check_format(const cJSON *json) {
    const cJSON *topology = cJSON_GetObjectItemCaseSensitive(json, "modelTopology");
    const char *format = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "format"));
    if ((format && strcmp(format, "layers-model") != 0) || cJSON_GetObjectItemCaseSensitive(topology, "node"))
        return status_fail(
            STATUS_UNSUPPORTED,
            "this is a TensorFlow.js model of format \"%.40s\"; only layers models are read: convert "
            "the Keras model again with --output_format=tfjs_layers_model",
            format ? format : "graph-model");
    if (!cJSON_IsObject(topology))
        return status_fail(STATUS_DATA,
                           "this JSON file has no modelTopology: it is not a model of TensorFlow.js. A "
                           "topology alone goes with --topology beside its weights");
    if (!cJSON_HasObjectItem(json, "weightsManifest"))
        return status_fail(STATUS_DATA, "this model has no weightsManifest, so no weights");
    return SUCCESS;
}

static status read_model(struct container *c, struct tfjs *t, const char *model) {
    cJSON *json = NULL;
    STATUS_TRY(file_read_text(model, TOPOLOGY_MAX_BYTES, &c->config));
    STATUS_TRY(status_context(topology_parse(c->config, &json), "%s", model));
    status error = check_format(json);
    if (!error)
        error = manifest_read(cJSON_GetObjectItemCaseSensitive(json, "weightsManifest"), &t->manifest);
    error = status_context(error, "%s", model);
    cJSON_Delete(json);
    return error;
}

static status open_model(struct container *c, const struct keras_options *options) {
    char *model = NULL;
    (void)options;
    struct tfjs *t = calloc(1, sizeof *t);
    if (!t) return status_no_memory("a model file", sizeof *t);
    t->fd = t->shard = -1;
    c->state = t;
    status error = find_model(c, &t->folder, &model);
    if (!error) error = read_model(c, t, model);
    free(model);
    return error;
}

/* ---- locating ---- */

/* The layer whose name is the first of the parts of a weight's name that is any layer's; -1 if none. */
static int layer_of(const struct graph *graph, const char *weight) {
    for (const char *part = weight, *end; (end = strchr(part, '/')); part = end + 1) {
        char name[256];
        size_t length = (size_t)(end - part);
        if (length >= sizeof name) continue;
        memcpy(name, part, length);
        name[length] = 0;
        int layer = graph_find_layer(graph, name);
        if (layer >= 0) return layer;
    }
    return -1;
}

/* Is this the weight of that name? Keras 3 and Keras 2 may call it differently. */
static bool is_called(const struct weight *weight, const char *name) {
    const char *last = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    return !strcmp(weight->name, last) || (weight->keras2 && !strcmp(weight->keras2, last));
}

/* The weights of one layer, found[nweights] of the manifest: by name if each name is there once, else in
 * order. */
static void match_weights(const struct layer *layer, const struct manifest *manifest, const int *found,
                          int *weight_of) {
    bool by_name = true;
    for (int w = 0; w < layer->nweights && by_name; w++) {
        int n = 0;
        for (int k = 0; k < layer->nweights; k++)
            if (is_called(&layer->weight[w], manifest->weight[found[k]].name)) {
                weight_of[w] = found[k];
                n++;
            }
        by_name = n == 1;
    }
    for (int w = 0; w < layer->nweights && !by_name; w++) weight_of[w] = found[w];
}

/* Where a weight lies in one shard alone, plainly; *file stays -1 otherwise. */
static status find_plain(const struct tfjs *t, const struct manifest_weight *weight, struct places *places,
                         struct place *place) {
    int64_t count;
    STATUS_TRY(shape_count(&weight->shape, &count));
    int64_t nbytes = count * (int64_t)weight->size;
    if (weight->type != MANIFEST_FLOAT32 || weight->scaled) return SUCCESS;
    for (int i = 0; i < t->manifest.nshards; i++) {
        const struct manifest_shard *shard = &t->manifest.shard[i];
        if (shard->group != weight->group || weight->offset < shard->offset ||
            weight->offset + nbytes > shard->offset + shard->nbytes)
            continue;
        char *path = join(t->folder, shard->path);
        status error =
            path ? places_file(places, path, &place->file) : status_no_memory("a path", strlen(shard->path));
        free(path);
        if (!error) place->offset = weight->offset - shard->offset;
        return error;
    }
    return SUCCESS;
}

static status place_weight(const struct tfjs *t, const struct layer *layer, int w, int number,
                           struct places *places) {
    const struct manifest_weight *weight = &t->manifest.weight[t->weight_of[number]];
    struct place *place = &places->place[number];
    status error = recipe_check_shape(&weight->shape, &layer->weight[w].shape);
    if (!error && !(place->path = strdup(weight->name)))
        error = status_no_memory("a name", strlen(weight->name));
    place->size = weight->size;
    if (!error) error = find_plain(t, weight, places, place);
    return status_context(error, "weight %s of layer \"%.80s\" (%s)", layer->weight[w].name, layer->name,
                          weight->name);
}

/* Gives each layer its weights of the manifest, in the manifest's order: found[place], of which a layer has
 * nfound. */
static status share_out(const struct tfjs *t, const struct graph *graph, const struct places *places,
                        int *nfound, int *found) {
    for (int i = 0; i < t->manifest.nweights; i++) {
        const char *name = t->manifest.weight[i].name;
        int l = layer_of(graph, name);
        if (l < 0) continue; /* of a layer that the topology does not have: nobody needs it */
        if (nfound[l] == graph->layer[l].nweights)
            return status_fail(STATUS_DATA,
                               "layer \"%.80s\" needs %d weights, and weightsManifest has more: %.80s",
                               graph->layer[l].name, graph->layer[l].nweights, name);
        found[places->first[l] + nfound[l]++] = i;
    }
    for (int l = 0; l < graph->nlayers; l++)
        if (nfound[l] != graph->layer[l].nweights)
            return status_fail(STATUS_DATA, "layer \"%.80s\" needs %d weights, and weightsManifest has %d",
                               graph->layer[l].name, graph->layer[l].nweights, nfound[l]);
    return SUCCESS;
}

static status locate(struct container *c, const struct topology *topology, struct places *places) {
    struct tfjs *t = c->state;
    const struct graph *graph = topology->graph;
    STATUS_TRY(manifest_measure(&t->manifest, t->folder));
    t->weight_of = calloc((size_t)places->n + 1, sizeof *t->weight_of);
    int *nfound = calloc((size_t)graph->nlayers + 1, sizeof *nfound),
        *found = calloc((size_t)places->n + 1, sizeof *found);
    status error = t->weight_of && nfound && found
                       ? share_out(t, graph, places, nfound, found)
                       : status_no_memory("a list of weights", (size_t)places->n * sizeof *found);
    for (int l = 0; l < graph->nlayers && !error; l++) {
        int first = places->first[l];
        match_weights(&graph->layer[l], &t->manifest, found + first, t->weight_of + first);
        for (int w = 0; w < graph->layer[l].nweights && !error; w++)
            error = place_weight(t, &graph->layer[l], w, first + w, places);
    }
    free(nfound);
    free(found);
    return error;
}

/* ---- reading ---- */

static status open_shard(struct tfjs *t, int i) {
    int64_t nbytes;
    if (t->shard == i) return SUCCESS;
    if (t->fd >= 0) close(t->fd);
    t->fd = t->shard = -1;
    char *path = join(t->folder, t->manifest.shard[i].path);
    status error = path ? file_open_input(path, &t->fd, &nbytes) : status_no_memory("a path", 0);
    free(path);
    if (!error) t->shard = i;
    return error;
}

/* Bytes of a group, from as many shards as they are in. */
static status read_bytes(struct tfjs *t, int group, int64_t at, size_t n, char *to) {
    for (int i = 0; i < t->manifest.nshards && n; i++) {
        const struct manifest_shard *shard = &t->manifest.shard[i];
        if (shard->group != group || at < shard->offset || at >= shard->offset + shard->nbytes) continue;
        int64_t left = shard->offset + shard->nbytes - at;
        size_t want = n < (size_t)left ? n : (size_t)left;
        STATUS_TRY(open_shard(t, i));
        while (want) {
            ssize_t got = pread(t->fd, to, want, (off_t)(at - shard->offset));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return file_fail("read", shard->path, errno);
            if (got == 0) return status_fail(STATUS_DATA, "cannot be read: %s is truncated", shard->path);
            to += got;
            at += got;
            want -= (size_t)got;
            n -= (size_t)got;
        }
    }
    return n ? status_fail(STATUS_DATA, "lies beyond the end of the shards") : SUCCESS;
}

static status read_rows(struct container *c, const struct place *place, int number, int64_t first,
                        int64_t nrows, float *rows) {
    struct tfjs *t = c->state;
    const struct manifest_weight *weight = &t->manifest.weight[t->weight_of[number]];
    char buffer[BUFFER_BYTES];
    int64_t all, columns;
    shape_rows(&place->shape, &all, &columns);
    int64_t at = weight->offset + first * columns * (int64_t)weight->size, left = nrows * columns;
    while (left) {
        int64_t most = BUFFER_BYTES / (int64_t)weight->size, n = left < most ? left : most;
        STATUS_TRY(read_bytes(t, weight->group, at, (size_t)n * weight->size, buffer));
        manifest_decode(weight, buffer, n, rows);
        rows += n;
        at += n * (int64_t)weight->size;
        left -= n;
    }
    return SUCCESS;
}

const struct container_kind container_tfjs = {
    .name = "tfjs",
    .description = "a TensorFlow.js layers model (model.json)",
    .recognise = recognise,
    .open = open_model,
    .locate = locate,
    .read = read_rows,
    .close = close_model,
};
