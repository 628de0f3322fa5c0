#include "shared/partition.h"

#include <stdlib.h>

void partition_destroy(struct partition **partition) {
    if (!*partition) return;
    free((*partition)->first_rank);
    free((*partition)->ranks);
    free(*partition);
    *partition = NULL;
}

/* How many contiguous groups of at most `limit` the costs need; assigns them if first_rank is not NULL. */
static int groups_needed(int n, const double *cost, double limit, int *first_rank) {
    int group = 0;
    double load = 0;
    for (int i = 0; i < n; i++) {
        if (load > 0 && load + cost[i] > limit) {
            group++;
            load = 0;
        }
        load += cost[i];
        if (first_rank) first_rank[i] = group;
    }
    return group + 1;
}

/* Fewest possible load of the most loaded of `nranks` contiguous groups: some sum cost[i..j], found by
 * bisection between the largest single cost and the total. */
static double least_limit(int n, const double *cost, int nranks) {
    double low = 0, high = 0;
    for (int i = 0; i < n; i++) {
        high += cost[i];
        if (cost[i] > low) low = cost[i];
    }
    for (int round = 0; round < 60; round++) {
        double middle = low + (high - low) / 2;
        if (groups_needed(n, cost, middle, NULL) <= nranks) high = middle;
        else low = middle;
    }
    return high;
}

/* More ranks than slices: each further rank goes to the slice with the most load a rank. */
static void spread_ranks(struct partition *p, const double *cost) {
    for (int i = 0; i < p->nslices; i++) p->ranks[i] = 1;
    for (int extra = p->nranks - p->nslices; extra > 0; extra--) {
        int heaviest = 0;
        for (int i = 1; i < p->nslices; i++)
            if (cost[i] / p->ranks[i] > cost[heaviest] / p->ranks[heaviest]) heaviest = i;
        p->ranks[heaviest]++;
    }
    for (int i = 0, rank = 0; i < p->nslices; rank += p->ranks[i++]) p->first_rank[i] = rank;
}

status partition_create(int nslices, const double *cost, int nranks, struct partition **partition) {
    struct partition *p = calloc(1, sizeof *p);
    if (!p) return status_no_memory("the partition", sizeof *p);
    p->nslices = nslices;
    p->nranks = nranks;
    p->first_rank = calloc((size_t)nslices + 1, sizeof *p->first_rank);
    p->ranks = calloc((size_t)nslices + 1, sizeof *p->ranks);
    if (!p->first_rank || !p->ranks) {
        partition_destroy(&p);
        return status_no_memory("the partition", (size_t)nslices * sizeof *p->ranks);
    }
    if (nranks > nslices) {
        spread_ranks(p, cost);
    } else {
        groups_needed(nslices, cost, least_limit(nslices, cost, nranks), p->first_rank);
        for (int i = 0; i < nslices; i++) p->ranks[i] = 1;
    }
    *partition = p;
    return SUCCESS;
}
