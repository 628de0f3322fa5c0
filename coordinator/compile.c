#include "coordinator/compile.h"

#include "coordinator/budget.h"
#include "coordinator/compile_parts.h"
#include "coordinator/target_kind.h"
#include "shared/transform.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void compiled_destroy(struct compiled **compiled) {
    struct compiled *c = *compiled;
    if (!c) return;
    plan_destroy(&c->plan);
    plan_destroy(&c->whole);
    plan_destroy(&c->uncut);
    channel_map_destroy(&c->map);
    graph_destroy(&c->target);
    skeleton_destroy(&c->skeleton);
    fold_destroy(&c->fold);
    free(c->kept);
    free(c);
    *compiled = NULL;
}

/* ---- what is asked for ---- */

static status edited_skeleton(struct compiled *c, const struct target_config *config) {
    const struct graph *folded = c->fold->graph;
    struct edit *edit = calloc((size_t)folded->nnodes + 1, sizeof *edit);
    if (!edit) return status_no_memory("a graph", (size_t)folded->nnodes * sizeof *edit);
    status error = SUCCESS;
    for (int i = 0; i < target_kind_count() && !error; i++)
        if (target_kind_at(i)->edit) error = target_kind_at(i)->edit(config, folded, edit);
    if (!error) error = skeleton_create(c->fold, edit, &c->skeleton);
    free(edit);
    return error;
}

static status make_skeleton(struct compiled *c, const struct target_config *config) {
    for (int i = 0; i < target_kind_count() && !c->skeleton; i++)
        if (target_kind_at(i)->give) STATUS_TRY(target_kind_at(i)->give(config, c->fold, &c->skeleton));
    if (!c->skeleton) STATUS_TRY(edited_skeleton(c, config));
    return channel_map_create(c->skeleton->graph, &c->map);
}

/* All of every group. */
status compile_keep_all(struct compiled *c) {
    int groups = channel_map_groups(c->map);
    free(c->kept);
    c->kept = malloc(((size_t)groups + 1) * sizeof *c->kept);
    if (!c->kept) return status_no_memory("widths", (size_t)groups * sizeof *c->kept);
    for (int g = 0; g < groups; g++) c->kept[g] = channel_map_width(c->map, g);
    return SUCCESS;
}

/* As many as the topology that was given has. */
static status keep_given(struct compiled *c) {
    const struct graph *wide = c->skeleton->graph;
    for (int i = 0; i < wide->nnodes; i++) {
        int group = channel_map_whole(c->map, i, false);
        if (group >= 0 && !channel_map_fixed(c->map, group)) c->kept[group] = (int)c->skeleton->given[i];
        group = channel_map_whole(c->map, i, true);
        if (group >= 0) c->kept[group] = (int)c->skeleton->given_inner[i];
    }
    return SUCCESS;
}

/* Does the target now have the channels that were asked for? */
static status check_given(const struct compiled *c) {
    const struct graph *g = c->target;
    for (int i = 0; i < g->nnodes && c->skeleton->given; i++) {
        const struct shape *out = &g->node[i].out[0];
        int64_t width = out->rank ? out->dim[out->rank - 1] : 0;
        if (width != c->skeleton->given[i])
            return status_fail(STATUS_UNSUPPORTED,
                               "target.topology: \"%s\" would have %lld channels, not %lld: they are coupled "
                               "with those of other layers",
                               g->layer[g->node[i].layer].name, (long long)width,
                               (long long)c->skeleton->given[i]);
    }
    return SUCCESS;
}

/* By factors, or within the budget. */
static status choose_widths(struct compiled *c, const struct target_config *config,
                            const double *const *error) {
    STATUS_TRY(compile_keep_all(c));
    if (budget_is_set(config) && config->nwidths)
        return status_fail(STATUS_USAGE,
                           "target.widths and a budget (target.params, target.flops, target.latency_ms, "
                           "target.latency_ratio) exclude each other; leave one out");
    if (c->skeleton->given) return keep_given(c);
    if (budget_is_set(config)) return budget_allot(c, config, NULL, error, c->kept);
    for (int i = 0; i < target_kind_count(); i++)
        if (target_kind_at(i)->narrow)
            STATUS_TRY(target_kind_at(i)->narrow(config, c->skeleton, c->map, c->kept));
    return SUCCESS;
}

status compile_narrowed(const struct compiled *c, const int *kept, struct graph **graph) {
    STATUS_TRY(graph_clone(c->skeleton->graph, graph));
    for (int i = 0; i < (*graph)->nnodes; i++) {
        struct layer *l = &(*graph)->layer[(*graph)->node[i].layer];
        int width;
        channel_map_of(c->map, i, &width);
        int64_t n = compile_positions(c, kept, i, false, NULL, NULL);
        if (l->kind->set_width && n < width) STATUS_TRY(l->kind->set_width(l, n));
        channel_map_inner(c->map, i, &width);
        n = compile_positions(c, kept, i, true, NULL, NULL);
        if (l->kind->set_inner && n < width) STATUS_TRY(l->kind->set_inner(l, n));
    }
    return graph_infer(*graph);
}

