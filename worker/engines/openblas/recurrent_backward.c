/* Backward through time. Gradients of the sums are gathered for a span of time steps; then the weights' and
 * the inputs' gradients are products over all of it. */
#include "worker/engines/openblas/cell.h"
#include "worker/engines/openblas/gemm.h"
#include "worker/engines/openblas/recurrent.h"
#include "worker/engines/panels.h"

#include <string.h>

/* What a slot works on. */
struct part {
    int64_t begin, rows;         /* samples */
    const float *turned, *zeros; /* scratch of all; u of this slot */
    double *dbias;               /* [2][gates]: of the inputs' and of the recurrent part */
    float *dkernel, *drecurrent, *dh, *dc, *values, *dreset;
    /* A span of times t0, t0 + 1, ...: (rows, pitch, ...) */
    int64_t t0, pitch;
    float *dsums;          /* gates */
    float *before;         /* u: the hidden state before the step */
    float *seen;           /* 1: there was an unmasked step up to this one; 0: the output is zero yet */
    float *dinner, *reset; /* u */
};

static int64_t place(const struct part *part, int64_t i, int64_t t) {
    return i * part->pitch + t - part->t0;
}

/* Hidden states before the steps first..last-1, and what has been seen by then. */
static void find_states(const struct task *task, const struct part *part, int64_t first, int64_t last) {
    const struct recurrent_plan *p = task->plan;
    const int64_t u = p->units;
    for (int64_t i = 0; i < part->rows; i++) {
        const int64_t sample = part->begin + i;
        const float *state = p->hidden >= 0 ? task->x[p->hidden] + sample * u : NULL;
        bool seen = false;
        for (int64_t s = first - 1; s >= 0 && !seen; s--)
            seen = !recurrent_masked(task, sample, recurrent_time(task, s));
        for (int64_t s = first; s < last; s++) {
            const int64_t t = recurrent_time(task, s), at = place(part, i, t);
            const float *from = seen ? task->y + (sample * p->steps + s - 1) * p->width : state;
            if (from) memcpy(part->before + at * u, from, (size_t)u * sizeof *from);
            else memset(part->before + at * u, 0, (size_t)u * sizeof *from);
            seen = seen || !recurrent_masked(task, sample, t);
            part->seen[at] = seen;
        }
    }
}

static void add(float *restrict to, const float *restrict from, int64_t n) {
    for (int64_t i = 0; i < n; i++) to[i] += from[i];
}

/* The gradient of the output of a step joins those of the states. */
static void take_output(const struct task *task, const struct part *part, int64_t i, int64_t step) {
    const struct recurrent_plan *p = task->plan;
    const int64_t u = p->units;
    const float *dy = task->dy + ((part->begin + i) * p->steps + step) * p->width;
    if (part->seen[place(part, i, recurrent_time(task, step))] != 0) add(part->dh + i * u, dy, u);
    if (p->width > u) add(part->dc + i * u, dy + u, u);
}

static void backward_sample(const struct task *task, const struct part *part, int64_t i, int64_t step) {
    const struct recurrent_plan *p = task->plan;
    const int64_t u = p->units, sample = part->begin + i, t = recurrent_time(task, step);
    const int64_t at = place(part, i, t), row = sample * p->steps + step;
    float *dz = part->dsums + at * p->gates, *kept = task->kept;
    float *dinner = part->dinner + at * u, *reset = part->reset + at * u;
    const bool after = recurrent_of(task)->reset_after;
    if (recurrent_masked(task, sample, t)) {
        memset(dz, 0, (size_t)p->gates * sizeof *dz);
        if (p->second) memset(after ? dinner : reset, 0, (size_t)u * sizeof *dz);
        return;
    }
    struct cell_states states = {.h = part->before + at * u};
    if (recurrent_of(task)->cell == CELL_LSTM) {
        states.c_after = kept + p->kept_c + row * u;
        states.c = states.c_after - u;
        if (step == 0) {
            states.c = p->carry >= 0 ? task->x[p->carry] + sample * u : part->zeros;
        }
    }
    cell_backward(recurrent_of(task), u, kept + (sample * p->steps + t) * p->gates,
                  kept + p->kept_inner + row * u, &states, part->values, part->dh + i * u, part->dc + i * u,
                  dz, dinner, reset);
}

