/* Topology JSON to graph: the scopes of the models are flattened into one graph. */
#include "io/keras/topology.h"
#include "io/keras/topology_scope.h"

#include "io/keras.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void topology_clear(struct topology *topology) {
    graph_destroy(&topology->graph);
    for (int i = 0; i < topology->ntop; i++) free(topology->top_name[i]);
    free(topology->top_name);
    free(topology->top_of);
    for (int i = 0; i < topology->nlayers; i++) free(topology->group[i]);
    free(topology->group);
    *topology = (struct topology){0};
}

/* ---- layers ---- */

static int count_layers(const struct topology_scope *scope) {
    int n = 0;
    for (int i = 0; i < scope->nentries && n <= TOPOLOGY_MAX_LAYERS; i++)
        n += scope->entry[i].nested ? count_layers(scope->entry[i].nested) : 1;
    return n;
}

/* Is a name that of another layer, or of one of the outermost model, which keep theirs? */
static bool is_taken(const struct topology *t, const char *name) {
    for (int i = 0; i < t->ntop; i++)
        if (!strcmp(t->top_name[i], name)) return true;
    return graph_find_layer(t->graph, name) >= 0;
}

/* Inner layers keep their names if those are free, else they are prefixed by the model's. */
static status unique_name(const struct topology *t, const char *prefix, struct layer *layer) {
    if (!is_taken(t, layer->name)) return SUCCESS;
    for (int i = 0; i <= TOPOLOGY_MAX_LAYERS; i++) {
        char *name = NULL;
        int length = i ? asprintf(&name, "%s_%s_%d", prefix, layer->name, i)
                       : asprintf(&name, "%s_%s", prefix, layer->name);
        if (length < 0) return status_no_memory("a name", strlen(prefix));
        if (!is_taken(t, name)) {
            free(layer->name);
            layer->name = name;
            return SUCCESS;
        }
        free(name);
    }
    return status_fail(STATUS_DATA, "too many layers are named \"%.80s\"", layer->name);
}

/* Names of the groups of a model's layers in .weights.h5; owned, each and the list. */
static status group_names(const struct topology_scope *scope, char ***group) {
    const char **class_name = malloc((size_t)scope->nentries * sizeof *class_name);
    *group = calloc((size_t)scope->nentries, sizeof **group);
    status error = class_name && *group ? SUCCESS : status_no_memory("a topology", 0);
    for (int i = 0; i < scope->nentries && !error; i++) class_name[i] = scope->entry[i].class_name;
    if (!error) error = topology_group_names(scope->nentries, class_name, *group);
    free(class_name);
    return error;
}

/* Where layers are, while they are moved to a graph. */
struct position {
    int top;           /* the outermost layer, -1 in the outermost model */
    const char *group; /* of the model, "" for the outermost one */
    bool trainable;
};

/* Moves a model's layers to the graph; those of inner models take the place of the model. Inputs of inner
 * models vanish: they are what the model is called on. */
static status add_layers(struct topology *t, struct topology_scope *scope, struct position position,
                         struct problems *problems) {
    char **group = NULL;
    status error = group_names(scope, &group);
    bool trainable = position.trainable && scope->trainable;
    for (int i = 0; i < scope->nentries && !error; i++) {
        struct topology_entry *entry = &scope->entry[i];
        int top = position.top >= 0 ? position.top : i;
        char *path = NULL;
        if (asprintf(&path, "%s%slayers/%s", position.group, *position.group ? "/" : "", group[i]) < 0) {
            error = status_no_memory("a topology", 0);
            break;
        }
        if (entry->nested) {
            struct position inside = {.top = top, .group = path, .trainable = trainable};
            error = add_layers(t, entry->nested, inside, problems);
        } else if (position.top < 0 || !entry->input) {
            if (!entry->layer.kind)
                error = topology_unknown_create(entry->class_name, entry->name, &entry->layer);
            if (!error && position.top >= 0) error = unique_name(t, scope->name, &entry->layer);
            entry->layer.trainable = entry->layer.trainable && trainable;
            if (!error) error = graph_add_layer(t->graph, &entry->layer, &entry->index);
            if (!error) {
                t->top_of[t->nlayers] = top;
                t->group[t->nlayers++] = path;
                path = NULL;
                problems_place(problems, entry, entry->index);
            }
        }
        free(path);
    }
    for (int i = 0; group && i < scope->nentries; i++) free(group[i]);
    free(group);
    return error;
}

/* ---- calls ---- */

struct result { /* of a call */
    enum { NEW, OPENED, DONE } state;
    int node;         /* of a layer */
    int nout;         /* of a model */
    struct edge *out; /* [nout], owned */
};

