/* MultiHeadAttention (Vaswani et al., https://arxiv.org/abs/1706.03762) and GroupedQueryAttention (Ainslie et
 * al., https://arxiv.org/abs/2305.13245), over the last axes before the features. Inputs: query, value and
 * perhaps key, as Keras orders them. */
#include "shared/layers/emit.h"
#include "shared/layers/kind.h"
#include "shared/layers/mask.h"
#include "shared/layers/scores.h"

#include <inttypes.h>
#include <math.h>

#define ATTR_COMMON                                                                                          \
    ATTR_USE_BIAS, {.name = "dropout", .type = ATTR_FLOAT, .initial = "0"}, {                                \
        .name = "use_causal_mask", .type = ATTR_BOOL, .initial = "false", .call = true                       \
    }

static const struct attr_spec multi_attrs[] = {
    {.name = "num_heads", .type = ATTR_INT},
    {.name = "key_dim", .type = ATTR_INT},
    {.name = "value_dim", .type = ATTR_INT, .initial = "null"},       /* as key_dim */
    {.name = "output_shape", .type = ATTR_INTS, .initial = "null"},   /* the query's features */
    {.name = "attention_axes", .type = ATTR_INTS, .initial = "null"}, /* all but batch and features */
    ATTR_COMMON,
};
static const struct attr_spec grouped_attrs[] = {
    {.name = "head_dim", .type = ATTR_INT},
    {.name = "num_query_heads", .type = ATTR_INT},
    {.name = "num_key_value_heads", .type = ATTR_INT},
    ATTR_COMMON,
};

/* What both kinds come down to. */
struct heads {
    int64_t query, key;  /* how many; each of the key's (and value's) serves query / key of the query's */
    int64_t size, value; /* of a head of query and key, and of value */
    int nout;            /* output features */
    int64_t out[SHAPE_MAX_RANK];
    int first; /* axis of attention; the ones after it, but the last, are others */
};

static bool is_grouped(const struct layer *layer) {
    return layer_has_attr(layer, "num_query_heads");
}

/* Small enough for the product of two. */
static status check_size(const struct layer *layer, const char *attr) {
    STATUS_TRY(kind_positive(layer, attr));
    if (layer_int(layer, attr) <= INT32_MAX) return SUCCESS;
    return status_fail(STATUS_DATA, "attribute \"%s\" is %" PRId64 ", which is too large", attr,
                       layer_int(layer, attr));
}

static status check(const struct layer *layer) {
    static const char *const positive[2][3] = {{"num_heads", "key_dim", NULL},
                                               {"head_dim", "num_query_heads", "num_key_value_heads"}};
    for (int i = 0; i < 3; i++)
        if (positive[is_grouped(layer)][i]) STATUS_TRY(check_size(layer, positive[is_grouped(layer)][i]));
    if (is_grouped(layer)) {
        if (layer_int(layer, "num_query_heads") % layer_int(layer, "num_key_value_heads") == 0)
            return SUCCESS;
        return status_fail(STATUS_DATA, "num_query_heads is no multiple of num_key_value_heads");
    }
    return layer_attr(layer, "value_dim")->present ? check_size(layer, "value_dim") : SUCCESS;
}

/* The attention axes must be the last ones before the features. */
static status first_axis(const struct layer *layer, int rank, int *first) {
    const struct attr *axes = is_grouped(layer) ? NULL : layer_attr(layer, "attention_axes");
    *first = 1;
    if (!axes || !axes->present || axes->u.ints.n == 0) return SUCCESS;
    for (int i = 0; i < axes->u.ints.n; i++) {
        int64_t axis = axes->u.ints.v[i] + (axes->u.ints.v[i] < 0 ? rank : 0);
        if (axis != rank - 1 - axes->u.ints.n + i || axis < 1)
            return status_fail(
                STATUS_UNSUPPORTED,
                "attention_axes with %" PRId64
                " are not supported for an input of %d axes; they must be the last ones before "
                "the features, in order",
                axes->u.ints.v[i], rank);
    }
    *first = rank - 1 - axes->u.ints.n;
    return SUCCESS;
}

