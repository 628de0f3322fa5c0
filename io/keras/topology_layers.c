/* Layers of a model, and of the models inside it, to one graph. */
#include "io/keras/topology_build.h"

#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

struct name {
    char *text; /* owned */
    int next;   /* number to try first if another wants it */
};

static int compare_names(const void *a, const void *b) {
    return strcmp(((const struct name *)a)->text, ((const struct name *)b)->text);
}

static void free_name(void *name) {
    free(((struct name *)name)->text);
    free(name);
}

void topology_builder_clear(struct topology_builder *builder) {
    tdestroy(builder->names, free_name);
    builder->names = NULL;
}

static struct name *find_name(struct topology_builder *b, const char *text) {
    struct name key = {.text = (char *)text};
    struct name **found = tfind(&key, &b->names, compare_names);
    return found ? *found : NULL;
}

/* Takes a name, if it is free; false: there is no memory. */
static bool take_name(struct topology_builder *b, const char *text) {
    struct name *name = calloc(1, sizeof *name);
    if (name) name->text = strdup(text);
    struct name **found = name && name->text ? tsearch(name, &b->names, compare_names) : NULL;
    if (name && (!found || *found != name)) free_name(name);
    return found != NULL;
}

/* Inner layers keep their names if those are free, else they are prefixed by the model's, and numbered. */
static status unique_name(struct topology_builder *b, const char *prefix, struct layer *layer) {
    char *name = NULL;
    if (!find_name(b, layer->name))
        return take_name(b, layer->name) ? SUCCESS : status_no_memory("a name", strlen(layer->name));
    if (asprintf(&name, "%s_%s", prefix, layer->name) < 0) return status_no_memory("a name", strlen(prefix));
    struct name *base = find_name(b, name);
    while (base && find_name(b, name)) {
        free(name);
        if (asprintf(&name, "%s_%s_%d", prefix, layer->name, ++base->next) < 0)
            return status_no_memory("a name", strlen(prefix));
    }
    free(layer->name);
    layer->name = name;
    return take_name(b, name) ? SUCCESS : status_no_memory("a name", strlen(name));
}

/* ---- layers ---- */

static status make_room(struct topology_builder *b) {
    struct topology *t = b->topology;
    if (t->nlayers < b->room) return SUCCESS;
    int room = b->room ? 2 * b->room : 64;
    int *top_of = realloc(t->top_of, (size_t)room * sizeof *top_of);
    if (top_of) t->top_of = top_of;
    char **group = realloc(t->group, (size_t)room * sizeof *group);
    if (group) t->group = group;
    if (!top_of || !group) return status_no_memory("a topology", (size_t)room * sizeof *group);
    b->room = room;
    return SUCCESS;
}

status topology_add_layer(struct topology_builder *b, struct layer *layer,
                          const struct topology_position *position, int *index) {
    struct topology *t = b->topology;
    char *group = strdup(position->group);
    status error = group ? make_room(b) : status_no_memory("a topology", strlen(position->group));
    if (!error && t->nlayers == TOPOLOGY_MAX_LAYERS)
        error = status_fail(STATUS_DATA, "the model has more than %d layers", TOPOLOGY_MAX_LAYERS);
    if (!error && !position->keeps_name) error = unique_name(b, position->prefix, layer);
    if (error) layer_clear(layer);
    else error = graph_add_layer(t->graph, layer, index);
    if (error) {
        free(group);
        return error;
    }
    t->top_of[t->nlayers] = position->top;
    t->group[t->nlayers++] = group;
    return SUCCESS;
}

/* ---- scopes ---- */

/* Names of the groups of a model's layers in .weights.h5, where operations have none; owned, each and the
 * list. */
static status group_names(const struct topology_scope *scope, char ***group) {
    size_t n = (size_t)scope->nentries;
    const char **class_name = malloc(n * sizeof *class_name);
    char **named = calloc(n, sizeof *named);
    int nlayers = 0;
    *group = calloc(n, sizeof **group);
    status error = class_name && named && *group ? SUCCESS : status_no_memory("a topology", 0);
    for (int i = 0; i < scope->nentries && !error; i++)
        if (!scope->entry[i].op) class_name[nlayers++] = scope->entry[i].class_name;
    if (!error) error = topology_group_names(nlayers, class_name, named);
    nlayers = 0;
    for (int i = 0; i < scope->nentries && !error; i++)
        if (!scope->entry[i].op) (*group)[i] = named[nlayers++];
    free(class_name);
    free(named);
    return error;
}

/* A scope inside the outermost one, or that one. */
struct place {
    int top;           /* -1 in the outermost one */
    const char *group; /* "" for it */
    bool trainable;
};

static status add_scope(struct topology_builder *b, struct topology_scope *scope, const struct place *place);

/* Layers after the first one of an entry. */
static status add_tails(struct topology_builder *b, struct topology_entry *entry,
                        const struct topology_position *position, bool trainable) {
    for (int i = 0; i < entry->chain.ntails; i++) {
        struct topology_tail *tail = &entry->chain.tail[i];
        char *group = NULL;
        if (tail->part && asprintf(&group, "%s/%s", position->group, tail->part) < 0)
            return status_no_memory("a topology", 0);
        struct topology_position after = {position->top, group ? group : "", entry->name, false};
        tail->layer.trainable = tail->layer.trainable && trainable;
        status error = topology_add_layer(b, &tail->layer, &after, &tail->index);
        free(group);
        STATUS_TRY(error);
    }
    return SUCCESS;
}

static status add_entry(struct topology_builder *b, struct topology_entry *entry,
                        const struct topology_position *position, bool trainable) {
    if (entry->nested) {
        struct place inside = {.top = position->top, .group = position->group, .trainable = trainable};
        return add_scope(b, entry->nested, &inside);
    }
    /* Inputs of inner models vanish: they are what the model is called on. */
    if (entry->input && !position->keeps_name) return SUCCESS;
    if (!entry->chain.first.kind)
        STATUS_TRY(topology_unknown_create(entry->class_name, entry->name, &entry->chain.first));
    entry->chain.first.trainable = entry->chain.first.trainable && trainable;
    STATUS_TRY(topology_add_layer(b, &entry->chain.first, position, &entry->index));
    problems_place(b->reading->problems, entry, entry->index);
    return add_tails(b, entry, position, trainable);
}

static status add_scope(struct topology_builder *b, struct topology_scope *scope, const struct place *place) {
    char **group = NULL;
    status error = group_names(scope, &group);
    bool trainable = place->trainable && scope->trainable;
    for (int i = 0; i < scope->nentries && !error; i++) {
        struct topology_entry *entry = &scope->entry[i];
        char *path = NULL;
        entry->top = place->top >= 0 ? place->top : i;
        entry->outermost = place->top < 0;
        if (entry->op) continue; /* where it is called */
        if (asprintf(&path, "%s%slayers/%s", place->group, *place->group ? "/" : "", group[i]) < 0) {
            error = status_no_memory("a topology", 0);
            break;
        }
        struct topology_position position = {entry->top, path, scope->name, entry->outermost};
        error = add_entry(b, entry, &position, trainable);
        free(path);
    }
    for (int i = 0; group && i < scope->nentries; i++) free(group[i]);
    free(group);
    return error;
}

status topology_add_layers(struct topology_builder *builder, struct topology_scope *scope) {
    struct place outermost = {.top = -1, .group = "", .trainable = true};
    for (int i = 0; i < scope->nentries; i++)
        if (!take_name(builder, scope->entry[i].name)) return status_no_memory("a name", 0);
    return add_scope(builder, scope, &outermost);
}
