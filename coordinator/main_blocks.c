#include "coordinator/main_blocks.h"

#include "coordinator/blocks.h"
#include "worker/bypass.h"

#include <stdlib.h>
#include <string.h>

static const char *name_of(const struct blocks_task *t, const struct block *block) {
    const struct graph *g = t->source->graph;
    return g->layer[g->node[block->node].layer].name;
}

/* The blocks that are not named yet, and what bypassing them is among the operations. */
static status find_candidates(const struct blocks_task *t, int *n, struct block **block,
                              struct bypass **bypass) {
    const struct graph *g = t->source->graph;
    int all = 0;
    STATUS_TRY(blocks_find(g, &all, block));
    *bypass = calloc((size_t)all + 1, sizeof **bypass);
    if (!*bypass) return status_no_memory("residual blocks", (size_t)all * sizeof **bypass);
    for (int i = 0; i < all; i++) {
        const struct edge *in = &g->node[(*block)[i].node].in[(*block)[i].input];
        if (block_is_named(t->config, g, &(*block)[i]) || in->slot > 0) continue;
        (*block)[*n] = (*block)[i];
        (*bypass)[*n] = (struct bypass){.value = t->source->value_of[(*block)[i].node],
                                        .by = t->source->value_of[in->node]};
        ++*n;
    }
    return SUCCESS;
}

static status add_name(struct target_config *config, const char *name) {
    char *copy = strdup(name), **depth = realloc(config->depth, ((size_t)config->ndepth + 1) * sizeof *depth);
    if (depth) config->depth = depth;
    if (!copy || !depth) {
        free(copy);
        return status_no_memory("names", strlen(name));
    }
    config->depth[config->ndepth++] = copy;
    return SUCCESS;
}

/* The parts that the choice needs, owned. */
struct parts {
    int ncandidates, count;
    struct block *block;
    struct bypass *bypass;
    int *chosen;
    double *cost, *single;
};

static status prepare(const struct blocks_task *t, struct parts *p) {
    int of;
    if (!t->calibration->total)
        return status_fail(
            STATUS_USAGE, "target.blocks_removed is measured on calibration samples; raise refit.samples, or "
                          "name the blocks in target.depth");
    STATUS_TRY(blocks_wanted(t->config, t->source->graph, &p->count, &of));
    STATUS_TRY(find_candidates(t, &p->ncandidates, &p->block, &p->bypass));
    p->chosen = calloc((size_t)p->count + 1, sizeof *p->chosen);
    p->cost = calloc((size_t)p->count + 1, sizeof *p->cost);
    p->single = calloc((size_t)p->ncandidates + 1, sizeof *p->single);
    return p->chosen && p->cost && p->single ? SUCCESS : status_no_memory("residual blocks", 0);
}

static status report(const struct blocks_task *t, const struct parts *p) {
    struct log *log = t->machine->log;
    if (comm_is_root(t->machine->world))
        for (int i = 0; i < p->ncandidates; i++)
            log_line(log, LOG_DEBUG, "without the block of \"%s\" alone: error of the outputs %.4g",
                     name_of(t, &p->block[i]), p->single[i]);
    for (int i = 0; i < p->count; i++) {
        const char *name = name_of(t, &p->block[p->chosen[i]]);
        log_line(log, LOG_INFO, "residual block of \"%s\" is left out: error of the outputs %.4g", name,
                 p->cost[i]);
        LOG_EVENT(log, "block", {"left_out", 0, name}, {"error", p->cost[i], NULL});
        STATUS_TRY(add_name(t->config, name));
    }
    t->config->blocks_removed = 0;
    return SUCCESS;
}

status blocks_choose(const struct blocks_task *t) {
    struct parts p = {0};
    status error = comm_agree(t->machine->world, prepare(t, &p));
    if (!error) {
        struct bypass_task task = {.graph = t->source->ops,
                                   .params = t->source->params,
                                   .calibration = t->calibration,
                                   .ncandidates = p.ncandidates,
                                   .candidate = p.bypass,
                                   .count = p.count};
        error = bypass_choose(t->machine, &task, p.chosen, p.cost, p.single);
    }
    if (!error) error = comm_agree(t->machine->world, report(t, &p));
    free(p.block);
    free(p.bypass);
    free(p.chosen);
    free(p.cost);
    free(p.single);
    return error;
}
