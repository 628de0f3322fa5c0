/* What turns pixels into a model's input, and its outputs into names: stored with the model as JSON. */
#ifndef GODWIT_IO_PREPROCESSING_H
#define GODWIT_IO_PREPROCESSING_H

#include "io/image.h"
#include "shared/tensor.h"

struct preprocessing {
    double scale, offset;
    char **label; /* [nlabels], owned */
    int nlabels;
};

status preprocessing_parse(const char *json, struct preprocessing **preprocessing) STATUS_MUST_USE; /* NULL json: defaults, 1/255 */
status preprocessing_print(const struct preprocessing *preprocessing, char **json) STATUS_MUST_USE;
void preprocessing_destroy(struct preprocessing **preprocessing);

/* An image as one sample of shape `input` (batch, height, width, channels; unknown height and width take the
 * image's): made grey or RGB, centre-cropped to the aspect, resized, scaled. `x` is owned by the caller. */
status preprocessing_apply(const struct preprocessing *preprocessing, const struct image *image, const struct shape *input,
                           struct tensor **x) STATUS_MUST_USE;

#endif
