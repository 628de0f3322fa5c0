/* Kernels rounded by gptq, on the inputs that their layers have. */
#include "worker/finish_statement.h"

#include "worker/activations.h"
#include "worker/gptq.h"
#include "worker/grid.h"
#include "worker/normal.h"
#include "worker/patches.h"

#include <stdlib.h>
#include <string.h>

#define GRAM_ROWS 65536 /* of patches that a Gram matrix is made from, or more if the patches are large */
#define INPUTS_MAX 8192 /* of an output; kernels with more are rounded to the nearest */

/* A layer that is rounded. */
struct rounder {
    const struct machine *machine;
    const struct finish *f;
    struct evaluation *evaluation;
    struct activations *inputs;
    const struct plan_statement *statement;
    const struct expr *quantize;
    int ncalls;
    int *call;               /* [ncalls] operations */
    struct patches *patches; /* [ncalls] */
    int64_t k, m;            /* of a group: inputs with the bias's, outputs */
    bool bias;
    struct normal **gram;    /* [groups] */
    float *x;                /* the kernel, as the transforms within quantize() make it */
    float *kernel, *bias_at; /* in the parameters */
    double largest, rows;    /* bounds of the inputs */
    struct gptq_errors errors;
};

static int64_t groups_of(const struct rounder *r) {
    return r->patches->groups;
}

static const struct op *op_at(const struct rounder *r, int call) {
    return &r->f->target->op[r->call[call]];
}

static void rounder_close(struct rounder *r) {
    for (int64_t g = 0; r->gram && g < groups_of(r); g++) normal_destroy(&r->gram[g]);
    free(r->gram);
    free(r->patches);
    free(r->call);
    free(r->x);
}

/* May the operation's bias take up what is left of the errors? Not if it is rounded, too. */
static bool bias_is_free(const struct finish *f, const struct op *op) {
    for (int i = 0; i < f->plan->nstatements; i++) {
        const struct plan_statement *s = &f->plan->statement[i];
        if (finish_param(f->plan, s) == op->param[1] && plan_start(s) != s->value) return false;
    }
    return op->param[1] >= 0;
}

/* All calls of the layer of operation `index`, and room. */
static status rounder_open(struct rounder *r, int index) {
    const struct opgraph *g = r->f->target;
    const struct op *op = &g->op[index];
    int p = op->param[0];
    STATUS_TRY(memory_alloc("rounding", (size_t)g->nops, sizeof *r->call, (void **)&r->call));
    for (int i = index; i < g->nops; i++)
        if (patches_known(&g->op[i]) && g->op[i].param[0] == p) r->call[r->ncalls++] = i;
    STATUS_TRY(memory_alloc("rounding", (size_t)r->ncalls, sizeof *r->patches, (void **)&r->patches));
    for (int i = 0; i < r->ncalls; i++) {
        STATUS_TRY(patches_init(g, op_at(r, i), &r->patches[i]));
        patches_thin(&r->patches[i], r->f->calibration->total, GRAM_ROWS / r->ncalls);
    }
    r->bias = bias_is_free(r->f, op);
    r->k = r->patches->inputs + r->bias;
    r->m = r->patches->outputs;
    r->kernel = params_at(r->f->params, p);
    r->bias_at = r->bias ? params_at(r->f->params, op->param[1]) : NULL;
    STATUS_TRY(memory_alloc("rounding", (size_t)groups_of(r), sizeof *r->gram, (void **)&r->gram));
    for (int64_t i = 0; i < groups_of(r); i++) STATUS_TRY(normal_create(r->k, 1, &r->gram[i]));
    STATUS_TRY(memory_alloc("rounding", (size_t)r->f->params->count[p], sizeof *r->x, (void **)&r->x));
    return finish_value(r->evaluation, r->quantize->arg[0], plan_start(r->statement), r->kernel, r->x);
}

/* ---- Gram matrices ---- */

static status add_call(struct rounder *r, int call, const float *x) {
    const struct patches *p = &r->patches[call];
    int threads = r->machine->threads;
    int64_t stride = p->columns + r->bias, end = r->f->calibration->n * p->rows;
    float *u = NULL, *gu = NULL;
    status error = memory_alloc("patches", (size_t)(NORMAL_ROWS * stride), sizeof *u, (void **)&u);
    if (!error) error = memory_alloc("patches", (size_t)(NORMAL_ROWS * r->k), sizeof *gu, (void **)&gu);
    for (int64_t first = 0; first < end && !error;) {
        /* Runs end where blocks do, so that they are the same on any number of ranks. */
        int64_t block = CALIBRATION_BLOCK * p->rows, left = block - first % block;
        int64_t n = end - first < left ? end - first : left;
        if (n > NORMAL_ROWS) n = NORMAL_ROWS;
        patches_gather(p, x, first, n, stride, threads, u);
        for (int64_t g = 0; g < p->groups; g++) {
            if (p->groups > 1) patches_group(p, g, n, stride, u, gu);
            normal_add_gram(r->gram[g], n, p->groups > 1 ? gu : u, threads);
        }
        first += n;
    }
    free(u);
    free(gu);
    return error;
}

