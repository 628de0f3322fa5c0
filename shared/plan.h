/* Migration program: one statement per target tensor, saying from which source tensor it comes, which part of
 * it, and through which transforms. docs/program.md describes the language, by example:
 *
 *   plan 1
 *   source "fashion_source.h5" digest sha256:8f0c...
 *   target "fashion_small"
 *   bypass "add_3"
 *   factor "conv2d_1" 12
 *
 *   keep k0 = select("conv2d", 16 of 32)
 *   keep k1 = channels("concatenate", 48 of 96)
 *
 *   slice 0 "conv2d" {
 *     "conv2d/kernel" (3, 3, 1, 16) = refit(fold_bn(source["conv2d/kernel"], "bn")[:, :, :, k0])
 *   }
 *
 * A keep list is a selection of channels: chosen for a group of coupled channels (select) or for those inside
 * a layer (heads), or what those choices leave of a layer's output (channels). Once chosen, or by an author's
 * hand, it has its positions in it: select("conv2d", 4 of 32, [0 3 4 7]).
 *
 * The program refers to tensors by layer and weight number of the source and the target graph it was compiled
 * for, which it borrows. Expressions are made of transforms (shared/transform.h). */
#ifndef GODWIT_SHARED_PLAN_H
#define GODWIT_SHARED_PLAN_H

#include "shared/graph.h"

/* Where something is in a program's text, counted from 1; line 0: it is from no text. */
struct position {
    int line, column;
};

struct transform;

/* An argument of a transform that is no expression. */
struct operand {
    bool present;
    struct position at;
    union {
        int64_t i;          /* an integer, an axis, the index of a word among the choices, a source layer */
        double f;           /* a number */
        struct shape shape; /* a shape, an order of axes */
        struct {
            int layer, weight;
        } tensor; /* of the source */
    } u;
};

#define TRANSFORM_MAX_OPERANDS 3

/* What is taken along one axis: x[:, 0:8, k0, [3 1]]. */
struct axis_index {
    enum { INDEX_ALL, INDEX_RANGE, INDEX_LIST, INDEX_KEEP } kind;
    struct position at;
    int64_t first, end, step; /* RANGE: first, first + step, ... below end */
    int64_t n, *list;         /* LIST; owned */
    int keep;                 /* KEEP: number of the keep list */
};

struct expr {
    const struct transform *transform;
    struct position at;
    int nargs;
    struct expr **arg; /* [nargs], owned */
    struct operand operand[TRANSFORM_MAX_OPERANDS];
    struct axis_index *index; /* of transform_index: [rank of its argument], owned */
    struct shape shape;       /* of the value; known once checked */
};

struct keep {
    char *name;     /* owned, "k0" */
    bool selected;  /* select() and heads(): chosen for a group; else channels() */
    bool inner;     /* heads(): of the channels inside the node, not of its output */
    int node;       /* the target's node whose output it indexes (for select: the first producer) */
    int repeat;     /* each position stands for this many consecutive ones (depthwise multiplier) */
    int64_t n, of;  /* kept, of so many */
    int64_t *index; /* [n] ascending, owned; NULL until chosen */
    bool given;     /* the text had them: they are not chosen again */
    struct position at;
};

struct plan_statement {
    int layer, weight; /* target tensor */
    int slice;
    struct shape shape;
    struct expr *value; /* owned */
    double residual;    /* relative squared error after refit, NaN if there is none */
    struct position at;
};

struct plan {
    const struct graph *source, *target; /* borrowed */
    char *source_path, *source_digest;   /* owned; digest may be NULL */
    char *target_name;                   /* owned */
    int nbypassed;
    char **bypassed; /* [nbypassed] Adds of the source whose residual blocks the target does without, owned */
    int nfactored;
    char **factored; /* [nfactored] "layer rank": kernels of the source that are products of two, owned */
    int nkeeps, nstatements, nslices;
    struct keep *keep;
    struct plan_statement *statement; /* grouped by slice, ascending */
    int *slice_node;                  /* [nslices] last target node of each slice: its boundary */
};

status plan_create(const struct graph *source, const struct graph *target, const char *source_path,
                   const char *source_digest, struct plan **plan) STATUS_MUST_USE;
