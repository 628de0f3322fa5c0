/* Golden pairs: reference inputs of a model and the outputs that belong to them, in an HDF5 file.
 *
 * Datasets x and y, each (N, ...); of a model with several inputs or outputs x0, x1, ... and y0, y1, ... in
 * the model's order, or groups x and y with one dataset named like each input layer, and like the layer of
 * each output. Floating-point numbers or integers of any size. Not collective. */
#ifndef GODWIT_IO_GOLDEN_H
#define GODWIT_IO_GOLDEN_H

#include "shared/graph.h"

struct golden {
    int64_t samples; /* at least 1 */
    int ninputs, noutputs;
    struct tensor **x, **y; /* [ninputs], [noutputs], float32, (samples, ...), owned */
};

/* All zero, for the caller to fill in: shapes without the batch are those of a graph whose shapes are known.
 */
status golden_create(const struct graph *graph, int64_t samples, struct golden **golden) STATUS_MUST_USE;
void golden_destroy(struct golden **golden); /* accepts NULL */

/* Reads the pair for a model. Errors: IO, DATA (no such dataset: lists what is needed; other numbers of
 * samples; a value that is not finite). Whether the shapes fit the model is the business of
 * model_set_inputs() and of whoever compares. */
status golden_read(const char *path, const struct graph *graph, struct golden **golden) STATUS_MUST_USE;

/* Writes x and y, or x0, x1, ... and y0, y1, ...; complete or absent. `made_by` is kept as attribute
 * "made_by".
 */
status golden_write(const char *path, const struct golden *golden, const char *made_by) STATUS_MUST_USE;

/* How far an output is from its reference. */
struct golden_difference {
    double difference; /* largest absolute difference; NaN if one is not a number */
    double largest;    /* largest absolute value of the reference */
    double ratio;      /* difference / largest; 0 if both are 0 */
    bool pass;         /* difference <= tolerance * largest */
};

/* DATA error if the shapes differ. */
status golden_compare(const struct tensor *y, const struct tensor *reference, double tolerance,
                      struct golden_difference *result) STATUS_MUST_USE;

#endif
