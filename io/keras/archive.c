#include "io/keras/archive.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>

#define MAX_ENTRIES 65536
#define LOCAL_HEADER_BYTES 30

struct archive {
    zip_t *zip;
    int fd; /* borrowed */
};

bool archive_signature(const unsigned char *head, size_t n) {
    return head && n >= 4 && !memcmp(head, "PK\3\4", 4);
}

/* ---- opening ---- */

static bool is_safe(const char *name) {
    if (!*name || *name == '/' || strchr(name, '\\')) return false;
    for (const char *part = name; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL)
        if (strcspn(part, "/") == 2 && part[0] == '.' && part[1] == '.') return false;
    return true;
}

static status check_entry(zip_t *zip, zip_uint64_t i) {
    zip_stat_t info;
    const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD |
                                ZIP_STAT_ENCRYPTION_METHOD;
    if (zip_stat_index(zip, i, ZIP_FL_ENC_RAW, &info) != 0 || (info.valid & needed) != needed)
        return status_fail(STATUS_DATA, "entry %llu of the archive is damaged", (unsigned long long)i);
    if (!is_safe(info.name))
        return status_fail(STATUS_DATA, "the archive has an entry \"%.80s\", which leads out of it",
                           info.name);
    if (info.encryption_method != ZIP_EM_NONE)
        return status_fail(STATUS_DATA, "entry %.80s of the archive is encrypted; save it without a password",
                           info.name);
    if (info.comp_method != ZIP_CM_STORE && info.comp_method != ZIP_CM_DEFLATE)
        return status_fail(STATUS_DATA,
                           "entry %.80s of the archive is compressed by method %d; only stored and deflated "
                           "ones are read",
                           info.name, info.comp_method);
    return SUCCESS;
}

static status check_entries(zip_t *zip) {
    zip_int64_t n = zip_get_num_entries(zip, 0);
    if (n < 0 || n > MAX_ENTRIES)
        return status_fail(STATUS_DATA, "the archive has more than %d entries", MAX_ENTRIES);
    for (zip_int64_t i = 0; i < n; i++) STATUS_TRY(check_entry(zip, (zip_uint64_t)i));
    return SUCCESS;
}

static status cannot_open(int code) {
    if (code == ZIP_ER_EXISTS)
        return status_fail(STATUS_DATA,
                           "this zip archive has two entries of one name, so it is not clear what is in it");
    zip_error_t why;
    zip_error_init_with_code(&why, code);
    status error = status_fail(STATUS_DATA, "this zip archive is damaged or truncated (%.80s); copy it again",
                               zip_error_strerror(&why));
    zip_error_fini(&why);
    return error;
}

/* libzip refuses directories that disagree with the entries, and names that are there twice. */
status archive_open(int fd, struct archive **archive) {
    struct archive *a = calloc(1, sizeof *a);
    if (!a) return status_no_memory("an archive", sizeof *a);
    int own = dup(fd), code = 0;
    a->fd = fd;
    a->zip = own < 0 ? NULL : zip_fdopen(own, ZIP_CHECKCONS, &code);
    if (!a->zip) {
        status error = cannot_open(code);
        if (own >= 0) close(own);
        free(a);
        return error;
    }
    status error = check_entries(a->zip);
    if (error) archive_close(&a);
    *archive = a;
    return error;
}

void archive_close(struct archive **archive) {
    struct archive *a = *archive;
    if (!a) return;
    zip_discard(a->zip);
    free(a);
    *archive = NULL;
}

/* ---- entries ---- */

bool archive_has(const struct archive *archive, const char *name) {
    return zip_name_locate(archive->zip, name, ZIP_FL_ENC_RAW) >= 0;
}

static status find(const struct archive *archive, const char *name, zip_stat_t *info) {
    zip_int64_t index = zip_name_locate(archive->zip, name, ZIP_FL_ENC_RAW);
    if (index < 0) return status_fail(STATUS_DATA, "the archive has no %s", name);
    if (zip_stat_index(archive->zip, (zip_uint64_t)index, ZIP_FL_ENC_RAW, info) != 0)
        return status_fail(STATUS_DATA, "entry %s of the archive is damaged", name);
    return SUCCESS;
}

status archive_limit(struct archive *archive, const char *name, size_t free_bytes, size_t ratio,
                     size_t *max_bytes) {
    zip_stat_t info;
    STATUS_TRY(find(archive, name, &info));
    if (__builtin_mul_overflow((size_t)info.comp_size, ratio, max_bytes) ||
        __builtin_add_overflow(*max_bytes, free_bytes, max_bytes))
        *max_bytes = SIZE_MAX;
    return SUCCESS;
}

static status check_size(const zip_stat_t *info, size_t max_bytes) {
    if (info->size <= max_bytes) return SUCCESS;
    return status_fail(STATUS_DATA,
                       "entry %s of the archive expands from %llu to %llu bytes; at most %zu are "
                       "allowed",
                       info->name, (unsigned long long)info->comp_size, (unsigned long long)info->size,
                       max_bytes);
}

