#include "worker/engines/onednn/dnnl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <oneapi/dnnl/dnnl.h>

struct dnn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

struct prim {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[PRIM_ARGS];
    const void *data[PRIM_ARGS];
    int nargs;
    dnnl_exec_arg_t arg[PRIM_ARGS];
};

static status dnn_failed(const char *what, dnnl_status_t code) {
    switch (code) {
    case dnnl_out_of_memory:
        return status_fail(STATUS_MEMORY, "oneDNN: out of memory while %s", what);
    case dnnl_unimplemented:
        return status_fail(STATUS_UNSUPPORTED, "oneDNN cannot do %s; use the openblas engine", what);
    default:
        return status_fail(STATUS_INTERNAL, "oneDNN: error %d while %s; use the openblas engine", (int)code,
                           what);
    }
}

#define DNN_TRY(what, call)                                                                                  \
    do {                                                                                                     \
        dnnl_status_t dnn_code_ = (call);                                                                    \
        if (dnn_code_ != dnnl_success) return dnn_failed(what, dnn_code_);                                   \
    } while (0)

status dnn_create(struct dnn **dnn) {
    struct dnn *d = calloc(1, sizeof *d);
    if (!d) return status_no_memory("the onednn engine", sizeof *d);
    dnnl_status_t code = dnnl_engine_create(&d->engine, dnnl_cpu, 0);
    if (code == dnnl_success) code = dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags);
    if (code != dnnl_success) {
        dnn_destroy(&d);
        return dnn_failed("starting", code);
    }
    *dnn = d;
    return SUCCESS;
}

void dnn_destroy(struct dnn **dnn) {
    if (!*dnn) return;
    if ((*dnn)->stream) dnnl_stream_destroy((*dnn)->stream);
    if ((*dnn)->engine) dnnl_engine_destroy((*dnn)->engine);
    free(*dnn);
    *dnn = NULL;
}

/* ---- primitives ---- */

static const struct {
    enum prim_arg arg;
    dnnl_query_t query;
    int index;
    int id;
} ARGUMENTS[] = {
    {PRIM_SRC, dnnl_query_src_md, 0, DNNL_ARG_SRC},
    {PRIM_WEIGHTS, dnnl_query_weights_md, 0, DNNL_ARG_WEIGHTS},
    {PRIM_BIAS, dnnl_query_weights_md, 1, DNNL_ARG_BIAS},
    {PRIM_DST, dnnl_query_dst_md, 0, DNNL_ARG_DST},
    {PRIM_WORKSPACE, dnnl_query_workspace_md, 0, DNNL_ARG_WORKSPACE},
    {PRIM_DIFF_SRC, dnnl_query_diff_src_md, 0, DNNL_ARG_DIFF_SRC},
    {PRIM_DIFF_WEIGHTS, dnnl_query_diff_weights_md, 0, DNNL_ARG_DIFF_WEIGHTS},
    {PRIM_DIFF_DST, dnnl_query_diff_dst_md, 0, DNNL_ARG_DIFF_DST},
    {PRIM_SCRATCHPAD, dnnl_query_scratchpad_md, 0, DNNL_ARG_SCRATCHPAD},
};

static status prim_add_memory(struct dnn *dnn, struct prim *p, enum prim_arg arg, int id,
                              const dnnl_memory_desc_t *md) {
    if (!md || md->ndims == 0 || dnnl_memory_desc_get_size(md) == 0) return SUCCESS;
    DNN_TRY("creating a memory object",
            dnnl_memory_create(&p->memory[arg], md, dnn->engine, DNNL_MEMORY_NONE));
    p->arg[p->nargs++] = (dnnl_exec_arg_t){.arg = id, .memory = p->memory[arg]};
    return SUCCESS;
}

static dnnl_data_type_t type_of(enum dtype dtype) {
    switch (dtype) {
    case DTYPE_BF16:
        return dnnl_bf16;
    case DTYPE_U8:
        return dnnl_u8;
    case DTYPE_I8:
        return dnnl_s8;
    default:
        return dnnl_f32;
    }
}

bool dnn_has(enum dtype dtype) {
    const dnnl_cpu_isa_t has = dnnl_get_effective_cpu_isa();
    const dnnl_cpu_isa_t needs =
        dtype == DTYPE_BF16 ? dnnl_cpu_isa_avx512_core_bf16 : dnnl_cpu_isa_avx512_core_vnni;
    return (has & needs) == needs;
}

