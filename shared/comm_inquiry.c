/* Asking ranks where they are, answering, and saying which is silent. */
#include "shared/comm_watch.h"
#include "shared/comm_mpi.h"

#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT_MAX 48
#define LINE_MAX_BYTES 1024
#define ANSWER_S 2.0  /* beyond the limit */
#define ASKS 8        /* within the limit */
#define JUDGE_S 0.25  /* between two looks at who is silent */
#define SPEAKER_S 3.0 /* for another rank to carry out a verdict */
#define ABORT_S 5     /* for MPI to end this process */
#define NAMED_MAX 8   /* ranks in a line */
#define TAG 1

enum message_kind { QUERY, REPLY, VERDICT };

/* Between programs that are the same, on machines that are alike. */
struct message {
    enum message_kind kind;
    int exit_code; /* VERDICT */
    bool waiting;  /* REPLY, and what follows */
    int64_t serial;
    char operation[TEXT_MAX], phase[TEXT_MAX];
    char line[LINE_MAX_BYTES]; /* VERDICT */
};
#define SHORT_BYTES offsetof(struct message, line) /* of what has no line */

struct outgoing {
    struct message message;
    MPI_Request request;
};

/* What is known of a rank. */
struct known {
    double heard;       /* of it last, or since when it is waited for */
    double stuck_since; /* it has been seen in one and the same wait since; INFINITY: it has not */
    bool waiting;
    int64_t serial;
    char operation[TEXT_MAX], phase[TEXT_MAX];
};

struct comm_inquiry {
    MPI_Comm control;
    MPI_Group group;
    int rank, size;
    double limit;
    comm_teller *tell;
    void *context; /* of it */
    const char *phase;
    struct outgoing *query, *reply;    /* [size] */
    struct known *known;               /* [size] */
    bool *marked;                      /* [size]: awaited, then silent */
    int64_t serial;                    /* of the wait that the questions are about */
    double asked, judged, handed_over; /* when; 0: not */
};

/* ---- life ---- */

static status make(MPI_Comm world, struct comm_inquiry *q) {
    if (MPI_Comm_dup(world, &q->control) != MPI_SUCCESS)
        return status_fail(STATUS_INTERNAL, "MPI duplicate failed");
    MPI_Comm_set_errhandler(q->control, MPI_ERRORS_RETURN);
    MPI_Comm_group(q->control, &q->group);
    MPI_Comm_rank(q->control, &q->rank);
    MPI_Comm_size(q->control, &q->size);
    size_t n = (size_t)q->size;
    q->query = calloc(n, sizeof *q->query);
    q->reply = calloc(n, sizeof *q->reply);
    q->known = calloc(n, sizeof *q->known);
    q->marked = calloc(n, sizeof *q->marked);
    if (!q->query || !q->reply || !q->known || !q->marked) return status_no_memory("a watchdog", n);
    for (int r = 0; r < q->size; r++) q->query[r].request = q->reply[r].request = MPI_REQUEST_NULL;
    return SUCCESS;
}

status comm_inquiry_create(MPI_Comm world, struct comm_inquiry **inquiry) {
    struct comm_inquiry *q = calloc(1, sizeof *q);
    if (!q) return status_no_memory("a watchdog", sizeof *q);
    q->control = MPI_COMM_NULL;
    q->group = MPI_GROUP_NULL;
    status error = make(world, q);
    if (error) comm_inquiry_destroy(&q);
    *inquiry = q;
    return error;
}

void comm_inquiry_destroy(struct comm_inquiry **inquiry) {
    struct comm_inquiry *q = *inquiry;
    if (!q) return;
    for (int r = 0; r < q->size && q->query && q->reply; r++) {
        if (q->query[r].request != MPI_REQUEST_NULL) MPI_Request_free(&q->query[r].request);
        if (q->reply[r].request != MPI_REQUEST_NULL) MPI_Request_free(&q->reply[r].request);
    }
    if (q->group != MPI_GROUP_NULL) MPI_Group_free(&q->group);
    if (q->control != MPI_COMM_NULL) MPI_Comm_free(&q->control);
    free(q->query);
    free(q->reply);
    free(q->known);
    free(q->marked);
    free(q);
    *inquiry = NULL;
}

void comm_inquiry_limit(struct comm_inquiry *q, double seconds) {
    q->limit = seconds;
}

double comm_inquiry_limit_of(const struct comm_inquiry *q) {
    return q->limit;
}

void comm_inquiry_teller(struct comm_inquiry *q, comm_teller *tell, void *context) {
    q->tell = tell;
    q->context = context;
}

void comm_inquiry_phase(struct comm_inquiry *q, const char *phase) {
    q->phase = phase;
}

const char *comm_inquiry_phase_of(const struct comm_inquiry *q) {
    return q->phase;
}

void comm_inquiry_forgive(struct comm_inquiry *q, double seconds) {
    for (int r = 0; r < q->size; r++) {
        q->known[r].heard += seconds;
        q->known[r].stuck_since += seconds;
    }
}

