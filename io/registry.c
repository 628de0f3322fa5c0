#include "io/registry.h"

#include "io/file.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STAGING_PREFIX ".staging-"
#define HOST_MAX 65

static status no_memory(void) {
    return status_no_memory("the registry's paths", PATH_MAX);
}

static const char *models_folder(const char *models) {
    if (models && *models) return models;
    const char *from_environment = getenv("GODWIT_MODELS");
    return from_environment && *from_environment ? from_environment : "models";
}

/* A positive number without leading zeros, or 0. */
static int version_of(const char *text) {
    if (text[0] < '1' || text[0] > '9' || strlen(text) > 9) return 0;
    for (const char *c = text; *c; c++)
        if (!isdigit((unsigned char)*c)) return 0;
    return atoi(text);
}

static bool is_name(const char *text) {
    if (!*text || *text == '.') return false;
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr("._-", *text)) return false;
    return true;
}

static bool is_model_version(const char *folder, const char *entry) {
    char *path = NULL;
    if (!version_of(entry) || asprintf(&path, "%s/%s/model.h5", folder, entry) < 0) return false;
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

/* The highest version in a model's folder: with `published`, of those that hold a model.h5. 0 if none. */
static int highest_version(const char *folder, bool published) {
    DIR *dir = opendir(folder);
    int highest = 0;
    if (!dir) return 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        int version = version_of(entry->d_name);
        if (version > highest && (!published || is_model_version(folder, entry->d_name))) highest = version;
    }
    closedir(dir);
    return highest;
}

/* ---- resolving ---- */

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* "; there are: a (versions up to 3), b ..." into text[nbytes]. */
static void list_models(const char *models, char *text, size_t nbytes) {
    enum { MOST = 32 };
    char *names[MOST];
    int n = 0;
    DIR *dir = opendir(models);
    text[0] = '\0';
    if (!dir) return;
    for (struct dirent *entry; n < MOST && (entry = readdir(dir));) {
        char *folder = NULL;
        if (!is_name(entry->d_name) || asprintf(&folder, "%s/%s", models, entry->d_name) < 0) continue;
        if (highest_version(folder, true) > 0 && (names[n] = strdup(entry->d_name))) n++;
        free(folder);
    }
    closedir(dir);
    qsort(names, (size_t)n, sizeof *names, compare_names);
    size_t used = 0;
    for (int i = 0; i < n; i++) {
        if (used < nbytes)
            used +=
                (size_t)snprintf(text + used, nbytes - used, "%s%s", i ? ", " : "; there are: ", names[i]);
        free(names[i]);
    }
}

static status not_found(const char *models, const char *model) {
    char there[512];
    list_models(models, there, sizeof there);
    return status_fail(STATUS_IO, "no file and no model \"%s\" in the registry %s%s", model, models,
                       *there ? there : "; it has no models (--models or GODWIT_MODELS says where they are)");
}

static void list_versions(const char *folder, char *text, size_t nbytes) {
    size_t used = 0;
    text[0] = '\0';
    int highest = highest_version(folder, true);
    for (int version = 1; version <= highest && used < nbytes && version < 1000; version++) {
        char entry[16];
        snprintf(entry, sizeof entry, "%d", version);
        if (is_model_version(folder, entry))
            used += (size_t)snprintf(text + used, nbytes - used, "%s%d", used ? ", " : "", version);
    }
}

static status resolve_name(const char *models, const char *model, const char *name, const char *version,
                           char **path) {
    char *folder = NULL;
    if (asprintf(&folder, "%s/%s", models, name) < 0) return no_memory();
    int highest = highest_version(folder, true), wanted = version ? version_of(version) : highest;
    status error = SUCCESS;
    if (highest == 0) {
        error = not_found(models, model);
    } else if (wanted == 0) {
        error =
            status_fail(STATUS_USAGE, "\"%s\": a version is a positive number without leading zeros", model);
    } else {
        char entry[16], there[256];
        snprintf(entry, sizeof entry, "%d", wanted);
        list_versions(folder, there, sizeof there);
        if (!is_model_version(folder, entry))
            error = status_fail(STATUS_IO, "model \"%s\" has no version %d in %s; it has: %s", name, wanted,
                                models, there);
        else if (asprintf(path, "%s/%d/model.h5", folder, wanted) < 0) error = no_memory();
    }
    free(folder);
    return error;
}

static bool has_file(const char *folder, const char *file) {
    char *path = NULL;
    struct stat info;
    if (asprintf(&path, "%s/%s", folder, file) < 0) return false;
    bool there = stat(path, &info) == 0 && S_ISREG(info.st_mode);
    free(path);
    return there;
}