struct builder {
    struct graph *graph;
    int ncalls; /* made so far, those of models too */
};

/* A model called on nin tensors; in NULL: the outermost one. */
struct frame {
    const struct topology_scope *scope;
    int nin;
    const struct edge *in;
    struct result **result; /* [nentries][ncalls], owned */
    struct topology_ref *stack;
    int depth, room;
};

static status call_scope(struct builder *b, const struct topology_scope *scope, int nin,
                         const struct edge *in, struct edge **out);

static status push(struct frame *f, struct topology_ref call) {
    if (f->depth == f->room) {
        int room = f->room ? 2 * f->room : 64;
        struct topology_ref *grown = realloc(f->stack, (size_t)room * sizeof *grown);
        if (!grown) return status_no_memory("a topology", (size_t)room * sizeof *grown);
        f->stack = grown;
        f->room = room;
    }
    f->stack[f->depth++] = call;
    return SUCCESS;
}

static status edge_of(const struct frame *f, const struct topology_ref *ref, struct edge *edge) {
    const struct result *r = &f->result[ref->entry][ref->call];
    if (r->out && ref->tensor >= r->nout)
        return status_fail(STATUS_DATA, "model \"%.80s\" has %d outputs; there is no output %d",
                           f->scope->entry[ref->entry].name, r->nout, ref->tensor);
    *edge = r->out ? r->out[ref->tensor] : (struct edge){r->node, ref->tensor};
    return SUCCESS;
}

static status input_edge(struct builder *b, const struct frame *f, int entry, struct result *result) {
    if (!f->in) return graph_add_node(b->graph, f->scope->entry[entry].index, 0, NULL, &result->node);
    int k = 0;
    while (k < f->scope->ninputs && f->scope->input[k].entry != entry) k++;
    if (k >= f->nin)
        return status_fail(STATUS_DATA, "model \"%.80s\": layer \"%.80s\" is none of its inputs",
                           f->scope->name, f->scope->entry[entry].name);
    result->out = malloc(sizeof *result->out);
    if (!result->out) return status_no_memory("a topology", sizeof *result->out);
    result->out[0] = f->in[k];
    result->nout = 1;
    return SUCCESS;
}

/* Makes one call; all it needs is there. */
static status make_call(struct builder *b, struct frame *f, int e, int c) {
    const struct topology_entry *entry = &f->scope->entry[e];
    struct result *result = &f->result[e][c];
    if (++b->ncalls > TOPOLOGY_MAX_CALLS)
        return status_fail(STATUS_DATA, "the model has more than %d calls of layers", TOPOLOGY_MAX_CALLS);
    if (entry->input) return input_edge(b, f, e, result);
    const struct topology_call *call = &entry->call[c];
    struct edge *edge = malloc((size_t)(call->nin ? call->nin : 1) * sizeof *edge);
    if (!edge) return status_no_memory("a topology", (size_t)call->nin * sizeof *edge);
    status error = SUCCESS;
    for (int k = 0; k < call->nin && !error; k++) error = edge_of(f, &call->in[k], &edge[k]);
    if (!error && !entry->nested) {
        error = graph_add_node(b->graph, entry->index, call->nin, edge, &result->node);
    } else if (!error && call->nin != entry->nested->ninputs) {
        error = status_fail(STATUS_DATA, "model \"%.80s\" has %d inputs and is called on %d", entry->name,
                            entry->nested->ninputs, call->nin);
    } else if (!error) {
        result->nout = entry->nested->noutputs;
        error = call_scope(b, entry->nested, call->nin, edge, &result->out);
    }
    free(edge);
    return error;
}

/* Makes the call on top of the stack, or puts those it needs above it. */
static status step(struct builder *b, struct frame *f) {
    struct topology_ref top = f->stack[f->depth - 1];
    struct result *result = &f->result[top.entry][top.call];
    const struct topology_entry *entry = &f->scope->entry[top.entry];
    bool ready = true;
    for (int k = 0; result->state != DONE && k < entry->call[top.call].nin; k++) {
        const struct topology_ref *needed = &entry->call[top.call].in[k];
        const struct result *other = &f->result[needed->entry][needed->call];
        if (other->state == DONE) continue;
        if (result->state == OPENED || other->state == OPENED || other == result)
            return status_fail(STATUS_DATA,
                               "layer \"%.80s\" can never be called: its input depends on its output",
                               entry->name);
        ready = false;
        STATUS_TRY(push(f, *needed));
    }
    if (!ready) {
        result->state = OPENED;
        return SUCCESS;
    }
    f->depth--;
    if (result->state == DONE) return SUCCESS;
    result->state = DONE;
    return make_call(b, f, top.entry, top.call);
}

