#include "worker/fit.h"
#include "worker/grid.h"
#include "worker/matmul.h"
#include "worker/normal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Ridges tried, and which of them without held-out blocks. */
static const double ridges[] = {1e-5, 1e-4, 1e-3, 1e-2};
#define RIDGES (int)(sizeof ridges / sizeof *ridges)
#define RIDGE_MIDDLE 1e-4
#define SHORT_ROUNDS                                                                                         \
    50                 /* as many for each round of the options, before a softmax: these steps are shorter   \
                        */
#define SHORT_CHECK 10 /* of them, until the held-out blocks are asked whether to go on */

struct fit {
    const struct machine *machine;
    const struct fit_data *data;
    const struct fit_options *options;
    struct patches *patches; /* [ncalls] */
    int64_t groups, k, m;    /* independent fits; of one: entries of a row with the bias, outputs */
    int64_t columns, stride; /* of gathered rows: without and with the bias */
    int64_t all;             /* groups * k * m */
    struct normal **normal;  /* [groups] */
    double *w, *start;       /* (groups, k, m) solution and start */
    double *best;            /* (groups, k, m) the best of several solutions */
    double *from;            /* (k, m) of one group: the start, seen from the weights of the last pass */
    float *wf;               /* (groups, k, m) solution as used for predictions */
    float *u, *gu;           /* (NORMAL_ROWS, stride), (NORMAL_ROWS, k) of one group */
    float *y, *p;            /* (NORMAL_ROWS, m) wanted and predicted outputs of one group */
    double *penalty;         /* [groups] that the factors were made with */
    int64_t dropped;
    double error[2], base[2]; /* sums of the last pass: over blocks fitted to, held out */
};

static void fit_close(struct fit *f) {
    for (int64_t g = 0; f->normal && g < f->groups; g++) normal_destroy(&f->normal[g]);
    free(f->normal);
    free(f->patches);
    free(f->penalty);
    free(f->w);
    free(f->start);
    free(f->best);
    free(f->from);
    free(f->wf);
    free(f->u);
    free(f->gu);
    free(f->y);
    free(f->p);
}

static status fit_open(struct fit *f, const struct opgraph *graph, bool bias) {
    const struct fit_data *d = f->data;
    STATUS_TRY(memory_alloc("a fit", (size_t)d->ncalls, sizeof *f->patches, (void **)&f->patches));
    for (int i = 0; i < d->ncalls; i++) {
        STATUS_TRY(patches_init(graph, d->call[i].op, &f->patches[i]));
        if (f->options->rows) patches_thin(&f->patches[i], d->total, f->options->rows / d->ncalls);
    }
    f->groups = f->patches->groups;
    f->columns = f->patches->columns;
    f->stride = f->columns + bias;
    f->k = f->patches->inputs + bias;
    f->m = f->patches->outputs;
    f->all = f->groups * f->k * f->m;
    size_t all = (size_t)f->all, rows = NORMAL_ROWS;
    STATUS_TRY(memory_alloc("a fit", (size_t)f->groups, sizeof *f->normal, (void **)&f->normal));
    for (int64_t g = 0; g < f->groups; g++) STATUS_TRY(normal_create(f->k, f->m, &f->normal[g]));
    STATUS_TRY(memory_alloc("a fit", (size_t)f->groups, sizeof *f->penalty, (void **)&f->penalty));
    STATUS_TRY(memory_alloc("a fit", all, sizeof *f->w, (void **)&f->w));
    STATUS_TRY(memory_alloc("a fit", all, sizeof *f->start, (void **)&f->start));
    STATUS_TRY(memory_alloc("a fit", all, sizeof *f->best, (void **)&f->best));
    STATUS_TRY(memory_alloc("a fit", (size_t)(f->k * f->m), sizeof *f->from, (void **)&f->from));
    STATUS_TRY(memory_alloc("a fit", all, sizeof *f->wf, (void **)&f->wf));
    STATUS_TRY(memory_alloc("patches", rows * (size_t)f->stride, sizeof *f->u, (void **)&f->u));
    STATUS_TRY(memory_alloc("patches", rows * (size_t)f->k, sizeof *f->gu, (void **)&f->gu));
    STATUS_TRY(memory_alloc("outputs", rows * (size_t)f->m, sizeof *f->y, (void **)&f->y));
    return memory_alloc("outputs", rows * (size_t)f->m, sizeof *f->p, (void **)&f->p);
}