/* GRU: through the candidate's recurrent product. */
static void candidate_step(const struct task *task, const struct part *part, int64_t t) {
    const struct recurrent_plan *p = task->plan;
    const int64_t u = p->units;
    const float *turned = part->turned + p->turned_second;
    if (recurrent_of(task)->reset_after) {
        panels_product(part->rows, u, u, 0, panels_count(u), part->dinner + (t - part->t0) * u,
                       part->pitch * u, turned, true, part->dh, u);
        return;
    }
    panels_product(part->rows, u, u, 0, panels_count(u), part->dsums + (t - part->t0) * p->gates + p->first,
                   part->pitch * p->gates, turned, false, part->dreset, u);
    for (int64_t i = 0; i < part->rows; i++) {
        const int64_t sample = part->begin + i, at = place(part, i, t);
        if (recurrent_masked(task, sample, t)) continue;
        cell_backward_reset(recurrent_of(task), u, (float *)task->kept + (sample * p->steps + t) * p->gates,
                            part->before + at * u, part->dreset + i * u, part->values, part->dh + i * u,
                            part->dsums + at * p->gates);
    }
}

static void backward_step(const struct task *task, const struct part *part, int64_t step) {
    const struct recurrent_plan *p = task->plan;
    const int64_t u = p->units, t = recurrent_time(task, step);
    for (int64_t i = 0; i < part->rows; i++) {
        take_output(task, part, i, step);
        backward_sample(task, part, i, step);
    }
    if (p->second) candidate_step(task, part, t);
    panels_product(part->rows, u, p->first, 0, panels_count(u), part->dsums + (t - part->t0) * p->gates,
                   part->pitch * p->gates, part->turned + p->turned_first, true, part->dh, u);
}

/* ---- a span ---- */

static void add_bias(const struct task *task, const struct part *part) {
    const struct recurrent_plan *p = task->plan;
    const int64_t rows = part->rows * part->pitch, u = p->units;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < p->gates; j++) part->dbias[j] += part->dsums[i * p->gates + j];
    if (!p->second || !recurrent_of(task)->reset_after) return;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < u; j++) part->dbias[p->gates + p->first + j] += part->dinner[i * u + j];
}

static void span_products(const struct task *task, const struct part *part) {
    const struct recurrent_plan *p = task->plan;
    const int gates = (int)p->gates, c = (int)p->channels, u = (int)p->units, rows = (int)part->rows;
    const int pitch = (int)part->pitch, all = rows * pitch;
    const bool whole = part->pitch == p->steps; /* all rows of the inputs follow each other */
    const int64_t at = (part->begin * p->steps + part->t0) * c, stride = p->steps * c;
    for (int64_t i = 0; i < (whole ? 1 : rows); i++) {
        const float *dsums = part->dsums + i * part->pitch * gates;
        const int n = whole ? all : pitch;
        if (task->dw[0])
            gemm(true, false, c, gates, n, task->x[0] + at + i * stride, c, dsums, gates, 1, part->dkernel,
                 gates);
        if (task->dx[0])
            gemm(false, true, n, c, gates, dsums, gates, task->w[0], gates, 0, task->dx[0] + at + i * stride,
                 c);
    }
    if (task->dw[2]) add_bias(task, part);
    if (!task->dw[1]) return;
    gemm(true, false, u, (int)p->first, all, part->before, u, part->dsums, gates, 1, part->drecurrent, gates);
    if (!p->second) return;
    const bool after = recurrent_of(task)->reset_after;
    gemm(true, false, u, u, all, after ? part->before : part->reset, u,
         after ? part->dinner : part->dsums + p->first, after ? u : gates, 1, part->drecurrent + p->first,
         gates);
}

/* ---- all ---- */

static void state_gradient(const struct task *task, int input, const struct part *part, const float *from) {
    const struct recurrent_plan *p = task->plan;
    if (input >= 0 && task->dx[input])
        memcpy(task->dx[input] + part->begin * p->units, from,
               (size_t)(part->rows * p->units) * sizeof *from);
}

