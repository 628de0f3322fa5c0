/* Where Keras 3's .weights.h5 keeps each weight: layers/<class>_<n>/vars/<i>, inner layers of a layer below
 * it, models inside a model below them (keras/src/saving/saving_lib.py). Keras 2.12 and 2.13 have another
 * name for "layers", and Keras 2 underscores before some inner ones; Keras 2.12 counts layers with weights
 * twice. */
#include "io/keras/locate.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64    /* of models in models */
#define SEARCH_DEPTH 24 /* of groups below one */
#define MAX_VISITS 4096 /* of objects below one group: links may form rings */

static const char *const layer_groups[] = {"layers", "_layer_checkpoint_dependencies"};

struct locating {
    const struct topology *topology;
    int file;
    int64_t base;
    struct hdf5_sources *sources;
    struct places *places;
};

/* ---- the file ---- */

static char *join(const char *a, const char *b) {
    char *path = NULL;
    if (asprintf(&path, "%s%s%s", a, *a ? "/" : "", b) < 0) return NULL;
    return path;
}

static status no_memory(void) {
    return status_no_memory("a path", 0);
}

/* Names in the group `path`; *found is false if there is no such object. */
static status list(int64_t root, const char *path, struct names *names, bool *found) {
    int64_t group = -1;
    *names = (struct names){0};
    status error = *path ? hdf5_open_object(root, path, &group) : SUCCESS;
    *found = !*path || group >= 0;
    if (!error && *found) error = hdf5_list(*path ? group : root, names);
    hdf5_close(group);
    return error;
}

static int compare_name(const void *name, const void *member) {
    return strcmp(name, *(const char *const *)member);
}

static bool has_name(const struct names *names, const char *name) {
    return names->n && bsearch(name, names->name, (size_t)names->n, sizeof *names->name, compare_name);
}

/* Is there any dataset below the object `path`? */
static status has_data(int64_t root, const char *path, int depth, int *visits, bool *has) {
    struct names names = {0};
    int64_t object;
    *has = false;
    if (++*visits > MAX_VISITS)
        return status_fail(STATUS_DATA, "group %.80s has too many groups in it", path);
    STATUS_TRY(hdf5_open_object(root, path, &object));
    if (object < 0) return SUCCESS;
    *has = hdf5_is_dataset(object);
    status error = *has || depth == SEARCH_DEPTH ? SUCCESS : hdf5_list(object, &names);
    hdf5_close(object);
    for (int i = 0; i < names.n && !*has && !error; i++) {
        char *inner = join(path, names.name[i]);
        error = inner ? has_data(root, inner, depth + 1, visits, has) : no_memory();
        free(inner);
    }
    names_clear(&names);
    return error;
}

/* ---- the weights of one layer ---- */

/* The group of an inner layer, "cell" or "query_dense", below `group`; owned, NULL if there is none. */
static status inner_group(int64_t root, const char *group, const char *inner, char **path) {
    char *at = strdup(group);
    status error = at ? SUCCESS : no_memory();
    for (const char *from = inner; *from && at && !error;) {
        int length = (int)strcspn(from, "/");
        char *next = NULL;
        for (int private = 0; private < 2 && !error && !next; private ++) {
            int64_t object = -1;
            if (asprintf(&next, "%s/%s%.*s", at, private ? "_" : "", length, from) < 0) next = NULL;
            error = next ? hdf5_open_object(root, next, &object) : no_memory();
            hdf5_close(object);
            if (object < 0) {
                free(next);
                next = NULL;
            }
        }
        free(at);
        at = next;
        from += length;
        from += *from == '/';
    }
    *path = at;
    return error;
}

/* Number of a weight among those of its inner layer, and how many those are. */
static int number_within(const struct layer *layer, int w, int *count) {
    int number = 0;
    *count = 0;
    for (int i = 0; i < layer->nweights; i++) {
        if (strcmp(layer->weight[i].path, layer->weight[w].path) != 0) continue;
        number += i < w;
        ++*count;
    }
    return number;
}

