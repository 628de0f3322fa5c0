/* Activations. */
#include <oneapi/dnnl/dnnl.h>

#include "worker/engines/onednn/dnnl_prim.h"

#include <math.h>

bool eltwise_find(const struct op *act, struct eltwise *e) {
    float alpha = act->u.act.alpha, max = act->u.act.beta;
    *e = (struct eltwise){.scale = 1};
    switch (act->u.act.kind) {
    case ACTIVATION_RELU:
        if (act->u.act.gamma != 0) return false;
        if (isinf(max)) {
            e->alg = dnnl_eltwise_relu, e->alpha = alpha, e->uses_output = alpha >= 0;
            return true;
        }
        e->alg = dnnl_eltwise_clip, e->alpha = 0, e->beta = max;
        return alpha == 0;
    case ACTIVATION_SIGMOID:
        e->alg = dnnl_eltwise_logistic, e->uses_output = true;
        return true;
    case ACTIVATION_TANH:
        e->alg = dnnl_eltwise_tanh, e->uses_output = true;
        return true;
    case ACTIVATION_SOFTPLUS:
        e->alg = dnnl_eltwise_soft_relu;
        return true;
    case ACTIVATION_ELU:
        e->alg = dnnl_eltwise_elu, e->alpha = alpha, e->uses_output = alpha >= 0;
        return true;
    case ACTIVATION_EXPONENTIAL:
        e->alg = dnnl_eltwise_exp, e->uses_output = true;
        return true;
    case ACTIVATION_SILU:
        e->alg = dnnl_eltwise_swish, e->alpha = 1;
        return true;
    case ACTIVATION_GELU:
        e->alg = dnnl_eltwise_gelu_erf;
        return true;
    case ACTIVATION_GELU_TANH:
        e->alg = dnnl_eltwise_gelu_tanh;
        return true;
    case ACTIVATION_HARD_SILU:
        e->alg = dnnl_eltwise_hardswish;
        return true;
    case ACTIVATION_LINEAR:
    case ACTIVATION_SOFTSIGN:
    case ACTIVATION_SELU:
    case ACTIVATION_HARD_SIGMOID:
    case ACTIVATION_MISH:
    case ACTIVATION_CLIP:
    case ACTIVATION_LOG:
    case ACTIVATION_RSQRT:
    case ACTIVATION_NOT_EQUAL:
        return false;
    }
    return false;
}

bool prim_activation_known(const struct op *act) {
    struct eltwise e;
    return eltwise_find(act, &e);
}

bool prim_activation_uses_output(const struct op *act) {
    struct eltwise e;
    return eltwise_find(act, &e) && e.uses_output;
}

bool prim_activation_scales(const struct op *act) {
    struct eltwise e;
    return eltwise_find(act, &e) && (e.alg == dnnl_eltwise_relu || e.alg == dnnl_eltwise_clip);
}

static status eltwise_describe(int64_t count, const struct op *act, struct eltwise *e,
                               dnnl_memory_desc_t *md) {
    if (!eltwise_find(act, e))
        return status_fail(STATUS_UNSUPPORTED, "oneDNN has no activation %s",
                           activation_name(act->u.act.kind));
    dnnl_dims_t dims = {count};
    DNN_TRY("describing an activation", dnnl_memory_desc_init_by_tag(md, 1, dims, dnnl_f32, dnnl_a));
    return SUCCESS;
}

status prim_activation_forward(struct dnn *dnn, int64_t count, const struct op *act, struct prim **prim) {
    struct eltwise e;
    dnnl_memory_desc_t md;
    dnnl_eltwise_desc_t desc;
    STATUS_TRY(eltwise_describe(count, act, &e, &md));
    DNN_TRY("an activation",
            dnnl_eltwise_forward_desc_init(&desc, dnnl_forward_training, e.alg, &md, e.alpha, e.beta));
    return prim_create(dnn, "an activation", &desc, NULL, prim);
}

status prim_activation_backward(struct dnn *dnn, int64_t count, const struct op *act, struct prim **prim) {
    struct eltwise e;
    dnnl_memory_desc_t md;
    dnnl_eltwise_desc_t forward, backward;
    dnnl_primitive_desc_t hint = NULL;
    STATUS_TRY(eltwise_describe(count, act, &e, &md));
    DNN_TRY("an activation",
            dnnl_eltwise_forward_desc_init(&forward, dnnl_forward_training, e.alg, &md, e.alpha, e.beta));
    if (e.uses_output) { /* the variant of the algorithm that takes the output */
        e.alg = e.alg == dnnl_eltwise_relu       ? dnnl_eltwise_relu_use_dst_for_bwd
                : e.alg == dnnl_eltwise_logistic ? dnnl_eltwise_logistic_use_dst_for_bwd
                : e.alg == dnnl_eltwise_tanh     ? dnnl_eltwise_tanh_use_dst_for_bwd
                : e.alg == dnnl_eltwise_elu      ? dnnl_eltwise_elu_use_dst_for_bwd
                                                 : dnnl_eltwise_exp_use_dst_for_bwd;
    }
    DNN_TRY("an activation's backward",
            dnnl_eltwise_backward_desc_init(&backward, e.alg, &md, &md, e.alpha, e.beta));
    forward.alg_kind = e.alg;
    DNN_TRY("an activation", dnnl_primitive_desc_create(&hint, &forward, NULL, dnn->engine, NULL));
    status error = prim_create(dnn, "an activation's backward", &backward, hint, prim);
    dnnl_primitive_desc_destroy(hint);
    return error;
}
