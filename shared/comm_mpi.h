/* The MPI communicator behind a comm, for libraries that take one (parallel HDF5). */
#ifndef GODWIT_SHARED_COMM_MPI_H
#define GODWIT_SHARED_COMM_MPI_H

#include <mpi.h>

#include "shared/comm.h"

MPI_Comm comm_mpi(const struct comm *comm); /* borrowed */

/* INTERNAL error with MPI's own text if `code` is not MPI_SUCCESS; `call` names what failed. */
status comm_mpi_check(int code, const char *call) STATUS_MUST_USE;

#endif
