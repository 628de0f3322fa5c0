/* Stages: which ranks fine-tune which slices. Neighbouring slices form a stage, which neighbouring ranks have
 * together: each of them holds all of its parameters and takes every so many-th micro-batch of a batch. One
 * stage for all ranks is data-parallel training; as many stages as ranks is a plain pipeline. */
#ifndef GODWIT_SHARED_STAGES_H
#define GODWIT_SHARED_STAGES_H

#include "shared/status.h"

#include <stdint.h>

struct stages {
    int nslices, nstages, nranks;
    int *first_slice; /* [nstages + 1], owned: stage s has slices [first_slice[s], first_slice[s + 1]) */
    int *first_rank;  /* [nstages + 1], owned: and these ranks, at least one */
};

/* What a batch takes, in seconds of one rank. */
struct stages_cost {
    int nslices;
    const double *compute;  /* [nslices] to compute a slice */
    const double *transfer; /* [nslices + 1] to send, or receive, what crosses the boundary before it */
    const double *sum;      /* [nslices] to sum a slice's gradients over ranks, whatever their number */
    const double *bytes;    /* [nslices] that a rank holds of a slice */
    double bytes_limit;     /* of a rank; 0: none */
    int64_t micro_batches;  /* of a batch */
    bool flushed;           /* stages wait for each other at the end of a batch (joint training) */
};

/* The stages for which a batch takes least time, or of `wanted` stages, if that is not 0. The same on every
 * rank. USAGE error if no rank can hold what falls to it: says how many ranks would do. */
status stages_create(const struct stages_cost *cost, int nranks, int wanted,
                     struct stages **stages) STATUS_MUST_USE;
/* From a text: "3:1 5:1" is a stage of three slices on one rank and one of five. USAGE error if these are not
 * all slices and ranks. */
status stages_parse(const char *text, int nslices, int nranks, struct stages **stages) STATUS_MUST_USE;
/* The text of it, owned. */
status stages_print(const struct stages *stages, char **text) STATUS_MUST_USE;
void stages_destroy(struct stages **stages);

/* Seconds that a batch takes at this cost, and of these seconds the share that ranks compute in, on
 * average. */
double stages_seconds(const struct stages *stages, const struct stages_cost *cost);
double stages_utilization(const struct stages *stages, const struct stages_cost *cost);

bool stages_equal(const struct stages *a, const struct stages *b);

static inline int stages_ranks(const struct stages *stages, int stage) {
    return stages->first_rank[stage + 1] - stages->first_rank[stage];
}
/* The rank that takes a micro-batch in a stage. */
static inline int stages_rank(const struct stages *stages, int stage, int64_t micro_batch) {
    return stages->first_rank[stage] + (int)(micro_batch % stages_ranks(stages, stage));
}
int stages_of_rank(const struct stages *stages, int rank);
int stages_of_slice(const struct stages *stages, int slice);

#endif