static status find_heads(const struct layer *layer, const struct shape *query, struct heads *heads) {
    char text[SHAPE_TEXT_MAX];
    if (query->rank < 3 || query->rank > SHAPE_MAX_RANK - 2 || query->dim[query->rank - 1] < 1)
        return status_fail(STATUS_DATA,
                           "its query has shape %s; it takes (batch, steps, features), features known",
                           shape_format(query, text));
    *heads = (struct heads){.nout = 1, .out = {query->dim[query->rank - 1]}};
    if (is_grouped(layer)) {
        heads->query = layer_int(layer, "num_query_heads");
        heads->key = layer_int(layer, "num_key_value_heads");
        heads->size = heads->value = layer_int(layer, "head_dim");
    } else {
        const struct attr *out = layer_attr(layer, "output_shape");
        heads->query = heads->key = layer_int(layer, "num_heads");
        heads->size = layer_int(layer, "key_dim");
        heads->value = layer_attr(layer, "value_dim")->present ? layer_int(layer, "value_dim") : heads->size;
        if (out->present && out->u.ints.n) {
            heads->nout = out->u.ints.n;
            if (heads->nout + 2 > SHAPE_MAX_RANK || heads->nout + query->rank - 1 > SHAPE_MAX_RANK)
                return status_fail(STATUS_DATA, "output_shape has %d dimensions, which are too many",
                                   heads->nout);
            for (int i = 0; i < heads->nout; i++) {
                heads->out[i] = out->u.ints.v[i];
                if (heads->out[i] < 1)
                    return status_fail(STATUS_DATA, "output_shape has %" PRId64 "; it must be at least 1",
                                       heads->out[i]);
            }
        }
    }
    return first_axis(layer, query->rank, &heads->first);
}

static status misfit(const struct shape *a, const struct shape *b) {
    char x[SHAPE_TEXT_MAX], y[SHAPE_TEXT_MAX];
    return status_fail(STATUS_DATA, "inputs of shapes %s and %s do not fit", shape_format(a, x),
                       shape_format(b, y));
}

static bool same_dim(int64_t a, int64_t b) {
    return a == b || a == SHAPE_UNKNOWN || b == SHAPE_UNKNOWN;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct heads heads;
    STATUS_TRY(find_heads(layer, &in[0], &heads));
    const struct shape *value = &in[1], *key = &in[nin - 1];
    if (value->rank != in[0].rank || value->dim[value->rank - 1] < 1) return misfit(&in[0], value);
    for (int i = 1; i < heads.first; i++)
        if (!same_dim(in[0].dim[i], value->dim[i])) return misfit(&in[0], value);
    if (key->rank != value->rank || key->dim[key->rank - 1] < 1) return misfit(value, key);
    for (int i = 1; i < value->rank - 1; i++)
        if (!same_dim(value->dim[i], key->dim[i])) return misfit(value, key);
    out[0] = in[0];
    out[0].rank += heads.nout - 1;
    for (int i = 0; i < heads.nout; i++) out[0].dim[in[0].rank - 1 + i] = heads.out[i];
    *nout = 1;
    return SUCCESS;
}

/* `heads`: the axis of them. */
static struct weight weight_of(const char *name, const char *path, struct shape shape, struct shape view,
                               int in_axis, int heads) {
    struct weight weight = {.name = name,
                            .shape = shape,
                            .view = view,
                            .trainable = true,
                            .in_axis = in_axis,
                            .out_axis = -1,
                            .inner_axes = heads < 0 ? 0 : 1U << heads};
    for (int i = 0; path[i]; i++) weight.path[i] = path[i];
    return weight;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    bool bias = layer_bool(layer, "use_bias");
    struct heads h;
    int n = 0;
    STATUS_TRY(find_heads(layer, &in[0], &h));
    const struct {
        const char *kernel, *bias, *path;
        const struct shape *in;
        int64_t heads, size;
    } projections[] = {
        {"query/kernel", "query/bias", "query_dense", &in[0], h.query, h.size},
        {"key/kernel", "key/bias", "key_dense", &in[nin - 1], h.key, h.size},
        {"value/kernel", "value/bias", "value_dense", &in[1], h.key, h.value},
    };
    for (size_t i = 0; i < sizeof projections / sizeof projections[0]; i++) {
        int64_t features = projections[i].in->dim[projections[i].in->rank - 1];
        int64_t heads = projections[i].heads, size = projections[i].size;
        weight[n++] = weight_of(projections[i].kernel, projections[i].path, SHAPE(features, heads, size),
                                SHAPE(features, heads * size), 0, 1);
        if (bias)
            weight[n++] = weight_of(projections[i].bias, projections[i].path, SHAPE(heads, size),
                                    SHAPE(heads * size), -1, 0);
    }
    struct shape kernel = {.rank = 2 + h.nout, .dim = {h.query, h.value}}, features = {.rank = h.nout};
    int64_t width = 1;
    for (int i = 0; i < h.nout; i++) {
        kernel.dim[2 + i] = features.dim[i] = h.out[i];
        if (__builtin_mul_overflow(width, h.out[i], &width))
            return status_fail(STATUS_DATA, "output_shape is too large");
    }
    int first = n;
    weight[n++] =
        weight_of("attention_output/kernel", "output_dense", kernel, SHAPE(h.query * h.value, width), -1, 0);
    if (bias)
        weight[n++] = weight_of("attention_output/bias", "output_dense", features, SHAPE(width), -1, -1);
    for (int i = first; i < n && h.nout == 1; i++) weight[i].out_axis = weight[i].shape.rank - 1;
    *nweights = n;
    return SUCCESS;
}

