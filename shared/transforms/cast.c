/* cast(x, bfloat16): values rounded to what a shorter type holds, to the nearest, ties to even. */
#include "shared/transform.h"

#include <math.h>
#include <string.h>

enum { FLOAT32, BFLOAT16, FLOAT16 };

static float to_bfloat16(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (isnan(x)) return x;
    bits += 0x7fff + (bits >> 16 & 1);
    bits &= 0xffff0000u;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* 11 bits of significand, exponents from -14 to 15; what is larger becomes infinite (IEEE 754 binary16). */
static float to_float16(float x) {
    int exponent;
    if (!isfinite(x) || x == 0) return x;
    frexpf(x, &exponent);
    int last = exponent - 11 < -24 ? -24 : exponent - 11; /* exponent of the last bit */
    float rounded = ldexpf(rintf(ldexpf(x, -last)), last);
    return fabsf(rounded) > 65504 ? copysignf(INFINITY, x) : rounded;
}

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                   float *out) {
    int64_t nrows, columns, type = expr->operand[0].u.i;
    shape_rows(&expr->shape, &nrows, &columns);
    STATUS_TRY(evaluation_rows(evaluation, expr->arg[0], first, n, out));
    for (int64_t i = 0; i < n * columns; i++)
        out[i] = type == BFLOAT16 ? to_bfloat16(out[i]) : type == FLOAT16 ? to_float16(out[i]) : out[i];
    return SUCCESS;
}

const struct transform transform_cast = {
    .name = "cast",
    .usage = "cast(x, bfloat16)",
    .doc = "every value of x rounded to float32, bfloat16 or float16; the tensor stays float32",
    .min_args = 1,
    .max_args = 1,
    .operand = {{.type = OPERAND_WORD, .choices = "float32|bfloat16|float16"}},
    .noperands = 1,
    .finishes = true,
    .rows = rows,
};
