#include "worker/free_memory.h"

#include <stdio.h>
#include <sys/statvfs.h>

static double available(void) {
    char line[128];
    double kib = 0;
    FILE *file = fopen("/proc/meminfo", "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %lf kB", &kib) == 1) break;
    fclose(file);
    return kib * 1024;
}

double free_shared_memory(void) {
    struct statvfs fs;
    double memory = available();
    double shared = statvfs("/dev/shm", &fs) == 0 ? (double)fs.f_bavail * (double)fs.f_frsize : memory;
    return shared < memory ? shared : memory;
}
