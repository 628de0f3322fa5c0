#include "worker/separable.h"

#include "worker/grid.h"
#include "worker/normal.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 8192 /* of the Gram matrix */
#define RIDGE 1e-4       /* where none is given */
#define TURNS 30         /* of all channels */
#define ENOUGH 1e-4      /* less than this part of the error is gained in a turn: the end */

/* Window, channels, multiplier, outputs; columns = window * channels. */
struct sizes {
    int64_t t, c, d, m, k;
};

struct separable {
    const struct machine *machine;
    const struct fit_data *data;
    struct patches patches;
    struct sizes n;
    bool bias;
    double power, grid; /* sum of squares of the outputs; on which it is exact */
    double *g, *h;      /* (k, k) and (k, m): products of patches, centred if there is a bias */
    double *w;          /* (k, m): the plain kernel that the two make */
    double *left;       /* (k, m) of one channel's window: what the others leave */
    double *root;       /* (t, t): Cholesky factor of the channel's part of g */
    double *square;     /* (t, t) */
    double *value;      /* [t] */
    double *first;      /* (c, t, d): the kernels, channel by channel */
    double *second;     /* (c, d, m) */
    double penalty;
};

bool separable_fits(const struct opgraph *graph, const struct op *depthwise) {
    struct patches patches = {0};
    status error = patches_init(graph, depthwise, &patches);
    bool fits = !error && patches.columns < COLUMNS_MAX;
    status_drop(&error);
    return fits;
}

static void separable_close(struct separable *s) {
    double *const part[] = {s->g, s->h, s->w, s->left, s->root, s->square, s->value, s->first, s->second};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) free(part[i]);
}

static status separable_open(struct separable *s) {
    const struct sizes *n = &s->n;
    const struct {
        double **place;
        int64_t count;
    } parts[] = {{&s->g, n->k * n->k},    {&s->h, n->k * n->m},     {&s->w, n->k * n->m},
                 {&s->left, n->t * n->m}, {&s->root, n->t * n->t},  {&s->square, n->t * n->t},
                 {&s->value, n->t},       {&s->first, n->k * n->d}, {&s->second, n->c * n->d * n->m}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        STATUS_TRY(
            memory_alloc("a separable fit", (size_t)parts[i].count, sizeof(double), (void **)parts[i].place));
    return SUCCESS;
}

/* ---- sums ---- */

static void gather_outputs(const struct separable *s, int64_t first, int64_t rows, float *y) {
    const struct fit_call *call = s->data->call;
    for (int64_t r = 0; r < rows; r++) {
        const float *from = call->y + patches_position(&s->patches, first + r) * call->width;
        for (int64_t j = 0; j < s->n.m; j++)
            y[r * s->n.m + j] = from[s->data->column ? s->data->column[j] : j];
    }
}

/* Grids on which the sums are exact. */
static status bound_sums(struct separable *s, struct normal *normal) {
    const struct fit_call *call = s->data->call;
    const struct shape *out = &s->patches.out;
    int64_t positions = shape_sample_count(out) / out->dim[out->rank - 1];
    double largest[2] = {1, 0}, rows = (double)(s->patches.rows * s->data->total);
    for (int64_t i = 0; i < s->data->n * shape_sample_count(&s->patches.in); i++)
        if (fabsf(call->x[i]) > largest[0]) largest[0] = fabsf(call->x[i]);
    for (int64_t i = 0; i < s->data->n * positions * call->width; i++)
        if (fabsf(call->y[i]) > largest[1]) largest[1] = fabsf(call->y[i]);
    STATUS_TRY(comm_max_f64(s->machine->world, largest, 2));
    normal->grid_g = grid_for(rows * largest[0] * largest[0]);
    normal->grid_h = grid_for(rows * largest[0] * largest[1]);
    s->grid = grid_for(rows * (double)s->n.m * largest[1] * largest[1]);
    return SUCCESS;
}

/* Products of patches [u; 1], of them and the outputs; of blocks that are not held out. */
static status sum_products(struct separable *s, struct normal *normal) {
    const struct fit_data *d = s->data;
    int64_t stride = s->n.k + 1, rows = s->patches.rows;
    float *u = NULL, *y = NULL;
    double power = 0;
    status error = memory_alloc("patches", (size_t)(NORMAL_ROWS * stride), sizeof *u, (void **)&u);
    if (!error) error = memory_alloc("outputs", (size_t)(NORMAL_ROWS * s->n.m), sizeof *y, (void **)&y);
    for (int64_t block = 0; block * d->block < d->n && !error; block++) {
        int64_t samples = d->n - block * d->block < d->block ? d->n - block * d->block : d->block;
        int64_t begin = block * d->block * rows, end = begin + samples * rows;
        if (block_held(d->first + block, d->held)) continue;
        comm_alive(s->machine->world);
        for (int64_t first = begin; first < end; first += NORMAL_ROWS) {
            int64_t n = end - first < NORMAL_ROWS ? end - first : NORMAL_ROWS;
            patches_gather(&s->patches, d->call->x, first, n, stride, s->machine->threads, u);
            gather_outputs(s, first, n, y);
            normal_add_gram(normal, n, u, s->machine->threads);
            normal_add_cross(normal, n, u, y, s->machine->threads);
            for (int64_t i = 0; i < n * s->n.m; i++) power += grid_round(s->grid, (double)y[i] * y[i]);
        }
    }
    free(u);
    free(y);
    STATUS_TRY(comm_agree(s->machine->world, error));
    STATUS_TRY(comm_sum_f64(s->machine->world, &power, 1));
    s->power = power;
    STATUS_TRY(normal_sum_gram(normal, s->machine->world));
    return normal_sum_cross(normal, s->machine->world);
}

/* What there is when each column's mean is taken away: the bias gives it back. */
static void take_sums(struct separable *s, const struct normal *normal) {
    int64_t k = s->n.k, m = s->n.m, stride = k + 1;
    double count = normal->g[stride * stride - 1];
    const double *sum = normal->g + k, *outputs = normal->h + k * m; /* of column i: sum[i * stride] */
    bool centred = s->bias && count > 0;
    for (int64_t i = 0; i < k; i++) {
        double mean = centred ? sum[i * stride] / count : 0;
        for (int64_t j = 0; j < k; j++) s->g[i * k + j] = normal->g[i * stride + j] - mean * sum[j * stride];
        for (int64_t j = 0; j < m; j++) s->h[i * m + j] = normal->h[i * m + j] - mean * outputs[j];
    }
    for (int64_t j = 0; j < m && centred; j++) s->power -= outputs[j] * outputs[j] / count;
}

/* ---- the fit ---- */

/* Row of the window's position t of channel c. */
static int64_t row_of(const struct separable *s, int64_t t, int64_t c) {
    return t * s->n.c + c;
}

static void put_together(struct separable *s, const float *depthwise, const float *pointwise) {
    const struct sizes *n = &s->n;
    memset(s->w, 0, (size_t)(n->k * n->m) * sizeof *s->w);
    for (int64_t row = 0; row < n->k; row++)
        for (int64_t d = 0; d < n->d; d++)
            for (int64_t j = 0; j < n->m; j++)
                s->w[row * n->m + j] +=
                    (double)depthwise[row * n->d + d] * pointwise[(row % n->c * n->d + d) * n->m + j];
}

/* |y|² - 2 tr(Wᵀh) + tr(Wᵀ g W), of |y|². */
static status error_of(const struct separable *s, double *error) {
    const struct sizes *n = &s->n;
    double *gw = NULL, sum = s->power;
    STATUS_TRY(memory_alloc("a separable fit", (size_t)(n->k * n->m), sizeof *gw, (void **)&gw));
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)n->k, (int)n->m, (int)n->k, 1, s->g,
                (int)n->k, s->w, (int)n->m, 0, gw, (int)n->m);
    for (int64_t i = 0; i < n->k * n->m; i++) sum += s->w[i] * (gw[i] - 2 * s->h[i]);
    free(gw);
    *error = s->power > 0 ? (sum > 0 ? sum / s->power : 0) : 0;
    return SUCCESS;
}

