/* A model ready to be run on inputs of whatever shapes and numbers of samples come. Not collective.
 *
 * Samples are computed in pieces, each by an exec (worker/engine.h) that is compiled for the shapes and the
 * number of samples of a piece and kept for the next time. Pieces have 1, 2, 4, ... samples, up to what the
 * processor's caches are best for, so that any number of samples is made of few of them, none is computed in
 * vain and odd numbers need no exec of their own: 23 samples are pieces of 16, 4, 2 and 1. Where parameters
 * are so large that all those execs, of which each packs them for itself, would take more than the limit,
 * there are pieces of 1 and of the largest number only, and what is left of the latter repeats the last
 * sample.
 *
 * Where there are as many pieces as threads, each thread computes some of them alone; else they are computed
 * one after the other by all threads, or by fewer where the operations are too small to be worth waking them.
 *
 * A predictor may be used by several threads at once: each has execs of its own while it runs. Inside a
 * parallel region of OpenMP that does not nest, it computes with the calling thread alone. */
#ifndef GODWIT_WORKER_PREDICTOR_H
#define GODWIT_WORKER_PREDICTOR_H

#include "io/model.h"
#include "worker/engine.h"

#define PREDICTOR_BATCH 64                  /* samples of a piece, at most */
#define PREDICTOR_FORMS 8                   /* shapes of inputs remembered */
#define PREDICTOR_BYTES ((size_t)512 << 20) /* of execs kept */

struct predictor_options {
    const struct engine *engine;
    int threads;   /* that one run may use, at least 1 */
    int64_t batch; /* samples of a piece, at most; 0: chosen, at most PREDICTOR_BATCH */
    int forms;     /* 0: PREDICTOR_FORMS */
    size_t nbytes; /* 0: PREDICTOR_BYTES */
};

struct predictor;

/* The model is borrowed and must not change. Nothing is compiled yet.
 *
 * Memory: `forms` shapes of inputs are remembered, and execs that nobody uses are kept up to `nbytes`, at
 * least one; those used longest ago go first. An exec holds the parameters in the form that suits it, and the
 * values of a piece. What is being computed at the moment is not limited: one exec for each calling thread,
 * and for each thread of its run as long as they all stay within `nbytes`. */
status predictor_create(const struct predictor_options *options, const struct model *model,
                        struct predictor **predictor) STATUS_MUST_USE;
/* When no thread uses it any more. Accepts NULL. */
void predictor_destroy(struct predictor **predictor);

/* Shapes of the outputs [noutputs] for inputs of these shapes [ninputs]; dimension 0, the samples, is ignored
 * and becomes SHAPE_UNKNOWN. Errors: DATA, naming the input (a shape that the model does not take), and what
 * layers say of it; MEMORY. */
status predictor_outputs(struct predictor *predictor, const struct shape *input,
                         struct shape *output) STATUS_MUST_USE;

/* Compiles now what a run of so many samples of these shapes needs: the run is no slower the first time.
 * Errors as predictor_run(). */
status predictor_prepare(struct predictor *predictor, int64_t samples,
                         const struct shape *input) STATUS_MUST_USE;

/* Computes y[i] (samples, ...), i < noutputs, of x[i] (samples, ...), i < ninputs, float32 each. `input`: as
 * above. No samples: nothing is done. Allocates nothing if it has run so before and the execs are there.
 * Errors: DATA (shapes; a value that the model cannot take), UNSUPPORTED (the engine), MEMORY; what is in y
 * is undefined then. */
status predictor_run(struct predictor *predictor, int64_t samples, const struct shape *input,
                     const float *const *x, float *const *y) STATUS_MUST_USE;

/* What is kept at the moment: shapes of inputs, execs that nobody uses, bytes of these. For reports and
 * tests. */
void predictor_keeps(struct predictor *predictor, int *forms, int *execs, size_t *nbytes);

#endif
