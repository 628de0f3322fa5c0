#include "worker/descent.h"
#include "worker/fit.h"
#include "worker/grid.h"
#include "worker/normal.h"
#include "worker/patches.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RIDGE 1e-3       /* of the regressions, relative to the mean diagonal */
#define LENGTHEN 10      /* a step is at most so many times as long as the last one */
#define GRID_ROOM 1024.0 /* sums may be so many times as large as the first block says */

struct walk {
    const struct machine *machine;
    const struct descent *task;
    const struct op *op;
    struct patches patches;
    struct opgraph *cut;
    struct exec *exec;
    struct params *grads;
    float **padded;    /* [cut->ninputs] (block, ...) */
    const float **in;  /* [cut->ninputs] */
    float **change;    /* [noutputs] (block, ...) wanted outputs, then minus what is asked for */
    double *weight;    /* [noutputs] one over the size of what is wanted */
    int64_t k, m, all; /* of a group: entries of a row with the bias, outputs; groups * k * m */
    struct normal **normal;
    double *w, *past, *best;  /* (groups, k, m) weights: now, before the last step, the best */
    double *pull, *past_pull; /* the right sides of the regressions */
    double *z, *d;            /* their solutions, the direction */
    double grid;
    double loss, held, error, base; /* of the last evaluation; held: the loss of the held-out blocks */
};

static void walk_close(struct walk *k) {
    exec_destroy(&k->exec);
    for (int i = 0; k->cut && k->padded && i < k->cut->ninputs; i++) free(k->padded[i]);
    for (int i = 0; k->change && i < k->task->noutputs; i++) free(k->change[i]);
    for (int64_t g = 0; k->normal && g < k->patches.groups; g++) normal_destroy(&k->normal[g]);
    opgraph_destroy(&k->cut);
    params_destroy(&k->grads);
    free(k->padded);
    free(k->in);
    free(k->change);
    free(k->weight);
    free(k->normal);
    free(k->w);
    free(k->past);
    free(k->best);
    free(k->pull);
    free(k->past_pull);
    free(k->z);
    free(k->d);
}

static int64_t floats_of(const struct walk *k, int value) {
    return shape_sample_count(&k->task->graph->value[value]);
}

static int64_t columns_of(const struct walk *k, int value) {
    const struct shape *s = &k->task->graph->value[value];
    return s->dim[s->rank - 1];
}

/* The operations in between, as the engine computes them and their adjoint. */
static status compile_between(struct walk *k) {
    const struct descent *t = k->task;
    int *values = malloc(((size_t)t->noutputs + 1) * sizeof *values);
    if (!values) return status_no_memory("a descent", (size_t)t->noutputs * sizeof *values);
    for (int i = 0; i < t->noutputs; i++) values[i] = t->output[i].value;
    status error = activations_cut(t->inputs, t->noutputs, values, &k->cut);
    free(values);
    if (error) return error;
    for (int i = 0; i < k->cut->nops; i++)
        if (k->cut->op[i].kind == OP_DROPOUT) k->cut->op[i].u.dropout.rate = 0;
    for (int i = 0; i < k->cut->nparams; i++) /* no others' gradients are wanted */
        k->cut->param[i].trainable = i == k->op->param[0] || i == k->op->param[1];
    struct exec_options options = {.batch = t->block,
                                   .mode = EXEC_TRAIN,
                                   .threads = k->machine->threads,
                                   .batch_norm = BATCH_NORM_FROZEN};
    STATUS_TRY(k->machine->engine->compile(k->cut, &options, &k->exec));
    return exec_set_params(k->exec, t->params);
}

