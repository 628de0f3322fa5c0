/* Calls of a functional model: "inbound_nodes" of each layer, "input_layers", "output_layers". */
#include "io/keras/topology_scope.h"

#include "io/keras/topology_json.h"
#include "io/keras/topology_op.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

struct place { /* where a name is */
    const char *name;
    int entry;
};

struct calls {
    const struct topology_reading *reading;
    struct topology_scope *scope;
    struct place *place; /* [nentries], sorted by name */
    struct topology_args args;
    int room;
    struct topology_bound bound; /* of the call being read; its arrays are owned, [room] */
    bool keras3;                 /* some call is in the dialect of Keras 3 */
};

static int compare_places(const void *a, const void *b) {
    return strcmp(((const struct place *)a)->name, ((const struct place *)b)->name);
}

static status sort_names(struct calls *c) {
    size_t n = (size_t)c->scope->nentries;
    c->place = malloc(n * sizeof *c->place);
    if (!c->place) return status_no_memory("a topology", n * sizeof *c->place);
    for (size_t i = 0; i < n; i++) c->place[i] = (struct place){c->scope->entry[i].name, (int)i};
    qsort(c->place, n, sizeof *c->place, compare_places);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(c->place[i - 1].name, c->place[i].name))
            return status_fail(STATUS_DATA, "two layers are named \"%.80s\"", c->place[i].name);
    return SUCCESS;
}

/* Entries of tensors; `who` refers to them. */
static status resolve(const struct calls *c, int n, const struct topology_tensor *const *tensor,
                      const char *who, struct topology_ref **refs) {
    struct topology_ref *ref = malloc((size_t)(n ? n : 1) * sizeof *ref);
    if (!ref) return status_no_memory("a topology", (size_t)n * sizeof *ref);
    for (int k = 0; k < n; k++) {
        struct place key = {tensor[k]->layer, 0};
        const struct place *found =
            bsearch(&key, c->place, (size_t)c->scope->nentries, sizeof key, compare_places);
        if (!found) {
            free(ref);
            return status_fail(STATUS_DATA,
                               "layer \"%.80s\" refers to layer \"%.80s\", which the model does not have",
                               who, key.name);
        }
        ref[k] = (struct topology_ref){found->entry, tensor[k]->call, tensor[k]->tensor};
    }
    *refs = ref;
    return SUCCESS;
}

/* Room for whatever the arguments that were read can be. */
static status make_room(struct calls *c) {
    c->bound.nin = c->bound.nmasks = 0;
    if (c->room >= c->args.ntensors) return SUCCESS;
    int room = c->args.ntensors * 2;
    size_t nbytes = (size_t)room * sizeof *c->bound.in;
    const struct topology_tensor **in = realloc(c->bound.in, nbytes);
    if (in) c->bound.in = in;
    const struct topology_tensor **mask = realloc(c->bound.mask, nbytes);
    if (mask) c->bound.mask = mask;
    int *masked = realloc(c->bound.masked, (size_t)room * sizeof *masked);
    if (masked) c->bound.masked = masked;
    if (!in || !mask || !masked) return status_no_memory("a topology", nbytes);
    c->room = room;
    return SUCCESS;
}

static status read_masks(const struct calls *c, const char *name, struct topology_call *call) {
    struct topology_ref *ref;
    if (!c->bound.nmasks) return SUCCESS;
    call->mask = malloc((size_t)c->bound.nmasks * sizeof *call->mask);
    if (!call->mask) return status_no_memory("a topology", (size_t)c->bound.nmasks * sizeof *call->mask);
    STATUS_TRY(resolve(c, c->bound.nmasks, c->bound.mask, name, &ref));
    for (int k = 0; k < c->bound.nmasks; k++)
        call->mask[k] = (struct topology_mask){c->bound.masked[k], ref[k]};
    call->nmasks = c->bound.nmasks;
    free(ref);
    return SUCCESS;
}

