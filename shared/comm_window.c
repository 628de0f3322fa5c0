/* Memory that the ranks of a node share. */
#include "shared/comm.h"
#include "shared/comm_mpi.h"
#include "shared/comm_watch.h"

#include <stdlib.h>

struct comm_window {
    MPI_Win window;
    const struct comm *node;
};

status comm_window_create(const struct comm *node, size_t nbytes, void **data, struct comm_window **window) {
    struct comm_window *w = calloc(1, sizeof *w);
    STATUS_TRY(comm_agree(node, w ? SUCCESS : status_no_memory("a shared window", sizeof *w)));
    w->node = node;
    void *mine = NULL;
    MPI_Aint size = comm_rank(node) == 0 ? (MPI_Aint)nbytes : 0;
    comm_guard_begin(node, "window");
    int code = MPI_Win_allocate_shared(size, 1, MPI_INFO_NULL, comm_mpi(node), &mine, &w->window);
    comm_guard_end();
    status error = comm_mpi_check(code, "shared window (is /dev/shm large enough?)");
    if (error) {
        free(w);
        return error;
    }
    int unit;
    error = comm_mpi_check(MPI_Win_shared_query(w->window, 0, &size, &unit, data), "shared window query");
    if (!error) error = comm_mpi_check(MPI_Win_lock_all(MPI_MODE_NOCHECK, w->window), "shared window lock");
    error = comm_agree(node, error);
    if (error) {
        MPI_Win_free(&w->window);
        free(w);
        return error;
    }
    *window = w;
    return SUCCESS;
}

status comm_window_sync(struct comm_window *window) {
    STATUS_TRY(comm_mpi_check(MPI_Win_sync(window->window), "window sync"));
    STATUS_TRY(comm_meet(window->node, "window"));
    return comm_mpi_check(MPI_Win_sync(window->window), "window sync");
}

void comm_window_destroy(struct comm_window **window) {
    if (!*window) return;
    MPI_Win_unlock_all((*window)->window);
    status error = comm_meet((*window)->node, "window");
    status_drop(&error); /* MPI's own errors show where something is made of its results */
    comm_guard_begin((*window)->node, "window");
    MPI_Win_free(&(*window)->window);
    comm_guard_end();
    free(*window);
    *window = NULL;
}
