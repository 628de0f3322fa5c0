/* Patches of an image as rows of a matrix, and back. */
#ifndef GODWIT_WORKER_ENGINES_OPENBLAS_IM2COL_H
#define GODWIT_WORKER_ENGINES_OPENBLAS_IM2COL_H

#include "shared/op.h"

struct patches {
    struct window window;
    int64_t height, width, channels;  /* of the image */
    int64_t out_width;                /* patches in a row of the output */
    int64_t first_channel, nchannels; /* which channels to take */
};

/* Rows first..last-1 (output pixels, row by row) of the patches of one image (height, width, channels): each
 * row is (size[0], size[1], nchannels), zero where the window hangs over. */
void im2col(const struct patches *patches, const float *image, int64_t first, int64_t last, float *rows);

/* Adds the rows to the image's pixels they came from. */
void col2im_add(const struct patches *patches, const float *rows, int64_t first, int64_t last, float *image);

#endif
