#include "io/source_watch.h"

#include "io/file.h"
#include "io/registry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK ((size_t)1 << 20)

/* What a file is told by; all zero: none. */
struct identity {
    dev_t device;
    ino_t number;
    off_t size;
    struct timespec changed, moved; /* contents, and anything about it: a rename keeps the first */
};

struct source_watch {
    char *models, *model; /* owned; models may be NULL */
    char *path;           /* that was seen last, owned; NULL: none */
    struct identity seen, taken;
};

static bool same(const struct identity *a, const struct identity *b) {
    return a->device == b->device && a->number == b->number && a->size == b->size &&
           a->changed.tv_sec == b->changed.tv_sec && a->changed.tv_nsec == b->changed.tv_nsec &&
           a->moved.tv_sec == b->moved.tv_sec && a->moved.tv_nsec == b->moved.tv_nsec;
}

static struct identity identity_of(const struct stat *info) {
    return (struct identity){info->st_dev, info->st_ino, info->st_size, info->st_mtim, info->st_ctim};
}

status source_watch_create(const char *models, const char *model, struct source_watch **watch) {
    const char *colon = strrchr(model, ':');
    if (colon && !strchr(colon, '/') && access(model, F_OK) != 0)
        return status_fail(STATUS_USAGE,
                           "cannot follow \"%s\": a version never changes; give the model's name alone",
                           model);
    struct source_watch *w = calloc(1, sizeof *w);
    if (!w) return status_no_memory("a watch", sizeof *w);
    w->model = strdup(model);
    w->models = models ? strdup(models) : NULL;
    *watch = w;
    if (w->model && (w->models || !models)) return SUCCESS;
    source_watch_destroy(watch);
    return status_no_memory("a watch", strlen(model));
}

void source_watch_destroy(struct source_watch **watch) {
    if (!*watch) return;
    free((*watch)->models);
    free((*watch)->model);
    free((*watch)->path);
    free(*watch);
    *watch = NULL;
}

/* ---- looking ---- */

static bool is_model_file(const char *name) {
    static const char *const ends[] = {".h5", ".hdf5", ".keras"};
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof *ends && name[0] != '.'; i++)
        if (length > strlen(ends[i]) && !strcmp(name + length - strlen(ends[i]), ends[i])) return true;
    return false;
}

static bool is_newer(const struct stat *a, const struct stat *b) {
    if (a->st_mtim.tv_sec != b->st_mtim.tv_sec) return a->st_mtim.tv_sec > b->st_mtim.tv_sec;
    return a->st_mtim.tv_nsec > b->st_mtim.tv_nsec;
}

/* The model file of a folder that was written last; *path stays NULL if it has none. Of files that are
 * equally old the one whose name comes last: epoch_09, epoch_10. */
static status newest_file(const char *folder, char **path) {
    DIR *dir = opendir(folder);
    struct stat newest = {0};
    if (!dir) return SUCCESS; /* it may still come */
    status error = SUCCESS;
    for (struct dirent *entry; !error && (entry = readdir(dir));) {
        struct stat info;
        char *file = NULL;
        if (!is_model_file(entry->d_name)) continue;
        if (asprintf(&file, "%s/%s", folder, entry->d_name) < 0) {
            error = status_no_memory("a path", strlen(folder));
            break;
        }
        bool usable = stat(file, &info) == 0 && S_ISREG(info.st_mode);
        bool later = usable && (!*path || is_newer(&info, &newest) ||
                                (!is_newer(&newest, &info) && strcmp(file, *path) > 0));
        if (later) {
            free(*path);
            *path = file;
            newest = info;
        } else {
            free(file);
        }
    }
    closedir(dir);
    return error;
}

/* *path stays NULL if there is nothing yet. */
static status find(const struct source_watch *w, char **path) {
    status error = registry_resolve(w->models, w->model, path);
    if (status_code(error) != STATUS_IO) return error;
    status_drop(&error);
    return newest_file(w->model, path);
}

status source_watch_look(struct source_watch *w, enum source_state *state) {
    char *path = NULL;
    struct stat info;
    STATUS_TRY(find(w, &path));
    *state = SOURCE_MISSING;
    if (!path || stat(path, &info) != 0) {
        free(path);
        return SUCCESS;
    }
    if (!S_ISREG(info.st_mode)) {
        status error = status_fail(STATUS_UNSUPPORTED, "cannot follow %s: it is no file", path);
        free(path);
        return error;
    }
    struct identity now = identity_of(&info);
    *state = same(&now, &w->taken) ? SOURCE_SAME : same(&now, &w->seen) ? SOURCE_SETTLED : SOURCE_MOVING;
    w->seen = now;
    free(w->path);
    w->path = path;
    return SUCCESS;
}

const char *source_watch_path(const struct source_watch *watch) {
    return watch->path;
}

/* ---- taking ---- */

static status write_all(int to, const char *block, size_t n, const char *path) {
    for (size_t at = 0; at < n;) {
        ssize_t written = write(to, block + at, n - at);
        if (written < 0 && errno != EINTR) return file_fail("write", path, errno);
        if (written > 0) at += (size_t)written;
    }
    return SUCCESS;
}

static status copy_bytes(int from, const char *from_path, int to, const char *to_path) {
    char *block = malloc(BLOCK);
    if (!block) return status_no_memory("a copy", BLOCK);
    status error = SUCCESS;
    for (ssize_t n = 1; n && !error;) {
        n = read(from, block, BLOCK);
        if (n < 0 && errno != EINTR) error = file_fail("read", from_path, errno);
        else if (n > 0) error = write_all(to, block, (size_t)n, to_path);
    }
    free(block);
    return error;
}

status source_watch_take(struct source_watch *w, const char *copy, char **path, bool *whole) {
    struct stat before, after;
    *whole = false;
    w->taken = w->seen;
    *path = strdup(w->path);
    if (!*path) return status_no_memory("a path", strlen(w->path));
    int from = open(w->path, O_RDONLY | O_CLOEXEC);
    if (from < 0 && errno == ENOENT) return SUCCESS; /* another one comes */
    if (from < 0) return file_fail("open", w->path, errno);
    int to = open(copy, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    status error = to < 0 ? file_fail("create", copy, errno) : SUCCESS;
    bool known = fstat(from, &before) == 0;
    if (!error) error = copy_bytes(from, w->path, to, copy);
    if (to >= 0 && close(to) != 0 && !error) error = file_fail("write", copy, errno);
    known = known && fstat(from, &after) == 0;
    close(from);
    struct identity a = known ? identity_of(&before) : (struct identity){0},
                    b = known ? identity_of(&after) : (struct identity){0};
    *whole = !error && known && same(&a, &b) && same(&a, &w->taken);
    if (*whole) return SUCCESS;
    if (to >= 0) unlink(copy);
    w->taken = (struct identity){0}; /* it has to be looked at again */
    return error;
}
