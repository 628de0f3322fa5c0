/* Products of matrices: the last two axes, for each place along the others. */
#include "worker/engines/openblas/gemm.h"
#include "worker/engines/openblas/kernels.h"

#include <limits.h>
#include <stdlib.h>

/* Rows of one product that a thread computes at a time. What a sample gives must not depend on how many there
 * are, so this depends on the operation only. */
#define BLOCK_ROWS 128

struct matmul_plan {
    int64_t products;
    int m, n, k;
};

static status matmul_prepare(struct task *task) {
    const struct shape *a = &task->in[0], *b = &task->in[1], *c = &task->out;
    const int rank = c->rank;
    const bool ta = task->op->u.matmul.transpose_a, tb = task->op->u.matmul.transpose_b;
    if (rank < 3 || a->rank != rank || b->rank != rank) return kernel_mismatch(task, "ranks disagree");
    struct matmul_plan *p = calloc(1, sizeof *p);
    if (!p) return status_no_memory("a product", sizeof *p);
    task->plan = p;
    p->products = 1;
    for (int i = 0; i < rank - 2; i++) {
        if (a->dim[i] != c->dim[i] || b->dim[i] != c->dim[i])
            return kernel_mismatch(task, "the axes before the last two differ");
        p->products *= c->dim[i];
    }
    const int64_t m = a->dim[rank - 2 + ta], k = a->dim[rank - 1 - ta];
    const int64_t k2 = b->dim[rank - 2 + tb], n = b->dim[rank - 1 - tb];
    if (k != k2 || m != c->dim[rank - 2] || n != c->dim[rank - 1])
        return kernel_mismatch(task, "the matrices do not fit");
    if (m > INT_MAX || n > INT_MAX || k > INT_MAX) return kernel_mismatch(task, "too large for BLAS");
    p->m = (int)m;
    p->n = (int)n;
    p->k = (int)k;
    return SUCCESS;
}

static void forward_block(const struct task *task, int64_t product, int row) {
    const struct matmul_plan *p = task->plan;
    const bool ta = task->op->u.matmul.transpose_a, tb = task->op->u.matmul.transpose_b;
    const int64_t m = p->m, n = p->n, k = p->k;
    const int lda = ta ? p->m : p->k, ldb = tb ? p->k : p->n;
    const float *a = task->x[0] + product * m * k + (int64_t)row * (ta ? 1 : k);
    gemm_scaled(ta, tb, p->m - row < BLOCK_ROWS ? p->m - row : BLOCK_ROWS, p->n, p->k,
                task->op->u.matmul.scale, a, lda, task->x[1] + product * k * n, ldb, 0,
                task->y + product * m * n + row * n, p->n);
}

static status matmul_forward(struct task *task) {
    const struct matmul_plan *p = task->plan;
    const int slots = task->env->threads;
    const int64_t down = (p->m + BLOCK_ROWS - 1) / BLOCK_ROWS, blocks = p->products * down;
#pragma omp parallel for num_threads(slots)                                                                  \
    schedule(static, 1) if (blocks > 1 && p->products * p->m * p->n * p->k > 65536)
    for (int slot = 0; slot < slots; slot++) {
        int64_t first, last;
        slot_range(blocks, slots, slot, &first, &last);
        for (int64_t i = first; i < last; i++) forward_block(task, i / down, (int)(i % down) * BLOCK_ROWS);
    }
    return SUCCESS;
}

/* With C = scale * A B: dA = scale * dC B', dB = scale * A' dC; transposed where A or B are. */
static void backward_product(const struct task *task, int64_t product) {
    const struct matmul_plan *p = task->plan;
    const bool ta = task->op->u.matmul.transpose_a, tb = task->op->u.matmul.transpose_b;
    const float scale = task->op->u.matmul.scale;
    const int64_t m = p->m, n = p->n, k = p->k;
    const int lda = ta ? p->m : p->k, ldb = tb ? p->k : p->n;
    const float *a = task->x[0] + product * m * k, *b = task->x[1] + product * k * n;
    const float *dc = task->dy + product * m * n;
    float *da = task->dx[0] ? task->dx[0] + product * m * k : NULL;
    float *db = task->dx[1] ? task->dx[1] + product * k * n : NULL;
    if (da && ta) gemm_scaled(tb, true, p->k, p->m, p->n, scale, b, ldb, dc, p->n, 0, da, lda);
    else if (da) gemm_scaled(false, !tb, p->m, p->k, p->n, scale, dc, p->n, b, ldb, 0, da, lda);
    if (db && tb) gemm_scaled(true, ta, p->n, p->k, p->m, scale, dc, p->n, a, lda, 0, db, ldb);
    else if (db) gemm_scaled(!ta, false, p->k, p->n, p->m, scale, a, lda, dc, p->n, 0, db, ldb);
}

static status matmul_backward(struct task *task) {
    const struct matmul_plan *p = task->plan;
    const int slots = task->env->threads;
#pragma omp parallel for num_threads(slots)                                                                  \
    schedule(static, 1) if (p->products > 1 && p->products * p->m * p->n * p->k > 65536)
    for (int slot = 0; slot < slots; slot++) {
        int64_t first, last;
        slot_range(p->products, slots, slot, &first, &last);
        for (int64_t i = first; i < last; i++) backward_product(task, i);
    }
    return SUCCESS;
}

const struct kernel kernel_matmul = {matmul_prepare, matmul_forward, matmul_backward};
