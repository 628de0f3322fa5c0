/* Where values lie. Values that share memory are one block: reshaped ones, and those that an operation on
 * single elements writes over what it reads. */
#include "io/c_source/steps.h"

#include <stdlib.h>

#define ALIGN 4 /* floats */

struct block {
    int value; /* the first in it; -1 - step: scratch of a step */
    int64_t size;
    int first, last; /* steps in which it is needed */
    int64_t offset;
};

struct places {
    struct c_steps *steps;
    int *root;         /* [nvalues] the block's first value */
    int *first, *last; /* [nvalues] of roots: steps */
    struct block *block;
    int n;
};

static bool is_input(const struct opgraph *ops, int value) {
    for (int i = 0; i < ops->ninputs; i++)
        if (ops->input[i] == value) return true;
    return false;
}

/* May it write over its first input? */
static bool works_in_place(const struct c_steps *steps, const struct c_step *step) {
    const struct opgraph *ops = steps->ops;
    switch (step->op->kind) {
    case OP_ACTIVATION:
    case OP_AFFINE:
    case OP_SCALE:
    case OP_BATCH_NORM:
    case OP_PRELU:
        return true;
    case OP_BINARY:
        return shape_equal(&ops->value[step->op->in[0]], &ops->value[step->op->out]) &&
               step->op->in[0] != step->op->in[1];
    default:
        return false;
    }
}

static void find_last_reads(struct places *p) {
    const struct c_steps *s = p->steps;
    for (int v = 0; v < s->ops->nvalues; v++) {
        p->root[v] = v;
        p->first[v] = p->last[v] = -1;
    }
    for (int i = 0; i < s->n; i++)
        for (int k = 0; k < s->step[i].op->nin; k++) p->last[s->step[i].op->in[k]] = i;
    for (int i = 0; i < s->ops->noutputs; i++) p->last[s->ops->output[i]] = s->n;
}

/* Joins values to blocks, step by step: last[] of a root is that of the whole block. */
static void find_blocks(struct places *p) {
    const struct c_steps *s = p->steps;
    for (int i = 0; i < s->n; i++) {
        const struct c_step *step = &s->step[i];
        const int in = p->root[step->op->in[0]], out = step->out;
        bool joins = c_step_only_reshapes(step);
        if (!joins && works_in_place(s, step)) {
            joins = !is_input(s->ops, in) && p->last[in] == i;
            for (int k = 1; k < step->op->nin; k++) joins = joins && p->root[step->op->in[k]] != in;
        }
        if (!joins) {
            p->first[out] = i;
            if (p->last[out] < i) p->last[out] = i;
            continue;
        }
        p->root[out] = in;
        if (p->last[out] > p->last[in]) p->last[in] = p->last[out];
    }
}

/* Blocks with an output in them lie there, the first of several. */
static void place_ends(struct places *p) {
    struct c_steps *s = p->steps;
    for (int i = 0; i < s->ops->ninputs; i++)
        s->place[s->ops->input[i]] = (struct c_place){.where = C_INPUT, .index = i};
    for (int i = s->ops->noutputs - 1; i >= 0; i--) {
        const int root = p->root[s->ops->output[i]];
        if (!is_input(s->ops, root)) s->place[root] = (struct c_place){.where = C_OUTPUT, .index = i};
    }
}

static void collect_blocks(struct places *p) {
    struct c_steps *s = p->steps;
    for (int i = 0; i < s->n; i++) {
        const int out = s->step[i].out;
        if (s->step[i].scratch)
            p->block[p->n++] =
                (struct block){.value = -1 - i, .size = s->step[i].scratch, .first = i, .last = i};
        if (p->root[out] != out || s->place[out].where != C_WORK) continue;
        p->block[p->n++] = (struct block){
            .value = out, .size = c_count(s->ops, out), .first = p->first[out], .last = p->last[out]};
    }
}

static int by_size(const void *a, const void *b) {
    const struct block *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? 1 : -1;
    return x->first - y->first;
}

/* The lowest place that is free while block i is needed, of those before it. */
static int64_t free_place(const struct places *p, int i) {
    const struct block *b = &p->block[i];
    int64_t offset = 0;
    for (bool moved = true; moved;) {
        moved = false;
        for (int k = 0; k < i; k++) {
            const struct block *o = &p->block[k];
            if (o->last < b->first || b->last < o->first) continue;
            if (o->offset >= offset + b->size || offset >= o->offset + o->size) continue;
            offset = (o->offset + o->size + ALIGN - 1) / ALIGN * ALIGN;
            moved = true;
        }
    }
    return offset;
}

/* The largest first. */
static void place_blocks(struct places *p) {
    struct c_steps *s = p->steps;
    qsort(p->block, (size_t)p->n, sizeof *p->block, by_size);
    for (int i = 0; i < p->n; i++) {
        struct block *b = &p->block[i];
        b->offset = free_place(p, i);
        if (b->offset + b->size > s->work) s->work = b->offset + b->size;
        if (b->value < 0) s->step[-1 - b->value].scratch_offset = b->offset;
        else s->place[b->value].offset = b->offset;
    }
    for (int v = 0; v < s->ops->nvalues; v++)
        if (p->root[v] != v) s->place[v] = s->place[p->root[v]];
}

status c_steps_place(struct c_steps *steps) {
    const size_t values = (size_t)steps->ops->nvalues + 1;
    struct places p = {.steps = steps,
                       .root = malloc(values * sizeof *p.root),
                       .first = malloc(values * sizeof *p.first),
                       .last = malloc(values * sizeof *p.last),
                       .block = malloc((2 * (size_t)steps->n + 1) * sizeof *p.block)};
    status error = SUCCESS;
    if (!p.root || !p.first || !p.last || !p.block) {
        error = status_no_memory("a program", values * sizeof *p.block);
    } else {
        find_last_reads(&p);
        find_blocks(&p);
        place_ends(&p);
        collect_blocks(&p);
        place_blocks(&p);
    }
    free(p.root);
    free(p.first);
    free(p.last);
    free(p.block);
    return error;
}
