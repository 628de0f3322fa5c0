/* Inside io/image*.c: one decoder and one encoder for each file format. */
#ifndef GODWIT_IO_IMAGE_FORMAT_H
#define GODWIT_IO_IMAGE_FORMAT_H

#include "io/image.h"
#include "shared/tensor.h"

#include <stdio.h>

/* `file` stands at its beginning; `path` is for messages. The caller closes `file`. */
status image_png_read(FILE *file, const char *path, struct image **image) STATUS_MUST_USE;
status image_png_write(FILE *file, const char *path, const struct image *image) STATUS_MUST_USE;
status image_jpeg_read(FILE *file, const char *path, struct image **image) STATUS_MUST_USE;
status image_jpeg_write(FILE *file, const char *path, const struct image *image) STATUS_MUST_USE;

/* The orientation, 1 to 8, that an EXIF block ("Exif", two zeros, TIFF) says; 1, as it is, if it says none.
 */
int image_exif_orientation(const uint8_t *data, size_t n);
/* Turns an image of that orientation upright; *image is replaced. */
status image_orient(struct image **image, int orientation) STATUS_MUST_USE;

/* Fills `to`, of any size and as many channels, by FILTER_BILINEAR or FILTER_AREA. */
status image_resample(const struct image *from, enum image_filter filter, struct image *to) STATUS_MUST_USE;

/* DATA error unless 1 <= height, width <= IMAGE_MAX_SIDE and height * width <= IMAGE_MAX_PIXELS. */
status image_check_size(const char *what, int64_t height, int64_t width) STATUS_MUST_USE;

#endif
