/* For the tests of data sets: configurations and files written byte by byte. */
#ifndef GODWIT_TESTS_DATASET_TESTING_H
#define GODWIT_TESTS_DATASET_TESTING_H

#include "io/dataset.h"

#include "io/io_testing.h"

#include <zlib.h>

static char no_text[] = "";

static inline struct data_config make_config(const char *format, const char *path) {
    return (struct data_config){.format = (char *)(uintptr_t)format,
                                .path = (char *)(uintptr_t)path,
                                .x_train = no_text,
                                .y_train = no_text,
                                .x_test = no_text,
                                .y_test = no_text,
                                .in_memory = true};
}

/* An IDX header; returns its length. */
static inline size_t idx_header(uint8_t *to, int type, int rank, const uint32_t *dim) {
    to[0] = to[1] = 0;
    to[2] = (uint8_t)type;
    to[3] = (uint8_t)rank;
    for (int i = 0; i < rank; i++)
        for (int b = 0; b < 4; b++) to[4 + 4 * i + b] = (uint8_t)(dim[i] >> (24 - 8 * b));
    return 4 + 4 * (size_t)rank;
}

static inline void write_gzip(const char *path, const void *data, size_t nbytes) {
    gzFile gz = gzopen(path, "wb");
    assert_non_null(gz);
    assert_int_equal(gzwrite(gz, data, (unsigned)nbytes), nbytes);
    assert_int_equal(gzclose(gz), Z_OK);
}

/* Pixel (y, x) of image i of the sets written by write_idx_pair. */
static inline uint8_t idx_pixel(int64_t i, int64_t y, int64_t x) {
    return (uint8_t)(31 * i + 7 * y + x);
}

/* n images of height x width and labels i % classes under the usual names of the training or test part. */
static inline void write_idx_pair(const char *prefix, uint32_t n, uint32_t height, uint32_t width,
                                  uint32_t classes, bool gzip) {
    uint8_t *bytes = malloc(16 + (size_t)n * height * width + n);
    assert_non_null(bytes);
    char name[64];
    size_t used = idx_header(bytes, 0x08, 3, (uint32_t[]){n, height, width});
    for (int64_t i = 0; i < n; i++)
        for (int64_t y = 0; y < height; y++)
            for (int64_t x = 0; x < width; x++) bytes[used++] = idx_pixel(i, y, x);
    snprintf(name, sizeof name, "%s-images-idx3-ubyte%s", prefix, gzip ? ".gz" : "");
    (gzip ? write_gzip : write_bytes)(in_folder(name), bytes, used);
    used = idx_header(bytes, 0x08, 1, (uint32_t[]){n});
    for (uint32_t i = 0; i < n; i++) bytes[used++] = (uint8_t)(i % classes);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte%s", prefix, gzip ? ".gz" : "");
    (gzip ? write_gzip : write_bytes)(in_folder(name), bytes, used);
    free(bytes);
}

static inline status open_alone(const struct data_config *config, const struct shape *sample, int64_t classes,
                                struct dataset **dataset) {
    return dataset_open(config, sample, classes, 7, NULL, dataset);
}

/* Opening must fail, and cleanly. */
static inline void assert_open_fails(const struct data_config *config, const struct shape *sample,
                                     int64_t classes, enum status_code code, const char *part) {
    struct dataset *dataset = NULL;
    assert_error(open_alone(config, sample, classes, &dataset), code, part);
    assert_null(dataset);
}

/* Samples [first, first + n) of a part, plain. */
static inline void read_range(struct dataset *dataset, enum dataset_part part, int64_t first, int64_t n,
                              float *x, int32_t *label) {
    int64_t *index = malloc((size_t)n * sizeof *index);
    assert_non_null(index);
    for (int64_t i = 0; i < n; i++) index[i] = first + i;
    struct batch_request request = {.part = part, .index = index, .n = n};
    assert_success(dataset_read(dataset, &request, x, label));
    free(index);
}

#endif
