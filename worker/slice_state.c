#include "worker/slice_state.h"

#include <stdlib.h>
#include <string.h>

/* owner[parameters]: the rank that has it; -1: no slice uses it. */
static status find_owners(const struct slicing *slicing, bool source, const struct stages *stages, int n,
                          int *owner) {
    bool *used = NULL;
    STATUS_TRY(memory_alloc("slices", (size_t)n, 1, (void **)&used));
    for (int p = 0; p < n; p++) owner[p] = -1;
    status error = SUCCESS;
    for (int i = 0; i < slicing->nslices && !error; i++) {
        struct opgraph *cut = NULL;
        error = source ? slicing_cut_source(slicing, i, i + 1, true, &cut)
                       : slicing_cut_target(slicing, i, i + 1, &cut);
        if (error) break;
        memset(used, 0, (size_t)n);
        opgraph_mark_params(cut, used);
        for (int p = 0; p < n; p++)
            if (used[p] && owner[p] < 0) owner[p] = stages->first_rank[stages_of_slice(stages, i)];
        opgraph_destroy(&cut);
    }
    free(used);
    return error;
}

static status send_all(const struct comm *world, int n, const int *owner, const int64_t *count,
                       const struct params *from, struct params *to, float *room) {
    for (int p = 0; p < n; p++) {
        if (owner[p] < 0) continue;
        bool mine = owner[p] == comm_rank(world), wanted = to && to->count[p] > 0;
        float *data = mine ? params_at(from, p) : wanted ? params_at(to, p) : room;
        STATUS_TRY(comm_bcast(world, owner[p], data, (size_t)count[p] * sizeof *data));
        if (mine && wanted) memcpy(params_at(to, p), data, (size_t)count[p] * sizeof *data);
    }
    return SUCCESS;
}

static status send_from(const struct comm *world, int n, const int *owner, int64_t *count,
                        const struct params *from, struct params *to) {
    float *room = NULL;
    int64_t most = 0;
    /* Nobody but the owner need know how long it is; non-trainable ones may be absent from a state. */
    for (int p = 0; p < n; p++) count[p] = owner[p] == comm_rank(world) ? from->count[p] : 0;
    STATUS_TRY(comm_sum_i64(world, count, (size_t)n));
    for (int p = 0; p < n; p++)
        if (count[p] > most) most = count[p];
    STATUS_TRY(comm_agree(world, memory_alloc("a tensor", (size_t)most, sizeof *room, (void **)&room)));
    status error = send_all(world, n, owner, count, from, to, room);
    free(room);
    return error;
}

static status move(const struct comm *world, int n, const struct slicing *slicing, bool source,
                   const struct stages *stages, const struct params *from, struct params *to) {
    int *owner = calloc((size_t)n + 1, sizeof *owner);
    int64_t *count = calloc((size_t)n + 1, sizeof *count);
    status error = owner && count ? SUCCESS : status_no_memory("slices", (size_t)n * sizeof *owner);
    if (!error && slicing) error = find_owners(slicing, source, stages, n, owner);
    error = comm_agree(world, error);
    if (!error) error = send_from(world, n, owner, count, from, to);
    free(owner);
    free(count);
    return error;
}

status slice_state_move(const struct comm *world, const struct slicing *slicing, bool source,
                        const struct stages *stages, const struct params *from, struct params *to) {
    int n = source ? slicing->source->nparams : slicing->target->nparams;
    return move(world, n, slicing, source, stages, from, to);
}

status slice_state_spread(const struct comm *world, const struct params *from, struct params *to) {
    return move(world, to->n, NULL, false, NULL, from, to); /* all owned by rank 0 */
}
