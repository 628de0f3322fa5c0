#include "shared/transform.h"

#include <stdlib.h>
#include <string.h>

#define PIECE_VALUES ((int64_t)1 << 16) /* of values that are only looked at */

struct kept {
    const void *owner;
    bool lasting;
    double *numbers;
    float *whole;
    struct kept *next;
};

struct evaluation {
    const struct plan *plan;
    struct evaluation_sources sources;
    struct kept *kept;
    const struct expr *like; /* whose numbers are used again */
    status (*filled)(struct evaluation *evaluation, const struct expr *like, double *values); /* by this */
    double *reused;
    const struct expr *replaced;
    const float *replacement;
};

status evaluation_create(const struct plan *plan, const struct evaluation_sources *sources,
                         struct evaluation **evaluation) {
    struct evaluation *e = calloc(1, sizeof *e);
    if (!e) return status_no_memory("an evaluation", sizeof *e);
    e->plan = plan;
    e->sources = *sources;
    *evaluation = e;
    return SUCCESS;
}

const struct plan *evaluation_plan(const struct evaluation *evaluation) {
    return evaluation->plan;
}

const struct evaluation_sources *evaluation_sources(const struct evaluation *evaluation) {
    return &evaluation->sources;
}

status evaluation_rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                       float *out) {
    if (n <= 0) return SUCCESS;
    if (expr != evaluation->replaced) return expr->transform->rows(evaluation, expr, first, n, out);
    int64_t rows, columns;
    shape_rows(&expr->shape, &rows, &columns);
    memcpy(out, evaluation->replacement + first * columns, (size_t)(n * columns) * sizeof *out);
    return SUCCESS;
}

void evaluation_replace(struct evaluation *evaluation, const struct expr *expr, const float *values) {
    evaluation->replaced = expr;
    evaluation->replacement = values;
}

/* ---- what is kept ---- */

static void forget(struct evaluation *evaluation, bool all) {
    struct kept **place = &evaluation->kept;
    while (*place) {
        struct kept *k = *place;
        if (k->lasting && !all) {
            place = &k->next;
            continue;
        }
        *place = k->next;
        free(k->numbers);
        free(k->whole);
        free(k);
    }
}

void evaluation_forget(struct evaluation *evaluation) {
    forget(evaluation, false);
}

void evaluation_destroy(struct evaluation **evaluation) {
    if (!*evaluation) return;
    forget(*evaluation, true);
    free((*evaluation)->reused);
    free(*evaluation);
    *evaluation = NULL;
}

static status find(struct evaluation *evaluation, const void *owner, bool lasting, struct kept **kept) {
    struct kept *k = evaluation->kept;
    while (k && k->owner != owner) k = k->next;
    if (!k) {
        k = calloc(1, sizeof *k);
        if (!k) return status_no_memory("an evaluation", sizeof *k);
        k->owner = owner;
        k->lasting = lasting;
        k->next = evaluation->kept;
        evaluation->kept = k;
    }
    *kept = k;
    return SUCCESS;
}

status evaluation_keep(struct evaluation *evaluation, const struct expr *expr, const void *owner,
                       int64_t count,
                       status (*fill)(struct evaluation *evaluation, const struct expr *expr, double *values),
                       const double **values) {
    struct kept *k = NULL;
    double *numbers = NULL;
    STATUS_TRY(find(evaluation, owner ? owner : expr, owner != NULL, &k));
    if (!k->numbers) {
        STATUS_TRY(memory_alloc("numbers of a transform", (size_t)count, sizeof *numbers, (void **)&numbers));
        status error = fill(evaluation, expr, numbers);
        if (error) {
            free(numbers);
            return error;
        }
        k->numbers = numbers;
    }
    *values = k->numbers;
    return SUCCESS;
}

status evaluation_reuse(struct evaluation *evaluation, const struct expr *like, int64_t count,
                        status (*fill)(struct evaluation *evaluation, const struct expr *like,
                                       double *values),
                        const double **values) {
    if (!evaluation->like || evaluation->filled != fill || !expr_equal(evaluation->like, like)) {
        free(evaluation->reused);
        evaluation->reused = NULL;
        evaluation->like = NULL;
        STATUS_TRY(memory_alloc("numbers of a transform", (size_t)count, sizeof *evaluation->reused,
                                (void **)&evaluation->reused));
        STATUS_TRY(fill(evaluation, like, evaluation->reused));
        evaluation->like = like;
        evaluation->filled = fill;
    }
    *values = evaluation->reused;
    return SUCCESS;
}

status evaluation_whole(struct evaluation *evaluation, const struct expr *expr, const float **values) {
    struct kept *k = NULL;
    float *whole = NULL;
    STATUS_TRY(find(evaluation, expr, false, &k));
    if (!k->whole) {
        int64_t rows, columns;
        shape_rows(&expr->shape, &rows, &columns);
        STATUS_TRY(memory_alloc("a tensor", (size_t)(rows * columns), sizeof *whole, (void **)&whole));
        status error = evaluation_rows(evaluation, expr, 0, rows, whole);
        if (error) {
            free(whole);
            return error;
        }
        k->whole = whole;
    }
    *values = k->whole;
    return SUCCESS;
}

status evaluation_each(struct evaluation *evaluation, const struct expr *expr,
                       void (*visit)(void *context, int64_t first, int64_t n, const float *rows),
                       void *context) {
    int64_t rows, columns;
    float *piece = NULL;
    status error = SUCCESS;
    shape_rows(&expr->shape, &rows, &columns);
    int64_t step = columns < PIECE_VALUES ? PIECE_VALUES / (columns ? columns : 1) : 1;
    STATUS_TRY(memory_alloc("a piece of a tensor", (size_t)(step * columns), sizeof *piece, (void **)&piece));
    for (int64_t first = 0; first < rows && !error; first += step) {
        int64_t n = rows - first < step ? rows - first : step;
        error = evaluation_rows(evaluation, expr, first, n, piece);
        if (!error) visit(context, first, n, piece);
    }
    free(piece);
    return error;
}
