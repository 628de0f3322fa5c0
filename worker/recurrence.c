#include "worker/recurrence.h"

#include "shared/layer.h"
#include "worker/calibration.h"
#include "worker/forward.h"
#include "worker/matmul.h"

#include <stdlib.h>
#include <string.h>

const struct gate_map *gate_maps(const struct recurrent *recurrent, int *n) {
    static const struct gate_map simple[] = {{0, 1, true, STATE_PLAIN, 0}};
    static const struct gate_map lstm[] = {{0, 4, true, STATE_PLAIN, 0}};
    static const struct gate_map before[] = {{0, 2, true, STATE_PLAIN, 0}, {2, 1, true, STATE_RESET, 0}};
    static const struct gate_map after[] = {
        {0, 2, true, STATE_PLAIN, 0}, {2, 1, true, STATE_NONE, 0}, {2, 1, false, STATE_PLAIN, 1}};
    *n = recurrent->cell != CELL_GRU ? 1 : recurrent->reset_after ? 3 : 2;
    if (recurrent->cell == CELL_GRU) return recurrent->reset_after ? after : before;
    return recurrent->cell == CELL_LSTM ? lstm : simple;
}

int64_t gate_map_columns(const struct gate_map *map, int64_t channels, int64_t units) {
    return (map->inputs ? channels : 0) + (map->state != STATE_NONE ? units : 0);
}

struct recurrence recurrence_of(const struct opgraph *graph, const struct params *params, const struct op *op,
                                int64_t n) {
    const struct shape *in = &graph->value[op->in[0]], *out = &graph->value[op->out];
    struct recurrence r = {.op = op,
                           .n = n,
                           .steps = in->dim[1],
                           .channels = in->dim[2],
                           .units = graph->param[op->param[1]].shape.dim[0],
                           .gates = graph->param[op->param[1]].shape.dim[1],
                           .width = out->dim[2]};
    for (int i = 0; i < 3; i++) r.w[i] = op->param[i] >= 0 ? params_at(params, op->param[i]) : NULL;
    return r;
}

/* Where the mask leaves a step out, the state stays as it is. */
static void states_before(const struct recurrence *r, float *states) {
    int64_t u = r->units;
    for (int64_t i = 0; i < r->n; i++) {
        const float *state = r->state ? r->state + i * u : NULL;
        for (int64_t s = 0; s < r->steps; s++) {
            int64_t t = r->op->u.recurrent.backwards ? r->steps - 1 - s : s, row = i * r->steps + t;
            if (state) memcpy(states + row * u, state, (size_t)u * sizeof *states);
            else memset(states + row * u, 0, (size_t)u * sizeof *states);
            if (!r->mask || r->mask[row] != 0) state = r->h + (i * r->steps + s) * r->width;
        }
    }
}

/* Puts the function of gates in the place of their sums, by the engine: v (n, width). */
static status apply_gate(const struct machine *machine, const struct activation_function *function, int64_t n,
                         int64_t width, float *v) {
    struct opgraph *graph = NULL;
    struct params *params = NULL;
    struct forward *forward = NULL;
    const struct shape shape = SHAPE(SHAPE_UNKNOWN, width);
    int in = 0, out = 0;
    status error = opgraph_create(&graph);
    if (!error) error = opgraph_add_value(graph, &shape, &in);
    struct op op = op_make(OP_ACTIVATION, &in, 1);
    op.u.act = *function;
    if (!error) error = opgraph_add_op(graph, &op, &shape, &out);
    if (!error) error = opgraph_set_io(graph, 1, &in, 1, &out);
    if (!error) error = params_create(graph, &params);
    if (!error) error = forward_create(machine, graph, params, CALIBRATION_BLOCK, &forward);
    for (int64_t first = 0; first < n && !error; first += CALIBRATION_BLOCK) {
        int64_t run = n - first < CALIBRATION_BLOCK ? n - first : CALIBRATION_BLOCK;
        error = forward_inputs(forward, v + first * width, run);
        if (!error) memcpy(v + first * width, forward_output(forward, 0), (size_t)(run * width) * sizeof *v);
    }
    forward_destroy(&forward);
    params_destroy(&params);
    opgraph_destroy(&graph);
    return error;
}

