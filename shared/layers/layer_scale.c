/* Of ConvNeXt in keras.applications: x * gamma, one for each channel. */
#include "shared/layers/emit.h"
#include "shared/layers/kind.h"

#include <inttypes.h>

static const struct attr_spec attrs[] = {
    {.name = "projection_dim", .type = ATTR_INT},
    {.name = "init_values", .type = ATTR_FLOAT, .initial = "1e-6"}, /* no effect once trained */
};

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    int64_t n = layer_int(layer, "projection_dim");
    char text[SHAPE_TEXT_MAX];
    if (n < 1 || in[0].rank < 2 || in[0].dim[in[0].rank - 1] != n)
        return status_fail(STATUS_DATA, "projection_dim is %" PRId64 ", but its input has shape %s", n,
                           shape_format(&in[0], text));
    return kind_infer_same(layer, in, nin, out, nout);
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    (void)in, (void)nin;
    *weight = (struct weight){
        .name = "gamma", .shape = SHAPE(layer_int(layer, "projection_dim")), .trainable = true};
    *nweights = 1;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    (void)layer;
    lowering->nout = 1;
    return emit_scale(lowering, lowering->in[0], lowering->param[0], -1, &lowering->out[0]);
}

static status set_width(struct layer *layer, int64_t n) {
    layer_attr(layer, "projection_dim")->u.i = n;
    return SUCCESS;
}

const struct layer_kind layer_kind_layer_scale = {
    .class_name = "LayerScale",
    .module = "keras.src.applications.convnext",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .positionwise = true,
    .infer = infer,
    .weights = weights,
    .channels = kind_channels_same,
    .lower = lower,
    .set_width = set_width,
};
