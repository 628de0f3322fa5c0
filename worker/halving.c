#include "worker/halving.h"

#include <math.h>
#include <stdlib.h>

/* This rank's group does every groups-th of the candidates that are left. */
static status run_group(const struct machine *machine, const struct halving *h, const int *left, int n,
                        int64_t budget, int groups, double *score) {
    int rank = comm_rank(machine->world), size = comm_size(machine->world);
    int group = (int)((int64_t)rank * groups / size);
    struct comm *part = NULL;
    STATUS_TRY(comm_split(machine->world, group, rank, &part));
    struct machine mine = *machine;
    mine.world = part;
    status error = SUCCESS;
    for (int i = group; i < n && !error; i += groups) {
        double s = INFINITY;
        error = h->score(h->context, &mine, left[i], budget, &s);
        if (comm_is_root(part)) score[i] = isfinite(s) ? s : INFINITY;
    }
    comm_destroy(&part);
    return error;
}

/* Scores of the candidates that are left, on every rank. */
static status run_rung(const struct machine *machine, const struct halving *h, const int *left, int n,
                       int64_t budget, double *score) {
    int ranks = comm_size(machine->world), groups = n < ranks ? n : ranks;
    for (int i = 0; i < n; i++) score[i] = -INFINITY;
    STATUS_TRY(comm_agree(machine->world, run_group(machine, h, left, n, budget, groups, score)));
    return comm_max_f64(machine->world, score, (size_t)n);
}

/* The better half, rounded up, in the order in which they were. */
static int keep_better(int *left, const double *score, int n) {
    int kept = 0;
    for (int i = 0; i < n; i++) {
        int better = 0;
        for (int j = 0; j < n; j++) better += score[j] < score[i] || (score[j] == score[i] && j < i);
        if (better < (n + 1) / 2) left[kept++] = left[i];
    }
    return kept;
}

status halving_score_all(const struct machine *machine, const struct halving *h) {
    void *memory = NULL;
    status error = memory_alloc("candidates", (size_t)h->n, sizeof(int), &memory);
    int *all = memory;
    STATUS_TRY(comm_agree(machine->world, error));
    for (int i = 0; i < h->n; i++) all[i] = i;
    error = run_rung(machine, h, all, h->n, h->budget, h->scores);
    free(memory);
    return error;
}

status halving_run(const struct machine *machine, const struct halving *h, int *best) {
    void *memory = NULL;
    status error = memory_alloc("candidates", (size_t)h->n, sizeof(int) + sizeof(double), &memory);
    STATUS_TRY(comm_agree(machine->world, error));
    double *score = memory;
    int *left = (int *)(void *)(score + h->n), n = h->n;
    for (int i = 0; i < n; i++) left[i] = i;
    for (int64_t budget = h->budget; n > 1 && !error; budget *= 2) {
        error = run_rung(machine, h, left, n, budget, score);
        for (int i = 0; i < n && !error; i++) h->scores[left[i]] = score[i];
        if (!error) n = keep_better(left, score, n);
    }
    *best = left[0];
    free(memory);
    return error;
}
