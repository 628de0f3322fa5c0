/* Images: PNG and JPEG to and from 8-bit pixels, (height, width, channels) row-major, channels 1 (grey) or
 * 3 (RGB); alpha is blended on white, 16 bit is reduced, palettes expanded, CMYK converted, and what EXIF
 * says of how the camera was held is undone. */
#ifndef GODWIT_IO_IMAGE_H
#define GODWIT_IO_IMAGE_H

#include "shared/status.h"

#include <stdint.h>

struct image {
    int64_t height, width;
    int channels;
    uint8_t *pixel; /* owned */
};

#define IMAGE_MAX_PIXELS ((int64_t)1 << 28) /* larger is refused before decoding */
#define IMAGE_MAX_SIDE 65535                /* of height and of width, as in JPEG */

/* By content, not by name. Errors: IO, DATA (not an image, truncated, too large, zero size). */
status image_read(const char *path, struct image **image) STATUS_MUST_USE;
/* Format by the name's ending (.png, .jpg, .jpeg); temporary name, sync, rename. USAGE error for another
 * ending. */
status image_write(const char *path, const struct image *image) STATUS_MUST_USE;
status image_create(int64_t height, int64_t width, int channels,
                    struct image **image) STATUS_MUST_USE; /* black */
void image_destroy(struct image **image);

/* The functions below make a new image, which the caller owns. */
status image_to_channels(const struct image *image, int channels,
                         struct image **out) STATUS_MUST_USE; /* Rec. 601 luma */
status image_crop(const struct image *image, int64_t top, int64_t left, int64_t height, int64_t width,
                  struct image **out) STATUS_MUST_USE;
/* The largest part of that aspect in the middle. */
status image_crop_centre(const struct image *image, double aspect /* width / height */,
                         struct image **out) STATUS_MUST_USE;
/* How pixels are made of others. */
enum image_filter {
    FILTER_SMOOTH,   /* Mitchell for smaller, Catmull-Rom for larger */
    FILTER_BILINEAR, /* a triangle, as wide as a pixel of the smaller image */
    FILTER_AREA,     /* the mean of what lies under a pixel */
    FILTER_NEAREST   /* the one in whose middle it lies */
};
/* Edges repeated, values taken as linear; the same size is an exact copy. */
status image_resize_by(const struct image *image, int64_t height, int64_t width, enum image_filter filter,
                       struct image **out) STATUS_MUST_USE;
/* FILTER_SMOOTH. */
status image_resize(const struct image *image, int64_t height, int64_t width,
                    struct image **out) STATUS_MUST_USE;
/* Draws lines of ASCII text in a caption below the image, made at least `min_width` wide (nearest-neighbour
 * enlarged by a whole factor if it is smaller, then centred on white); the result is RGB. Other characters
 * are drawn as "?", long lines are cut. */
status image_caption(const struct image *image, const char *const *line, int nlines, int64_t min_width,
                     struct image **out) STATUS_MUST_USE;

#endif
