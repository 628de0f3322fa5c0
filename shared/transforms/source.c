/* source["layer/weight"]: a tensor of the source, as it is. */
#include "shared/transform.h"

static status check(const struct plan *plan, struct expr *expr, struct position *at) {
    const struct operand *o = &expr->operand[0];
    (void)at;
    expr->shape = plan->source->layer[o->u.tensor.layer].weight[o->u.tensor.weight].shape;
    return SUCCESS;
}

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                   float *out) {
    const struct evaluation_sources *sources = evaluation_sources(evaluation);
    const struct operand *o = &expr->operand[0];
    return sources->read(sources->context, o->u.tensor.layer, o->u.tensor.weight, first, n, out);
}

const struct transform transform_source = {
    .name = "source",
    .usage = "source[\"layer/weight\"]",
    .doc = "a tensor of the source",
    .operand = {{.type = OPERAND_TENSOR}},
    .noperands = 1,
    .check = check,
    .rows = rows,
};
