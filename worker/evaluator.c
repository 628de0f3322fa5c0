#include "worker/evaluator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A batch norm of the source as y = x * scale + shift, and the mean it takes off first. */
struct norm {
    int64_t n;
    double *scale, *beta, *mean; /* [n]; NULL until used */
};

struct evaluator {
    struct keras_file *file;
    const struct plan *plan;
    struct norm *norm; /* [source layers] */
};

status evaluator_create(struct keras_file *file, const struct plan *plan, struct evaluator **evaluator) {
    struct evaluator *e = calloc(1, sizeof *e);
    if (!e) return status_no_memory("the evaluator", sizeof *e);
    e->file = file;
    e->plan = plan;
    e->norm = calloc((size_t)plan->source->nlayers + 1, sizeof *e->norm);
    if (!e->norm) {
        free(e);
        return status_no_memory("the evaluator", (size_t)plan->source->nlayers * sizeof *e->norm);
    }
    *evaluator = e;
    return SUCCESS;
}

void evaluator_destroy(struct evaluator **evaluator) {
    if (!*evaluator) return;
    for (int i = 0; i < (*evaluator)->plan->source->nlayers; i++) {
        free((*evaluator)->norm[i].scale);
        free((*evaluator)->norm[i].beta);
        free((*evaluator)->norm[i].mean);
    }
    free((*evaluator)->norm);
    free(*evaluator);
    *evaluator = NULL;
}

/* Reads the weight called `name` of a batch norm into v[n], or fills in `absent`. */
static status read_vector(struct evaluator *e, int layer, const char *name, double absent, int64_t n,
                          float *row, double *v) {
    const struct layer *l = &e->plan->source->layer[layer];
    for (int64_t i = 0; i < n; i++) v[i] = absent;
    for (int w = 0; w < l->nweights; w++) {
        if (strcmp(l->weight[w].name, name)) continue;
        STATUS_TRY(keras_read_rows(e->file, layer, w, 0, 1, row));
        for (int64_t i = 0; i < n; i++) v[i] = row[i];
    }
    return SUCCESS;
}

static status load_norm(struct evaluator *e, int layer, const struct norm **norm) {
    struct norm *m = &e->norm[layer];
    *norm = m;
    if (m->mean) return SUCCESS;
    const struct layer *l = &e->plan->source->layer[layer];
    int64_t n = l->weight[0].shape.dim[0];
    double epsilon = layer_float(l, "epsilon");
    double *variance = NULL, *mean = NULL;
    float *row = NULL;
    status error = memory_alloc("a batch norm", (size_t)n, sizeof *row, (void **)&row);
    if (!error) error = memory_alloc("a batch norm", (size_t)n, sizeof *variance, (void **)&variance);
    if (!error) error = memory_alloc("a batch norm", (size_t)n, sizeof *mean, (void **)&mean);
    if (!error && !m->scale)
        error = memory_alloc("a batch norm", (size_t)n, sizeof *m->scale, (void **)&m->scale);
    if (!error && !m->beta)
        error = memory_alloc("a batch norm", (size_t)n, sizeof *m->beta, (void **)&m->beta);
    if (!error) error = read_vector(e, layer, "gamma", 1, n, row, m->scale);
    if (!error) error = read_vector(e, layer, "beta", 0, n, row, m->beta);
    if (!error) error = read_vector(e, layer, "moving_variance", 1, n, row, variance);
    if (!error) error = read_vector(e, layer, "moving_mean", 0, n, row, mean);
    for (int64_t i = 0; !error && i < n; i++) {
        if (variance[i] + epsilon <= 0)
            error = status_fail(STATUS_DATA, "the variance of \"%s\" is negative in channel %lld", l->name,
                                (long long)i);
        else m->scale[i] /= sqrt(variance[i] + epsilon);
    }
    free(row);
    free(variance);
    if (error) {
        free(mean);
        return error;
    }
    m->n = n;
    m->mean = mean;
    return SUCCESS;
}

/* Index along `axis` of row `row` of a tensor seen as rows of its last axis. */
static int64_t row_index(const struct shape *shape, int64_t row, int axis) {
    for (int i = shape->rank - 2; i > axis; i--) row /= shape->dim[i];
    return row % shape->dim[axis];
}

