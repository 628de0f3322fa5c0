/* What layer kinds share. Private to shared/layers/. */
#ifndef GODWIT_SHARED_LAYERS_KIND_H
#define GODWIT_SHARED_LAYERS_KIND_H

#include "shared/channels.h"

#define ATTRS(table) .attrs = (table), .nattrs = (int)(sizeof(table) / sizeof((table)[0]))

#define ATTR_DATA_FORMAT                                                                                     \
    {                                                                                                        \
        .name = "data_format", .type = ATTR_STRING, .initial = "channels_last",                              \
        .choices = "channels_last|channels_first"                                                            \
    }
/* Of layers that cannot have it in Keras 2. */
#define ATTR_DATA_FORMAT_KERAS3                                                                              \
    {                                                                                                        \
        .name = "data_format", .type = ATTR_STRING, .initial = "channels_last",                              \
        .choices = "channels_last|channels_first", .dialect = ATTR_KERAS3_ONLY                               \
    }
#define ATTR_PADDING                                                                                         \
    { .name = "padding", .type = ATTR_STRING, .initial = "valid", .choices = "valid|same" }
#define ATTR_ACTIVATION                                                                                      \
    { .name = "activation", .type = ATTR_STRING, .initial = "linear" }
#define ATTR_USE_BIAS                                                                                        \
    { .name = "use_bias", .type = ATTR_BOOL, .initial = "true" }

/* ---- checks ---- */

/* layer_kind.check: UNSUPPORTED if the attribute "activation" is not known. */
status kind_check_activation(const struct layer *layer) STATUS_MUST_USE;
/* DATA error unless the integer attribute is at least 1. */
status kind_positive(const struct layer *layer, const char *attr) STATUS_MUST_USE;
/* An axis as Keras counts it, -1 the last, as an index below rank. DATA error if there is none. */
status kind_axis(const char *attr, int64_t axis, int rank, int *index) STATUS_MUST_USE;

/* ---- rules that many kinds have ---- */

/* layer_kind.infer: one output, shaped like the input. */
status kind_infer_same(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                       int *nout);
/* layer_kind.channels. */
status kind_channels_fresh(const struct layer *layer,
                           struct channels *channels); /* whole if the activation needs all */
status kind_channels_same(const struct layer *layer, struct channels *channels);
status kind_channels_fix(const struct layer *layer, struct channels *channels);

/* Adds the operation, then the layer's activation if it has one, and sets the layer's only output. */
status kind_lower_op(const struct layer *layer, struct lowering *lowering, const struct op *op,
                     const struct shape *shape) STATUS_MUST_USE;

#endif