/* The place that weight (i, j) of group g has in the operation's own layout. */
static float *place(const struct fit *f, float *kernel, float *bias, int64_t g, int64_t i, int64_t j) {
    if (i < f->patches->inputs) return kernel + patches_weight(f->patches, g, i, j);
    return bias + g * f->m + j;
}

static void load_start(struct fit *f, float *kernel, float *bias) {
    for (int64_t g = 0; g < f->groups; g++)
        for (int64_t i = 0; i < f->k; i++)
            for (int64_t j = 0; j < f->m; j++)
                f->start[(g * f->k + i) * f->m + j] = *place(f, kernel, bias, g, i, j);
}

static void store(const struct fit *f, float *kernel, float *bias) {
    for (int64_t g = 0; g < f->groups; g++)
        for (int64_t i = 0; i < f->k; i++)
            for (int64_t j = 0; j < f->m; j++)
                *place(f, kernel, bias, g, i, j) = (float)f->w[(g * f->k + i) * f->m + j];
}

/* Bounds of the sums, for grids on which they are exact. */
static status bound_sums(struct fit *f) {
    const struct fit_data *d = f->data;
    double largest[2] = {1, 0}, rows = 0; /* of inputs, with the bias's one; of outputs */
    for (int c = 0; c < d->ncalls; c++) {
        const struct patches *p = &f->patches[c];
        int64_t positions = shape_sample_count(&p->out) / p->out.dim[p->out.rank - 1];
        for (int64_t i = 0; i < d->n * shape_sample_count(&p->in); i++)
            if (fabsf(d->call[c].x[i]) > largest[0]) largest[0] = fabsf(d->call[c].x[i]);
        for (int64_t i = 0; i < d->n * positions * d->call[c].width; i++)
            if (fabsf(d->call[c].y[i]) > largest[1]) largest[1] = fabsf(d->call[c].y[i]);
        rows += (double)(p->rows * d->total);
    }
    STATUS_TRY(comm_max_f64(f->machine->world, largest, 2));
    for (int64_t g = 0; g < f->groups; g++) {
        f->normal[g]->grid_g = grid_for(rows * largest[0] * largest[0]);
        /* predictions may be off by more than the outputs' size */
        f->normal[g]->grid_h = grid_for(16 * rows * largest[0] * largest[1]);
    }
    return SUCCESS;
}

static void gather_outputs(const struct fit *f, int c, int64_t g, int64_t first, int64_t n) {
    const struct fit_call *call = &f->data->call[c];
#pragma omp parallel for num_threads(f->machine->threads) schedule(static)
    for (int64_t r = 0; r < n; r++) {
        const float *row = call->y + patches_position(&f->patches[c], first + r) * call->width;
        for (int64_t j = 0; j < f->m; j++) {
            int64_t column = g * f->m + j;
            f->y[r * f->m + j] = row[f->data->column ? f->data->column[column] : column];
        }
    }
}

/* y becomes the change asked for of the predictions p. Solving for the correction of the present weights
 * rounds far less than solving anew. */
static void compare_outputs(struct fit *f, const struct outcome *outcome, int64_t n, bool aware, bool held) {
    enum { ROWS = 64 };
    double sum[NORMAL_ROWS / ROWS][2];
#pragma omp parallel for num_threads(f->machine->threads) schedule(static)
    for (int64_t first = 0; first < n; first += ROWS) {
        int64_t rows = n - first < ROWS ? n - first : ROWS;
        memset(sum[first / ROWS], 0, sizeof *sum);
        outcome_compare(outcome, rows, f->m, aware, f->y + first * f->m, f->p + first * f->m,
                        sum[first / ROWS]);
    }
    for (int64_t i = 0; i * ROWS < n; i++) {
        f->error[held] += sum[i][0];
        f->base[held] += sum[i][1];
    }
}

enum pass {
    PASS_FIRST, /* G and H of the plain fit, error of the start */
    PASS_ROUND, /* H again */
    PASS_HELD,  /* error on the held-out blocks only */
    PASS_LAST   /* error on all blocks */
};

/* Rows that do not count become zero, and so does what is wanted of them. */
static void leave_out(const struct fit *f, int c, int64_t first, int64_t n, int64_t columns, float *rows) {
    const float *counts = f->data->call[c].counts;
    for (int64_t r = 0; r < n && counts; r++)
        if (counts[patches_position(&f->patches[c], first + r)] == 0)
            memset(rows + r * columns, 0, (size_t)columns * sizeof *rows);
}