/* An output_shape says how many features there are; without one the output has the query's, and the same
 * ones, so that they stay as many. Kernels of key and value follow the query's channels only where these
 * inputs are the same. Of heads those are chosen that keys and values have. */
static status channels(const struct layer *layer, struct channels *c) {
    bool given = !is_grouped(layer) && layer_attr(layer, "output_shape")->present &&
                 layer_attr(layer, "output_shape")->u.ints.n;
    STATUS_TRY(
        channels_inner(c, (int)layer_int(layer, is_grouped(layer) ? "num_key_value_heads" : "num_heads")));
    for (int k = 1; k < c->nin; k++)
        if (c->in_atom[k] != c->in_atom[0]) channels_keep(c, k);
    if (!given) return channels_tile(c);
    return layer_attr(layer, "output_shape")->u.ints.n == 1 ? channels_fresh(c) : channels_fresh_whole(c);
}

static status set_width(struct layer *layer, int64_t n) {
    struct attr *out = is_grouped(layer) ? NULL : layer_attr(layer, "output_shape");
    if (out && out->present && out->u.ints.n == 1) out->u.ints.v[0] = n;
    return SUCCESS;
}

static status set_heads(struct layer *layer, int64_t n) {
    if (!is_grouped(layer)) {
        layer_attr(layer, "num_heads")->u.i = n;
        return SUCCESS;
    }
    int64_t each = layer_int(layer, "num_query_heads") / layer_int(layer, "num_key_value_heads");
    layer_attr(layer, "num_key_value_heads")->u.i = n;
    layer_attr(layer, "num_query_heads")->u.i = n * each;
    return SUCCESS;
}

/* ---- lowering ---- */

/* Axes i and i + 1 before the last, exchanged. */
static status swap_before_last(struct lowering *lowering, int value, int *out) {
    int rank = lowering_shape(lowering, value)->rank, axis[SHAPE_MAX_RANK];
    for (int i = 0; i < rank; i++) axis[i] = i;
    axis[rank - 3] = rank - 2;
    axis[rank - 2] = rank - 3;
    return emit_transpose(lowering, value, axis, out);
}

/* The last `n` axes of *shape become these. */
static void end_with(struct shape *shape, int n, int m, const int64_t *dims) {
    shape->rank -= n;
    for (int i = 0; i < m; i++) shape->dim[shape->rank++] = dims[i];
}

/* (N,...,steps,features) to (N,...,heads,T,size), the axes of attention taken together. */
static status project(struct lowering *lowering, const struct heads *h, int value, const int *param,
                      bool bias, int64_t heads, int64_t size, int *out) {
    const struct shape in = *lowering_shape(lowering, value);
    struct shape shape = in;
    int64_t steps = 1;
    for (int i = h->first; i < in.rank - 1; i++)
        if (in.dim[i] < 0 || steps < 0) steps = SHAPE_UNKNOWN;
        else if (__builtin_mul_overflow(steps, in.dim[i], &steps))
            return status_fail(STATUS_DATA, "it has too many steps");
    STATUS_TRY(emit_dense(lowering, value, param[0], bias ? param[1] : -1, heads * size, &value));
    end_with(&shape, in.rank - h->first, 3, (int64_t[]){steps, heads, size});
    STATUS_TRY(emit_reshape(lowering, value, &shape, &value));
    return swap_before_last(lowering, value, out);
}

