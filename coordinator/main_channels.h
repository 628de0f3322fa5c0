/* Which channels a target has: how many, where there is a budget, and which, by what they are worth to the
 * next layers. Used by main_migrate.c. */
#ifndef GODWIT_COORDINATOR_MAIN_CHANNELS_H
#define GODWIT_COORDINATOR_MAIN_CHANNELS_H

#include "coordinator/compile.h"
#include "io/model.h"
#include "worker/calibration.h"
#include "worker/migrate.h"

struct channels_task {
    const struct machine *machine;
    const struct config *config;
    const struct calibration *calibration; /* NULL: there are no samples */
    const struct model *source;            /* batch norms folded; NULL where widths are given */
    const struct model *full; /* the target at full width, with the source's weights; or an outline, then */
    const struct migration *program; /* gives the weights, chunk by chunk; else NULL */
    struct compiled *compiled;
};

/* Allots widths within the budget by measured errors (without samples: by the same factor for all), and makes
 * the target and its program anew. *latency_s: the limit of latency in seconds; untouched if there is none.
 * Collective. */
status channels_allot(const struct channels_task *task, double *latency_s) STATUS_MUST_USE;

/* Chooses channels for all groups for which the program does not say them, and fills in its keep lists.
 * Collective.
 */
status channels_choose(const struct channels_task *task) STATUS_MUST_USE;

#endif
