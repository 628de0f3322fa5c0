/* Matrix product on the last axis. */
#include "worker/engines/openblas/gemm.h"
#include "worker/engines/openblas/kernels.h"

#include <limits.h>
#include <string.h>

/* Forward multiplies this many rows by this many columns of the kernel at a time, always: the last rows are
 * filled up with zeros. The product is computed transposed, so that the rows lie side by side in vectors and
 * all go the same way: what a row gives depends neither on how many there are nor on its place. (The other
 * way round, OpenBLAS's kernel for Haswell treats row 1 and row 12 of 16 differently.) */
#define BLOCK_ROWS 16
#define BLOCK_COLUMNS 256

static size_t forward_slot(const struct task *task) {
    size_t floats = BLOCK_ROWS * (size_t)(last_dim(&task->in[0]) + BLOCK_COLUMNS);
    return (floats * sizeof(float) + 63) / 64 * 64;
}

static status dense_prepare(struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out, *kernel = &task->param[0];
    if (in->rank < 1 || in->rank != out->rank || kernel->rank != 2)
        return kernel_mismatch(task, "ranks disagree");
    for (int i = 0; i + 1 < in->rank; i++)
        if (in->dim[i] != out->dim[i]) return kernel_mismatch(task, "only the last axis may differ");
    if (kernel->dim[0] != last_dim(in) || kernel->dim[1] != last_dim(out))
        return kernel_mismatch(task, "the kernel's shape disagrees");
    if (has_param(task, 1) && count_of(&task->param[1]) != last_dim(out))
        return kernel_mismatch(task, "the bias's shape disagrees");
    if (kernel->dim[0] > INT_MAX || kernel->dim[1] > INT_MAX || count_of(in) / last_dim(in) > INT_MAX)
        return kernel_mismatch(task, "too large for BLAS");
    task->scratch_forward = (size_t)task->env->threads * forward_slot(task);
    return SUCCESS;
}

static void forward_block(const struct task *task, int64_t row, int64_t column, float *scratch) {
    const int64_t k = last_dim(&task->in[0]), m = last_dim(&task->out), rows = count_of(&task->out) / m;
    const int64_t columns = m - column < BLOCK_COLUMNS ? m - column : BLOCK_COLUMNS;
    const int64_t nrows = rows - row < BLOCK_ROWS ? rows - row : BLOCK_ROWS;
    const float *x = task->x[0] + row * k, *bias = task->w[1] ? task->w[1] + column : NULL;
    float *product = scratch + BLOCK_ROWS * k; /* (columns, BLOCK_ROWS) */
    if (nrows < BLOCK_ROWS) {
        memcpy(scratch, x, (size_t)(nrows * k) * sizeof *x);
        memset(scratch + nrows * k, 0, (size_t)((BLOCK_ROWS - nrows) * k) * sizeof *x);
        x = scratch;
    }
    gemm(true, true, (int)columns, BLOCK_ROWS, (int)k, task->w[0] + column, (int)m, x, (int)k, 0, product,
         BLOCK_ROWS);
    for (int64_t i = 0; i < nrows; i++) {
        float *y = task->y + (row + i) * m + column;
        for (int64_t j = 0; j < columns; j++) y[j] = product[j * BLOCK_ROWS + i] + (bias ? bias[j] : 0);
    }
}

static status dense_forward(struct task *task) {
    const int slots = task->env->threads;
    const int64_t m = last_dim(&task->out), rows = count_of(&task->out) / m;
    const int64_t across = (m + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS,
                  down = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
#pragma omp parallel for num_threads(slots) schedule(static, 1) if (across * down > 1)
    for (int slot = 0; slot < slots; slot++) {
        float *scratch = (float *)((char *)task->scratch + (size_t)slot * forward_slot(task));
        int64_t begin, end;
        slot_range(across * down, slots, slot, &begin, &end);
        for (int64_t i = begin; i < end; i++)
            forward_block(task, i / across * BLOCK_ROWS, i % across * BLOCK_COLUMNS, scratch);
    }
    return SUCCESS;
}

static void backward_bias(const float *dy, int64_t rows, int64_t m, float *db) {
    for (int64_t first = 0; first < m; first += BLOCK_COLUMNS) {
        double sum[BLOCK_COLUMNS] = {0};
        int64_t n = m - first < BLOCK_COLUMNS ? m - first : BLOCK_COLUMNS;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < n; j++) sum[j] += dy[i * m + first + j];
        for (int64_t j = 0; j < n; j++) db[first + j] = (float)sum[j];
    }
}

static status dense_backward(struct task *task) {
    const int slots = task->env->threads;
    const int64_t k = last_dim(&task->in[0]), m = last_dim(&task->out), rows = count_of(&task->out) / m;
#pragma omp parallel for num_threads(slots) schedule(static, 1)
    for (int slot = 0; slot < slots; slot++) {
        int64_t begin, end;
        if (task->dw[0]) {
            slot_range(k, slots, slot, &begin, &end);
            if (begin < end)
                gemm(true, false, (int)(end - begin), (int)m, (int)rows, task->x[0] + begin, (int)k, task->dy,
                     (int)m, 0, task->dw[0] + begin * m, (int)m);
        }
        if (task->dx[0]) {
            slot_range(rows, slots, slot, &begin, &end);
            if (begin < end)
                gemm(false, true, (int)(end - begin), (int)k, (int)m, task->dy + begin * m, (int)m,
                     task->w[0], (int)m, 0, task->dx[0] + begin * k, (int)k);
        }
    }
    if (task->dw[1]) backward_bias(task->dy, rows, m, task->dw[1]);
    return SUCCESS;
}

const struct kernel kernel_dense = {dense_prepare, dense_forward, dense_backward};
