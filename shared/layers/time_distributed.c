/* A layer on each time step alone, with the same weights.
 *
 * What works position by position is lowered as it is, on one axis more; anything else is lowered step by
 * step, on slices, which needs the number of steps. While that is unknown one step stands for all: parameters
 * are right, and engines refuse to compile as long as shapes are unknown. */
#include "shared/layers/emit.h"
#include "shared/layers/inner.h"
#include "shared/layers/kind.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 4096 /* lowered one by one */

static const struct attr_spec attrs[] = {
    {.name = "layer", .type = ATTR_LAYER},
};

static status check(const struct layer *layer) {
    const struct layer *inner = inner_layer(layer, "layer");
    if (inner->kind->max_inputs == 0 || inner->kind->min_inputs > 1)
        return status_fail(STATUS_UNSUPPORTED, "inner layer \"%s\" (%s) is not supported here", inner->name,
                           inner->kind->class_name);
    if (layer_has_attr(inner, "return_state") && layer_bool(inner, "return_state"))
        return status_fail(STATUS_UNSUPPORTED, "inner layer \"%s\" (%s) with return_state is not supported",
                           inner->name, inner->kind->class_name);
    return inner_check(inner);
}

static struct shape without_time(const struct shape *shape) {
    struct shape step = *shape;
    for (int i = 1; i + 1 < step.rank; i++) step.dim[i] = step.dim[i + 1];
    step.dim[--step.rank] = 0;
    return step;
}

static struct shape with_time(const struct shape *step, int64_t steps) {
    struct shape shape = *step;
    for (int i = shape.rank++; i > 1; i--) shape.dim[i] = shape.dim[i - 1];
    shape.dim[1] = steps;
    return shape;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    const struct layer *inner = inner_layer(layer, "layer");
    char text[SHAPE_TEXT_MAX];
    (void)nin;
    if (in[0].rank < 3)
        return status_fail(STATUS_DATA, "its input has shape %s; it takes (batch, steps, ...)",
                           shape_format(&in[0], text));
    const struct shape step = without_time(&in[0]);
    struct shape made[LAYER_MAX_OUTPUTS];
    STATUS_TRY(inner->kind->infer(inner, &step, 1, made, nout));
    if (*nout != 1)
        return status_fail(STATUS_UNSUPPORTED, "inner layers of several outputs are not supported");
    if (made[0].rank >= SHAPE_MAX_RANK)
        return status_fail(STATUS_DATA, "its output would have more than %d dimensions", SHAPE_MAX_RANK);
    if (!inner->kind->positionwise && in[0].dim[1] > MAX_STEPS)
        return status_fail(STATUS_UNSUPPORTED,
                           "%" PRId64 " steps of layer \"%s\" (%s) are not supported; at most %d are",
                           in[0].dim[1], inner->name, inner->kind->class_name, MAX_STEPS);
    out[0] = with_time(&made[0], in[0].dim[1]);
    return SUCCESS;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    const struct shape step = without_time(&in[0]);
    int n = 0;
    STATUS_TRY(inner_weights(inner_layer(layer, "layer"), "layer", NULL, &step, nin, weight, &n));
    *nweights = n;
    return SUCCESS;
}

/* The inner layer for inputs with the time axis: axes counted from the front are one further back. */
static status on_all_steps(const struct layer *inner, struct layer *made) {
    STATUS_TRY(layer_copy(inner, inner->name, made));
    for (int i = 0; i < inner->kind->nattrs; i++) {
        struct attr *attr = &made->attr[i];
        if (strcmp(inner->kind->attrs[i].name, "axis") || !attr->present) continue;
        if (inner->kind->attrs[i].type == ATTR_INT) attr->u.i += attr->u.i > 0;
        else if (inner->kind->attrs[i].type == ATTR_INTS)
            for (int k = 0; k < attr->u.ints.n; k++) attr->u.ints.v[k] += attr->u.ints.v[k] > 0;
    }
    return SUCCESS;
}

static status channels(const struct layer *layer, struct channels *c) {
    const struct layer *inner = inner_layer(layer, "layer");
    struct layer made;
    if (!inner->kind->positionwise || !inner->kind->channels) return channels_fix(c);
    STATUS_TRY(on_all_steps(inner, &made));
    status error = inner->kind->channels(&made, c);
    layer_clear(&made);
    return error;
}

