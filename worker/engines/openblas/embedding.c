/* Rows of a table, by their ids. */
#include "worker/engines/openblas/kernels.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK 256

/* All integers up to here are exact as float32. */
#define EXACT_INTEGERS (1 << 24)

/* The ids as integers: kept for backward, or in scratch. */
static int *ids_of(const struct task *task) {
    return task->env->train ? task->kept : task->scratch;
}

static status embedding_prepare(struct task *task) {
    const struct shape *in = &task->in[0], *out = &task->out, *table = &task->param[0];
    if (out->rank != in->rank + 1) return kernel_mismatch(task, "the output has no axis more than the input");
    for (int i = 0; i < in->rank; i++)
        if (in->dim[i] != out->dim[i]) return kernel_mismatch(task, "the output's shape disagrees");
    if (!has_param(task, 0) || table->rank != 2 || table->dim[1] != last_dim(out))
        return kernel_mismatch(task, "the table's shape disagrees");
    if (table->dim[0] > EXACT_INTEGERS)
        return status_fail(STATUS_UNSUPPORTED,
                           "an embedding of %lld rows (node %d): ids come as float32, which is exact up to "
                           "%d only",
                           (long long)table->dim[0], task->op->node, EXACT_INTEGERS);
    if (count_of(in) > INT_MAX) return kernel_mismatch(task, "too many ids");
    const size_t ids = (size_t)count_of(in) * sizeof(int);
    if (!task->env->train) {
        task->scratch_forward = ids;
        return SUCCESS;
    }
    task->saved = ids;
    task->scratch_backward = ids + ((size_t)table->dim[0] + 1) * sizeof(int);
    return SUCCESS;
}

static status outside(const struct task *task, int64_t at) {
    const int64_t each = count_of(&task->in[0]) / task->in[0].dim[0], rows = task->param[0].dim[0];
    return status_fail(
        STATUS_DATA,
        "id %.9g (sample %lld of the batch) is outside the embedding's table of %lld rows (ids "
        "are 0 to %lld; node %d)",
        (double)task->x[0][at], (long long)(at / each), (long long)rows, (long long)rows - 1, task->op->node);
}

/* Fractions are dropped, as when Keras makes integers of them. An id outside the table becomes 0, and the
 * first one an error. */
static status read_ids(const struct task *task, int *ids) {
    const int64_t n = count_of(&task->in[0]);
    const float *x = task->x[0], rows = (float)task->param[0].dim[0];
    int64_t bad = -1;
    for (int64_t i = 0; i < n; i++) {
        const bool inside = x[i] > -1 && x[i] < rows;
        ids[i] = inside ? (int)x[i] : 0;
        if (!inside && bad < 0) bad = i;
    }
    return bad < 0 ? SUCCESS : outside(task, bad);
}

static status embedding_forward(struct task *task) {
    const int64_t n = count_of(&task->in[0]), width = last_dim(&task->out);
    int *ids = ids_of(task);
    status error = read_ids(task, ids);
#pragma omp parallel for num_threads(task->env->threads) schedule(static) if (n * width > 16384)
    for (int64_t i = 0; i < n; i++)
        memcpy(task->y + i * width, task->w[0] + ids[i] * width, (size_t)width * sizeof(float));
    return error;
}

/* Places sorted by the row they read, in order within a row: places of row r are
 * place[first[r]] ... place[first[r + 1] - 1]. */
static void sort_places(const int *ids, int n, int rows, int *first, int *place) {
    memset(first, 0, ((size_t)rows + 1) * sizeof *first);
    for (int i = 0; i < n; i++) first[ids[i] + 1]++;
    for (int r = 0; r < rows; r++) first[r + 1] += first[r];
    for (int i = 0; i < n; i++) place[first[ids[i]]++] = i;
    for (int r = rows; r > 0; r--) first[r] = first[r - 1];
    first[0] = 0;
}

/* The gradient of one row: the sum over its places, in their order. */
static void row_gradient(const float *dy, int64_t width, const int *place, int n, float *dw) {
    if (n < 2) {
        if (n == 1) memcpy(dw, dy + *place * width, (size_t)width * sizeof *dw);
        else memset(dw, 0, (size_t)width * sizeof *dw);
        return;
    }
    for (int64_t begin = 0; begin < width; begin += CHUNK) {
        const int64_t m = width - begin < CHUNK ? width - begin : CHUNK;
        double sum[CHUNK] = {0};
        for (int i = 0; i < n; i++) {
            const float *from = dy + place[i] * width + begin;
            for (int64_t j = 0; j < m; j++) sum[j] += from[j];
        }
        for (int64_t j = 0; j < m; j++) dw[begin + j] = (float)sum[j];
    }
}

static status embedding_backward(struct task *task) {
    const int n = (int)count_of(&task->in[0]), rows = (int)task->param[0].dim[0];
    const int64_t width = last_dim(&task->out);
    if (task->dx[0]) memset(task->dx[0], 0, (size_t)n * sizeof(float));
    if (!task->dw[0]) return SUCCESS;
    int *place = task->scratch, *first = place + n;
    sort_places(task->kept, n, rows, first, place);
#pragma omp parallel for num_threads(task->env->threads) schedule(dynamic, 64) if (n * width > 16384)
    for (int r = 0; r < rows; r++)
        row_gradient(task->dy, width, place + first[r], first[r + 1] - first[r], task->dw[0] + r * width);
    return SUCCESS;
}

const struct kernel kernel_embedding = {embedding_prepare, embedding_forward, embedding_backward};
