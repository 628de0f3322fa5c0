/* Calls of a functional model: "inbound_nodes" of each layer, "input_layers", "output_layers".
 *
 * Keras 2: inbound_nodes [[["a", 0, 0, {}], ["b", 0, 0, {}]]], one list a call, one item a tensor.
 * Keras 3: inbound_nodes [{"args": [{"class_name": "__keras_tensor__", "config": {"keras_history": ["a", 0,
 * 0]}}], "kwargs": {}}]. In both a tensor is a layer's name, the number of its call, the number of the
 * output. */
#include "io/keras/topology.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct place { /* where a name is */
    const char *name;
    int entry;
};

struct reader {
    struct topology_scope *scope;
    struct place *place; /* [nentries], sorted by name */
    struct problems *problems;
    const struct topology_entry *caller; /* NULL for the model's inputs and outputs */
    struct topology_ref *ref;            /* [nrefs], owned: tensors met so far */
    int nrefs, room;
};

static const cJSON *get(const cJSON *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static int compare_places(const void *a, const void *b) {
    return strcmp(((const struct place *)a)->name, ((const struct place *)b)->name);
}

static bool is_count(const cJSON *json) {
    return cJSON_IsNumber(json) && json->valuedouble >= 0 && json->valuedouble <= TOPOLOGY_MAX_CALLS &&
           json->valuedouble == floor(json->valuedouble);
}

/* ["a", 0, 0] or ["a", 0, 0, {}] */
static bool is_tensor(const cJSON *json) {
    if (!cJSON_IsArray(json) || !cJSON_IsString(json->child)) return false;
    const cJSON *call = json->child->next;
    return is_count(call) && is_count(call->next);
}

static const char *caller_name(const struct reader *r) {
    return r->caller ? r->caller->name : r->scope->name;
}

static status add_tensor(struct reader *r, const cJSON *json) {
    struct place key = {json->child->valuestring, 0};
    const struct place *found =
        bsearch(&key, r->place, (size_t)r->scope->nentries, sizeof key, compare_places);
    if (!found)
        return status_fail(STATUS_DATA,
                           "layer \"%.80s\" refers to layer \"%.80s\", which the model does not have",
                           caller_name(r), key.name);
    if (r->nrefs == r->room) {
        int room = r->room ? 2 * r->room : 8;
        struct topology_ref *grown = realloc(r->ref, (size_t)room * sizeof *grown);
        if (!grown) return status_no_memory("a topology", (size_t)room * sizeof *grown);
        r->ref = grown;
        r->room = room;
    }
    r->ref[r->nrefs++] = (struct topology_ref){found->entry, (int)json->child->next->valuedouble,
                                               (int)json->child->next->next->valuedouble};
    return SUCCESS;
}

/* Is a call's argument without effect in inference? */
static bool is_unused(const cJSON *value) {
    value = topology_unwrap(value);
    return cJSON_IsNull(value) || cJSON_IsFalse(value);
}

static void check_kwargs(struct reader *r, const cJSON *kwargs) {
    char text[TOPOLOGY_TEXT_MAX];
    if (!kwargs) return;
    for (const cJSON *item = kwargs->child; item; item = item->next)
        if (!is_unused(item))
            problems_add(r->problems, "layer \"%.80s\": called with %s = %s", caller_name(r),
                         item->string ? item->string : "a value", topology_text(item, text));
}

/* Tensors of nested lists, in order (Keras 2). */
static status read_lists(struct reader *r, const cJSON *json) {
    char text[TOPOLOGY_TEXT_MAX];
    if (is_tensor(json)) {
        check_kwargs(r, json->child->next->next->next);
        return add_tensor(r, json);
    }
    if (cJSON_IsArray(json) && !cJSON_IsString(json->child)) {
        for (const cJSON *item = json->child; item; item = item->next) STATUS_TRY(read_lists(r, item));
        return SUCCESS;
    }
    if (cJSON_IsObject(json)) { /* named tensors */
        for (const cJSON *item = json->child; item; item = item->next) STATUS_TRY(read_lists(r, item));
        return SUCCESS;
    }
    if (!is_unused(json))
        problems_add(r->problems, "layer \"%.80s\": called with %s", caller_name(r),
                     topology_text(json, text));
    return SUCCESS;
}

/* Tensors of a call's positional arguments, in order (Keras 3). */
static status read_args(struct reader *r, const cJSON *json) {
    char text[TOPOLOGY_TEXT_MAX];
    const cJSON *value = topology_unwrap(json);
    const cJSON *class_name = get(value, "class_name");
    if (cJSON_IsString(class_name) && !strcmp(class_name->valuestring, "__keras_tensor__")) {
        const cJSON *history = topology_unwrap(get(get(value, "config"), "keras_history"));
        if (!is_tensor(history))
            return status_fail(STATUS_DATA, "layer \"%.80s\": a tensor without a keras_history",
                               caller_name(r));
        return add_tensor(r, history);
    }
    if (cJSON_IsArray(value)) {
        for (const cJSON *item = value->child; item; item = item->next) STATUS_TRY(read_args(r, item));
        return SUCCESS;
    }
    if (!is_unused(value))
        problems_add(r->problems, "layer \"%.80s\": called with %s", caller_name(r),
                     topology_text(value, text));
    return SUCCESS;
}

static status read_call(struct reader *r, const cJSON *json, struct topology_call *call) {
    r->nrefs = 0;
    if (cJSON_IsObject(json) && get(json, "args")) {
        STATUS_TRY(read_args(r, get(json, "args")));
        check_kwargs(r, get(json, "kwargs"));
    } else {
        STATUS_TRY(read_lists(r, json));
    }
    call->in = malloc((size_t)(r->nrefs ? r->nrefs : 1) * sizeof *call->in);
    if (!call->in) return status_no_memory("a topology", (size_t)r->nrefs * sizeof *call->in);
    if (r->nrefs) memcpy(call->in, r->ref, (size_t)r->nrefs * sizeof *call->in);
    call->nin = r->nrefs;
    return SUCCESS;
}

static status read_calls(struct reader *r, const cJSON *json, struct topology_entry *entry, bool *args) {
    const cJSON *nodes = get(json, "inbound_nodes");
    int n = cJSON_GetArraySize(nodes);
    if (n > TOPOLOGY_MAX_CALLS)
        return status_fail(STATUS_DATA, "layer \"%.80s\" is called %d times; at most %d are allowed",
                           entry->name, n, TOPOLOGY_MAX_CALLS);
    int ncalls = entry->input || n == 0 ? 1 : n; /* an input is there once, and nothing calls it */
    if (!entry->input && n == 0) ncalls = 0;
    entry->call = calloc(ncalls ? (size_t)ncalls : 1, sizeof *entry->call);
    if (!entry->call) return status_no_memory("a topology", (size_t)n * sizeof *entry->call);
    entry->ncalls = ncalls;
    if (entry->input) return SUCCESS;
    r->caller = entry;
    r->problems->about = entry;
    int i = 0;
    for (const cJSON *node = nodes ? nodes->child : NULL; node; node = node->next) {
        if (cJSON_IsObject(node)) *args = true;
        STATUS_TRY(read_call(r, node, &entry->call[i++]));
    }
    return SUCCESS;
}

/* A model inside a model has, before its first call, one that Keras made with it. Keras 2 counts it, so the
 * first call is 1; Keras 3 counts it in "output_layers" only. Turns the numbers of those into indices. */
static void renumber(struct topology_scope *scope, bool args) {
    for (int nested = 0; nested < scope->nentries; nested++) {
        if (!scope->entry[nested].nested) continue;
        int lowest[2] = {TOPOLOGY_MAX_CALLS, TOPOLOGY_MAX_CALLS}, highest[2] = {0, 0};
        for (int pass = 0; pass < 2; pass++)
            for (int i = 0; i <= scope->nentries; i++) {
                bool outputs = i == scope->nentries;
                int ncalls = outputs ? 1 : scope->entry[i].ncalls;
                for (int c = 0; c < ncalls; c++) {
                    struct topology_ref *ref = outputs ? scope->output : scope->entry[i].call[c].in;
                    int nrefs = outputs ? scope->noutputs : scope->entry[i].call[c].nin;
                    for (int k = 0; k < nrefs; k++) {
                        if (ref[k].entry != nested) continue;
                        if (pass == 0) {
                            if (ref[k].call < lowest[outputs]) lowest[outputs] = ref[k].call;
                            if (ref[k].call > highest[outputs]) highest[outputs] = ref[k].call;
                        } else if (lowest[outputs] > 0 &&
                                   (highest[outputs] == scope->entry[nested].ncalls || outputs || !args)) {
                            ref[k].call--;
                        }
                    }
                }
            }
    }
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

static status read_ends(struct reader *r, const cJSON *config, const char *key, struct topology_ref **ref,
                        int *n) {
    r->caller = NULL;
    r->problems->about = NULL;
    r->nrefs = 0;
    STATUS_TRY(read_lists(r, get(config, key)));
    if (r->nrefs == 0) return status_fail(STATUS_DATA, "model \"%.80s\" has no %s", r->scope->name, key);
    *ref = r->ref;
    *n = r->nrefs;
    r->ref = NULL;
    r->nrefs = r->room = 0;
    return SUCCESS;
}

status topology_calls_read(const cJSON *layers, const cJSON *config, struct topology_scope *scope,
                           struct problems *problems) {
    struct reader r = {.scope = scope, .problems = problems};
    status error = SUCCESS;
    r.place = malloc((size_t)scope->nentries * sizeof *r.place);
    if (!r.place) return status_no_memory("a topology", (size_t)scope->nentries * sizeof *r.place);
    for (int i = 0; i < scope->nentries; i++) r.place[i] = (struct place){scope->entry[i].name, i};
    qsort(r.place, (size_t)scope->nentries, sizeof *r.place, compare_places);
    for (int i = 1; i < scope->nentries; i++)
        if (!strcmp(r.place[i - 1].name, r.place[i].name)) {
            error = status_fail(STATUS_DATA, "two layers are named \"%.80s\"", r.place[i].name);
            goto cleanup;
        }
    bool args = false;
    int i = 0;
    for (const cJSON *json = layers->child; json; json = json->next)
        STATUS_GOTO(error, cleanup, read_calls(&r, json, &scope->entry[i++], &args));
    STATUS_GOTO(error, cleanup, read_ends(&r, config, "input_layers", &scope->input, &scope->ninputs));
    STATUS_GOTO(error, cleanup, read_ends(&r, config, "output_layers", &scope->output, &scope->noutputs));
    renumber(scope, args);
    for (i = 0; i < scope->nentries; i++)
        for (int c = 0; c < scope->entry[i].ncalls; c++)
            STATUS_GOTO(error, cleanup,
                        check_refs(scope, scope->entry[i].call[c].in, scope->entry[i].call[c].nin,
                                   scope->entry[i].name));
    STATUS_GOTO(error, cleanup, check_refs(scope, scope->input, scope->ninputs, scope->name));
    STATUS_GOTO(error, cleanup, check_refs(scope, scope->output, scope->noutputs, scope->name));
    for (i = 0; i < scope->ninputs; i++) {
        const struct topology_entry *entry = &scope->entry[scope->input[i].entry];
        if (!entry->input && (entry->layer.kind || entry->nested)) {
            error = status_fail(STATUS_DATA,
                                "input_layers of model \"%.80s\" names \"%.80s\", which is no input layer",
                                scope->name, entry->name);
            goto cleanup;
        }
    }
cleanup:
    free(r.place);
    free(r.ref);
    return error;
}
