/* Convolutions, depthwise ones too, by oneDNN, by Winograd's algorithm (winograd.h) or, in inference with few
 * filters, by narrow.h. In inference, batch norm is folded into the packed weights, and the addition of
 * another value and the activation are done by the convolution itself. In training, weights are packed at
 * each step from the Keras layout, and a clamping activation is fused. */
#include "worker/engines/onednn/columns.h"
#include "worker/engines/onednn/fold.h"
#include "worker/engines/onednn/kinds.h"
#include "worker/engines/onednn/narrow.h"
#include "worker/engines/onednn/rounded.h"
#include "worker/engines/onednn/winograd.h"

#include <stdlib.h>
#include <string.h>

struct conv {
    struct conv_shape shape;
    struct columns columns;
    struct clamp clamp;
    struct prim *forward, *backward_data, *backward_weights;
    struct prim *pack_forward, *pack_data, *unpack; /* NULL where the layouts agree */
    struct winograd winograd[PHASES]; /* forward and gradient of the kernel; gradient of the input */
    bool minimal[PHASES];             /* use it instead of the primitives */
    struct narrow narrow;             /* EXEC_INFER, forward */
    bool few;                         /* use it instead of the primitive */
    bool bias;                        /* forward adds a bias */
    bool late_add;                    /* forward could not fuse the addition */
    struct prim *late_act;            /* nor the activation */
    float *packed, *packed_bias;      /* EXEC_INFER: packed weights, then bias; one piece of memory */
    size_t bias_at;
    float *folded; /* EXEC_INFER: weights before packing */
    size_t packed_bytes;
    /* Offsets in the scratch memory of the phase. */
    size_t weights_at[PHASES], prim_at[PHASES], diff_weights_at, dx_at, sums_at;
};

static status conv_check(const struct onednn_exec *exec, const struct step *step, struct conv_shape *s) {
    const struct shape *x = &exec->shape[step->in[0]], *y = &exec->shape[step->out];
    const struct op *op = step->op;
    if (x->rank != 4 || y->rank != 4 || op->param[0] < 0)
        return step_mismatch(exec, step, "not a 2-D convolution");
    const struct shape *k = &exec->graph->param[op->param[0]].shape;
    *s = (struct conv_shape){
        .n = x->dim[0], .channels = x->dim[3], .filters = y->dim[3], .window = step->window};
    s->depthwise = op->kind == OP_DEPTHWISE;
    s->groups = s->depthwise ? (int)s->channels : op->u.conv.groups > 1 ? op->u.conv.groups : 1;
    for (int i = 0; i < 2; i++) {
        s->in[i] = x->dim[1 + i];
        s->out[i] = y->dim[1 + i];
    }
    int64_t out[2];
    window_output(&s->window, s->in, out);
    if (out[0] != s->out[0] || out[1] != s->out[1])
        return step_mismatch(exec, step, "its window does not fit");
    if (s->channels % s->groups || s->filters % s->groups)
        return step_mismatch(exec, step, "channels are not divisible by groups");
    struct shape want =
        s->depthwise ? SHAPE(s->window.size[0], s->window.size[1], s->channels, s->filters / s->channels)
                     : SHAPE(s->window.size[0], s->window.size[1], s->channels / s->groups, s->filters);
    if (!shape_equal(k, &want)) return step_mismatch(exec, step, "its kernel has another shape");
    return SUCCESS;
}

static status prepare_late_act(struct onednn_exec *exec, const struct step *step, struct conv *c) {
    return prim_activation_forward(exec->dnn, exec->count[step->out], step->act, &c->late_act);
}

/* By our own algorithms, where they are faster? */
static status prepare_own(struct onednn_exec *exec, const struct step *step, struct conv *c, bool *own) {
    const bool clamped = clamp_of(step->act, &c->clamp);
    struct winograd *w = &c->winograd[PHASE_FORWARD];
    c->minimal[PHASE_FORWARD] = clamped && winograd_make(&c->shape, false, exec->options.threads, w);
    c->few = !c->minimal[PHASE_FORWARD] && !step_trains(exec) &&
             narrow_make(&c->shape, exec->options.threads, &c->narrow);
    *own = c->minimal[PHASE_FORWARD] || c->few;
    if (c->minimal[PHASE_FORWARD]) c->packed_bytes = winograd_weights(w) * sizeof(float);
    if (c->few) c->packed_bytes = narrow_weights(&c->narrow) * sizeof(float);
    return c->few && !clamped ? prepare_late_act(exec, step, c) : SUCCESS;
}