/* Decompresses a whole entry, whose checksum libzip compares at its end. */
static status read_entry(struct archive *archive, const zip_stat_t *info, char *to) {
    zip_file_t *file = zip_fopen_index(archive->zip, info->index, 0);
    zip_uint64_t done = 0;
    char past;
    bool good = file != NULL;
    while (good && done < info->size) {
        zip_int64_t n = zip_fread(file, to + done, info->size - done);
        good = n > 0;
        if (good) done += (zip_uint64_t)n;
    }
    good = good && zip_fread(file, &past, 1) == 0;
    if (file && zip_fclose(file) != 0) good = false;
    return good ? SUCCESS
                : status_fail(STATUS_DATA, "entry %s of the archive is damaged; copy it again", info->name);
}

status archive_read_text(struct archive *archive, const char *name, size_t max_bytes, char **text) {
    zip_stat_t info;
    STATUS_TRY(find(archive, name, &info));
    STATUS_TRY(check_size(&info, max_bytes));
    char *read = malloc((size_t)info.size + 1);
    if (!read) return status_no_memory(name, (size_t)info.size + 1);
    status error = read_entry(archive, &info, read);
    read[info.size] = 0;
    if (!error && memchr(read, 0, (size_t)info.size))
        error = status_fail(STATUS_DATA, "entry %s of the archive is not text", name);
    if (error) free(read);
    else *text = read;
    return error;
}

/* ---- where entries lie ---- */

/* Where the data begin whose local header is at `at`; -1 if it is none of an entry of this name. */
static int64_t data_after(int fd, int64_t at, const char *name) {
    unsigned char header[LOCAL_HEADER_BYTES];
    char found[UINT16_MAX];
    if (pread(fd, header, sizeof header, (off_t)at) != (ssize_t)sizeof header ||
        !archive_signature(header, sizeof header))
        return -1;
    size_t name_bytes = header[26] | (size_t)header[27] << 8,
           extra_bytes = header[28] | (size_t)header[29] << 8;
    if (name_bytes != strlen(name) ||
        pread(fd, found, name_bytes, (off_t)at + LOCAL_HEADER_BYTES) != (ssize_t)name_bytes ||
        memcmp(found, name, name_bytes) != 0)
        return -1;
    return at + LOCAL_HEADER_BYTES + (int64_t)(name_bytes + extra_bytes);
}

/* libzip does not say where an entry's data lie. They are found by going from entry to entry, in the order of
 * the directory, as far as each begins where the one before it ends; -1 otherwise. */
static int64_t data_offset(const struct archive *archive, const zip_stat_t *wanted) {
    int64_t at = 0;
    for (zip_uint64_t i = 0; i <= wanted->index; i++) {
        zip_stat_t info;
        if (zip_stat_index(archive->zip, i, ZIP_FL_ENC_RAW, &info) != 0) return -1;
        at = data_after(archive->fd, at, info.name);
        if (at < 0) return -1;
        if (i == wanted->index) break;
        if (__builtin_add_overflow(at, (int64_t)info.comp_size, &at) || at < 0) return -1;
    }
    struct stat file;
    return fstat(archive->fd, &file) == 0 && (int64_t)wanted->size <= file.st_size - at ? at : -1;
}

static status map_stored(const struct archive *archive, const zip_stat_t *info, int64_t offset,
                         struct archive_bytes *bytes) {
    int64_t page = sysconf(_SC_PAGESIZE), before = offset % page;
    size_t n = (size_t)(before + (int64_t)info->size);
    void *map = mmap(NULL, n ? n : 1, PROT_READ, MAP_PRIVATE, archive->fd, (off_t)(offset - before));
    if (map == MAP_FAILED) return status_no_memory(info->name, n);
    *bytes = (struct archive_bytes){(char *)map + before, (size_t)info->size, offset, map, n ? n : 1};
    return SUCCESS;
}

static status map_copy(struct archive *archive, const zip_stat_t *info, struct archive_bytes *bytes) {
    size_t n = (size_t)info->size ? (size_t)info->size : 1;
    void *map = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) return status_no_memory(info->name, n);
    *bytes = (struct archive_bytes){map, (size_t)info->size, -1, map, n};
    status error = read_entry(archive, info, map);
    if (error) archive_unmap(bytes);
    return error;
}

status archive_map(struct archive *archive, const char *name, size_t max_bytes, struct archive_bytes *bytes) {
    zip_stat_t info;
    STATUS_TRY(find(archive, name, &info));
    bool stored = info.comp_method == ZIP_CM_STORE && info.comp_size == info.size;
    int64_t offset = stored ? data_offset(archive, &info) : -1;
    if (offset >= 0) return map_stored(archive, &info, offset, bytes);
    STATUS_TRY(check_size(&info, max_bytes));
    return map_copy(archive, &info, bytes);
}

void archive_unmap(struct archive_bytes *bytes) {
    if (bytes->map) munmap(bytes->map, bytes->map_bytes);
    *bytes = (struct archive_bytes){0};
}