/* What a path to a folder stands for: the model.h5 of a version of the registry, or the folder itself, if it
 * is a model. *path stays NULL if it is neither. */
static status resolve_folder(const char *folder, char **path) {
    if (has_file(folder, "model.h5")) {
        if (asprintf(path, "%s/model.h5", folder) < 0) return no_memory();
    } else if (has_file(folder, "model.json")) {
        *path = strdup(folder);
        if (!*path) return no_memory();
    }
    return SUCCESS;
}

status registry_resolve(const char *models, const char *model, char **path) {
    struct stat info = {0};
    models = models_folder(models);
    *path = NULL;
    bool exists = stat(model, &info) == 0, folder = exists && S_ISDIR(info.st_mode);
    if (folder) STATUS_TRY(resolve_folder(model, path));
    if (*path) return SUCCESS;
    if (exists && !folder) {
        *path = strdup(model);
        return *path ? SUCCESS : no_memory();
    }
    char *name = strdup(model);
    if (!name) return no_memory();
    char *colon = strchr(name, ':');
    if (colon) *colon = '\0';
    status error = SUCCESS;
    if (is_name(name)) error = resolve_name(models, model, name, colon ? colon + 1 : NULL, path);
    else if (folder)
        error = status_fail(
            STATUS_IO, "%s is a folder without a model: there is no model.h5 or model.json in it", model);
    else error = strchr(model, '/') ? file_fail("open", model, ENOENT) : not_found(models, model);
    free(name);
    return error;
}

/* ---- listing ---- */

struct listing {
    struct registry_entry *entry;
    int n;
};

static status add_entry(struct listing *listing, const char *models, const char *name, int version) {
    struct registry_entry *grown = realloc(listing->entry, (size_t)(listing->n + 1) * sizeof *grown);
    if (!grown) return no_memory();
    listing->entry = grown;
    struct registry_entry *e = &grown[listing->n];
    if (asprintf(&e->model, "%s:%d", name, version) < 0) return no_memory();
    if (asprintf(&e->path, "%s/%s/%d/model.h5", models, name, version) < 0) {
        free(e->model);
        return no_memory();
    }
    listing->n++;
    return SUCCESS;
}

/* The model's versions, which may be far apart. */
static status add_versions(struct listing *listing, const char *models, const char *name) {
    char *folder = NULL;
    if (asprintf(&folder, "%s/%s", models, name) < 0) return no_memory();
    DIR *dir = opendir(folder);
    status error = SUCCESS;
    for (struct dirent *entry; dir && !error && (entry = readdir(dir));)
        if (is_model_version(folder, entry->d_name))
            error = add_entry(listing, models, name, version_of(entry->d_name));
    if (dir) closedir(dir);
    free(folder);
    return error;
}

static int compare_entries(const void *a, const void *b) {
    const struct registry_entry *x = a, *y = b;
    return strverscmp(x->model, y->model);
}

status registry_list(const char *models, struct registry_entry **entry, int *n) {
    struct listing listing = {0};
    models = models_folder(models);
    DIR *dir = opendir(models);
    if (!dir) return file_fail("open", models, errno);
    status error = SUCCESS;
    for (struct dirent *e; !error && (e = readdir(dir));)
        if (is_name(e->d_name)) error = add_versions(&listing, models, e->d_name);
    closedir(dir);
    if (!error && !listing.n)
        error = status_fail(STATUS_IO,
                            "the registry %s has no models (--models or GODWIT_MODELS says where "
                            "they are)",
                            models);
    if (error) {
        registry_list_free(listing.entry, listing.n);
        return error;
    }
    qsort(listing.entry, (size_t)listing.n, sizeof *listing.entry, compare_entries);
    *entry = listing.entry;
    *n = listing.n;
    return SUCCESS;
}

void registry_list_free(struct registry_entry *entry, int n) {
    for (int i = 0; i < n; i++) {
        free(entry[i].model);
        free(entry[i].path);
    }
    free(entry);
}

/* ---- staging and publishing ---- */

struct registry_staging {
    char *model;  /* <models>/<name> */
    char *folder; /* <models>/<name>/.staging-<host>-<pid> */
};

static void host_name(char *host) {
    if (gethostname(host, HOST_MAX)) host[0] = '\0';
    host[HOST_MAX - 1] = '\0';
}

/* Removes a folder of files. */
static void remove_folder(const char *folder) {
    DIR *dir = opendir(folder);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
    rmdir(folder);
}