/* The forward primitive, with as much fused as oneDNN can. */
static status conv_prepare_forward(struct onednn_exec *exec, struct step *step, struct conv *c) {
    const bool train = step_trains(exec);
    bool own;
    c->bias = step->op->param[1] >= 0 || step->norm;
    STATUS_TRY(prepare_own(exec, step, c, &own));
    if (own) return SUCCESS;
    struct conv_post post = {.bias = c->bias, .add = step->addend >= 0, .act = step->act};
    status error = prim_conv_forward(exec->dnn, &c->shape, &post, train, &c->forward);
    if (status_code(error) == STATUS_UNSUPPORTED && (post.add || post.act)) {
        status_drop(&error);
        c->late_add = post.add;
        if (post.act) STATUS_TRY(prepare_late_act(exec, step, c));
        post.add = false;
        post.act = NULL;
        error = prim_conv_forward(exec->dnn, &c->shape, &post, train, &c->forward);
    }
    STATUS_TRY(error);
    STATUS_TRY(prim_pack(exec->dnn, &c->shape, c->forward, &c->pack_forward));
    c->packed_bytes = prim_bytes(c->forward, PRIM_WEIGHTS);
    return SUCCESS;
}

static size_t largest(size_t a, size_t b) {
    return a > b ? a : b;
}

static status prepare_input_grad(struct onednn_exec *exec, struct step *step, struct conv *c,
                                 size_t *scratchpad) {
    size_t *nbytes = &step->scratch_bytes[PHASE_BACKWARD];
    struct winograd *w = &c->winograd[PHASE_BACKWARD];
    c->minimal[PHASE_BACKWARD] = winograd_make(&c->shape, true, exec->options.threads, w);
    if (c->minimal[PHASE_BACKWARD]) {
        c->weights_at[PHASE_BACKWARD] = step_reserve(nbytes, winograd_weights(w) * sizeof(float));
        *scratchpad = largest(*scratchpad, winograd_scratch(w) * sizeof(float));
        return SUCCESS;
    }
    STATUS_TRY(prim_conv_backward_data(exec->dnn, &c->shape, &c->backward_data));
    STATUS_TRY(prim_pack(exec->dnn, &c->shape, c->backward_data, &c->pack_data));
    c->weights_at[PHASE_BACKWARD] = step_reserve(nbytes, prim_bytes(c->backward_data, PRIM_WEIGHTS));
    c->dx_at =
        step_reserve(nbytes, step->accumulate[0] ? (size_t)exec->count[step->in[0]] * sizeof(float) : 0);
    *scratchpad = largest(*scratchpad, prim_bytes(c->backward_data, PRIM_SCRATCHPAD));
    *scratchpad = largest(*scratchpad, prim_bytes(c->pack_data, PRIM_SCRATCHPAD));
    return SUCCESS;
}

static status prepare_weight_grad(struct onednn_exec *exec, struct step *step, struct conv *c,
                                  size_t *scratchpad) {
    if (c->minimal[PHASE_FORWARD]) {
        *scratchpad =
            largest(*scratchpad, winograd_gradient_scratch(&c->winograd[PHASE_FORWARD]) * sizeof(float));
        return SUCCESS;
    }
    STATUS_TRY(prim_conv_backward_weights(exec->dnn, &c->shape, &c->backward_weights));
    STATUS_TRY(prim_unpack(exec->dnn, &c->shape, c->backward_weights, &c->unpack));
    c->diff_weights_at = step_reserve(&step->scratch_bytes[PHASE_BACKWARD],
                                      prim_bytes(c->backward_weights, PRIM_DIFF_WEIGHTS));
    *scratchpad = largest(*scratchpad, prim_bytes(c->backward_weights, PRIM_SCRATCHPAD));
    *scratchpad = largest(*scratchpad, prim_bytes(c->unpack, PRIM_SCRATCHPAD));
    return SUCCESS;
}

