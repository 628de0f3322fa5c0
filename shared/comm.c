#include "shared/comm.h"
#include "shared/comm_mpi.h"
#include "shared/comm_watch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct comm {
    MPI_Comm mpi;
    int rank, size;
    struct comm_watch *watch; /* of the world, which owns it */
    bool owns_watch;
};

/* Largest count given to one MPI call, whose counts are ints. */
#define COUNT_MAX ((size_t)1 << 28)

MPI_Comm comm_mpi(const struct comm *comm) {
    return comm->mpi;
}

struct comm_watch *comm_watch_of(const struct comm *comm) {
    return comm->watch;
}

status comm_mpi_check(int code, const char *call) {
    if (code == MPI_SUCCESS) return SUCCESS;
    char text[MPI_MAX_ERROR_STRING] = "unknown error";
    int length = 0;
    MPI_Error_string(code, text, &length);
    return status_fail(STATUS_INTERNAL, "MPI %s failed: %s", call, text);
}

#define MPI_TRY(call, what) STATUS_TRY(comm_mpi_check(call, what))

static status comm_wrap(MPI_Comm mpi, struct comm_watch *watch, struct comm **comm) {
    struct comm *c = calloc(1, sizeof *c);
    if (!c) return status_no_memory("a communicator", sizeof *c);
    c->mpi = mpi;
    c->watch = watch;
    MPI_Comm_set_errhandler(mpi, MPI_ERRORS_RETURN);
    MPI_Comm_rank(mpi, &c->rank);
    MPI_Comm_size(mpi, &c->size);
    *comm = c;
    return SUCCESS;
}

status comm_start(int *argc, char ***argv, struct comm **world) {
    int provided;
    MPI_TRY(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "start");
    MPI_Comm mpi;
    struct comm_watch *watch = NULL;
    MPI_TRY(MPI_Comm_dup(MPI_COMM_WORLD, &mpi), "duplicate");
    STATUS_TRY(comm_watch_create(mpi, &watch));
    status error = comm_wrap(mpi, watch, world);
    if (error) comm_watch_destroy(&watch);
    else (*world)->owns_watch = true;
    return error;
}

void comm_stop(struct comm **world) {
    double limit = comm_watch_limit((*world)->watch);
    int rank = (*world)->rank;
    comm_destroy(world);
    comm_watch_finalize(limit, rank);
    MPI_Finalize();
    alarm(0);
}

_Noreturn void comm_abort(const struct comm *comm, int exit_code) {
    MPI_Abort(comm ? comm->mpi : MPI_COMM_WORLD, exit_code);
    abort();
}

int comm_rank(const struct comm *comm) {
    return comm->rank;
}

int comm_size(const struct comm *comm) {
    return comm->size;
}

status comm_split(const struct comm *comm, int color, int key, struct comm **part) {
    MPI_Comm mpi;
    STATUS_TRY(comm_meet(comm, "split"));
    comm_guard_begin(comm, "split");
    int code = MPI_Comm_split(comm->mpi, color, key, &mpi);
    comm_guard_end();
    STATUS_TRY(comm_mpi_check(code, "split"));
    return comm_wrap(mpi, comm->watch, part);
}

status comm_split_node(const struct comm *comm, struct comm **node) {
    MPI_Comm mpi;
    STATUS_TRY(comm_meet(comm, "split by node"));
    comm_guard_begin(comm, "split by node");
    int code = MPI_Comm_split_type(comm->mpi, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &mpi);
    comm_guard_end();
    STATUS_TRY(comm_mpi_check(code, "split by node"));
    return comm_wrap(mpi, comm->watch, node);
}

void comm_destroy(struct comm **comm) {
    if (!*comm) return;
    status error = comm_meet(*comm, "end");
    status_drop(&error); /* MPI's own errors show where something is made of its results */
    comm_guard_begin(*comm, "end");
    MPI_Comm_free(&(*comm)->mpi);
    comm_guard_end();
    if ((*comm)->owns_watch) comm_watch_destroy(&(*comm)->watch);
    free(*comm);
    *comm = NULL;
}

/* ---- agreement ---- */

static status agree_min(const struct comm *comm, const int *mine, int *first) {
    struct comm_operation o = comm_operation_begin(comm, "agreement", 0, -1);
    MPI_Request request;
    int code = MPI_Iallreduce(mine, first, 1, MPI_INT, MPI_MIN, comm->mpi, &request);
    return comm_operation_end(&o, code, &request);
}

static status agree_from(const struct comm *comm, int root, void *data, int nbytes) {
    struct comm_operation o = comm_operation_begin(comm, "agreement", 0, -1);
    MPI_Request request;
    int code = MPI_Ibcast(data, nbytes, MPI_BYTE, root, comm->mpi, &request);
    return comm_operation_end(&o, code, &request);
}

