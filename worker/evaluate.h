/* Loss and accuracy over a part of a data set, and latency. */
#ifndef GODWIT_WORKER_EVALUATE_H
#define GODWIT_WORKER_EVALUATE_H

#include "worker/forward.h"

struct evaluation {
    int64_t samples, correct;
    double loss;            /* mean cross-entropy of the labels */
    double accuracy;        /* correct / samples */
    double calibrated_loss; /* the least of the losses with all logits multiplied by one of a few factors from
                               1/4 to 4 (Guo et al. 2017): says how well classes are told apart, however sure
                               the outputs are, with less noise than the accuracy */
};

/* `graph`'s output 0 is taken as logits. Samples are split over the ranks of machine->world. Collective. */
status evaluate(const struct machine *machine, const struct opgraph *graph, struct params *params,
                struct dataset *dataset, enum dataset_part part,
                struct evaluation *evaluation) STATUS_MUST_USE;

/* The same against other labels than the data's: label[size of the part], NULL: the data's. */
status evaluate_against(const struct machine *machine, const struct opgraph *graph, struct params *params,
                        struct dataset *dataset, enum dataset_part part, const int32_t *label,
                        struct evaluation *evaluation) STATUS_MUST_USE;

/* Median seconds of one run at `batch` with random inputs, over about `seconds` of runs. Not collective. */
status measure_latency(const struct machine *machine, const struct opgraph *graph, struct params *params,
                       int64_t batch, double seconds, double *median_s) STATUS_MUST_USE;

#endif
