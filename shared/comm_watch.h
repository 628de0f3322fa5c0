/* Waiting for other ranks, and finding those that no longer answer. Internal to shared/comm*.c.
 *
 * Every wait is a loop that tests its request. Meanwhile the rank answers others that ask where it is, on a
 * communicator of its own, and asks itself when it has waited long. A rank of which nothing has been heard
 * for the limit is silent: the lowest rank that waits says so in one line and ends the run. */
#ifndef GODWIT_SHARED_COMM_WATCH_H
#define GODWIT_SHARED_COMM_WATCH_H

#include <mpi.h>

#include "shared/comm.h"

struct comm_watch;

/* Of all ranks of `world`. Collective. */
status comm_watch_create(MPI_Comm world, struct comm_watch **watch) STATUS_MUST_USE;
void comm_watch_destroy(struct comm_watch **watch);
/* MPI ends, which waits for all ranks and is no loop of ours: once the limit has passed again, a signal ends
 * this process, and by that the run. */
void comm_watch_finalize(double limit, int rank);
double comm_watch_limit(const struct comm_watch *watch);

/* One operation on a communicator: begins before the MPI call that starts it. */
struct comm_operation {
    const struct comm *comm;
    const char *name; /* "all-reduce" */
    size_t nbytes;
    int peer; /* the rank of `comm` that is waited for; -1: all of them */
    double begin;
};

struct comm_operation comm_operation_begin(const struct comm *comm, const char *name, size_t nbytes,
                                           int peer);
/* `code` is what the call that gave `request` returned: waits until the request is done. */
status comm_operation_end(const struct comm_operation *operation, int code,
                          MPI_Request *request) STATUS_MUST_USE;
/* For calls that have no form that does not block: waits until all ranks are there. The call itself is
 * between comm_guard_begin() and comm_guard_end(). Collective. */
status comm_meet(const struct comm *comm, const char *name) STATUS_MUST_USE;

/* For what such calls do after that: if it does not end within the limit, this process does, with a line that
 * names a rank of its node that is stopped or gone, if there is one. Between begin and end there is one call
 * of MPI. */
void comm_guard_begin(const struct comm *comm, const char *name);
void comm_guard_end(void);

struct comm_guard;
status comm_guard_create(MPI_Comm world, struct comm_guard **guard) STATUS_MUST_USE; /* collective */
void comm_guard_destroy(struct comm_guard **guard);
const struct comm_guard *comm_watch_guard(const struct comm_watch *watch);
const char *comm_watch_phase(const struct comm_watch *watch); /* borrowed; NULL: none */

/* ---- what the two halves know of each other: comm_watch.c waits, comm_inquiry.c asks and answers ---- */

/* Where this rank waits. */
struct comm_wait {
    const struct comm_operation *operation; /* NULL: it does not wait */
    double since;
    int64_t serial; /* waits so far */
};

struct comm_inquiry;

status comm_inquiry_create(MPI_Comm world, struct comm_inquiry **inquiry) STATUS_MUST_USE;
void comm_inquiry_destroy(struct comm_inquiry **inquiry);

/* Reads what others have sent and answers it. A verdict that is told to this rank is carried out. */
void comm_inquiry_answer(struct comm_inquiry *inquiry, const struct comm_wait *wait);
/* Asks, once `limit` has partly passed, and ends the run if a rank is silent, or all wait for each other. */
void comm_inquiry_ask(struct comm_inquiry *inquiry, const struct comm_wait *wait, double now);

/* This rank was stopped for so many seconds: nobody else is to blame for them. */
void comm_inquiry_forgive(struct comm_inquiry *inquiry, double seconds);

/* Settings; see comm_watchdog() and comm_phase(). */
void comm_inquiry_limit(struct comm_inquiry *inquiry, double seconds);
double comm_inquiry_limit_of(const struct comm_inquiry *inquiry);
void comm_inquiry_teller(struct comm_inquiry *inquiry, comm_teller *tell, void *context);
void comm_inquiry_phase(struct comm_inquiry *inquiry, const char *phase);
const char *comm_inquiry_phase_of(const struct comm_inquiry *inquiry); /* borrowed; NULL: none */

#endif
