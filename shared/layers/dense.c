#include "shared/layers/kind.h"

static const struct attr_spec attrs[] = {
    {.name = "units", .type = ATTR_INT},
    ATTR_ACTIVATION,
    ATTR_USE_BIAS,
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    char text[SHAPE_TEXT_MAX];
    (void)nin;
    STATUS_TRY(kind_positive(layer, "units"));
    if (in[0].rank < 2 || in[0].dim[in[0].rank - 1] < 1)
        return status_fail(STATUS_DATA, "its input has shape %s; the last dimension must be known",
                           shape_format(&in[0], text));
    out[0] = in[0];
    out[0].dim[in[0].rank - 1] = layer_int(layer, "units");
    *nout = 1;
    return SUCCESS;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    int64_t units = layer_int(layer, "units");
    int n = 0;
    (void)nin;
    weight[n++] = (struct weight){.name = "kernel",
                                  .shape = SHAPE(in[0].dim[in[0].rank - 1], units),
                                  .trainable = true,
                                  .in_axis = 0,
                                  .out_axis = 1};
    if (layer_bool(layer, "use_bias"))
        weight[n++] = (struct weight){
            .name = "bias", .shape = SHAPE(units), .trainable = true, .in_axis = -1, .out_axis = 0};
    *nweights = n;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int in = lowering->in[0];
    struct op op = op_make(OP_DENSE, &in, 1);
    struct shape shape = *lowering_shape(lowering, in);
    shape.dim[shape.rank - 1] = layer_int(layer, "units");
    op.param[0] = lowering->param[0];
    if (layer_bool(layer, "use_bias")) op.param[1] = lowering->param[1];
    return kind_lower_op(layer, lowering, &op, &shape);
}

static status set_width(struct layer *layer, int64_t n) {
    layer_attr(layer, "units")->u.i = n;
    return SUCCESS;
}

const struct layer_kind layer_kind_dense = {
    .class_name = "Dense",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .passes_mask = true,
    .positionwise = true,
    .affine = true,
    .check = kind_check_activation,
    .infer = infer,
    .weights = weights,
    .channels = kind_channels_fresh,
    .lower = lower,
    .set_width = set_width,
};