void plan_destroy(struct plan **plan);
/* The source is another one of the same graph. */
status plan_set_source(struct plan *plan, const char *path, const char *digest) STATUS_MUST_USE;

/* An expression, whose arguments and operands the caller fills in; then expr_check() gives it its shape. It
 * owns `arg`, which may be NULL and is freed on failure too. */
status expr_create(const struct transform *transform, struct expr *arg, struct expr **expr) STATUS_MUST_USE;
status expr_add(struct expr *expr, struct expr *arg) STATUS_MUST_USE; /* one more argument, likewise */
void expr_destroy(struct expr **expr);

/* Checks an expression whose arguments have been checked, and gives it its shape. DATA error; `at`, unless
 * NULL, is then where in the text. */
status expr_check(const struct plan *plan, struct expr *expr, struct position *at) STATUS_MUST_USE;

/* Wraps a checked expression so that it has this shape, of as many values; nothing if it has it. */
status expr_reshape(const struct plan *plan, const struct shape *shape, struct expr **expr) STATUS_MUST_USE;

/* Are they the same but for their places in a text? */
bool expr_equal(const struct expr *a, const struct expr *b);

/* How many positions an index takes of an axis of `size`, and which one is its k-th. */
int64_t axis_index_count(const struct plan *plan, const struct axis_index *index, int64_t size);
int64_t axis_index_at(const struct plan *plan, const struct axis_index *index, int64_t k);

status plan_add_bypassed(struct plan *plan, const char *name) STATUS_MUST_USE;
status plan_add_factored(struct plan *plan, const char *layer, int64_t rank) STATUS_MUST_USE;
/* Append; `*keep` and `*statement` are moved into the plan. */
status plan_add_keep(struct plan *plan, struct keep *keep, int *index) STATUS_MUST_USE;
status plan_add_statement(struct plan *plan, struct plan_statement *statement) STATUS_MUST_USE;
status plan_add_slice(struct plan *plan, int node) STATUS_MUST_USE;

/* The statement of a target tensor, or NULL. */
struct plan_statement *plan_find(const struct plan *plan, int layer, int weight);

/* What a statement's tensor starts as: its value without the outermost transforms that are done last
 * (quantize, cast); they are done to what fitting and training have made of it. */
const struct expr *plan_start(const struct plan_statement *statement);
/* Is that refit(...)? */
bool plan_is_refit(const struct plan_statement *statement);

/* Are its channels projections of the source's? */
bool plan_projects(const struct plan_statement *statement);

/* Which of the source's positions the positions along an axis of a statement's tensor come from: *position
 * (owned by the caller, [dimension of the axis]), NULL for all of them in their order. DATA error if that
 * cannot be told: what is on that axis was computed, not taken. */
status plan_positions(const struct plan *plan, const struct plan_statement *statement, int axis,
                      int64_t **position) STATUS_MUST_USE;

/* Every weight of the target has one statement, of its shape. DATA error, with the position if there is one.
 */
status plan_check(const struct plan *plan, struct position *at) STATUS_MUST_USE;

/* The program as text; owned. plan_parse() of it gives the same program. */
status plan_print(const struct plan *plan, char **text) STATUS_MUST_USE;

/* A program from its text. `target` has the target's layers by name; their widths may be others: what a
 * statement says counts, and plan_check() compares when the target has been made. Both graphs are borrowed.
 * DATA error for anything wrong, with its position in *at. */
status plan_parse(const char *text, size_t length, const struct graph *source, const struct graph *target,
                  struct plan **plan, struct position *at) STATUS_MUST_USE;

/* What a program's text does to the source's graph, which makes the target that plan_parse() needs; as struct
 * plan has it. */
struct plan_edits {
    int nbypassed, nfactored;
    char **bypassed, **factored;
};
/* *edits is freed by the caller. DATA error as in plan_parse(). */
status plan_parse_edits(const char *text, size_t length, struct plan_edits *edits,
                        struct position *at) STATUS_MUST_USE;
void plan_edits_free(struct plan_edits *edits);

/* The line of the text that a position is in, and below it a caret under the place; owned. NULL if there is
 * none, or no memory. */
char *plan_excerpt(const char *text, size_t length, struct position at);

#endif
