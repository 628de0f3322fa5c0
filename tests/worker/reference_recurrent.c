/* Recurrent layers by the formulas of Keras's cells, one number at a time. */
#include "worker/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct layer {
    const struct recurrent *r;
    int64_t channels, units, gates;
    const double *kernel, *recurrent, *bias; /* bias: NULL if there is none */
};

/* x W + b of gate `gate`, unit `j`. */
static double of_input(const struct layer *l, const double *x, int gate, int64_t j) {
    const int64_t column = gate * l->units + j;
    double sum = l->bias ? l->bias[column] : 0;
    for (int64_t i = 0; i < l->channels; i++) sum += x[i] * l->kernel[i * l->gates + column];
    return sum;
}

/* h U, with the recurrent bias if there is one. */
static double of_state(const struct layer *l, const double *h, int gate, int64_t j) {
    const int64_t column = gate * l->units + j;
    double sum = l->bias && l->r->reset_after && l->r->cell == CELL_GRU ? l->bias[l->gates + column] : 0;
    for (int64_t i = 0; i < l->units; i++) sum += h[i] * l->recurrent[i * l->gates + column];
    return sum;
}

static double gate(const struct layer *l, const double *x, const double *h, int number, int64_t j) {
    return reference_activation(&l->r->gate, of_input(l, x, number, j) + of_state(l, h, number, j));
}

/* The states after x: from (h, c) to (next_h, next_c); `reset` [units] is scratch. */
static void step(const struct layer *l, const double *x, const double *h, const double *c, double *next_h,
                 double *next_c, double *reset) {
    const struct activation_function *f = &l->r->activation;
    for (int64_t j = 0; j < l->units; j++)
        if (l->r->cell == CELL_GRU) reset[j] = gate(l, x, h, 1, j) * h[j];
    for (int64_t j = 0; j < l->units; j++) {
        switch (l->r->cell) {
        case CELL_SIMPLE:
            next_h[j] = reference_activation(f, of_input(l, x, 0, j) + of_state(l, h, 0, j));
            break;
        case CELL_LSTM: {
            const double candidate = reference_activation(f, of_input(l, x, 2, j) + of_state(l, h, 2, j));
            next_c[j] = gate(l, x, h, 1, j) * c[j] + gate(l, x, h, 0, j) * candidate;
            next_h[j] = gate(l, x, h, 3, j) * reference_activation(f, next_c[j]);
            break;
        }
        case CELL_GRU: {
            const double z = gate(l, x, h, 0, j);
            const double back =
                l->r->reset_after ? gate(l, x, h, 1, j) * of_state(l, h, 2, j) : of_state(l, reset, 2, j);
            next_h[j] = z * h[j] + (1 - z) * reference_activation(f, of_input(l, x, 2, j) + back);
            break;
        }
        }
    }
}

static double *zeros(int64_t n) {
    double *v = calloc((size_t)n + 1, sizeof *v);
    assert_non_null(v);
    return v;
}

void reference_recurrent(struct reference *ref, const struct op *op) {
    const struct recurrent *r = &op->u.recurrent;
    const struct shape *x = &ref->graph->value[op->in[0]], *y = &ref->graph->value[op->out];
    const struct shape *kernel = &ref->graph->param[op->param[0]].shape;
    const struct shape *recurrent = &ref->graph->param[op->param[1]].shape;
    const int64_t steps = x->dim[1], width = y->dim[2];
    const struct layer l = {.r = r,
                            .channels = x->dim[2],
                            .units = recurrent->dim[0],
                            .gates = kernel->dim[1],
                            .kernel = ref->param[op->param[0]],
                            .recurrent = ref->param[op->param[1]],
                            .bias = op->param[2] >= 0 ? ref->param[op->param[2]] : NULL};
    const size_t state = (size_t)l.units * sizeof(double);
    double *h = zeros(l.units), *c = zeros(l.units), *next_h = zeros(l.units), *next_c = zeros(l.units);
    double *shown = zeros(l.units), *reset = zeros(l.units);
    for (int64_t n = 0; n < ref->batch; n++) {
        memset(h, 0, state);
        memset(c, 0, state);
        memset(shown, 0, state);
        if (r->states > 0) memcpy(h, ref->value[op->in[1]] + n * l.units, state);
        if (r->states > 1) memcpy(c, ref->value[op->in[2]] + n * l.units, state);
        for (int64_t s = 0; s < steps; s++) {
            const int64_t t = r->backwards ? steps - 1 - s : s;
            if (!r->mask || ref->value[op->in[1 + r->states]][n * steps + t] != 0) {
                step(&l, ref->value[op->in[0]] + (n * steps + t) * l.channels, h, c, next_h, next_c, reset);
                memcpy(h, next_h, state);
                memcpy(c, next_c, state);
                memcpy(shown, h, state);
            }
            double *to = ref->value[op->out] + (n * steps + s) * width;
            memcpy(to, shown, state);
            if (r->cell_state) memcpy(to + l.units, c, state);
        }
    }
    free(h);
    free(c);
    free(next_h);
    free(next_c);
    free(shown);
    free(reset);
}
