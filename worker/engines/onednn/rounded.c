#include "worker/engines/onednn/rounded.h"
#include "worker/engines/onednn/fold.h"
#include "worker/engines/onednn/kinds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct rounded {
    struct conv_shape shape;
    struct conv_post post;
    struct conv_numbers numbers;
    struct format in;                 /* of the input as the primitive reads it */
    bool convert;                     /* the input is float32 in memory */
    struct prim *forward, *pack;      /* pack NULL: the layouts agree */
    char *weights;                    /* packed */
    float *bias, *scale;              /* [filters] each */
    size_t input_at, prim_at, nbytes; /* in the scratch memory; of weights */
};

enum step_formats rounded_formats(const struct onednn_exec *exec, const struct step *step) {
    const struct exec_options *o = &exec->options;
    if (step_trains(exec) || o->precision == PRECISION_FLOAT32) return STEP_FLOAT32;
    if (o->precision == PRECISION_BFLOAT16) return dnn_has(DTYPE_BF16) ? STEP_ANY : STEP_FLOAT32;
    const struct value_range *r = o->range ? &o->range[step->in[0]] : NULL;
    const bool known = r && isfinite(r->low) && isfinite(r->high) && (r->low < 0 || r->high > 0);
    return known && dnn_has(DTYPE_I8) ? STEP_ANY : STEP_FLOAT32;
}

/* Units and types of the numbers on the way from the sums to the result. */
static void set_numbers(const struct onednn_exec *exec, const struct step *step, struct rounded *r) {
    const struct format out = exec->format[step->out];
    const struct format added = step->addend >= 0 ? exec->format[step->addend] : FORMAT_F32;
    r->numbers = (struct conv_numbers){
        .src = r->in.dtype, .addend = added.dtype, .dst = out.dtype, .domain = 1, .result = 1};
    r->post = (struct conv_post){.bias = step->op->param[1] >= 0 || step->norm,
                                 .add = step->addend >= 0,
                                 .act = step->act,
                                 .numbers = &r->numbers};
    if (r->in.dtype == DTYPE_BF16) return;
    const bool scales = !step->act || prim_activation_scales(step->act);
    r->numbers.result = out.scale;
    r->numbers.domain = r->post.add ? added.scale : scales ? out.scale : 1;
    r->numbers.scale = r->scale;
}

static size_t largest(size_t a, size_t b) {
    return a > b ? a : b;
}

static status prepare(struct onednn_exec *exec, struct step *step, struct rounded *r) {
    const size_t filters = (size_t)r->shape.filters;
    STATUS_TRY(step_alloc(exec, "scales of a kernel", 2 * filters, sizeof *r->scale, (void **)&r->scale));
    r->bias = r->scale + filters;
    /* Until the kernel is there. Not ones: oneDNN can do those where it cannot scale. */
    for (size_t j = 0; j < filters; j++) r->scale[j] = j % 2 ? 0.25F : 0.5F;
    r->convert = exec->format[step->in[0]].dtype == DTYPE_F32;
    r->in = exec->rounded[step->in[0]];
    set_numbers(exec, step, r);
    STATUS_TRY(prim_conv_forward(exec->dnn, &r->shape, &r->post, false, &r->forward));
    STATUS_TRY(prim_pack(exec->dnn, &r->shape, r->forward, &r->pack));
    r->nbytes = prim_bytes(r->forward, PRIM_WEIGHTS);
    STATUS_TRY(step_alloc(exec, "packed weights", r->nbytes, 1, (void **)&r->weights));
    size_t *scratch = &step->scratch_bytes[PHASE_FORWARD];
    if (r->convert)
        r->input_at = step_reserve(scratch, (size_t)exec->count[step->in[0]] * dtype_size(r->in.dtype));
    r->prim_at = step_reserve(
        scratch, largest(prim_bytes(r->forward, PRIM_SCRATCHPAD), prim_bytes(r->pack, PRIM_SCRATCHPAD)));
    step->any_format = true;
    step->implementation = prim_implementation(r->forward);
    return SUCCESS;
}

static void rounded_destroy(struct step *step) {
    struct rounded *r = step->state;
    if (!r) return;
    prim_destroy(&r->forward);
    prim_destroy(&r->pack);
    free(r->weights);
    free(r->scale);
    free(r);
}

static const struct step_kind step_rounded;

