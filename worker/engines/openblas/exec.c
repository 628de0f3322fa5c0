/* The exec of the openblas engine: compiles a graph to tasks, plans the memory, runs.
 *
 * Time is counted in steps: the inputs arrive in step 0, task i runs forward in step i + 1, output gradients
 * arrive in step n + 1, task i runs backward in step 2n + 1 - i. Every block of memory lives from the step
 * that writes it to the last that reads it, and arena_plan() lets blocks share. For training, values are kept
 * to the end. */
#include "worker/engines/arena.h"
#include "worker/engines/engines.h"
#include "worker/engines/openblas/gemm.h"
#include "worker/engines/openblas/kernel.h"

#include <stdlib.h>
#include <string.h>

struct exec_openblas {
    struct exec base;
    struct opgraph *graph; /* what is needed of the caller's, with known shapes */
    struct kernel_env env;
    bool input_grads;
    void (*grad_ready)(void *context, int param);
    int ntasks;
    struct task *task; /* [ntasks], in the order of graph->op */

    int *root;        /* [nvalues] the value whose memory a value is */
    bool *needs_grad; /* [nvalues] */
    int *first_use;   /* [nparams] the task that finishes the parameter's gradient, -1 if unused */
    int *last_use;    /* [nparams] the task that begins it */

    char *arena;
    size_t arena_nbytes;
    float **value, **grad; /* [nvalues] */
    struct memory_map *map;

    struct params *own;    /* EXEC_INFER: a copy */
    struct params *params; /* in use; NULL before set_params */
    bool forward_done;
};

/* Which block of the plan is what; -1: none. */
struct memory_map {
    int nblocks;
    struct arena_block *block;
    int *value, *grad;              /* [nvalues] */
    int *kept, *forward, *backward; /* [ntasks] */
    int **dx;                       /* [ntasks][nin]: where the gradient goes if it must be added to one */
    int (*dw)[4];                   /* likewise for parameters */
    bool *grad_written;             /* [nvalues], while planning */
};

static struct exec_openblas *self(struct exec *exec) {
    return (struct exec_openblas *)exec;
}

static void exec_free(struct exec *exec);

/* ---- compile: graph and tasks ---- */

/* Sets dimension 0 to the batch and checks that the rest is known and not empty. */
static status fix_shape(struct shape *shape, int64_t batch, int value) {
    int64_t count;
    char text[SHAPE_TEXT_MAX];
    if (shape->rank < 1)
        return status_fail(STATUS_INTERNAL, "value %d of the operation graph has no batch dimension", value);
    shape->dim[0] = batch;
    STATUS_TRY(shape_count(shape, &count));
    if (count < 1)
        return status_fail(STATUS_DATA, "value %d of the operation graph is empty: %s", value,
                           shape_format(shape, text));
    return SUCCESS;
}

static status fix_shapes(struct exec_openblas *e) {
    struct opgraph *g = e->graph;
    for (int i = 0; i < g->ninputs; i++)
        STATUS_TRY(fix_shape(&g->value[g->input[i]], e->env.batch, g->input[i]));
    for (int i = 0; i < g->nops; i++)
        STATUS_TRY(fix_shape(&g->value[g->op[i].out], e->env.batch, g->op[i].out));
    return SUCCESS;
}

static status make_task(struct exec_openblas *e, int i) {
    struct task *task = &e->task[i];
    const struct op *op = &e->graph->op[i];
    task->op = op;
    task->env = &e->env;
    task->kernel = kernel_of(op->kind);
    if (!task->kernel)
        return status_fail(STATUS_UNSUPPORTED, "the openblas engine has no operation %s (node %d)",
                           op_name(op->kind), op->node);
    task->in = calloc((size_t)op->nin, sizeof *task->in);
    task->x = calloc((size_t)op->nin, sizeof *task->x);
    task->dx = calloc((size_t)op->nin, sizeof *task->dx);
    if (!task->in || !task->x || !task->dx) return status_no_memory("an operation", (size_t)op->nin * 16);
    for (int j = 0; j < op->nin; j++) task->in[j] = e->graph->value[op->in[j]];
    task->out = e->graph->value[op->out];
    for (int k = 0; k < 4; k++) {
        task->param[k].rank = -1;
        if (op->param[k] >= 0) task->param[k] = e->graph->param[op->param[k]].shape;
    }
    return task->kernel->prepare(task);
}

