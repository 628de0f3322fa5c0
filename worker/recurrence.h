/* What the gates of a recurrent layer are made of: affine maps of its inputs and of its state of the step
 * before. Rows are (samples, steps), in the order of the inputs whichever way the layer runs. Not collective.
 */
#ifndef GODWIT_WORKER_RECURRENCE_H
#define GODWIT_WORKER_RECURRENCE_H

#include "worker/machine.h"

/* Some gates as one affine map. */
struct gate_map {
    int first, gates; /* of Keras's order */
    bool inputs;      /* of the inputs ... */
    enum {
        STATE_NONE,
        STATE_PLAIN,
        STATE_RESET
    } state;  /* ... and of the state, or of that times the reset
                 gate */
    int bias; /* row of the bias that is its own; the others are added to it */
};

/* The maps that make a cell's gates. */
const struct gate_map *gate_maps(const struct recurrent *recurrent, int *n);

/* One call of a layer in one model, on this rank's samples. */
struct recurrence {
    const struct op *op;
    int64_t n, steps, channels, units, gates;
    int64_t width;      /* of an output: units, or twice as many with the cell's state */
    const float *x;     /* (n, steps, channels) */
    const float *state; /* (n, units) at first; NULL: zero */
    const float *mask;  /* (n, steps); NULL: all steps count */
    const float *h;     /* (n, steps, width) outputs, in the order of computation */
    const float *w[3];  /* kernel, recurrent kernel, bias or NULL */
};

/* Sizes and weights; the pointers to samples stay NULL. */
struct recurrence recurrence_of(const struct opgraph *graph, const struct params *params, const struct op *op,
                                int64_t n);

/* The state that each step begins with, or that times its reset gate: (n, steps, units), owned by the caller.
 * Errors: MEMORY, the engine's. */
status recurrence_states(const struct machine *machine, const struct recurrence *r, bool reset,
                         float **states) STATUS_MUST_USE;

/* Weight i of the map's gates at the kept units (NULL: all `nunits`): (inputs + units, gates * nunits), and
 * the bias or zero; for `states` as they come to the map. Owned by the caller. */
status recurrence_map(const struct recurrence *r, const struct gate_map *map, const int64_t *unit,
                      int64_t nunits, float **kernel, float **bias) STATUS_MUST_USE;

/* What the map sees: (n, steps, columns), the inputs, then of `states` (n, steps, units) those of these units
 * (NULL: all `nunits`). Owned by the caller. */
status recurrence_rows(const struct recurrence *r, const struct gate_map *map, const float *states,
                       int64_t units, const int64_t *unit, int64_t nunits, float **rows) STATUS_MUST_USE;
int64_t gate_map_columns(const struct gate_map *map, int64_t channels, int64_t units);

/* Rows (n, steps, columns) times the kernel, with the bias: (n, steps, m), owned by the caller. The same
 * bytes however the samples are split over ranks. */
status recurrence_sums(const struct machine *machine, const struct recurrence *r, int64_t columns, int64_t m,
                       const float *rows, const float *kernel, const float *bias,
                       float **sums) STATUS_MUST_USE;

#endif
