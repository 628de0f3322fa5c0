/* Sums that go on while the caller computes. */
#include "shared/comm.h"
#include "shared/comm_mpi.h"
#include "shared/comm_watch.h"

#include <limits.h>
#include <stdlib.h>

struct comm_sum {
    const struct comm *comm;
    size_t nbytes;
    MPI_Request request;
};

status comm_sum_f32_begin(const struct comm *comm, float *data, size_t n, struct comm_sum **sum) {
    if (n > INT_MAX)
        return status_fail(STATUS_INTERNAL, "a sum of %zu numbers at once; use smaller buckets", n);
    struct comm_sum *s = malloc(sizeof *s);
    if (!s) return status_no_memory("a sum", sizeof *s);
    s->comm = comm;
    s->nbytes = n * sizeof *data;
    status error = comm_mpi_check(
        MPI_Iallreduce(MPI_IN_PLACE, data, (int)n, MPI_FLOAT, MPI_SUM, comm_mpi(comm), &s->request),
        "all-reduce");
    if (error) {
        free(s);
        return error;
    }
    *sum = s;
    return SUCCESS;
}

void comm_sum_progress(struct comm_sum *sum) {
    int done;
    /* An error shows again in comm_sum_end, which can report it. */
    if (sum && sum->request != MPI_REQUEST_NULL)
        MPI_Request_get_status(sum->request, &done, MPI_STATUS_IGNORE);
}

status comm_sum_end(struct comm_sum **sum) {
    if (!*sum) return SUCCESS;
    struct comm_operation o = comm_operation_begin((*sum)->comm, "all-reduce", (*sum)->nbytes, -1);
    status error = comm_operation_end(&o, MPI_SUCCESS, &(*sum)->request);
    free(*sum);
    *sum = NULL;
    return error;
}