static status conv_prepare_backward(struct onednn_exec *exec, struct step *step, struct conv *c) {
    size_t scratchpad = 0;
    if (exec->wants_grad[step->in[0]]) STATUS_TRY(prepare_input_grad(exec, step, c, &scratchpad));
    if (step_wants_param(exec, step->op->param[0]))
        STATUS_TRY(prepare_weight_grad(exec, step, c, &scratchpad));
    c->prim_at[PHASE_BACKWARD] = step_reserve(&step->scratch_bytes[PHASE_BACKWARD], scratchpad);
    c->sums_at = step_reserve(&step->scratch_bytes[PHASE_BACKWARD],
                              (columns_parts(&c->columns) + 2 * (size_t)c->shape.filters) * sizeof(double));
    return SUCCESS;
}

static status conv_prepare(struct onednn_exec *exec, struct step *step) {
    struct conv_shape shape;
    bool done;
    STATUS_TRY(conv_check(exec, step, &shape));
    STATUS_TRY(rounded_prepare(exec, step, &shape, &done));
    if (done) return SUCCESS;
    struct conv *c = calloc(1, sizeof *c);
    if (!c) return status_no_memory("a convolution", sizeof *c);
    step->state = c;
    c->shape = shape;
    c->columns = columns_make(exec->count[step->out], c->shape.filters, exec->options.threads);
    if (!clamp_of(step->act, &c->clamp) && step_trains(exec))
        return step_mismatch(exec, step, "its activation cannot be fused");
    STATUS_TRY(conv_prepare_forward(exec, step, c));
    step->implementation = c->minimal[PHASE_FORWARD] ? "winograd"
                           : c->few                  ? "narrow"
                                                     : prim_implementation(c->forward);
    size_t *nbytes = &step->scratch_bytes[PHASE_FORWARD];
    size_t scratchpad =
        largest(prim_bytes(c->forward, PRIM_SCRATCHPAD), prim_bytes(c->pack_forward, PRIM_SCRATCHPAD));
    if (c->minimal[PHASE_FORWARD]) scratchpad = winograd_scratch(&c->winograd[PHASE_FORWARD]) * sizeof(float);
    c->prim_at[PHASE_FORWARD] = step_reserve(nbytes, scratchpad);
    if (!step_trains(exec)) {
        size_t bias = (size_t)c->shape.filters * sizeof(float);
        c->bias_at = step_reserve(&c->packed_bytes, bias);
        STATUS_TRY(step_alloc(exec, "packed weights", c->packed_bytes, 1, (void **)&c->packed));
        return SUCCESS;
    }
    c->weights_at[PHASE_FORWARD] = step_reserve(nbytes, c->packed_bytes);
    step->needs_in = step_wants_param(exec, step->op->param[0]);
    step->needs_out = c->clamp.on;
    return conv_prepare_backward(exec, step, c);
}

static char *scratch(const struct step *step, enum phase phase, size_t at) {
    return (char *)step->scratch[phase] + at;
}

/* Weights for `prim` from `plain`, packed into `packed` if need be. */
static status conv_pack_weights(struct onednn_exec *exec, struct prim *prim, struct prim *pack,
                                const float *plain, void *packed, void *scratchpad) {
    prim_set(prim, PRIM_WEIGHTS, pack ? packed : plain);
    if (!pack) return SUCCESS;
    prim_set(pack, PRIM_SRC, plain);
    prim_set(pack, PRIM_DST, packed);
    prim_set(pack, PRIM_SCRATCHPAD, scratchpad);
    return prim_run(exec->dnn, pack);
}

/* EXEC_INFER: packs once. */
static status conv_pack(struct onednn_exec *exec, struct step *step) {
    struct conv *c = step->state;
    const int64_t count = exec->graph->param[step->op->param[0]].count, m = c->shape.filters;
    c->packed_bias = (float *)(void *)((char *)c->packed + c->bias_at);
    if (!c->folded)
        STATUS_TRY(step_alloc(exec, "folded weights", (size_t)count, sizeof(float), (void **)&c->folded));
    fold_norm(exec, step, count / m, m, c->folded, c->packed_bias);
    void *scratchpad = scratch(step, PHASE_FORWARD, c->prim_at[PHASE_FORWARD]);
    if (c->minimal[PHASE_FORWARD])
        winograd_pack(&c->winograd[PHASE_FORWARD], c->folded, scratchpad, c->packed);
    else if (c->few) narrow_pack(&c->narrow, c->folded, c->packed_bias, c->packed);
    else STATUS_TRY(conv_pack_weights(exec, c->forward, c->pack_forward, c->folded, c->packed, scratchpad));
    prim_set(c->forward, PRIM_BIAS, c->packed_bias);
    if (c->minimal[PHASE_FORWARD] || c->few || c->pack_forward) {
        free(c->folded);
        exec->nbytes -= (size_t)count * sizeof(float);
        c->folded = NULL;
    }
    return SUCCESS;
}