/* The reset gate, the second of a GRU's, of all steps. */
static status reset_gate(const struct machine *machine, const struct recurrence *r, const float *states,
                         float **gate) {
    static const struct gate_map reset = {1, 1, true, STATE_PLAIN, 0};
    int64_t columns = r->channels + r->units;
    float *kernel = NULL, *bias = NULL, *row = NULL;
    status error = recurrence_map(r, &reset, NULL, r->units, &kernel, &bias);
    if (!error) error = recurrence_rows(r, &reset, states, r->units, NULL, r->units, &row);
    if (!error) error = recurrence_sums(machine, r, columns, r->units, row, kernel, bias, gate);
    if (!error) error = apply_gate(machine, &r->op->u.recurrent.gate, r->n, r->steps * r->units, *gate);
    free(kernel);
    free(bias);
    free(row);
    return error;
}

status recurrence_states(const struct machine *machine, const struct recurrence *r, bool reset,
                         float **states) {
    int64_t all = r->n * r->steps * r->units;
    float *gate = NULL;
    STATUS_TRY(memory_alloc("a recurrent layer's states", (size_t)all, sizeof **states, (void **)states));
    states_before(r, *states);
    if (!reset) return SUCCESS;
    status error = reset_gate(machine, r, *states, &gate);
    for (int64_t i = 0; i < all && !error; i++) (*states)[i] *= gate[i];
    free(gate);
    return error;
}

status recurrence_map(const struct recurrence *r, const struct gate_map *map, const int64_t *unit,
                      int64_t nunits, float **kernel, float **bias) {
    int64_t m = map->gates * nunits, k = gate_map_columns(map, r->channels, r->units);
    STATUS_TRY(memory_alloc("a recurrent layer", (size_t)(k * m), sizeof **kernel, (void **)kernel));
    STATUS_TRY(memory_alloc("a recurrent layer", (size_t)m, sizeof **bias, (void **)bias));
    for (int64_t j = 0; j < m; j++) {
        int64_t at = j % nunits, column = (map->first + j / nunits) * r->units + (unit ? unit[at] : at),
                i = 0;
        for (int64_t c = 0; c < r->channels && map->inputs; c++)
            (*kernel)[i++ * m + j] = r->w[0][c * r->gates + column];
        for (int64_t c = 0; c < r->units && map->state != STATE_NONE; c++)
            (*kernel)[i++ * m + j] = r->w[1][c * r->gates + column];
        if (!r->w[2]) continue;
        (*bias)[j] = r->w[2][map->bias * r->gates + column];
        bool both = r->op->u.recurrent.reset_after && map->inputs && map->state != STATE_NONE;
        if (both) (*bias)[j] += r->w[2][r->gates + column];
    }
    return SUCCESS;
}

status recurrence_rows(const struct recurrence *r, const struct gate_map *map, const float *states,
                       int64_t units, const int64_t *unit, int64_t nunits, float **rows) {
    int64_t n = r->n * r->steps, columns = gate_map_columns(map, r->channels, nunits);
    STATUS_TRY(memory_alloc("a recurrent layer's steps (lower refit.samples)", (size_t)(n * columns),
                            sizeof **rows, (void **)rows));
    for (int64_t i = 0; i < n; i++) {
        float *row = *rows + i * columns;
        if (map->inputs) memcpy(row, r->x + i * r->channels, (size_t)r->channels * sizeof *row);
        if (map->inputs) row += r->channels;
        for (int64_t j = 0; j < nunits && map->state != STATE_NONE; j++)
            row[j] = states[i * units + (unit ? unit[j] : j)];
    }
    return SUCCESS;
}

status recurrence_sums(const struct machine *machine, const struct recurrence *r, int64_t columns, int64_t m,
                       const float *rows, const float *kernel, const float *bias, float **sums) {
    int64_t n = r->n * r->steps, run = CALIBRATION_BLOCK * r->steps;
    STATUS_TRY(memory_alloc("a recurrent layer's gates (lower refit.samples)", (size_t)(n * m), sizeof **sums,
                            (void **)sums));
    for (int64_t i = 0; i < n; i += run)
        matmul(n - i < run ? n - i : run, m, columns, rows + i * columns, kernel, *sums + i * m,
               machine->threads);
    for (int64_t i = 0; i < n * m; i++) (*sums)[i] += bias[i % m];
    return SUCCESS;
}
