#include "coordinator/footprint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number after `key` in lines "Key:  123 kB", in bytes. */
static double bytes_after(const char *path, const char *key) {
    char line[256];
    double bytes = 0;
    size_t length = strlen(key);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (!strncmp(line, key, length)) bytes = 1024 * strtod(line + length, NULL);
    if (file) fclose(file);
    return bytes;
}

void footprint_read(struct footprint *f) {
    f->peak = bytes_after("/proc/self/status", "VmHWM:");
    f->part = bytes_after("/proc/self/smaps_rollup", "Pss:");
}
