/* What each rank did with its time: a table. */
#ifndef GODWIT_COORDINATOR_TRACE_REPORT_H
#define GODWIT_COORDINATOR_TRACE_REPORT_H

#include "shared/comm.h"
#include "shared/trace.h"

#include <stdio.h>

/* All ranks' totals, `all` [ranks of world], on every rank: of a whole run, or of what came after
 * trace_reset_totals(). Collective. */
status trace_report_gather(const struct comm *world, const struct trace_totals *mine,
                           struct trace_totals *all) STATUS_MUST_USE;

/* Mean over largest of the ranks' seconds of computing: 1 if they had the same to do, 1/n if one of n did all
 * of it. 1 too if none did any. */
double trace_report_efficiency(int n, const struct trace_totals *all);

/* A line a rank: seconds and shares of computing, waiting and communication; and the efficiency. */
void trace_report_print(FILE *out, int n, const struct trace_totals *all);

#endif