/* What a call reads: at the frontier, or computed and then *owned. */
static status inputs_of(const struct rounder *r, int call, const float **x, float **owned) {
    int value = op_at(r, call)->in[0];
    *x = activations_at(r->inputs, value);
    *owned = NULL;
    if (*x) return SUCCESS;
    STATUS_TRY(activations_compute(r->inputs, value, owned));
    *x = *owned;
    return SUCCESS;
}

static status bound_call(struct rounder *r, int call, const float *x) {
    const struct patches *p = &r->patches[call];
    for (int64_t i = 0; i < r->f->calibration->n * shape_sample_count(&p->in); i++)
        if (fabsf(x[i]) > r->largest) r->largest = fabsf(x[i]);
    r->rows += (double)(p->rows * r->f->calibration->total);
    return SUCCESS;
}

static status each_call(struct rounder *r, status (*visit)(struct rounder *r, int call, const float *x)) {
    for (int i = 0; i < r->ncalls; i++) {
        const float *x;
        float *owned;
        STATUS_TRY(inputs_of(r, i, &x, &owned));
        status error = visit(r, i, x);
        free(owned);
        STATUS_TRY(error);
    }
    return SUCCESS;
}

static status sum_grams(struct rounder *r) {
    const struct comm *world = r->machine->world;
    r->largest = 1; /* the bias's input */
    STATUS_TRY(comm_agree(world, each_call(r, bound_call)));
    STATUS_TRY(comm_max_f64(world, &r->largest, 1));
    for (int64_t g = 0; g < groups_of(r); g++)
        r->gram[g]->grid_g = grid_for(r->rows * r->largest * r->largest);
    STATUS_TRY(comm_agree(world, each_call(r, add_call)));
    for (int64_t g = 0; g < groups_of(r); g++) STATUS_TRY(normal_sum_gram(r->gram[g], world));
    return SUCCESS;
}

/* ---- rounding ---- */

/* A group of the kernel, as gptq has it. */
struct matrix {
    double *w, *q;             /* (k, m) */
    int *group;                /* (inputs, m) */
    struct rounding *rounding; /* [nroundings] of the whole kernel */
    int nroundings;
};

static void load(const struct rounder *r, int64_t g, struct matrix *a) {
    for (int64_t i = 0; i < r->patches->inputs; i++)
        for (int64_t j = 0; j < r->m; j++) {
            int64_t at = patches_weight(r->patches, g, i, j);
            a->w[i * r->m + j] = r->x[at];
            a->group[i * r->m + j] = rounding_group_at(r->quantize, at);
        }
    for (int64_t j = 0; j < r->m && r->bias; j++) a->w[(r->k - 1) * r->m + j] = r->bias_at[g * r->m + j];
}

static void store(const struct rounder *r, int64_t g, const struct matrix *a) {
    for (int64_t i = 0; i < r->patches->inputs; i++)
        for (int64_t j = 0; j < r->m; j++)
            r->x[patches_weight(r->patches, g, i, j)] = (float)a->q[i * r->m + j];
    for (int64_t j = 0; j < r->m && r->bias; j++)
        r->bias_at[g * r->m + j] = (float)a->q[(r->k - 1) * r->m + j];
}

/* Has each output of each group a scale that no other group has? */
static bool scales_are_free(const struct rounder *r, const struct matrix *a) {
    bool free_ones = true;
    int *owner = malloc((size_t)a->nroundings * sizeof *owner);
    if (!owner) return false;
    memset(owner, -1, (size_t)a->nroundings * sizeof *owner);
    for (int64_t g = 0; g < groups_of(r); g++)
        for (int64_t j = 0; j < r->m; j++) {
            int first = rounding_group_at(r->quantize, patches_weight(r->patches, g, 0, j));
            for (int64_t i = 1; i < r->patches->inputs; i++)
                free_ones &= rounding_group_at(r->quantize, patches_weight(r->patches, g, i, j)) == first;
            free_ones &= owner[first] < 0 || owner[first] == g;
            owner[first] = (int)g;
        }
    free(owner);
    return free_ones;
}

static status round_groups(struct rounder *r, struct matrix *a) {
    bool narrows = scales_are_free(r, a);
    for (int64_t g = 0; g < groups_of(r); g++) {
        struct gptq_errors errors;
        load(r, g, a);
        struct gptq task = {.k = r->k,
                            .m = r->m,
                            .rounded = r->patches->inputs,
                            .gram = r->gram[g]->g,
                            .w = a->w,
                            .group = a->group,
                            .ngroups = a->nroundings,
                            .rounding = a->rounding,
                            .narrows = narrows};
        STATUS_TRY(gptq_round(&task, r->machine->threads, a->q, &errors));
        r->errors.nearest += errors.nearest;
        r->errors.rounded += errors.rounded;
        r->errors.base += errors.base;
        store(r, g, a);
    }
    return SUCCESS;
}