status comm_agree(const struct comm *comm, status local) {
    if (comm->size == 1) return local;
    int mine = local ? comm->rank : comm->size;
    int first = comm->size;
    status error = agree_min(comm, &mine, &first);
    if (error) return status_first(local, error);
    if (first == comm->size) return SUCCESS;

    int header[2] = {0, 0}; /* code, bytes of the message with its end */
    if (comm->rank == first) {
        header[0] = status_code(local);
        header[1] = (int)strlen(status_message(local)) + 1;
    }
    error = agree_from(comm, first, header, (int)sizeof header);
    char *message = error ? NULL : malloc((size_t)header[1]);
    if (!message)
        return status_first(local,
                            status_first(error, status_no_memory("an error message", (size_t)header[1])));
    if (comm->rank == first) memcpy(message, status_message(local), (size_t)header[1]);
    error = agree_from(comm, first, message, header[1]);
    if (!error)
        error = first > 0 ? status_fail((enum status_code)header[0], "rank %d: %s", first, message)
                          : status_fail((enum status_code)header[0], "%s", message);
    status_drop(&local);
    free(message);
    return error;
}

/* ---- moving data ---- */

status comm_barrier(const struct comm *comm) {
    return comm_meet(comm, "barrier");
}

status comm_bcast(const struct comm *comm, int root, void *data, size_t nbytes) {
    if (comm->size == 1) return SUCCESS;
    for (size_t at = 0; at < nbytes; at += COUNT_MAX) {
        size_t n = nbytes - at < COUNT_MAX ? nbytes - at : COUNT_MAX;
        struct comm_operation o = comm_operation_begin(comm, "broadcast", n, -1);
        MPI_Request request;
        int code = MPI_Ibcast((char *)data + at, (int)n, MPI_BYTE, root, comm->mpi, &request);
        STATUS_TRY(comm_operation_end(&o, code, &request));
    }
    return SUCCESS;
}

status comm_bcast_text(const struct comm *comm, int root, const char *text, char **copy) {
    uint64_t nbytes = comm->rank == root ? strlen(text) + 1 : 0;
    STATUS_TRY(comm_bcast(comm, root, &nbytes, sizeof nbytes));
    char *p = malloc(nbytes);
    STATUS_TRY(comm_agree(comm, p ? SUCCESS : status_no_memory("a text", nbytes)));
    if (comm->rank == root) memcpy(p, text, nbytes);
    status error = comm_bcast(comm, root, p, nbytes);
    if (error) {
        free(p);
        return error;
    }
    *copy = p;
    return SUCCESS;
}

static status reduce(const struct comm *comm, void *data, size_t n, size_t size, MPI_Datatype type,
                     MPI_Op op) {
    if (comm->size == 1) return SUCCESS;
    for (size_t at = 0; at < n; at += COUNT_MAX) {
        size_t part = n - at < COUNT_MAX ? n - at : COUNT_MAX;
        struct comm_operation o = comm_operation_begin(comm, "all-reduce", part * size, -1);
        MPI_Request request;
        int code =
            MPI_Iallreduce(MPI_IN_PLACE, (char *)data + at * size, (int)part, type, op, comm->mpi, &request);
        STATUS_TRY(comm_operation_end(&o, code, &request));
    }
    return SUCCESS;
}

status comm_sum_f64(const struct comm *comm, double *data, size_t n) {
    return reduce(comm, data, n, sizeof *data, MPI_DOUBLE, MPI_SUM);
}

status comm_sum_f32(const struct comm *comm, float *data, size_t n) {
    return reduce(comm, data, n, sizeof *data, MPI_FLOAT, MPI_SUM);
}

status comm_sum_i64(const struct comm *comm, int64_t *data, size_t n) {
    return reduce(comm, data, n, sizeof *data, MPI_INT64_T, MPI_SUM);
}

status comm_max_f64(const struct comm *comm, double *data, size_t n) {
    return reduce(comm, data, n, sizeof *data, MPI_DOUBLE, MPI_MAX);
}

status comm_any(const struct comm *comm, bool flag, bool *any) {
    int all = flag;
    STATUS_TRY(reduce(comm, &all, 1, sizeof all, MPI_INT, MPI_LOR));
    *any = all != 0;
    return SUCCESS;
}

status comm_send(const struct comm *comm, int to, int tag, const void *data, size_t nbytes) {
    size_t at = 0;
    do {
        size_t n = nbytes - at < COUNT_MAX ? nbytes - at : COUNT_MAX;
        struct comm_operation o = comm_operation_begin(comm, "send", n, to);
        MPI_Request request;
        int code = MPI_Isend((const char *)data + at, (int)n, MPI_BYTE, to, tag, comm->mpi, &request);
        STATUS_TRY(comm_operation_end(&o, code, &request));
        at += n;
    } while (at < nbytes);
    return SUCCESS;
}

status comm_recv(const struct comm *comm, int from, int tag, void *data, size_t nbytes) {
    size_t at = 0;
    do {
        size_t n = nbytes - at < COUNT_MAX ? nbytes - at : COUNT_MAX;
        struct comm_operation o = comm_operation_begin(comm, "receive", n, from);
        MPI_Request request;
        int code = MPI_Irecv((char *)data + at, (int)n, MPI_BYTE, from, tag, comm->mpi, &request);
        STATUS_TRY(comm_operation_end(&o, code, &request));
        at += n;
    } while (at < nbytes);
    return SUCCESS;
}

double comm_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