static status walk_open(struct walk *k) {
    const struct descent *t = k->task;
    STATUS_TRY(patches_init(t->graph, k->op, &k->patches));
    patches_thin(&k->patches, t->total, t->rows);
    k->k = k->patches.inputs + (k->op->param[1] >= 0);
    k->m = k->patches.outputs;
    k->all = k->patches.groups * k->k * k->m;
    size_t all = (size_t)k->all, inputs = (size_t)k->cut->ninputs, outputs = (size_t)t->noutputs;
    STATUS_TRY(params_clone(t->params, &k->grads));
    STATUS_TRY(memory_alloc("a descent", inputs, sizeof *k->padded, (void **)&k->padded));
    STATUS_TRY(memory_alloc("a descent", inputs, sizeof *k->in, (void **)&k->in));
    for (size_t i = 0; i < inputs; i++)
        STATUS_TRY(memory_alloc("a descent", (size_t)(t->block * floats_of(k, k->cut->input[i])),
                                sizeof(float), (void **)&k->padded[i]));
    STATUS_TRY(memory_alloc("a descent", outputs, sizeof *k->change, (void **)&k->change));
    STATUS_TRY(memory_alloc("a descent", outputs, sizeof *k->weight, (void **)&k->weight));
    for (size_t i = 0; i < outputs; i++)
        STATUS_TRY(memory_alloc("a descent", (size_t)(t->block * floats_of(k, t->output[i].value)),
                                sizeof(float), (void **)&k->change[i]));
    STATUS_TRY(memory_alloc("a descent", (size_t)k->patches.groups, sizeof *k->normal, (void **)&k->normal));
    for (int64_t g = 0; g < k->patches.groups; g++) STATUS_TRY(normal_create(k->k, k->m, &k->normal[g]));
    double **array[] = {&k->w, &k->past, &k->best, &k->pull, &k->past_pull, &k->z, &k->d};
    for (size_t i = 0; i < sizeof array / sizeof *array; i++)
        STATUS_TRY(memory_alloc("a descent", all, sizeof(double), (void **)array[i]));
    return SUCCESS;
}

/* ---- weights ---- */

/* The place of weight (g, i, j) in an arena like the parameters'. */
static float *place(const struct walk *k, const struct params *params, int64_t at) {
    int64_t j = at % k->m, i = at / k->m % k->k, g = at / k->m / k->k;
    if (i < k->patches.inputs)
        return params_at(params, k->op->param[0]) + patches_weight(&k->patches, g, i, j);
    return params_at(params, k->op->param[1]) + g * k->m + j;
}

/* Sets the weights w + length * d. */
static void set_weights(const struct walk *k, const double *w, double length) {
    for (int64_t at = 0; at < k->all; at++)
        *place(k, k->task->params, at) = (float)(w[at] + length * k->d[at]);
}

/* ---- regressions ---- */

static status add_rows(struct walk *k) {
    const struct descent *t = k->task;
    const struct patches *p = &k->patches;
    const float *x = activations_at(t->inputs, k->op->in[0]);
    int64_t stride = p->columns + (k->k - p->inputs);
    float *u = NULL, *gu = NULL;
    status error = memory_alloc("patches", (size_t)(NORMAL_ROWS * stride), sizeof *u, (void **)&u);
    if (!error) error = memory_alloc("patches", (size_t)(NORMAL_ROWS * k->k), sizeof *gu, (void **)&gu);
    for (int64_t block = 0; block * t->block < t->n && !error; block++) {
        if (block_held(t->first + block, t->held)) continue;
        comm_alive(k->machine->world);
        int64_t samples = t->n - block * t->block < t->block ? t->n - block * t->block : t->block;
        int64_t begin = block * t->block * p->rows, end = begin + samples * p->rows;
        for (int64_t row = begin; row < end; row += NORMAL_ROWS) {
            int64_t n = end - row < NORMAL_ROWS ? end - row : NORMAL_ROWS;
            patches_gather(p, x, row, n, stride, k->machine->threads, u);
            for (int64_t g = 0; g < p->groups; g++) {
                if (p->groups > 1) patches_group(p, g, n, stride, u, gu);
                normal_add_gram(k->normal[g], n, p->groups > 1 ? gu : u, k->machine->threads);
            }
        }
    }
    free(u);
    free(gu);
    return error;
}

