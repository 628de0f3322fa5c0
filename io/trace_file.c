#include "io/trace_file.h"

#include "io/file.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TAG 11
#define PINGS 16
#define PIECE_BYTES ((size_t)64 << 10)
#define EVENT_BYTES 512 /* at most */
#define NAME_MAX_BYTES 64

/* ---- clocks ---- */

/* What is to be added to rank r's times, on rank 0: at the fastest of a few messages there and back, its
 * clock was read halfway. */
static status measure_offset(const struct comm *world, int r, double *offset) {
    double least = INFINITY;
    for (int i = 0; i < PINGS; i++) {
        double sent = comm_time(), theirs, back;
        STATUS_TRY(comm_send(world, r, TAG, &sent, sizeof sent));
        STATUS_TRY(comm_recv(world, r, TAG, &theirs, sizeof theirs));
        back = comm_time();
        if (back - sent >= least) continue;
        least = back - sent;
        *offset = (sent + back) / 2 - theirs;
    }
    return comm_send(world, r, TAG, offset, sizeof *offset);
}

static status answer_offset(const struct comm *world, double *offset) {
    for (int i = 0; i < PINGS; i++) {
        double theirs, mine;
        STATUS_TRY(comm_recv(world, 0, TAG, &theirs, sizeof theirs));
        mine = comm_time();
        STATUS_TRY(comm_send(world, 0, TAG, &mine, sizeof mine));
    }
    return comm_recv(world, 0, TAG, offset, sizeof *offset);
}

static status align(const struct comm *world, double *offset) {
    *offset = 0;
    if (!comm_is_root(world)) return answer_offset(world, offset);
    for (int r = 1; r < comm_size(world); r++) {
        double theirs = 0;
        STATUS_TRY(measure_offset(world, r, &theirs));
    }
    return SUCCESS;
}

/* When the first span of all began, on rank 0's clock; 0 if there is none. */
static status find_origin(const struct comm *world, const struct trace *trace, double offset,
                          double *origin) {
    double first = INFINITY;
    for (int64_t i = 0; i < trace_count(trace); i++)
        if (trace_at(trace, i)->begin + offset < first) first = trace_at(trace, i)->begin + offset;
    double negated = -first;
    STATUS_TRY(comm_max_f64(world, &negated, 1));
    *origin = isfinite(negated) ? -negated : 0;
    return SUCCESS;
}

/* ---- events as text ---- */

struct writer {
    const struct trace *trace;
    int rank;
    double shift; /* to be added to times */
    int64_t next, count;
    char *text; /* [PIECE_BYTES] */
};

/* Names are literals of ours; what JSON would have to escape is left out. */
static const char *plain(const char *name, char *text) {
    size_t n = 0;
    for (; *name && n + 1 < NAME_MAX_BYTES; name++)
        if ((unsigned char)*name >= ' ' && *name != '"' && *name != '\\') text[n++] = *name;
    text[n] = '\0';
    return text;
}

static size_t print_event(const struct writer *w, const struct trace_event *e, char *text) {
    char name[NAME_MAX_BYTES], slice[32] = "", step[40] = "";
    if (e->slice >= 0) snprintf(slice, sizeof slice, "\"slice\":%d", e->slice);
    if (e->step >= 0) snprintf(step, sizeof step, "%s\"step\":%lld", *slice ? "," : "", (long long)e->step);
    double begin = 1e6 * (e->begin + w->shift), duration = 1e6 * (e->end - e->begin);
    int n = snprintf(text, EVENT_BYTES,
                     ",\n{\"ph\":\"X\",\"pid\":%d,\"tid\":0,\"name\":\"%s\",\"cat\":\"%s\",\"ts\":%.3f,"
                     "\"dur\":%.3f,\"args\":{%s%s}}",
                     w->rank, plain(e->name, name), trace_kind_name(e->kind), begin > 0 ? begin : 0,
                     duration > 0 ? duration : 0, slice, step);
    return n > 0 && n < EVENT_BYTES ? (size_t)n : 0;
}

/* The next events that have room in a piece; its bytes, 0: there are no more. */
static size_t print_piece(struct writer *w) {
    size_t used = 0;
    for (; w->next < w->count && used + EVENT_BYTES <= PIECE_BYTES; w->next++)
        used += print_event(w, trace_at(w->trace, w->next), w->text + used);
    return used;
}

/* ---- the file, on rank 0 ---- */

