/* Which of several targets is the one: of those within the configuration's limits the best. */
#ifndef GODWIT_COORDINATOR_CHOICE_H
#define GODWIT_COORDINATOR_CHOICE_H

#include "coordinator/report.h"
#include "io/config.h"

#include <stdbool.h>

struct choice {
    int chosen;   /* number of the target; -1: none keeps to the limits */
    int nearest;  /* then: the one that exceeds them least; -1: there are no targets at all */
    char *reason; /* owned: why, or what keeps the nearest from it */
};

/* Is any wanted? */
bool choice_is_wanted(const struct choose_config *config);

/* Of targets that are equal in what they are chosen by, the one with fewer parameters, then the first. A
 * target of which a figure is not known keeps to no limit on it. */
status choice_make(const struct choose_config *config, int n, const struct report_target *target,
                   struct choice *choice) STATUS_MUST_USE;
void choice_free(struct choice *choice);

#endif
