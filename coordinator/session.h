/* What a command runs in: the ranks, the log and the threads. */
#ifndef GODWIT_COORDINATOR_SESSION_H
#define GODWIT_COORDINATOR_SESSION_H

#include "shared/comm.h"
#include "shared/log.h"

struct session {
    struct comm *world; /* NULL in a command that is not parallel */
    struct comm *node;  /* the ranks of this node; NULL in a command that is not parallel */
    struct log *log;
    int threads;        /* for this rank, when the configuration says 0 */
    char *command_line; /* as typed, for provenance; owned */
};

/* This process's rank as the launcher's environment tells it before MPI starts (mpirun, PMIx, srun); 0 if
 * there is no launcher. */
int session_launcher_rank(void);

/* Starts a session; with `parallel`, starts MPI too. `argv` may be changed by MPI. Errors: USAGE if the batch
 * system started several tasks and MPI sees one (they would all do the same work and overwrite each other),
 * or what MPI says. A rank that does not answer for ten minutes ends the run, unless comm_watchdog() says
 * otherwise. The session must stay where it is. Collective if parallel. After an error session_stop must
 * still be called. */
status session_start(struct session *session, bool parallel, enum log_level level, int argc,
                     char **argv) STATUS_MUST_USE;

/* Ends what was started; collective if parallel. */
void session_stop(struct session *session);

/* Threads a rank uses when the configuration asks for `wanted`: that, or its share of the node if 0. */
int session_threads(const struct session *session, int64_t wanted);

#endif