/* By Winograd's algorithm: nothing is left to do afterwards. */
static void run_minimal(struct onednn_exec *exec, struct step *step, struct conv *c) {
    const struct winograd *w = &c->winograd[PHASE_FORWARD];
    float *scratchpad = (float *)(void *)scratch(step, PHASE_FORWARD, c->prim_at[PHASE_FORWARD]);
    float *weights = c->packed;
    const float *bias = c->bias ? c->packed_bias : NULL;
    if (step_trains(exec)) {
        weights = (float *)(void *)scratch(step, PHASE_FORWARD, c->weights_at[PHASE_FORWARD]);
        bias = step_param(exec, step->op->param[1]);
        winograd_pack(w, step_param(exec, step->op->param[0]), scratchpad, weights);
    }
    winograd_run(w, exec->value[step->in[0]], weights, bias,
                 step->addend >= 0 ? exec->value[step->addend] : NULL, &c->clamp, scratchpad,
                 exec->value[step->out]);
}

/* oneDNN's ReLU turns NaN to zero, so that a diverged training would go on unseen. */
static status conv_check_weights(const struct onednn_exec *exec, const struct step *step,
                                 const struct conv *c, const float *kernel) {
    if (!c->clamp.on || array_finite(exec->graph->param[step->op->param[0]].count, kernel)) return SUCCESS;
    return status_fail(STATUS_DATA, "the weights of node %d are not finite: use a lower learning rate",
                       step->op->node);
}

static status run_late_act(struct onednn_exec *exec, const struct conv *c, float *y) {
    if (!c->late_act) return SUCCESS;
    prim_set(c->late_act, PRIM_SRC, y);
    prim_set(c->late_act, PRIM_DST, y);
    return prim_run(exec->dnn, c->late_act);
}

static status conv_forward(struct onednn_exec *exec, struct step *step) {
    struct conv *c = step->state;
    float *y = exec->value[step->out], *addend = step->addend >= 0 ? exec->value[step->addend] : NULL;
    if (c->minimal[PHASE_FORWARD]) {
        run_minimal(exec, step, c);
        return SUCCESS;
    }
    if (c->few) {
        narrow_run(&c->narrow, exec->value[step->in[0]], c->packed, addend, &c->clamp, y);
        return run_late_act(exec, c, y);
    }
    void *scratchpad = scratch(step, PHASE_FORWARD, c->prim_at[PHASE_FORWARD]);
    if (step_trains(exec)) {
        const float *kernel = step_param(exec, step->op->param[0]);
        STATUS_TRY(conv_check_weights(exec, step, c, kernel));
        STATUS_TRY(conv_pack_weights(exec, c->forward, c->pack_forward, kernel,
                                     scratch(step, PHASE_FORWARD, c->weights_at[PHASE_FORWARD]), scratchpad));
        prim_set(c->forward, PRIM_BIAS, step_param(exec, step->op->param[1]));
    }
    prim_set(c->forward, PRIM_SRC, exec->value[step->in[0]]);
    prim_set(c->forward, PRIM_DST, y);
    prim_set(c->forward, PRIM_SCRATCHPAD, scratchpad);
    if (addend) prim_set(c->forward, PRIM_ADDEND, addend);
    STATUS_TRY(prim_run(exec->dnn, c->forward));
    if (c->late_add) array_add(exec->count[step->out], exec->options.threads, &CLAMP_NONE, y, addend, y);
    return run_late_act(exec, c, y);
}

