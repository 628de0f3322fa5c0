/* Waiting, in a loop that answers other ranks and asks them. */
#include "shared/comm_watch.h"
#include "shared/comm_mpi.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define SPIN_S 2e-4 /* before the core is offered to others */
#define TESTS_A_LOOK                                                                                         \
    16              /* until then, between two looks at the clock; a test may give the core away itself      \
                     */
#define LOOK_S 1e-3 /* between two looks at what others ask */
#define OPERATIONS_AN_ANSWER 64
#define ALIVE_S 0.1        /* the same between waits */
#define FINALIZE_S 2       /* beyond the limit, on rank 0 */
#define FINALIZE_LATER_S 6 /* on others */
#define SUSPENDED_S 1.0    /* of a longer gap in the loop this rank itself was the cause */

struct comm_watch {
    struct comm_inquiry *inquiry;
    struct comm_guard *guard;
    struct comm_wait wait;
    double looked;
    uint64_t operations;
    comm_observer *seen;
    void *context; /* of it */
};

status comm_watch_create(MPI_Comm world, struct comm_watch **watch) {
    struct comm_watch *w = calloc(1, sizeof *w);
    if (!w) return status_no_memory("a watchdog", sizeof *w);
    status error = comm_inquiry_create(world, &w->inquiry);
    if (!error) error = comm_guard_create(world, &w->guard);
    if (error) comm_watch_destroy(&w);
    *watch = w;
    return error;
}

void comm_watch_destroy(struct comm_watch **watch) {
    if (!*watch) return;
    if ((*watch)->inquiry) comm_inquiry_destroy(&(*watch)->inquiry);
    comm_guard_destroy(&(*watch)->guard);
    free(*watch);
    *watch = NULL;
}

/* ---- the end ---- */

static void end_in_finalize(int signal_number) {
    static const char line[] = "godwit: ranks have not ended in time; what was to be written is complete\n";
    (void)signal_number;
    ssize_t n = write(STDERR_FILENO, line, sizeof line - 1);
    (void)n;
    _exit(status_exit_code(STATUS_SILENT));
}

void comm_watch_finalize(double limit, int rank) {
    if (limit <= 0) return;
    struct sigaction action = {.sa_handler = end_in_finalize};
    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    alarm((unsigned)limit + (rank ? FINALIZE_LATER_S : FINALIZE_S)); /* the first one speaks for all */
}

double comm_watch_limit(const struct comm_watch *watch) {
    return comm_inquiry_limit_of(watch->inquiry);
}

const struct comm_guard *comm_watch_guard(const struct comm_watch *watch) {
    return watch->guard;
}

const char *comm_watch_phase(const struct comm_watch *watch) {
    return comm_inquiry_phase_of(watch->inquiry);
}

/* ---- settings ---- */

void comm_watchdog(const struct comm *comm, double seconds) {
    comm_inquiry_limit(comm_watch_of(comm)->inquiry, seconds);
}

void comm_tell(const struct comm *comm, comm_teller *tell, void *context) {
    comm_inquiry_teller(comm_watch_of(comm)->inquiry, tell, context);
}

void comm_phase(const struct comm *comm, const char *phase) {
    comm_inquiry_phase(comm_watch_of(comm)->inquiry, phase);
}

void comm_observe(const struct comm *comm, comm_observer *seen, void *context) {
    struct comm_watch *w = comm_watch_of(comm);
    if (!seen && w->context != context) return;
    w->seen = seen;
    w->context = context;
}

void comm_alive(const struct comm *comm) {
    if (!comm) return;
    struct comm_watch *w = comm_watch_of(comm);
    double now = comm_time();
    if (now - w->looked < ALIVE_S) return;
    w->looked = now;
    comm_inquiry_answer(w->inquiry, &w->wait);
}

/* ---- waiting ---- */

/* What this rank did not see because it was stopped, or the machine slept, is not held against others. */
static void look(struct comm_watch *w) {
    double now = comm_time(), gap = now - w->looked;
    if (gap < LOOK_S) return;
    if (gap > SUSPENDED_S) {
        w->wait.since += gap;
        comm_inquiry_forgive(w->inquiry, gap);
    }
    w->looked = now;
    comm_inquiry_answer(w->inquiry, &w->wait);
    comm_inquiry_ask(w->inquiry, &w->wait, now);
}

/* Most waits are over before the clock has to be looked at. */
static int wait_briefly(MPI_Request *request, int *done) {
    double end = 0;
    for (int tests = 1;; tests++) {
        int code = MPI_Test(request, done, MPI_STATUS_IGNORE);
        if (*done || code != MPI_SUCCESS) return code;
        if (tests % TESTS_A_LOOK) continue;
        double now = comm_time();
        if (end == 0) end = now + SPIN_S;
        if (now >= end) return MPI_SUCCESS;
    }
}

static int wait_long(struct comm_watch *w, const struct comm_operation *o, MPI_Request *request) {
    int done = 0, code = MPI_SUCCESS;
    w->looked = comm_time();
    w->wait = (struct comm_wait){.operation = o, .since = w->looked, .serial = w->wait.serial + 1};
    while (!done && code == MPI_SUCCESS) {
        look(w);
        sched_yield();
        code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
    }
    w->wait.operation = NULL;
    return code;
}

struct comm_operation comm_operation_begin(const struct comm *comm, const char *name, size_t nbytes,
                                           int peer) {
    const struct comm_watch *w = comm_watch_of(comm);
    return (struct comm_operation){
        .comm = comm, .name = name, .nbytes = nbytes, .peer = peer, .begin = w->seen ? comm_time() : 0};
}

status comm_operation_end(const struct comm_operation *o, int code, MPI_Request *request) {
    struct comm_watch *w = comm_watch_of(o->comm);
    int done = 0;
    if (code == MPI_SUCCESS) code = wait_briefly(request, &done);
    if (!done && code == MPI_SUCCESS) code = wait_long(w, o, request);
    if (++w->operations % OPERATIONS_AN_ANSWER == 0) comm_alive(o->comm);
    if (w->seen) w->seen(w->context, o->name, o->nbytes, o->begin, comm_time());
    return code == MPI_SUCCESS ? SUCCESS : comm_mpi_check(code, o->name);
}

status comm_meet(const struct comm *comm, const char *name) {
    if (comm_size(comm) == 1) return SUCCESS;
    struct comm_operation o = comm_operation_begin(comm, name, 0, -1);
    MPI_Request request = MPI_REQUEST_NULL;
    int code = MPI_Ibarrier(comm_mpi(comm), &request);
    return comm_operation_end(&o, code, &request);
}
