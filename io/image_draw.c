/* Resizing and lettering, by the stb libraries. */
#include "io/image_format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <stb/stb_easy_font.h>
#include <stb/stb_image_resize.h>

#define RESIZE_MAX_BYTES ((double)(1 << 30)) /* the resizer counts its working memory in int */
#define FILTER_SUPPORT 4                     /* pixels under the widest filter at scale 1 */

/* Whether the resizer's working memory, of coefficients and of a ring of rows, stays countable. */
static bool can_resize(const struct image *image, int64_t height, int64_t width) {
    double down_x = fmax(1, (double)image->width / (double)width),
           down_y = fmax(1, (double)image->height / (double)height);
    double row = (double)(width > image->width ? width : image->width) * image->channels * sizeof(float);
    double ring = (FILTER_SUPPORT * down_y + 2) * (double)width * image->channels * sizeof(float);
    double coefficients = ((double)(width + image->width) + 2 * FILTER_SUPPORT * down_x +
                           (double)(height + image->height) + 2 * FILTER_SUPPORT * down_y) *
                          (FILTER_SUPPORT + 4) * sizeof(float);
    return 4 * row + ring + coefficients < RESIZE_MAX_BYTES;
}

static void resize_nearest(const struct image *from, struct image *to) {
    size_t channels = (size_t)from->channels;
    for (int64_t y = 0; y < to->height; y++) {
        const uint8_t *row =
            from->pixel + (size_t)((2 * y + 1) * from->height / (2 * to->height) * from->width) * channels;
        for (int64_t x = 0; x < to->width; x++)
            memcpy(to->pixel + (size_t)(y * to->width + x) * channels,
                   row + (size_t)((2 * x + 1) * from->width / (2 * to->width)) * channels, channels);
    }
}

status image_resize(const struct image *image, int64_t height, int64_t width, struct image **out) {
    return image_resize_by(image, height, width, FILTER_SMOOTH, out);
}

status image_resize_by(const struct image *image, int64_t height, int64_t width, enum image_filter filter,
                       struct image **out) {
    if (height == image->height && width == image->width)
        return image_to_channels(image, image->channels, out);
    struct image *made;
    STATUS_TRY(image_create(height, width, image->channels, &made));
    if (filter != FILTER_SMOOTH) {
        status error = SUCCESS;
        if (filter == FILTER_NEAREST) resize_nearest(image, made);
        else error = image_resample(image, filter, made);
        if (error) image_destroy(&made);
        else *out = made;
        return error;
    }
    if (!can_resize(image, height, width)) {
        status error = status_fail(
            STATUS_DATA, "cannot resize an image of %d x %d pixels to %d x %d; give one nearer that size",
            (int)image->width, (int)image->height, (int)width, (int)height);
        image_destroy(&made);
        return error;
    }
    if (!stbir_resize_uint8(image->pixel, (int)image->width, (int)image->height, 0, made->pixel, (int)width,
                            (int)height, 0, image->channels)) {
        image_destroy(&made);
        return status_no_memory("resizing an image",
                                (unsigned long long)(image->width * height) * sizeof(float));
    }
    *out = made;
    return SUCCESS;
}

#define LINE_MAX_CHARACTERS 120
#define LINE_HEIGHT 12 /* of the font, with the space between lines */
#define MARGIN 4
#define SCALE_MIN 2         /* the font's strokes are one pixel wide */
#define WIDTH_PER_SCALE 150 /* letters grow with the image: about 20 in its width */

/* What the font has: ASCII; a multi-byte UTF-8 character becomes one "?". */
static void copy_printable(const char *line, char *text /* [LINE_MAX_CHARACTERS + 1] */) {
    int n = 0;
    for (const unsigned char *c = (const unsigned char *)line; *c && n < LINE_MAX_CHARACTERS; c++) {
        if ((*c & 0xc0) == 0x80) continue;
        text[n++] = *c >= 32 && *c < 127 ? (char)*c : '?';
    }
    text[n] = 0;
}

