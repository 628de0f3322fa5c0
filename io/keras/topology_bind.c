/* Which argument of a call is which input of a layer, and which is one of its attributes. */
#include "io/keras/topology_scope.h"

#include "io/keras/topology_json.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

#define MAX_NAMED 8 /* inputs with names */

/* A layer's inputs by name: "query|value|key". */
struct names {
    int n;
    const char *name[MAX_NAMED];
    size_t length[MAX_NAMED];
};

static void split_names(const char *text, struct names *names) {
    names->n = 0;
    while (text && names->n < MAX_NAMED) {
        names->name[names->n] = text;
        names->length[names->n] = strcspn(text, "|");
        text += names->length[names->n++];
        text = *text ? text + 1 : NULL;
    }
}

static int find_name(const struct names *names, const char *name) {
    for (int i = 0; i < names->n; i++)
        if (names->length[i] == strlen(name) && !strncmp(names->name[i], name, names->length[i])) return i;
    return -1;
}

/* A mask, or a list of them, for the input at a position. */
static void add_masks(const struct topology_args *args, const struct topology_arg *arg, int position,
                      struct topology_bound *bound) {
    for (int k = 0; k < arg->n; k++) {
        if (!args->tensor[arg->first + k].layer) continue;
        bound->mask[bound->nmasks] = &args->tensor[arg->first + k];
        bound->masked[bound->nmasks++] = position + k;
    }
}

struct binder {
    const struct topology_args *args;
    const struct topology_reading *reading;
    const char *layer_name;
    struct layer *layer;
    struct names names;
    const struct topology_arg *given[MAX_NAMED]; /* an argument for each named input */
    struct topology_bound *bound;
};

static void refuse(const struct binder *b, const struct topology_arg *arg) {
    char text[TOPOLOGY_TEXT_MAX];
    if (arg->name)
        problems_add(b->reading->problems, "layer \"%.80s\": called with %.80s = %s", b->layer_name,
                     arg->name, topology_text(arg->value, text));
    else
        problems_add(b->reading->problems, "layer \"%.80s\": called with %s", b->layer_name,
                     topology_text(arg->value, text));
}

/* A call's value of an attribute; what another call says differently is a problem. */
static status set_attr(const struct binder *b, int i, const struct topology_arg *arg, bool first) {
    const struct attr_spec *spec = &b->layer->kind->attrs[i];
    struct attr value = {0};
    char where[256];
    snprintf(where, sizeof where, "layer \"%.80s\" (%.80s)", b->layer_name, b->layer->kind->class_name);
    if (spec->initial) STATUS_TRY(attr_parse(spec, spec->initial, &value));
    status error = arg ? topology_attr_read(spec, arg->value, where, &value, b->reading->problems) : SUCCESS;
    if (!error && first) {
        attr_clear(spec, &b->layer->attr[i]);
        b->layer->attr[i] = value;
        return SUCCESS;
    }
    if (!error && !attr_equal(spec, &value, &b->layer->attr[i]))
        problems_add(b->reading->problems, "%s: called with different values of %s", where, spec->name);
    attr_clear(spec, &value);
    return error;
}

static status set_attrs(const struct binder *b, bool first) {
    for (int i = 0; i < b->layer->kind->nattrs; i++) {
        if (!b->layer->kind->attrs[i].call) continue;
        const struct topology_arg *found = NULL;
        for (int k = 0; k < b->args->n; k++)
            if (b->args->arg[k].name && topology_call_attr(b->layer->kind, b->args->arg[k].name) == i)
                found = &b->args->arg[k];
        if (found || !first) STATUS_TRY(set_attr(b, i, found, first));
    }
    return SUCCESS;
}

/* Positions of arguments: the first is all inputs of a layer that takes a list; a layer whose inputs have
 * names takes one at each place, or at the last of them a list. */
