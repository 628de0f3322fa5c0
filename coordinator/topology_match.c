#include "coordinator/topology_match.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Scores of a pair; not to be paired scores 0. */
#define PAIR 4.0
#define SAME_NAME 50.0
#define SAME_KIND 1.0
#define SAME_WIDTH 1.0
#define SAME_WINDOW 1.0
#define SAME_ACTIVATION 1.0
#define CONSECUTIVE 2.0 /* all layers before both are pairs too */
#define DISTANCE 3.0    /* times the difference of relative positions */

/* A node whose layer has weights, and what its activation is. */
struct unit {
    int node;
    int end;                /* node that gives the activated outputs: itself, or the activation after it */
    bool fused;             /* the layer has an activation of its own */
    const char *activation; /* "" : none, or not one by name */
};

struct side {
    const struct graph *graph;
    int n;
    struct unit *unit; /* [n] */
};

/* ---- units ---- */

/* The activation that a layer has in it or is; NULL: it has none. */
static const char *activation_of(const struct layer *layer) {
    if (layer->kind == layer_kind_find("ReLU")) {
        bool plain = !layer_attr(layer, "max_value")->present && layer_float(layer, "negative_slope") == 0 &&
                     layer_float(layer, "threshold") == 0;
        return plain ? "relu" : "";
    }
    if (layer->kind == layer_kind_find("Softmax")) return "softmax";
    if (!layer_has_attr(layer, "activation")) return NULL;
    const struct attr *activation = layer_attr(layer, "activation");
    return activation->present && strcmp(activation->u.s, "linear") != 0 ? activation->u.s : NULL;
}

static struct unit unit_of(const struct graph *g, int node) {
    const struct layer *layer = &g->layer[g->node[node].layer];
    const char *own = activation_of(layer);
    struct unit unit = {.node = node, .end = node, .fused = own != NULL, .activation = own ? own : ""};
    int reader = own ? -1 : graph_only_reader(g, node);
    const struct layer *next = reader < 0 ? NULL : &g->layer[g->node[reader].layer];
    if (!next || next->nweights || g->node[reader].nin != 1 || !activation_of(next)) return unit;
    unit.end = reader;
    unit.activation = activation_of(next);
    return unit;
}

static status side_open(const struct graph *graph, struct side *side) {
    *side = (struct side){.graph = graph};
    side->unit = calloc((size_t)graph->nnodes + 1, sizeof *side->unit);
    if (!side->unit) return status_no_memory("a graph", (size_t)graph->nnodes * sizeof *side->unit);
    for (int i = 0; i < graph->nnodes; i++)
        if (graph->layer[graph->node[i].layer].nweights) side->unit[side->n++] = unit_of(graph, i);
    return SUCCESS;
}

/* ---- pairs ---- */

/* Can a layer of this kind stand for that one? The same kind, or a convolution for another that reads and
 * gives the same. */
static bool alike(const struct layer_kind *target, const struct layer_kind *source) {
    static const char *const groups[][2] = {{"Conv1D", "SeparableConv1D"}, {"Conv2D", "SeparableConv2D"}};
    if (target == source) return true;
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        const struct layer_kind *plain = layer_kind_find(groups[i][0]),
                                *other = layer_kind_find(groups[i][1]);
        if ((target == plain && source == other) || (target == other && source == plain)) return true;
    }
    return false;
}