static status factor_inputs(struct walk *k) {
    const struct comm *world = k->machine->world;
    const float *x = activations_at(k->task->inputs, k->op->in[0]);
    double largest = 1, used;
    int64_t dropped;
    for (int64_t i = 0; i < k->task->n * floats_of(k, k->op->in[0]); i++)
        if (fabsf(x[i]) > largest) largest = fabsf(x[i]);
    STATUS_TRY(comm_max_f64(world, &largest, 1));
    for (int64_t g = 0; g < k->patches.groups; g++)
        k->normal[g]->grid_g = grid_for((double)(k->patches.rows * k->task->total) * largest * largest);
    STATUS_TRY(comm_agree(world, add_rows(k)));
    status error = SUCCESS;
    for (int64_t g = 0; g < k->patches.groups; g++) {
        STATUS_TRY(normal_sum_gram(k->normal[g], world));
        if (comm_is_root(world) && !error)
            error = normal_factor(k->normal[g], k->patches.inputs, RIDGE, &used, &dropped);
    }
    return comm_agree(world, error);
}

/* z: the regressions of what `pull` stands for. Rank 0 solves. */
static status regress(struct walk *k) {
    const struct comm *world = k->machine->world;
    int64_t each = k->k * k->m;
    status error = SUCCESS;
    for (int64_t g = 0; g < k->patches.groups && comm_is_root(world) && !error; g++) {
        memcpy(k->normal[g]->h, k->pull + g * each, (size_t)each * sizeof *k->pull);
        error = normal_solve(k->normal[g], k->patches.inputs, 0, NULL, k->z + g * each);
    }
    STATUS_TRY(comm_agree(world, error));
    return comm_bcast(world, 0, k->z, (size_t)k->all * sizeof *k->z);
}

/* ---- evaluation ---- */

static void gather_wanted(const struct walk *k, int i, int64_t sample, int64_t n) {
    const struct descent_output *o = &k->task->output[i];
    int64_t m = columns_of(k, o->value), rows = floats_of(k, o->value) / m;
    for (int64_t r = 0; r < n * rows; r++) {
        const float *y = o->y + (sample * rows + r) * o->width;
        for (int64_t j = 0; j < m; j++) k->change[i][r * m + j] = y[o->column ? o->column[j] : j];
    }
}

static status weigh_outputs(struct walk *k) {
    const struct descent *t = k->task;
    for (int i = 0; i < t->noutputs; i++) {
        const struct descent_output *o = &t->output[i];
        int64_t m = columns_of(k, o->value), rows = floats_of(k, o->value) / m;
        for (int64_t s = 0; s < t->n; s++) {
            double sum[2] = {0, 0};
            gather_wanted(k, i, s, 1);
            outcome_compare(&o->outcome, rows, m, false, k->change[i], k->change[i], sum);
            k->weight[i] += sum[1];
        }
    }
    STATUS_TRY(comm_sum_f64(k->machine->world, k->weight, (size_t)t->noutputs));
    for (int i = 0; i < t->noutputs; i++) k->weight[i] = k->weight[i] > 0 ? 1 / grid_coarse(k->weight[i]) : 0;
    return SUCCESS;
}

