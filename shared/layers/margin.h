/* Cells before and after each axis of an image: what ZeroPadding adds and Cropping takes off. Private to
 * shared/layers/. */
#ifndef GODWIT_SHARED_LAYERS_MARGIN_H
#define GODWIT_SHARED_LAYERS_MARGIN_H

#include "shared/layers/spatial.h"

struct margin {
    int before[2], after[2]; /* height, width */
};

/* From an attribute of the layer: of images one number for all sides; height and width; or top, bottom, left
 * and right; of sequences one number for both ends, or two. DATA error for other counts and for numbers out
 * of range. */
status margin_read(const struct layer *layer, const char *attr, struct margin *margin) STATUS_MUST_USE;

#endif