static status lower_positionwise(const struct layer *inner, struct lowering *lowering) {
    struct layer made;
    struct lowering inside;
    STATUS_TRY(on_all_steps(inner, &made));
    status error = inner_lower(&made, lowering, 1, lowering->in, lowering->mask, lowering->param, &inside);
    layer_clear(&made);
    STATUS_TRY(error);
    lowering->out[0] = inside.out[0];
    lowering->out_mask[0] = inside.out_mask[0];
    lowering->nout = 1;
    return SUCCESS;
}

/* One step of a value, and -1 of no value. */
static status step_of(struct lowering *lowering, int value, int64_t step, int *out) {
    *out = -1;
    if (value < 0) return SUCCESS;
    const struct shape shape = without_time(lowering_shape(lowering, value));
    STATUS_TRY(emit_slice(lowering, value, 1, step, 1, 1, out));
    return emit_reshape(lowering, *out, &shape, out);
}

/* Values of the steps one after the other: (N,...) each to (N,T,...). */
static status join_steps(struct lowering *lowering, int n, int *values, int64_t steps, int *out) {
    const struct shape step = *lowering_shape(lowering, values[0]);
    const struct shape one = with_time(&step, 1), all = with_time(&step, steps);
    if (steps < 0) return emit_reshape(lowering, values[0], &all, out);
    for (int i = 0; i < n; i++) STATUS_TRY(emit_reshape(lowering, values[i], &one, &values[i]));
    *out = values[0];
    return n > 1 ? emit_concat(lowering, n, values, 1, out) : SUCCESS;
}

/* A mask (N,T) stays. Of one with more axes, each step's part is the inner layer's; a step counts if any of
 * it does. */
static status outer_mask(struct lowering *lowering, int n, int *masks, int64_t steps) {
    int mask = lowering->mask[0];
    if (masks[0] >= 0) return join_steps(lowering, n, masks, steps, &lowering->out_mask[0]);
    while (mask >= 0 && lowering_shape(lowering, mask)->rank > 2)
        STATUS_TRY(
            emit_reduce(lowering, REDUCE_MAX, mask, lowering_shape(lowering, mask)->rank - 1, false, &mask));
    lowering->out_mask[0] = mask;
    return SUCCESS;
}

static status lower_steps(const struct layer *inner, struct lowering *lowering, int n, int64_t steps,
                          int *values, int *masks) {
    int mask = lowering->mask[0];
    bool deep = mask >= 0 && lowering_shape(lowering, mask)->rank > 2;
    for (int i = 0; i < n; i++) {
        struct lowering inside;
        int in, in_mask = -1;
        STATUS_TRY(step_of(lowering, lowering->in[0], i, &in));
        if (deep) STATUS_TRY(step_of(lowering, mask, i, &in_mask));
        STATUS_TRY(inner_lower(inner, lowering, 1, &in, &in_mask, lowering->param, &inside));
        values[i] = inside.out[0];
        masks[i] = inside.out_mask[0];
    }
    STATUS_TRY(outer_mask(lowering, n, masks, steps));
    lowering->nout = 1;
    return join_steps(lowering, n, values, steps, &lowering->out[0]);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    const struct layer *inner = inner_layer(layer, "layer");
    int64_t steps = lowering_shape(lowering, lowering->in[0])->dim[1];
    if (inner->kind->positionwise) return lower_positionwise(inner, lowering);
    size_t n = steps > 0 ? (size_t)steps : 1;
    int *values = malloc(2 * n * sizeof *values);
    if (!values) return status_no_memory("time steps", 2 * n * sizeof *values);
    status error = lower_steps(inner, lowering, (int)n, steps, values, values + n);
    free(values);
    return error;
}

static status set_width(struct layer *layer, int64_t n) {
    struct layer *inner = inner_layer(layer, "layer");
    return inner->kind->set_width ? inner->kind->set_width(inner, n) : SUCCESS;
}

const struct layer_kind layer_kind_time_distributed = {
    .class_name = "TimeDistributed",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .call_args = "inputs",
    .check = check,
    .infer = infer,
    .weights = weights,
    .channels = channels,
    .lower = lower,
    .set_width = set_width,
};
