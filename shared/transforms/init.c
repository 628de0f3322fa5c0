/* init(zeros, (32,)): values that come from nowhere. */
#include "shared/rng.h"
#include "shared/transform.h"

#include <math.h>

enum { ZEROS, ONES, IDENTITY, GLOROT_UNIFORM, HE_NORMAL };

static status check(const struct plan *plan, struct expr *expr, struct position *at) {
    (void)plan, (void)at;
    expr->shape = expr->operand[1].u.shape;
    return SUCCESS;
}

/* Inputs and outputs of one position, times the positions (Glorot and Bengio 2010; He et al. 2015). */
static void fans(const struct shape *shape, double *in, double *out) {
    double field = 1;
    for (int i = 0; i < shape->rank - 2; i++) field *= (double)shape->dim[i];
    *out = shape->rank > 0 ? field * (double)shape->dim[shape->rank - 1] : 1;
    *in = shape->rank > 1 ? field * (double)shape->dim[shape->rank - 2] : *out;
}

/* Is that the row of the window's middle? */
static bool is_middle(const struct shape *shape, int64_t row) {
    row /= shape->rank > 1 ? shape->dim[shape->rank - 2] : 1;
    for (int i = shape->rank - 3; i >= 0; i--) {
        if (row % shape->dim[i] != (shape->dim[i] - 1) / 2) return false;
        row /= shape->dim[i];
    }
    return true;
}

static double draw(struct rng *rng, int64_t word, double in, double out) {
    switch (word) {
    case GLOROT_UNIFORM:
        return sqrt(6 / (in + out)) * (2 * rng_uniform(rng) - 1);
    case HE_NORMAL:
        return sqrt(2 / in) * rng_normal(rng);
    default:
        return word == ONES;
    }
}

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                   float *out) {
    (void)evaluation;
    int64_t nrows, columns;
    double in, fan_out;
    shape_rows(&expr->shape, &nrows, &columns);
    fans(&expr->shape, &in, &fan_out);
    uint64_t seed = expr->operand[2].present ? (uint64_t)expr->operand[2].u.i : 1;
    for (int64_t r = 0; r < n; r++) {
        struct rng rng = rng_make(seed, RNG_INIT, (uint64_t)(first + r));
        int64_t word = expr->operand[0].u.i,
                inputs = expr->shape.rank > 1 ? expr->shape.dim[expr->shape.rank - 2] : 1;
        bool middle = word == IDENTITY && is_middle(&expr->shape, first + r);
        for (int64_t c = 0; c < columns; c++)
            out[r * columns + c] =
                word == IDENTITY ? middle && (first + r) % inputs == c : (float)draw(&rng, word, in, fan_out);
    }
    return SUCCESS;
}

const struct transform transform_init = {
    .name = "init",
    .usage = "init(glorot_uniform, (3, 3, 8, 16), seed 1)",
    .doc = "values of no source: zeros, ones, identity (of the last two axes, in the middle of a window), "
           "glorot_uniform or he_normal; the same seed (1 if it is not said) gives the same numbers",
    .operand = {{.type = OPERAND_WORD, .choices = "zeros|ones|identity|glorot_uniform|he_normal"},
                {.type = OPERAND_SHAPE},
                {.name = "seed", .type = OPERAND_INTEGER, .optional = true}},
    .noperands = 3,
    .check = check,
    .rows = rows,
};
