#include "worker/blas_threads.h"

#include <cblas.h>
#include <pthread.h>

/* What OpenBLAS has once for the process is kept once for the process. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int holders, before;

void blas_threads_hold(void) {
    pthread_mutex_lock(&lock);
    if (!holders++) before = openblas_get_num_threads();
    pthread_mutex_unlock(&lock);
}

void blas_threads_let_go(void) {
    pthread_mutex_lock(&lock);
    if (!--holders && openblas_get_num_threads() != before) openblas_set_num_threads(before);
    pthread_mutex_unlock(&lock);
}