/* Computes a block's outputs; change[i] becomes the gradient of its loss, which is returned. */
static status run_block(struct walk *k, int64_t sample, int64_t n, double *loss) {
    const struct descent *t = k->task;
    *loss = 0;
    for (int i = 0; i < k->cut->ninputs; i++) {
        int64_t floats = floats_of(k, k->cut->input[i]);
        k->in[i] = activations_at(t->inputs, k->cut->input[i]) + sample * floats;
        if (n == t->block) continue;
        for (int64_t s = 0; s < t->block; s++)
            memcpy(k->padded[i] + s * floats, k->in[i] + (s < n ? s : n - 1) * floats,
                   (size_t)floats * sizeof(float));
        k->in[i] = k->padded[i];
    }
    STATUS_TRY(exec_forward(k->exec, k->in));
    for (int i = 0; i < t->noutputs; i++) {
        const struct descent_output *o = &t->output[i];
        int64_t m = columns_of(k, o->value), floats = floats_of(k, o->value);
        bool softmax = o->outcome.kind == OUTCOME_SOFTMAX;
        double sum[2] = {0, 0}, squares = 0, weight = k->weight[i];
        memset(k->change[i], 0, (size_t)(t->block * floats) * sizeof(float));
        gather_wanted(k, i, sample, n);
        outcome_compare(&o->outcome, n * floats / m, m, true, k->change[i], exec_output(k->exec, i), sum);
        for (int64_t j = 0; j < n * floats; j++) {
            squares += (double)k->change[i][j] * k->change[i][j];
            k->change[i][j] *= (float)(softmax ? -0.5 * weight : -weight);
        }
        *loss += weight * (softmax ? sum[0] : 0.5 * squares);
        k->error += weight * sum[0];
        k->base += weight * sum[1];
    }
    return SUCCESS;
}

static status pull_of_block(struct walk *k) {
    STATUS_TRY(exec_backward(k->exec, (const float *const *)k->change, k->grads));
    for (int64_t at = 0; at < k->all; at++) k->pull[at] -= grid_round(k->grid, *place(k, k->grads, at));
    return SUCCESS;
}

static status run_blocks(struct walk *k, bool trial, bool pull) {
    const struct descent *t = k->task;
    for (int64_t block = 0; block * t->block < t->n; block++) {
        bool held = block_held(t->first + block, t->held);
        if (held && trial) continue;
        comm_alive(k->machine->world);
        int64_t n = t->n - block * t->block < t->block ? t->n - block * t->block : t->block;
        double loss;
        STATUS_TRY(run_block(k, block * t->block, n, &loss));
        *(held ? &k->held : &k->loss) += loss;
        if (pull && !held) STATUS_TRY(pull_of_block(k));
    }
    return SUCCESS;
}

/* The loss with the weights that are set; a trial's is of the blocks fitted to alone. */
static status evaluate_walk(struct walk *k, bool trial, bool pull) {
    const struct comm *world = k->machine->world;
    k->loss = k->held = k->error = k->base = 0;
    if (pull) memset(k->pull, 0, (size_t)k->all * sizeof *k->pull);
    STATUS_TRY(comm_agree(world, run_blocks(k, trial, pull)));
    if (pull) STATUS_TRY(comm_sum_f64(world, k->pull, (size_t)k->all));
    double sum[4] = {k->loss, k->held, k->error, k->base};
    STATUS_TRY(comm_sum_f64(world, sum, 4));
    k->loss = sum[0];
    k->held = sum[1];
    k->error = sum[2];
    k->base = sum[3];
    return SUCCESS;
}

/* The grid of the pulls' sums, by the very first block. */
static status choose_grid(struct walk *k) {
    const struct descent *t = k->task;
    double largest = 0, loss;
    status error = SUCCESS;
    if (t->first == 0 && t->n > 0) {
        memset(k->pull, 0, (size_t)k->all * sizeof *k->pull);
        error = run_block(k, 0, t->n < t->block ? t->n : t->block, &loss);
        if (!error) error = pull_of_block(k);
        for (int64_t at = 0; at < k->all; at++) largest = fmax(largest, fabs(k->pull[at]));
    }
    STATUS_TRY(comm_agree(k->machine->world, error));
    STATUS_TRY(comm_max_f64(k->machine->world, &largest, 1));
    k->grid = grid_for(GRID_ROOM * largest * (double)((t->total + t->block - 1) / t->block));
    return SUCCESS;
}

/* ---- steps ---- */

