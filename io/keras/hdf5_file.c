/* Opening and closing HDF5 files, links and objects. */
#include "io/keras/hdf5.h"

#include <errno.h>
#include <fcntl.h>
#include <hdf5.h>
#include <hdf5_hl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes that flushing may add to a file: its superblock and what the metadata grow by. */
#define FLUSH_MARGIN 8192

_Static_assert(sizeof(hid_t) == sizeof(int64_t), "HDF5 1.10 or newer");

void hdf5_start(void) {
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
}

/* The first error walked is the innermost. Of one that quotes the system's message, the rest is cut. */
static herr_t keep_innermost(unsigned n, const H5E_error2_t *error, void *text) {
    static const char quoted[] = "error message = '";
    (void)n;
    const char *said = error->desc ? error->desc : "";
    const char *system = strstr(said, quoted);
    if (system) {
        system += sizeof quoted - 1;
        snprintf(text, HDF5_TEXT_MAX, "%.*s: %.*s", (int)strcspn(said, ",:"), said, (int)strcspn(system, "'"),
                 system);
    } else {
        snprintf(text, HDF5_TEXT_MAX, "%s", said);
    }
    return 1;
}

const char *hdf5_last_error(char *text) {
    text[0] = 0;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, text);
    return text;
}

/* Serial access, whatever HDF5 was built for; everything in a file is closed with it. */
static hid_t access_list(void) {
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    if (list < 0) return list;
    if (H5Pset_fapl_sec2(list) < 0 || H5Pset_fclose_degree(list, H5F_CLOSE_STRONG) < 0 ||
        H5Pset_libver_bounds(list, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18) < 0) {
        H5Pclose(list);
        return -1;
    }
    return list;
}

bool hdf5_signature(const unsigned char *head, size_t n) {
    static const char signature[8] = "\x89HDF\r\n\x1a\n";
    for (size_t at = 0; head && at + sizeof signature <= n; at = at ? 2 * at : 512)
        if (!memcmp(head + at, signature, sizeof signature)) return true;
    return false;
}

status hdf5_open(const char *path, int fd, int64_t *file) {
    /* HDF5 opens by name only; this one is the open file whatever is at its path by now. */
    char name[32];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    const char *open_name = access(name, R_OK) == 0 ? name : path;
    hdf5_start();
    hid_t list = access_list();
    hid_t id = list < 0 ? -1 : H5Fopen(open_name, H5F_ACC_RDONLY, list);
    char text[HDF5_TEXT_MAX];
    status error = SUCCESS;
    if (id < 0) {
        hdf5_last_error(text);
        error = strstr(text, "unable to lock")
                    ? status_fail(STATUS_IO,
                                  "cannot open %s: %s; it is being written, or its file system has no locks: "
                                  "then set HDF5_USE_FILE_LOCKING=FALSE",
                                  path, text)
                    : status_fail(STATUS_DATA, "%s is damaged or truncated (HDF5: %s); copy it again", path,
                                  text);
    }
    if (list >= 0) H5Pclose(list);
    if (!error) *file = id;
    return error;
}

status hdf5_open_image(const void *image, size_t n, int64_t *file) {
    hdf5_start();
    hid_t id = n ? H5LTopen_file_image((void *)(uintptr_t)image, n,
                                       H5LT_FILE_IMAGE_DONT_COPY | H5LT_FILE_IMAGE_DONT_RELEASE)
                 : -1;
    char text[HDF5_TEXT_MAX];
    if (id < 0)
        return status_fail(STATUS_DATA, "it is damaged or truncated (HDF5: %s); copy it again",
                           hdf5_last_error(text));
    *file = id;
    return SUCCESS;
}

status hdf5_create(const char *path, int64_t *file) {
    hdf5_start();
    hid_t list = access_list();
    hid_t id = list < 0 ? -1 : H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, list);
    char text[HDF5_TEXT_MAX];
    status error = SUCCESS;
    if (id < 0)
        error = status_fail(STATUS_IO, "cannot create %s: %s; check the folder and the disk", path,
                            hdf5_last_error(text));
    if (list >= 0) H5Pclose(list);
    if (!error) *file = id;
    return error;
}

