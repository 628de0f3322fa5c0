#include "worker/kernel_norm.h"

#include "shared/evaluation.h"

#include <stdlib.h>

/* The axis of the output's channels. */
static int channel_axis(const struct selection *s, const struct op *op) {
    return s->ops->param[op->param[0]].shape.rank - (op->kind == OP_CONV_TRANSPOSE ? 2 : 1);
}

static const struct weight *weight_of(const struct selection *s, const struct op *op) {
    const struct param *p = &s->ops->param[op->param[0]];
    return &s->graph->layer[p->layer].weight[p->weight];
}

/* Does it make what is inside the layer? */
static bool makes_inside(const struct selection *s, const struct op *op) {
    return weight_of(s, op)->inner_axes > 1;
}

int kernel_channels(const struct selection *s, const struct op *op, const struct channel **channel) {
    bool gates = op->kind == OP_RECURRENT; /* one after the other, of all units each */
    if (op->kind != OP_DENSE && op->kind != OP_CONV && op->kind != OP_CONV_TRANSPOSE && !gates) return 0;
    int columns; /* the layer's own channels: its activation may be an operation of its own */
    int64_t made = s->ops->param[op->param[0]].shape.dim[channel_axis(s, op)];
    bool inside = makes_inside(s, op);
    *channel =
        inside ? channel_map_inner(s->map, op->node, &columns) : channel_map_of(s->map, op->node, &columns);
    bool several = (gates || inside) && columns > 0 && made % columns == 0;
    return several || columns == made ? columns : 0;
}

void kernel_squares(const struct selection *s, const struct op *op, int channels, int64_t first, int64_t n,
                    const float *values, double *sum) {
    const struct shape *shape = &s->ops->param[op->param[0]].shape;
    int axis = channel_axis(s, op);
    int64_t inner = axis == shape->rank - 1 ? 1 : shape->dim[axis + 1];
    if (makes_inside(s, op)) inner = shape->dim[axis] / channels;
    int64_t within = first % inner, column = first / inner % channels;
    for (int64_t i = 0; i < n; i++) {
        sum[column] += (double)values[i] * values[i];
        if (++within < inner) continue;
        within = 0;
        if (++column == channels) column = 0;
    }
}

/* ---- without kernels in memory ---- */

/* The sums of each operation, one after the other: those of an operation that does not count have no room. */
struct sums {
    const struct selection *selection;
    int64_t *first; /* [nops + 1], owned */
    double *sum;    /* owned */
};

static bool makes_pruned(const struct selection *s, const struct channel *channel, int columns) {
    for (int i = 0; i < columns; i++)
        if (channel[i].group >= 0 && s->kept[channel[i].group] < channel_map_width(s->map, channel[i].group))
            return true;
    return false;
}

static status prepare(const struct selection *s, struct sums *sums) {
    int nops = s->ops->nops;
    STATUS_TRY(memory_alloc("kernel norms", (size_t)nops + 1, sizeof *sums->first, (void **)&sums->first));
    for (int i = 0; i < nops; i++) {
        const struct channel *channel = NULL;
        int columns = kernel_channels(s, &s->ops->op[i], &channel);
        if (!makes_pruned(s, channel, columns)) columns = 0;
        sums->first[i + 1] = sums->first[i] + columns;
    }
    return memory_alloc("kernel norms", (size_t)sums->first[nops], sizeof *sums->sum, (void **)&sums->sum);
}

/* The rows of a tensor that are added at once: a chunk of the program, or one row. */
static int64_t step_of(const struct migration *program, const struct shape *shape) {
    int64_t rows, columns;
    shape_rows(shape, &rows, &columns);
    int64_t row = columns * (int64_t)sizeof(float), step = program->chunk_bytes / (row ? row : 1);
    if (!program->chunk_bytes || step > rows) return rows;
    return step < 1 ? 1 : step;
}