static void add_run(struct fit *f, int c, int64_t first, int64_t n, enum pass pass, bool held) {
    int threads = f->machine->threads;
    bool aware = pass == PASS_ROUND;
    patches_gather(&f->patches[c], f->data->call[c].x, first, n, f->stride, threads, f->u);
    leave_out(f, c, first, n, f->stride, f->u);
    for (int64_t g = 0; g < f->groups; g++) {
        const float *u = f->groups == 1 ? f->u : f->gu, *w = f->wf + g * f->k * f->m;
        if (f->groups > 1) patches_group(&f->patches[c], g, n, f->stride, f->u, f->gu);
        gather_outputs(f, c, g, first, n);
        leave_out(f, c, first, n, f->m, f->y);
        matmul(n, f->m, f->k, u, w, f->p, threads);
        compare_outputs(f, &f->data->call[c].outcome, n, aware, held);
        if (held) continue;
        if (pass == PASS_FIRST) normal_add_gram(f->normal[g], n, u, threads);
        if (pass == PASS_FIRST || aware) normal_add_cross(f->normal[g], n, u, f->y, threads);
    }
}

static void add_block(struct fit *f, int c, int64_t block, enum pass pass) {
    const struct fit_data *d = f->data;
    bool held = block_held(d->first + block, d->held);
    if (held ? pass == PASS_ROUND : pass == PASS_HELD) return;
    comm_alive(f->machine->world);
    int64_t samples = d->n - block * d->block < d->block ? d->n - block * d->block : d->block;
    int64_t rows = f->patches[c].rows, begin = block * d->block * rows, end = begin + samples * rows;
    for (int64_t first = begin; first < end; first += NORMAL_ROWS)
        add_run(f, c, first, end - first < NORMAL_ROWS ? end - first : NORMAL_ROWS, pass, held);
}

static void predict_with(struct fit *f, const double *w) {
    for (int64_t i = 0; i < f->all; i++) f->wf[i] = (float)w[i];
}

/* Walks over the samples with the weights w, and sums over the ranks. */
static status run_pass(struct fit *f, const double *w, enum pass pass) {
    const struct comm *world = f->machine->world;
    const struct fit_data *d = f->data;
    predict_with(f, w);
    for (int64_t g = 0; g < f->groups && pass <= PASS_ROUND; g++) normal_clear_cross(f->normal[g]);
    memset(f->error, 0, sizeof f->error);
    memset(f->base, 0, sizeof f->base);
    for (int c = 0; c < d->ncalls; c++)
        for (int64_t block = 0; block * d->block < d->n; block++) add_block(f, c, block, pass);
    for (int64_t g = 0; g < f->groups; g++) {
        if (pass == PASS_FIRST) STATUS_TRY(normal_sum_gram(f->normal[g], world));
        if (pass <= PASS_ROUND) STATUS_TRY(normal_sum_cross(f->normal[g], world));
    }
    double sum[4] = {f->error[0], f->error[1], f->base[0], f->base[1]};
    STATUS_TRY(comm_sum_f64(world, sum, 4));
    memcpy(f->error, sum, sizeof f->error);
    memcpy(f->base, sum + 2, sizeof f->base);
    return SUCCESS;
}

static status factor(struct fit *f, double ridge) {
    status error = SUCCESS;
    f->dropped = 0;
    for (int64_t g = 0; g < f->groups && comm_is_root(f->machine->world) && !error; g++) {
        int64_t dropped = 0;
        error = normal_factor(f->normal[g], f->k - (f->stride - f->columns), ridge, &f->penalty[g], &dropped);
        f->dropped += dropped;
    }
    return comm_agree(f->machine->world, error);
}

/* Rank 0 solves, everybody gets its bytes. H belongs to the predictions with f->wf; the penalty draws to
 * `to`. */
static status solve(struct fit *f, const double *to) {
    const struct comm *world = f->machine->world;
    status error = SUCCESS;
    for (int64_t g = 0; g < f->groups && comm_is_root(world) && !error; g++) {
        int64_t at = g * f->k * f->m, penalised = f->k - (f->stride - f->columns);
        for (int64_t i = 0; i < f->k * f->m; i++) f->from[i] = to[at + i] - f->wf[at + i];
        error = normal_solve(f->normal[g], penalised, f->penalty[g], f->from, f->w + at);
        for (int64_t i = 0; i < f->k * f->m; i++) f->w[at + i] += f->wf[at + i];
    }
    STATUS_TRY(comm_agree(world, error));
    return comm_bcast(world, 0, f->w, (size_t)f->all * sizeof *f->w);
}

