#include "shared/tensor.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t dtype_size(enum dtype dtype) {
    switch (dtype) {
#define DTYPE_CASE(name, text, nbytes)                                                                       \
    case DTYPE_##name:                                                                                       \
        return nbytes;
        DTYPES(DTYPE_CASE)
#undef DTYPE_CASE
    }
    return 0;
}

const char *dtype_name(enum dtype dtype) {
    switch (dtype) {
#define DTYPE_CASE(name, text, nbytes)                                                                       \
    case DTYPE_##name:                                                                                       \
        return text;
        DTYPES(DTYPE_CASE)
#undef DTYPE_CASE
    }
    return "?";
}

bool shape_equal(const struct shape *a, const struct shape *b) {
    if (a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

bool shape_is_known(const struct shape *shape) {
    for (int i = 0; i < shape->rank; i++)
        if (shape->dim[i] == SHAPE_UNKNOWN) return false;
    return true;
}

status shape_count(const struct shape *shape, int64_t *count) {
    int64_t product = 1;
    char text[SHAPE_TEXT_MAX];
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dim[i] < 0)
            return status_fail(STATUS_DATA, "shape %s has an unknown or negative dimension",
                               shape_format(shape, text));
        if (__builtin_mul_overflow(product, shape->dim[i], &product))
            return status_fail(STATUS_DATA, "shape %s has too many elements", shape_format(shape, text));
    }
    *count = product;
    return SUCCESS;
}

void shape_rows(const struct shape *shape, int64_t *rows, int64_t *columns) {
    *rows = 1;
    for (int i = 0; i + 1 < shape->rank; i++) *rows *= shape->dim[i];
    *columns = shape->rank ? shape->dim[shape->rank - 1] : 1;
}

int64_t shape_sample_count(const struct shape *shape) {
    int64_t product = 1;
    for (int i = 1; i < shape->rank; i++)
        if (shape->dim[i] < 0 || __builtin_mul_overflow(product, shape->dim[i], &product)) return -1;
    return product;
}

const char *shape_format(const struct shape *shape, char *text) {
    size_t used = 0;
    text[used++] = '(';
    for (int i = 0; i < shape->rank; i++) {
        const char *comma = i ? ", " : "";
        int n = shape->dim[i] == SHAPE_UNKNOWN
                    ? snprintf(text + used, SHAPE_TEXT_MAX - used, "%s?", comma)
                    : snprintf(text + used, SHAPE_TEXT_MAX - used, "%s%" PRId64, comma, shape->dim[i]);
        used += (size_t)n;
    }
    snprintf(text + used, SHAPE_TEXT_MAX - used, shape->rank == 1 ? ",)" : ")");
    return text;
}

status memory_alloc(const char *what, size_t count, size_t size, void **memory) {
    size_t nbytes;
    if (__builtin_mul_overflow(count, size, &nbytes) || nbytes > SIZE_MAX - 64)
        return status_fail(STATUS_MEMORY, "no memory for %s: %zu elements of %zu bytes", what, count, size);
    size_t rounded = (nbytes + 63) / 64 * 64;
    void *p = aligned_alloc(64, rounded ? rounded : 64);
    if (!p) return status_no_memory(what, nbytes);
    memset(p, 0, rounded ? rounded : 64);
    *memory = p;
    return SUCCESS;
}

status tensor_create(enum dtype dtype, const struct shape *shape, struct tensor **tensor) {
    int64_t count;
    STATUS_TRY(shape_count(shape, &count));
    struct tensor *t = calloc(1, sizeof *t);
    if (!t) return status_no_memory("a tensor", sizeof *t);
    t->dtype = dtype;
    t->shape = *shape;
    t->count = count;
    status error = memory_alloc("a tensor", (size_t)count, dtype_size(dtype), &t->data);
    if (error) {
        free(t);
        return error;
    }
    *tensor = t;
    return SUCCESS;
}

void tensor_destroy(struct tensor **tensor) {
    if (!*tensor) return;
    free((*tensor)->data);
    free(*tensor);
    *tensor = NULL;
}