static status read_call(struct calls *c, const cJSON *json, struct topology_entry *entry, int number) {
    struct topology_call *call = &entry->call[number];
    struct topology_bound *bound = &c->bound;
    STATUS_TRY(status_context(topology_args_read(json, &c->args), "layer \"%.80s\"", entry->name));
    STATUS_TRY(make_room(c));
    if (entry->chain.first.kind)
        STATUS_TRY(topology_bind(&c->args, number == 0, c->reading, entry->name, &entry->chain.first, bound));
    else topology_bind_model(&c->args, entry->nested ? c->reading : NULL, entry->name, bound);
    if (entry->op) { /* all its tensors, in their order, nulls but for those at a list's end are unknown */
        bound->nin = bound->nmasks = 0;
        for (int k = 0; k < c->args.ntensors; k++)
            if (c->args.tensor[k].layer) bound->in[bound->nin++] = &c->args.tensor[k];
    }
    STATUS_TRY(resolve(c, bound->nin, bound->in, entry->name, &call->in));
    call->nin = bound->nin;
    STATUS_TRY(read_masks(c, entry->name, call));
    if (entry->op) { /* kept until it is translated */
        call->args = c->args;
        c->args = (struct topology_args){0};
    }
    return SUCCESS;
}

static status read_calls(struct calls *c, const cJSON *json, struct topology_entry *entry) {
    const cJSON *nodes = topology_member(json, "inbound_nodes");
    int n = cJSON_GetArraySize(nodes);
    STATUS_TRY(topology_count_calls(c->reading, n));
    int ncalls = entry->input ? 1 : n; /* an input is there once, and nothing calls it */
    entry->call = calloc(ncalls ? (size_t)ncalls : 1, sizeof *entry->call);
    if (!entry->call) return status_no_memory("a topology", (size_t)n * sizeof *entry->call);
    entry->ncalls = ncalls;
    if (entry->input) return SUCCESS;
    c->reading->problems->about = entry;
    int i = 0;
    for (const cJSON *node = nodes ? nodes->child : NULL; node; node = node->next) {
        if (topology_member(node, "args")) c->keras3 = true;
        STATUS_TRY(read_call(c, node, entry, i++));
    }
    return SUCCESS;
}

/* ---- numbers of calls ---- */

/* Lowest and highest number by which an entry's calls are referred to. */
struct range {
    int lowest, highest;
};

static void include(struct range *range, const struct topology_ref *ref, int n) {
    for (int k = 0; k < n; k++) {
        struct range *r = &range[ref[k].entry];
        if (ref[k].call < r->lowest) r->lowest = ref[k].call;
        if (ref[k].call > r->highest) r->highest = ref[k].call;
    }
}

/* A model inside a model has, before its first call, one that Keras made with it. Keras 2 counts it, so the
 * first call is 1, but not in a Sequential that was made without an input; as a call of a model that no
 * output needs is not written, the lowest number says which. Keras 3 counts it in "output_layers" only, and
 * not for a Sequential. */
static bool counts_from_one(const struct topology_entry *entry, const struct range *range, bool keras3,
                            bool outputs) {
    if (!entry->nested || range->lowest < 1) return false;
    if (range->highest >= entry->ncalls) return true;
    return keras3 ? outputs && !entry->nested->sequential : true;
}

static void shift(const struct topology_scope *scope, const struct range *range, bool keras3, bool outputs,
                  struct topology_ref *ref, int n) {
    for (int k = 0; k < n; k++)
        if (counts_from_one(&scope->entry[ref[k].entry], &range[ref[k].entry], keras3, outputs))
            ref[k].call--;
}