/* What the other channels leave to channel c: left (t, m) = h_c - g_c W + g_cc W_c. */
static void find_left(struct separable *s, int64_t c) {
    const struct sizes *n = &s->n;
    for (int64_t t = 0; t < n->t; t++) {
        int64_t row = row_of(s, t, c);
        memcpy(s->left + t * n->m, s->h + row * n->m, (size_t)n->m * sizeof *s->left);
        cblas_dgemv(CblasRowMajor, CblasTrans, (int)n->k, (int)n->m, -1, s->w, (int)n->m, s->g + row * n->k,
                    1, 1, s->left + t * n->m, 1);
        for (int64_t v = 0; v < n->t; v++)
            cblas_daxpy((int)n->m, s->g[row * n->k + row_of(s, v, c)], s->w + row_of(s, v, c) * n->m, 1,
                        s->left + t * n->m, 1);
    }
}

static status not_finite(void) {
    return status_fail(STATUS_DATA,
                       "the activations are not finite; are there NaNs in the model or the data?");
}

/* Channel c's window and outputs, best for what the others leave: with g_cc = L Lᵀ, the largest left singular
 * vectors U of L⁻¹ left give the kernels L⁻ᵀ U and Uᵀ L⁻¹ left. */
static status fit_channel(struct separable *s, int64_t c) {
    const struct sizes *n = &s->n;
    int t = (int)n->t, m = (int)n->m, d = (int)n->d;
    double *first = s->first + c * n->t * n->d, *second = s->second + c * n->d * n->m;
    find_left(s, c);
    for (int64_t i = 0; i < n->t; i++)
        for (int64_t j = 0; j < n->t; j++)
            s->root[i * n->t + j] = s->g[row_of(s, i, c) * n->k + row_of(s, j, c)] + (i == j) * s->penalty;
    if (LAPACKE_dpotrf(LAPACK_ROW_MAJOR, 'L', t, s->root, t) != 0) return not_finite();
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, t, m, 1, s->root, t,
                s->left, m);
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasNoTrans, t, m, 1, s->left, m, 0, s->square, t);
    if (LAPACKE_dsyev(LAPACK_ROW_MAJOR, 'V', 'U', t, s->square, t, s->value) != 0) return not_finite();
    for (int64_t i = 0; i < n->t; i++) /* ascending: the last ones are the largest */
        for (int64_t j = 0; j < n->d; j++) first[i * n->d + j] = s->square[i * n->t + n->t - 1 - j];
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, d, m, t, 1, first, d, s->left, m, 0, second, m);
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, t, d, 1, s->root, t, first,
                d);
    for (int64_t v = 0; v < n->t; v++)
        cblas_dgemv(CblasRowMajor, CblasTrans, d, m, 1, second, m, first + v * n->d, 1, 0,
                    s->w + row_of(s, v, c) * n->m, 1);
    return SUCCESS;
}

