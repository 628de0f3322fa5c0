/* oneDNN's objects: what the files dnnl*.c share. Internal to them; <oneapi/dnnl/dnnl.h> is included before
 * it. */
#ifndef GODWIT_WORKER_ENGINES_ONEDNN_DNNL_PRIM_H
#define GODWIT_WORKER_ENGINES_ONEDNN_DNNL_PRIM_H

#include "worker/engines/onednn/dnnl.h"

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

/* The error of a call; `what` follows "cannot do" or "while". */
status dnn_failed(const char *what, dnnl_status_t code) STATUS_MUST_USE;

#define DNN_TRY(what, call)                                                                                  \
    do {                                                                                                     \
        dnnl_status_t dnn_code_ = (call);                                                                    \
        if (dnn_code_ != dnnl_success) return dnn_failed(what, dnn_code_);                                   \
    } while (0)

dnnl_data_type_t dnn_type(enum dtype dtype);

/* Dense (n, c, h, w), channels last. */
status dnn_describe_image(int64_t n, int64_t c, const int64_t size[2], enum dtype dtype,
                          dnnl_memory_desc_t *md) STATUS_MUST_USE;

/* Takes `desc` over, also on failure. `addend`: the post-operation that adds a value of `added`, or -1. */
status prim_from_desc(struct dnn *dnn, const char *what, dnnl_primitive_desc_t desc, int addend,
                      const dnnl_memory_desc_t *added, struct prim **prim) STATUS_MUST_USE;

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
status prim_create_with(struct dnn *dnn, const char *what, const void *op_desc, struct epilogue *e,
                        dnnl_primitive_desc_t hint, struct prim **prim) STATUS_MUST_USE;
status prim_create(struct dnn *dnn, const char *what, const void *op_desc, dnnl_primitive_desc_t hint,
                   struct prim **prim) STATUS_MUST_USE;

/* oneDNN's name of an activation and its parameters. */
struct eltwise {
    dnnl_alg_kind_t alg;
    float alpha, beta, scale;
    bool uses_output;
};

/* False if it has none. */
bool eltwise_find(const struct op *act, struct eltwise *e);

#endif
