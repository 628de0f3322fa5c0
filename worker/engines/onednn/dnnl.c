#include <oneapi/dnnl/dnnl.h>

#include "worker/engines/onednn/dnnl_prim.h"

#include <stdlib.h>
#include <string.h>

status dnn_failed(const char *what, dnnl_status_t code) {
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

dnnl_data_type_t dnn_type(enum dtype dtype) {
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

status prim_from_desc(struct dnn *dnn, const char *what, dnnl_primitive_desc_t desc, int addend,
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

status prim_create_with(struct dnn *dnn, const char *what, const void *op_desc, struct epilogue *e,
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

status prim_create(struct dnn *dnn, const char *what, const void *op_desc, dnnl_primitive_desc_t hint,
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

/* ---- descriptions ---- */

status dnn_describe_image(int64_t n, int64_t c, const int64_t size[2], enum dtype dtype,
                          dnnl_memory_desc_t *md) {
    dnnl_dims_t dims = {n, c, size[0], size[1]};
    DNN_TRY("describing an image", dnnl_memory_desc_init_by_tag(md, 4, dims, dnn_type(dtype), dnnl_nhwc));
    return SUCCESS;
}
