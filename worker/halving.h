/* Successive halving (Jamieson and Talwalkar 2016): all candidates get a small budget, the better half twice
 * as much, until one is left. Candidates are tried side by side on groups of ranks. */
#ifndef GODWIT_WORKER_HALVING_H
#define GODWIT_WORKER_HALVING_H

#include "worker/machine.h"

struct halving {
    int n;          /* candidates, at least 1 */
    int64_t budget; /* of the first rung */
    /* Score of a candidate at a budget, less is better, not finite is worst. Collective over machine->world,
     * a group of the ranks that call halving_run(); all of the group return the same. */
    status (*score)(void *context, const struct machine *machine, int candidate, int64_t budget,
                    double *score);
    void *context;
    double *scores; /* [n] receives the last score of each candidate */
};

/* *best is the candidate that is left; of equal ones the first. Trials of the last two are at 2^k budgets,
 * where k is the number of halvings before. With one candidate there is no trial. Collective; all ranks
 * return the same. */
status halving_run(const struct machine *machine, const struct halving *halving, int *best) STATUS_MUST_USE;

/* Each candidate once at the first budget, without a choice. Collective, likewise. */
status halving_score_all(const struct machine *machine, const struct halving *halving) STATUS_MUST_USE;

#endif
