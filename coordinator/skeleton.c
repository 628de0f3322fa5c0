#include "coordinator/skeleton.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void skeleton_destroy(struct skeleton **skeleton) {
    struct skeleton *s = *skeleton;
    if (!s) return;
    graph_destroy(&s->graph);
    free(s->folded_layer);
    free(s->part);
    free(s->rank);
    free(s->origin);
    free(s->twin);
    free(s->given);
    free(s->given_inner);
    free(s);
    *skeleton = NULL;
}

status skeleton_alloc(const struct fold *fold, int nlayers, int nnodes, struct skeleton **skeleton) {
    size_t layers = (size_t)nlayers + 1, nodes = (size_t)nnodes + 1;
    struct skeleton *s = calloc(1, sizeof *s);
    *skeleton = s;
    if (!s) return status_no_memory("a graph", sizeof *s);
    s->fold = fold;
    s->folded_layer = calloc(layers, sizeof *s->folded_layer);
    s->part = calloc(layers, sizeof *s->part);
    s->rank = calloc(layers, sizeof *s->rank);
    s->origin = calloc(nodes, sizeof *s->origin);
    s->twin = calloc(nodes, sizeof *s->twin);
    bool whole = s->folded_layer && s->part && s->rank && s->origin && s->twin;
    return whole ? SUCCESS : status_no_memory("a graph", (layers + nodes) * sizeof(int));
}

/* ---- factors ---- */

