/* Receptive fields: which part of an image an output pixel is made of, along height and along width. Says
 * whether an image can be computed in tiles, and how far they must overlap. */
#ifndef GODWIT_SHARED_RECEPTIVE_H
#define GODWIT_SHARED_RECEPTIVE_H

#include "shared/op.h"

/* Along one axis: output pixel q depends on input pixels from q * step - before to q * step + after. */
struct receptive {
    double step;          /* input pixels for one output pixel */
    double before, after; /* input pixels, may be negative */
    int64_t align;        /* tiles must begin at multiples of it, and be as long as the image up to one */
};

/* Of output 0 by input 0, both (N, H, W, C), in a graph whose shapes are known but for the batch. *why is
 * NULL, or what makes an output pixel depend on the whole image (a literal, "reduce"); then field is not
 * filled in. */
status receptive_field(const struct opgraph *ops, struct receptive field[2],
                       const char **why) STATUS_MUST_USE;

#endif