struct vertex {
    float x, y, z;
    unsigned char color[4];
};

/* Draws black letters with the upper left corner at (left, top). */
static status draw_line(struct image *image, char *text, int64_t left, int64_t top, int64_t scale) {
    enum { BYTES_PER_CHARACTER = 24 * 4 * sizeof(struct vertex) };
    size_t nbytes = (strlen(text) + 1) * BYTES_PER_CHARACTER;
    struct vertex *vertex = malloc(nbytes);
    if (!vertex) return status_no_memory("a caption", nbytes);
    int nquads = stb_easy_font_print(0, 0, text, NULL, vertex, (int)nbytes);
    for (int q = 0; q < nquads; q++) { /* corners 0 and 2 are opposite */
        const struct vertex *from = vertex + 4 * q, *to = from + 2;
        int64_t x0 = left + (int64_t)from->x * scale, x1 = left + (int64_t)to->x * scale;
        int64_t y0 = top + (int64_t)from->y * scale, y1 = top + (int64_t)to->y * scale;
        if (x0 < 0) x0 = 0;
        if (y0 < 0) y0 = 0;
        if (x1 > image->width) x1 = image->width;
        if (y1 > image->height) y1 = image->height;
        for (int64_t y = y0; y < y1 && x0 < x1; y++)
            memset(image->pixel + (size_t)((y * image->width + x0) * image->channels), 0,
                   (size_t)((x1 - x0) * image->channels));
    }
    free(vertex);
    return SUCCESS;
}

/* Copies `image` into the RGB image `out`, enlarged by a whole factor, with its upper left corner at (left,
 * 0). */
static void paste(struct image *out, const struct image *image, int64_t left, int64_t factor) {
    for (int64_t y = 0; y < image->height * factor; y++) {
        const uint8_t *from = image->pixel + (size_t)(y / factor * image->width * image->channels);
        uint8_t *to = out->pixel + (size_t)((y * out->width + left) * 3);
        for (int64_t x = 0; x < image->width * factor; x++)
            for (int c = 0; c < 3; c++)
                to[3 * x + c] = from[x / factor * image->channels + (image->channels == 3 ? c : 0)];
    }
}

status image_caption(const struct image *image, const char *const *line, int nlines, int64_t min_width,
                     struct image **out) {
    char(*text)[LINE_MAX_CHARACTERS + 1] = calloc((size_t)nlines + 1, sizeof *text);
    if (!text) return status_no_memory("a caption", (size_t)nlines * sizeof *text);
    int64_t text_width = 0;
    for (int i = 0; i < nlines; i++) {
        copy_printable(line[i], text[i]);
        int64_t w = stb_easy_font_width(text[i]);
        if (w > text_width) text_width = w;
    }
    int64_t factor = image->width < min_width ? (min_width + image->width - 1) / image->width : 1;
    if (image->height * factor > 4 * min_width) factor = 1; /* a tall strip: pad rather than enlarge */
    int64_t width = image->width * factor > min_width ? image->width * factor : min_width;
    int64_t scale = width / WIDTH_PER_SCALE;
    while (scale > SCALE_MIN && text_width * scale + 2 * MARGIN * scale > width) scale--;
    if (scale < SCALE_MIN) scale = SCALE_MIN;
    if (text_width * scale + 2 * MARGIN * scale > width) width = text_width * scale + 2 * MARGIN * scale;
    int64_t height = image->height * factor + (nlines ? (nlines * LINE_HEIGHT + MARGIN) * scale : 0);
    struct image *made = NULL;
    status error = image_create(height, width, 3, &made);
    if (!error) {
        memset(made->pixel, 255, (size_t)(height * width * 3));
        paste(made, image, (width - image->width * factor) / 2, factor);
    }
    for (int i = 0; i < nlines && !error; i++)
        error = draw_line(made, text[i], MARGIN * scale,
                          image->height * factor + (i * LINE_HEIGHT + MARGIN) * scale, scale);
    free(text);
    if (error) image_destroy(&made);
    else *out = made;
    return error;
}