void hdf5_discard(int64_t file) {
    int *fd = NULL;
    int memory = memfd_create("discarded", MFD_CLOEXEC);
    if (memory >= 0 && H5Fget_vfd_handle(file, H5P_DEFAULT, (void **)&fd) >= 0 && fd) dup2(memory, *fd);
    if (memory >= 0) close(memory);
    H5Fclose(file);
}

/* Takes the disk space that the file will need. HDF5 cannot close a file once it has failed to flush it, so a
 * full disk has to be found before. 0, or errno. */
static int reserve(hid_t file) {
    hsize_t nbytes = 0;
    int *fd = NULL;
    if (H5Fget_filesize(file, &nbytes) < 0 || H5Fget_vfd_handle(file, H5P_DEFAULT, (void **)&fd) < 0 || !fd)
        return EIO;
    if (fallocate(*fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)nbytes + FLUSH_MARGIN) == 0) return 0;
    /* Elsewhere glibc touches every block. */
    return errno == EOPNOTSUPP || errno == ENOSYS ? posix_fallocate(*fd, 0, (off_t)nbytes) : errno;
}

status hdf5_finish(int64_t file) {
    char text[HDF5_TEXT_MAX];
    int failed = reserve(file);
    if (failed) {
        hdf5_discard(file);
        return status_fail(STATUS_IO, "%s; free some space or choose another folder", strerror(failed));
    }
    if (H5Fflush(file, H5F_SCOPE_GLOBAL) >= 0 && H5Fclose(file) >= 0) return SUCCESS;
    hdf5_last_error(text);
    hdf5_discard(file);
    return status_fail(STATUS_IO, "%s; free some space or choose another folder", text);
}

void hdf5_close(int64_t id) {
    if (id < 0) return;
    switch (H5Iget_type(id)) {
    case H5I_FILE:
        H5Fclose(id);
        break;
    case H5I_BADID:
        break;
    default:
        H5Oclose(id);
        break;
    }
}

status hdf5_open_object(int64_t from, const char *path, int64_t *object) {
    char *prefix = strdup(path);
    if (!prefix) return status_no_memory("a path", strlen(path));
    status error = SUCCESS;
    hid_t id = -1;
    size_t length = strlen(path);
    for (size_t end = 1; end <= length; end++) {
        if (path[end] && path[end] != '/') continue;
        prefix[end] = 0;
        H5L_info_t info;
        if (H5Lexists(from, prefix, H5P_DEFAULT) <= 0) {
            *object = -1;
            goto cleanup;
        }
        if (H5Lget_info(from, prefix, &info, H5P_DEFAULT) < 0 || info.type != H5L_TYPE_HARD) {
            error = status_fail(
                STATUS_DATA,
                "%s is a link to elsewhere; only files that hold all their data themselves are read", prefix);
            goto cleanup;
        }
        prefix[end] = path[end];
    }
    id = length ? H5Oopen(from, path, H5P_DEFAULT) : -1;
    if (length && id < 0) error = status_fail(STATUS_DATA, "%s cannot be opened: the file is damaged", path);
    else *object = id;
cleanup:
    free(prefix);
    return error;
}

bool hdf5_is_dataset(int64_t object) {
    return H5Iget_type(object) == H5I_DATASET;
}

static herr_t append_link(hid_t group, const char *name, const H5L_info_t *info, void *data) {
    struct names *names = data;
    (void)group, (void)info;
    if (names->n == HDF5_MAX_NAMES) return -1;
    if ((names->n & (names->n - 1)) == 0) { /* room for a power of two */
        char **grown = realloc(names->name, (size_t)(names->n ? 2 * names->n : 1) * sizeof *grown);
        if (!grown) return -1;
        names->name = grown;
    }
    names->name[names->n] = strdup(name);
    return names->name[names->n] ? (names->n++, 0) : -1;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

status hdf5_list(int64_t group, struct names *names) {
    struct names read = {0};
    H5I_type_t type = H5Iget_type(group);
    *names = read;
    if (type != H5I_GROUP && type != H5I_FILE) return SUCCESS;
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, append_link, &read) < 0) {
        names_clear(&read);
        return status_fail(STATUS_DATA, "a group cannot be listed: the file is damaged");
    }
    if (read.n) qsort(read.name, (size_t)read.n, sizeof *read.name, compare_names);
    *names = read;
    return SUCCESS;
}