static double total_ratio(const struct fit *f) {
    double base = f->base[0] + f->base[1];
    return base > 0 ? (f->error[0] + f->error[1]) / base : 0;
}

/* By what solutions are compared: the error of the held-out blocks if there are any. */
static double measure(const struct fit *f) {
    return f->base[1] > 0 ? f->error[1] : f->error[0];
}

static status solve_with(struct fit *f, double ridge) {
    predict_with(f, f->start);
    STATUS_TRY(factor(f, ridge));
    return solve(f, f->start);
}

/* The plain solution, with the best ridge on the held-out blocks if it is not given. */
static status solve_plain(struct fit *f, double *ridge) {
    *ridge = f->options->ridge;
    if (*ridge > 0) return solve_with(f, *ridge);
    *ridge = RIDGE_MIDDLE;
    if (!(f->base[1] > 0)) return solve_with(f, *ridge);
    double least = INFINITY, last = ridges[RIDGES - 1];
    for (int i = 0; i < RIDGES; i++) {
        STATUS_TRY(solve_with(f, ridges[i]));
        STATUS_TRY(run_pass(f, f->w, PASS_HELD));
        if (!(f->error[1] < least)) continue;
        least = f->error[1];
        *ridge = ridges[i];
    }
    return *ridge == last ? SUCCESS : solve_with(f, *ridge);
}

/* A ReLU follows: the change that is asked for depends on the solution. */
static status mind_relu(struct fit *f) {
    for (int64_t round = 0; round < f->options->rounds; round++) {
        STATUS_TRY(run_pass(f, f->w, PASS_ROUND));
        STATUS_TRY(solve(f, f->start));
    }
    return SUCCESS;
}

/* A softmax follows. Each round goes on from the last one's solution, so that the rounds' number is what
 * keeps the solution from fitting noise: it ends where the held-out blocks say so. */
static status mind_softmax(struct fit *f) {
    double least;
    STATUS_TRY(run_pass(f, f->w, PASS_HELD));
    least = f->error[1];
    memcpy(f->best, f->w, (size_t)f->all * sizeof *f->w);
    for (int64_t round = 1; round <= SHORT_ROUNDS * f->options->rounds; round++) {
        STATUS_TRY(run_pass(f, f->w, PASS_ROUND));
        STATUS_TRY(solve(f, f->w));
        if (round % SHORT_CHECK) continue;
        STATUS_TRY(run_pass(f, f->w, PASS_HELD));
        if (f->error[1] > least) break;
        least = f->error[1];
        memcpy(f->best, f->w, (size_t)f->all * sizeof *f->w);
    }
    memcpy(f->w, f->best, (size_t)f->all * sizeof *f->w);
    return SUCCESS;
}

static status run_fit(struct fit *f, struct fit_result *result) {
    enum outcome_kind kind = f->data->call->outcome.kind;
    STATUS_TRY(run_pass(f, f->start, PASS_FIRST));
    if (!isfinite(f->error[0] + f->error[1]))
        return status_fail(STATUS_DATA, "a refit has no solution: the activations are not finite");
    result->before = total_ratio(f);
    double before = measure(f);
    STATUS_TRY(solve_plain(f, &result->ridge));
    result->dropped = f->dropped;
    if (kind == OUTCOME_RELU) STATUS_TRY(mind_relu(f));
    if (kind == OUTCOME_SOFTMAX) STATUS_TRY(mind_softmax(f));
    STATUS_TRY(run_pass(f, f->w, PASS_LAST));
    result->after = total_ratio(f);
    result->kept = measure(f) > before;
    if (!result->kept) return SUCCESS;
    result->after = result->before;
    memcpy(f->w, f->start, (size_t)f->all * sizeof *f->w);
    return SUCCESS;
}

status fit_operation(const struct machine *machine, const struct opgraph *graph, const struct fit_data *data,
                     const struct fit_options *options, float *kernel, float *bias,
                     struct fit_result *result) {
    struct fit f = {.machine = machine, .data = data, .options = options};
    status error = comm_agree(machine->world, fit_open(&f, graph, bias != NULL));
    if (!error) {
        load_start(&f, kernel, bias);
        error = bound_sums(&f);
    }
    if (!error) error = run_fit(&f, result);
    if (!error) store(&f, kernel, bias);
    fit_close(&f);
    return error;
}
