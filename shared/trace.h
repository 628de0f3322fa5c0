/* What this rank does, and when: spans of computing, waiting and communicating.
 *
 * Spans are added when they end, by one thread, and nest: a layer's span lies around those of the collectives
 * in it. In the totals every second counts once, for the innermost span. Memory is bounded: TRACE_EVENTS_MAX
 * events are kept (40 MiB), those after them only counted, in totals as usual and as dropped. */
#ifndef GODWIT_SHARED_TRACE_H
#define GODWIT_SHARED_TRACE_H

#include "shared/status.h"

#include <stdint.h>

#define TRACE_EVENTS_MAX (1 << 20)

/* Waiting for others and moving data cannot be told apart in one collective: shared/comm.h says what counts
 * as which. */
enum trace_kind { TRACE_COMPUTE, TRACE_WAIT, TRACE_COMMUNICATION };

struct trace_event {
    double begin, end; /* comm_time() */
    const char *name;  /* borrowed, a literal */
    int64_t step;      /* -1: none */
    int slice;         /* -1: none */
    enum trace_kind kind;
};

/* Seconds, and how many spans there were, of them not kept for want of room. */
struct trace_totals {
    double compute, wait, communication;
    int64_t events, dropped;
};

struct trace;

/* keep: events are kept for trace.json; else only the totals are. */
status trace_create(bool keep, struct trace **trace) STATUS_MUST_USE;
void trace_destroy(struct trace **trace);

/* A span from `begin` to `end` (comm_time() seconds). `name` is a literal (kept as a pointer). slice, step:
 * -1 where there is none. trace may be NULL: nothing happens. */
void trace_add(struct trace *trace, enum trace_kind kind, const char *name, int slice, int64_t step,
               double begin, double end);

/* Since the last trace_reset_totals(). NULL: zeros. */
struct trace_totals trace_totals(const struct trace *trace);
void trace_reset_totals(struct trace *trace);

/* The events that are kept, in the order of their ends. NULL: none. */
int64_t trace_count(const struct trace *trace);
/* Those that had no room, since the beginning. */
int64_t trace_dropped(const struct trace *trace);
const struct trace_event *trace_at(const struct trace *trace,
                                   int64_t i); /* borrowed until the next trace_add */

const char *trace_kind_name(enum trace_kind kind);

#endif