static bool is_trainable(const struct exec_openblas *e, int param) {
    return param >= 0 && e->graph->param[param].trainable;
}

/* Which values have gradients, who shares memory, and which tasks use which parameters. */
static void analyse(struct exec_openblas *e) {
    const struct opgraph *g = e->graph;
    for (int v = 0; v < g->nvalues; v++) e->root[v] = v;
    for (int p = 0; p < g->nparams; p++) e->first_use[p] = e->last_use[p] = -1;
    for (int i = 0; i < g->ninputs; i++) e->needs_grad[g->input[i]] = e->env.train && e->input_grads;
    for (int i = 0; i < g->nops; i++) {
        const struct op *op = &g->op[i];
        if (e->task[i].alias) e->root[op->out] = e->root[op->in[0]];
        bool needed = false;
        for (int j = 0; j < op->nin; j++) needed |= e->needs_grad[op->in[j]];
        for (int k = 0; k < 4; k++) {
            if (!is_trainable(e, op->param[k])) continue;
            needed |= e->env.train;
            if (e->first_use[op->param[k]] < 0) e->first_use[op->param[k]] = i;
            e->last_use[op->param[k]] = i;
        }
        e->needs_grad[op->out] = needed;
    }
}

/* ---- compile: memory ---- */

static int add_block(struct memory_map *m, size_t nbytes, int first, int last) {
    m->block[m->nblocks] = (struct arena_block){.nbytes = nbytes, .first = first, .last = last};
    return m->nblocks++;
}

static size_t value_nbytes(const struct exec_openblas *e, int value) {
    return (size_t)count_of(&e->graph->value[value]) * sizeof(float);
}

static int backward_step(const struct exec_openblas *e, int task) {
    return 2 * e->ntasks + 1 - task;
}

static void extend(struct memory_map *m, int block, int step) {
    if (m->block[block].last < step) m->block[block].last = step;
}

static void plan_forward(const struct exec_openblas *e, struct memory_map *m) {
    const struct opgraph *g = e->graph;
    const int end = 2 * e->ntasks + 2;
    for (int i = 0; i < g->ninputs; i++) {
        int v = g->input[i];
        if (m->value[v] < 0) m->value[v] = add_block(m, value_nbytes(e, v), 0, e->env.train ? end : 0);
    }
    for (int i = 0; i < e->ntasks; i++) {
        const struct task *task = &e->task[i];
        int out = task->op->out;
        if (!task->alias)
            m->value[out] = add_block(m, value_nbytes(e, out), i + 1, e->env.train ? end : i + 1);
        for (int j = 0; j < task->op->nin; j++) extend(m, m->value[e->root[task->op->in[j]]], i + 1);
        m->kept[i] = add_block(m, task->saved, i + 1, e->env.train ? end : i + 1);
        m->forward[i] = add_block(m, task->scratch_forward, i + 1, i + 1);
    }
    for (int i = 0; i < g->noutputs; i++) extend(m, m->value[e->root[g->output[i]]], end);
}

/* The gradient of `value` is written in `step`; if it has been before, what is new goes to a block of its
 * own, returned, to be added. */
static int write_grad(const struct exec_openblas *e, struct memory_map *m, int value, int step) {
    if (m->grad_written[value]) return add_block(m, value_nbytes(e, value), step, step);
    m->grad_written[value] = true;
    m->grad[value] = add_block(m, value_nbytes(e, value), step, step);
    return -1;
}

static void plan_backward(const struct exec_openblas *e, struct memory_map *m) {
    const struct opgraph *g = e->graph;
    for (int i = 0; i < g->noutputs; i++) {
        int v = g->output[i];
        if (!e->needs_grad[v] || m->grad_written[v]) continue;
        write_grad(e, m, v, e->ntasks + 1);
    }
    for (int i = e->ntasks - 1; i >= 0; i--) {
        const struct op *op = e->task[i].op;
        int step = backward_step(e, i);
        if (!e->needs_grad[op->out]) continue;
        extend(m, m->grad[op->out], step);
        for (int j = 0; j < op->nin; j++)
            if (e->needs_grad[op->in[j]]) m->dx[i][j] = write_grad(e, m, op->in[j], step);
        for (int k = 0; k < 4; k++)
            if (is_trainable(e, op->param[k]) && e->last_use[op->param[k]] != i)
                m->dw[i][k] = add_block(m, (size_t)g->param[op->param[k]].count * sizeof(float), step, step);
        m->backward[i] = add_block(m, e->task[i].scratch_backward, step, step);
    }
    for (int i = 0; i < g->ninputs; i++)
        if (m->grad[g->input[i]] >= 0) extend(m, m->grad[g->input[i]], 2 * e->ntasks + 2);
}

