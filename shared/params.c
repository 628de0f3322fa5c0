#include "shared/comm.h"
#include "shared/op.h"

#include <stdlib.h>
#include <string.h>

#define ALIGN_FLOATS 16
#define ALIGN_BYTES (ALIGN_FLOATS * sizeof(float))

static status params_layout(int n, struct params **params) {
    struct params *p = calloc(1, sizeof *p);
    if (!p) return status_no_memory("parameters", sizeof *p);
    p->n = n;
    p->offset = calloc((size_t)n + 1, sizeof *p->offset);
    p->count = calloc((size_t)n + 1, sizeof *p->count);
    if (!p->offset || !p->count) {
        params_destroy(&p);
        return status_no_memory("parameters", (size_t)n * 16);
    }
    *params = p;
    return SUCCESS;
}

/* All but the values. `used` [graph->nparams]: which have a place; NULL: all. */
static status params_place(const struct opgraph *graph, const bool *used, struct params **params) {
    struct params *p = NULL;
    STATUS_TRY(params_layout(graph->nparams, &p));
    for (int trainable = 1; trainable >= 0; trainable--) {
        for (int i = 0; i < graph->nparams; i++) {
            if (graph->param[i].trainable != (trainable == 1)) continue;
            p->offset[i] = p->total;
            if (used && !used[i]) continue;
            p->count[i] = graph->param[i].count;
            int64_t count = graph->param[i].count,
                    padding = (ALIGN_FLOATS - count % ALIGN_FLOATS) % ALIGN_FLOATS;
            if (__builtin_add_overflow(p->total, count, &p->total) ||
                __builtin_add_overflow(p->total, padding, &p->total)) {
                params_destroy(&p);
                return status_fail(STATUS_DATA, "the model has too many parameters");
            }
        }
        if (trainable) p->ntrainable = p->total;
    }
    *params = p;
    return SUCCESS;
}

static status create(const struct opgraph *graph, const bool *used, struct params **params) {
    struct params *p = NULL;
    STATUS_TRY(params_place(graph, used, &p));
    status error = memory_alloc("parameters", (size_t)p->total, sizeof(float), (void **)&p->data);
    if (error) {
        params_destroy(&p);
        return error;
    }
    *params = p;
    return SUCCESS;
}

status params_create(const struct opgraph *graph, struct params **params) {
    return create(graph, NULL, params);
}

status params_create_part(const struct opgraph *graph, struct params **params) {
    bool *used = calloc((size_t)graph->nparams + 1, 1);
    if (!used) return status_no_memory("parameters", (size_t)graph->nparams);
    opgraph_mark_params(graph, used);
    status error = create(graph, used, params);
    free(used);
    return error;
}

status params_check(const struct params *params, const struct opgraph *graph) {
    if (params->n != graph->nparams)
        return status_fail(STATUS_INTERNAL, "%d parameters given where the graph has %d", params->n,
                           graph->nparams);
    for (int i = 0; i < graph->nops; i++)
        for (int j = 0; j < 4; j++) {
            int p = graph->op[i].param[j];
            if (p >= 0 && params->count[p] != graph->param[p].count)
                return status_fail(STATUS_INTERNAL, "parameter %d has %lld elements where the graph has %lld",
                                   p, (long long)params->count[p], (long long)graph->param[p].count);
        }
    return SUCCESS;
}

void params_copy(const struct params *from, struct params *to) {
    for (int i = 0; i < to->n; i++)
        if (from->count[i] && to->count[i])
            memcpy(params_at(to, i), params_at(from, i), (size_t)to->count[i] * sizeof(float));
}

static status share(struct params *p, const struct comm *node) {
    size_t nbytes = (size_t)p->total * sizeof(float);
    void *memory = NULL;
    STATUS_TRY(comm_window_create(node, nbytes + ALIGN_BYTES, &memory, &p->window));
    /* Every rank sees the window at an address of its own, but at the same place in a page. */
    p->data = (float *)(((uintptr_t)memory + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES);
    if (comm_is_root(node)) memset(p->data, 0, nbytes);
    return comm_window_sync(p->window);
}

status params_create_shared(const struct opgraph *graph, const struct comm *node, struct params **params) {
    struct params *p = NULL;
    status error = comm_agree(node, params_place(graph, NULL, &p));
    if (!error) error = share(p, node);
    if (error) {
        params_destroy(&p);
        return error;
    }
    *params = p;
    return SUCCESS;
}

status params_sync(const struct params *params) {
    return params->window ? comm_window_sync(params->window) : SUCCESS;
}

status params_clone(const struct params *params, struct params **clone) {
    struct params *p = NULL;
    STATUS_TRY(params_layout(params->n, &p));
    memcpy(p->offset, params->offset, (size_t)p->n * sizeof *p->offset);
    memcpy(p->count, params->count, (size_t)p->n * sizeof *p->count);
    p->ntrainable = params->ntrainable;
    p->total = params->total;
    status error = memory_alloc("parameters", (size_t)p->total, sizeof(float), (void **)&p->data);
    if (error) {
        params_destroy(&p);
        return error;
    }
    memcpy(p->data, params->data, (size_t)p->total * sizeof(float));
    *clone = p;
    return SUCCESS;
}

void params_destroy(struct params **params) {
    if (!*params) return;
    free((*params)->offset);
    free((*params)->count);
    if ((*params)->window) comm_window_destroy(&(*params)->window);
    else free((*params)->data);
    free(*params);
    *params = NULL;
}