status rounded_prepare(struct onednn_exec *exec, struct step *step, const struct conv_shape *shape,
                       bool *done) {
    *done = false;
    const bool known = exec->rounded[step->in[0]].dtype != DTYPE_F32;
    if (!known || rounded_formats(exec, step) != STEP_ANY) return SUCCESS;
    struct rounded *r = calloc(1, sizeof *r);
    if (!r) return status_no_memory("a convolution", sizeof *r);
    const size_t scratch = step->scratch_bytes[PHASE_FORWARD], nbytes = exec->nbytes;
    r->shape = *shape;
    step->state = r;
    status error = prepare(exec, step, r);
    *done = !error;
    if (!error) step->kind = &step_rounded;
    if (!error) return SUCCESS;
    rounded_destroy(step);
    step->state = NULL;
    step->scratch_bytes[PHASE_FORWARD] = scratch;
    exec->nbytes = nbytes;
    if (status_code(error) == STATUS_UNSUPPORTED) status_drop(&error);
    return error;
}

/* Rounds the kernel (rows, filters) to whole numbers, in place, and finds the scales with which sums of their
 * products with the input's numbers are in the unit of the domain; the bias becomes one of such sums. */
static void round_kernel(struct rounded *r, int64_t rows, float *kernel) {
    const int64_t m = r->shape.filters;
    for (int64_t j = 0; j < m; j++) {
        float most = 0;
        for (int64_t i = 0; i < rows; i++) most = fmaxf(most, fabsf(kernel[i * m + j]));
        const float unit = most >= FORMAT_LEAST ? most / INT8_MAX : 1; /* or nothing is left of the channel */
        for (int64_t i = 0; i < rows; i++) kernel[i * m + j] = rintf(kernel[i * m + j] / unit);
        r->bias[j] /= unit * r->in.scale;
        r->scale[j] = unit * r->in.scale / r->numbers.domain;
    }
}

/* The scales are part of the primitive. */
static status make_forward_again(struct onednn_exec *exec, struct step *step, struct rounded *r) {
    const size_t scratchpad = prim_bytes(r->forward, PRIM_SCRATCHPAD);
    prim_destroy(&r->forward);
    STATUS_TRY(prim_conv_forward(exec->dnn, &r->shape, &r->post, false, &r->forward));
    step->implementation = prim_implementation(r->forward);
    if (prim_bytes(r->forward, PRIM_WEIGHTS) != r->nbytes ||
        prim_bytes(r->forward, PRIM_SCRATCHPAD) > scratchpad)
        return step_mismatch(exec, step, "oneDNN computes it in another way with other scales");
    return SUCCESS;
}

static char *scratch(const struct step *step, size_t at) {
    return (char *)step->scratch[PHASE_FORWARD] + at;
}

static status pack(struct onednn_exec *exec, struct step *step, struct rounded *r, float *kernel) {
    const int64_t m = r->shape.filters, rows = exec->graph->param[step->op->param[0]].count / m;
    fold_norm(exec, step, rows, m, kernel, r->bias);
    if (r->numbers.scale) {
        round_kernel(r, rows, kernel);
        STATUS_TRY(make_forward_again(exec, step, r));
    }
    if (!r->pack) return step_mismatch(exec, step, "its packed weights are not of another type");
    prim_set(r->pack, PRIM_SRC, kernel);
    prim_set(r->pack, PRIM_DST, r->weights);
    prim_set(r->pack, PRIM_SCRATCHPAD, scratch(step, r->prim_at));
    STATUS_TRY(prim_run(exec->dnn, r->pack));
    prim_set(r->pack, PRIM_SRC, NULL);
    prim_set(r->forward, PRIM_WEIGHTS, r->weights);
    prim_set(r->forward, PRIM_BIAS, r->bias);
    return SUCCESS;
}

static status rounded_pack(struct onednn_exec *exec, struct step *step) {
    float *kernel;
    STATUS_TRY(memory_alloc("folded weights", (size_t)exec->graph->param[step->op->param[0]].count,
                            sizeof *kernel, (void **)&kernel));
    status error = pack(exec, step, step->state, kernel);
    free(kernel);
    return error;
}

static status rounded_forward(struct onednn_exec *exec, struct step *step) {
    struct rounded *r = step->state;
    const void *x = exec->value[step->in[0]];
    if (r->convert) {
        format_store(r->in, exec->count[step->in[0]], exec->options.threads, x, scratch(step, r->input_at));
        x = scratch(step, r->input_at);
    }
    prim_set(r->forward, PRIM_SRC, x);
    prim_set(r->forward, PRIM_DST, exec->value[step->out]);
    prim_set(r->forward, PRIM_SCRATCHPAD, scratch(step, r->prim_at));
    if (step->addend >= 0) prim_set(r->forward, PRIM_ADDEND, exec->value[step->addend]);
    return prim_run(exec->dnn, r->forward);
}

static const struct step_kind step_rounded = {
    .pack = rounded_pack, .forward = rounded_forward, .destroy = rounded_destroy};