/* The same positions: all axes but the first and the last. */
static bool same_positions(const struct shape *a, const struct shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 1; i < a->rank - 1; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

static bool same_window(const struct layer *a, const struct layer *b) {
    if (!layer_has_attr(a, "kernel_size") || !layer_has_attr(b, "kernel_size")) return true;
    const struct attr *x = layer_attr(a, "kernel_size"), *y = layer_attr(b, "kernel_size");
    return x->u.ints.n == y->u.ints.n &&
           !memcmp(x->u.ints.v, y->u.ints.v, (size_t)x->u.ints.n * sizeof *x->u.ints.v);
}

/* 0: no pair. */
static double score(const struct side *target, const struct side *source, int i, int j) {
    const struct unit *a = &target->unit[i], *b = &source->unit[j];
    const struct node *m = &target->graph->node[a->node], *n = &source->graph->node[b->node];
    const struct layer *x = &target->graph->layer[m->layer], *y = &source->graph->layer[n->layer];
    if (!alike(x->kind, y->kind) || !same_positions(&m->out[0], &n->out[0])) return 0;
    int last = m->out[0].rank - 1;
    double sum = PAIR - DISTANCE * fabs((double)(i + 1) / target->n - (double)(j + 1) / source->n);
    if (!strcmp(x->name, y->name)) sum += SAME_NAME;
    if (x->kind == y->kind) sum += SAME_KIND;
    if (m->out[0].dim[last] == n->out[0].dim[last]) sum += SAME_WIDTH;
    if (same_window(x, y)) sum += SAME_WINDOW;
    if (!strcmp(a->activation, b->activation)) sum += SAME_ACTIVATION;
    return sum;
}

/* ---- alignment ---- */

struct alignment {
    const struct side *target, *source;
    double *best; /* (target->n + 1, source->n + 1, 2): of all units from (i, j) on, if all before are
                     pairs, or not */
};

static double *best_at(const struct alignment *a, int i, int j, bool all) {
    return &a->best[((int64_t)i * (a->source->n + 1) + j) * 2 + all];
}

/* What pairing units i and j makes possible; negative: they are no pair. */
static double paired_score(const struct alignment *a, int i, int j, bool all) {
    double s = score(a->target, a->source, i, j);
    return s > 0 ? s + (all ? CONSECUTIVE : 0) + *best_at(a, i + 1, j + 1, all) : -1;
}

static void align(const struct alignment *a, int *pair) {
    int rows = a->target->n, columns = a->source->n;
    for (int i = rows; i >= 0; i--)
        for (int j = columns; j >= 0; j--)
            for (int all = 0; all <= 1; all++) {
                bool end = i == rows || j == columns;
                double skip = end ? 0 : fmax(*best_at(a, i + 1, j, false), *best_at(a, i, j + 1, false));
                *best_at(a, i, j, all) = end ? 0 : fmax(skip, paired_score(a, i, j, all));
            }
    bool all = true;
    for (int i = 0, j = 0; i < rows && j < columns;) {
        double at = *best_at(a, i, j, all);
        if (paired_score(a, i, j, all) >= at) {
            pair[i++] = j++;
            continue;
        }
        all = false;
        if (*best_at(a, i + 1, j, false) >= at) i++;
        else j++;
    }
}

/* ---- nodes ---- */

/* The outputs of a pair of units that are the same tensors. */
static void match_outputs(const struct unit *t, const struct unit *s, int *origin) {
    bool same = !strcmp(t->activation, s->activation);
    if (!t->fused && !s->fused) origin[t->node] = s->node;
    if (!same || (t->activation[0] == 0 && t->end != t->node)) return;
    origin[t->end] = s->end;
}

static bool reads(const struct node *node, int nin, const struct edge *in) {
    if (node->nin != nin) return false;
    for (int k = 0; k < nin; k++)
        if (node->in[k].node != in[k].node || node->in[k].slot != in[k].slot) return false;
    return true;
}

/* The source's node without weights that makes the same of the same. */
static status follow(const struct graph *target, const struct graph *source, int i, int *origin) {
    const struct node *n = &target->node[i];
    struct edge *in = malloc(((size_t)n->nin + 1) * sizeof *in);
    if (!in) return status_no_memory("a graph", (size_t)n->nin * sizeof *in);
    bool known = n->nin > 0 && !target->layer[n->layer].nweights && origin[i] < 0;
    for (int k = 0; k < n->nin && known; k++) {
        in[k] = (struct edge){origin[n->in[k].node], n->in[k].slot};
        known = in[k].node >= 0;
    }
    for (int j = 0; j < source->nnodes && known && origin[i] < 0; j++)
        if (reads(&source->node[j], n->nin, in) &&
            layer_equal(&target->layer[n->layer], &source->layer[source->node[j].layer]))
            origin[i] = j;
    free(in);
    return SUCCESS;
}

status topology_follow(const struct graph *target, const struct graph *source, int *origin) {
    for (int i = 0; i < target->nnodes; i++) STATUS_TRY(follow(target, source, i, origin));
    return SUCCESS;
}

/* A layer more than the source has, behind one that has been matched: it can do no better than give the same
 * once more, which its activation does not change. */
static void repeat(const struct side *target, const struct side *source, int i, int *origin, int *twin) {
    const struct node *n = &target->graph->node[i];
    const struct unit *t = NULL;
    for (int k = 0; k < target->n; k++)
        if (target->unit[k].node == i) t = &target->unit[k];
    int before = t && twin[i] < 0 && n->nin == 1 ? origin[n->in[0].node] : -1;
    for (int k = 0; k < source->n && before >= 0; k++) {
        const struct unit *s = &source->unit[k];
        const struct layer *layer = &source->graph->layer[source->graph->node[s->node].layer];
        if (s->end != before || !alike(target->graph->layer[n->layer].kind, layer->kind) ||
            !same_positions(&n->out[0], &source->graph->node[s->node].out[0]))
            continue;
        twin[i] = s->node;
        match_outputs(t, s, origin);
    }
}

static status match_ends(const struct graph *target, const struct graph *source, int *origin) {
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    if (target->ninputs != source->ninputs || target->noutputs != source->noutputs)
        return status_fail(
            STATUS_USAGE,
            "target.topology has %d inputs and %d outputs, the source has %d and %d; they must "
            "be as many",
            target->ninputs, target->noutputs, source->ninputs, source->noutputs);
    for (int i = 0; i < target->ninputs + target->noutputs; i++) {
        bool input = i < target->ninputs;
        const struct edge *t = input ? &target->input[i] : &target->output[i - target->ninputs],
                          *s = input ? &source->input[i] : &source->output[i - target->ninputs];
        const struct shape *x = &target->node[t->node].out[t->slot], *y = &source->node[s->node].out[s->slot];
        if (!shape_equal(x, y))
            return status_fail(STATUS_USAGE,
                               "target.topology %s %s, the source %s; they must be the same (for another "
                               "number of classes use target.head)",
                               input ? "takes" : "gives", shape_format(x, a), shape_format(y, b));
        if (input) origin[t->node] = s->node;
    }
    return SUCCESS;
}

status topology_match(const struct graph *target, const struct graph *source, int *origin, int *twin) {
    struct side t = {0}, s = {0};
    struct alignment alignment = {.target = &t, .source = &s};
    int *pair = NULL;
    for (int i = 0; i < target->nnodes; i++) origin[i] = twin[i] = -1;
    STATUS_TRY(match_ends(target, source, origin));
    status error = side_open(target, &t);
    if (!error) error = side_open(source, &s);
    if (!error)
        error = memory_alloc("an alignment of two graphs", 2 * ((size_t)t.n + 1) * ((size_t)s.n + 1),
                             sizeof *alignment.best, (void **)&alignment.best);
    if (!error) error = memory_alloc("an alignment", (size_t)t.n + 1, sizeof *pair, (void **)&pair);
    for (int i = 0; i < t.n && !error; i++) pair[i] = -1;
    if (!error) align(&alignment, pair);
    for (int i = 0; i < t.n && !error; i++) {
        if (pair[i] < 0) continue;
        twin[t.unit[i].node] = s.unit[pair[i]].node;
        match_outputs(&t.unit[i], &s.unit[pair[i]], origin);
    }
    for (int i = 0; i < target->nnodes && !error; i++) {
        repeat(&t, &s, i, origin, twin);
        error = follow(target, source, i, origin);
    }
    free(alignment.best);
    free(pair);
    free(t.unit);
    free(s.unit);
    return error;
}