status compile_narrow(struct compiled *c, const char *name) {
    graph_destroy(&c->target);
    STATUS_TRY(compile_narrowed(c, c->kept, &c->target));
    char *copy = strdup(name);
    if (!copy) return status_no_memory("a name", strlen(name));
    free(c->target->name);
    c->target->name = copy;
    return SUCCESS;
}

/* ---- statements ---- */

/* The node whose channels an axis of a tensor is indexed by, `inner` if those inside it; -1: those of none.
 */
static int node_of_axis(const struct graph *graph, const struct weight *w, int node, int axis, bool *inner) {
    *inner = w->inner_axes & 1U << axis;
    if (*inner) return node;
    if (axis == w->out_axis || (axis == w->in_axis && w->feedback)) return node;
    return axis == w->in_axis && graph->node[node].nin ? graph->node[node].in[0].node : -1;
}

/* The keep lists of a tensor's axes: by its layer's input and output channels. An axis that has these several
 * times is seen as two. */
static status index_expr(struct compiled *c, struct plan *plan, int layer, int weight, struct expr **expr) {
    const struct graph *wide = c->skeleton->graph;
    const struct weight *w = &wide->layer[layer].weight[weight],
                        *to = &plan->target->layer[layer].weight[weight];
    int node = graph_layer_node(wide, layer), keep[SHAPE_MAX_RANK], rank = w->shape.rank;
    bool any = false, split = w->blocks > 1 && rank < SHAPE_MAX_RANK &&
                              w->shape.dim[w->out_axis] != to->shape.dim[w->out_axis];
    struct shape seen = {.rank = 0};
    for (int axis = 0; axis < rank && node >= 0; axis++) {
        bool inner;
        int of = node_of_axis(wide, w, node, axis, &inner), width;
        int64_t size = w->shape.dim[axis];
        if (split && axis == w->out_axis) {
            keep[seen.rank] = -1;
            seen.dim[seen.rank++] = w->blocks;
            size /= w->blocks;
        }
        int *list = &keep[seen.rank];
        *list = -1;
        seen.dim[seen.rank++] = size;
        if (of < 0 || w->shape.dim[axis] == to->shape.dim[axis]) continue;
        compile_channels(c, of, inner, &width);
        STATUS_TRY(compile_keep_of(c, plan, of, inner, (int)(size / width), list));
        any = any || *list >= 0;
    }
    if (any) {
        if (split) STATUS_TRY(expr_reshape(plan, &seen, expr));
        STATUS_TRY(expr_create(&transform_index, *expr, expr));
        (*expr)->index = calloc((size_t)seen.rank, sizeof *(*expr)->index);
        if (!(*expr)->index) return status_no_memory("an index", (size_t)seen.rank);
        for (int i = 0; i < seen.rank; i++)
            if (keep[i] >= 0) (*expr)->index[i] = (struct axis_index){.kind = INDEX_KEEP, .keep = keep[i]};
        STATUS_TRY(expr_check(plan, *expr, NULL));
        if (split) STATUS_TRY(expr_reshape(plan, &to->shape, expr));
    }
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    if (!shape_equal(&(*expr)->shape, &to->shape))
        return status_fail(STATUS_UNSUPPORTED, "cannot narrow \"%s/%s\" from %s to %s",
                           wide->layer[layer].name, w->name, shape_format(&w->shape, a),
                           shape_format(&to->shape, b));
    return SUCCESS;
}

static status refit_expr(const struct plan *plan, struct expr **expr) {
    STATUS_TRY(expr_create(&transform_refit, *expr, expr));
    return expr_check(plan, *expr, NULL);
}

/* Layers with kernels are refitted, kernels and bias; others are only narrowed, and a new layer has nothing
 * to be fitted to. */
static bool is_refit(const struct compiled *c, const struct layer *layer, int index, int weight) {
    enum skeleton_part part = c->skeleton->part[index];
    bool fitted = layer->kind->affine || layer->kind->fitted;
    return fitted && layer->weight[weight].trainable && part != PART_NEW;
}

static status finish_expr(const struct target_config *config, const struct plan *plan,
                          const struct layer *layer, int weight, struct expr **expr) {
    for (int i = 0; i < target_kind_count(); i++)
        if (target_kind_at(i)->finish)
            STATUS_TRY(target_kind_at(i)->finish(config, plan, layer, weight, expr));
    return SUCCESS;
}

/* The value of a weight in a program; `config` is that of the target's program, NULL for the others. */
static status value_of(struct compiled *c, struct plan *plan, const struct target_config *config, int layer,
                       int weight, struct expr **expr) {
    const struct layer *l = &plan->target->layer[layer];
    if (plan == c->whole) return folded_weight(c->fold, plan, layer, weight, expr);
    STATUS_TRY(skeleton_weight(c->skeleton, plan, layer, weight, expr));
    if (plan != c->uncut) STATUS_TRY(index_expr(c, plan, layer, weight, expr));
    if (is_refit(c, l, layer, weight)) STATUS_TRY(refit_expr(plan, expr));
    return plan != c->uncut ? finish_expr(config, plan, l, weight, expr) : SUCCESS;
}

