#include "worker/fit.h"
#include "worker/normal.h"
#include "worker/matmul.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct fit {
    const struct machine *machine;
    const struct fit_data *data;
    const struct fit_options *options;
    struct patches patches;
    int64_t groups;         /* independent fits: 1, or the channels of a depthwise operation */
    int64_t inputs, k, m;   /* of a group: entries of a row without and with the bias; outputs */
    struct normal **normal; /* [groups] */
    double *w, *start;      /* (groups, k, m) solution and start */
    double *from;           /* (k, m) of one group: the start, seen from the weights of the last pass */
    float *wf;              /* (groups, k, m) solution as used for predictions */
    float *u, *gu;          /* (NORMAL_ROWS, all inputs + bias), (NORMAL_ROWS, k) of one group */
    float *y, *p;           /* (NORMAL_ROWS, m) wanted and predicted outputs of one group */
    double *penalty;        /* [groups] that the factors were made with */
    double error, base;     /* sums of the last pass */
};

static void fit_close(struct fit *f) {
    for (int64_t g = 0; f->normal && g < f->groups; g++) normal_destroy(&f->normal[g]);
    free(f->normal);
    free(f->penalty);
    free(f->w);
    free(f->start);
    free(f->from);
    free(f->wf);
    free(f->u);
    free(f->gu);
    free(f->y);
    free(f->p);
}

static status fit_open(struct fit *f, bool bias) {
    const struct op *op = f->patches.op;
    int64_t outputs = f->patches.out.dim[f->patches.out.rank - 1];
    f->groups = op->kind == OP_DEPTHWISE ? f->patches.in.dim[3] : 1;
    f->inputs = f->patches.columns / f->groups;
    f->k = f->inputs + bias;
    f->m = outputs / f->groups;
    size_t all = (size_t)(f->groups * f->k * f->m), rows = NORMAL_ROWS;
    STATUS_TRY(memory_alloc("a fit", (size_t)f->groups, sizeof *f->normal, (void **)&f->normal));
    for (int64_t g = 0; g < f->groups; g++) STATUS_TRY(normal_create(f->k, f->m, &f->normal[g]));
    STATUS_TRY(memory_alloc("a fit", (size_t)f->groups, sizeof *f->penalty, (void **)&f->penalty));
    STATUS_TRY(memory_alloc("a fit", all, sizeof *f->w, (void **)&f->w));
    STATUS_TRY(memory_alloc("a fit", all, sizeof *f->start, (void **)&f->start));
    STATUS_TRY(memory_alloc("a fit", (size_t)(f->k * f->m), sizeof *f->from, (void **)&f->from));
    STATUS_TRY(memory_alloc("a fit", all, sizeof *f->wf, (void **)&f->wf));
    STATUS_TRY(
        memory_alloc("patches", rows * (size_t)(f->patches.columns + bias), sizeof *f->u, (void **)&f->u));
    STATUS_TRY(memory_alloc("patches", rows * (size_t)f->k, sizeof *f->gu, (void **)&f->gu));
    STATUS_TRY(memory_alloc("outputs", rows * (size_t)f->m, sizeof *f->y, (void **)&f->y));
    return memory_alloc("outputs", rows * (size_t)f->m, sizeof *f->p, (void **)&f->p);
}

/* Place of weight (i, j) of group g in the operation's own layout. */
static int64_t kernel_at(const struct fit *f, int64_t g, int64_t i, int64_t j) {
    if (f->groups == 1) return patches_weight(&f->patches, i, j);
    return (i * f->groups + g) * f->m + j;
}

static void load_start(struct fit *f, const float *kernel, const float *bias) {
    for (int64_t g = 0; g < f->groups; g++)
        for (int64_t i = 0; i < f->k; i++)
            for (int64_t j = 0; j < f->m; j++)
                f->start[(g * f->k + i) * f->m + j] =
                    i < f->inputs ? kernel[kernel_at(f, g, i, j)] : bias[g * f->m + j];
}