static void *block_at(const struct exec_openblas *e, int block) {
    return block < 0 || e->map->block[block].nbytes == 0 ? NULL : e->arena + e->map->block[block].offset;
}

static int *minus_ones(size_t n) {
    int *p = malloc((n + 1) * sizeof *p);
    if (p) memset(p, -1, (n + 1) * sizeof *p);
    return p;
}

static status map_create(const struct exec_openblas *e, struct memory_map **map) {
    size_t nvalues = (size_t)e->graph->nvalues, ntasks = (size_t)e->ntasks, inputs = 0;
    for (int i = 0; i < e->ntasks; i++) inputs += (size_t)e->task[i].op->nin;
    struct memory_map *m = calloc(1, sizeof *m);
    if (!m) goto no_memory;
    *map = m;
    m->block = calloc(2 * nvalues + 7 * ntasks + inputs + 1, sizeof *m->block);
    m->value = minus_ones(nvalues);
    m->grad = minus_ones(nvalues);
    m->kept = minus_ones(ntasks);
    m->forward = minus_ones(ntasks);
    m->backward = minus_ones(ntasks);
    m->dw = (int(*)[4])minus_ones(4 * ntasks);
    m->dx = calloc(ntasks + 1, sizeof *m->dx);
    m->grad_written = calloc(nvalues + 1, sizeof *m->grad_written);
    if (!m->block || !m->value || !m->grad || !m->kept || !m->forward || !m->backward || !m->dw || !m->dx ||
        !m->grad_written)
        goto no_memory;
    for (int i = 0; i < e->ntasks; i++)
        if (!(m->dx[i] = minus_ones((size_t)e->task[i].op->nin))) goto no_memory;
    return SUCCESS;
no_memory:
    return status_no_memory("a memory plan", 32 * (nvalues + ntasks));
}

static void map_free(struct memory_map *m, int ntasks) {
    if (!m) return;
    if (m->dx)
        for (int i = 0; i < ntasks; i++) free(m->dx[i]);
    free(m->dx);
    free(m->block);
    free(m->value);
    free(m->grad);
    free(m->kept);
    free(m->forward);
    free(m->backward);
    free(m->dw);
    free(m->grad_written);
    free(m);
}

static status plan_memory(struct exec_openblas *e) {
    const struct opgraph *g = e->graph;
    STATUS_TRY(map_create(e, &e->map));
    plan_forward(e, e->map);
    if (e->env.train) plan_backward(e, e->map);
    STATUS_TRY(arena_plan(e->map->block, e->map->nblocks, &e->arena_nbytes));
    STATUS_TRY(memory_alloc("a model's values", e->arena_nbytes, 1, (void **)&e->arena));

    for (int v = 0; v < g->nvalues; v++) {
        e->value[v] = block_at(e, e->map->value[e->root[v]]);
        e->grad[v] = block_at(e, e->map->grad[v]);
    }
    for (int i = 0; i < e->ntasks; i++) {
        struct task *task = &e->task[i];
        for (int j = 0; j < task->op->nin; j++) task->x[j] = e->value[task->op->in[j]];
        task->y = e->value[task->op->out];
        task->kept = block_at(e, e->map->kept[i]);
    }
    return SUCCESS;
}

/* ---- parameters ---- */

static bool uses_params(const struct exec_openblas *e) {
    for (int i = 0; i < e->ntasks; i++)
        for (int k = 0; k < 4; k++)
            if (e->task[i].op->param[k] >= 0) return true;
    return false;
}

/* Do these parameters have the graph's numbers and sizes? */
static status set_params(struct exec *exec, struct params *params) {
    struct exec_openblas *e = self(exec);
    STATUS_TRY(params_check(params, e->graph));
    if (!e->env.train) {
        if (!e->own || e->own->total != params->total) {
            params_destroy(&e->own);
            e->params = NULL;
            STATUS_TRY(params_clone(params, &e->own));
        } else {
            memcpy(e->own->data, params->data, (size_t)params->total * sizeof(float));
        }
        params = e->own;
    }
    e->params = params;
    for (int i = 0; i < e->ntasks; i++)
        for (int k = 0; k < 4; k++) {
            int p = e->task[i].op->param[k];
            e->task[i].w[k] = p >= 0 ? params_at(params, p) : NULL;
        }
    return SUCCESS;
}

