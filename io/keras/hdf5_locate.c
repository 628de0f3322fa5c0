/* Where a file keeps each weight of a graph.
 *
 * Each outermost layer has a group with an attribute "weight_names": paths relative to it, in Keras's order,
 * all trainable weights first, then the others. Names follow the Keras that wrote them and are not relied
 * upon. */
#include "io/keras/locate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A weight of the graph, in the order of the file. */
struct wanted {
    int layer, weight;
};

/* Weights of the layers that came from one outermost layer, in Keras's order. */
static int list_weights(const struct topology *t, int top, struct wanted *wanted) {
    int n = 0;
    for (int trainable = 1; trainable >= 0; trainable--)
        for (int l = 0; l < t->graph->nlayers; l++) {
            if (t->top_of[l] != top) continue;
            const struct layer *layer = &t->graph->layer[l];
            for (int w = 0; w < layer->nweights; w++)
                if ((layer->trainable && layer->weight[w].trainable) == (trainable == 1))
                    wanted[n++] = (struct wanted){l, w};
        }
    return n;
}

static int find_name(const struct names *names, const char *name) {
    for (int i = 0; i < names->n; i++)
        if (!strcmp(names->name[i], name)) return i;
    return -1;
}

/* Opens a weight, checks it against the topology and keeps its path. */
static status locate_weight(int64_t root, const struct layer *layer, int w, const char *group,
                            const char *name, int file, struct place *place) {
    const struct weight *weight = &layer->weight[w];
    int64_t dataset = -1;
    struct dataset_info info;
    status error = SUCCESS;
    if (asprintf(&place->path, "%s/%s", group, name) < 0) {
        place->path = NULL;
        return status_no_memory("a path", strlen(group));
    }
    STATUS_GOTO(error, cleanup, hdf5_open_object(root, place->path, &dataset));
    if (dataset < 0) {
        error = status_fail(STATUS_DATA, "is missing");
        goto cleanup;
    }
    STATUS_GOTO(error, cleanup, hdf5_inspect(dataset, &info));
    if (!shape_equal(&info.shape, &weight->shape)) {
        char has[SHAPE_TEXT_MAX], needs[SHAPE_TEXT_MAX];
        error = status_fail(STATUS_DATA, "has shape %s, but the topology needs %s",
                            shape_format(&info.shape, has), shape_format(&weight->shape, needs));
        goto cleanup;
    }
    place->size = info.size;
    place->file = file;
    place->offset = info.offset;
cleanup:
    hdf5_close(dataset);
    return status_context(error, "weight %s of layer \"%.80s\" (%s)", weight->name, layer->name, place->path);
}

/* The weights of one outermost layer, from the group `group`. */
static status locate_group(int64_t root, const struct topology *t, const char *group, int n,
                           const struct wanted *wanted, int file, struct places *places) {
    struct names names = {0};
    int64_t id = -1;
    status error = SUCCESS;
    STATUS_GOTO(error, cleanup, hdf5_open_object(root, group, &id));
    if (id < 0) {
        error = status_fail(STATUS_DATA, "weights of layer \"%.80s\" are missing: there is no group %s",
                            t->graph->layer[wanted[0].layer].name, group);
        goto cleanup;
    }
    STATUS_GOTO(error, cleanup, hdf5_read_names(id, "weight_names", &names));
    if (names.n != n) {
        error = status_fail(STATUS_DATA, "layer \"%.80s\" needs %d weights, and the file has %d", group, n,
                            names.n);
        goto cleanup;
    }
    for (int i = 0; i < n; i++) {
        int l = wanted[i].layer, w = wanted[i].weight;
        STATUS_GOTO(error, cleanup,
                    locate_weight(root, &t->graph->layer[l], w, group, names.name[i], file,
                                  &places->place[places->first[l] + w]));
    }
cleanup:
    names_clear(&names);
    hdf5_close(id);
    return error;
}

/* How many weights a group lists. */
static status count_names(int64_t root, const char *group, int *n) {
    int64_t id;
    struct names names = {0};
    STATUS_TRY(hdf5_open_object(root, group, &id));
    status error = id < 0 ? SUCCESS : hdf5_read_names(id, "weight_names", &names);
    *n = names.n;
    names_clear(&names);
    hdf5_close(id);
    return error;
}

/* The group of each outermost layer that has weights: by name, or, if names differ, by the order of those
 * that have weights. */
static status match_groups(int64_t root, const struct topology *t, const int *nwanted,
                           const struct names *groups, int *group_of) {
    int needed = 0, unnamed = -1;
    for (int top = 0; top < t->ntop; top++) {
        group_of[top] = -1;
        if (!nwanted[top]) continue;
        needed++;
        group_of[top] = find_name(groups, t->top_name[top]);
        if (group_of[top] < 0 && unnamed < 0) unnamed = top;
    }
    if (unnamed < 0) return SUCCESS;
    int found = 0, top = 0;
    for (int g = 0; g < groups->n; g++) {
        int n;
        STATUS_TRY(count_names(root, groups->name[g], &n));
        if (!n) continue;
        found++;
        while (top < t->ntop && !nwanted[top]) top++;
        if (top < t->ntop) group_of[top++] = g;
    }
    if (found != needed)
        return status_fail(STATUS_DATA,
                           "weights of layer \"%.80s\" are missing: layer_names does not list it, and %d "
                           "layers have weights in the file where the topology has %d",
                           t->top_name[unnamed], found, needed);
    return SUCCESS;
}

status locate_weights(int64_t root, const struct topology *t, int file, struct places *places) {
    struct names groups = {0};
    status error = SUCCESS;
    int *nwanted = calloc((size_t)t->ntop + 1, sizeof *nwanted),
        *group_of = calloc((size_t)t->ntop + 1, sizeof *group_of);
    struct wanted *wanted = calloc((size_t)places->n + 1, sizeof *wanted);
    if (!nwanted || !group_of || !wanted) {
        error = status_no_memory("a list of weights", (size_t)places->n * sizeof *wanted);
        goto cleanup;
    }
    for (int l = 0; l < t->graph->nlayers; l++) nwanted[t->top_of[l]] += t->graph->layer[l].nweights;
    STATUS_GOTO(error, cleanup, hdf5_read_names(root, "layer_names", &groups));
    STATUS_GOTO(error, cleanup, match_groups(root, t, nwanted, &groups, group_of));
    for (int top = 0; top < t->ntop; top++) {
        if (!nwanted[top]) continue;
        int n = list_weights(t, top, wanted);
        STATUS_GOTO(error, cleanup,
                    locate_group(root, t, groups.name[group_of[top]], n, wanted, file, places));
    }
cleanup:
    names_clear(&groups);
    free(nwanted);
    free(group_of);
    free(wanted);
    return error;
}
