/* Inverted dropout in training, identity otherwise. */
#include "worker/engines/dropout.h"

#include "worker/engines/openblas/kernels.h"

static status dropout_prepare(struct task *task) {
    if (count_of(&task->in[0]) != count_of(&task->out)) return kernel_mismatch(task, "shapes differ");
    task->alias = !task->env->train || !(task->op->u.dropout.rate > 0);
    if (task->env->train) task->saved = (size_t)count_of(&task->out) * sizeof(float); /* the masks */
    return SUCCESS;
}

static status dropout_forward(struct task *task) {
    const struct kernel_env *env = task->env;
    const int64_t n = count_of(&task->out) / env->batch;
    float *masks = task->kept;
#pragma omp parallel for num_threads(env->threads) schedule(static)
    for (int64_t sample = 0; sample < env->batch; sample++) {
        const float *restrict x = task->x[0] + sample * n;
        float *restrict y = task->y + sample * n, *restrict mask = masks + sample * n;
        dropout_mask(env->seed, env->step, task->op->out, env->first_sample + (uint64_t)sample,
                     task->op->u.dropout.rate, n, mask);
        for (int64_t i = 0; i < n; i++) y[i] = x[i] * mask[i];
    }
    return SUCCESS;
}

static status dropout_backward(struct task *task) {
    if (!task->dx[0]) return SUCCESS;
    const int64_t n = count_of(&task->out);
    const float *mask = task->kept;
    for (int64_t i = 0; i < n; i++) task->dx[0][i] = task->alias ? task->dy[i] : task->dy[i] * mask[i];
    return SUCCESS;
}

const struct kernel kernel_dropout = {dropout_prepare, dropout_forward, dropout_backward};
