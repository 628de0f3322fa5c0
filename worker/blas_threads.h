/* OpenBLAS's number of threads, which the engines set to one, of a program that uses this one as a library.
 *
 * OpenBLAS has one number for the whole process. It is given back when the last of the threads that hold it
 * lets it go. */
#ifndef GODWIT_WORKER_BLAS_THREADS_H
#define GODWIT_WORKER_BLAS_THREADS_H

/* Around what may set it. May be called by several threads at once. */
void blas_threads_hold(void);
void blas_threads_let_go(void);

#endif