/* The variable of one weight, in the group "vars" of its layer or inner layer. */
static status locate_variable(const struct locating *in, const struct layer *layer, int w, int number,
                              const char *vars) {
    const struct weight *weight = &layer->weight[w];
    struct hdf5_source *source = &in->sources->source[number];
    struct names names = {0};
    bool found;
    int needed, place = number_within(layer, w, &needed);
    STATUS_TRY(list(in->sources->root, vars, &names, &found));
    int has = names.n;
    names_clear(&names);
    if (has != needed)
        return status_fail(STATUS_DATA, "there are %d variables in %s, but the layer needs %d", has, vars,
                           needed);
    char *path = NULL;
    if (asprintf(&path, "%s/%d", vars, place) < 0) return no_memory();
    status error = hdf5_source_add(in->sources, number, path, recipe_may_count(weight));
    if (!error) error = recipe_check_shape(&source->info[0].shape, &weight->shape);
    if (!error)
        error = hdf5_source_place(in->sources, number, in->file, in->base, &in->places->place[number]);
    error = status_context(error, "%s", path);
    free(path);
    return error;
}

static status locate_layer(const struct locating *in, int l, const char *group) {
    const struct layer *layer = &in->topology->graph->layer[l];
    for (int w = 0; w < layer->nweights; w++) {
        char *inner = NULL, *vars = NULL;
        status error = inner_group(in->sources->root, group, layer->weight[w].path, &inner);
        if (!error && !inner)
            error = status_fail(STATUS_DATA, "there is no group %s/%s", group, layer->weight[w].path);
        if (!error && !(vars = join(inner, "vars"))) error = no_memory();
        if (!error) error = locate_variable(in, layer, w, in->places->first[l] + w, vars);
        free(inner);
        free(vars);
        STATUS_TRY(status_context(error, "weight %s of layer \"%.80s\"", layer->weight[w].name, layer->name));
    }
    return SUCCESS;
}

/* ---- the layers of one model ---- */

/* A layer or inner model with weights: layers first .. end of the graph. */
struct member {
    char *name; /* owned: "dense_1" */
    int first, end;
    char *path; /* owned: its group in the file */
};

struct members {
    int n;
    struct member *member; /* owned */
};

static void members_clear(struct members *members) {
    for (int i = 0; i < members->n; i++) {
        free(members->member[i].name);
        free(members->member[i].path);
    }
    free(members->member);
    *members = (struct members){0};
}

/* The members of the model whose layers are [first, end) of the graph; their groups in the topology begin
 * with `skip` characters that are the model's. */
static status list_members(const struct topology *t, int first, int end, size_t skip,
                           struct members *members) {
    members->member = calloc((size_t)(end - first) + 1, sizeof *members->member);
    if (!members->member) return no_memory();
    for (int l = first; l < end; l++) {
        if (!t->graph->layer[l].nweights) continue;
        const char *name = t->group[l] + skip + strlen("layers/");
        size_t length = strcspn(name, "/");
        struct member *last = members->n ? &members->member[members->n - 1] : NULL;
        if (last && strlen(last->name) == length && !strncmp(last->name, name, length)) {
            last->end = l + 1;
            continue;
        }
        struct member *member = &members->member[members->n++];
        *member = (struct member){.name = strndup(name, length), .first = l, .end = l + 1};
        if (!member->name) return no_memory();
    }
    return SUCCESS;
}

/* Length of a group's name without its number, and the number, 0 if there is none. */
static size_t class_length(const char *name, long *number) {
    size_t length = strlen(name), digits = 0;
    *number = 0;
    while (digits < length && isdigit((unsigned char)name[length - 1 - digits])) digits++;
    if (!digits || digits > 9 || digits + 1 >= length || name[length - 1 - digits] != '_') return length;
    *number = strtol(name + length - digits, NULL, 10);
    return length - 1 - digits;
}

static bool same_class(const char *a, const char *b) {
    long number;
    size_t length = class_length(a, &number);
    return length == class_length(b, &number) && !strncmp(a, b, length);
}

static int compare_numbers(const void *a, const void *b) {
    long x, y;
    class_length(*(const char *const *)a, &x);
    class_length(*(const char *const *)b, &y);
    return x < y ? -1 : x > y;
}

