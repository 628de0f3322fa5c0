#include "shared/log.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PLAIN_INTERVAL_S 10.0
#define TERMINAL_INTERVAL_S 0.1
#define TEXT_MAX 512

struct progress {
    bool active;
    char what[200], unit[32], note[160];
    double total, done;
    double start_s, shown_s; /* times */
};

struct log {
    int rank;
    enum log_level level;
    bool terminal;
    const char *name; /* NULL: none */
    const char *phase;
    log_clock *clock;
    log_listener *listener;
    void *listener_data;
    log_pulse *pulse;
    void *pulse_data;
    struct progress progress;
};

static double monotonic_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

status log_create(int rank, enum log_level level, struct log **log) {
    struct log *l = calloc(1, sizeof *l);
    if (!l) return status_no_memory("the log", sizeof *l);
    l->rank = rank;
    l->level = level;
    l->terminal = isatty(STDERR_FILENO) == 1;
    l->phase = "start";
    l->clock = monotonic_s;
    *log = l;
    return SUCCESS;
}

void log_destroy(struct log **log) {
    if (!*log) return;
    log_progress_end(*log);
    free(*log);
    *log = NULL;
}

status log_branch(const struct log *log, int rank, const char *name, bool alone, struct log **branch) {
    STATUS_TRY(log_create(rank, log->level, branch));
    (*branch)->name = name;
    (*branch)->clock = log->clock;
    (*branch)->terminal = log->terminal && alone;
    return SUCCESS;
}

void log_listen(struct log *log, log_listener *listener, void *data) {
    log->listener = listener;
    log->listener_data = data;
}

void log_set_pulse(struct log *log, log_pulse *pulse, void *data) {
    log->pulse = pulse;
    log->pulse_data = data;
}

void log_set_clock(struct log *log, log_clock *clock) {
    log->clock = clock;
}

static const char *const level_names[] = {"error", "warn", "info", "debug"};

status log_level_parse(const char *text, enum log_level *level) {
    for (int i = 0; i < 4; i++)
        if (strcmp(text, level_names[i]) == 0) {
            *level = (enum log_level)i;
            return SUCCESS;
        }
    return status_fail(STATUS_USAGE, "log level \"%s\" is unknown; use error, warn, info or debug", text);
}

/* One line in one write, so that lines of several ranks do not mix. `text` has room for one more byte. */
static void write_line(char *text, size_t length) {
    text[length] = '\n';
    ssize_t n = write(STDERR_FILENO, text, length + 1);
    (void)n; /* there is nowhere to report it */
}

static bool shows_progress(const struct log *log) {
    return log->progress.active && log->rank == 0 && log->level >= LOG_INFO;
}

static void clear_progress_line(const struct log *log) {
    if (!log->terminal || !shows_progress(log)) return;
    ssize_t n = write(STDERR_FILENO, "\r\033[K", 4);
    (void)n;
}

/* "820 ms", "12.5 s", "3 min 20 s", "2 h 5 min" */
static void format_seconds(double seconds, char *text, size_t nbytes) {
    if (seconds < 1) snprintf(text, nbytes, "%.0f ms", seconds * 1e3);
    else if (seconds < 60) snprintf(text, nbytes, "%.1f s", seconds);
    else if (seconds < 3600)
        snprintf(text, nbytes, "%d min %d s", (int)(seconds / 60), (int)fmod(seconds, 60));
    else snprintf(text, nbytes, "%.0f h %d min", floor(seconds / 3600), (int)(fmod(seconds, 3600) / 60));
}