/* The kind of the second factor; NULL: layers of the kind have none. */
static const struct layer_kind *second_kind(const struct layer *layer) {
    static const char *const kinds[][2] = {{"Dense", "Dense"},
                                           {"Conv1D", "Conv1D"},
                                           {"Conv2D", "Conv2D"},
                                           {"SeparableConv1D", "Conv1D"},
                                           {"SeparableConv2D", "Conv2D"}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (layer->kind == layer_kind_find(kinds[i][0])) return layer_kind_find(kinds[i][1]);
    return NULL;
}

int skeleton_kernel(const struct layer *layer) {
    for (int i = layer->nweights - 1; i >= 0; i--)
        if (layer->weight[i].shape.rank >= 2) return i;
    return -1;
}

bool skeleton_factors(const struct layer *layer, int64_t *rows, int64_t *columns) {
    const int kernel = skeleton_kernel(layer);
    if (!second_kind(layer) || kernel < 0) return false;
    if (layer_has_attr(layer, "groups") && layer_int(layer, "groups") != 1) return false;
    shape_rows(&layer->weight[kernel].shape, rows, columns);
    return true;
}

static status set_text(struct layer *layer, const char *attr, const char *text) {
    const struct attr_spec *spec = &layer->kind->attrs[layer_attr(layer, attr) - layer->attr];
    attr_clear(spec, layer_attr(layer, attr));
    return attr_parse(spec, text, layer_attr(layer, attr));
}

/* The layer before: everything but the bias and the activation. */
static status left_of(const struct layer *layer, int64_t rank, struct layer *left) {
    char *name = NULL;
    if (asprintf(&name, "%s_factor", layer->name) < 0) return status_no_memory("a name", strlen(layer->name));
    status error = layer_copy(layer, name, left);
    free(name);
    STATUS_TRY(error);
    layer_attr(left, "use_bias")->u.b = false;
    error = set_text(left, "activation", "linear");
    if (!error) error = layer->kind->set_width(left, rank);
    if (error) layer_clear(left);
    return error;
}

/* A layer of another kind, with the name and what both kinds have. */
static status layer_as(const struct layer *layer, const struct layer_kind *kind, struct layer *made) {
    STATUS_TRY(layer_create(kind, layer->name, made));
    status error = SUCCESS;
    for (int i = 0; i < kind->nattrs && !error; i++) {
        const struct attr_spec *spec = &kind->attrs[i];
        if (!layer_has_attr(layer, spec->name)) continue;
        attr_clear(spec, &made->attr[i]);
        error = attr_copy(spec, layer_attr(layer, spec->name), &made->attr[i]);
    }
    made->trainable = layer->trainable;
    if (error) layer_clear(made);
    return error;
}

/* The layer after it: one position wide. */
static status right_of(const struct layer *layer, struct layer *right) {
    static const char *const window[] = {"kernel_size", "strides", "dilation_rate"};
    const struct layer_kind *kind = second_kind(layer);
    STATUS_TRY(kind == layer->kind ? layer_copy(layer, layer->name, right) : layer_as(layer, kind, right));
    for (size_t i = 0; i < sizeof window / sizeof *window; i++) {
        if (!layer_has_attr(right, window[i])) continue;
        struct attr *attr = layer_attr(right, window[i]);
        for (int k = 0; k < attr->u.ints.n; k++) attr->u.ints.v[k] = 1;
    }
    status error = layer_has_attr(right, "padding") ? set_text(right, "padding", "valid") : SUCCESS;
    if (error) layer_clear(right);
    return error;
}

/* ---- separable convolutions ---- */

const struct layer_kind *skeleton_separable(const struct layer *layer) {
    static const char *const forms[][2] = {{"Conv1D", "SeparableConv1D"}, {"Conv2D", "SeparableConv2D"}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (layer->kind != layer_kind_find(forms[i][0]) || layer_int(layer, "groups") != 1) continue;
        const struct attr *size = layer_attr(layer, "kernel_size"), *stride = layer_attr(layer, "strides");
        bool window = false, even = true; /* depthwise convolutions of TensorFlow have one stride */
        for (int k = 0; k < size->u.ints.n; k++) {
            window = window || size->u.ints.v[k] > 1;
            even = even && stride->u.ints.v[k] == stride->u.ints.v[0];
        }
        return window && even ? layer_kind_find(forms[i][1]) : NULL;
    }
    return NULL;
}

/* The layer in its place: what both kinds have stays. */
static status separable_of(const struct layer *layer, int64_t multiplier, struct layer *separable) {
    const struct layer_kind *kind = skeleton_separable(layer);
    if (!kind)
        return status_fail(STATUS_UNSUPPORTED, "layer \"%s\" (%s) has no separable form", layer->name,
                           layer->kind->class_name);
    STATUS_TRY(layer_as(layer, kind, separable));
    layer_attr(separable, "depth_multiplier")->u.i = multiplier;
    return SUCCESS;
}

/* ---- the graph ---- */

struct builder {
    struct skeleton *s;
    const struct graph *from;
    const struct edit *edit;
    bool *needed;      /* [from nodes] */
    int *node;         /* [from nodes] the new node that stands for it */
    int *layer, *left; /* [from layers] its new layers, -1 before */
};

/* What the outputs need once the edits are made. */
static void find_needed(struct builder *b) {
    for (int i = 0; i < b->from->noutputs; i++) b->needed[b->from->output[i].node] = true;
    for (int i = 0; i < b->from->ninputs; i++) b->needed[b->from->input[i].node] = true;
    for (int i = b->from->nnodes - 1; i >= 0; i--) {
        const struct node *n = &b->from->node[i];
        for (int k = 0; b->needed[i] && k < n->nin; k++)
            if (b->edit[i].kind != EDIT_BYPASS || k == b->edit[i].input) b->needed[n->in[k].node] = true;
    }
}

static status add_layer(struct builder *b, struct layer *layer, int folded, enum skeleton_part part,
                        int64_t rank, int *index) {
    status error = graph_add_layer(b->s->graph, layer, index);
    if (error) return error;
    b->s->folded_layer[*index] = folded;
    b->s->part[*index] = part;
    b->s->rank[*index] = rank;
    return SUCCESS;
}

/* The new layers of a layer, at its first call. */
static status make_layers(struct builder *b, int folded, const struct edit *edit) {
    const struct layer *layer = &b->from->layer[folded];
    struct layer copy;
    if (b->layer[folded] >= 0) return SUCCESS;
    if (edit->kind == EDIT_SEPARATE) {
        STATUS_TRY(separable_of(layer, edit->width, &copy));
        return add_layer(b, &copy, folded, PART_SEPARABLE, edit->width, &b->layer[folded]);
    }
    if (edit->kind != EDIT_FACTOR) {
        STATUS_TRY(layer_copy(layer, layer->name, &copy));
        status error = edit->kind == EDIT_RENEW ? layer->kind->set_width(&copy, edit->width) : SUCCESS;
        if (error) {
            layer_clear(&copy);
            return error;
        }
        return add_layer(b, &copy, folded, edit->kind == EDIT_RENEW ? PART_NEW : PART_WHOLE, 0,
                         &b->layer[folded]);
    }
    int64_t rows, columns;
    if (!skeleton_factors(layer, &rows, &columns))
        return status_fail(STATUS_UNSUPPORTED, "layer \"%s\" (%s) cannot be factored", layer->name,
                           layer->kind->class_name);
    STATUS_TRY(left_of(layer, edit->width, &copy));
    STATUS_TRY(add_layer(b, &copy, folded, PART_LEFT, edit->width, &b->left[folded]));
    STATUS_TRY(right_of(layer, &copy));
    return add_layer(b, &copy, folded, PART_RIGHT, edit->width, &b->layer[folded]);
}

static status add_node(struct builder *b, int i) {
    const struct node *n = &b->from->node[i];
    struct skeleton *s = b->s;
    if (b->edit[i].kind == EDIT_BYPASS) {
        b->node[i] = b->node[n->in[b->edit[i].input].node];
        return SUCCESS;
    }
    STATUS_TRY(make_layers(b, n->layer, &b->edit[i]));
    struct edge *in = malloc(((size_t)n->nin + 1) * sizeof *in);
    if (!in) return status_no_memory("a graph", (size_t)n->nin * sizeof *in);
    for (int k = 0; k < n->nin; k++) in[k] = (struct edge){b->node[n->in[k].node], n->in[k].slot};
    status error = SUCCESS;
    if (b->left[n->layer] >= 0) {
        int node;
        error = graph_add_node(s->graph, b->left[n->layer], n->nin, in, &node);
        if (!error) s->origin[node] = -1;
        in[0] = (struct edge){node, 0};
    }
    if (!error) error = graph_add_node(s->graph, b->layer[n->layer], n->nin, in, &b->node[i]);
    if (!error) s->origin[b->node[i]] = i;
    free(in);
    return error;
}

/* What a new layer gives, and all that is made of it, the source does not have. */
static status forget_origins(struct skeleton *s) {
    bool *fresh = calloc((size_t)s->graph->nnodes + 1, sizeof *fresh);
    if (!fresh) return status_no_memory("a graph", (size_t)s->graph->nnodes);
    for (int i = 0; i < s->graph->nnodes; i++) {
        const struct node *n = &s->graph->node[i];
        fresh[i] = s->part[n->layer] == PART_NEW;
        for (int k = 0; k < n->nin; k++) fresh[i] |= fresh[n->in[k].node];
        if (fresh[i]) s->origin[i] = -1;
        s->twin[i] = s->origin[i];
    }
    free(fresh);
    return SUCCESS;
}

static status build(struct builder *b) {
    const struct graph *from = b->from;
    find_needed(b);
    for (int i = 0; i < from->nlayers; i++) b->layer[i] = b->left[i] = -1;
    for (int i = 0; i < from->nnodes; i++)
        if (b->needed[i]) STATUS_TRY(add_node(b, i));
    for (int i = 0; i < from->ninputs; i++)
        STATUS_TRY(
            graph_add_input(b->s->graph, (struct edge){b->node[from->input[i].node], from->input[i].slot}));
    for (int i = 0; i < from->noutputs; i++)
        STATUS_TRY(graph_add_output(b->s->graph,
                                    (struct edge){b->node[from->output[i].node], from->output[i].slot}));
    STATUS_TRY(graph_infer(b->s->graph)); /* nodes are in an order already, and stay in it */
    return forget_origins(b->s);
}

status skeleton_create(const struct fold *fold, const struct edit *edit, struct skeleton **skeleton) {
    const struct graph *from = fold->graph;
    size_t layers = (size_t)from->nlayers + 1, nodes = (size_t)from->nnodes + 1;
    struct skeleton *s = NULL;
    status error = skeleton_alloc(fold, 2 * from->nlayers, 2 * from->nnodes, &s);
    struct builder b = {.s = s, .from = from, .edit = edit};
    b.needed = calloc(nodes, sizeof *b.needed);
    b.node = calloc(nodes, sizeof *b.node);
    b.layer = calloc(layers, sizeof *b.layer);
    b.left = calloc(layers, sizeof *b.left);
    if (!error && (!b.needed || !b.node || !b.layer || !b.left))
        error = status_no_memory("a graph", (layers + nodes) * sizeof(int));
    for (int i = 0; i < from->nnodes && s; i++) s->edited |= edit[i].kind != EDIT_KEEP;
    if (!error) error = graph_create(from->name, &s->graph);
    if (!error) {
        s->graph->keras_version = from->keras_version;
        s->graph->sequential = from->sequential;
        error = build(&b);
    }
    free(b.needed);
    free(b.node);
    free(b.layer);
    free(b.left);
    if (error) skeleton_destroy(&s);
    *skeleton = s;
    return error;
}
