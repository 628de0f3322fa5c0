#include "worker/gptq.h"

#include <cblas.h>
#include <lapacke.h>
#include <stdlib.h>
#include <string.h>

#define DAMPING 0.01 /* of the mean diagonal; more if there is no Cholesky factor */
#define BLOCK 64     /* weights whose errors are passed on to the rest at once */
#define COLUMNS 32   /* outputs that are rounded together */

/* Scales that are tried, relative to the one that holds the largest weight. */
static const double factors[] = {1, 0.99, 0.98, 0.96, 0.93, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6, 0.55, 0.5};
#define FACTORS (int)(sizeof factors / sizeof *factors)

struct work {
    const struct gptq *task;
    int64_t *order;             /* [k] inputs in the order in which they are rounded */
    double *u;                  /* (k, k) upper factor of the inverse, in that order */
    double *cost;               /* (FACTORS, m) squared errors */
    bool *reaches;              /* (FACTORS, m) has the output a weight at the end of its rounding? */
    double *nearest;            /* (k, m) */
    double *near_error, *error; /* [m] */
    int threads;
};

static void close_work(struct work *w) {
    free(w->order);
    free(w->u);
    free(w->cost);
    free(w->reaches);
    free(w->nearest);
    free(w->near_error);
    free(w->error);
}

static status open_work(struct work *w) {
    size_t k = (size_t)w->task->k, m = (size_t)w->task->m;
    STATUS_TRY(memory_alloc("rounding", k, sizeof *w->order, (void **)&w->order));
    STATUS_TRY(memory_alloc("rounding", k * k, sizeof *w->u, (void **)&w->u));
    STATUS_TRY(memory_alloc("rounding", FACTORS * m, sizeof *w->cost, (void **)&w->cost));
    STATUS_TRY(memory_alloc("rounding", FACTORS * m, sizeof *w->reaches, (void **)&w->reaches));
    STATUS_TRY(memory_alloc("rounding", k * m, sizeof *w->nearest, (void **)&w->nearest));
    STATUS_TRY(memory_alloc("rounding", m, sizeof *w->near_error, (void **)&w->near_error));
    return memory_alloc("rounding", m, sizeof *w->error, (void **)&w->error);
}

/* ---- the factor ---- */

struct ranked {
    double size;
    int64_t input;
};

static int compare_ranked(const void *a, const void *b) {
    const struct ranked *x = a, *y = b;
    return x->size != y->size ? (x->size < y->size) - (x->size > y->size)
                              : (x->input > y->input) - (x->input < y->input);
}

/* Of the inputs that are rounded; the others come last. */
static status order_inputs(struct work *w) {
    const struct gptq *t = w->task;
    struct ranked *ranked = NULL;
    STATUS_TRY(memory_alloc("rounding", (size_t)t->k, sizeof *ranked, (void **)&ranked));
    for (int64_t i = 0; i < t->k; i++) ranked[i] = (struct ranked){t->gram[i * t->k + i], i};
    qsort(ranked, (size_t)t->rounded, sizeof *ranked, compare_ranked);
    for (int64_t i = 0; i < t->k; i++) w->order[i] = ranked[i].input;
    free(ranked);
    return SUCCESS;
}

static bool factor_with(struct work *w, double damping) {
    const struct gptq *t = w->task;
    lapack_int k = (lapack_int)t->k;
    for (int64_t i = 0; i < t->k; i++)
        for (int64_t j = i; j < t->k; j++)
            w->u[i * t->k + j] =
                t->gram[w->order[i] * t->k + w->order[j]] + (i == j && i < t->rounded ? damping : 0);
    /* The upper triangle by rows is the lower one by columns. */
    return !LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'L', k, w->u, k) &&
           !LAPACKE_dpotri(LAPACK_COL_MAJOR, 'L', k, w->u, k) &&
           !LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'L', k, w->u, k);
}

static status factor(struct work *w) {
    const struct gptq *t = w->task;
    double mean = 0, sum = 0;
    for (int64_t i = 0; i < t->k * t->k; i++) sum += t->gram[i];
    if (!isfinite(sum)) return status_fail(STATUS_DATA, "the inputs of a layer to be rounded are not finite");
    for (int64_t i = 0; i < t->rounded; i++) mean += t->gram[i * t->k + i] / (double)t->rounded;
    if (!(mean > 0)) mean = 1;
    for (double damping = DAMPING; damping < 100; damping *= 10)
        if (factor_with(w, damping * mean)) return SUCCESS;
    return status_fail(STATUS_DATA, "the inputs of a layer to be rounded have no Cholesky factor");
}

/* ---- rounding ---- */

struct piece {
    int64_t first, n; /* outputs */
    double *w;        /* (k, n) in the order of rounding: what is left of the weights */
    double *e;        /* (BLOCK, n) */
};

