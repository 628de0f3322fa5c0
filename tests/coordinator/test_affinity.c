/* Shares of a node's cores, and threads from bindings. On 1, 2 and 3 ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "coordinator/affinity.h"

#include <stdlib.h>
#include <string.h>

static struct comm *world;

static void all_true(bool mine) {
    bool any_false = true;
    status error = comm_any(world, !mine, &any_false);
    assert_null(error);
    assert_false(any_false);
}

static cpu_set_t set_of(int first, int n) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int i = 0; i < n; i++) CPU_SET(first + i, &set);
    return set;
}

static struct affinity_cores plain(void) {
    struct affinity_cores cores;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) cores.core[cpu] = cpu;
    return cores;
}

/* With any number of ranks: all processors are used, none twice while there are enough, sizes differ by one.
 */
static void test_share(void **state) {
    (void)state;
    struct affinity_cores cores = plain();
    bool good = true;
    for (int n = 1; n <= 16; n++) {
        cpu_set_t all = set_of(3, n), sum, share, twice;
        for (int size = 1; size <= 20; size++) {
            int least = 99, most = 0;
            CPU_ZERO(&sum);
            for (int rank = 0; rank < size; rank++) {
                affinity_share(&cores, &all, rank, size, &share);
                int count = CPU_COUNT(&share);
                if (count < least) least = count;
                if (count > most) most = count;
                CPU_AND(&twice, &sum, &share);
                if (size <= n) good = good && CPU_COUNT(&twice) == 0;
                CPU_OR(&sum, &sum, &share);
            }
            good = good && CPU_EQUAL(&sum, &all) && least >= 1 && most - least <= 1;
        }
    }
    all_true(good);
}

/* Processors i and i + 4 are threads of one core: two ranks get two whole cores each. */
static void test_threads_of_a_core(void **state) {
    (void)state;
    struct affinity_cores cores = plain();
    for (int cpu = 4; cpu < 8; cpu++) cores.core[cpu] = cpu - 4;
    cpu_set_t all = set_of(0, 8), share, expected;
    affinity_share(&cores, &all, 1, 2, &share);
    CPU_ZERO(&expected);
    CPU_SET(2, &expected);
    CPU_SET(3, &expected);
    CPU_SET(6, &expected);
    CPU_SET(7, &expected);
    all_true(CPU_EQUAL(&share, &expected));
}

/* Ranks that may all use the same cores share them; a rank bound to one core has one thread. */
static void test_threads(void **state) {
    (void)state;
    struct affinity_cores cores;
    affinity_read_cores(&cores);
    cpu_set_t given, every, one;
    int size = comm_size(world), threads = 0;
    sched_getaffinity(0, sizeof given, &given);
    memset(&every, 0xff, sizeof every);
    sched_setaffinity(0, sizeof every, &every);
    int n = affinity_count(&cores);
    status error = affinity_threads(&cores, world, &threads);
    all_true(error == SUCCESS && threads == (n / size > 0 ? n / size : 1));

    sched_getaffinity(0, sizeof every, &every);
    affinity_share(&cores, &every, comm_rank(world), size, &one);
    sched_setaffinity(0, sizeof one, &one);
    int mine = affinity_count(&cores);
    error = affinity_threads(&cores, world, &threads);
    all_true(error == SUCCESS && (size > n ? threads == 1 : threads == mine));
    sched_setaffinity(0, sizeof given, &given);
}

/* Bound by mpirun's default to one core, a rank is given its share; bound on request, it stays. */
static void test_widen(void **state) {
    (void)state;
    struct affinity_cores cores;
    affinity_read_cores(&cores);
    cpu_set_t given, every, one, now, share;
    sched_getaffinity(0, sizeof given, &given);
    memset(&every, 0xff, sizeof every);
    sched_setaffinity(0, sizeof every, &every);
    sched_getaffinity(0, sizeof every, &every);
    affinity_share(&cores, &every, 0, CPU_COUNT(&every), &one); /* one core */
    affinity_share(&cores, &every, 0, 1, &share);
    bool good = true;
    setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "1", 1);
    setenv("OMPI_MCA_hwloc_base_binding_policy", "core", 1);
    sched_setaffinity(0, sizeof one, &one);
    affinity_widen(&cores, 0, 1);
    sched_getaffinity(0, sizeof now, &now);
    good = good && CPU_EQUAL(&now, &one);
    unsetenv("OMPI_MCA_hwloc_base_binding_policy");
    affinity_widen(&cores, 0, 1);
    sched_getaffinity(0, sizeof now, &now);
    good = good && CPU_EQUAL(&now, &share);
    sched_setaffinity(0, sizeof given, &given);
    all_true(good);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (error) return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_threads_of_a_core),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_widen),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_stop(&world);
    return failed;
}
