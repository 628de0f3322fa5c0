/* Transforms: what the expressions of a migration program are made of. One is a file of shared/transforms/
 * and a line of its registry.c; parser, printer, checker and evaluator know none by name, but for the two
 * with a notation of their own: source["layer/weight"] and x[index, ...]. */
#ifndef GODWIT_SHARED_TRANSFORM_H
#define GODWIT_SHARED_TRANSFORM_H

#include "shared/evaluation.h"
#include "shared/plan.h"

enum operand_type {
    OPERAND_INTEGER,
    OPERAND_NUMBER,
    OPERAND_AXIS,  /* of the first argument; -1 is its last; checked before the transform's own check */
    OPERAND_AXES,  /* (1, 0) */
    OPERAND_SHAPE, /* (3, 4) */
    OPERAND_WORD,  /* one of the choices */
    OPERAND_LAYER, /* "layer" of the source */
    OPERAND_TENSOR /* "layer/weight" of the source */
};

struct operand_spec {
    const char *name; /* written before it, "axis 0"; NULL: it is told by its place */
    enum operand_type type;
    bool optional;       /* of optional ones, all have names */
    const char *choices; /* of words: "mean|std|absmax" */
};

struct transform {
    const char *name;
    const char *usage;      /* "transpose(x, (1, 0))" */
    const char *doc;        /* what it gives: a sentence for docs/program.md */
    int min_args, max_args; /* expressions, which come first; max -1: any number */
    struct operand_spec operand[TRANSFORM_MAX_OPERANDS];
    int noperands;

    /* Gives expr->shape; NULL: that of the first argument. DATA error; *at, at first the expression's place,
     * may be set to an operand's. */
    status (*check)(const struct plan *plan, struct expr *expr, struct position *at);

    /* The axis of the first argument whose positions those on `axis` of the value are, in their order; -1:
     * none. NULL: the same axis, if the shapes are equal. */
    int (*from_axis)(const struct expr *expr, int axis);
    bool finishes; /* outermost in a statement it is done last, to what fitting and training have made */

    /* Rows [first, first + n) of the value, seen as rows of its last axis: n * columns floats. */
    status (*rows)(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                   float *out);
};

const struct transform *transform_find(const char *name); /* NULL if unknown */
int transform_count(void);
const struct transform *transform_at(int i);
const char *transform_nearest(const char *name); /* for "did you mean"; NULL if none is near */

/* Those that the compiler makes. */
extern const struct transform transform_source, transform_index, transform_fold_bn, transform_fold_bn_bias,
    transform_init, transform_refit, transform_low_rank, transform_reshape, transform_cast,
    transform_quantize, transform_separable, transform_project;

/* Index of a word among choices like "mean|std|absmax"; -1 if it is none of them. */
int transform_choice(const char *choices, const char *word);

#endif