/* Removes what processes of this host left behind that do not live any more. */
static void remove_leftovers(const char *model) {
    char prefix[sizeof STAGING_PREFIX + HOST_MAX + 1], host[HOST_MAX];
    host_name(host);
    size_t length = (size_t)snprintf(prefix, sizeof prefix, "%s%s-", STAGING_PREFIX, host);
    DIR *dir = opendir(model);
    if (!dir) return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        if (strncmp(entry->d_name, prefix, length) != 0) continue;
        int pid = version_of(entry->d_name + length);
        char *folder = NULL;
        if (pid == 0 || kill(pid, 0) == 0 || errno != ESRCH) continue;
        if (asprintf(&folder, "%s/%s", model, entry->d_name) < 0) continue;
        remove_folder(folder);
        free(folder);
    }
    closedir(dir);
}

static void staging_free(struct registry_staging **staging) {
    free((*staging)->model);
    free((*staging)->folder);
    free(*staging);
    *staging = NULL;
}

status registry_folder(const char *models, const char *name, char **folder) {
    if (asprintf(folder, "%s/%s", models_folder(models), name) < 0) return no_memory();
    status error = file_make_folders(*folder);
    if (!error) return SUCCESS;
    free(*folder);
    *folder = NULL;
    return error;
}

void registry_tidy(const char *models, const char *name) {
    char *folder = NULL;
    if (asprintf(&folder, "%s/%s", models_folder(models), name) < 0) return;
    rmdir(folder);
    free(folder);
}

status registry_stage(const char *models, const char *name, struct registry_staging **staging) {
    char host[HOST_MAX];
    host_name(host);
    if (!is_name(name))
        return status_fail(
            STATUS_USAGE,
            "\"%s\" cannot be a model's name: use letters, digits, '.', '_' and '-', not beginning with '.'",
            name);
    struct registry_staging *s = calloc(1, sizeof *s);
    if (!s) return no_memory();
    if (asprintf(&s->model, "%s/%s", models_folder(models), name) < 0) s->model = NULL;
    if (s->model && asprintf(&s->folder, "%s/" STAGING_PREFIX "%s-%d", s->model, host, (int)getpid()) < 0)
        s->folder = NULL;
    status error = s->folder ? file_make_folders(s->model) : no_memory();
    if (!error) {
        remove_leftovers(s->model);
        if (mkdir(s->folder, 0777)) error = file_fail("create", s->folder, errno);
    }
    if (error) {
        staging_free(&s);
        return error;
    }
    *staging = s;
    return SUCCESS;
}

const char *registry_staging_folder(const struct registry_staging *staging) {
    return staging->folder;
}

static status sync_path(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return file_fail("open", path, errno);
    status error = fsync(fd) && errno != EINVAL ? file_fail("write", path, errno) : SUCCESS;
    close(fd);
    return error;
}

static status sync_folder(const char *folder) {
    DIR *dir = opendir(folder);
    if (!dir) return file_fail("open", folder, errno);
    status error = SUCCESS;
    for (struct dirent *entry; !error && (entry = readdir(dir));) {
        char *path = NULL;
        if (entry->d_name[0] == '.') continue;
        if (asprintf(&path, "%s/%s", folder, entry->d_name) < 0) error = no_memory();
        else error = sync_path(path);
        free(path);
    }
    closedir(dir);
    return error ? error : sync_path(folder);
}

/* Renames unless `to` exists: returns 0, or -1 with errno EEXIST or another. */
static int rename_new(const char *from, const char *to) {
    if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 1 /* RENAME_NOREPLACE */) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -1;
    /* A file system without it: rename replaces an empty folder only, and versions are not empty. */
    struct stat info;
    if (lstat(to, &info) == 0) {
        errno = EEXIST;
        return -1;
    }
    int failed = rename(from, to);
    if (failed && errno == ENOTEMPTY) errno = EEXIST;
    return failed;
}

status registry_publish(struct registry_staging **staging, char **folder) {
    struct registry_staging *s = *staging;
    status error = sync_folder(s->folder);
    char *target = NULL;
    for (int version = highest_version(s->model, false) + 1; !error; version++) {
        free(target);
        if (asprintf(&target, "%s/%d", s->model, version) < 0) {
            target = NULL;
            error = no_memory();
        } else if (rename_new(s->folder, target) == 0) {
            break;
        } else if (errno != EEXIST) { /* EEXIST: another process published meanwhile */
            error = file_fail("create", target, errno);
        }
    }
    if (!error) error = sync_path(s->model);
    if (error) {
        free(target);
        registry_abandon(staging);
        return error;
    }
    *folder = target;
    staging_free(staging);
    return SUCCESS;
}

void registry_abandon(struct registry_staging **staging) {
    if (!*staging) return;
    remove_folder((*staging)->folder);
    rmdir((*staging)->model); /* if nothing else is in it */
    staging_free(staging);
}
