/* libgodwit in a program that uses MPI: before MPI_Init, between, by several threads, and after MPI_Finalize.
 * Without mpirun, it is one process of MPI too. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "library_testing.h"

#include <mpi.h>
#include <pthread.h>

enum { N = 30, SIZE = 28 * 28 };

static godwit_model *model;

/* How many outputs are wrong: those of one call, and those of each sample alone, are not the same. */
static int compute(godwit_model *with, int first, float *y) {
    static _Thread_local float x[N * SIZE], one[10];
    const float *in = x;
    float *out = y, *single = one;
    int wrong = 0;
    for (int i = 0; i < N * SIZE; i++) x[i] = (float)((first * SIZE + i) * 31 % 256) / 255;
    wrong += godwit_run(with, N, &in, &out, NULL) != GODWIT_OK;
    for (int s = 0; s < N; s += 7) {
        in = x + s * SIZE;
        wrong += godwit_run(with, 1, &in, &single, NULL) != GODWIT_OK;
        for (int k = 0; k < 10; k++) wrong += !(fabsf(one[k] - y[s * 10 + k]) < 1e-5f);
    }
    return wrong;
}

static void *thread_computes(void *wrong) {
    float y[N * 10];
    for (int i = 0; i < 5; i++) *(int *)wrong += compute(model, i, y);
    return NULL;
}

int main(int argc, char **argv) {
    float before[N * 10], own[N * 10], sum[N * 10];
    int rank, size, wrong = 0, all, threads[2] = {0}, level;
    pthread_t thread[2];
    godwit_model *early = NULL;
    if (godwit_open(FASHION, NULL, &early, NULL)) return 1;
    wrong += compute(early, 0, before);

    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    wrong += godwit_open(FASHION, NULL, &model, NULL) != GODWIT_OK;
    wrong += compute(early, 0, own);
    for (int i = 0; i < 2; i++) pthread_create(&thread[i], NULL, thread_computes, &threads[i]);
    /* Meanwhile the others' outputs for the same inputs, summed up by MPI. */
    MPI_Allreduce(own, sum, N * 10, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < N * 10; i++) {
        wrong += !(fabsf(own[i] - before[i]) < 1e-6f);
        wrong += !(fabsf(sum[i] / (float)size - own[i]) < 1e-5f);
    }
    wrong += threads[0] + threads[1] + compute(model, rank, own);
    MPI_Allreduce(&wrong, &all, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    MPI_Finalize();

    wrong += compute(model, 0, own);
    for (int i = 0; i < N * 10; i++) wrong += !(fabsf(own[i] - before[i]) < 1e-6f);
    godwit_model *late = NULL;
    wrong += godwit_open(FASHION, NULL, &late, NULL) != GODWIT_OK;
    if (late) wrong += compute(late, 0, own);
    godwit_close(late);
    godwit_close(model);
    godwit_close(early);
    if (wrong + all) printf("rank %d: %d wrong, %d on all ranks\n", rank, wrong, all);
    return wrong + all != 0;
}
