#include "io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BLOCK ((size_t)1 << 16)
#define NAME_KEPT 200 /* bytes of a file's name repeated in its temporary name, below NAME_MAX */

static const char *advice(int error) {
    switch (error) {
    case ENOENT:
        return "check the path";
    case ENOTDIR:
        return "a part of the path is a file, not a folder";
    case EISDIR:
        return "give the name of a file";
    case EACCES:
    case EPERM:
        return "check the permissions of the file and its folder";
    case EROFS:
        return "choose a folder on a writable file system";
    case ENOSPC:
    case EDQUOT:
        return "free some space or choose another folder";
    case EMFILE:
    case ENFILE:
        return "raise the limit on open files (ulimit -n)";
    case ENAMETOOLONG:
        return "choose a shorter name";
    default:
        return "check the disk and the file system";
    }
}

status file_fail(const char *verb, const char *path, int error) {
    return status_fail(STATUS_IO, "cannot %s %s: %s; %s", verb, path, strerror(error), advice(error));
}

/* Up to `nbytes` bytes, fewer at the end of the file only; -1 and errno on an error. */
static ssize_t read_fully(int fd, void *data, size_t nbytes) {
    size_t got = 0;
    while (got < nbytes) {
        ssize_t n = read(fd, (char *)data + got, nbytes - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

status file_read_text(const char *path, size_t max_bytes, char **text) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return file_fail("open", path, errno);
    status error = SUCCESS;
    char *data = NULL;
    size_t used = 0, room = 0;
    for (;;) {
        if (used + 1 >= room) {
            room = room ? 2 * room : READ_BLOCK;
            char *grown = realloc(data, room);
            if (!grown) {
                error = status_no_memory(path, room);
                goto cleanup;
            }
            data = grown;
        }
        ssize_t n = read_fully(fd, data + used, room - used - 1);
        if (n < 0) {
            error = file_fail("read", path, errno);
            goto cleanup;
        }
        used += (size_t)n;
        if (used > max_bytes) {
            error = status_fail(STATUS_DATA, "%s is longer than %zu bytes; is it the right file?", path,
                                max_bytes);
            goto cleanup;
        }
        if (used + 1 < room) break;
    }
    if (memchr(data, 0, used)) {
        error = status_fail(STATUS_DATA, "%s is not a text file; is it the right file?", path);
        goto cleanup;
    }
    data[used] = 0;
    *text = data;
    data = NULL;
cleanup:
    free(data);
    close(fd);
    return error;
}

status file_open_input(const char *path, int *fd, int64_t *size) {
    struct stat info;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0) return file_fail("open", path, errno);
    status error = SUCCESS;
    if (fstat(*fd, &info) != 0) error = file_fail("open", path, errno);
    else if (!S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode))
        error = status_fail(STATUS_IO, "cannot open %s: it is neither a file nor a folder", path);
    if (error) {
        close(*fd);
        *fd = -1;
        return error;
    }
    *size = S_ISDIR(info.st_mode) ? -1 : info.st_size;
    return SUCCESS;
}

/* The folder of `path`: "." for a bare name. Owned; NULL if there is no memory. */
static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash) return strdup(".");
    if (slash == path) return strdup("/");
    return strndup(path, (size_t)(slash - path));
}

/* ---- temporary names: .NAME. and 16 digits, of the host, the process, and chance ---- */

#define NAME_DIGITS 16
#define HOST_BITS 20
#define PID_BITS 24

static uint64_t host_bits(void) {
    char host[256] = "";
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    if (gethostname(host, sizeof host - 1)) host[0] = '\0';
    for (const char *c = host; *c; c++) hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
    return hash >> (64 - HOST_BITS);
}

static uint64_t temporary_number(uint64_t random) {
    uint64_t pid = (uint64_t)getpid() & ((1U << PID_BITS) - 1);
    int left = 64 - HOST_BITS - PID_BITS;
    return host_bits() << (64 - HOST_BITS) | pid << left | random >> (64 - left);
}

/* Was it made by a process of this host that does not live any more? */
static bool is_left_over(const char *digits) {
    if (strlen(digits) != NAME_DIGITS || strspn(digits, "0123456789abcdef") != NAME_DIGITS) return false;
    uint64_t number = strtoull(digits, NULL, 16);
    pid_t pid = (pid_t)(number << HOST_BITS >> (64 - PID_BITS));
    return number >> (64 - HOST_BITS) == host_bits() && pid > 0 && kill(pid, 0) != 0 && errno == ESRCH;
}

/* Removes temporary files of `path` whose writers were killed. */
static void remove_leftovers(const char *path) {
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    char *folder = folder_of(path), prefix[NAME_KEPT + 3];
    size_t length = (size_t)snprintf(prefix, sizeof prefix, ".%.*s.", NAME_KEPT, base);
    DIR *dir = folder ? opendir(folder) : NULL;
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir))
        if (!strncmp(e->d_name, prefix, length) && is_left_over(e->d_name + length))
            unlinkat(dirfd(dir), e->d_name, 0);
    if (dir) closedir(dir);
    free(folder);
}

