/* Image-to-image models on images of any size: as a whole, or in tiles that overlap by the receptive field,
 * so that what is put together is what the whole would give. Memory is that of one tile. */
#ifndef GODWIT_WORKER_TILES_H
#define GODWIT_WORKER_TILES_H

#include "io/preprocessing.h"
#include "worker/predictor.h"

#define TILES_BYTES ((double)(1 << 29)) /* of all values of a tile, of which few are there at a time */

/* Takes a part of the output: y (height, width, channels), of which a row of `stride` floats follows the
 * other, for the output's pixels from (top, left) on. Parts do not overlap. */
typedef void tiles_put(void *context, int64_t top, int64_t left, int64_t height, int64_t width,
                       int64_t stride, const float *y);

struct tiles_task {
    const struct model *model;
    struct predictor *predictor; /* of it */
    const struct preprocessing *preprocessing;
    const struct image *pixels; /* the input, as preprocessing_fit() makes it */
    int64_t size;               /* longest side of a tile; 0: by `bytes`; -1: the image as a whole */
    double bytes;               /* 0: TILES_BYTES */
    tiles_put *put;
    void *context;
};

struct tiles_report {
    int64_t height, width; /* of a tile */
    int64_t rows, columns; /* of tiles */
    int64_t margin[2];     /* by which tiles reach into others, along height and width */
    double bytes;          /* of all values of a tile */
    const char *why;       /* it is not tiled though it is large: what depends on the whole image; NULL */
    double seconds;        /* of computing */
};

/* Shape (?, height, width, channels) of the output for an image. Errors as predictor_outputs(). */
status tiles_output(const struct tiles_task *task, struct shape *output) STATUS_MUST_USE;

/* Errors: USAGE (a size that is too small for the receptive field), and those of predictor_run(). */
status tiles_run(const struct tiles_task *task, struct tiles_report *report) STATUS_MUST_USE;

#endif
