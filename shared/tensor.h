/* Shapes, element types and dense row-major tensors. */
#ifndef GODWIT_SHARED_TENSOR_H
#define GODWIT_SHARED_TENSOR_H

#include <stddef.h>
#include <stdint.h>

#include "shared/status.h"

#define SHAPE_MAX_RANK 8
#define SHAPE_UNKNOWN (-1) /* a dimension not known before run time: the batch, an image's height */

struct shape {
    int rank;
    int64_t dim[SHAPE_MAX_RANK];
};

#define SHAPE(...)                                                                                           \
    ((struct shape){.rank = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = {__VA_ARGS__}})

#define DTYPES(X)                                                                                            \
    X(F32, "float32", 4)                                                                                     \
    X(F64, "float64", 8)                                                                                     \
    X(F16, "float16", 2)                                                                                     \
    X(BF16, "bfloat16", 2)                                                                                   \
    X(I8, "int8", 1)                                                                                         \
    X(U8, "uint8", 1)                                                                                        \
    X(I32, "int32", 4)                                                                                       \
    X(I64, "int64", 8)

enum dtype {
#define DTYPE_ENUM(name, text, nbytes) DTYPE_##name,
    DTYPES(DTYPE_ENUM)
#undef DTYPE_ENUM
};

size_t dtype_size(enum dtype dtype);      /* bytes of one element */
const char *dtype_name(enum dtype dtype); /* as Keras writes it */

bool shape_equal(const struct shape *a, const struct shape *b);
bool shape_is_known(const struct shape *shape); /* no dimension is SHAPE_UNKNOWN */

/* Number of elements; DATA error if a dimension is negative or the product overflows int64. */
status shape_count(const struct shape *shape, int64_t *count) STATUS_MUST_USE;

/* Tensor seen as rows: the product of all axes but the last, and the last axis (1 for a scalar). */
void shape_rows(const struct shape *shape, int64_t *rows, int64_t *columns);

/* Number of elements of one sample: all dimensions but the first. Unknown dimensions give -1. */
int64_t shape_sample_count(const struct shape *shape);

#define SHAPE_TEXT_MAX 176
/* Writes "(3, 3, 1, 16)", unknown dimensions as "?", into text[SHAPE_TEXT_MAX]; returns text. */
const char *shape_format(const struct shape *shape, char *text);

struct tensor {
    enum dtype dtype;
    struct shape shape;
    int64_t count; /* elements */
    void *data;    /* owned, aligned to 64 bytes, row-major */
};

/* Zero-filled. Errors: DATA (shape), MEMORY. */
status tensor_create(enum dtype dtype, const struct shape *shape, struct tensor **tensor) STATUS_MUST_USE;
void tensor_destroy(struct tensor **tensor); /* accepts NULL, sets NULL */

static inline float *tensor_f32(const struct tensor *tensor) {
    return (float *)tensor->data;
}

/* Zero-filled memory aligned to 64 bytes, to be freed with free(). */
status memory_alloc(const char *what, size_t count, size_t size, void **memory) STATUS_MUST_USE;

#endif
