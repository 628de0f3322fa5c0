/* Pooling. */
#include <oneapi/dnnl/dnnl.h>

#include "worker/engines/onednn/dnnl_prim.h"

struct pool_desc {
    dnnl_memory_desc_t src, dst;
    dnnl_dims_t size, stride, before, after;
    dnnl_alg_kind_t alg;
};

static status pool_describe(const struct shape *in, const struct shape *out, const struct op *op,
                            enum dtype dtype, struct pool_desc *d) {
    const struct window *w = &op->u.pool.window;
    STATUS_TRY(dnn_describe_image(in->dim[0], in->dim[3], in->dim + 1, dtype, &d->src));
    STATUS_TRY(dnn_describe_image(out->dim[0], out->dim[3], out->dim + 1, dtype, &d->dst));
    d->alg = op->u.pool.kind == POOL_MAX ? dnnl_pooling_max : dnnl_pooling_avg_exclude_padding;
    for (int i = 0; i < 2; i++) {
        if (w->dilation[i] > 1)
            return status_fail(STATUS_UNSUPPORTED, "the onednn engine has no dilated pooling");
        d->size[i] = w->size[i];
        d->stride[i] = w->stride[i];
        d->before[i] = w->before[i];
        d->after[i] = (out->dim[1 + i] - 1) * w->stride[i] + w->size[i] - in->dim[1 + i] - w->before[i];
    }
    return SUCCESS;
}

status prim_pool_forward(struct dnn *dnn, const struct shape *in, const struct shape *out,
                         const struct op *op, enum dtype dtype, bool training, struct prim **prim) {
    struct pool_desc d;
    dnnl_pooling_desc_t desc;
    STATUS_TRY(pool_describe(in, out, op, dtype, &d));
    DNN_TRY("a pooling",
            dnnl_pooling_forward_desc_init(&desc, training ? dnnl_forward_training : dnnl_forward_inference,
                                           d.alg, &d.src, &d.dst, d.stride, d.size, d.before, d.after));
    return prim_create(dnn, "a pooling", &desc, NULL, prim);
}

status prim_pool_backward(struct dnn *dnn, const struct shape *in, const struct shape *out,
                          const struct op *op, struct prim **prim) {
    struct pool_desc d;
    dnnl_pooling_desc_t forward, backward;
    dnnl_primitive_desc_t hint = NULL;
    STATUS_TRY(pool_describe(in, out, op, DTYPE_F32, &d));
    DNN_TRY("a pooling", dnnl_pooling_forward_desc_init(&forward, dnnl_forward_training, d.alg, &d.src,
                                                        &d.dst, d.stride, d.size, d.before, d.after));
    DNN_TRY("a pooling's backward", dnnl_pooling_backward_desc_init(&backward, d.alg, &d.src, &d.dst,
                                                                    d.stride, d.size, d.before, d.after));
    DNN_TRY("a pooling", dnnl_primitive_desc_create(&hint, &forward, NULL, dnn->engine, NULL));
    status error = prim_create(dnn, "a pooling's backward", &backward, hint, prim);
    dnnl_primitive_desc_destroy(hint);
    return error;
}
