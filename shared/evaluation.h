/* Evaluates the expressions of a migration program on hyperslabs of the source, rows at a time. Not
 * collective. */
#ifndef GODWIT_SHARED_EVALUATION_H
#define GODWIT_SHARED_EVALUATION_H

#include "shared/plan.h"

/* Where an evaluation gets what is not in this folder. */
struct evaluation_sources {
    void *context;
    /* Rows [first, first + n) of a source tensor, seen as rows of its last axis. */
    status (*read)(void *context, int layer, int weight, int64_t first, int64_t n, float *out);
    /* Singular value decomposition of a (m, n), row-major, which is overwritten: u (m, k), s [k] descending,
     * vt (k, n) with k = min(m, n); zeros if a has no values. */
    status (*svd)(void *context, int64_t m, int64_t n, double *a, double *u, double *s, double *vt);
};

struct evaluation;

/* `plan` and what `sources` points to are borrowed; all keep lists of the plan must have been chosen. */
status evaluation_create(const struct plan *plan, const struct evaluation_sources *sources,
                         struct evaluation **evaluation) STATUS_MUST_USE;
void evaluation_destroy(struct evaluation **evaluation);

/* Rows [first, first + n) of the value of `expr`, seen as rows of its last axis. Reads just the source rows
 * that these need; of transforms that need all of their argument to give a row, all. `out`: n * columns
 * floats. */
status evaluation_rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                       float *out) STATUS_MUST_USE;

/* From now on the value of this expression is `values`, all of it, borrowed; of one expression at a time,
 * NULL: of none. */
void evaluation_replace(struct evaluation *evaluation, const struct expr *expr, const float *values);

/* ---- for transforms ---- */

const struct plan *evaluation_plan(const struct evaluation *evaluation);
const struct evaluation_sources *evaluation_sources(const struct evaluation *evaluation);

/* `count` doubles that belong to an expression, computed by `fill` at first use and kept until
 * evaluation_forget(); or that belong to `owner`, if not NULL, and are kept to the end. Borrowed. */
status evaluation_keep(struct evaluation *evaluation, const struct expr *expr, const void *owner,
                       int64_t count,
                       status (*fill)(struct evaluation *evaluation, const struct expr *expr, double *values),
                       const double **values) STATUS_MUST_USE;

/* Likewise, for what several statements need that follow one another: what `fill` computed for an
 * expression equal to `like` last is used again. One such is kept at a time. */
status evaluation_reuse(struct evaluation *evaluation, const struct expr *like, int64_t count,
                        status (*fill)(struct evaluation *evaluation, const struct expr *like,
                                       double *values),
                        const double **values) STATUS_MUST_USE;

/* The whole value of an expression, kept likewise; borrowed. */
status evaluation_whole(struct evaluation *evaluation, const struct expr *expr,
                        const float **values) STATUS_MUST_USE;

/* Frees what was kept: after each statement, so that no more than one statement's tensors are in memory. */
void evaluation_forget(struct evaluation *evaluation);

/* Calls `visit` with all rows of an expression's value, in order, some at a time. */
status evaluation_each(struct evaluation *evaluation, const struct expr *expr,
                       void (*visit)(void *context, int64_t first, int64_t n, const float *rows),
                       void *context) STATUS_MUST_USE;

#endif