/* All calls of a model, in the file's order, but each after those it needs. */
static status make_calls(struct builder *b, struct frame *f) {
    for (int e = 0; e < f->scope->nentries; e++)
        for (int c = 0; c < f->scope->entry[e].ncalls; c++) {
            STATUS_TRY(push(f, (struct topology_ref){e, c, 0}));
            while (f->depth) STATUS_TRY(step(b, f));
        }
    return SUCCESS;
}

static status call_scope(struct builder *b, const struct topology_scope *scope, int nin,
                         const struct edge *in, struct edge **out) {
    struct frame f = {.scope = scope, .nin = nin, .in = in};
    status error = SUCCESS;
    struct edge *edge = malloc((size_t)scope->noutputs * sizeof *edge);
    f.result = calloc((size_t)scope->nentries, sizeof *f.result);
    if (!edge || !f.result) {
        error = status_no_memory("a topology", (size_t)scope->nentries * sizeof *f.result);
        goto cleanup;
    }
    for (int e = 0; e < scope->nentries; e++) {
        f.result[e] = calloc((size_t)scope->entry[e].ncalls + 1, sizeof **f.result);
        if (!f.result[e]) {
            error = status_no_memory("a topology", sizeof **f.result);
            goto cleanup;
        }
    }
    STATUS_GOTO(error, cleanup, make_calls(b, &f));
    for (int k = 0; k < scope->noutputs; k++)
        STATUS_GOTO(error, cleanup, edge_of(&f, &scope->output[k], &edge[k]));
    if (!in) { /* the outermost model */
        for (int k = 0; k < scope->ninputs; k++) {
            struct edge input;
            STATUS_GOTO(error, cleanup, edge_of(&f, &scope->input[k], &input));
            STATUS_GOTO(error, cleanup, graph_add_input(b->graph, input));
        }
        for (int k = 0; k < scope->noutputs; k++)
            STATUS_GOTO(error, cleanup, graph_add_output(b->graph, edge[k]));
    }
    *out = edge;
    edge = NULL;
cleanup:
    free(edge);
    free(f.stack);
    for (int e = 0; f.result && e < scope->nentries; e++) {
        for (int c = 0; f.result[e] && c < scope->entry[e].ncalls; c++) free(f.result[e][c].out);
        free(f.result[e]);
    }
    free(f.result);
    return error;
}

/* ---- the whole ---- */

/* Keras 3 writes keys that Keras 2 does not know. */
static int guess_version(const char *json) {
    static const char *const keras3[] = {"\"__keras_tensor__\"", "\"batch_shape\"", "\"DTypePolicy\""};
    for (size_t i = 0; i < sizeof keras3 / sizeof *keras3; i++)
        if (strstr(json, keras3[i])) return 3;
    return 2;
}

/* A missing shape shows only here: inputs of inner models need none. */
static status check_inputs(const struct topology_scope *scope) {
    for (int k = 0; k < scope->ninputs; k++) {
        const struct layer *layer = &scope->entry[scope->input[k].entry].layer;
        for (int i = 0; layer->kind && i < layer->kind->nattrs; i++)
            if (layer->kind->attrs[i].type == ATTR_SHAPE && !layer->attr[i].present)
                return status_fail(STATUS_DATA,
                                   "model \"%.80s\" has no input shape; build it, or give its first layer an "
                                   "input shape, and save it again",
                                   scope->name);
    }
    return SUCCESS;
}

static status build(struct topology *t, struct topology_scope *scope, int keras_version,
                    struct problems *problems) {
    int n = count_layers(scope);
    if (n > TOPOLOGY_MAX_LAYERS)
        return status_fail(STATUS_DATA, "the model has more than %d layers", TOPOLOGY_MAX_LAYERS);
    STATUS_TRY(check_inputs(scope));
    STATUS_TRY(graph_create(scope->name, &t->graph));
    t->graph->keras_version = keras_version;
    t->graph->sequential = scope->sequential;
    t->top_of = calloc((size_t)n, sizeof *t->top_of);
    t->group = calloc((size_t)n, sizeof *t->group);
    t->top_name = calloc((size_t)scope->nentries, sizeof *t->top_name);
    if (!t->top_of || !t->group || !t->top_name)
        return status_no_memory("a topology", (size_t)n * sizeof *t->top_of);
    for (; t->ntop < scope->nentries; t->ntop++) {
        t->top_name[t->ntop] = strdup(scope->entry[t->ntop].name);
        if (!t->top_name[t->ntop]) return status_no_memory("a topology", 0);
    }
    struct position outermost = {.top = -1, .group = "", .trainable = true};
    STATUS_TRY(add_layers(t, scope, outermost, problems));
    struct edge *out = NULL;
    struct builder builder = {.graph = t->graph};
    STATUS_TRY(call_scope(&builder, scope, 0, NULL, &out));
    free(out);
    return SUCCESS;
}