/* The two kernels of a channel share the size of their product. */
static void store(const struct separable *s, float *depthwise, float *pointwise) {
    const struct sizes *n = &s->n;
    for (int64_t i = 0; i < n->c * n->d; i++) {
        const double *first = s->first + i / n->d * n->t * n->d + i % n->d, *second = s->second + i * n->m;
        double a = cblas_dnrm2((int)n->t, first, (int)n->d), b = cblas_dnrm2((int)n->m, second, 1);
        double scale = a > 0 && b > 0 ? sqrt(b / a) : 1;
        for (int64_t t = 0; t < n->t; t++)
            depthwise[row_of(s, t, i / n->d) * n->d + i % n->d] = (float)(first[t * n->d] * scale);
        for (int64_t j = 0; j < n->m; j++) pointwise[i * n->m + j] = (float)(second[j] / scale);
    }
}

static status take_turns(struct separable *s, double *error) {
    double past = *error;
    for (int turn = 0; turn < TURNS; turn++) {
        for (int64_t c = 0; c < s->n.c; c++) STATUS_TRY(fit_channel(s, c));
        STATUS_TRY(error_of(s, error));
        if (!(past - *error > ENOUGH * past)) break;
        past = *error;
    }
    return SUCCESS;
}

static status run_fit(struct separable *s, const struct fit_options *options, float *depthwise,
                      float *pointwise, struct fit_result *result) {
    double diagonal = 0;
    for (int64_t i = 0; i < s->n.k; i++) diagonal += s->g[i * s->n.k + i];
    if (!isfinite(diagonal + s->power)) return not_finite();
    result->ridge = options->ridge > 0 ? options->ridge : RIDGE;
    s->penalty = result->ridge * diagonal / (double)s->n.k;
    put_together(s, depthwise, pointwise);
    STATUS_TRY(error_of(s, &result->before));
    result->after = result->before;
    if (s->penalty > 0) STATUS_TRY(take_turns(s, &result->after)); /* else nothing comes in */
    result->kept = !(result->after < result->before);
    if (result->kept) result->after = result->before;
    else store(s, depthwise, pointwise);
    return SUCCESS;
}

status separable_fit(const struct machine *machine, const struct opgraph *graph, const struct fit_data *data,
                     int64_t m, bool bias, const struct fit_options *options, float *depthwise,
                     float *pointwise, struct fit_result *result) {
    struct separable s = {.machine = machine, .data = data, .bias = bias};
    struct normal *normal = NULL;
    status error = patches_init(graph, data->call->op, &s.patches);
    if (!error && options->rows) patches_thin(&s.patches, data->total, options->rows);
    s.n = (struct sizes){
        .t = s.patches.inputs, .c = s.patches.groups, .d = s.patches.outputs, .m = m, .k = s.patches.columns};
    if (!error) error = normal_create(s.n.k + 1, m, &normal);
    if (!error) error = separable_open(&s);
    error = comm_agree(machine->world, error);
    if (!error) error = bound_sums(&s, normal);
    if (!error) error = sum_products(&s, normal);
    if (!error) {
        if (comm_is_root(machine->world)) {
            take_sums(&s, normal);
            error = run_fit(&s, options, depthwise, pointwise, result);
        }
        error = comm_agree(machine->world, error);
    }
    normal_destroy(&normal);
    if (!error) error = comm_bcast(machine->world, 0, result, sizeof *result);
    if (!error) error = comm_bcast(machine->world, 0, depthwise, (size_t)(s.n.k * s.n.d) * sizeof *depthwise);
    if (!error)
        error = comm_bcast(machine->world, 0, pointwise, (size_t)(s.n.c * s.n.d * m) * sizeof *pointwise);
    separable_close(&s);
    return error;
}
