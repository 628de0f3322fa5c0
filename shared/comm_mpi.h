/* What is behind a comm, for shared/comm*.c and libraries that take MPI's communicator. What these wait for
 * is not watched. */
#ifndef GODWIT_SHARED_COMM_MPI_H
#define GODWIT_SHARED_COMM_MPI_H

#include <mpi.h>

#include "shared/comm.h"

MPI_Comm comm_mpi(const struct comm *comm);                /* borrowed */
struct comm_watch *comm_watch_of(const struct comm *comm); /* borrowed; shared/comm_watch.h */

/* INTERNAL error with MPI's own text if `code` is not MPI_SUCCESS; `call` names what failed. */
status comm_mpi_check(int code, const char *call) STATUS_MUST_USE;

#endif
