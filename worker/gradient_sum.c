#include "worker/gradient_sum.h"

#include <stdlib.h>

struct bucket {
    int64_t begin, end; /* floats of the arena */
    int nparams;        /* parameters in it that are used */
    int missing;        /* of these, not ready yet */
    struct comm_sum *sum;
};

struct gradient_sum {
    const struct comm *comm;
    struct params *grads;
    int nbuckets, nparams;
    struct bucket *bucket; /* [nbuckets], from the arena's end to its beginning */
    int *bucket_of;        /* [nparams], -1: not waited for */
    int next;              /* bucket to start next: sums start in the same order on every rank */
    status error;
};

static void restart(struct gradient_sum *s) {
    for (int b = 0; b < s->nbuckets; b++) s->bucket[b].missing = s->bucket[b].nparams;
    s->next = 0;
}

status gradient_sum_create(const struct comm *comm, const struct opgraph *graph, const bool *used,
                           struct params *grads, size_t bucket_bytes, struct gradient_sum **sum) {
    struct gradient_sum *s = calloc(1, sizeof *s);
    if (!s) return status_no_memory("gradient buckets", sizeof *s);
    s->comm = comm;
    s->grads = grads;
    s->nparams = graph->nparams;
    s->bucket = calloc((size_t)graph->nparams + 1, sizeof *s->bucket);
    s->bucket_of = malloc(((size_t)graph->nparams + 1) * sizeof *s->bucket_of);
    if (!s->bucket || !s->bucket_of) {
        gradient_sum_destroy(&s);
        return status_no_memory("gradient buckets", (size_t)graph->nparams * sizeof *s->bucket);
    }
    /* The arena holds trainable parameters in ascending order, so walking down goes from its end to its
     * start. */
    int64_t end = grads->ntrainable;
    for (int i = graph->nparams - 1; i >= 0; i--) {
        s->bucket_of[i] = -1;
        if (!graph->param[i].trainable) continue;
        struct bucket *b = &s->bucket[s->nbuckets];
        b->begin = grads->offset[i];
        b->end = end;
        if (used[i]) {
            s->bucket_of[i] = s->nbuckets;
            b->nparams++;
        }
        if ((size_t)(b->end - b->begin) * sizeof(float) >= bucket_bytes) {
            end = b->begin;
            s->nbuckets++;
        }
    }
    if (s->bucket[s->nbuckets].end > s->bucket[s->nbuckets].begin) s->nbuckets++;
    restart(s);
    *sum = s;
    return SUCCESS;
}

void gradient_sum_destroy(struct gradient_sum **sum) {
    if (!*sum) return;
    free((*sum)->bucket);
    free((*sum)->bucket_of);
    status_drop(&(*sum)->error);
    free(*sum);
    *sum = NULL;
}

/* Starts the sums of all complete buckets that are next in order. */
static void start_ready(struct gradient_sum *s) {
    while (s->next < s->nbuckets && s->bucket[s->next].missing == 0) {
        struct bucket *b = &s->bucket[s->next++];
        if (b->nparams == 0) continue;
        s->error = status_first(s->error, comm_sum_f32_begin(s->comm, s->grads->data + b->begin,
                                                             (size_t)(b->end - b->begin), &b->sum));
    }
}

void gradient_sum_ready(struct gradient_sum *s, int param) {
    if (comm_size(s->comm) == 1) return;
    if (param >= 0 && param < s->nparams && s->bucket_of[param] >= 0) {
        s->bucket[s->bucket_of[param]].missing--;
        start_ready(s);
    }
    for (int b = 0; b < s->next; b++) comm_sum_progress(s->bucket[b].sum);
}

status gradient_sum_finish(struct gradient_sum *s) {
    if (comm_size(s->comm) == 1) return SUCCESS;
    /* A rank whose backward failed halfway still takes part in every sum. */
    for (int b = 0; b < s->nbuckets; b++) s->bucket[b].missing = 0;
    start_ready(s);
    status error = s->error;
    s->error = SUCCESS;
    for (int b = 0; b < s->nbuckets; b++) error = status_first(error, comm_sum_end(&s->bucket[b].sum));
    restart(s);
    return error;
}
