/* Recurrent layers: SimpleRNN, LSTM (Hochreiter, Schmidhuber 1997; with forget gate), GRU (Cho et al. 2014),
 * as in Keras. The inputs' products are made for many time steps at once, the recurrent ones step by step. */
#include "worker/engines/openblas/recurrent.h"
#include "worker/engines/openblas/cell.h"
#include "worker/engines/openblas/kernels.h"
#include "worker/engines/panels.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Time steps whose input products are made at once where they need not be kept. */
#define SPAN_FORWARD 16
#define SPAN_BACKWARD 32

/* ---- prepare ---- */

static status check_inputs(const struct task *task, struct recurrent_plan *p) {
    const struct recurrent *r = recurrent_of(task);
    const struct shape *x = &task->in[0], *out = &task->out;
    if (x->rank != 3 || out->rank != 3) return kernel_mismatch(task, "ranks are not 3");
    p->steps = x->dim[1];
    p->channels = x->dim[2];
    p->units = r->cell_state ? out->dim[2] / 2 : out->dim[2];
    p->gates = p->units * cell_gates(r->cell);
    p->width = out->dim[2];
    if (out->dim[1] != p->steps || p->units < 1 || p->width != p->units * (r->cell_state ? 2 : 1))
        return kernel_mismatch(task, "the output's shape disagrees");
    if (r->cell_state && r->cell != CELL_LSTM) return kernel_mismatch(task, "the cell has no second state");
    const int states = r->cell == CELL_LSTM ? 2 : 1;
    if ((r->states && r->states != states) || task->op->nin != 1 + r->states + r->mask)
        return kernel_mismatch(task, "the number of states disagrees");
    p->hidden = r->states ? 1 : -1;
    p->carry = r->states == 2 ? 2 : -1;
    p->mask = r->mask ? 1 + r->states : -1;
    for (int i = 0; i < r->states; i++)
        if (task->in[1 + i].rank != 2 || task->in[1 + i].dim[1] != p->units)
            return kernel_mismatch(task, "a state's shape disagrees");
    if (r->mask && (task->in[p->mask].rank != 2 || task->in[p->mask].dim[1] != p->steps))
        return kernel_mismatch(task, "the mask's shape disagrees");
    return SUCCESS;
}

static status check_params(const struct task *task, const struct recurrent_plan *p) {
    const struct shape *kernel = &task->param[0], *recurrent = &task->param[1];
    const bool both = recurrent_of(task)->cell == CELL_GRU && recurrent_of(task)->reset_after;
    const int64_t bias = both ? 2 * p->gates : p->gates;
    if (kernel->rank != 2 || kernel->dim[0] != p->channels || kernel->dim[1] != p->gates)
        return kernel_mismatch(task, "the kernel's shape disagrees");
    if (recurrent->rank != 2 || recurrent->dim[0] != p->units || recurrent->dim[1] != p->gates)
        return kernel_mismatch(task, "the recurrent kernel's shape disagrees");
    if (has_param(task, 2) && count_of(&task->param[2]) != bias)
        return kernel_mismatch(task, "the bias's shape disagrees");
    if (count_of(&task->in[0]) > INT_MAX || p->channels * p->gates > INT_MAX || p->units * p->gates > INT_MAX)
        return kernel_mismatch(task, "too large for BLAS");
    return SUCCESS;
}

/* Takes n floats of a piece of memory, in whole cache lines; returns where. */
static int64_t reserve(int64_t *used, int64_t n) {
    const int64_t at = *used;
    *used += (n + 15) / 16 * 16;
    return at;
}

static int64_t packed_floats(int64_t k, int64_t n) {
    return (int64_t)panels_floats(k, n);
}

static void plan_forward(struct task *task, struct recurrent_plan *p) {
    const struct recurrent *r = recurrent_of(task);
    const int64_t u = p->units, n = task->env->batch;
    int64_t all = 0, slot = 0;
    p->packed_kernel = reserve(&all, packed_floats(p->channels, p->gates));
    p->packed_first = reserve(&all, packed_floats(u, p->first));
    p->packed_second = reserve(&all, packed_floats(u, p->second));
    p->slot0 = all;
    p->h = reserve(&slot, p->rows * u);
    p->c = reserve(&slot, r->cell == CELL_LSTM ? p->rows * u : 0);
    p->values = reserve(&slot, p->gates);
    p->inner = reserve(&slot, p->second ? p->rows * u : 0);
    p->sums = reserve(&slot, task->env->train ? 0 : p->rows * p->span * p->gates);
    p->slot = slot;
    task->scratch_forward = (size_t)(all + p->slots * slot) * sizeof(float);
    if (!task->env->train) return;
    int64_t kept = 0;
    reserve(&kept, n * p->steps * p->gates);
    p->kept_c = reserve(&kept, r->cell == CELL_LSTM ? n * p->steps * u : 0);
    p->kept_inner = reserve(&kept, p->second && r->reset_after ? n * p->steps * u : 0);
    task->saved = (size_t)kept * sizeof(float);
}