/* Takes `desc` over, also on failure. `addend`: the post-operation that adds a value of `added`, or -1. */
static status prim_from_desc(struct dnn *dnn, const char *what, dnnl_primitive_desc_t desc, int addend,
                             const dnnl_memory_desc_t *added, struct prim **prim) {
    struct prim *p = calloc(1, sizeof *p);
    if (!p) {
        dnnl_primitive_desc_destroy(desc);
        return status_no_memory("a primitive", sizeof *p);
    }
    p->desc = desc;
    status error = SUCCESS;
    dnnl_status_t code = dnnl_primitive_create(&p->primitive, desc);
    if (code != dnnl_success) error = dnn_failed(what, code);
    for (size_t i = 0; !error && i < sizeof ARGUMENTS / sizeof *ARGUMENTS; i++)
        error = prim_add_memory(dnn, p, ARGUMENTS[i].arg, ARGUMENTS[i].id,
                                dnnl_primitive_desc_query_md(desc, ARGUMENTS[i].query, ARGUMENTS[i].index));
    if (!error && addend >= 0)
        error = prim_add_memory(dnn, p, PRIM_ADDEND, DNNL_ARG_ATTR_MULTIPLE_POST_OP(addend) | DNNL_ARG_SRC_1,
                                added);
    if (error) {
        prim_destroy(&p);
        return error;
    }
    *prim = p;
    return SUCCESS;
}

/* What is done with a result: it is scaled, by one number or one for each output channel, then come the
 * post-operations. */
struct epilogue {
    int nscales; /* 0: it is not scaled */
    const float *scale;
    dnnl_post_ops_t post; /* NULL: none */
    int addend;           /* index of the post-operation that adds a value of `added`, -1: none */
    dnnl_memory_desc_t added;
};
#define NO_EPILOGUE ((struct epilogue){.addend = -1})

/* Destroys the post-operations. */
static status prim_create_with(struct dnn *dnn, const char *what, const void *op_desc, struct epilogue *e,
                               dnnl_primitive_desc_t hint, struct prim **prim) {
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t code = dnnl_primitive_attr_create(&attr);
    if (code == dnnl_success) code = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (code == dnnl_success && e->nscales)
        code = dnnl_primitive_attr_set_output_scales(attr, e->nscales, e->nscales > 1 ? 1 << 1 : 0, e->scale);
    if (code == dnnl_success && e->post) code = dnnl_primitive_attr_set_post_ops(attr, e->post);
    if (code == dnnl_success) code = dnnl_primitive_desc_create(&desc, op_desc, attr, dnn->engine, hint);
    if (attr) dnnl_primitive_attr_destroy(attr);
    if (e->post) dnnl_post_ops_destroy(e->post);
    if (code != dnnl_success) return dnn_failed(what, code);
    return prim_from_desc(dnn, what, desc, e->addend, &e->added, prim);
}

static status prim_create(struct dnn *dnn, const char *what, const void *op_desc, dnnl_primitive_desc_t hint,
                          struct prim **prim) {
    return prim_create_with(dnn, what, op_desc, &NO_EPILOGUE, hint, prim);
}

void prim_destroy(struct prim **prim) {
    struct prim *p = *prim;
    if (!p) return;
    for (int i = 0; i < PRIM_ARGS; i++)
        if (p->memory[i]) dnnl_memory_destroy(p->memory[i]);
    if (p->primitive) dnnl_primitive_destroy(p->primitive);
    if (p->desc) dnnl_primitive_desc_destroy(p->desc);
    free(p);
    *prim = NULL;
}

size_t prim_bytes(const struct prim *prim, enum prim_arg arg) {
    const dnnl_memory_desc_t *md;
    if (!prim || !prim->memory[arg] || dnnl_memory_get_memory_desc(prim->memory[arg], &md) != dnnl_success)
        return 0;
    return dnnl_memory_desc_get_size(md);
}

const char *prim_implementation(const struct prim *prim) {
    const char *info = "";
    dnnl_primitive_desc_query(prim->desc, dnnl_query_impl_info_str, 0, &info);
    return info;
}

void prim_set(struct prim *prim, enum prim_arg arg, const void *data) {
    if (!prim || !prim->memory[arg] || prim->data[arg] == data) return;
    prim->data[arg] = data;
    dnnl_memory_set_data_handle(prim->memory[arg], (void *)(uintptr_t)data);
}

status prim_run(struct dnn *dnn, struct prim *prim) {
    DNN_TRY("running a primitive",
            dnnl_primitive_execute(prim->primitive, dnn->stream, prim->nargs, prim->arg));
    return SUCCESS;
}

