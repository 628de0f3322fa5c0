/* How values are stored. In inference of less than full precision, values between steps that can do with it
 * are bfloat16, or 8-bit integers times a scale; all others, inputs and outputs of the graph among them,
 * float32. */
#ifndef GODWIT_WORKER_ENGINES_ONEDNN_FORMAT_H
#define GODWIT_WORKER_ENGINES_ONEDNN_FORMAT_H

#include <string.h>

#include "shared/tensor.h"

struct format {
    enum dtype dtype; /* F32, BF16, U8 or I8 */
    float scale;      /* a stored number stands for itself times that; 1 for floats */
};
#define FORMAT_F32 ((struct format){DTYPE_F32, 1})

/* Values all smaller are not stored as integers: products of scales would be lost. */
#define FORMAT_LEAST 1e-15F

static inline float format_from_bfloat16(uint16_t v) {
    const uint32_t bits = (uint32_t)v << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Reads or stores `count` values, rounding to the nearest and clipping. */
void format_read(struct format format, int64_t count, int threads, const void *stored, float *value);
void format_store(struct format format, int64_t count, int threads, const float *value, void *stored);

/* What a step can read and write. */
enum step_formats {
    STEP_FLOAT32, /* float32 only */
    STEP_READS,   /* reads anything, writes float32 */
    STEP_ANY,     /* reads and writes anything */
    STEP_MOVES    /* all inputs and the output are stored alike */
};

struct onednn_exec;
/* Sets exec->format, and exec->rounded: how a value would be stored if it were not float32, which it is where
 * that cannot be. After the steps are planned. */
status formats_choose(struct onednn_exec *exec) STATUS_MUST_USE;

#endif
