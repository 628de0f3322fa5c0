/* Convolutions. */
#include <oneapi/dnnl/dnnl.h>

#include "worker/engines/onednn/dnnl_prim.h"

#include <string.h>

struct conv_desc {
    dnnl_memory_desc_t src, weights, bias, dst;
    dnnl_dims_t stride, dilation, before, after;
};

static int conv_weight_dims(const struct conv_shape *s, dnnl_dims_t dims, dnnl_dims_t strides) {
    int64_t kh = s->window.size[0], kw = s->window.size[1];
    if (s->groups == 1) {
        int64_t c = s->channels, m = s->filters;
        memcpy(dims, (dnnl_dim_t[]){m, c, kh, kw}, 4 * sizeof *dims);
        memcpy(strides, (dnnl_dim_t[]){1, m, kw * c * m, c * m}, 4 * sizeof *strides);
        return 4;
    }
    int64_t cg = s->channels / s->groups, mg = s->filters / s->groups;
    memcpy(dims, (dnnl_dim_t[]){s->groups, mg, cg, kh, kw}, 5 * sizeof *dims);
    int64_t row =
        s->depthwise ? s->filters : cg * s->filters; /* (kh,kw,C,m) has C*m = filters values a cell */
    memcpy(strides, (dnnl_dim_t[]){mg, 1, s->filters, kw * row, row}, 5 * sizeof *strides);
    return 5;
}

static enum dtype weight_type(enum dtype src) {
    return src == DTYPE_U8 ? DTYPE_I8 : src;
}

static status conv_describe(const struct conv_shape *s, enum dtype src, enum dtype dst, struct conv_desc *d) {
    dnnl_dims_t dims, strides;
    int rank = conv_weight_dims(s, dims, strides);
    DNN_TRY("describing a convolution",
            dnnl_memory_desc_init_by_tag(&d->weights, rank, dims, dnn_type(weight_type(src)),
                                         dnnl_format_tag_any));
    STATUS_TRY(dnn_describe_image(s->n, s->channels, s->in, src, &d->src));
    STATUS_TRY(dnn_describe_image(s->n, s->filters, s->out, dst, &d->dst));
    dnnl_dims_t bias = {s->filters};
    DNN_TRY("describing a convolution", dnnl_memory_desc_init_by_tag(&d->bias, 1, bias, dnnl_f32, dnnl_a));
    for (int i = 0; i < 2; i++) {
        const struct window *w = &s->window;
        d->stride[i] = w->stride[i];
        d->dilation[i] = w->dilation[i] - 1;
        d->before[i] = w->before[i];
        /* oneDNN wants the padding that just covers the last window. */
        d->after[i] =
            (s->out[i] - 1) * w->stride[i] + (w->size[i] - 1) * w->dilation[i] + 1 - s->in[i] - w->before[i];
    }
    return SUCCESS;
}

/* Appends the activation, which takes numbers of the unit `at` and gives such of the unit `to`. */
static dnnl_status_t append_activation(dnnl_post_ops_t post, const struct op *act, float at, float to) {
    struct eltwise e = {0};
    dnnl_status_t code = dnnl_success;
    if (!act) return at == to ? code : dnnl_post_ops_append_eltwise(post, 1, dnnl_eltwise_linear, at / to, 0);
    if (!eltwise_find(act, &e)) return dnnl_unimplemented;
    if (at != 1 && !prim_activation_scales(act)) {
        code = dnnl_post_ops_append_eltwise(post, 1, dnnl_eltwise_linear, at, 0);
        at = 1;
    }
    if (e.alg == dnnl_eltwise_clip) e.beta /= at;
    if (code != dnnl_success) return code;
    return dnnl_post_ops_append_eltwise(post, prim_activation_scales(act) ? at / to : 1 / to, e.alg, e.alpha,
                                        e.beta);
}

static status conv_epilogue(const struct conv_shape *shape, const struct conv_post *post,
                            struct epilogue *e) {
    const struct conv_numbers *n = post->numbers;
    const float at = n ? n->domain : 1, to = n ? n->result : 1;
    *e = NO_EPILOGUE;
    if (n && n->scale) {
        e->nscales = (int)shape->filters;
        e->scale = n->scale;
    }
    if (!post->add && !post->act && at == to) return SUCCESS;
    DNN_TRY("fusing operations", dnnl_post_ops_create(&e->post));
    dnnl_status_t code = dnnl_success;
    if (post->add) {
        e->addend = 0;
        status error =
            dnn_describe_image(shape->n, shape->filters, shape->out, n ? n->addend : DTYPE_F32, &e->added);
        if (error) {
            dnnl_post_ops_destroy(e->post);
            return error;
        }
        code = dnnl_post_ops_append_binary(e->post, dnnl_binary_add, &e->added);
    }
    if (code == dnnl_success) code = append_activation(e->post, post->act, at, to);
    if (code == dnnl_success) return SUCCESS;
    dnnl_post_ops_destroy(e->post);
    return dnn_failed("fusing operations", code);
}

