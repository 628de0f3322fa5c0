/* The choice among several targets that are published. Used by main_targets.c only. */
#ifndef GODWIT_COORDINATOR_MAIN_CHOICE_H
#define GODWIT_COORDINATOR_MAIN_CHOICE_H

#include "coordinator/main_wave.h"

/* Chooses as the configuration wants it, if it does, and says which and why; publishes the chosen one under
 * `name` too, if that is not "". If no target keeps to the limits a warning says which comes nearest, and
 * nothing is published. Not collective: rank 0. Errors: those of publishing. */
status choose_target(const struct wave_task *task, const char *name) STATUS_MUST_USE;

#endif
