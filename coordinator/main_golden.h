/* A model run on its reference inputs and compared with its reference outputs; for the commands evaluate and
 * verify. */
#ifndef GODWIT_COORDINATOR_MAIN_GOLDEN_H
#define GODWIT_COORDINATOR_MAIN_GOLDEN_H

#include "coordinator/session.h"
#include "io/golden_report.h"
#include "io/model.h"
#include "worker/machine.h"

#define GOLDEN_TOLERANCE 1e-4 /* of the largest reference value, unless said otherwise */

struct golden_task {
    const char *model;                 /* path */
    const struct keras_options *keras; /* may be NULL */
    const char *golden;                /* path */
    const char *engine;                /* a name, "all", or NULL: the fastest */
    double tolerance;
};

/* Fills *report, which golden_report_clear() frees, after an error too. Inputs of unknown size take the
 * golden ones' shapes. Not collective. Errors as model_read() and golden_read(), and DATA if the pair does
 * not fit the model; outputs that differ are no error, see golden_report_verdict(). */
status golden_check(const struct session *session, const struct golden_task *task,
                    struct golden_report *report) STATUS_MUST_USE;

#endif
