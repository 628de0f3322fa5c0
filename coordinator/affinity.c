#include "coordinator/affinity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void affinity_read_cores(struct affinity_cores *cores) {
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        cores->core[cpu] = cpu;
        char path[96];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
        FILE *file = fopen(path, "re");
        if (!file) continue;
        int first;
        if (fscanf(file, "%d", &first) == 1 && first >= 0 && first < CPU_SETSIZE) cores->core[cpu] = first;
        fclose(file);
    }
}

/* The cores of which a processor is in `cpus`. */
static void cores_of(const struct affinity_cores *cores, const cpu_set_t *cpus, cpu_set_t *set) {
    CPU_ZERO(set);
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, cpus)) CPU_SET(cores->core[cpu], set);
}

void affinity_share(const struct affinity_cores *cores, const cpu_set_t *all, int rank, int size,
                    cpu_set_t *share) {
    cpu_set_t set;
    cores_of(cores, all, &set);
    long n = CPU_COUNT(&set);
    long first = n * rank / size, end = size <= n ? n * (rank + 1) / size : first + 1;
    CPU_ZERO(share);
    long seen = 0;
    for (int core = 0; core < CPU_SETSIZE; core++) {
        if (!CPU_ISSET(core, &set)) continue;
        if (seen >= first && seen < end)
            for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
                if (CPU_ISSET(cpu, all) && cores->core[cpu] == core) CPU_SET(cpu, share);
        seen++;
    }
}

void affinity_widen(const struct affinity_cores *cores, int rank, int size) {
    cpu_set_t given, every, all, share;
    if (!getenv("OMPI_COMM_WORLD_LOCAL_SIZE") || getenv("OMPI_MCA_hwloc_base_binding_policy")) return;
    if (sched_getaffinity(0, sizeof given, &given)) return;
    /* What the process could be bound to at most: the kernel drops the processors outside its cpuset. */
    memset(&every, 0xff, sizeof every);
    if (sched_setaffinity(0, sizeof every, &every)) return;
    if (sched_getaffinity(0, sizeof all, &all) == 0) {
        affinity_share(cores, &all, rank, size, &share);
        if (CPU_COUNT(&share) > CPU_COUNT(&given) && sched_setaffinity(0, sizeof share, &share) == 0) return;
    }
    sched_setaffinity(0, sizeof given, &given);
}

static void usable_cores(const struct affinity_cores *cores, cpu_set_t *set) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (sched_getaffinity(0, sizeof cpus, &cpus)) CPU_SET(0, &cpus); /* more than CPU_SETSIZE processors */
    cores_of(cores, &cpus, set);
}

int affinity_count(const struct affinity_cores *cores) {
    cpu_set_t mine;
    usable_cores(cores, &mine);
    int n = CPU_COUNT(&mine);
    return n > 0 ? n : 1;
}

status affinity_threads(const struct affinity_cores *cores, const struct comm *node, int *threads) {
    cpu_set_t mine;
    usable_cores(cores, &mine);
    int64_t users[CPU_SETSIZE];
    for (int core = 0; core < CPU_SETSIZE; core++) users[core] = CPU_ISSET(core, &mine) ? 1 : 0;
    STATUS_TRY(comm_sum_i64(node, users, CPU_SETSIZE));
    double sum = 1e-9;
    for (int core = 0; core < CPU_SETSIZE; core++)
        if (CPU_ISSET(core, &mine)) sum += 1.0 / (double)users[core];
    *threads = sum < 2 ? 1 : (int)sum;
    return SUCCESS;
}