static double *slot_memory(const struct task *task, int slot) {
    const struct recurrent_plan *p = task->plan;
    return (double *)(void *)((float *)task->scratch + p->back_slot0 + slot * p->back_slot);
}

static void backward_slot(const struct task *task, int slot) {
    const struct recurrent_plan *p = task->plan;
    int64_t begin, end;
    slot_range(task->env->batch, p->slots, slot, &begin, &end);
    double *dbias = slot_memory(task, slot);
    float *own = (float *)(void *)dbias;
    struct part part = {.begin = begin,
                        .rows = end - begin,
                        .turned = task->scratch,
                        .zeros = own + p->zeros,
                        .dbias = dbias,
                        .dkernel = own + p->dkernel,
                        .drecurrent = own + p->drecurrent,
                        .dh = own + p->dh,
                        .dc = own + p->dc,
                        .values = own + p->back_values,
                        .dreset = own + p->dreset,
                        .dsums = own + p->dsums,
                        .before = own + p->before,
                        .seen = own + p->seen,
                        .dinner = own + p->dinner,
                        .reset = own + p->reset};
    /* Sums and gradients of the states, and the zeros behind. */
    memset(own, 0, (size_t)p->back_values * sizeof *own);
    for (int64_t last = p->steps; last > 0; last -= part.pitch) {
        const int64_t first = last > p->span_backward ? last - p->span_backward : 0;
        part.pitch = last - first;
        part.t0 = recurrent_time(task, recurrent_of(task)->backwards ? last - 1 : first);
        find_states(task, &part, first, last);
        for (int64_t s = last - 1; s >= first; s--) backward_step(task, &part, s);
        span_products(task, &part);
    }
    state_gradient(task, p->hidden, &part, part.dh);
    state_gradient(task, p->carry, &part, part.dc);
}

/* Sums over the slots; the kernel's and the recurrent kernel's gradients lie at `at` in each. */
static void sum_slots(const struct task *task, int64_t at, int64_t n, float *restrict to) {
    const struct recurrent_plan *p = task->plan;
    for (int slot = 0; slot < p->slots; slot++) {
        const float *from = (const float *)(const void *)slot_memory(task, slot) + at;
        if (slot == 0) memcpy(to, from, (size_t)n * sizeof *to);
        else add(to, from, n);
    }
}

static void sum_bias(const struct task *task) {
    const struct recurrent_plan *p = task->plan;
    const int64_t n = count_of(&task->param[2]);
    for (int64_t j = 0; j < n; j++) {
        /* z and r of the recurrent part's bias have the gradients of the inputs' part. */
        const int64_t from = j >= p->gates && j < p->gates + p->first ? j - p->gates : j;
        double sum = 0;
        for (int slot = 0; slot < p->slots; slot++) sum += slot_memory(task, slot)[from];
        task->dw[2][j] = (float)sum;
    }
}

status recurrent_backward(struct task *task) {
    const struct recurrent_plan *p = task->plan;
    const int slots = p->slots;
    const int64_t u = p->units;
    float *scratch = task->scratch;
    panels_pack(p->first, u, 0, panels_count(u), task->w[1], 1, p->gates, scratch + p->turned_first);
    panels_pack(p->second, u, 0, panels_count(u), task->w[1] + p->first, 1, p->gates,
                scratch + p->turned_second);
#pragma omp parallel for num_threads(slots) schedule(static, 1) if (slots > 1)
    for (int slot = 0; slot < slots; slot++) backward_slot(task, slot);
    if (task->dw[0]) sum_slots(task, p->dkernel, p->channels * p->gates, task->dw[0]);
    if (task->dw[1]) sum_slots(task, p->drecurrent, u * p->gates, task->dw[1]);
    if (task->dw[2]) sum_bias(task);
    if (p->mask >= 0 && task->dx[p->mask])
        memset(task->dx[p->mask], 0, (size_t)count_of(&task->in[p->mask]) * sizeof(float));
    return SUCCESS;
}