static status put(FILE *file, const char *path, const char *text, size_t nbytes) {
    return fwrite(text, 1, nbytes, file) == nbytes ? SUCCESS : file_fail("write", path, errno);
}

static status put_head(FILE *file, const char *path, int ranks) {
    bool right = fprintf(file, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[") > 0;
    for (int r = 0; r < ranks && right; r++)
        right = fprintf(file,
                        "%s\n{\"ph\":\"M\",\"pid\":%d,\"tid\":0,\"name\":\"process_name\",\"args\":{\"name\":"
                        "\"rank %d\"}},\n{\"ph\":\"M\",\"pid\":%d,\"tid\":0,\"name\":\"process_sort_index\","
                        "\"args\":{\"sort_index\":%d}}",
                        r ? "," : "", r, r, r, r) > 0;
    return right ? SUCCESS : file_fail("write", path, errno);
}

static status put_tail(FILE *file, const char *path, double dropped) {
    return fprintf(file, "\n],\"otherData\":{\"dropped\":%.0f}}\n", dropped) > 0
               ? SUCCESS
               : file_fail("write", path, errno);
}

/* Rank r's pieces; whatever happens to the file, all of them are taken. */
static status take_pieces(const struct comm *world, int r, FILE *file, const char *path, char *text) {
    status error = SUCCESS;
    for (;;) {
        uint64_t nbytes = 0;
        status lost = comm_recv(world, r, TAG, &nbytes, sizeof nbytes);
        if (lost || nbytes == 0) return status_first(error, lost);
        lost = comm_recv(world, r, TAG, text, nbytes);
        if (lost) return status_first(error, lost);
        if (!error && file) error = put(file, path, text, nbytes);
    }
}

static status give_pieces(const struct comm *world, struct writer *w) {
    for (;;) {
        uint64_t nbytes = print_piece(w);
        STATUS_TRY(comm_send(world, 0, TAG, &nbytes, sizeof nbytes));
        if (nbytes == 0) return SUCCESS;
        STATUS_TRY(comm_send(world, 0, TAG, w->text, nbytes));
    }
}

static status put_own(FILE *file, const char *path, struct writer *w) {
    for (size_t n; (n = print_piece(w)) > 0;) STATUS_TRY(put(file, path, w->text, n));
    return SUCCESS;
}

static status fill(const struct comm *world, FILE *file, const char *path, struct writer *w, double dropped) {
    int ranks = comm_size(world);
    status error = put_head(file, path, ranks);
    if (!error) error = put_own(file, path, w);
    for (int r = 1; r < ranks; r++) error = status_first(error, take_pieces(world, r, file, path, w->text));
    return error ? error : put_tail(file, path, dropped);
}

static status open_temporary(const char *path, char **temporary, FILE **file) {
    STATUS_TRY(file_temporary(path, temporary));
    *file = fopen(*temporary, "we");
    return *file ? SUCCESS : file_fail("write", *temporary, errno);
}

/* The one that fails before the pieces is found before anybody sends any. Collective. */
static status write_all(const struct comm *world, const char *path, struct writer *w, double dropped) {
    char *temporary = NULL;
    FILE *file = NULL;
    status error = comm_is_root(world) ? open_temporary(path, &temporary, &file) : SUCCESS;
    error = comm_agree(world, error);
    if (!error) error = comm_is_root(world) ? fill(world, file, path, w, dropped) : give_pieces(world, w);
    if (file && fclose(file) && !error) error = file_fail("write", path, errno);
    if (temporary && !error) error = file_commit(temporary, path);
    else if (temporary) file_abandon(temporary);
    free(temporary);
    return comm_agree(world, error);
}

status trace_file_write(const struct comm *world, const struct trace *trace, const char *path) {
    struct writer w = {
        .trace = trace, .rank = comm_rank(world), .count = trace_count(trace), .text = malloc(PIECE_BYTES)};
    double offset = 0, origin = 0, dropped = (double)trace_dropped(trace);
    status error = comm_agree(world, w.text ? SUCCESS : status_no_memory("a trace", PIECE_BYTES));
    if (!error) error = align(world, &offset);
    if (!error) error = find_origin(world, trace, offset, &origin);
    if (!error) error = comm_sum_f64(world, &dropped, 1);
    w.shift = offset - origin;
    if (!error) error = write_all(world, path, &w, dropped);
    free(w.text);
    return error;
}
