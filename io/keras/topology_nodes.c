/* Calls of a model's layers to nodes of a graph. A model called within it is called by calling what is in it;
 * an operation by calling the layers it is translated to. */
#include "io/keras/topology_build.h"
#include "io/keras/topology_op.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

struct result { /* of a call */
    enum { NEW, OPENED, DONE } state;
    int node;         /* of a layer, if `out` is NULL */
    int nout;         /* of a model or an operation */
    struct edge *out; /* [nout], owned */
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

static status call_scope(struct topology_builder *b, const struct topology_scope *scope, int nin,
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

static status set_result(struct result *result, struct edge edge) {
    result->out = malloc(sizeof *result->out);
    if (!result->out) return status_no_memory("a topology", sizeof *result->out);
    result->out[0] = edge;
    result->nout = 1;
    return SUCCESS;
}

/* ---- nodes ---- */

/* Bounds what calls of calls can add up to. */
static status count_call(struct topology_builder *b, int ncalls, int nedges) {
    b->ncalls += ncalls;
    b->nedges += nedges;
    if (b->ncalls > TOPOLOGY_MAX_CALLS)
        return status_fail(STATUS_DATA, "the model has more than %d calls of layers", TOPOLOGY_MAX_CALLS);
    if (b->nedges > TOPOLOGY_MAX_EDGES)
        return status_fail(STATUS_DATA, "the calls of the model's layers have more than %d inputs",
                           TOPOLOGY_MAX_EDGES);
    return SUCCESS;
}

/* Shapes of a node's outputs, for operations that need to know them; where they are not known, or wrong, that
 * is found when the whole graph is inferred. */
static status infer_outputs(struct graph *graph, int at) {
    struct node *node = &graph->node[at];
    const struct layer *layer = &graph->layer[node->layer];
    const struct layer_kind *kind = layer->kind;
    bool known = node->nin >= kind->min_inputs && (kind->max_inputs < 0 || node->nin <= kind->max_inputs);
    struct shape *in = malloc((size_t)(node->nin ? node->nin : 1) * sizeof *in);
    if (!in) return status_no_memory("a topology", (size_t)node->nin * sizeof *in);
    for (int k = 0; k < node->nin && known; k++) {
        const struct node *from = &graph->node[node->in[k].node];
        known = node->in[k].slot < from->nout;
        if (known) in[k] = from->out[node->in[k].slot];
    }
    status error = known ? layer_check(layer) : SUCCESS;
    if (known && !error) error = kind->infer(layer, in, node->nin, node->out, &node->nout);
    if (error) node->nout = 0;
    status_drop(&error);
    free(in);
    return SUCCESS;
}

static status add_node(struct topology_builder *b, int layer, int nin, const struct edge *in, int *node) {
    struct graph *graph = b->topology->graph;
    STATUS_TRY(count_call(b, 1, nin));
    STATUS_TRY(graph_add_node(graph, layer, nin, in, node));
    return infer_outputs(graph, *node);
}

static status call_input(struct topology_builder *b, const struct frame *f, int entry,
                         struct result *result) {
    if (!f->in) return add_node(b, f->scope->entry[entry].index, 0, NULL, &result->node);
    int k = 0;
    while (k < f->scope->ninputs && f->scope->input[k].entry != entry) k++;
    if (k >= f->nin)
        return status_fail(STATUS_DATA, "model \"%.80s\": layer \"%.80s\" is none of its inputs",
                           f->scope->name, f->scope->entry[entry].name);
    return set_result(result, f->in[k]);
}

/* ---- operations ---- */

/* Adds the layers of an operation's steps and calls them. The last one has the operation's name. */
static status add_steps(struct topology_builder *b, const struct topology_scope *scope,
                        const struct topology_entry *entry, bool first, const struct topology_op_call *op,
                        const struct edge *in, struct edge *out) {
    struct edge value[TOPOLOGY_OP_MAX_STEPS], edge[TOPOLOGY_OP_MAX_STEPS];
    int ntensors = op->args->ntensors;
    for (int s = 0; s < op->nsteps; s++) {
        const struct topology_op_step *step = &op->step[s];
        struct layer layer;
        int index, node;
        struct edge *to = step->nin > TOPOLOGY_OP_MAX_STEPS ? malloc((size_t)step->nin * sizeof *to) : edge;
        if (!to) return status_no_memory("a topology", (size_t)step->nin * sizeof *to);
        for (int k = 0; k < step->nin; k++)
            to[k] = step->in[k] < ntensors ? in[step->in[k]] : value[step->in[k] - ntensors];
        bool keeps_name = first && entry->outermost && ntensors + s == op->result;
        struct topology_position position = {entry->top, "", scope->name, keeps_name};
        status error = topology_layer_read(step->layer, entry->name, b->reading, &layer);
        if (!error && !layer.kind)
            error = topology_unknown_create(topology_string(step->layer, "class_name"), entry->name, &layer);
        if (!error) error = topology_add_layer(b, &layer, &position, &index);
        if (!error) error = add_node(b, index, step->nin, to, &node);
        if (!error) problems_place(b->reading->problems, entry, index);
        if (to != edge) free(to);
        STATUS_TRY(error);
        value[s] = (struct edge){node, 0};
    }
    *out = op->result < ntensors ? in[op->result] : value[op->result - ntensors];
    return SUCCESS;
}

/* A layer that stands for an operation for which there is none. */
static status add_unknown(struct topology_builder *b, const struct topology_scope *scope,
                          const struct topology_entry *entry, bool first, int nin, const struct edge *in,
                          struct edge *out) {
    const char *name = topology_op_name(entry->op);
    struct layer layer;
    int index, node;
    if (strcmp(name, entry->class_name))
        problems_add(b->reading->problems, "layer \"%.80s\" (%.80s): operation %.80s", entry->name,
                     entry->class_name, name);
    else problems_add(b->reading->problems, "layer \"%.80s\": operation %.80s", entry->name, name);
    struct topology_position position = {entry->top, "", scope->name, first && entry->outermost};
    STATUS_TRY(topology_unknown_create(entry->class_name, entry->name, &layer));
    STATUS_TRY(topology_add_layer(b, &layer, &position, &index));
    STATUS_TRY(add_node(b, index, nin, in, &node));
    problems_place(b->reading->problems, entry, index);
    *out = (struct edge){node, 0};
    return SUCCESS;
}

static status call_op(struct topology_builder *b, const struct topology_scope *scope,
                      const struct topology_entry *entry, int c, const struct edge *in, struct edge *out) {
    const struct topology_call *call = &entry->call[c];
    struct topology_op_call op = {.json = entry->op, .args = &call->args};
    bool supported = false;
    b->reading->problems->about = entry;
    struct shape *shape = calloc((size_t)call->nin + 1, sizeof *shape);
    if (!shape) return status_no_memory("a topology", (size_t)call->nin * sizeof *shape);
    for (int k = 0; k < call->nin; k++) {
        const struct node *from = &b->topology->graph->node[in[k].node];
        if (in[k].slot < from->nout) shape[k] = from->out[in[k].slot];
    }
    op.shape = shape;
    status error = call->nin == call->args.ntensors ? topology_op_translate(&op, &supported) : SUCCESS;
    if (!error && supported) error = add_steps(b, scope, entry, c == 0, &op, in, out);
    else if (!error) error = add_unknown(b, scope, entry, c == 0, call->nin, in, out);
    if (supported) topology_op_clear(&op);
    free(shape);
    return error;
}

/* ---- calls ---- */

/* A layer, and those after it. */
static status call_chain(struct topology_builder *b, const struct topology_entry *entry, int nin,
                         const struct edge *in, struct result *result) {
    STATUS_TRY(add_node(b, entry->index, nin, in, &result->node));
    struct edge last = {result->node, 0};
    for (int i = 0; i < entry->chain.ntails; i++)
        STATUS_TRY(add_node(b, entry->chain.tail[i].index, 1, &(struct edge){last.node, 0}, &last.node));
    return entry->chain.ntails ? set_result(result, last) : SUCCESS;
}

/* Makes one call; all it needs is there. */
static status make_call(struct topology_builder *b, struct frame *f, int e, int c) {
    const struct topology_entry *entry = &f->scope->entry[e];
    struct result *result = &f->result[e][c];
    if (entry->input) return call_input(b, f, e, result);
    const struct topology_call *call = &entry->call[c];
    struct edge *edge = malloc((size_t)(call->nin ? call->nin : 1) * sizeof *edge), out;
    if (!edge) return status_no_memory("a topology", (size_t)call->nin * sizeof *edge);
    status error = SUCCESS;
    for (int k = 0; k < call->nin && !error; k++) error = edge_of(f, &call->in[k], &edge[k]);
    if (!error && entry->op) {
        error = call_op(b, f->scope, entry, c, edge, &out);
        if (!error) error = set_result(result, out);
    } else if (!error && !entry->nested) {
        error = call_chain(b, entry, call->nin, edge, result);
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
static status step(struct topology_builder *b, struct frame *f) {
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

static status run(struct topology_builder *b, struct frame *f, struct topology_ref call) {
    STATUS_TRY(push(f, call));
    while (f->depth) STATUS_TRY(step(b, f));
    return SUCCESS;
}

/* All calls of a model, in the file's order, but each after those it needs; operations where they are needed.
 */
static status make_calls(struct topology_builder *b, struct frame *f) {
    for (int e = 0; e < f->scope->nentries; e++)
        for (int c = 0; !f->scope->entry[e].op && c < f->scope->entry[e].ncalls; c++)
            STATUS_TRY(run(b, f, (struct topology_ref){e, c, 0}));
    for (int k = 0; k < f->scope->noutputs; k++) STATUS_TRY(run(b, f, f->scope->output[k]));
    return SUCCESS;
}

static status call_scope(struct topology_builder *b, const struct topology_scope *scope, int nin,
                         const struct edge *in, struct edge **out) {
    struct frame f = {.scope = scope, .nin = nin, .in = in};
    status error = SUCCESS;
    struct edge *edge = malloc((size_t)scope->noutputs * sizeof *edge);
    f.result = calloc((size_t)scope->nentries, sizeof *f.result);
    if (!edge || !f.result) {
        error = status_no_memory("a topology", (size_t)scope->nentries * sizeof *f.result);
        goto cleanup;
    }
    /* its layers count too, called or not: this is done for each of them */
    STATUS_GOTO(error, cleanup, count_call(b, in ? 1 + scope->nentries : 0, nin));
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
    for (int k = 0; !in && k < scope->ninputs; k++) { /* the outermost model */
        struct edge input;
        STATUS_GOTO(error, cleanup, edge_of(&f, &scope->input[k], &input));
        STATUS_GOTO(error, cleanup, graph_add_input(b->topology->graph, input));
    }
    for (int k = 0; !in && k < scope->noutputs; k++)
        STATUS_GOTO(error, cleanup, graph_add_output(b->topology->graph, edge[k]));
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

status topology_add_nodes(struct topology_builder *builder, const struct topology_scope *scope) {
    struct edge *out = NULL;
    STATUS_TRY(call_scope(builder, scope, 0, NULL, &out));
    free(out);
    return SUCCESS;
}
