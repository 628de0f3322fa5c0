/* Times what training does between ranks each step, as medians over rounds on rank 0: under mpirun.
 *
 * collectives [ROUNDS] */
#include "shared/comm.h"

#include <stdio.h>
#include <stdlib.h>

#define CALLS 200

enum what { SUM_OF_4, AGREEMENT, BARRIER, SUM_OF_1_MIB, SUM_IN_BACKGROUND, BROADCAST_OF_8_MIB, WHATS };

static const char *const names[WHATS] = {"sum of 4 doubles", "agreement",        "barrier",
                                         "sum of 1 MiB",     "sum of 1 MiB (b)", "broadcast of 8 MiB"};

static status call(const struct comm *world, enum what what, float *data) {
    double sum[4] = {1, 2, 3, 4};
    struct comm_sum *background = NULL;
    switch (what) {
    case SUM_OF_4:
        return comm_sum_f64(world, sum, 4);
    case AGREEMENT:
        return comm_agree(world, SUCCESS);
    case BARRIER:
        return comm_barrier(world);
    case SUM_OF_1_MIB:
        return comm_sum_f32(world, data, 1 << 18);
    case SUM_IN_BACKGROUND:
        STATUS_TRY(comm_sum_f32_begin(world, data, 1 << 18, &background));
        return comm_sum_end(&background);
    case BROADCAST_OF_8_MIB:
        return comm_bcast(world, 0, data, (size_t)8 << 20);
    default:
        return SUCCESS;
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static status measure(const struct comm *world, int rounds, float *data) {
    double *seconds = malloc((size_t)rounds * sizeof *seconds);
    status error = seconds ? SUCCESS : status_no_memory("times", (size_t)rounds);
    for (int w = 0; w < WHATS && !error; w++) {
        int calls = w < SUM_OF_1_MIB ? CALLS : CALLS / 20;
        for (int r = 0; r < rounds && !error; r++) {
            for (int i = 0; i < 1 << 21; i++) data[i] = 0;
            error = comm_barrier(world);
            double start = comm_time();
            for (int c = 0; c < calls && !error; c++) error = call(world, (enum what)w, data);
            seconds[r] = (comm_time() - start) / calls;
        }
        qsort(seconds, (size_t)rounds, sizeof *seconds, by_value);
        if (!error && comm_is_root(world))
            printf("%-20s %10.2f us (fastest %.2f)\n", names[w], 1e6 * seconds[rounds / 2], 1e6 * seconds[0]);
    }
    free(seconds);
    return error;
}

int main(int argc, char **argv) {
    struct comm *world = NULL;
    int rounds = argc > 1 ? atoi(argv[1]) : 101;
    float *data = malloc((size_t)8 << 20);
    status error = comm_start(&argc, &argv, &world);
    if (!error && (!data || rounds < 1)) error = status_fail(STATUS_USAGE, "collectives [ROUNDS]");
    if (!error) error = measure(world, rounds, data);
    if (error) fprintf(stderr, "collectives: %s\n", status_message(error));
    int code = status_exit_code(status_code(error));
    status_drop(&error);
    free(data);
    if (world) comm_stop(&world);
    return code;
}