static double rounded(const struct work *w, int64_t input, int64_t output, double factor, double x) {
    const struct gptq *t = w->task;
    if (input >= t->rounded) return x;
    struct rounding r = t->rounding[t->group[input * t->m + output]];
    r.scale *= factor;
    return rounding_apply(&r, x);
}

/* Rounds weights [begin, end) of the order and passes their errors on among themselves. */
static void round_block(const struct work *w, const struct piece *p, int64_t begin, int64_t end,
                        double factor, double *cost) {
    int64_t k = w->task->k;
    for (int64_t i = begin; i < end; i++) {
        double *row = p->w + i * p->n, *e = p->e + (i - begin) * p->n, unit = w->u[i * k + i];
        for (int64_t j = 0; j < p->n; j++) {
            double q = rounded(w, w->order[i], p->first + j, factor, row[j]);
            e[j] = (row[j] - q) / unit;
            row[j] = q;
            cost[j] += e[j] * e[j];
        }
        for (int64_t l = i + 1; l < end; l++)
            for (int64_t j = 0; j < p->n; j++) p->w[l * p->n + j] -= e[j] * w->u[i * k + l];
    }
}

/* q (k, m): NULL if only the costs are wanted. */
static void round_piece(const struct work *w, const struct piece *p, double factor, double *cost, double *q) {
    const struct gptq *t = w->task;
    for (int64_t i = 0; i < t->k; i++)
        memcpy(p->w + i * p->n, t->w + w->order[i] * t->m + p->first, (size_t)p->n * sizeof *p->w);
    memset(cost, 0, (size_t)p->n * sizeof *cost);
    for (int64_t begin = 0; begin < t->k; begin += BLOCK) {
        int64_t end = begin + BLOCK < t->k ? begin + BLOCK : t->k;
        round_block(w, p, begin, end, factor, cost);
        if (end < t->k)
            cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)(t->k - end), (int)p->n,
                        (int)(end - begin), -1, w->u + begin * t->k + end, (int)t->k, p->e, (int)p->n, 1,
                        p->w + end * p->n, (int)p->n);
    }
    for (int64_t i = 0; i < t->k && q; i++)
        memcpy(q + w->order[i] * t->m + p->first, p->w + i * p->n, (size_t)p->n * sizeof *q);
}

/* Is a weight of the output, in w, at the end of its rounding? Then its scale can be told from the largest
 * weight. With a zero point the scale says less, and any will do. */
static bool reaches_end(const struct work *w, const struct piece *p, int64_t j, double factor) {
    const struct gptq *t = w->task;
    for (int64_t i = 0; i < t->k; i++) {
        int64_t input = w->order[i];
        if (input >= t->rounded) continue;
        const struct rounding *r = &t->rounding[t->group[input * t->m + p->first + j]];
        double end = r->highest * r->scale * factor;
        if (r->lowest != -r->highest || fabs(p->w[i * p->n + j]) >= end * (1 - 1e-9)) return true;
    }
    return false;
}

/* Squared errors of the outputs with the weights q, and without any. */
static void measure_piece(const struct work *w, const struct piece *p, const double *q, double *error) {
    const struct gptq *t = w->task;
    memset(error, 0, (size_t)p->n * sizeof *error);
    for (int64_t i = 0; i < t->k; i++)
        for (int64_t j = 0; j < p->n; j++) {
            int64_t at = i * t->m + p->first + j;
            p->w[i * p->n + j] = t->w[at] - (q ? q[at] : 0);
        }
    for (int64_t i = 0; i < t->k; i += BLOCK) {
        int64_t rows = t->k - i < BLOCK ? t->k - i : BLOCK;
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)rows, (int)p->n, (int)t->k, 1,
                    t->gram + i * t->k, (int)t->k, p->w, (int)p->n, 0, p->e, (int)p->n);
        for (int64_t l = 0; l < rows; l++)
            for (int64_t j = 0; j < p->n; j++) error[j] += p->e[l * p->n + j] * p->w[(i + l) * p->n + j];
    }
}

enum stage { STAGE_COSTS, STAGE_ROUND };

static void visit_piece(const struct work *w, const struct piece *p, enum stage stage, double *q,
                        double *base) {
    const struct gptq *t = w->task;
    if (stage == STAGE_COSTS) {
        for (int f = 0; f < FACTORS; f++) {
            round_piece(w, p, factors[f], w->cost + f * t->m + p->first, NULL);
            for (int64_t j = 0; j < p->n; j++)
                w->reaches[f * t->m + p->first + j] = reaches_end(w, p, j, factors[f]);
        }
        return;
    }
    round_piece(w, p, 1, w->cost + p->first, q);
    measure_piece(w, p, q, w->error + p->first);
    measure_piece(w, p, w->nearest, w->near_error + p->first);
    measure_piece(w, p, NULL, base + p->first);
}

