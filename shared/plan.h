/* Migration program: one statement per target tensor, saying from which source tensor it comes, which part of
 * it, and through which transforms.
 *
 *   plan 1
 *   source "fashion_source.h5" digest sha256:8f0c...
 *   target "fashion_small"
 *
 *   keep k0 = select("conv2d", 16 of 32)                # [0 3 4 7 ...]
 *   keep k1 = channels("concatenate", 48 of 96)         # [...]
 *
 *   slice 0 "conv2d" {
 *     "conv2d/kernel" (3, 3, 1, 16) = refit(fold_bn(source["conv2d/kernel"], "bn")[:, :, :, k0])  # residual
 * 0.012
 *   }
 *
 * A keep list is a selection of channels: chosen for a group of coupled channels (select), or what those
 * choices leave of a layer's output (channels). The plan refers to tensors by layer and weight number of the
 * source and the target graph it was compiled for, which it borrows. */
#ifndef GODWIT_SHARED_PLAN_H
#define GODWIT_SHARED_PLAN_H

#include "shared/graph.h"

enum expr_kind {
    EXPR_SOURCE,       /* source["layer/weight"] */
    EXPR_ZEROS,        /* zeros: of the shape the context wants */
    EXPR_INDEX,        /* arg[list, :, ...] */
    EXPR_FOLD_BN,      /* fold_bn(kernel, "bn"): times gamma / sqrt(variance + epsilon), by output channel */
    EXPR_FOLD_BN_BIAS, /* fold_bn_bias(bias, "bn"): beta + (bias - mean) * gamma / sqrt(variance + epsilon) */
    EXPR_REFIT         /* refit(arg): arg is the start, replaced by the closed-form fit */
};

struct expr {
    enum expr_kind kind;
    struct expr *arg;         /* owned; NULL for SOURCE and ZEROS */
    int layer, weight;        /* SOURCE: a source tensor; FOLD_*: the batch norm's source layer */
    struct shape shape;       /* of the value */
    int keep[SHAPE_MAX_RANK]; /* INDEX: list of each axis, -1: all of it */
    int out_axis; /* FOLD_BN: axis of the output channels; -1: the last two, flattened (depthwise) */
};

struct keep {
    char *name;     /* owned, "k0" */
    int group;      /* select: group of the channel map; -1 */
    int node;       /* the node whose output it indexes (for select: the first producer) */
    int repeat;     /* each position stands for this many consecutive ones (depthwise multiplier) */
    int64_t n, of;  /* kept, of so many */
    int64_t *index; /* [n] ascending, owned; NULL until chosen */
};

struct plan_statement {
    int layer, weight; /* target tensor */
    int slice;
    struct shape shape;
    struct expr *value; /* owned */
    double residual;    /* relative squared error after refit, NaN if there is none */
};

struct plan {
    const struct graph *source, *target; /* borrowed */
    char *source_path, *source_digest;   /* owned; digest may be NULL */
    int nkeeps, nstatements, nslices;
    struct keep *keep;
    struct plan_statement *statement; /* grouped by slice, ascending */
    int *slice_node;                  /* [nslices] last target node of each slice: its boundary */
};

status plan_create(const struct graph *source, const struct graph *target, const char *source_path,
                   const char *source_digest, struct plan **plan) STATUS_MUST_USE;
void plan_destroy(struct plan **plan);

/* An expression of `kind` over `arg`, which it owns from now on (freed on failure too, and *expr set to
 * NULL). */
status expr_create(enum expr_kind kind, struct expr *arg, struct expr **expr) STATUS_MUST_USE;
void expr_destroy(struct expr **expr);

/* Append; `*keep` and `*statement` are moved into the plan. */
status plan_add_keep(struct plan *plan, struct keep *keep, int *index) STATUS_MUST_USE;
status plan_add_statement(struct plan *plan, struct plan_statement *statement) STATUS_MUST_USE;
status plan_add_slice(struct plan *plan, int node) STATUS_MUST_USE;

/* The statement of a target tensor, or NULL. */
struct plan_statement *plan_find(const struct plan *plan, int layer, int weight);

/* The program as text; owned. */
status plan_print(const struct plan *plan, char **text) STATUS_MUST_USE;

#endif