/* The next direction, and the slope of the loss along it. */
static double turn(struct walk *k, bool first, double *before) {
    double now = 0, mixed = 0, slope = 0;
    for (int64_t i = 0; i < k->all; i++) {
        now += k->pull[i] * k->z[i];
        mixed += k->z[i] * (k->pull[i] - k->past_pull[i]);
    }
    double beta = !first && *before > 0 && mixed > 0 ? grid_coarse(mixed / *before) : 0;
    for (int64_t i = 0; i < k->all; i++) {
        k->d[i] = k->z[i] + beta * k->d[i];
        slope -= k->pull[i] * k->d[i];
    }
    memcpy(k->past_pull, k->pull, (size_t)k->all * sizeof *k->pull);
    *before = now;
    return slope;
}

/* Moves along the direction to the lowest point of the parabola through the loss at a trial step. */
static status step(struct walk *k, double slope, double *length) {
    double loss = k->loss;
    set_weights(k, k->w, *length);
    STATUS_TRY(evaluate_walk(k, true, false));
    double bend = 2 * (k->loss - loss - slope * *length) / (*length * *length);
    double best = bend > 0 ? -slope / bend : LENGTHEN * *length;
    *length = grid_coarse(fmin(best, LENGTHEN * *length));
    memcpy(k->past, k->w, (size_t)k->all * sizeof *k->w);
    for (int64_t i = 0; i < k->all; i++) k->w[i] += *length * k->d[i];
    return SUCCESS;
}

/* The length at which a direction is the change asked for itself: the Gram matrix is of part of the rows, the
 * losses are relative. */
static double natural_length(const struct walk *k) {
    double largest = 0;
    for (int i = 0; i < k->task->noutputs; i++) largest = fmax(largest, k->weight[i]);
    return largest > 0 ? 1 / (largest * (double)k->patches.step) : 1;
}

static status walk(struct walk *k, struct descent_result *result) {
    double length = natural_length(k), before = 0, least = INFINITY, last = INFINITY;
    for (int64_t at = 0; at < k->all; at++) k->w[at] = *place(k, k->task->params, at);
    memcpy(k->best, k->w, (size_t)k->all * sizeof *k->w);
    for (int64_t s = 0, worse = 0; s <= k->task->steps; s++) {
        set_weights(k, k->w, 0);
        STATUS_TRY(evaluate_walk(k, false, s < k->task->steps));
        double measure = k->held > 0 ? k->held : k->loss;
        if (!isfinite(k->loss) || k->loss > last) break;
        last = k->loss;
        worse = measure < least ? 0 : worse + 1;
        if (!worse) {
            least = measure;
            memcpy(k->best, k->w, (size_t)k->all * sizeof *k->w);
            result->after = k->base > 0 ? k->error / k->base : 0;
            if (!s) result->before = result->after;
        }
        if (worse > 1 || s == k->task->steps) break;
        STATUS_TRY(regress(k));
        double slope = turn(k, s == 0, &before);
        if (!(slope < 0)) break;
        STATUS_TRY(step(k, slope, &length));
    }
    STATUS_TRY(comm_bcast(k->machine->world, 0, k->best, (size_t)k->all * sizeof *k->best));
    set_weights(k, k->best, 0);
    return SUCCESS;
}

status descent_run(const struct machine *machine, const struct descent *descent,
                   struct descent_result *result) {
    struct walk k = {.machine = machine, .task = descent, .op = &descent->graph->op[descent->op]};
    *result = (struct descent_result){0};
    status error = comm_agree(machine->world, compile_between(&k));
    if (status_code(error) == STATUS_UNSUPPORTED) {
        status_drop(&error);
        walk_close(&k);
        return SUCCESS;
    }
    result->possible = true;
    if (!error) error = comm_agree(machine->world, walk_open(&k));
    if (!error) error = factor_inputs(&k);
    if (!error) error = weigh_outputs(&k);
    if (!error) error = choose_grid(&k);
    if (!error) error = walk(&k, result);
    walk_close(&k);
    return error;
}