/* ---- running ---- */

static status forward(struct exec *exec, const float *const *inputs) {
    struct exec_openblas *e = self(exec);
    const struct opgraph *g = e->graph;
    status error = SUCCESS;
    e->forward_done = false;
    if (!e->params && uses_params(e))
        return status_fail(STATUS_INTERNAL, "forward before the parameters were given (exec_set_params)");
    for (int i = 0; i < g->ninputs; i++)
        memcpy(e->value[g->input[i]], inputs[i], value_nbytes(e, g->input[i]));
    gemm_alone();
    for (int i = 0; i < e->ntasks && exec_goes_on(error); i++) {
        struct task *task = &e->task[i];
        if (task->alias) continue;
        task->scratch = block_at(e, e->map->forward[i]);
        error = status_first(error, task->kernel->forward(task));
    }
    e->forward_done = exec_goes_on(error);
    return error;
}

static const float *output(const struct exec *exec, int i) {
    const struct exec_openblas *e = (const struct exec_openblas *)exec;
    return e->value[e->graph->output[i]];
}

static void add_to(float *restrict sum, const float *restrict v, int64_t n, int threads) {
    (void)threads; /* without OpenMP */
#pragma omp parallel for num_threads(threads) schedule(static) if (n > 16384)
    for (int64_t i = 0; i < n; i++) sum[i] += v[i];
}

/* The gradients of the outputs, added where an output is listed twice. */
static void take_output_grads(struct exec_openblas *e, const float *const *output_grads) {
    const struct opgraph *g = e->graph;
    for (int i = 0; i < g->noutputs; i++) {
        int v = g->output[i], first = 0;
        if (!e->needs_grad[v]) continue;
        while (g->output[first] != v) first++;
        if (first != i) {
            if (output_grads[i]) add_to(e->grad[v], output_grads[i], count_of(&g->value[v]), e->env.threads);
        } else if (output_grads[i]) {
            memcpy(e->grad[v], output_grads[i], value_nbytes(e, v));
        } else {
            memset(e->grad[v], 0, value_nbytes(e, v));
        }
    }
}

static status backward_task(struct exec_openblas *e, int i, struct params *grads) {
    struct task *task = &e->task[i];
    const struct op *op = task->op;
    task->dy = e->grad[op->out];
    task->scratch = block_at(e, e->map->backward[i]);
    for (int j = 0; j < op->nin; j++) {
        float *aside = block_at(e, e->map->dx[i][j]);
        task->dx[j] = aside ? aside : e->grad[op->in[j]];
    }
    for (int k = 0; k < 4; k++) {
        float *aside = block_at(e, e->map->dw[i][k]);
        task->dw[k] = !is_trainable(e, op->param[k]) ? NULL : aside ? aside : params_at(grads, op->param[k]);
    }
    STATUS_TRY(task->kernel->backward(task));
    for (int j = 0; j < op->nin; j++)
        if (e->map->dx[i][j] >= 0)
            add_to(e->grad[op->in[j]], task->dx[j], count_of(&task->in[j]), e->env.threads);
    for (int k = 0; k < 4; k++)
        if (e->map->dw[i][k] >= 0)
            add_to(params_at(grads, op->param[k]), task->dw[k], count_of(&task->param[k]), e->env.threads);
    return SUCCESS;
}

/* Reports what task i has completed. */
static void report(const struct exec_openblas *e, int i) {
    if (!e->grad_ready) return;
    const int *param = e->task[i].op->param;
    for (int k = 0; k < 4; k++)
        if (is_trainable(e, param[k]) && e->first_use[param[k]] == i) e->grad_ready(e->env.context, param[k]);
    e->grad_ready(e->env.context, -1);
}

