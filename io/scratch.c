#include "io/scratch.h"
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

double scratch_free(const char *folder) {
    struct statvfs fs;
    return statvfs(folder, &fs) == 0 ? (double)fs.f_bavail * (double)fs.f_frsize : 0;
}

status scratch_create(const char *folder, size_t nbytes, char **path) {
    char *name = NULL;
    if (asprintf(&name, "%s/godwit-scratch", folder) < 0) return status_no_memory(folder, strlen(folder));
    *path = NULL;
    status error = file_temporary(name, path);
    int fd = error ? -1 : open(*path, O_RDWR | O_CLOEXEC);
    if (!error && fd < 0) error = file_fail("open", *path, errno);
    /* Without room a write to the memory would end the process. */
    int full = error ? 0 : posix_fallocate(fd, 0, (off_t)(nbytes ? nbytes : 1));
    if (full) error = file_fail("write", name, full);
    if (fd >= 0) close(fd);
    if (error) {
        file_abandon(*path);
        free(*path);
        *path = NULL;
    }
    free(name);
    return error;
}

status scratch_open(const char *path, size_t nbytes, void **data) {
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return file_fail("open", path, errno);
    void *map = mmap(NULL, nbytes ? nbytes : 1, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    status error = map == MAP_FAILED ? file_fail("map", path, errno) : SUCCESS;
    close(fd);
    *data = error ? NULL : map;
    return error;
}

void scratch_close(void *data, size_t nbytes) {
    if (data) munmap(data, nbytes ? nbytes : 1);
}
