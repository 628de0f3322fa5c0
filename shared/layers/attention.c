/* Attention (Luong et al., https://arxiv.org/abs/1508.04025) and AdditiveAttention (Bahdanau et al.,
 * https://arxiv.org/abs/1409.0473) without projections. Inputs: query (N,T,D), value (N,S,D) and perhaps key
 * (N,S,D). */
#include "shared/layers/emit.h"
#include "shared/layers/kind.h"
#include "shared/layers/mask.h"
#include "shared/layers/scores.h"

#include <string.h>

#define ATTR_COMMON                                                                                          \
    {.name = "dropout", .type = ATTR_FLOAT, .initial = "0"},                                                 \
        {.name = "causal", .type = ATTR_BOOL, .initial = "false", .dialect = ATTR_KERAS2_ONLY}, {            \
        .name = "use_causal_mask", .type = ATTR_BOOL, .initial = "false", .call = true                       \
    }

static const struct attr_spec dot_attrs[] = {
    {.name = "use_scale", .type = ATTR_BOOL, .initial = "false"},
    {.name = "score_mode", .type = ATTR_STRING, .initial = "dot", .choices = "dot|concat"},
    ATTR_COMMON,
};
static const struct attr_spec additive_attrs[] = {
    {.name = "use_scale", .type = ATTR_BOOL, .initial = "true"},
    ATTR_COMMON,
};

static bool is_additive(const struct layer *layer) {
    return !layer_has_attr(layer, "score_mode");
}

/* Scores of a sum of query and key, not of their product. */
static bool is_of_sum(const struct layer *layer) {
    return is_additive(layer) || !strcmp(layer_string(layer, "score_mode"), "concat");
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    const struct shape *query = &in[0], *value = &in[1], *key = &in[nin - 1];
    char q[SHAPE_TEXT_MAX], v[SHAPE_TEXT_MAX], k[SHAPE_TEXT_MAX];
    (void)layer;
    bool fits = query->rank == 3 && value->rank == 3 && key->rank == 3 && query->dim[2] == key->dim[2] &&
                query->dim[2] > 0 && value->dim[2] > 0 &&
                (value->dim[1] == key->dim[1] || value->dim[1] < 0 || key->dim[1] < 0);
    if (!fits)
        return status_fail(STATUS_DATA,
                           "query, value and key of shapes %s, %s and %s do not fit; they are (batch, steps, "
                           "features)",
                           shape_format(query, q), shape_format(value, v), shape_format(key, k));
    out[0] = SHAPE(query->dim[0], query->dim[1], value->dim[2]);
    *nout = 1;
    return SUCCESS;
}

/* A scalar, seen as one channel. */
static struct weight scalar(const char *name) {
    return (struct weight){.name = name,
                           .shape = {.rank = 0},
                           .view = SHAPE(1),
                           .trainable = true,
                           .in_axis = -1,
                           .out_axis = -1};
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    int n = 0;
    (void)nin;
    if (layer_bool(layer, "use_scale")) {
        weight[n] = scalar("scale");
        if (is_additive(layer)) weight[n].shape = weight[n].view = SHAPE(in[0].dim[2]);
        n++;
    }
    if (!is_additive(layer) && is_of_sum(layer)) weight[n++] = scalar("concat_score_weight");
    *nweights = n;
    return SUCCESS;
}

/* x times a parameter of one element. */
static status times_scalar(struct lowering *lowering, int value, int param, int *out) {
    const struct shape shape = *lowering_shape(lowering, value);
    struct shape column = shape;
    column.dim[column.rank++] = 1;
    STATUS_TRY(emit_reshape(lowering, value, &column, &value));
    STATUS_TRY(emit_scale(lowering, value, param, -1, &value));
    return emit_reshape(lowering, value, &shape, out);
}

/* tanh of the sums of each query and each key, summed over the features. */
static status scores_of_sums(const struct layer *layer, struct lowering *lowering, int query, int key,
                             int *out) {
    const struct activation_function tangent = {.kind = ACTIVATION_TANH};
    const struct shape q = *lowering_shape(lowering, query), k = *lowering_shape(lowering, key);
    bool scale = layer_bool(layer, "use_scale");
    int sum;
    STATUS_TRY(emit_reshape(lowering, query, &SHAPE(q.dim[0], q.dim[1], 1, q.dim[2]), &query));
    STATUS_TRY(emit_reshape(lowering, key, &SHAPE(k.dim[0], 1, k.dim[1], k.dim[2]), &key));
    STATUS_TRY(emit_binary(lowering, BINARY_ADD, query, key, &sum));
    if (scale && !is_additive(layer)) STATUS_TRY(times_scalar(lowering, sum, lowering->param[0], &sum));
    STATUS_TRY(emit_activation(lowering, &tangent, sum, &sum));
    if (scale && is_additive(layer)) STATUS_TRY(emit_scale(lowering, sum, lowering->param[0], -1, &sum));
    STATUS_TRY(emit_reduce(lowering, REDUCE_SUM, sum, 3, false, out));
    return is_additive(layer) ? SUCCESS : times_scalar(lowering, *out, lowering->param[scale ? 1 : 0], out);
}

static status scores_of_products(const struct layer *layer, struct lowering *lowering, int query, int key,
                                 int *out) {
    STATUS_TRY(emit_matmul(lowering, query, key, true, 1, out));
    return layer_bool(layer, "use_scale") ? times_scalar(lowering, *out, lowering->param[0], out) : SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int query = lowering->in[0], key = lowering->in[lowering->nin - 1], scores;
    const struct score_mask mask = {.query = -1,
                                    .key = lowering->mask[1],
                                    .causal =
                                        layer_bool(layer, "causal") || layer_bool(layer, "use_causal_mask")};
    STATUS_TRY(is_of_sum(layer) ? scores_of_sums(layer, lowering, query, key, &scores)
                                : scores_of_products(layer, lowering, query, key, &scores));
    STATUS_TRY(scores_softmax(lowering, scores, &mask, layer_float(layer, "dropout"), &scores));
    STATUS_TRY(emit_matmul(lowering, scores, lowering->in[1], false, 1, &lowering->out[0]));
    lowering->nout = 1;
    lowering->out_mask[0] = lowering->mask[0];
    if (lowering->mask[0] < 0) return SUCCESS;
    return mask_apply(lowering, lowering->mask[0], lowering->out[0], &lowering->out[0]);
}

#define ATTENTION_KIND(symbol, text, table)                                                                  \
    const struct layer_kind layer_kind_##symbol = {                                                          \
        .class_name = text,                                                                                  \
        ATTRS(table),                                                                                        \
        .min_inputs = 2,                                                                                     \
        .max_inputs = 3,                                                                                     \
        .infer = infer,                                                                                      \
        .weights = weights,                                                                                  \
        .channels = kind_channels_fix,                                                                       \
        .lower = lower,                                                                                      \
    }

ATTENTION_KIND(attention, "Attention", dot_attrs);
ATTENTION_KIND(additive_attention, "AdditiveAttention", additive_attrs);