static status backward(struct exec *exec, const float *const *output_grads, struct params *grads) {
    struct exec_openblas *e = self(exec);
    status error = SUCCESS;
    if (!e->env.train) return status_fail(STATUS_INTERNAL, "backward of a graph compiled for inference");
    if (!e->forward_done) return status_fail(STATUS_INTERNAL, "backward without a forward before it");
    STATUS_TRY(params_check(grads, e->graph));
    gemm_alone();
    take_output_grads(e, output_grads);
    for (int i = e->ntasks - 1; i >= 0 && !error; i--) {
        if (!e->needs_grad[e->task[i].op->out]) continue;
        error = backward_task(e, i, grads);
        if (!error) report(e, i);
    }
    return error;
}

static const float *input_grad(const struct exec *exec, int i) {
    const struct exec_openblas *e = (const struct exec_openblas *)exec;
    return e->grad[e->graph->input[i]];
}

static void set_step(struct exec *exec, uint64_t step, uint64_t first_sample) {
    self(exec)->env.step = step;
    self(exec)->env.first_sample = first_sample;
}

static size_t memory(const struct exec *exec) {
    const struct exec_openblas *e = (const struct exec_openblas *)exec;
    return e->arena_nbytes + (e->own ? (size_t)e->own->total * sizeof(float) : 0);
}

static void exec_free(struct exec *exec) {
    struct exec_openblas *e = self(exec);
    for (int i = 0; e->task && i < e->ntasks; i++) {
        free(e->task[i].in);
        free((void *)e->task[i].x);
        free((void *)e->task[i].dx);
        free(e->task[i].plan);
    }
    map_free(e->map, e->ntasks);
    free(e->task);
    free(e->root);
    free(e->needs_grad);
    free(e->first_use);
    free(e->last_use);
    free((void *)e->value);
    free((void *)e->grad);
    free(e->arena);
    params_destroy(&e->own);
    opgraph_destroy(&e->graph);
    free(e);
}

static const struct exec_class CLASS = {set_params, forward,  output, backward,
                                        input_grad, set_step, memory, exec_free};

static status build(struct exec_openblas *e, const struct opgraph *graph) {
    STATUS_TRY(opgraph_cut(graph, graph->ninputs, graph->input, graph->noutputs, graph->output, &e->graph));
    STATUS_TRY(fix_shapes(e));
    size_t nvalues = (size_t)e->graph->nvalues + 1, nparams = (size_t)e->graph->nparams + 1;
    e->ntasks = e->graph->nops;
    e->task = calloc((size_t)e->ntasks + 1, sizeof *e->task);
    e->root = calloc(nvalues, sizeof *e->root);
    e->needs_grad = calloc(nvalues, sizeof *e->needs_grad);
    e->value = calloc(nvalues, sizeof *e->value);
    e->grad = calloc(nvalues, sizeof *e->grad);
    e->first_use = calloc(nparams, sizeof *e->first_use);
    e->last_use = calloc(nparams, sizeof *e->last_use);
    if (!e->task || !e->root || !e->needs_grad || !e->value || !e->grad || !e->first_use || !e->last_use)
        return status_no_memory("a compiled model", 64 * (nvalues + nparams));
    for (int i = 0; i < e->ntasks; i++) STATUS_TRY(make_task(e, i));
    analyse(e);
    return plan_memory(e);
}

static status compile(const struct opgraph *graph, const struct exec_options *options, struct exec **exec) {
    if (options->batch < 1)
        return status_fail(STATUS_INTERNAL, "a graph cannot be compiled for %lld samples",
                           (long long)options->batch);
    struct exec_openblas *e = calloc(1, sizeof *e);
    if (!e) return status_no_memory("a compiled model", sizeof *e);
    e->base.class = &CLASS;
    e->env = (struct kernel_env){
        .batch = options->batch,
        .threads = options->threads > 1 ? options->threads : 1,
        .train = options->mode == EXEC_TRAIN,
        .batch_norm = options->batch_norm,
        .sum = options->sum,
        .global_batch = options->sum && options->global_batch > 0 ? options->global_batch : options->batch,
        .context = options->context,
        .seed = options->seed};
    e->input_grads = options->input_grads;
    e->grad_ready = options->grad_ready;
    status error = build(e, graph);
    if (error) {
        exec_free(&e->base);
        return error;
    }
    *exec = &e->base;
    return SUCCESS;
}

static bool has(enum precision precision) {
    return precision == PRECISION_FLOAT32;
}

const struct engine engine_openblas = {"openblas", "portable: im2col and OpenBLAS, plain C", has, compile};
