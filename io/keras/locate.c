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

/* What locating goes by. */
struct locating {
    const struct topology *topology;
    const struct origin *origin;
    struct hdf5_sources *sources;
    const struct places *places;
};

/* Number of a weight's place. */
static int number_of(const struct locating *in, const struct wanted *wanted) {
    return in->places->first[wanted->layer] + wanted->weight;
}

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

static status context(status error, const struct locating *in, const struct wanted *wanted,
                      const char *path) {
    const struct layer *layer = &in->topology->graph->layer[wanted->layer];
    return status_context(error, "weight %s of layer \"%.80s\" (%s)", layer->weight[wanted->weight].name,
                          layer->name, path);
}

/* Appends the dataset `name` of a group to the source of a weight. */
static status add_part(const struct locating *in, const struct wanted *wanted, const char *group,
                       const char *name) {
    const struct weight *weight = &in->topology->graph->layer[wanted->layer].weight[wanted->weight];
    char *path = NULL;
    if (asprintf(&path, "%s/%s", group, name) < 0) return status_no_memory("a path", strlen(group));
    status error =
        context(hdf5_source_add(in->sources, number_of(in, wanted), path, recipe_may_count(weight)), in,
                wanted, path);
    free(path);
    return error;
}

/* The three weights of an LSTM or GRU, for each gate of which Keras 1 has one of each. */
static status add_gates(const struct locating *in, const struct wanted *wanted, int gates, const char *group,
                        char *const *name) {
    for (int k = 0; k < 3; k++) {
        const struct weight *weight = &in->topology->graph->layer[wanted[k].layer].weight[wanted[k].weight];
        struct hdf5_source *source = &in->sources->source[number_of(in, &wanted[k])];
        struct shape part = weight->shape;
        part.dim[part.rank - 1] /= gates;
        for (int g = 0; g < gates; g++) {
            const char *of_gate = name[3 * recipe_gate(gates, g) + k];
            STATUS_TRY(add_part(in, &wanted[k], group, of_gate));
            STATUS_TRY(
                context(recipe_check_shape(&source->info[g].shape, &part), in, &wanted[k], source->path[g]));
        }
        source->recipe = (struct recipe){.conversion = CONVERT_GATES, .gates = gates};
    }
    return SUCCESS;
}

/* Chooses the recipes of weights that have one part each: of three at once if cuDNN wrote them. */
static status choose(const struct locating *in, const struct wanted *wanted, int n, int *done) {
    const struct layer *layer = &in->topology->graph->layer[wanted->layer];
    struct hdf5_source *source = &in->sources->source[number_of(in, wanted)];
    struct recipe recipe[3];
    *done = 1;
    if (n >= 3 && recipe_gates(layer, wanted->weight)) {
        struct shape stored[3] = {source[0].info[0].shape, source[1].info[0].shape, source[2].info[0].shape};
        if (recipe_cudnn(layer, wanted->weight, stored, recipe)) {
            for (int k = 0; k < 3; k++) source[k].recipe = recipe[k];
            *done = 3;
            return SUCCESS;
        }
    }
    return context(recipe_choose(in->origin, layer, wanted->weight, &source->info[0].shape, &source->recipe),
                   in, wanted, source->path[0]);
}

/* How many of Keras 1's tensors stand for these weights. */
static int count_gates(const struct topology *t, const struct wanted *wanted, int n) {
    int count = 0;
    for (int i = 0; i < n;) {
        int gates = recipe_gates(&t->graph->layer[wanted[i].layer], wanted[i].weight);
        count += gates ? 3 * gates : 1;
        i += gates ? 3 : 1;
    }
    return count;
}

static status add_parts(const struct locating *in, const char *group, const struct names *names, int n,
                        const struct wanted *wanted) {
    bool by_gate =
        names->n != n && in->origin->keras_version == 1 && names->n == count_gates(in->topology, wanted, n);
    if (names->n != n && !by_gate)
        return status_fail(STATUS_DATA, "layer \"%.80s\" needs %d weights, and the file has %d", group, n,
                           names->n);
    for (int i = 0, at = 0; i < n;) {
        int gates =
            by_gate ? recipe_gates(&in->topology->graph->layer[wanted[i].layer], wanted[i].weight) : 0;
        STATUS_TRY(gates ? add_gates(in, &wanted[i], gates, group, names->name + at)
                         : add_part(in, &wanted[i], group, names->name[at]));
        at += gates ? 3 * gates : 1;
        i += gates ? 3 : 1;
    }
    for (int i = 0; i < n;) {
        int done = 1;
        if (in->sources->source[number_of(in, &wanted[i])].nparts == 1)
            STATUS_TRY(choose(in, &wanted[i], n - i, &done));
        i += done;
    }
    return SUCCESS;
}

/* The weights of one outermost layer, from the group `group`. */
static status locate_group(const struct locating *in, const char *group, int n, const struct wanted *wanted) {
    struct names names = {0};
    int64_t id = -1;
    status error = SUCCESS;
    STATUS_GOTO(error, cleanup, hdf5_open_object(in->sources->root, group, &id));
    if (id < 0) {
        error = status_fail(STATUS_DATA, "weights of layer \"%.80s\" are missing: there is no group %s",
                            in->topology->graph->layer[wanted[0].layer].name, group);
        goto cleanup;
    }
    STATUS_GOTO(error, cleanup, hdf5_read_names(id, "weight_names", &names));
    STATUS_GOTO(error, cleanup, add_parts(in, group, &names, n, wanted));
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

status locate_weights(const struct topology *t, const struct origin *origin, int file,
                      struct hdf5_sources *sources, struct places *places) {
    const struct locating in = {t, origin, sources, places};
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
    STATUS_GOTO(error, cleanup, hdf5_read_names(sources->root, "layer_names", &groups));
    STATUS_GOTO(error, cleanup, match_groups(sources->root, t, nwanted, &groups, group_of));
    for (int top = 0; top < t->ntop; top++) {
        if (!nwanted[top]) continue;
        int n = list_weights(t, top, wanted);
        STATUS_GOTO(error, cleanup, locate_group(&in, groups.name[group_of[top]], n, wanted));
        for (int i = 0; i < n; i++) {
            int number = number_of(&in, &wanted[i]);
            STATUS_GOTO(error, cleanup, hdf5_source_place(sources, number, file, 0, &places->place[number]));
        }
    }
cleanup:
    names_clear(&groups);
    free(nwanted);
    free(group_of);
    free(wanted);
    return error;
}