static status fold_kernel(struct evaluator *e, const struct expr *x, int64_t first, int64_t n, float *out) {
    const struct norm *m;
    int64_t rows, columns;
    STATUS_TRY(evaluator_rows(e, x->arg, first, n, out));
    STATUS_TRY(load_norm(e, x->layer, &m));
    shape_rows(&x->shape, &rows, &columns);
    bool by_row = x->out_axis >= 0 && x->out_axis < x->shape.rank - 1;
    for (int64_t r = 0; r < n; r++) {
        int64_t channel =
            by_row ? row_index(&x->shape, first + r, x->out_axis) : (first + r) * columns % m->n;
        const double *scale = m->scale + channel;
        for (int64_t c = 0; c < columns; c++)
            out[r * columns + c] = (float)(out[r * columns + c] * scale[by_row ? 0 : c]);
    }
    return SUCCESS;
}

static status fold_bias(struct evaluator *e, const struct expr *x, int64_t first, int64_t n, float *out) {
    const struct norm *m;
    STATUS_TRY(evaluator_rows(e, x->arg, first, n, out));
    STATUS_TRY(load_norm(e, x->layer, &m));
    for (int64_t c = 0; c < x->shape.dim[0]; c++)
        out[c] = (float)(m->beta[c] + (out[c] - m->mean[c]) * m->scale[c]);
    return SUCCESS;
}

/* The row of the argument that row `row` of an indexed value comes from. */
static int64_t source_row(const struct evaluator *e, const struct expr *x, int64_t row) {
    const struct shape *to = &x->shape, *from = &x->arg->shape;
    int64_t result = 0, stride = 1;
    for (int i = to->rank - 2; i >= 0; i--) {
        int64_t at = row % to->dim[i];
        row /= to->dim[i];
        if (x->keep[i] >= 0) at = e->plan->keep[x->keep[i]].index[at];
        result += at * stride;
        stride *= from->dim[i];
    }
    return result;
}

static status index_rows(struct evaluator *e, const struct expr *x, int64_t first, int64_t n, float *out) {
    int64_t rows, columns, from_rows, from_columns;
    shape_rows(&x->shape, &rows, &columns);
    shape_rows(&x->arg->shape, &from_rows, &from_columns);
    int last = x->keep[x->shape.rank - 1];
    const int64_t *column = last >= 0 ? e->plan->keep[last].index : NULL;
    float *run = NULL;
    STATUS_TRY(memory_alloc("a chunk", (size_t)(n * from_columns), sizeof *run, (void **)&run));
    status error = SUCCESS;
    for (int64_t r = 0; r < n && !error;) {
        int64_t from = source_row(e, x, first + r), length = 1;
        while (r + length < n && source_row(e, x, first + r + length) == from + length) length++;
        error = evaluator_rows(e, x->arg, from, length, run);
        for (int64_t i = 0; i < length && !error; i++) {
            float *to = out + (r + i) * columns;
            const float *row = run + i * from_columns;
            for (int64_t c = 0; c < columns; c++) to[c] = row[column ? column[c] : c];
        }
        r += length;
    }
    free(run);
    return error;
}

status evaluator_rows(struct evaluator *e, const struct expr *x, int64_t first, int64_t n, float *out) {
    int64_t rows, columns;
    switch (x->kind) {
    case EXPR_SOURCE:
        return keras_read_rows(e->file, x->layer, x->weight, first, n, out);
    case EXPR_ZEROS:
        shape_rows(&x->shape, &rows, &columns);
        memset(out, 0, (size_t)(n * columns) * sizeof *out);
        return SUCCESS;
    case EXPR_INDEX:
        return index_rows(e, x, first, n, out);
    case EXPR_FOLD_BN:
        return fold_kernel(e, x, first, n, out);
    case EXPR_FOLD_BN_BIAS:
        return fold_bias(e, x, first, n, out);
    case EXPR_REFIT:
        return evaluator_rows(e, x->arg, first, n, out);
    }
    return status_fail(STATUS_INTERNAL, "an unknown expression in the plan");
}
