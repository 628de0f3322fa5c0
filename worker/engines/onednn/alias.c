/* Operations that only rename their input: reshapes, dropout in inference. The output has the input's memory.
 */
#include "worker/engines/onednn/columns.h"
#include "worker/engines/onednn/kinds.h"

#include <string.h>

static status alias_prepare(struct onednn_exec *exec, struct step *step) {
    if (exec->count[step->in[0]] != exec->count[step->out]) return step_mismatch(exec, step, "sizes differ");
    step->alias = step->any_format = true;
    step->inplace_backward = true;
    return SUCCESS;
}

static status alias_backward(struct onednn_exec *exec, struct step *step) {
    const int64_t count = exec->count[step->out];
    const float *dy = exec->grad[step->out];
    float *dx = exec->grad[step->in[0]];
    if (!dx || dx == dy) return SUCCESS;
    if (step->accumulate[0]) array_add(count, exec->options.threads, &CLAMP_NONE, dx, dy, dx);
    else memcpy(dx, dy, (size_t)count * sizeof *dx);
    return SUCCESS;
}

static enum step_formats alias_formats(const struct onednn_exec *exec, const struct step *step) {
    (void)exec, (void)step;
    return STEP_MOVES;
}

const struct step_kind step_alias = {
    .prepare = alias_prepare, .backward = alias_backward, .formats = alias_formats};