static status add_statements(struct compiled *c, struct plan *plan, const struct target_config *config,
                             int layer, int slice) {
    const struct layer *l = &plan->target->layer[layer];
    for (int w = 0; w < l->nweights; w++) {
        struct plan_statement s = {
            .layer = layer, .weight = w, .slice = slice, .shape = l->weight[w].shape, .residual = NAN};
        status error = value_of(c, plan, config, layer, w, &s.value);
        if (!error) error = plan_add_statement(plan, &s);
        if (error) {
            expr_destroy(&s.value);
            return error;
        }
    }
    return SUCCESS;
}

/* ---- slices ---- */

/* Has the source the tensor that a node gives? */
static bool is_of_source(const struct compiled *c, const struct plan *plan, int node) {
    return plan == c->whole || c->skeleton->origin[node] >= 0;
}

/* Slices end at boundaries that the source has too, and each has weights: a new one begins with the first
 * weighted layer after a boundary that closes a weighted stretch. */
static status add_slices(struct compiled *c, struct plan *plan, const struct target_config *config) {
    const struct graph *t = plan->target;
    int *boundary = NULL, nboundaries = 0, at = 0, last = -1;
    bool weighted = false, *done = calloc((size_t)t->nlayers + 1, 1);
    if (!done) return status_no_memory("slices", (size_t)t->nlayers);
    status error = graph_boundaries(t, &boundary, &nboundaries);
    for (int i = 0; i < t->nnodes && !error; i++) {
        int layer = t->node[i].layer;
        bool has_weights = t->layer[layer].nweights > 0 && !done[layer];
        if (has_weights && weighted && last >= 0) {
            error = plan_add_slice(plan, last);
            weighted = false;
            last = -1;
        }
        if (has_weights && !error) error = add_statements(c, plan, config, layer, plan->nslices);
        done[layer] = true;
        weighted = weighted || has_weights;
        if (at < nboundaries && boundary[at] == i) {
            at++;
            if (weighted && is_of_source(c, plan, i)) last = i;
        }
    }
    if (!error) error = plan_add_slice(plan, t->nnodes - 1);
    free(boundary);
    free(done);
    return error;
}

/* ---- the two ways ---- */

status compile_begin(const struct graph *source, const struct target_config *config,
                     struct compiled **compiled) {
    struct compiled *c = calloc(1, sizeof *c);
    if (!c) return status_no_memory("the compiler", sizeof *c);
    status error = fold_create(source, &c->fold);
    if (!error) error = make_skeleton(c, config);
    if (error) compiled_destroy(&c);
    *compiled = c;
    return error;
}

/* The programs that give what the target is compared with. */
status compile_full_programs(struct compiled *c, const struct graph *source, const char *path,
                             const char *digest) {
    STATUS_TRY(plan_create(source, c->fold->graph, path, digest, &c->whole));
    STATUS_TRY(add_slices(c, c->whole, NULL));
    if (!c->skeleton->edited) return SUCCESS;
    STATUS_TRY(plan_create(source, c->skeleton->graph, path, digest, &c->uncut));
    return add_slices(c, c->uncut, NULL);
}

status compile_target(const struct graph *source, const char *source_path, const char *digest,
                      const struct target_config *config, const char *name, struct compiled **compiled) {
    struct compiled *c = NULL;
    STATUS_TRY(compile_begin(source, config, &c));
    status error = compile_full_programs(c, source, source_path, digest);
    if (!error) error = compile_widths(c, config, NULL, name);
    if (error) compiled_destroy(&c);
    *compiled = c;
    return error;
}

/* The target and its program, as wide as `kept` says. */
static status make_program(struct compiled *c, const struct target_config *config, const char *name) {
    const struct plan *full = c->whole;
    plan_destroy(&c->plan);
    STATUS_TRY(compile_narrow(c, name));
    STATUS_TRY(check_given(c));
    STATUS_TRY(plan_create(full->source, c->target, full->source_path, full->source_digest, &c->plan));
    for (int i = 0; i < config->ndepth; i++) STATUS_TRY(plan_add_bypassed(c->plan, config->depth[i]));
    for (int l = 0; l < c->skeleton->graph->nlayers; l++)
        if (c->skeleton->part[l] == PART_LEFT)
            STATUS_TRY(plan_add_factored(c->plan, c->fold->graph->layer[c->skeleton->folded_layer[l]].name,
                                         c->skeleton->rank[l]));
    return add_slices(c, c->plan, config);
}

status compile_kept(struct compiled *c, const struct target_config *config, const int *kept,
                    const char *name) {
    memcpy(c->kept, kept, (size_t)channel_map_groups(c->map) * sizeof *kept);
    return make_program(c, config, name);
}

status compile_widths(struct compiled *c, const struct target_config *config, const double *const *error,
                      const char *name) {
    STATUS_TRY(choose_widths(c, config, error));
    return make_program(c, config, name);
}