/* Creates the file of a new temporary name and leaves it open at *fd. */
static status temporary_open(const char *path, char **temporary, int *fd) {
    struct stat old;
    if (stat(path, &old) == 0 && !S_ISREG(old.st_mode))
        return status_fail(STATUS_IO, "cannot write %s: it is a %s; give the name of a file", path,
                           S_ISDIR(old.st_mode) ? "folder" : "device or pipe");
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    if (!*base)
        return status_fail(STATUS_IO, "cannot write '%s': it names no file; give the name of a file", path);
    remove_leftovers(path);
    for (;;) {
        uint64_t random;
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
            return status_fail(
                STATUS_IO, "cannot name a temporary file for %s: no random numbers from the system", path);
        char *name = NULL;
        if (asprintf(&name, "%.*s.%.*s.%016" PRIx64, (int)(base - path), path, NAME_KEPT, base,
                     temporary_number(random)) < 0)
            return status_no_memory(path, strlen(path));
        *fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (*fd >= 0) {
            *temporary = name;
            return SUCCESS;
        }
        free(name);
        if (errno != EEXIST) return file_fail("write", path, errno);
    }
}

status file_temporary(const char *path, char **temporary) {
    int fd;
    STATUS_TRY(temporary_open(path, temporary, &fd));
    close(fd);
    return SUCCESS;
}

void file_abandon(const char *temporary) {
    if (temporary) unlink(temporary);
}

/* Syncs a file or folder; file systems that cannot sync folders say EINVAL, which is no loss of data. */
static status sync_path(const char *path, const char *what) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return file_fail("open", what, errno);
    int failed = fsync(fd) != 0 ? errno : 0;
    if (close(fd) != 0 && !failed) failed = errno;
    if (failed && failed != EINVAL && failed != ENOTSUP) return file_fail("write", what, failed);
    return SUCCESS;
}

status file_commit(const char *temporary, const char *path) {
    status error = sync_path(temporary, path);
    if (!error && rename(temporary, path) != 0) error = file_fail("write", path, errno);
    if (error) {
        file_abandon(temporary);
        return error;
    }
    char *folder = folder_of(path);
    if (!folder) return status_no_memory(path, strlen(path));
    error = sync_path(folder, folder);
    free(folder);
    return error;
}

status file_write_atomic(const char *path, const void *data, size_t nbytes) {
    char *temporary;
    int fd;
    STATUS_TRY(temporary_open(path, &temporary, &fd));
    int failed = 0;
    for (size_t done = 0; done < nbytes && !failed;) {
        ssize_t n = write(fd, (const char *)data + done, nbytes - done);
        if (n >= 0) done += (size_t)n;
        else if (errno != EINTR) failed = errno;
    }
    if (close(fd) != 0 && !failed) failed = errno;
    status error;
    if (failed) {
        error = file_fail("write", path, failed);
        file_abandon(temporary);
    } else {
        error = file_commit(temporary, path);
    }
    free(temporary);
    return error;
}

status file_make_folders(const char *path) {
    if (!*path)
        return status_fail(STATUS_IO, "cannot create a folder without a name; give the name of a folder");
    char *partial = strdup(path);
    if (!partial) return status_no_memory(path, strlen(path));
    status error = SUCCESS;
    for (char *c = partial + 1; !error; c++) {
        if (*c && *c != '/') continue;
        char kept = *c;
        *c = 0;
        if (mkdir(partial, 0777) != 0) {
            int failed = errno;
            struct stat made;
            if (stat(partial, &made) != 0) error = file_fail("create folder", partial, failed);
            else if (!S_ISDIR(made.st_mode)) error = file_fail("create folder", partial, ENOTDIR);
        }
        *c = kept;
        if (!kept) break;
    }
    free(partial);
    return error;
}

/* ---- copies ---- */

static status write_all(int file, const char *data, size_t nbytes, const char *path) {
    while (nbytes > 0) {
        ssize_t n = write(file, data, nbytes);
        if (n < 0 && errno != EINTR) return file_fail("write", path, errno);
        if (n <= 0) continue;
        data += n;
        nbytes -= (size_t)n;
    }
    return SUCCESS;
}

static status copy_bytes(int in, const char *from, int out, const char *to) {
    char *block = malloc(READ_BLOCK);
    if (!block) return status_no_memory("a copy", READ_BLOCK);
    status error = SUCCESS;
    for (ssize_t n = 1; n && !error;) {
        n = read(in, block, READ_BLOCK);
        if (n < 0 && errno != EINTR) error = file_fail("read", from, errno);
        else if (n > 0) error = write_all(out, block, (size_t)n, to);
    }
    free(block);
    return error;
}

status file_double(const char *from, const char *to) {
    if (link(from, to) == 0) return SUCCESS;
    if (errno == EEXIST || errno == ENOENT) return file_fail("create", to, errno);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    if (in < 0) return file_fail("open", from, errno);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    status error = out < 0 ? file_fail("create", to, errno) : copy_bytes(in, from, out, to);
    if (out >= 0 && close(out) && !error) error = file_fail("write", to, errno);
    close(in);
    return error;
}

bool file_same(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

status file_commit_pair(status error, char *beside_temporary, const char *beside, char *temporary,
                        const char *path) {
    if (!error && beside_temporary) error = file_commit(beside_temporary, beside);
    else file_abandon(beside_temporary);
    if (!error) error = file_commit(temporary, path);
    else file_abandon(temporary);
    free(beside_temporary);
    free(temporary);
    return error;
}
