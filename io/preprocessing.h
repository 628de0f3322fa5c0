/* What turns pixels into a model's input, and its outputs into names: stored with the model as JSON. */
#ifndef GODWIT_IO_PREPROCESSING_H
#define GODWIT_IO_PREPROCESSING_H

#include "io/image.h"
#include "shared/tensor.h"

/* An input is pixel * scale + offset. As JSON: {"scale": 0.00392, "offset": 0, "labels": ["Bag"], "height":
 * 28, "width": 28, "channels": 1}; every key may be absent. */
struct preprocessing {
    double scale, offset;
    int64_t height, width, channels; /* of the images the model was trained on; 0: not said */
    char **label;                    /* [nlabels], owned */
    int nlabels;
};

/* NULL json: the defaults, scale 1/255. Unknown keys are passed over. Error: DATA. */
status preprocessing_parse(const char *json, struct preprocessing **preprocessing) STATUS_MUST_USE;
status preprocessing_print(const struct preprocessing *preprocessing,
                           char **json) STATUS_MUST_USE; /* owned */
void preprocessing_destroy(struct preprocessing **preprocessing);

/* An image as one sample of shape `input` (batch, height, width, channels; unknown height and width take the
 * image's): made grey or RGB, centre-cropped to the aspect, resized, scaled. Also (batch, height, width) for
 * grey and (batch, features) where height, width and channels are said. `x` has batch 1 and is owned by the
 * caller. Errors: DATA (an input that is not an image), MEMORY. */
status preprocessing_apply(const struct preprocessing *preprocessing, const struct image *image,
                           const struct shape *input, struct tensor **x) STATUS_MUST_USE;

#endif
