/* Messages that go on while the caller computes. */
#include "shared/comm.h"
#include "shared/comm_mpi.h"
#include "shared/comm_watch.h"

#include <limits.h>
#include <stdlib.h>

struct comm_message {
    const struct comm *comm;
    MPI_Request request;
    size_t nbytes;
    int peer;
    bool sent; /* else received */
};

static status begin(const struct comm *comm, bool send, int peer, int tag, void *data, size_t nbytes,
                    struct comm_message **message) {
    if (nbytes > INT_MAX)
        return status_fail(STATUS_INTERNAL, "a message of %zu bytes; use smaller micro-batches", nbytes);
    struct comm_message *m = malloc(sizeof *m);
    if (!m) return status_no_memory("a message", sizeof *m);
    *m = (struct comm_message){.comm = comm, .nbytes = nbytes, .peer = peer, .sent = send};
    int code = send ? MPI_Isend(data, (int)nbytes, MPI_BYTE, peer, tag, comm_mpi(comm), &m->request)
                    : MPI_Irecv(data, (int)nbytes, MPI_BYTE, peer, tag, comm_mpi(comm), &m->request);
    status error = comm_mpi_check(code, send ? "send" : "receive");
    if (error) {
        free(m);
        return error;
    }
    *message = m;
    return SUCCESS;
}

status comm_send_begin(const struct comm *comm, int to, int tag, const void *data, size_t nbytes,
                       struct comm_message **message) {
    return begin(comm, true, to, tag, (void *)(uintptr_t)data, nbytes, message);
}

status comm_recv_begin(const struct comm *comm, int from, int tag, void *data, size_t nbytes,
                       struct comm_message **message) {
    return begin(comm, false, from, tag, data, nbytes, message);
}

bool comm_message_done(const struct comm_message *message) {
    int done = 1;
    /* An error shows again in comm_message_end, which can report it. */
    if (message) MPI_Request_get_status(message->request, &done, MPI_STATUS_IGNORE);
    return done != 0;
}

status comm_message_end(struct comm_message **message) {
    struct comm_message *m = *message;
    if (!m) return SUCCESS;
    struct comm_operation o = comm_operation_begin(m->comm, m->sent ? "send" : "receive", m->nbytes, m->peer);
    status error = comm_operation_end(&o, MPI_SUCCESS, &m->request);
    free(m);
    *message = NULL;
    return error;
}