/* ---- convolutions ---- */

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

/* Dense (n, c, h, w), channels last. */
static status image_describe(int64_t n, int64_t c, const int64_t size[2], enum dtype dtype,
                             dnnl_memory_desc_t *md) {
    dnnl_dims_t dims = {n, c, size[0], size[1]};
    DNN_TRY("describing an image", dnnl_memory_desc_init_by_tag(md, 4, dims, type_of(dtype), dnnl_nhwc));
    return SUCCESS;
}

static enum dtype weight_type(enum dtype src) {
    return src == DTYPE_U8 ? DTYPE_I8 : src;
}

static status conv_describe(const struct conv_shape *s, enum dtype src, enum dtype dst, struct conv_desc *d) {
    dnnl_dims_t dims, strides;
    int rank = conv_weight_dims(s, dims, strides);
    DNN_TRY("describing a convolution",
            dnnl_memory_desc_init_by_tag(&d->weights, rank, dims, type_of(weight_type(src)),
                                         dnnl_format_tag_any));
    STATUS_TRY(image_describe(s->n, s->channels, s->in, src, &d->src));
    STATUS_TRY(image_describe(s->n, s->filters, s->out, dst, &d->dst));
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

struct eltwise {
    dnnl_alg_kind_t alg;
    float alpha, beta, scale;
    bool uses_output;
};

/* oneDNN's name of an activation; false if it has none. */
static bool eltwise_find(const struct op *act, struct eltwise *e) {
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
            image_describe(shape->n, shape->filters, shape->out, n ? n->addend : DTYPE_F32, &e->added);
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

/* ---- elementwise, pooling ---- */

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

struct pool_desc {
    dnnl_memory_desc_t src, dst;
    dnnl_dims_t size, stride, before, after;
    dnnl_alg_kind_t alg;
};

static status pool_describe(const struct shape *in, const struct shape *out, const struct op *op,
                            enum dtype dtype, struct pool_desc *d) {
    const struct window *w = &op->u.pool.window;
    STATUS_TRY(image_describe(in->dim[0], in->dim[3], in->dim + 1, dtype, &d->src));
    STATUS_TRY(image_describe(out->dim[0], out->dim[3], out->dim + 1, dtype, &d->dst));
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

/* (batch, rows, columns), row-major, or stored as (batch, columns, rows). */
static status matrix_describe(int64_t batch, int64_t rows, int64_t columns, bool transposed,
                              dnnl_memory_desc_t *md) {
    dnnl_dims_t dims = {batch, rows, columns},
                strides = {rows * columns, transposed ? 1 : columns, transposed ? rows : 1};
    DNN_TRY("describing a product", dnnl_memory_desc_init_by_strides(md, 3, dims, dnnl_f32, strides));
    return SUCCESS;
}

status prim_matmul(struct dnn *dnn, const struct matmul_shape *s, struct prim **prim) {
    dnnl_memory_desc_t a, b, c;
    dnnl_matmul_desc_t desc;
    struct epilogue e = NO_EPILOGUE;
    STATUS_TRY(matrix_describe(s->batch, s->m, s->k, s->transpose_a, &a));
    STATUS_TRY(matrix_describe(s->batch, s->k, s->n, s->transpose_b, &b));
    STATUS_TRY(matrix_describe(s->batch, s->m, s->n, false, &c));
    DNN_TRY("a product", dnnl_matmul_desc_init(&desc, &a, &b, NULL, &c));
    if (s->scale != 1) {
        e.nscales = 1;
        e.scale = &s->scale;
    }
    if (s->add) {
        DNN_TRY("a product", dnnl_post_ops_create(&e.post));
        dnnl_status_t code = dnnl_post_ops_append_sum(e.post, 1);
        if (code != dnnl_success) {
            dnnl_post_ops_destroy(e.post);
            return dnn_failed("a product", code);
        }
    }
    STATUS_TRY(prim_create_with(dnn, "a product", &desc, &e, NULL, prim));
    if (!strncmp(prim_implementation(*prim), "brg", 3)) return SUCCESS;
    prim_destroy(prim);
    return status_fail(STATUS_UNSUPPORTED, "oneDNN has no fast product of matrices for this processor");
}

status dnn_gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, const float *a,
                int64_t lda, const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    DNN_TRY("multiplying matrices", dnnl_sgemm(transpose_a ? 'T' : 'N', transpose_b ? 'T' : 'N', m, n, k, 1,
                                               a, lda, b, ldb, beta, c, ldc));
    return SUCCESS;
}
