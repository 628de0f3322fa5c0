/* Inverted dropout in training, identity otherwise. */
#include "worker/engines/dropout.h"

#include "worker/engines/openblas/kernels.h"

/* The draws of one sample, and how far apart they are along each axis: 0 where one draw is for all. */
struct draws {
    int64_t n, stride[SHAPE_MAX_RANK];
};

static struct draws draws_of(const struct task *task) {
    struct draws d = {.n = 1};
    for (int i = task->out.rank - 1; i > 0; i--) {
        if (task->op->u.dropout.shared >> i & 1) continue;
        d.stride[i] = d.n;
        d.n *= task->out.dim[i];
    }
    return d;
}

static status dropout_prepare(struct task *task) {
    if (count_of(&task->in[0]) != count_of(&task->out)) return kernel_mismatch(task, "shapes differ");
    task->alias = !task->env->train || !(task->op->u.dropout.rate > 0);
    if (task->env->train) /* the masks */
        task->saved = (size_t)(task->env->batch * draws_of(task).n) * sizeof(float);
    return SUCCESS;
}

/* y = x * mask, for one sample. */
static void apply(const struct task *task, const struct draws *d, const float *restrict x,
                  const float *restrict mask, float *restrict y) {
    const struct shape *shape = &task->out;
    const int last = shape->rank - 1;
    const int64_t width = last > 0 ? shape->dim[last] : 1;
    const int64_t rows = count_of(shape) / task->env->batch / width;
    for (int64_t row = 0; row < rows; row++, x += width, y += width) {
        const float *m = mask;
        int64_t place = row;
        for (int i = last - 1; i > 0; i--) {
            m += place % shape->dim[i] * d->stride[i];
            place /= shape->dim[i];
        }
        if (d->stride[last])
            for (int64_t i = 0; i < width; i++) y[i] = x[i] * m[i];
        else
            for (int64_t i = 0; i < width; i++) y[i] = x[i] * m[0];
    }
}

static status dropout_forward(struct task *task) {
    const struct kernel_env *env = task->env;
    const struct draws d = draws_of(task);
    const int64_t n = count_of(&task->out) / env->batch;
    float *masks = task->kept;
#pragma omp parallel for num_threads(env->threads) schedule(static)
    for (int64_t sample = 0; sample < env->batch; sample++) {
        float *mask = masks + sample * d.n;
        dropout_mask(env->seed, env->step, task->op->out, env->first_sample + (uint64_t)sample,
                     task->op->u.dropout.rate, d.n, mask);
        apply(task, &d, task->x[0] + sample * n, mask, task->y + sample * n);
    }
    return SUCCESS;
}

static status dropout_backward(struct task *task) {
    if (!task->dx[0]) return SUCCESS;
    const struct draws d = draws_of(task);
    const int64_t count = count_of(&task->out), n = count / task->env->batch;
    const float *masks = task->kept;
    if (task->alias)
        for (int64_t i = 0; i < count; i++) task->dx[0][i] = task->dy[i];
    else
        for (int64_t sample = 0; sample < task->env->batch; sample++)
            apply(task, &d, task->dy + sample * n, masks + sample * d.n, task->dx[0] + sample * n);
    return SUCCESS;
}

const struct kernel kernel_dropout = {dropout_prepare, dropout_forward, dropout_backward};