/* ---- the end of the run ---- */

static _Noreturn void end_run(struct comm_inquiry *q, const char *line, int exit_code) {
    if (q->tell) q->tell(q->context, line);
    alarm(ABORT_S); /* if MPI cannot end it, the signal does */
    MPI_Abort(q->control, exit_code);
    _exit(exit_code);
}

/* ---- messages ---- */

/* One that the other has not taken yet stands for the next. */
static void post(const struct comm_inquiry *q, struct outgoing *out, int to, size_t nbytes) {
    MPI_Isend(&out->message, (int)nbytes, MPI_BYTE, to, TAG, q->control, &out->request);
}

static bool is_free(struct outgoing *out) {
    int done = 1;
    if (out->request != MPI_REQUEST_NULL) MPI_Test(&out->request, &done, MPI_STATUS_IGNORE);
    return done;
}

static void describe(const struct comm_inquiry *q, const struct comm_wait *wait, struct message *m) {
    *m = (struct message){.kind = REPLY, .waiting = wait->operation != NULL, .serial = wait->serial};
    snprintf(m->operation, sizeof m->operation, "%s", wait->operation ? wait->operation->name : "");
    snprintf(m->phase, sizeof m->phase, "%s", q->phase ? q->phase : "");
}

static void hear(struct comm_inquiry *q, int from, const struct message *m) {
    struct known *k = &q->known[from];
    double now = comm_time();
    k->heard = now;
    if (m->kind != REPLY) return;
    bool same = k->waiting && m->waiting && k->serial == m->serial;
    if (!m->waiting) k->stuck_since = INFINITY;
    else if (!same) k->stuck_since = now;
    k->waiting = m->waiting;
    k->serial = m->serial;
    memcpy(k->operation, m->operation, sizeof k->operation);
    memcpy(k->phase, m->phase, sizeof k->phase);
}

void comm_inquiry_answer(struct comm_inquiry *q, const struct comm_wait *wait) {
    struct message m;
    for (;;) {
        int there = 0;
        MPI_Status from;
        if (MPI_Iprobe(MPI_ANY_SOURCE, TAG, q->control, &there, &from) != MPI_SUCCESS || !there) return;
        if (MPI_Recv(&m, (int)sizeof m, MPI_BYTE, from.MPI_SOURCE, TAG, q->control, MPI_STATUS_IGNORE) !=
            MPI_SUCCESS)
            return;
        if (m.kind == VERDICT) end_run(q, m.line, m.exit_code);
        hear(q, from.MPI_SOURCE, &m);
        struct outgoing *out = &q->reply[from.MPI_SOURCE];
        if (m.kind != QUERY || !is_free(out)) continue;
        describe(q, wait, &out->message);
        post(q, out, from.MPI_SOURCE, SHORT_BYTES);
    }
}

static void ask_all(struct comm_inquiry *q, double now) {
    q->asked = now;
    for (int r = 0; r < q->size; r++) {
        if (r == q->rank || !is_free(&q->query[r])) continue;
        q->query[r].message = (struct message){.kind = QUERY};
        post(q, &q->query[r], r, SHORT_BYTES);
    }
}

/* ---- judging ---- */

/* Those that the operation waits for. */
static void mark_awaited(struct comm_inquiry *q, const struct comm_operation *o) {
    MPI_Group group;
    memset(q->marked, 0, (size_t)q->size * sizeof *q->marked);
    if (MPI_Comm_group(comm_mpi(o->comm), &group) != MPI_SUCCESS) return;
    int n = comm_size(o->comm);
    for (int r = o->peer < 0 ? 0 : o->peer; r < (o->peer < 0 ? n : o->peer + 1); r++) {
        int there = MPI_UNDEFINED;
        MPI_Group_translate_ranks(group, 1, &r, q->group, &there);
        if (there >= 0 && there != q->rank) q->marked[there] = true;
    }
    MPI_Group_free(&group);
}

static bool is_silent(const struct comm_inquiry *q, int rank, double now) {
    return rank != q->rank && now - q->known[rank].heard >= q->limit + ANSWER_S;
}

/* Leaves the silent ones marked; returns how many. If those that are waited for answer, but wait themselves,
 * it is others. */
static int mark_silent(struct comm_inquiry *q, const struct comm_operation *o, double now) {
    int n = 0;
    bool waits = false;
    mark_awaited(q, o);
    for (int r = 0; r < q->size; r++) {
        if (!q->marked[r]) continue;
        waits = waits || q->known[r].waiting;
        q->marked[r] = is_silent(q, r, now);
        n += q->marked[r];
    }
    for (int r = 0; r < q->size && waits && n == 0; r++) q->marked[r] = is_silent(q, r, now);
    for (int r = n ? q->size : 0; r < q->size; r++) n += q->marked[r];
    return n;
}

