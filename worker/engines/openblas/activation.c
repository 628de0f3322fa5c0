/* Activations that stand alone. */
#include "worker/engines/openblas/functions.h"
#include "worker/engines/openblas/kernels.h"

#define CHUNK 4096

static status activation_prepare(struct task *task) {
    if (count_of(&task->in[0]) != count_of(&task->out)) return kernel_mismatch(task, "shapes differ");
    task->alias = task->op->u.act.kind == ACTIVATION_LINEAR;
    return SUCCESS;
}

static status activation_forward(struct task *task) {
    const int64_t n = count_of(&task->out);
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (n > 2 * CHUNK)
    for (int64_t i = 0; i < n; i += CHUNK)
        function_values(&task->op->u.act, task->x[0] + i, n - i < CHUNK ? n - i : CHUNK, task->y + i);
    return SUCCESS;
}

static status activation_backward(struct task *task) {
    if (!task->dx[0]) return SUCCESS;
    const int64_t n = count_of(&task->out);
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (n > 2 * CHUNK)
    for (int64_t i = 0; i < n; i += CHUNK)
        function_slopes(&task->op->u.act, task->x[0] + i, task->dy + i, n - i < CHUNK ? n - i : CHUNK,
                        task->dx[0] + i);
    return SUCCESS;
}

const struct kernel kernel_activation = {activation_prepare, activation_forward, activation_backward};
