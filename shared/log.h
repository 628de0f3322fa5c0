/* Log lines, events and progress of one rank. A log writes to the terminal; a run folder (io/run_folder.h)
 * may listen to its events. Made by main and passed on; there is no global log. Nothing here is collective; a
 * log is used by one thread at a time. */
#ifndef GODWIT_SHARED_LOG_H
#define GODWIT_SHARED_LOG_H

#include "shared/status.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log;

/* One figure of an event: a number, or a text if `text` is not NULL. */
struct log_figure {
    const char *name;
    double number;
    const char *text;
};

/* Receives every event of the log, and its lines of WARN and ERROR as events "warning" and "error" with the
 * figure "message"; `data` as given to log_listen. */
typedef void log_listener(void *data, int rank, const char *phase, const char *event,
                          const struct log_figure *figures, int n);

/* Only rank 0 prints lines of INFO and progress; other lines of other ranks carry their rank. All goes to
 * standard error, one line in one write. */
status log_create(int rank, enum log_level level, struct log **log) STATUS_MUST_USE;
void log_destroy(struct log **log);
/* Another log of the same level, of a group in which this rank has another number; every line begins with the
 * name (borrowed). Unless its group is alone, progress is in plain lines, on a terminal too, where one that
 * is rewritten in place would mix with those of other groups. */
status log_branch(const struct log *log, int rank, const char *name, bool alone,
                  struct log **branch) STATUS_MUST_USE;
void log_listen(struct log *log, log_listener *listener, void *data); /* one at a time; NULL: none */
status log_level_parse(const char *text,
                       enum log_level *level) STATUS_MUST_USE; /* error, warn, info, debug */

void log_line(struct log *log, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The phase that following events belong to ("refit"). `phase` is borrowed and must outlive the phase. */
void log_phase(struct log *log, const char *phase);
const char *log_current_phase(const struct log *log);
/* An event with figures, for the run folder; not printed. */
void log_event(struct log *log, const char *event, const struct log_figure *figures, int n);
#define LOG_EVENT(log, event, ...)                                                                           \
    log_event(log, event, (struct log_figure[]){__VA_ARGS__},                                                \
              (int)(sizeof((struct log_figure[]){__VA_ARGS__}) / sizeof(struct log_figure)))

/* Progress of `what` in `unit`s ("samples") with rate and remaining time: a line rewritten in place on a
 * terminal, a plain line every ten seconds elsewhere; a last line with the total time when it ends. Rank 0
 * prints, from INFO on. The texts are copied. `total` 0: not known beforehand. log_progress may be called as
 * often as one likes. */
void log_progress_begin(struct log *log, const char *what, const char *unit, double total);
void log_progress(struct log *log, double done, const char *note); /* note may be NULL */
void log_progress_end(struct log *log);

/* Called by every log_progress(), by any rank: whoever has a long loop is alive. NULL: nothing is. */
typedef void log_pulse(void *data);
void log_set_pulse(struct log *log, log_pulse *pulse, void *data);

/* Seconds from any start; tests give their own. */
typedef double log_clock(void);
void log_set_clock(struct log *log, log_clock *clock);

#endif
