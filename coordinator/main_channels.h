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
    const struct model *full; /* the target at full width, with the source's weights; or an outline, then */
    const struct migration *program; /* gives the weights, chunk by chunk; else NULL */
    struct compiled *compiled;
};

/* Allots widths within the budget by measured errors, and makes the target and its program anew. Collective.
 */
status channels_allot(const struct channels_task *task) STATUS_MUST_USE;

/* Chooses channels for all groups for which the program does not say them, and fills in its keep lists.
 * Collective.
 */
status channels_choose(const struct channels_task *task) STATUS_MUST_USE;

#endif
