/* Masks that calls give explicitly.
 *
 * Where an Embedding or a Masking makes a mask, Keras 3 writes it out: an operation NotEqual of the layer's
 * input, for a Masking within an Any, and a keyword "mask" at every call that the mask reaches. The layers
 * here make and pass the same masks by themselves, so that these are checked and left out. */
#include "io/keras/topology_op.h"
#include "io/keras/topology_scope.h"

#include <stdlib.h>
#include <string.h>

/* What a mask is of: which elements of a tensor are not `value`; with `any`, which time steps. */
struct source {
    struct topology_ref of;
    double value;
    bool any;
};

static bool same(const struct topology_ref *a, const struct topology_ref *b) {
    return a->entry == b->entry && a->call == b->call && a->tensor == b->tensor;
}

/* Follows a mask to the tensor that it is made of. */
static bool find_source(const struct topology_scope *scope, const struct topology_ref *mask,
                        struct source *source) {
    const struct topology_entry *entry = &scope->entry[mask->entry];
    const struct topology_call *call = &entry->call[mask->call];
    bool any, inner;
    if (!entry->op || !topology_op_is_mask(entry->op, &call->args, &source->value, &any)) return false;
    source->any = any;
    if (any) {
        const struct topology_ref *within = &call->in[0];
        entry = &scope->entry[within->entry];
        call = &entry->call[within->call];
        if (!entry->op || !topology_op_is_mask(entry->op, &call->args, &source->value, &inner) || inner)
            return false;
    }
    source->of = call->in[0];
    return true;
}

/* Does this call make the mask? */
static bool makes(const struct topology_entry *entry, const struct topology_call *call,
                  const struct source *source) {
    const struct layer *layer = &entry->chain.first;
    if (!layer->kind || call->nin != 1 || !same(&call->in[0], &source->of)) return false;
    if (source->any)
        return layer_has_attr(layer, "mask_value") && layer_float(layer, "mask_value") == source->value;
    return source->value == 0 && layer_has_attr(layer, "mask_zero") && layer_bool(layer, "mask_zero");
}

/* Calls from which masks come, each found once: the first input, its first input, and so on. `origin` of a
 * call is the number of the one that has a mask of its own, -1: none, -2: not yet known. */
struct search {
    const struct topology_scope *scope;
    int *first;                /* [nentries + 1] number of each entry's first call */
    struct topology_ref *call; /* [ncalls] */
    int *origin, *path;        /* [ncalls] */
};

static bool makes_some(const struct topology_entry *entry) {
    const struct layer *layer = &entry->chain.first;
    return layer->kind && (layer_has_attr(layer, "mask_value") ||
                           (layer_has_attr(layer, "mask_zero") && layer_bool(layer, "mask_zero")));
}

static int find_origin(struct search *s, int number) {
    int depth = 0, origin;
    for (;;) {
        const struct topology_entry *entry = &s->scope->entry[s->call[number].entry];
        const struct topology_call *call = &entry->call[s->call[number].call];
        origin = s->origin[number];
        if (origin > -2) break;
        if (makes_some(entry)) origin = number;
        else if (!call->nin || entry->nested || entry->op) origin = -1;
        s->origin[number] = origin > -2 ? origin : -1; /* so that a cycle ends */
        s->path[depth++] = number;
        if (origin > -2) break;
        number = s->first[call->in[0].entry] + call->in[0].call;
    }
    while (depth) s->origin[s->path[--depth]] = origin;
    return origin;
}

static bool is_implied(struct search *s, const struct topology_call *call, const struct topology_mask *mask) {
    struct source source;
    if (mask->input >= call->nin || !find_source(s->scope, &mask->ref, &source)) return false;
    const struct topology_ref *in = &call->in[mask->input];
    int origin = find_origin(s, s->first[in->entry] + in->call);
    if (origin < 0) return false;
    const struct topology_entry *entry = &s->scope->entry[s->call[origin].entry];
    return makes(entry, &entry->call[s->call[origin].call], &source);
}

static status check(struct search *s, const struct topology_reading *reading) {
    for (int e = 0; e < s->scope->nentries; e++) {
        const struct topology_entry *entry = &s->scope->entry[e];
        reading->problems->about = entry;
        for (int c = 0; c < entry->ncalls; c++)
            for (int k = 0; k < entry->call[c].nmasks; k++) {
                const struct topology_mask *mask = &entry->call[c].mask[k];
                if (!is_implied(s, &entry->call[c], mask))
                    problems_add(reading->problems, "layer \"%.80s\": called with mask \"%.80s\"",
                                 entry->name, s->scope->entry[mask->ref.entry].name);
            }
    }
    return SUCCESS;
}

status topology_masks_check(struct topology_scope *scope, const struct topology_reading *reading) {
    struct search s = {.scope = scope};
    size_t n = (size_t)scope->nentries, ncalls = 0;
    bool any = false;
    for (size_t e = 0; e < n; e++) {
        ncalls += (size_t)scope->entry[e].ncalls;
        for (int c = 0; c < scope->entry[e].ncalls; c++) any |= scope->entry[e].call[c].nmasks > 0;
    }
    if (!any) return SUCCESS;
    s.first = malloc((n + 1) * sizeof *s.first);
    s.call = malloc((ncalls + 1) * sizeof *s.call);
    s.origin = malloc((ncalls + 1) * sizeof *s.origin);
    s.path = malloc((ncalls + 1) * sizeof *s.path);
    status error = s.first && s.call && s.origin && s.path
                       ? SUCCESS
                       : status_no_memory("a topology", ncalls * sizeof *s.call);
    for (int e = 0, number = 0; !error && e < scope->nentries; e++) {
        s.first[e] = number;
        for (int c = 0; c < scope->entry[e].ncalls; c++) {
            s.call[number] = (struct topology_ref){e, c, 0};
            s.origin[number++] = -2;
        }
    }
    if (!error) error = check(&s, reading);
    free(s.first);
    free(s.call);
    free(s.origin);
    free(s.path);
    return error;
}
