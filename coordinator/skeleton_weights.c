/* Where the weights of a skeleton come from: expressions over the source's tensors. */
#include "coordinator/skeleton.h"

#include "shared/transform.h"

#include <string.h>

static status checked(const struct plan *plan, struct expr *expr) {
    struct position at;
    return expr_check(plan, expr, &at);
}

static int find_weight(const struct layer *layer, const char *name) {
    for (int i = 0; i < layer->nweights; i++)
        if (!strcmp(layer->weight[i].name, name)) return i;
    return -1;
}

/* Does this weight of the layer carry its output channels, so that a batch norm scales it? The bias is apart;
 * of several kernels (separable) it is the last. */
static bool is_last_kernel(const struct layer *layer, int weight) {
    for (int i = weight + 1; i < layer->nweights; i++)
        if (layer->weight[i].shape.rank >= 2) return false;
    return layer->weight[weight].shape.rank >= 2;
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
    STATUS_TRY(checked(plan, *expr));
    bool kernel = is_last_kernel(folded, weight), bias = !strcmp(w->name, "bias");
    if (norm < 0 || !(kernel || bias)) return SUCCESS;
    STATUS_TRY(expr_create(kernel ? &transform_fold_bn : &transform_fold_bn_bias, *expr, expr));
    operand = (*expr)->operand;
    operand[0] = (struct operand){.present = true, .u.i = norm};
    if (kernel && w->out_axis >= 0 && w->out_axis < w->shape.rank - 1)
        operand[1] = (struct operand){.present = true, .u.i = w->out_axis};
    return checked(plan, *expr);
}

/* low_rank(x, rank, part left) and separable(x, multiplier, part pointwise) */
static status part_expr(const struct plan *plan, const struct transform *transform, int64_t rank,
                        const char *part, struct expr **expr) {
    STATUS_TRY(expr_create(transform, *expr, expr));
    struct operand *operand = (*expr)->operand;
    operand[0] = (struct operand){.present = true, .u.i = rank};
    operand[1] =
        (struct operand){.present = true, .u.i = transform_choice(transform->operand[1].choices, part)};
    return checked(plan, *expr);
}

static status reshape_expr(const struct plan *plan, const struct shape *shape, struct expr **expr) {
    if (shape_equal(&(*expr)->shape, shape)) return SUCCESS;
    STATUS_TRY(expr_create(&transform_reshape, *expr, expr));
    (*expr)->operand[0] = (struct operand){.present = true, .u.shape = *shape};
    return checked(plan, *expr);
}

/* Kernels as Glorot and Bengio (2010) start them, biases at zero. */
static status new_expr(const struct plan *plan, const struct shape *shape, struct expr **expr) {
    STATUS_TRY(expr_create(&transform_init, NULL, expr));
    const char *how = shape->rank >= 2 ? "glorot_uniform" : "zeros";
    (*expr)->operand[0] =
        (struct operand){.present = true, .u.i = transform_choice(transform_init.operand[0].choices, how)};
    (*expr)->operand[1] = (struct operand){.present = true, .u.shape = *shape};
    return checked(plan, *expr);
}

status skeleton_weight(const struct skeleton *s, const struct plan *plan, int layer, int weight,
                       struct expr **expr) {
    const struct layer *l = &s->graph->layer[layer];
    const struct weight *w = &l->weight[weight];
    int folded = s->folded_layer[layer];
    if (s->part[layer] == PART_NEW) return new_expr(plan, &w->shape, expr);
    bool kernel = w->shape.rank >= 2;
    int from = find_weight(&s->fold->graph->layer[folded],
                           kernel && s->part[layer] == PART_SEPARABLE ? "kernel" : w->name);
    STATUS_TRY(folded_weight(s->fold, plan, folded, from, expr));
    if (s->part[layer] == PART_WHOLE || !kernel) return SUCCESS;
    if (s->part[layer] == PART_SEPARABLE)
        return part_expr(plan, &transform_separable, s->rank[layer], weight == 0 ? "depthwise" : "pointwise",
                         expr);
    STATUS_TRY(part_expr(plan, &transform_low_rank, s->rank[layer],
                         s->part[layer] == PART_LEFT ? "left" : "right", expr));
    return reshape_expr(plan, &w->shape, expr);
}
