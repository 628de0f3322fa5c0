#include "coordinator/freeze.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    char pattern[256];
    int64_t epochs;
};

/* "conv_*" or "conv_* 3": names may have spaces, so that only a number at the end is one. */
static status parse(const char *text, struct entry *entry) {
    const char *space = strrchr(text, ' ');
    size_t length = strlen(text);
    char *end = NULL;
    entry->epochs = INT64_MAX;
    if (space && space[1] >= '0' && space[1] <= '9') {
        long long epochs = strtoll(space + 1, &end, 10);
        if (!*end) {
            entry->epochs = epochs;
            length = (size_t)(space - text);
        }
    }
    if (!length || length >= sizeof entry->pattern)
        return status_fail(STATUS_USAGE,
                           "training.freeze: \"%.80s\" is no layer's name and perhaps a number of epochs",
                           text);
    memcpy(entry->pattern, text, length);
    entry->pattern[length] = 0;
    return SUCCESS;
}

static bool has_weights(const struct graph *graph, int layer) {
    return graph->layer[layer].nweights > 0;
}

static status fits_none(const struct graph *graph, const char *pattern) {
    const char *near = graph_nearest_layer(graph, has_weights, pattern);
    return status_fail(STATUS_USAGE, "training.freeze: no layer with weights is called \"%.80s\"%s%s%s",
                       pattern, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static status apply(const struct entry *entry, const struct graph *graph, int64_t *thaw) {
    bool fits = false;
    for (int l = 0; l < graph->nlayers; l++) {
        const struct layer *layer = &graph->layer[l];
        if (!has_weights(graph, l) || fnmatch(entry->pattern, layer->name, 0) != 0) continue;
        int first = graph_first_param(graph, l);
        for (int w = 0; w < layer->nweights; w++) thaw[first + w] = entry->epochs;
        fits = true;
    }
    return fits ? SUCCESS : fits_none(graph, entry->pattern);
}

status freeze_parse(const struct training_config *config, const struct graph *graph, int64_t **thaw) {
    int n = 0;
    *thaw = NULL;
    if (!config->nfreeze) return SUCCESS;
    for (int l = 0; l < graph->nlayers; l++) n += graph->layer[l].nweights;
    int64_t *epochs = calloc((size_t)n + 1, sizeof *epochs);
    status error = epochs ? SUCCESS : status_no_memory("frozen weights", (size_t)n * sizeof *epochs);
    for (int i = 0; i < config->nfreeze && !error; i++) {
        struct entry entry;
        error = parse(config->freeze[i], &entry);
        if (!error) error = apply(&entry, graph, epochs);
    }
    if (error) free(epochs);
    else *thaw = epochs;
    return error;
}