static size_t format_progress(const struct progress *p, double now_s, bool finished, char *text) {
    double elapsed_s = now_s - p->start_s;
    double rate = elapsed_s > 0 ? p->done / elapsed_s : 0;
    char time_text[32];
    size_t n = (size_t)snprintf(text, TEXT_MAX, "%s: %.10g", p->what, p->done);
    if (p->total > 0 && !finished)
        n += (size_t)snprintf(text + n, TEXT_MAX - n, "/%.10g %s (%.0f %%)", p->total, p->unit,
                              100 * p->done / p->total);
    else n += (size_t)snprintf(text + n, TEXT_MAX - n, " %s", p->unit);
    if (finished) {
        format_seconds(elapsed_s, time_text, sizeof time_text);
        n += (size_t)snprintf(text + n, TEXT_MAX - n, " in %s", time_text);
    }
    if (rate > 0)
        n += (size_t)snprintf(text + n, TEXT_MAX - n, ", %.*f %s/s", rate < 10 ? 2 : 0, rate, p->unit);
    if (!finished && rate > 0 && p->total > p->done) {
        format_seconds((p->total - p->done) / rate, time_text, sizeof time_text);
        n += (size_t)snprintf(text + n, TEXT_MAX - n, ", %s left", time_text);
    }
    if (p->note[0]) n += (size_t)snprintf(text + n, TEXT_MAX - n, ", %s", p->note);
    return n < TEXT_MAX ? n : TEXT_MAX - 1;
}

static size_t terminal_columns(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 8) return size.ws_col;
    return 80;
}

static void draw_progress(struct log *log) {
    char text[TEXT_MAX], line[TEXT_MAX + 8];
    size_t n = format_progress(&log->progress, log->clock(), false, text);
    if (!log->terminal) {
        write_line(text, n);
        return;
    }
    size_t columns = terminal_columns() - 1; /* the last column would wrap */
    if (n > columns) n = columns;
    int length = snprintf(line, sizeof line, "\r%.*s\033[K", (int)n, text);
    ssize_t written = write(STDERR_FILENO, line, (size_t)length);
    (void)written;
}

void log_line(struct log *log, enum log_level level, const char *format, ...) {
    bool prints = level <= log->level && (log->rank == 0 || level != LOG_INFO);
    bool listens = log->listener && level <= LOG_WARN;
    if (!prints && !listens) return;
    char message[4096], text[4400];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (listens) {
        struct log_figure figure = {"message", 0, message};
        log->listener(log->listener_data, log->rank, log->phase, level == LOG_WARN ? "warning" : "error",
                      &figure, 1);
    }
    if (!prints) return;
    char rank[32] = "";
    if (log->rank != 0) snprintf(rank, sizeof rank, "rank %d: ", log->rank);
    static const char *const prefix[] = {"godwit: ", "godwit: warning: ", "", "debug: "};
    int n = snprintf(text, sizeof text - 1, "%s%s%s%s%s", prefix[level], log->name ? log->name : "",
                     log->name ? ": " : "", rank, message);
    clear_progress_line(log);
    write_line(text, (size_t)n);
    if (log->terminal && shows_progress(log)) draw_progress(log);
}

void log_phase(struct log *log, const char *phase) {
    log->phase = phase;
}

const char *log_current_phase(const struct log *log) {
    return log->phase;
}

void log_event(struct log *log, const char *event, const struct log_figure *figures, int n) {
    if (log->listener) log->listener(log->listener_data, log->rank, log->phase, event, figures, n);
}

void log_progress_begin(struct log *log, const char *what, const char *unit, double total) {
    log_progress_end(log);
    struct progress *p = &log->progress;
    memset(p, 0, sizeof *p);
    snprintf(p->what, sizeof p->what, "%s%s%s", log->name ? log->name : "", log->name ? ": " : "", what);
    snprintf(p->unit, sizeof p->unit, "%s", unit);
    p->total = total;
    p->active = true;
    p->start_s = p->shown_s = log->clock();
    if (log->terminal && shows_progress(log)) draw_progress(log);
}

void log_progress(struct log *log, double done, const char *note) {
    struct progress *p = &log->progress;
    if (log->pulse) log->pulse(log->pulse_data);
    if (!p->active) return;
    p->done = done;
    snprintf(p->note, sizeof p->note, "%s", note ? note : "");
    double now_s = log->clock();
    if (!shows_progress(log) || now_s - p->shown_s < (log->terminal ? TERMINAL_INTERVAL_S : PLAIN_INTERVAL_S))
        return;
    p->shown_s = now_s;
    draw_progress(log);
}

void log_progress_end(struct log *log) {
    if (!log->progress.active) return;
    if (shows_progress(log)) {
        char text[TEXT_MAX + 1];
        clear_progress_line(log);
        write_line(text, format_progress(&log->progress, log->clock(), true, text));
    }
    log->progress.active = false;
}
