/* Whole numbers to rows of a table. */
#include "shared/layers/emit.h"
#include "shared/layers/kind.h"

static const struct attr_spec attrs[] = {
    {.name = "input_dim", .type = ATTR_INT},
    {.name = "output_dim", .type = ATTR_INT},
    {.name = "mask_zero", .type = ATTR_BOOL, .initial = "false"},
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    char text[SHAPE_TEXT_MAX];
    (void)nin;
    STATUS_TRY(kind_positive(layer, "input_dim"));
    STATUS_TRY(kind_positive(layer, "output_dim"));
    if (in[0].rank < 1 || in[0].rank >= SHAPE_MAX_RANK)
        return status_fail(STATUS_DATA, "its input has shape %s; it can have %d dimensions at most",
                           shape_format(&in[0], text), SHAPE_MAX_RANK - 1);
    out[0] = in[0];
    out[0].dim[out[0].rank++] = layer_int(layer, "output_dim");
    *nout = 1;
    return SUCCESS;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    (void)in, (void)nin;
    weight[0] = (struct weight){.name = "embeddings",
                                .shape = SHAPE(layer_int(layer, "input_dim"), layer_int(layer, "output_dim")),
                                .trainable = true,
                                .in_axis = -1,
                                .out_axis = 1};
    *nweights = 1;
    return SUCCESS;
}

/* The last axis of the input is no channels, so it is kept. */
static status channels(const struct layer *layer, struct channels *c) {
    (void)layer;
    return channels_fix(c);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0], nout;
    struct op op = op_make(OP_EMBEDDING, &in, 1);
    struct shape shape;
    STATUS_TRY(infer(layer, lowering_shape(lowering, in), 1, &shape, &nout));
    op.param[0] = lowering->param[0];
    STATUS_TRY(kind_lower_op(layer, lowering, &op, &shape));
    const struct activation_function not_zero = {.kind = ACTIVATION_NOT_EQUAL};
    if (!layer_bool(layer, "mask_zero")) return SUCCESS;
    return emit_activation(lowering, &not_zero, in, &lowering->out_mask[0]);
}

const struct layer_kind layer_kind_embedding = {
    .class_name = "Embedding",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .positionwise = true,
    .infer = infer,
    .weights = weights,
    .channels = channels,
    .lower = lower,
};