static void place_positional(struct binder *b, int position, const struct topology_arg *arg) {
    bool room = position == 0 || position < b->names.n;
    if (arg->n == 0 && topology_arg_is_unused(arg)) return;
    if (arg->n == 0 || arg->mixed || !room) refuse(b, arg);
    else b->given[position] = arg;
}

/* "mask" is for the first input, "value_mask" for the one named "value"; -1: no mask. */
static int masked_input(const struct binder *b, const char *name) {
    char stem[32];
    size_t length = strlen(name);
    if (!strcmp(name, "mask")) return 0;
    if (length < 6 || length >= sizeof stem || strcmp(name + length - 5, "_mask")) return -1;
    memcpy(stem, name, length - 5);
    stem[length - 5] = 0;
    return find_name(&b->names, stem);
}

static void place_named(struct binder *b, const struct topology_arg *arg) {
    int position = find_name(&b->names, arg->name), masked = masked_input(b, arg->name);
    if (position < 0 && !strcmp(arg->name, "inputs")) position = 0;
    if (arg->n && !arg->mixed && masked >= 0) {
        add_masks(b->args, arg, masked, b->bound);
        return;
    }
    if (arg->n == 0 && topology_call_attr(b->layer->kind, arg->name) >= 0) return;
    if (topology_arg_is_unused(arg)) return;
    if (arg->n == 0 || arg->mixed || position < 0 || b->given[position]) refuse(b, arg);
    else b->given[position] = arg;
}

static void append(struct binder *b, const struct topology_arg *arg) {
    int n = arg->n;
    const struct topology_tensor *tensor = &b->args->tensor[arg->first];
    while (n && !tensor[n - 1].layer) n--; /* a list may end in null */
    for (int k = 0; k < n; k++)
        if (!tensor[k].layer) {
            refuse(b, arg);
            return;
        }
    for (int k = 0; k < n; k++) b->bound->in[b->bound->nin++] = &tensor[k];
}

status topology_bind(const struct topology_args *args, bool first, const struct topology_reading *reading,
                     const char *name, struct layer *layer, struct topology_bound *bound) {
    struct binder b = {.args = args, .reading = reading, .layer_name = name, .layer = layer, .bound = bound};
    split_names(layer->kind->call_args, &b.names);
    int position = 0, last = -1;
    for (int k = 0; k < args->n; k++) {
        if (args->arg[k].name) place_named(&b, &args->arg[k]);
        else place_positional(&b, position++, &args->arg[k]);
    }
    for (int i = 0; i < MAX_NAMED; i++)
        if (b.given[i]) last = i;
    for (int i = 0; i <= last; i++) {
        if (b.given[i]) append(&b, b.given[i]);
        else
            problems_add(reading->problems, "layer \"%.80s\" (%.80s): called without %.*s", name,
                         layer->kind->class_name, (int)b.names.length[i], b.names.n ? b.names.name[i] : "");
    }
    return set_attrs(&b, first);
}

void topology_bind_model(const struct topology_args *args, const struct topology_reading *reading,
                         const char *name, struct topology_bound *bound) {
    char text[TOPOLOGY_TEXT_MAX];
    for (int i = 0; i < args->n; i++) {
        const struct topology_arg *arg = &args->arg[i];
        bool input = !arg->name || !strcmp(arg->name, "inputs");
        if (arg->n && arg->name && !strcmp(arg->name, "mask")) {
            add_masks(args, arg, 0, bound);
            continue;
        }
        if (reading && !topology_arg_is_unused(arg) && (!input || arg->n == 0 || arg->mixed))
            problems_add(reading->problems, "layer \"%.80s\": called with %.80s%s%s", name,
                         arg->name ? arg->name : "", arg->name ? " = " : "", topology_text(arg->value, text));
        for (int k = 0; k < arg->n; k++)
            if (args->tensor[arg->first + k].layer) bound->in[bound->nin++] = &args->tensor[arg->first + k];
    }
}