/* (N,...,heads,T,size) as (N,...,groups,(heads/groups)*T,size), or back. */
static status regroup(struct lowering *lowering, int value, int64_t heads, int64_t steps, int *out) {
    struct shape shape = *lowering_shape(lowering, value);
    end_with(&shape, 3, 3, (int64_t[]){heads, steps, shape.dim[shape.rank - 1]});
    return emit_reshape(lowering, value, &shape, out);
}

static status masks_of(const struct layer *layer, struct lowering *lowering, struct score_mask *mask) {
    int nin = lowering->nin, key;
    STATUS_TRY(mask_and(lowering, lowering->mask[1], nin > 2 ? lowering->mask[2] : -1, &key));
    *mask = (struct score_mask){.query = lowering->mask[0],
                                .key = key,
                                .causal = layer_bool(layer, "use_causal_mask"),
                                .replace = lowering->keras_version >= 3};
    bool masked = mask->query >= 0 || mask->key >= 0;
    if ((masked || mask->causal) && lowering_shape(lowering, lowering->in[0])->rank != 3)
        return status_fail(STATUS_UNSUPPORTED, "a mask over several axes of attention is not supported");
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    const struct shape in = *lowering_shape(lowering, lowering->in[0]);
    bool bias = layer_bool(layer, "use_bias");
    int each = bias ? 2 : 1, query, key, value, scores;
    struct heads h;
    struct score_mask mask;
    STATUS_TRY(find_heads(layer, &in, &h));
    STATUS_TRY(masks_of(layer, lowering, &mask));
    const int *param = lowering->param;
    STATUS_TRY(project(lowering, &h, lowering->in[0], param, bias, h.query, h.size, &query));
    STATUS_TRY(
        project(lowering, &h, lowering->in[lowering->nin - 1], param + each, bias, h.key, h.size, &key));
    STATUS_TRY(project(lowering, &h, lowering->in[1], param + 2 * each, bias, h.key, h.value, &value));

    const struct shape projected = *lowering_shape(lowering, query);
    int64_t steps = projected.dim[projected.rank - 2], each_key = h.query / h.key;
    int64_t grouped = steps < 0 ? SHAPE_UNKNOWN : steps * each_key;
    STATUS_TRY(regroup(lowering, query, h.key, grouped, &query));
    STATUS_TRY(emit_matmul(lowering, query, key, true, (float)(1 / sqrt((double)h.size)), &scores));
    STATUS_TRY(regroup(lowering, scores, h.query, steps, &scores));
    STATUS_TRY(scores_softmax(lowering, scores, &mask, layer_float(layer, "dropout"), &scores));
    STATUS_TRY(regroup(lowering, scores, h.key, grouped, &scores));
    STATUS_TRY(emit_matmul(lowering, scores, value, false, 1, &value));
    STATUS_TRY(regroup(lowering, value, h.query, steps, &value));

    struct shape joined = in, out = in;
    int64_t width = 1;
    for (int i = 0; i < h.nout; i++) width *= h.out[i];
    STATUS_TRY(swap_before_last(lowering, value, &value));
    end_with(&joined, 1, 1, (int64_t[]){h.query * h.value});
    STATUS_TRY(emit_reshape(lowering, value, &joined, &value));
    STATUS_TRY(emit_dense(lowering, value, param[3 * each], bias ? param[3 * each + 1] : -1, width, &value));
    end_with(&out, 1, h.nout, h.out);
    lowering->nout = 1;
    lowering->out_mask[0] = lowering->mask[0];
    return emit_reshape(lowering, value, &out, &lowering->out[0]);
}

#define ATTENTION_KIND(symbol, text, table)                                                                  \
    const struct layer_kind layer_kind_##symbol = {                                                          \
        .class_name = text,                                                                                  \
        ATTRS(table),                                                                                        \
        .min_inputs = 2,                                                                                     \
        .max_inputs = 3,                                                                                     \
        .call_args = "query|value|key",                                                                      \
        .fitted = true,                                                                                      \
        .check = check,                                                                                      \
        .infer = infer,                                                                                      \
        .weights = weights,                                                                                  \
        .channels = channels,                                                                                \
        .lower = lower,                                                                                      \
        .set_width = set_width,                                                                              \
        .set_inner = set_heads,                                                                              \
    }

ATTENTION_KIND(multi_head_attention, "MultiHeadAttention", multi_attrs);
ATTENTION_KIND(grouped_query_attention, "GroupedQueryAttention", grouped_attrs);