static void store(const struct fit *f, float *kernel, float *bias) {
    for (int64_t g = 0; g < f->groups; g++)
        for (int64_t i = 0; i < f->k; i++)
            for (int64_t j = 0; j < f->m; j++) {
                float *to = i < f->inputs ? &kernel[kernel_at(f, g, i, j)] : &bias[g * f->m + j];
                *to = (float)f->w[(g * f->k + i) * f->m + j];
            }
}

/* Entries of group g of the gathered rows. */
static const float *group_rows(const struct fit *f, int64_t g, int64_t n) {
    if (f->groups == 1) return f->u;
    int64_t stride = f->patches.columns + (f->k - f->inputs);
    for (int64_t r = 0; r < n; r++) {
        for (int64_t i = 0; i < f->inputs; i++) f->gu[r * f->k + i] = f->u[r * stride + i * f->groups + g];
        if (f->k > f->inputs) f->gu[r * f->k + f->inputs] = 1;
    }
    return f->gu;
}

static void gather_outputs(const struct fit *f, int64_t g, int64_t first, int64_t n) {
    const struct fit_data *d = f->data;
#pragma omp parallel for num_threads(f->machine->threads) schedule(static)
    for (int64_t r = 0; r < n; r++) {
        const float *row = d->y + (first + r) * d->width;
        for (int64_t j = 0; j < f->m; j++) {
            int64_t c = g * f->m + j;
            f->y[r * f->m + j] = row[d->column ? d->column[c] : c];
        }
    }
}

static inline float clamp(float v, float minimum, float maximum) {
    return v < minimum ? minimum : v > maximum ? maximum : v;
}

/* Squared error and squares of some outputs; y becomes what the predictions leave of it. Solving for the
 * correction of the present weights rounds far less than solving anew. With `replace`, dead outputs take the
 * clipped prediction first. */
static void compare_rows(const struct fit_options *o, int64_t n, bool replace, float *y, const float *p,
                         double *sum) {
    float maximum = o->relu ? o->maximum : INFINITY, minimum = o->relu ? 0 : -INFINITY, error = 0, base = 0;
#pragma omp simd reduction(+ : error, base)
    for (int64_t i = 0; i < n; i++) {
        float a = clamp(y[i], minimum, maximum), b = clamp(p[i], minimum, maximum);
        error += (a - b) * (a - b);
        base += a * a;
        float dead = p[i] < 0 ? p[i] : 0, full = p[i] > maximum ? p[i] : maximum;
        float wanted = y[i] <= 0 ? dead : y[i] >= maximum ? full : y[i];
        y[i] = (replace ? wanted : y[i]) - p[i];
    }
    sum[0] = error;
    sum[1] = base;
}

static void compare_outputs(struct fit *f, int64_t n, bool replace) {
    enum { ROWS = 64 };
    double sum[NORMAL_ROWS / ROWS][2];
#pragma omp parallel for num_threads(f->machine->threads) schedule(static)
    for (int64_t first = 0; first < n; first += ROWS) {
        int64_t rows = n - first < ROWS ? n - first : ROWS;
        compare_rows(f->options, rows * f->m, replace, f->y + first * f->m, f->p + first * f->m,
                     sum[first / ROWS]);
    }
    for (int64_t i = 0; i * ROWS < n; i++) {
        f->error += sum[i][0];
        f->base += sum[i][1];
    }
}

enum pass {
    PASS_FIRST /* G and H of the plain fit, error of the start */,
    PASS_ROUND /* H again */,
    PASS_LAST /* error */
};

static void add_run(struct fit *f, int64_t first, int64_t n, enum pass pass) {
    int threads = f->machine->threads;
    int64_t stride = f->patches.columns + (f->k - f->inputs);
    patches_gather(&f->patches, f->data->x, first, n, stride, threads, f->u);
    for (int64_t g = 0; g < f->groups; g++) {
        const float *u = group_rows(f, g, n), *w = f->wf + g * f->k * f->m;
        gather_outputs(f, g, first, n);
        matmul(n, f->m, f->k, u, w, f->p, threads);
        compare_outputs(f, n, pass == PASS_ROUND);
        if (pass == PASS_FIRST) normal_add_gram(f->normal[g], n, u, threads);
        if (pass != PASS_LAST) normal_add_cross(f->normal[g], n, u, f->y, threads);
    }
}