/* All outputs, some at a time: how many does not depend on the number of threads. */
static status visit(const struct work *w, enum stage stage, double *q, double *base) {
    const struct gptq *t = w->task;
    int64_t npieces = (t->m + COLUMNS - 1) / COLUMNS, failed = 0;
#pragma omp parallel for num_threads(w->threads) schedule(dynamic)
    for (int64_t i = 0; i < npieces; i++) {
        struct piece p = {.first = i * COLUMNS};
        p.n = t->m - p.first < COLUMNS ? t->m - p.first : COLUMNS;
        p.w = malloc((size_t)(t->k * p.n) * sizeof *p.w);
        p.e = malloc((size_t)(BLOCK * p.n) * sizeof *p.e);
        if (p.w && p.e) visit_piece(w, &p, stage, q, base);
        else {
#pragma omp atomic
            failed++;
        }
        free(p.w);
        free(p.e);
    }
    return failed ? status_no_memory("rounding", (size_t)(t->k * COLUMNS) * sizeof(double)) : SUCCESS;
}

/* The scale of each group that costs least of those that its largest weight tells; all its outputs have the
 * same. Where there is none, *hopeless [groups] is set. */
static status narrow(const struct work *w, bool *hopeless) {
    const struct gptq *t = w->task;
    double *sum = NULL;
    bool *reaches = NULL;
    size_t all = (size_t)t->ngroups * FACTORS;
    STATUS_TRY(memory_alloc("rounding", all, sizeof *sum, (void **)&sum));
    status error = memory_alloc("rounding", all, sizeof *reaches, (void **)&reaches);
    for (int f = 0; f < FACTORS && !error; f++)
        for (int64_t j = 0; j < t->m; j++) {
            sum[t->group[j] * FACTORS + f] += w->cost[f * t->m + j];
            reaches[t->group[j] * FACTORS + f] |= w->reaches[f * t->m + j];
        }
    for (int g = 0; g < t->ngroups && !error; g++) {
        int best = -1;
        for (int f = 0, at = g * FACTORS; f < FACTORS; f++)
            if (reaches[at + f] && (best < 0 || sum[at + f] < sum[at + best])) best = f;
        hopeless[g] = best < 0;
        if (best >= 0) t->rounding[g].scale *= factors[best];
    }
    free(sum);
    free(reaches);
    return error;
}

/* Where the nearest values are better they are taken: for all outputs of a group whose scale was narrowed, or
 * for single ones. */
static status take_better(const struct work *w, double *q) {
    const struct gptq *t = w->task;
    double *gain = NULL;
    STATUS_TRY(memory_alloc("rounding", (size_t)(t->ngroups + t->m), sizeof *gain, (void **)&gain));
    for (int64_t j = 0; j < t->m; j++)
        gain[t->narrows ? t->group[j] : t->ngroups + j] += w->near_error[j] - w->error[j];
    for (int64_t j = 0; j < t->m; j++) {
        if (gain[t->narrows ? t->group[j] : t->ngroups + j] >= 0) continue;
        for (int64_t i = 0; i < t->k; i++) q[i * t->m + j] = w->nearest[i * t->m + j];
        w->error[j] = w->near_error[j];
    }
    free(gain);
    return SUCCESS;
}

static status round_all(struct work *w, bool *hopeless, double *q, double *base) {
    const struct gptq *t = w->task;
    if (t->narrows) {
        STATUS_TRY(visit(w, STAGE_COSTS, NULL, NULL));
        STATUS_TRY(narrow(w, hopeless));
    }
    STATUS_TRY(visit(w, STAGE_ROUND, q, base));
    for (int64_t j = 0; j < t->m; j++)
        if (hopeless[t->group[j]]) w->error[j] = INFINITY;
    return take_better(w, q);
}

static status run(struct work *w, double *q, double *base) {
    const struct gptq *t = w->task;
    bool *hopeless = NULL;
    openblas_set_num_threads(1); /* pieces are shared out over threads */
    STATUS_TRY(order_inputs(w));
    STATUS_TRY(factor(w));
    for (int64_t i = 0; i < t->k; i++)
        for (int64_t j = 0; j < t->m; j++) w->nearest[i * t->m + j] = rounded(w, i, j, 1, t->w[i * t->m + j]);
    STATUS_TRY(memory_alloc("rounding", (size_t)t->ngroups, sizeof *hopeless, (void **)&hopeless));
    status error = round_all(w, hopeless, q, base);
    free(hopeless);
    return error;
}

status gptq_round(const struct gptq *gptq, int threads, double *q, struct gptq_errors *errors) {
    struct work w = {.task = gptq, .threads = threads};
    double *base = NULL;
    *errors = (struct gptq_errors){0};
    status error = open_work(&w);
    if (!error) error = memory_alloc("rounding", (size_t)gptq->m, sizeof *base, (void **)&base);
    if (!error) error = run(&w, q, base);
    for (int64_t j = 0; j < gptq->m && !error; j++) {
        errors->nearest += w.near_error[j];
        errors->rounded += w.error[j];
        errors->base += base[j];
    }
    free(base);
    close_work(&w);
    return error;
}
