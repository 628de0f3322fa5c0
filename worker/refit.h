/* Refit: closed-form repair of the whole target. First layer after layer, each on the inputs that the already
 * refitted layers produce, towards the source's own outputs at the kept channels, or, where an addition
 * follows, towards what the source's sum lacks (worker/fit.h). Then in sweeps over the layers, each towards
 * the source's outputs of the *next* layers (worker/descent.h). Every eighth block of the calibration samples
 * is held out of all fits: it chooses ridges, ends iterations, and keeps what was there if a fit is worse. No
 * labels. */
#ifndef GODWIT_WORKER_REFIT_H
#define GODWIT_WORKER_REFIT_H

#include "io/config.h"
#include "shared/plan.h"
#include "worker/calibration.h"

struct refit {
    const struct refit_config *config;
    const struct calibration *calibration;
    const struct opgraph *source, *target; /* the source: batch norms folded */
    const int *source_value; /* [target->nvalues] the source's value of the same meaning, -1: none; see
                                worker/correspondence.h */
    struct params *source_params, *target_params;
    const signed char *due; /* [plan->nstatements] in which pass (0: the first) a statement begins to be
                               refitted, negative: in none; NULL: all in the first */
    struct plan *plan;      /* says what is refitted and which channels are kept; residuals are filled in */
    bool stops;             /* where SIGTERM is caught it ends the refit between two layers: CHECKPOINTED */
};

/* Collective. Afterwards target_params are the same bytes on every rank. */
status refit(const struct machine *machine, const struct refit *refit) STATUS_MUST_USE;

#endif