static bool all_wait(const struct comm_inquiry *q, const struct comm_wait *wait, double now) {
    if (now - wait->since < q->limit) return false;
    for (int r = 0; r < q->size; r++)
        if (r != q->rank && !(q->known[r].waiting && now - q->known[r].stuck_since >= q->limit)) return false;
    return true;
}

struct line {
    char text[LINE_MAX_BYTES];
    size_t used;
};

static void append(struct line *l, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void append(struct line *l, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int n = vsnprintf(l->text + l->used, sizeof l->text - l->used, format, args);
    va_end(args);
    l->used += n > 0 ? (size_t)n : 0;
    if (l->used >= sizeof l->text) l->used = sizeof l->text - 1;
}

static void append_place(struct line *l, const char *operation, const char *phase) {
    append(l, "%s", operation);
    if (phase && *phase) append(l, " (%s)", phase);
}

/* "rank 2 has", "ranks 1, 2 and 5 have"; returns since when. */
static double append_silent(const struct comm_inquiry *q, int n, struct line *l) {
    double heard = 0;
    int named = 0;
    append(l, n > 1 ? "ranks " : "rank ");
    for (int r = 0; r < q->size; r++) {
        if (!q->marked[r]) continue;
        if (q->known[r].heard > heard) heard = q->known[r].heard;
        if (named++ >= NAMED_MAX) continue;
        append(l, "%s%d", named == 1 ? "" : named == n ? " and " : ", ", r);
    }
    if (n > NAMED_MAX) append(l, " and %d more", n - NAMED_MAX);
    append(l, n > 1 ? " have" : " has");
    return heard;
}

static void say_silent(const struct comm_inquiry *q, int n, const struct comm_wait *wait, double now,
                       struct line *l) {
    double heard = append_silent(q, n, l);
    append(l, " not answered for %.0f s; rank %d waits for %s in ", floor(now - heard), q->rank,
           n > 1 ? "them" : "it");
    append_place(l, wait->operation->name, q->phase);
    append(l, n > 1 ? ". They may be stopped, or their nodes down" : ". It may be stopped, or its node down");
    append(l, "; run the same command again");
}

static void say_all_wait(const struct comm_inquiry *q, const struct comm_wait *wait, double now,
                         struct line *l) {
    append(l, "all ranks have waited for %.0f s: ", floor(now - wait->since));
    for (int r = 0; r < q->size && r < NAMED_MAX; r++) {
        const struct known *k = &q->known[r];
        append(l, "%srank %d in ", r ? ", " : "", r);
        if (r == q->rank) append_place(l, wait->operation->name, q->phase);
        else append_place(l, k->operation, k->phase);
    }
    append(l, "%s. The network may be down, or godwit is wrong; run the same command again",
           q->size > NAMED_MAX ? ", ..." : "");
}

/* The lowest rank that waits speaks for all. */
static int speaker(const struct comm_inquiry *q) {
    for (int r = 0; r < q->rank; r++)
        if (!q->marked[r] && q->known[r].waiting) return r;
    return q->rank;
}

static void pass_verdict(struct comm_inquiry *q, const char *line, int exit_code, double now) {
    int to = speaker(q);
    if (to == q->rank || (q->handed_over > 0 && now - q->handed_over >= SPEAKER_S))
        end_run(q, line, exit_code);
    if (q->handed_over > 0 || !is_free(&q->query[to])) return;
    struct message *m = &q->query[to].message;
    *m = (struct message){.kind = VERDICT, .exit_code = exit_code};
    snprintf(m->line, sizeof m->line, "%s", line);
    post(q, &q->query[to], to, sizeof *m);
    q->handed_over = now;
}

static void judge(struct comm_inquiry *q, const struct comm_wait *wait, double now) {
    struct line line = {.used = 0};
    int n = mark_silent(q, wait->operation, now);
    if (n > 0) {
        say_silent(q, n, wait, now, &line);
        pass_verdict(q, line.text, status_exit_code(STATUS_SILENT), now);
    } else if (all_wait(q, wait, now)) {
        say_all_wait(q, wait, now, &line);
        pass_verdict(q, line.text, status_exit_code(STATUS_INTERNAL), now);
    }
}

void comm_inquiry_ask(struct comm_inquiry *q, const struct comm_wait *wait, double now) {
    if (q->limit <= 0 || q->size == 1 || now - wait->since < q->limit / ASKS) return;
    if (q->serial != wait->serial) { /* the first questions of this wait */
        q->serial = wait->serial;
        q->handed_over = 0;
        for (int r = 0; r < q->size; r++) {
            struct known *k = &q->known[r];
            if (k->heard < wait->since) k->heard = wait->since;
            k->waiting = false;
            k->stuck_since = INFINITY;
        }
        ask_all(q, now);
    } else if (now - q->asked >= q->limit / ASKS) {
        ask_all(q, now);
    }
    if (now - wait->since < q->limit || now - q->judged < JUDGE_S) return;
    q->judged = now;
    judge(q, wait, now);
}
