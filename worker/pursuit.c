#include "worker/pursuit.h"
#include "worker/matmul.h"

#include "shared/tensor.h"

#include <cblas.h>
#include <lapacke.h>
#include <stdlib.h>
#include <string.h>

/* Scratch for one block of entries. */
struct work {
    int64_t *entry; /* [k] entries of the block */
    double *block;  /* (b, b) */
    double *h;      /* (b, m) */
    double *g;      /* (b, k) */
};

static void work_close(struct work *w) {
    free(w->entry);
    free(w->block);
    free(w->h);
    free(w->g);
}

static int64_t entries_of(const struct pursuit_reader *r, int class, int64_t *entry) {
    int64_t n = 0;
    for (int64_t i = 0; i < r->k; i++)
        if (r->class[i] == class) {
            if (entry) entry[n] = i;
            n++;
        }
    return n;
}

static status work_open(int nreaders, const struct pursuit_reader *reader, int classes, struct work *w) {
    int64_t k = 1, m = 1, b = 1;
    for (int i = 0; i < nreaders; i++) {
        if (reader[i].k > k) k = reader[i].k;
        if (reader[i].m > m) m = reader[i].m;
        for (int c = -1; c < classes; c++) {
            int64_t n = entries_of(&reader[i], c, NULL);
            if (n > b) b = n;
        }
    }
    STATUS_TRY(memory_alloc("a choice of channels", (size_t)k, sizeof *w->entry, (void **)&w->entry));
    STATUS_TRY(memory_alloc("a choice of channels", (size_t)(b * b), sizeof *w->block, (void **)&w->block));
    STATUS_TRY(memory_alloc("a choice of channels", (size_t)(b * m), sizeof *w->h, (void **)&w->h));
    return memory_alloc("a choice of channels", (size_t)(b * k), sizeof *w->g, (void **)&w->g);
}

/* Cholesky factor L of the block's Gram matrix and its rows of h, whitened: L⁻¹h. The diagonal is raised a
 * little, and more where the block's entries depend on each other up to the rounding of the float32 products.
 * False: the block adds nothing. */
static bool whiten(const struct pursuit_reader *r, int class, struct work *w, int64_t *size) {
    int64_t b = entries_of(r, class, w->entry);
    double trace = 0;
    *size = b;
    for (int64_t i = 0; i < b; i++) trace += r->g[w->entry[i] * r->k + w->entry[i]];
    if (!(trace > 0)) return false;
    for (double raise = 1e-9 * trace / (double)b;; raise *= 10) {
        if (raise > trace) return false;
        for (int64_t i = 0; i < b; i++) {
            for (int64_t j = 0; j < b; j++) w->block[i * b + j] = r->g[w->entry[i] * r->k + w->entry[j]];
            w->block[i * b + i] += raise;
        }
        if (!LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', (lapack_int)b, w->block, (lapack_int)b)) break;
    }
    for (int64_t i = 0; i < b; i++)
        memcpy(w->h + i * r->m, r->h + w->entry[i] * r->m, (size_t)r->m * sizeof *w->h);
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)b, (int)r->m, 1,
                w->block, (int)b, w->h, (int)r->m);
    return true;
}

/* Error that adding the class takes away, relative to the reader's outputs. */
static double gain(const struct pursuit_reader *r, int class, struct work *w) {
    int64_t b;
    if (!whiten(r, class, w, &b) || !(r->total > 0)) return 0;
    double sum = 0;
    for (int64_t i = 0; i < b * r->m; i++) sum += w->h[i] * w->h[i];
    return sum / r->total;
}

/* Takes the class's part out of g and h. */
static void project_out(struct pursuit_reader *r, int class, int threads, struct work *w) {
    int64_t b, k = r->k;
    if (!whiten(r, class, w, &b)) return;
    for (int64_t i = 0; i < b; i++) memcpy(w->g + i * k, r->g + w->entry[i] * k, (size_t)k * sizeof *w->g);
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)b, (int)k, 1, w->block,
                (int)b, w->g, (int)k);
    matmul_downdate(k, k, b, w->g, w->g, r->g, threads);
    matmul_downdate(k, r->m, b, w->g, w->h, r->h, threads);
}

status pursuit_choose(int nreaders, struct pursuit_reader *reader, int classes, int kept, int threads,
                      int64_t *chosen, double *error) {
    struct work w = {0};
    double left = nreaders;
    bool *taken = calloc((size_t)classes + 1, 1);
    status failed = taken ? work_open(nreaders, reader, classes, &w)
                          : status_no_memory("a choice of channels", (size_t)classes);
    if (failed) goto done;
    openblas_set_num_threads(1);
    for (int i = 0; i < nreaders; i++) left -= gain(&reader[i], -1, &w);
    for (int i = 0; i < nreaders; i++) project_out(&reader[i], -1, threads, &w);
    if (error) error[0] = left;
    for (int n = 0; n < kept; n++) {
        int best = -1;
        double best_gain = -1;
        for (int c = 0; c < classes; c++) {
            if (taken[c]) continue;
            double sum = 0;
            for (int i = 0; i < nreaders; i++) sum += gain(&reader[i], c, &w);
            if (sum > best_gain) {
                best_gain = sum;
                best = c;
            }
        }
        taken[best] = true;
        left -= best_gain;
        if (error) error[n + 1] = left > 0 ? left : 0;
        for (int i = 0; i < nreaders; i++) project_out(&reader[i], best, threads, &w);
    }
    int n = 0;
    for (int c = 0; c < classes; c++)
        if (taken[c]) chosen[n++] = c;
done:
    work_close(&w);
    free(taken);
    return failed;
}
