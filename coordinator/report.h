/* The table that ends a migration: source against target, and the time of each phase. */
#ifndef GODWIT_COORDINATOR_REPORT_H
#define GODWIT_COORDINATOR_REPORT_H

#include "shared/status.h"

#include <stdint.h>
#include <stdio.h>

struct report_model {
    int64_t parameters;
    double flops;     /* a sample */
    double accuracy;  /* of the test part, NAN if there is none */
    double latency_s; /* of one sample */
};

struct report_phase {
    const char *name;
    double seconds;
};

struct report {
    struct report_model source, target;
    double refit_accuracy; /* of the target before fine-tuning, NAN if unknown */
    double
        refit_agreement; /* share of the test samples for which it gives the source's class; NAN if unknown */
    double agreement;    /* of the target in the end, likewise */
    int nphases;
    const struct report_phase *phase;
};

/* The table that ends a run with several targets: how well each does and what it costs; a star marks those
 * that none of the others betters in all of it. */
struct report_target {
    const char *name;
    struct report report;
};
void report_print_targets(FILE *out, int n, const struct report_target *target);

/* Prints the table; nothing is collective. */
void report_print(FILE *out, const struct report *report);

#endif