static status conv_weight_grad(struct onednn_exec *exec, struct step *step, struct conv *c, float *dy) {
    const int kernel = step->op->param[0];
    void *scratchpad = scratch(step, PHASE_BACKWARD, c->prim_at[PHASE_BACKWARD]);
    float *grad = step_param_grad(exec, kernel);
    if (c->minimal[PHASE_FORWARD]) {
        winograd_gradient(&c->winograd[PHASE_FORWARD], exec->value[step->in[0]], dy, scratchpad, grad);
        step_param_done(exec, kernel);
        return SUCCESS;
    }
    void *packed = c->unpack ? scratch(step, PHASE_BACKWARD, c->diff_weights_at) : (void *)grad;
    prim_set(c->backward_weights, PRIM_SRC, exec->value[step->in[0]]);
    prim_set(c->backward_weights, PRIM_DIFF_DST, dy);
    prim_set(c->backward_weights, PRIM_DIFF_WEIGHTS, packed);
    prim_set(c->backward_weights, PRIM_SCRATCHPAD, scratchpad);
    STATUS_TRY(prim_run(exec->dnn, c->backward_weights));
    if (c->unpack) {
        prim_set(c->unpack, PRIM_SRC, packed);
        prim_set(c->unpack, PRIM_DST, grad);
        prim_set(c->unpack, PRIM_SCRATCHPAD, scratchpad);
        STATUS_TRY(prim_run(exec->dnn, c->unpack));
    }
    step_param_done(exec, kernel);
    return SUCCESS;
}

static status conv_input_grad(struct onednn_exec *exec, struct step *step, struct conv *c, float *dy) {
    void *scratchpad = scratch(step, PHASE_BACKWARD, c->prim_at[PHASE_BACKWARD]);
    float *dx = exec->grad[step->in[0]];
    if (c->minimal[PHASE_BACKWARD]) {
        const struct winograd *w = &c->winograd[PHASE_BACKWARD];
        float *weights = (float *)(void *)scratch(step, PHASE_BACKWARD, c->weights_at[PHASE_BACKWARD]);
        winograd_pack(w, step_param(exec, step->op->param[0]), scratchpad, weights);
        winograd_run(w, dy, weights, NULL, step->accumulate[0] ? dx : NULL, &CLAMP_NONE, scratchpad, dx);
        return SUCCESS;
    }
    float *out = step->accumulate[0] ? (float *)(void *)scratch(step, PHASE_BACKWARD, c->dx_at) : dx;
    STATUS_TRY(conv_pack_weights(exec, c->backward_data, c->pack_data, step_param(exec, step->op->param[0]),
                                 scratch(step, PHASE_BACKWARD, c->weights_at[PHASE_BACKWARD]), scratchpad));
    prim_set(c->backward_data, PRIM_DIFF_DST, dy);
    prim_set(c->backward_data, PRIM_DIFF_SRC, out);
    prim_set(c->backward_data, PRIM_SCRATCHPAD, scratchpad);
    STATUS_TRY(prim_run(exec->dnn, c->backward_data));
    if (out != dx) array_add(exec->count[step->in[0]], exec->options.threads, &CLAMP_NONE, dx, out, dx);
    return SUCCESS;
}

static status conv_backward(struct onednn_exec *exec, struct step *step) {
    struct conv *c = step->state;
    const int bias = step->op->param[1];
    float *dy = exec->grad[step->out];
    double *sums = (double *)(void *)scratch(step, PHASE_BACKWARD, c->sums_at);
    const bool wants_bias = step_wants_param(exec, bias);
    columns_mask(&c->columns, &c->clamp, exec->value[step->out], dy, sums + 2 * c->shape.filters,
                 wants_bias ? sums : NULL);
    if (wants_bias) {
        float *grad = step_param_grad(exec, bias);
        for (int64_t i = 0; i < c->shape.filters; i++) grad[i] = (float)sums[i];
        step_param_done(exec, bias);
    }
    if (step_wants_param(exec, step->op->param[0])) STATUS_TRY(conv_weight_grad(exec, step, c, dy));
    return exec->grad[step->in[0]] ? conv_input_grad(exec, step, c, dy) : SUCCESS;
}

static void conv_destroy(struct step *step) {
    struct conv *c = step->state;
    if (!c) return;
    prim_destroy(&c->forward);
    prim_destroy(&c->backward_data);
    prim_destroy(&c->backward_weights);
    prim_destroy(&c->pack_forward);
    prim_destroy(&c->pack_data);
    prim_destroy(&c->unpack);
    prim_destroy(&c->late_act);
    free(c->packed);
    free(c->folded);
    free(c);
}

const struct step_kind step_conv = {conv_prepare,  conv_pack,    conv_forward,
                                    conv_backward, conv_destroy, rounded_formats};
