/* What ranks factored layers have, by the variance of their outputs. Used by main_*.c only. */
#ifndef GODWIT_COORDINATOR_MAIN_RANKS_H
#define GODWIT_COORDINATOR_MAIN_RANKS_H

#include "io/config.h"
#include "io/model.h"
#include "worker/calibration.h"
#include "worker/machine.h"

struct ranks_task {
    const struct machine *machine;
    struct target_config *config; /* in: "rank_energy"; out: "ranks" has them as well */
    const struct calibration *calibration;
    const struct model *source; /* batch norms folded, with its weights */
};

/* Of all Dense and plain convolutions, called once and not in "ranks", those that get smaller by it; says so
 * in the log, and puts the ranks into the configuration, for the target to be compiled again. USAGE error
 * without calibration samples. Collective. */
status ranks_choose(const struct ranks_task *task) STATUS_MUST_USE;

#endif