static void plan_backward(struct task *task, struct recurrent_plan *p) {
    const struct recurrent *r = recurrent_of(task);
    const int64_t u = p->units, rows = p->rows, span = rows * p->span_backward;
    int64_t all = 0, slot = 0;
    p->turned_first = reserve(&all, packed_floats(p->first, u));
    p->turned_second = reserve(&all, packed_floats(p->second, u));
    p->back_slot0 = all;
    reserve(&slot, 2 * 2 * p->gates); /* doubles */
    p->dkernel = reserve(&slot, p->channels * p->gates);
    p->drecurrent = reserve(&slot, u * p->gates);
    p->dh = reserve(&slot, rows * u);
    p->dc = reserve(&slot, rows * u);
    p->zeros = reserve(&slot, u);
    p->back_values = reserve(&slot, p->gates);
    p->dreset = reserve(&slot, p->second ? rows * u : 0);
    p->dsums = reserve(&slot, span * p->gates);
    p->before = reserve(&slot, span * u);
    p->seen = reserve(&slot, span);
    p->dinner = reserve(&slot, p->second && r->reset_after ? span * u : 0);
    p->reset = reserve(&slot, p->second && !r->reset_after ? span * u : 0);
    p->back_slot = slot;
    task->scratch_backward = (size_t)(all + p->slots * slot) * sizeof(float);
}

static status recurrent_prepare(struct task *task) {
    struct recurrent_plan *p = calloc(1, sizeof *p);
    if (!p) return status_no_memory("a recurrent layer", sizeof *p);
    task->plan = p;
    STATUS_TRY(check_inputs(task, p));
    STATUS_TRY(check_params(task, p));
    const bool gru = recurrent_of(task)->cell == CELL_GRU;
    p->first = gru ? 2 * p->units : p->gates;
    p->second = gru ? p->units : 0;
    const int64_t n = task->env->batch;
    p->slots = n < task->env->threads ? (int)n : task->env->threads;
    p->rows = (n + p->slots - 1) / p->slots;
    p->span = task->env->train || p->steps < SPAN_FORWARD ? p->steps : SPAN_FORWARD;
    p->span_backward = p->steps < SPAN_BACKWARD ? p->steps : SPAN_BACKWARD;
    plan_forward(task, p);
    if (task->env->train) plan_backward(task, p);
    return SUCCESS;
}

/* ---- forward ---- */

static void pack(const struct task *task, float *scratch, int slot) {
    const struct recurrent_plan *p = task->plan;
    const int64_t u = p->units;
    const struct {
        int64_t k, n, at;
        const float *from;
    } parts[] = {
        {p->channels, p->gates, p->packed_kernel, task->w[0]},
        {u, p->first, p->packed_first, task->w[1]},
        {u, p->second, p->packed_second, task->w[1] + p->first},
    };
    for (int i = 0; i < 3; i++) {
        int64_t first, last;
        slot_range(panels_count(parts[i].n), p->slots, slot, &first, &last);
        panels_pack(parts[i].k, parts[i].n, first, last, parts[i].from, p->gates, 1, scratch + parts[i].at);
    }
}

/* What a slot works on. */
struct part {
    int64_t begin, rows; /* samples */
    const float *packed; /* scratch of all */
    float *h, *c, *values, *inner;
    float *sums;       /* (rows, pitch, gates) for times t0, t0 + 1, ... */
    int64_t pitch, t0; /* time steps from one sample to the next */
};

static void fill(float *to, int64_t rows, int64_t stride, const float *from, int64_t n) {
    for (int64_t i = 0; i < rows; i++) memcpy(to + i * stride, from, (size_t)n * sizeof *to);
}

/* Sums of the inputs' part, with the biases that add to it, of `steps` times from t0 on. */
static void input_sums(const struct task *task, const struct part *part, int64_t steps) {
    const struct recurrent_plan *p = task->plan;
    const int64_t gates = p->gates, c = p->channels;
    const float *bias = task->w[2], *x = task->x[0] + (part->begin * p->steps + part->t0) * c;
    const bool whole = steps == p->steps; /* all rows follow each other */
    if (bias) {
        float *row = part->values;
        memcpy(row, bias, (size_t)gates * sizeof *row);
        /* Of the recurrent part's bias all but the candidate's. */
        if (p->second && recurrent_of(task)->reset_after)
            for (int64_t i = 0; i < p->first; i++) row[i] += bias[gates + i];
        fill(part->sums, part->rows * steps, gates, row, gates);
    }
    for (int64_t i = 0; i < (whole ? 1 : part->rows); i++)
        panels_product(whole ? part->rows * steps : steps, gates, c, 0, panels_count(gates),
                       x + i * p->steps * c, c, part->packed + p->packed_kernel, bias,
                       part->sums + i * steps * gates, gates);
}