/* One kernel; `chunk` has room for its chunks. */
static status add_kernel(const struct migration *program, struct evaluation *evaluation, struct sums *sums,
                         int op, float *chunk) {
    const struct selection *s = sums->selection;
    int p = s->ops->op[op].param[0], layer = s->ops->param[p].layer;
    const struct plan_statement *statement =
        plan_find(program->plan, layer, p - graph_first_param(program->plan->target, layer));
    if (!statement) return status_fail(STATUS_INTERNAL, "the program has no statement of layer %d", layer);
    int64_t rows, columns, step = step_of(program, &statement->shape);
    shape_rows(&statement->shape, &rows, &columns);
    status error = SUCCESS;
    for (int64_t first = 0; first < rows && !error; first += step) {
        int64_t n = rows - first < step ? rows - first : step;
        error = evaluation_rows(evaluation, plan_start(statement), first, n, chunk);
        if (!error)
            kernel_squares(s, &s->ops->op[op], (int)(sums->first[op + 1] - sums->first[op]), first * columns,
                           n * columns, chunk, sums->sum + sums->first[op]);
    }
    evaluation_forget(evaluation);
    return error;
}

/* The ranks take the kernels in turn. */
static status add_kernels(const struct machine *machine, const struct migration *program, struct sums *sums) {
    const struct opgraph *ops = sums->selection->ops;
    struct evaluation *evaluation = NULL;
    int turn = 0, nops = ops->nops;
    int64_t largest = 0;
    float *chunk = NULL;
    for (int i = 0; i < nops; i++) {
        if (sums->first[i + 1] == sums->first[i]) continue;
        int64_t rows, columns;
        const struct shape *shape = &ops->param[ops->op[i].param[0]].shape;
        shape_rows(shape, &rows, &columns);
        if (step_of(program, shape) * columns > largest) largest = step_of(program, shape) * columns;
    }
    status error = memory_alloc("a chunk", (size_t)largest, sizeof *chunk, (void **)&chunk);
    if (!error) error = migration_evaluation(program, &evaluation);
    for (int i = 0; i < nops && !error; i++) {
        if (sums->first[i + 1] == sums->first[i]) continue;
        if (turn++ % comm_size(machine->world) == comm_rank(machine->world))
            error = add_kernel(program, evaluation, sums, i, chunk);
        log_progress(machine->log, i + 1, NULL);
    }
    evaluation_destroy(&evaluation);
    free(chunk);
    return error;
}

static status share_out(const struct sums *sums, double **norm) {
    const struct selection *s = sums->selection;
    for (int g = 0; g < channel_map_groups(s->map); g++) {
        int width = channel_map_width(s->map, g);
        if (s->kept[g] >= width) continue;
        STATUS_TRY(memory_alloc("kernel norms", (size_t)width, sizeof **norm, (void **)&norm[g]));
    }
    for (int i = 0; i < s->ops->nops; i++) {
        const struct channel *channel = NULL;
        int columns = (int)(sums->first[i + 1] - sums->first[i]);
        if (columns) kernel_channels(s, &s->ops->op[i], &channel);
        for (int c = 0; c < columns; c++)
            if (channel[c].group >= 0 && norm[channel[c].group])
                norm[channel[c].group][channel[c].index] += sums->sum[sums->first[i] + c];
    }
    return SUCCESS;
}

status kernel_norms(const struct machine *machine, const struct selection *selection,
                    const struct migration *program, double **norm) {
    struct sums sums = {.selection = selection};
    for (int g = 0; g < channel_map_groups(selection->map); g++) norm[g] = NULL;
    status error = comm_agree(machine->world, prepare(selection, &sums));
    if (!error) {
        log_progress_begin(machine->log, "kernel norms", "operations", selection->ops->nops);
        error = comm_agree(machine->world, add_kernels(machine, program, &sums));
        log_progress_end(machine->log);
    }
    if (!error) error = comm_sum_f64(machine->world, sums.sum, (size_t)sums.first[selection->ops->nops]);
    if (!error) error = comm_agree(machine->world, share_out(&sums, norm));
    free(sums.first);
    free(sums.sum);
    return error;
}
