/* Which residual blocks a target does without, by what leaving them out costs. Used by main_migrate.c. */
#ifndef GODWIT_COORDINATOR_MAIN_BLOCKS_H
#define GODWIT_COORDINATOR_MAIN_BLOCKS_H

#include "io/config.h"
#include "io/model.h"
#include "worker/calibration.h"
#include "worker/machine.h"

struct blocks_task {
    const struct machine *machine;
    struct target_config *config; /* in: "blocks_removed"; out: "depth" has the blocks' names as well */
    const struct calibration *calibration;
    const struct model *source; /* batch norms folded, with its weights */
};

/* Chooses them by the error of the source's outputs without them, says so in the log, and puts them into the
 * configuration, for the target to be compiled again. USAGE error without calibration samples. Collective. */
status blocks_choose(const struct blocks_task *task) STATUS_MUST_USE;

#endif