/* Turns the numbers of calls into indices. */
static status renumber(struct topology_scope *scope, bool keras3) {
    size_t n = (size_t)scope->nentries;
    struct range *inner = malloc(2 * n * sizeof *inner), *outer = inner + n;
    if (!inner) return status_no_memory("a topology", 2 * n * sizeof *inner);
    for (size_t i = 0; i < 2 * n; i++) inner[i] = (struct range){TOPOLOGY_MAX_CALLS, 0};
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < scope->entry[i].ncalls; c++)
            include(inner, scope->entry[i].call[c].in, scope->entry[i].call[c].nin);
    if (!keras3) outer = inner; /* the same numbers */
    include(outer, scope->output, scope->noutputs);
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < scope->entry[i].ncalls; c++)
            shift(scope, inner, keras3, false, scope->entry[i].call[c].in, scope->entry[i].call[c].nin);
    shift(scope, outer, keras3, true, scope->output, scope->noutputs);
    free(inner);
    return SUCCESS;
}

static status check_refs(const struct topology_scope *scope, const struct topology_ref *ref, int nrefs,
                         const char *who) {
    for (int k = 0; k < nrefs; k++) {
        const struct topology_entry *entry = &scope->entry[ref[k].entry];
        if (ref[k].call >= entry->ncalls)
            return status_fail(STATUS_DATA,
                               "layer \"%.80s\" refers to call %d of layer \"%.80s\", which has %d", who,
                               ref[k].call, entry->name, entry->ncalls);
    }
    return SUCCESS;
}

static status check_calls(const struct topology_scope *scope) {
    for (int i = 0; i < scope->nentries; i++)
        for (int c = 0; c < scope->entry[i].ncalls; c++) {
            const struct topology_call *call = &scope->entry[i].call[c];
            STATUS_TRY(check_refs(scope, call->in, call->nin, scope->entry[i].name));
            for (int k = 0; k < call->nmasks; k++)
                STATUS_TRY(check_refs(scope, &call->mask[k].ref, 1, scope->entry[i].name));
        }
    STATUS_TRY(check_refs(scope, scope->input, scope->ninputs, scope->name));
    STATUS_TRY(check_refs(scope, scope->output, scope->noutputs, scope->name));
    for (int i = 0; i < scope->ninputs; i++) {
        const struct topology_entry *entry = &scope->entry[scope->input[i].entry];
        if (!entry->input && (entry->chain.first.kind || entry->nested || entry->op))
            return status_fail(STATUS_DATA,
                               "input_layers of model \"%.80s\" names \"%.80s\", which is no input layer",
                               scope->name, entry->name);
    }
    return SUCCESS;
}

/* ---- inputs and outputs ---- */

static status read_ends(struct calls *c, const cJSON *config, const char *key, struct topology_ref **ref,
                        int *n) {
    c->reading->problems->about = NULL;
    STATUS_TRY(status_context(topology_ends_read(topology_member(config, key), &c->args),
                              "model \"%.80s\": %s", c->scope->name, key));
    STATUS_TRY(make_room(c));
    topology_bind_model(&c->args, NULL, c->scope->name, &c->bound);
    *n = c->bound.nin;
    if (*n == 0) return status_fail(STATUS_DATA, "model \"%.80s\" has no %s", c->scope->name, key);
    return resolve(c, *n, c->bound.in, c->scope->name, ref);
}

status topology_calls_read(const cJSON *layers, const cJSON *config, const struct topology_reading *reading,
                           struct topology_scope *scope) {
    struct calls c = {.reading = reading, .scope = scope};
    status error = SUCCESS;
    STATUS_GOTO(error, cleanup, sort_names(&c));
    int i = 0;
    for (const cJSON *json = layers->child; json; json = json->next)
        STATUS_GOTO(error, cleanup, read_calls(&c, json, &scope->entry[i++]));
    STATUS_GOTO(error, cleanup, read_ends(&c, config, "input_layers", &scope->input, &scope->ninputs));
    STATUS_GOTO(error, cleanup, read_ends(&c, config, "output_layers", &scope->output, &scope->noutputs));
    STATUS_GOTO(error, cleanup, renumber(scope, c.keras3));
    STATUS_GOTO(error, cleanup, check_calls(scope));
    STATUS_GOTO(error, cleanup, topology_masks_check(scope, reading));
cleanup:
    free(c.place);
    free(c.bound.in);
    free(c.bound.mask);
    free(c.bound.masked);
    topology_args_clear(&c.args);
    return error;
}