/* Options that the kinds refuse, of the layers whose class is known. */
static status check_options(const struct topology_scope *scope, struct problems *problems) {
    for (int i = 0; i < scope->nentries; i++) {
        const struct topology_entry *entry = &scope->entry[i];
        if (entry->nested) STATUS_TRY(check_options(entry->nested, problems));
        problems->about = entry;
        if (!entry->layer.kind || !entry->layer.kind->check) continue;
        status error = entry->layer.kind->check(&entry->layer);
        if (status_code(error) != STATUS_UNSUPPORTED && error)
            return status_context(error, "layer \"%.80s\" (%s)", entry->name, entry->layer.kind->class_name);
        if (error)
            problems_add(problems, "layer \"%.80s\" (%s): %s", entry->name, entry->layer.kind->class_name,
                         status_message(error));
        status_drop(&error);
    }
    return SUCCESS;
}

status topology_read(const char *text, int keras_version, const struct keras_options *options,
                     struct topology *topology) {
    struct problems *unsupported = options ? options->unsupported : NULL;
    cJSON *json = NULL;
    struct topology_scope *scope = NULL;
    struct problems problems = {0};
    struct topology t = {0};
    status error = SUCCESS;
    STATUS_GOTO(error, cleanup, topology_parse(text, &json));

    /* {"model_config": {...}} or {"modelTopology": {"model_config": ...}} around it */
    const cJSON *model = json;
    static const char *const around[] = {"modelTopology", "model_config"};
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        const cJSON *inner = cJSON_GetObjectItemCaseSensitive(model, around[i]);
        const cJSON *version = cJSON_GetObjectItemCaseSensitive(model, "keras_version");
        if (!keras_version && cJSON_IsString(version)) keras_version = atoi(version->valuestring);
        if (cJSON_IsObject(inner)) model = inner;
    }
    const cJSON *version = cJSON_GetObjectItemCaseSensitive(model, "keras_version");
    if (!keras_version && cJSON_IsString(version)) keras_version = atoi(version->valuestring);
    if (keras_version < 1) keras_version = guess_version(text);

    STATUS_GOTO(error, cleanup,
                topology_scope_read(
                    model, &(struct topology_reading){.keras_version = keras_version, .problems = &problems},
                    &scope));
    STATUS_GOTO(error, cleanup, check_options(scope, &problems));
    if (!unsupported) STATUS_GOTO(error, cleanup, problems_take(&problems));
    STATUS_GOTO(error, cleanup, build(&t, scope, keras_version, &problems));
    if (unsupported) { /* `about` points to what ends here */
        for (int i = 0; i < problems.n; i++) problems.problem[i].about = NULL;
        problems.about = NULL;
        problems_clear(unsupported);
        *unsupported = problems;
        problems = (struct problems){0};
    }
    *topology = t;
    t = (struct topology){0};
cleanup:
    topology_clear(&t);
    problems_clear(&problems);
    topology_scope_destroy(&scope);
    cJSON_Delete(json);
    return error;
}

/* A layer that is known to be unsupported, or now turns out to be, is passed over. */
static status refuse_node(void *context, const struct graph *graph, int node, status error) {
    struct problems *problems = context;
    int layer = graph->node[node].layer;
    bool unsupported = status_code(error) == STATUS_UNSUPPORTED;
    if (!unsupported && !problems_has_layer(problems, layer)) return error;
    if (unsupported && !problems_has_layer(problems, layer)) {
        problems->about = &graph->layer[layer];
        problems_add(problems, "%s", status_message(error));
        problems_place(problems, problems->about, layer);
        problems->about = NULL;
    }
    status_drop(&error);
    return SUCCESS;
}

struct graph_tolerance keras_tolerance(struct problems *problems) {
    return (struct graph_tolerance){refuse_node, problems};
}

status topology_infer(struct topology *topology, const struct keras_options *options) {
    if (!options || !options->unsupported) return graph_infer(topology->graph);
    struct graph_tolerance tolerance = keras_tolerance(options->unsupported);
    return graph_infer_known(topology->graph, &tolerance);
}

status keras_graph_from_json(const char *json, struct graph **graph) {
    struct topology t = {0};
    STATUS_TRY(topology_read(json, 0, NULL, &t));
    status error = graph_infer(t.graph);
    if (!error) {
        *graph = t.graph;
        t.graph = NULL;
    }
    topology_clear(&t);
    return error;
}