static status conv_forward_desc(struct conv_desc *d, bool bias, bool training,
                                dnnl_convolution_desc_t *desc) {
    DNN_TRY("a convolution", dnnl_dilated_convolution_forward_desc_init(
                                 desc, training ? dnnl_forward_training : dnnl_forward_inference,
                                 dnnl_convolution_direct, &d->src, &d->weights, bias ? &d->bias : NULL,
                                 &d->dst, d->stride, d->dilation, d->before, d->after));
    return SUCCESS;
}

status prim_conv_forward(struct dnn *dnn, const struct conv_shape *shape, const struct conv_post *post,
                         bool training, struct prim **prim) {
    const struct conv_numbers *n = post->numbers;
    struct conv_desc d;
    dnnl_convolution_desc_t desc;
    struct epilogue epilogue;
    STATUS_TRY(conv_describe(shape, n ? n->src : DTYPE_F32, n ? n->dst : DTYPE_F32, &d));
    STATUS_TRY(conv_forward_desc(&d, post->bias, training, &desc));
    STATUS_TRY(conv_epilogue(shape, post, &epilogue));
    STATUS_TRY(prim_create_with(dnn, "a convolution", &desc, &epilogue, NULL, prim));
    /* Of oneDNN 2.6's implementations, jit:sse41 and gemm:jit add wrong values. */
    const char *by = prim_implementation(*prim);
    const bool slow = (post->add || post->act || n) && strncmp(by, "ref", 3) == 0;
    if (slow || (post->add && !strstr(by, "avx2") && !strstr(by, "avx512"))) {
        prim_destroy(prim);
        return status_fail(STATUS_UNSUPPORTED, "oneDNN has no fast convolution with these operations fused");
    }
    return SUCCESS;
}

static status conv_hint(struct dnn *dnn, struct conv_desc *d, dnnl_primitive_desc_t *hint) {
    dnnl_convolution_desc_t desc;
    STATUS_TRY(conv_forward_desc(d, false, true, &desc));
    DNN_TRY("a convolution", dnnl_primitive_desc_create(hint, &desc, NULL, dnn->engine, NULL));
    return SUCCESS;
}

status prim_conv_backward_data(struct dnn *dnn, const struct conv_shape *shape, struct prim **prim) {
    struct conv_desc d;
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t hint = NULL;
    STATUS_TRY(conv_describe(shape, DTYPE_F32, DTYPE_F32, &d));
    DNN_TRY("a convolution's backward", dnnl_dilated_convolution_backward_data_desc_init(
                                            &desc, dnnl_convolution_direct, &d.src, &d.weights, &d.dst,
                                            d.stride, d.dilation, d.before, d.after));
    STATUS_TRY(conv_hint(dnn, &d, &hint));
    status error = prim_create(dnn, "a convolution's backward", &desc, hint, prim);
    dnnl_primitive_desc_destroy(hint);
    return error;
}

status prim_conv_backward_weights(struct dnn *dnn, const struct conv_shape *shape, struct prim **prim) {
    struct conv_desc d;
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t hint = NULL;
    STATUS_TRY(conv_describe(shape, DTYPE_F32, DTYPE_F32, &d));
    DNN_TRY("a convolution's gradient", dnnl_dilated_convolution_backward_weights_desc_init(
                                            &desc, dnnl_convolution_direct, &d.src, &d.weights, NULL, &d.dst,
                                            d.stride, d.dilation, d.before, d.after));
    STATUS_TRY(conv_hint(dnn, &d, &hint));
    status error = prim_create(dnn, "a convolution's gradient", &desc, hint, prim);
    dnnl_primitive_desc_destroy(hint);
    return error;
}

static status conv_reorder(struct dnn *dnn, const struct conv_shape *shape, const struct prim *conv,
                           enum prim_arg arg, bool pack, struct prim **reorder) {
    dnnl_dims_t dims, strides;
    dnnl_memory_desc_t plain;
    const dnnl_memory_desc_t *packed;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t desc = NULL;
    int rank = conv_weight_dims(shape, dims, strides);
    DNN_TRY("describing weights", dnnl_memory_desc_init_by_strides(&plain, rank, dims, dnnl_f32, strides));
    DNN_TRY("describing weights", dnnl_memory_get_memory_desc(conv->memory[arg], &packed));
    *reorder = NULL;
    if (dnnl_memory_desc_equal(&plain, packed)) return SUCCESS;
    DNN_TRY("packing weights", dnnl_primitive_attr_create(&attr));
    dnnl_status_t code = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (code == dnnl_success)
        code = dnnl_reorder_primitive_desc_create(&desc, pack ? &plain : packed, dnn->engine,
                                                  pack ? packed : &plain, dnn->engine, attr);
    dnnl_primitive_attr_destroy(attr);
    if (code != dnnl_success) return dnn_failed("packing weights", code);
    return prim_from_desc(dnn, "packing weights", desc, -1, NULL, reorder);
}

status prim_pack(struct dnn *dnn, const struct conv_shape *shape, const struct prim *conv,
                 struct prim **reorder) {
    return conv_reorder(dnn, shape, conv, PRIM_WEIGHTS, true, reorder);
}

status prim_unpack(struct dnn *dnn, const struct conv_shape *shape, const struct prim *conv,
                   struct prim **reorder) {
    return conv_reorder(dnn, shape, conv, PRIM_DIFF_WEIGHTS, false, reorder);
}