/* Walks over all samples with the weights w, and sums over the ranks. */
static status run_pass(struct fit *f, const double *w, enum pass pass) {
    const struct comm *world = f->machine->world;
    int64_t rows = f->patches.rows;
    for (int64_t i = 0; i < f->groups * f->k * f->m; i++) f->wf[i] = (float)w[i];
    for (int64_t g = 0; g < f->groups; g++) normal_clear_cross(f->normal[g]);
    f->error = f->base = 0;
    for (int64_t block = 0; block < f->data->n; block += f->data->block) {
        int64_t end = block + f->data->block < f->data->n ? block + f->data->block : f->data->n;
        for (int64_t first = block * rows; first < end * rows; first += NORMAL_ROWS)
            add_run(f, first, end * rows - first < NORMAL_ROWS ? end * rows - first : NORMAL_ROWS, pass);
    }
    for (int64_t g = 0; g < f->groups; g++) {
        if (pass == PASS_FIRST) STATUS_TRY(normal_sum_gram(f->normal[g], world));
        if (pass != PASS_LAST) STATUS_TRY(normal_sum_cross(f->normal[g], world));
    }
    double sum[2] = {f->error, f->base};
    STATUS_TRY(comm_sum_f64(world, sum, 2));
    f->error = sum[0];
    f->base = sum[1];
    return SUCCESS;
}

/* Rank 0 solves, everybody gets its bytes. The factor is made at the first solution. */
static status solve(struct fit *f, bool factor) {
    const struct comm *world = f->machine->world;
    status error = SUCCESS;
    for (int64_t g = 0; g < f->groups && comm_is_root(world) && !error; g++) {
        int64_t at = g * f->k * f->m;
        if (factor) error = normal_factor(f->normal[g], f->inputs, f->options->ridge, &f->penalty[g]);
        for (int64_t i = 0; i < f->k * f->m; i++) f->from[i] = f->start[at + i] - f->wf[at + i];
        if (!error) error = normal_solve(f->normal[g], f->inputs, f->penalty[g], f->from, f->w + at);
        for (int64_t i = 0; i < f->k * f->m; i++) f->w[at + i] += f->wf[at + i];
    }
    STATUS_TRY(comm_agree(world, error));
    return comm_bcast(world, 0, f->w, (size_t)(f->groups * f->k * f->m) * sizeof *f->w);
}

static double ratio(const struct fit *f) {
    return f->base > 0 ? f->error / f->base : 0;
}

status fit_operation(const struct machine *machine, const struct opgraph *graph, const struct op *op,
                     const struct fit_data *data, const struct fit_options *options, float *kernel,
                     float *bias, struct fit_result *result) {
    struct fit f = {.machine = machine, .data = data, .options = options};
    status error = patches_init(graph, op, &f.patches);
    if (!error) error = fit_open(&f, bias != NULL);
    STATUS_GOTO(error, done, comm_agree(machine->world, error));
    load_start(&f, kernel, bias);
    STATUS_GOTO(error, done, run_pass(&f, f.start, PASS_FIRST));
    result->before = ratio(&f);
    STATUS_GOTO(error, done, solve(&f, true));
    for (int64_t round = 0; options->relu && round < options->relu_rounds; round++) {
        STATUS_GOTO(error, done, run_pass(&f, f.w, PASS_ROUND));
        STATUS_GOTO(error, done, solve(&f, false));
    }
    STATUS_GOTO(error, done, run_pass(&f, f.w, PASS_LAST));
    result->after = ratio(&f);
    store(&f, kernel, bias);
done:
    fit_close(&f);
    return error;
}
