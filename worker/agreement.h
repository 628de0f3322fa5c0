/* How far a target's outputs are those of its source: needs no labels. */
#ifndef GODWIT_WORKER_AGREEMENT_H
#define GODWIT_WORKER_AGREEMENT_H

#include "worker/forward.h"

/* A graph and its parameters. */
struct computation {
    const struct opgraph *graph;
    struct params *params;
};

struct agreement {
    int64_t samples, same; /* same: those with the same largest output */
    double share;          /* same / samples; 0 without samples */
    double error; /* squares of the outputs' differences, relative to those of the source's outputs */
};

/* Compares output 0 of both, which have the same shape, on all samples of the part, split over the ranks of
 * machine->world. Collective. Errors: those of reading samples. */
status agreement_measure(const struct machine *machine, const struct computation *source,
                         const struct computation *target, struct dataset *dataset, enum dataset_part part,
                         struct agreement *agreement) STATUS_MUST_USE;

#endif