/* Names of the groups of a class that have variables, by number; the list is owned, its names are not. */
static status groups_with_data(int64_t root, const char *parent, const struct names *names, const char *class,
                               const char ***group, int *n) {
    *n = 0;
    *group = malloc(((size_t)names->n + 1) * sizeof **group);
    if (!*group) return no_memory();
    for (int i = 0; i < names->n; i++) {
        if (!same_class(names->name[i], class)) continue;
        bool has;
        int visits = 0;
        char *path = join(parent, names->name[i]);
        status error = path ? has_data(root, path, 0, &visits, &has) : no_memory();
        free(path);
        if (error) return error;
        if (has) (*group)[(*n)++] = names->name[i];
    }
    qsort(*group, (size_t)*n, sizeof **group, compare_numbers);
    return SUCCESS;
}

/* The groups of all members of one class: by name, or, where one is missing, in order of those with
 * variables. */
static status match_class(int64_t root, const char *parent, const struct names *names,
                          struct members *members, int first) {
    const char *class = members->member[first].name;
    const char **group = NULL;
    int count = 0, n = 0, k = 0;
    bool all = true;
    for (int i = first; i < members->n; i++) {
        if (!same_class(members->member[i].name, class)) continue;
        count++;
        all = all && has_name(names, members->member[i].name);
    }
    status error = all ? SUCCESS : groups_with_data(root, parent, names, class, &group, &n);
    if (!error && !all && n != count) {
        long number;
        error =
            status_fail(STATUS_DATA,
                        "%d layers of the topology have their weights in groups %s/%.*s..., and there are %d "
                        "with weights",
                        count, parent, (int)class_length(class, &number), class, n);
    }
    for (int i = first; i < members->n && !error; i++) {
        struct member *member = &members->member[i];
        if (!same_class(member->name, class)) continue;
        member->path = join(parent, all ? member->name : group[k++]);
        if (!member->path) error = no_memory();
    }
    free(group);
    return error;
}

/* Where the file has the layers of the model in group `model`; owned. */
static status find_layers(int64_t root, const char *model, char **parent, struct names *names) {
    bool found = false;
    for (size_t i = 0; i < sizeof layer_groups / sizeof *layer_groups && !found; i++) {
        *parent = join(model, layer_groups[i]);
        if (!*parent) return no_memory();
        status error = list(root, *parent, names, &found);
        if (!found) {
            free(*parent);
            *parent = NULL;
        }
        if (error) return error;
    }
    return found ? SUCCESS
                 : status_fail(STATUS_DATA, "there is no group %s%slayers", model, *model ? "/" : "");
}

static status locate_model(const struct locating *in, int first, int end, size_t skip, const char *model,
                           int depth) {
    const struct topology *t = in->topology;
    struct members members = {0};
    struct names names = {0};
    char *parent = NULL;
    status error = depth > MAX_DEPTH ? status_fail(STATUS_DATA, "models are nested too deeply") : SUCCESS;
    if (!error) error = list_members(t, first, end, skip, &members);
    if (!error && members.n) error = find_layers(in->sources->root, model, &parent, &names);
    for (int i = 0; i < members.n && !error; i++) {
        struct member *member = &members.member[i];
        if (!member->path) error = match_class(in->sources->root, parent, &names, &members, i);
        if (error) break;
        size_t length = skip + strlen("layers/") + strlen(member->name);
        error = t->group[member->first][length]
                    ? locate_model(in, member->first, member->end, length + 1, member->path, depth + 1)
                    : locate_layer(in, member->first, member->path);
    }
    members_clear(&members);
    names_clear(&names);
    free(parent);
    return error;
}

status locate_variables(const struct topology *topology, int file, int64_t base, struct hdf5_sources *sources,
                        struct places *places) {
    const struct locating in = {topology, file, base, sources, places};
    return locate_model(&in, 0, topology->nlayers, 0, "", 0);
}

status locate_has_variables(int64_t root, bool *has) {
    *has = false;
    for (size_t i = 0; i < sizeof layer_groups / sizeof *layer_groups && !*has; i++) {
        int64_t group;
        STATUS_TRY(hdf5_open_object(root, layer_groups[i], &group));
        *has = group >= 0;
        hdf5_close(group);
    }
    return SUCCESS;
}
