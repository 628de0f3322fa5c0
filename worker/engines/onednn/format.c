#include "worker/engines/onednn/format.h"
#include "worker/engines/onednn/step.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PARALLEL 16384 /* values from which on several threads are worth it */

/* ---- values ---- */

/* To the nearest, ties to even; NaN stays one. */
static uint16_t to_bfloat16(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    return (uint16_t)(f != f ? bits >> 16 | 0x40 : rounded);
}

static float clipped(float v, float low, float high) {
    v = v > low ? v : low; /* NaN becomes `low` */
    return v < high ? v : high;
}

#define LOOP                                                                                                 \
    _Pragma(                                                                                                 \
        "omp parallel for simd num_threads(threads) schedule(static) if (count > PARALLEL)") for (int64_t    \
                                                                                                      i = 0; \
                                                                                                  i < count; \
                                                                                                  i++)

void format_read(struct format format, int64_t count, int threads, const void *stored, float *value) {
    const float scale = format.scale;
    switch (format.dtype) {
    case DTYPE_BF16: {
        const uint16_t *from = stored;
        LOOP value[i] = format_from_bfloat16(from[i]);
        return;
    }
    case DTYPE_U8: {
        const uint8_t *from = stored;
        LOOP value[i] = (float)from[i] * scale;
        return;
    }
    case DTYPE_I8: {
        const int8_t *from = stored;
        LOOP value[i] = (float)from[i] * scale;
        return;
    }
    default:
        memcpy(value, stored, (size_t)count * sizeof *value);
    }
}

void format_store(struct format format, int64_t count, int threads, const float *value, void *stored) {
    const float factor = 1 / format.scale;
    switch (format.dtype) {
    case DTYPE_BF16: {
        uint16_t *to = stored;
        LOOP to[i] = to_bfloat16(value[i]);
        return;
    }
    case DTYPE_U8: {
        uint8_t *to = stored;
        LOOP to[i] = (uint8_t)(int32_t)rintf(clipped(value[i] * factor, 0, UINT8_MAX));
        return;
    }
    case DTYPE_I8: {
        int8_t *to = stored;
        LOOP to[i] = (int8_t)(int32_t)rintf(clipped(value[i] * factor, -INT8_MAX, INT8_MAX));
        return;
    }
    default:
        memcpy(stored, value, (size_t)count * sizeof *value);
    }
}

/* ---- which value is stored how ---- */

struct choice {
    struct onednn_exec *exec;
    bool *small;               /* [nvalues] not float32 */
    int *alike;                /* [nvalues] a value stored alike, in the end the first of all such */
    struct value_range *range; /* [nvalues] of values stored alike together, at the first of them */
};

static enum step_formats formats_of(const struct onednn_exec *exec, const struct step *step) {
    return step->kind->formats ? step->kind->formats(exec, step) : STEP_FLOAT32;
}

static int first_alike(const struct choice *c, int value) {
    while (c->alike[value] != value) value = c->alike[value];
    return value;
}

static void join(struct choice *c, int a, int b) {
    a = first_alike(c, a);
    b = first_alike(c, b);
    c->alike[a > b ? a : b] = a > b ? b : a;
}

/* fminf would pass over NaN: nothing is known of all if something is not of one. */
static float least(float a, float b) {
    return a < b || a != a ? a : b;
}

static void join_ranges(struct choice *c) {
    const struct exec_options *o = &c->exec->options;
    for (int v = 0; v < c->exec->graph->nvalues; v++) {
        const int first = first_alike(c, v);
        const struct value_range r = o->range ? o->range[v] : (struct value_range){NAN, NAN};
        struct value_range *all = &c->range[first];
        *all = first == v ? r : (struct value_range){least(all->low, r.low), -least(-all->high, -r.high)};
    }
}

static struct format rounded(const struct choice *c, int value) {
    if (c->exec->options.precision == PRECISION_BFLOAT16) return (struct format){DTYPE_BF16, 1};
    const struct value_range r = c->range[first_alike(c, value)];
    const float high = fmaxf(r.high, -r.low);
    if (!(isfinite(r.low) && isfinite(r.high) && high >= FORMAT_LEAST)) return FORMAT_F32;
    return r.low >= 0 ? (struct format){DTYPE_U8, high / UINT8_MAX}
                      : (struct format){DTYPE_I8, high / INT8_MAX};
}

/* Values that are small only if all of a step's are. */
static bool settle(struct choice *c) {
    bool changed = false;
    for (int i = 0; i < c->exec->nsteps; i++) {
        const struct step *s = &c->exec->step[i];
        if (formats_of(c->exec, s) != STEP_MOVES) continue;
        bool all = c->small[s->out];
        for (int k = 0; k < s->nin; k++) all = all && c->small[s->in[k]];
        for (int k = -1; k < s->nin && !all; k++) {
            bool *small = &c->small[k < 0 ? s->out : s->in[k]];
            changed = changed || *small;
            *small = false;
        }
    }
    return changed;
}

static void choose(struct choice *c) {
    struct onednn_exec *e = c->exec;
    for (int v = 0; v < e->graph->nvalues; v++) c->alike[v] = v;
    for (int i = 0; i < e->nsteps; i++) {
        const struct step *s = &e->step[i];
        const enum step_formats formats = formats_of(e, s);
        c->small[s->out] = formats == STEP_ANY || formats == STEP_MOVES;
        for (int k = 0; k < s->nin && formats == STEP_MOVES; k++) join(c, s->out, s->in[k]);
    }
    join_ranges(c);
    for (int v = 0; v < e->graph->nvalues; v++) {
        e->rounded[v] = rounded(c, v);
        if (e->rounded[v].dtype == DTYPE_F32) c->small[v] = false;
    }
    for (int i = 0; i < e->graph->noutputs; i++) c->small[e->graph->output[i]] = false;
    for (int i = 0; i < e->nsteps; i++)
        for (int k = 0; k < e->step[i].nin; k++)
            if (formats_of(e, &e->step[i]) == STEP_FLOAT32) c->small[e->step[i].in[k]] = false;
    while (settle(c)) continue;
    for (int v = 0; v < e->graph->nvalues; v++)
        if (c->small[v]) e->format[v] = e->rounded[v];
}

status formats_choose(struct onednn_exec *exec) {
    const size_t n = (size_t)exec->graph->nvalues + 1;
    for (int v = 0; v < exec->graph->nvalues; v++) exec->format[v] = exec->rounded[v] = FORMAT_F32;
    if (step_trains(exec) || exec->options.precision == PRECISION_FLOAT32) return SUCCESS;
    struct choice c = {.exec = exec,
                       .small = calloc(n, sizeof *c.small),
                       .alike = calloc(n, sizeof *c.alike),
                       .range = calloc(n, sizeof *c.range)};
    status error = SUCCESS;
    if (c.small && c.alike && c.range) choose(&c);
    else error = status_no_memory("an execution plan", n * sizeof *c.range);
    free(c.small);
    free(c.alike);
    free(c.range);
    return error;
}
