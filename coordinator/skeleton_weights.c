/* Where the weights of a skeleton come from: expressions over the source's tensors. */
#include "coordinator/skeleton.h"

#include "shared/transform.h"

#include <string.h>

static int find_weight(const struct layer *layer, const char *name) {
    for (int i = 0; i < layer->nweights; i++)
        if (!strcmp(layer->weight[i].name, name)) return i;
    return -1;
}

status folded_weight(const struct fold *fold, const struct plan *plan, int layer, int weight,
                     struct expr **expr) {
    const struct layer *folded = &fold->graph->layer[layer];
    const struct weight *w = &folded->weight[weight];
    int from = fold->source_layer[layer], norm = fold->norm_layer[layer];
    int source_weight = find_weight(&plan->source->layer[from], w->name);
    STATUS_TRY(expr_create(source_weight >= 0 ? &transform_source : &transform_init, NULL, expr));
    struct operand *operand = (*expr)->operand;
    operand[0].present = true;
    if (source_weight >= 0) {
        operand[0].u.tensor.layer = from;
        operand[0].u.tensor.weight = source_weight;
    } else { /* a bias that the source does not have: the first word is zeros */
        operand[1] = (struct operand){.present = true, .u.shape = w->shape};
    }
    STATUS_TRY(expr_check(plan, *expr, NULL));
    /* A batch norm scales the output channels. */
    bool kernel = weight == skeleton_kernel(folded), bias = !strcmp(w->name, "bias");
    if (norm < 0 || !(kernel || bias)) return SUCCESS;
    STATUS_TRY(expr_create(kernel ? &transform_fold_bn : &transform_fold_bn_bias, *expr, expr));
    operand = (*expr)->operand;
    operand[0] = (struct operand){.present = true, .u.i = norm};
    if (kernel && w->out_axis >= 0 && w->out_axis < w->shape.rank - 1)
        operand[1] = (struct operand){.present = true, .u.i = w->out_axis};
    return expr_check(plan, *expr, NULL);
}

/* low_rank(x, rank, part left) and separable(x, multiplier, part pointwise) */
static status part_expr(const struct plan *plan, const struct transform *transform, int64_t rank,
                        const char *part, struct expr **expr) {
    STATUS_TRY(expr_create(transform, *expr, expr));
    struct operand *operand = (*expr)->operand;
    operand[0] = (struct operand){.present = true, .u.i = rank};
    operand[1] =
        (struct operand){.present = true, .u.i = transform_choice(transform->operand[1].choices, part)};
    return expr_check(plan, *expr, NULL);
}

/* Kernels as Glorot and Bengio (2010) start them, or as the identity if that is asked for; scales at one,
 * biases and means at zero; each tensor has a seed of its own. */
static status new_expr(const struct plan *plan, const struct weight *weight, const struct shape *shape,
                       int64_t seed, bool identity, struct expr **expr) {
    bool kernel = shape->rank >= 2,
         scale = !strcmp(weight->name, "gamma") || strstr(weight->name, "variance");
    identity = identity && kernel && shape->dim[shape->rank - 1] == shape->dim[shape->rank - 2];
    const char *how = identity ? "identity" : kernel ? "glorot_uniform" : scale ? "ones" : "zeros";
    STATUS_TRY(expr_create(&transform_init, NULL, expr));
    struct operand *operand = (*expr)->operand;
    operand[0] =
        (struct operand){.present = true, .u.i = transform_choice(transform_init.operand[0].choices, how)};
    operand[1] = (struct operand){.present = true, .u.shape = *shape};
    if (kernel && !identity) operand[2] = (struct operand){.present = true, .u.i = seed};
    return expr_check(plan, *expr, NULL);
}

/* A kernel's outputs projected on fewer or more; a bias starts at zero. */
static status projected_expr(const struct skeleton *s, const struct plan *plan, int layer, int weight,
                             struct expr **expr) {
    const struct layer *folded = &s->fold->graph->layer[s->folded_layer[layer]];
    const struct weight *w = &s->graph->layer[layer].weight[weight];
    int from = find_weight(folded, w->name), last = w->shape.rank - 1;
    int64_t seed = layer * LAYER_MAX_WEIGHTS + weight + 1;
    if (w->shape.rank < 2 || w->out_axis != last) return new_expr(plan, w, &w->shape, seed, false, expr);
    const struct node *node = &s->fold->graph->node[graph_layer_node(s->fold->graph, s->folded_layer[layer])];
    struct shape shape = w->shape;
    shape.dim[last] = node->out[0].dim[node->out[0].rank - 1];
    if (from >= 0 && shape_equal(&folded->weight[from].shape, &shape))
        STATUS_TRY(folded_weight(s->fold, plan, s->folded_layer[layer], from, expr));
    else STATUS_TRY(new_expr(plan, w, &shape, seed, false, expr));
    STATUS_TRY(expr_create(&transform_project, *expr, expr));
    (*expr)->operand[0] = (struct operand){.present = true, .u.i = w->shape.dim[last]};
    return expr_check(plan, *expr, NULL);
}

/* Both kernels of a separable convolution come from the one it stands for; a factor from the kernel that is
 * factored. */
static int source_of(const struct layer *folded, const struct layer *layer, int weight,
                     enum skeleton_part part) {
    const bool split = part == PART_SEPARABLE || part == PART_LEFT || part == PART_RIGHT;
    if (split && layer->weight[weight].shape.rank >= 2 &&
        (part == PART_SEPARABLE || weight == skeleton_kernel(layer)))
        return skeleton_kernel(folded);
    return find_weight(folded, layer->weight[weight].name);
}

status skeleton_weight(const struct skeleton *s, const struct plan *plan, int layer, int weight,
                       struct expr **expr) {
    const struct layer *l = &s->graph->layer[layer];
    const struct weight *w = &l->weight[weight];
    int folded = s->folded_layer[layer];
    enum skeleton_part part = s->part[layer];
    bool kernel = w->shape.rank >= 2;
    if (part == PART_PROJECTED) return projected_expr(s, plan, layer, weight, expr);
    const bool fresh = folded < 0 || part == PART_NEW || part == PART_FITTED || part == PART_REPEATED;
    int from = fresh ? -1 : source_of(&s->fold->graph->layer[folded], l, weight, part);
    if (from < 0)
        return new_expr(plan, w, &w->shape, layer * LAYER_MAX_WEIGHTS + weight + 1, part == PART_REPEATED,
                        expr);
    STATUS_TRY(folded_weight(s->fold, plan, folded, from, expr));
    if (part == PART_WHOLE || !kernel || (part == PART_LEFT && weight != skeleton_kernel(l))) return SUCCESS;
    if (part == PART_SEPARABLE)
        return part_expr(plan, &transform_separable, s->rank[layer], weight == 0 ? "depthwise" : "pointwise",
                         expr);
    STATUS_TRY(
        part_expr(plan, &transform_low_rank, s->rank[layer], part == PART_LEFT ? "left" : "right", expr));
    return expr_reshape(plan, &w->shape, expr);
}
