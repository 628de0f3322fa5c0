/* Resizing by triangles and by areas. */
#include "io/image_format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What pixels of one axis are made of: each of `taps` pixels from first[i] on, by weights that sum up to 1.
 */
struct taps {
    int64_t n, taps;
    int64_t *first; /* [n] may lie outside: the edge is repeated */
    float *weight;  /* [n * taps] */
};

static void destroy_taps(struct taps *t) {
    free(t->first);
    free(t->weight);
}

/* How much of pixel j, from j to j + 1, is under what pixel i is made of, `scale` pixels wide. */
static double weight_of(enum image_filter filter, double scale, int64_t i, int64_t j) {
    if (filter == FILTER_AREA) {
        double from = fmax((double)i * scale, (double)j), to = fmin((double)(i + 1) * scale, (double)(j + 1));
        return fmax(to - from, 0);
    }
    return fmax(1 - fabs((double)j + 0.5 - ((double)i + 0.5) * scale) / fmax(scale, 1), 0);
}

static status create_taps(enum image_filter filter, int64_t in, int64_t out, struct taps *t) {
    double scale = (double)in / (double)out, reach = fmax(scale, 1);
    *t = (struct taps){.n = out, .taps = (int64_t)ceil(2 * reach) + 2};
    STATUS_TRY(memory_alloc("resizing an image", (size_t)out, sizeof *t->first, (void **)&t->first));
    STATUS_TRY(
        memory_alloc("resizing an image", (size_t)(out * t->taps), sizeof *t->weight, (void **)&t->weight));
    for (int64_t i = 0; i < out; i++) {
        double sum = 0;
        float *weight = t->weight + i * t->taps;
        t->first[i] = (int64_t)floor(((double)i + 0.5) * scale - reach - 0.5);
        for (int64_t k = 0; k < t->taps; k++) sum += weight_of(filter, scale, i, t->first[i] + k);
        for (int64_t k = 0; k < t->taps; k++)
            weight[k] = (float)(weight_of(filter, scale, i, t->first[i] + k) / sum);
    }
    return SUCCESS;
}

static int64_t inside(int64_t i, int64_t n) {
    return i < 0 ? 0 : i >= n ? n - 1 : i;
}

/* One row of the result, as high as it is to be and as wide as the image. */
static void make_row(const struct image *from, const struct taps *t, int64_t y, float *row) {
    int64_t n = from->width * from->channels;
    memset(row, 0, (size_t)n * sizeof *row);
    for (int64_t k = 0; k < t->taps; k++) {
        float weight = t->weight[y * t->taps + k];
        const uint8_t *line = from->pixel + inside(t->first[y] + k, from->height) * n;
        for (int64_t i = 0; i < n && weight != 0; i++) row[i] += weight * line[i];
    }
}

static void make_pixels(const struct image *from, const struct taps *t, const float *row, uint8_t *to) {
    int channels = from->channels;
    for (int64_t x = 0; x < t->n; x++)
        for (int c = 0; c < channels; c++) {
            float sum = 0;
            for (int64_t k = 0; k < t->taps; k++)
                sum += t->weight[x * t->taps + k] * row[inside(t->first[x] + k, from->width) * channels + c];
            to[x * channels + c] = (uint8_t)lrintf(fminf(fmaxf(sum, 0), 255));
        }
}

status image_resample(const struct image *from, enum image_filter filter, struct image *to) {
    struct taps rows = {0}, columns = {0};
    float *row = NULL;
    status error = create_taps(filter, from->height, to->height, &rows);
    if (!error) error = create_taps(filter, from->width, to->width, &columns);
    if (!error)
        error = memory_alloc("resizing an image", (size_t)(from->width * from->channels), sizeof *row,
                             (void **)&row);
    for (int64_t y = 0; y < to->height && !error; y++) {
        make_row(from, &rows, y, row);
        make_pixels(from, &columns, row, to->pixel + y * to->width * to->channels);
    }
    free(row);
    destroy_taps(&rows);
    destroy_taps(&columns);
    return error;
}