/* GRU: the recurrent part of the candidate. */
static void candidate_sums(const struct task *task, const struct part *part, float *sums, float *inner,
                           int64_t inner_stride) {
    const struct recurrent_plan *p = task->plan;
    const int64_t u = p->units, stride = part->pitch * p->gates;
    const float *packed = part->packed + p->packed_second, *bias = task->w[2];
    if (recurrent_of(task)->reset_after) {
        if (bias) fill(inner, part->rows, inner_stride, bias + p->gates + p->first, u);
        panels_product(part->rows, u, u, 0, panels_count(u), part->h, u, packed, bias, inner, inner_stride);
        return;
    }
    for (int64_t i = 0; i < part->rows; i++)
        cell_reset(recurrent_of(task), u, sums + i * stride, part->h + i * u, part->inner + i * u);
    panels_product(part->rows, u, u, 0, panels_count(u), part->inner, u, packed, true, sums + p->first,
                   stride);
}

static void write_output(const struct task *task, const struct part *part, int64_t i, int64_t step,
                         bool masked) {
    const struct recurrent_plan *p = task->plan;
    const int64_t u = p->units;
    float *y = task->y + ((part->begin + i) * p->steps + step) * p->width;
    if (!masked) memcpy(y, part->h + i * u, (size_t)u * sizeof *y);
    else if (step) memcpy(y, y - p->width, (size_t)u * sizeof *y);
    else memset(y, 0, (size_t)u * sizeof *y);
    if (p->width > u) memcpy(y + u, part->c + i * u, (size_t)u * sizeof *y);
}

static void forward_step(const struct task *task, const struct part *part, int64_t step) {
    const struct recurrent_plan *p = task->plan;
    const struct recurrent *r = recurrent_of(task);
    const int64_t u = p->units, t = recurrent_time(task, step), stride = part->pitch * p->gates;
    float *sums = part->sums + (t - part->t0) * p->gates, *inner = part->inner, *kept = task->kept;
    int64_t inner_stride = u;
    if (kept && p->second && r->reset_after) {
        inner = kept + p->kept_inner + (part->begin * p->steps + step) * u;
        inner_stride = p->steps * u;
    }
    panels_product(part->rows, p->first, u, 0, panels_count(p->first), part->h, u,
                   part->packed + p->packed_first, true, sums, stride);
    if (p->second) candidate_sums(task, part, sums, inner, inner_stride);
    for (int64_t i = 0; i < part->rows; i++) {
        const bool masked = recurrent_masked(task, part->begin + i, t);
        if (!masked)
            cell_forward(r, u, sums + i * stride, inner + i * inner_stride, part->values, part->h + i * u,
                         part->c + i * u);
        write_output(task, part, i, step, masked);
        if (kept && r->cell == CELL_LSTM)
            memcpy(kept + p->kept_c + ((part->begin + i) * p->steps + step) * u, part->c + i * u,
                   (size_t)u * sizeof *kept);
    }
}

static void first_state(const struct task *task, int input, const struct part *part, float *state) {
    const struct recurrent_plan *p = task->plan;
    const size_t nbytes = (size_t)(part->rows * p->units) * sizeof *state;
    if (input < 0) memset(state, 0, nbytes);
    else memcpy(state, task->x[input] + part->begin * p->units, nbytes);
}

static void forward_slot(const struct task *task, float *scratch, int slot) {
    const struct recurrent_plan *p = task->plan;
    int64_t begin, end;
    slot_range(task->env->batch, p->slots, slot, &begin, &end);
    float *own = scratch + p->slot0 + slot * p->slot;
    struct part part = {.begin = begin,
                        .rows = end - begin,
                        .packed = scratch,
                        .h = own + p->h,
                        .c = own + p->c,
                        .values = own + p->values,
                        .inner = own + p->inner,
                        .sums = own + p->sums};
    first_state(task, p->hidden, &part, part.h);
    if (recurrent_of(task)->cell == CELL_LSTM) first_state(task, p->carry, &part, part.c);
    if (task->kept) part.sums = (float *)task->kept + begin * p->steps * p->gates;
    for (int64_t step = 0; step < p->steps; step += p->span) {
        const int64_t last = step + p->span < p->steps ? step + p->span : p->steps;
        part.pitch = last - step;
        part.t0 = recurrent_time(task, recurrent_of(task)->backwards ? last - 1 : step);
        input_sums(task, &part, part.pitch);
        for (int64_t s = step; s < last; s++) forward_step(task, &part, s);
    }
}

static status recurrent_forward(struct task *task) {
    const struct recurrent_plan *p = task->plan;
    const int slots = p->slots;
#pragma omp parallel for num_threads(slots) schedule(static, 1) if (slots > 1)
    for (int slot = 0; slot < slots; slot++) pack(task, task->scratch, slot);
#pragma omp parallel for num_threads(slots) schedule(static, 1) if (slots > 1)
    for (int slot = 0; slot < slots; slot++) forward_slot(task, task->scratch, slot);
    return SUCCESS;
}

const struct kernel kernel_recurrent = {recurrent_prepare, recurrent_forward, recurrent_backward};