static status round_kernel(struct rounder *r) {
    struct matrix a = {0};
    size_t all = (size_t)(r->k * r->m);
    status error = rounding_groups(r->quantize, r->x, &a.nroundings, &a.rounding);
    if (!error) error = memory_alloc("rounding", all, sizeof *a.w, (void **)&a.w);
    if (!error) error = memory_alloc("rounding", all, sizeof *a.q, (void **)&a.q);
    if (!error) error = memory_alloc("rounding", all, sizeof *a.group, (void **)&a.group);
    if (!error) error = round_groups(r, &a);
    free(a.w);
    free(a.q);
    free(a.group);
    free(a.rounding);
    return error;
}

/* Rank 0 rounds; then every rank gets its bytes. */
static status round_layer(struct rounder *r) {
    const struct comm *world = r->machine->world;
    const struct layer *layer = &r->f->plan->target->layer[r->statement->layer];
    int p = op_at(r, 0)->param[0];
    status error = comm_is_root(world) ? round_kernel(r) : SUCCESS;
    if (!error && comm_is_root(world))
        error = finish_value(r->evaluation, r->statement->value, r->quantize, r->x, r->kernel);
    STATUS_TRY(comm_agree(world, error));
    STATUS_TRY(comm_bcast(world, 0, r->kernel, (size_t)r->f->params->count[p] * sizeof *r->kernel));
    if (r->bias) STATUS_TRY(comm_bcast(world, 0, r->bias_at, (size_t)(groups_of(r) * r->m) * sizeof(float)));
    double base = r->errors.base > 0 ? r->errors.base : 1;
    if (!comm_is_root(world)) return SUCCESS;
    log_line(r->machine->log, LOG_DEBUG,
             "gptq of \"%s\": relative squared error of its outputs %.3g, to the nearest %.3g", layer->name,
             r->errors.rounded / base, r->errors.nearest / base);
    LOG_EVENT(r->machine->log, "gptq", {"layer", 0, layer->name}, {"nearest", r->errors.nearest / base, NULL},
              {"rounded", r->errors.rounded / base, NULL});
    return SUCCESS;
}

static status visit(struct rounder *r, int index) {
    status error = activations_advance(r->inputs, index);
    if (!error) error = rounder_open(r, index);
    error = comm_agree(r->machine->world, error);
    if (!error) error = sum_grams(r);
    if (!error) error = round_layer(r);
    rounder_close(r);
    return error;
}

/* The statement, still to be done, that gives the kernel of an operation whose inputs can be weighed; -1:
 * there is none. */
static int statement_of(const struct finish *f, const bool *pending, const struct op *op) {
    struct patches patches;
    if (!patches_known(op)) return -1;
    status error = patches_init(f->target, op, &patches);
    if (error) status_drop(&error);
    else if (patches.inputs <= INPUTS_MAX)
        for (int i = 0; i < f->plan->nstatements; i++)
            if (pending[i] && finish_param(f->plan, &f->plan->statement[i]) == op->param[0]) return i;
    return -1;
}

status finish_gptq(const struct machine *machine, const struct finish *f, struct evaluation *evaluation,
                   bool *pending) {
    const struct calibration *c = f->calibration;
    struct activations *inputs = NULL;
    int done = 0;
    bool any = false;
    for (int i = 0; i < f->target->nops; i++) any |= statement_of(f, pending, &f->target->op[i]) >= 0;
    if (!any) return SUCCESS;
    status error = comm_agree(machine->world, activations_create(machine, f->target, f->params, c->x, c->n,
                                                                 CALIBRATION_BLOCK, &inputs));
    log_progress_begin(machine->log, "gptq", "operations", f->target->nops);
    for (int i = 0; i < f->target->nops && !error; i++) {
        int at = statement_of(f, pending, &f->target->op[i]);
        if (at < 0) continue;
        const struct plan_statement *s = &f->plan->statement[at];
        struct rounder r = {.machine = machine,
                            .f = f,
                            .evaluation = evaluation,
                            .inputs = inputs,
                            .statement = s,
                            .quantize = finish_gptq_of(s)};
        error = status_context(visit(&r, i), "rounding of \"%s\"", f->plan->target->layer[s->layer].name);
        pending[at] = false;
        done++;
        log_progress(machine->log, i + 1, f->plan->target->layer[s->layer].name);
    }
    log_progress_end(machine->log);
    activations_destroy(&inputs);
    if (!error)
        log_line(machine->log, LOG_INFO, "%d kernels rounded by gptq on %lld samples", done,
                 (long long)c->total);
    return error;
}
