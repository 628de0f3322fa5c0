#include "shared/trace.h"

#include <stdlib.h>

#define EVENTS_FIRST 1024
#define CLOSED_MAX 1024

/* A span that has ended, and around which none has yet: what to take off one that comes to lie around it. */
struct closed {
    double begin, seconds;
};

struct trace {
    bool keep;
    int64_t count, room, dropped;
    struct trace_event *event;
    struct trace_totals totals;
    int nclosed;
    struct closed closed[CLOSED_MAX]; /* begins rise */
};

status trace_create(bool keep, struct trace **trace) {
    struct trace *t = calloc(1, sizeof *t);
    if (!t) return status_no_memory("a trace", sizeof *t);
    t->keep = keep;
    *trace = t;
    return SUCCESS;
}

void trace_destroy(struct trace **trace) {
    if (!*trace) return;
    free((*trace)->event);
    free(*trace);
    *trace = NULL;
}

static bool make_room(struct trace *t) {
    if (t->count < t->room) return true;
    int64_t room = t->room ? 2 * t->room : EVENTS_FIRST;
    if (room > TRACE_EVENTS_MAX) return false;
    struct trace_event *event = realloc(t->event, (size_t)room * sizeof *event);
    if (!event) return false; /* the run matters more than its trace: dropped */
    t->event = event;
    t->room = room;
    return true;
}

/* Full: neighbours become one. A span that begins between two such counts the first one's seconds as its own.
 */
static void merge_closed(struct trace *t) {
    for (int i = 0; i < CLOSED_MAX / 2; i++) {
        struct closed a = t->closed[2 * i], b = t->closed[2 * i + 1];
        t->closed[i] = (struct closed){a.begin, a.seconds + b.seconds};
    }
    t->nclosed = CLOSED_MAX / 2;
}

/* The seconds of a span that no span inside it has had. */
static double close_span(struct trace *t, double begin, double end) {
    double inside = 0, seconds = end > begin ? end - begin : 0;
    while (t->nclosed > 0 && t->closed[t->nclosed - 1].begin >= begin)
        inside += t->closed[--t->nclosed].seconds;
    if (t->nclosed == CLOSED_MAX) merge_closed(t);
    t->closed[t->nclosed++] = (struct closed){begin, seconds};
    return seconds > inside ? seconds - inside : 0;
}

void trace_add(struct trace *t, enum trace_kind kind, const char *name, int slice, int64_t step, double begin,
               double end) {
    if (!t) return;
    double seconds = close_span(t, begin, end);
    double *total = kind == TRACE_COMPUTE ? &t->totals.compute
                    : kind == TRACE_WAIT  ? &t->totals.wait
                                          : &t->totals.communication;
    *total += seconds;
    t->totals.events++;
    if (!t->keep) return;
    if (!make_room(t)) {
        t->totals.dropped++;
        t->dropped++;
        return;
    }
    t->event[t->count++] = (struct trace_event){
        .begin = begin, .end = end, .name = name, .step = step, .slice = slice, .kind = kind};
}

struct trace_totals trace_totals(const struct trace *t) {
    return t ? t->totals : (struct trace_totals){0};
}

void trace_reset_totals(struct trace *t) {
    if (t) t->totals = (struct trace_totals){0};
}

int64_t trace_count(const struct trace *t) {
    return t ? t->count : 0;
}

int64_t trace_dropped(const struct trace *t) {
    return t ? t->dropped : 0;
}

const struct trace_event *trace_at(const struct trace *t, int64_t i) {
    return &t->event[i];
}

const char *trace_kind_name(enum trace_kind kind) {
    switch (kind) {
    case TRACE_COMPUTE:
        return "compute";
    case TRACE_WAIT:
        return "wait";
    case TRACE_COMMUNICATION:
        return "communication";
    }
    return "";
}
