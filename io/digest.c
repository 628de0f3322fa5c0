#include "io/digest.h"

#include "io/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BLOCK ((size_t)1 << 16)
#define MIB 1048576.0
#define SHOWN_BYTES ((int64_t)1 << 30) /* below, it takes no time */
#define MAX_DEPTH 16                   /* of folders */

static status digest_text(const unsigned char *sum, unsigned length, char **digest) {
    char *text = malloc(sizeof "sha256:" + 2 * (size_t)length);
    if (!text) return status_no_memory("a digest", 2 * length);
    char *end = stpcpy(text, "sha256:");
    for (unsigned i = 0; i < length; i++) end += sprintf(end, "%02x", sum[i]);
    *digest = text;
    return SUCCESS;
}

static status failed(const char *path) {
    return status_fail(STATUS_INTERNAL, "SHA-256 of %s failed in libcrypto", path);
}

status bytes_digest(const void *data, size_t nbytes, char **digest) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    if (EVP_Digest(data, nbytes, sum, &length, EVP_sha256(), NULL) != 1) return failed("bytes");
    return digest_text(sum, length, digest);
}

/* `log`: where to show how far it is; NULL: nowhere. */
static status update_with_file(EVP_MD_CTX *context, int fd, const char *path, struct log *log) {
    unsigned char *block = malloc(READ_BLOCK);
    if (!block) return status_no_memory("a digest", READ_BLOCK);
    status error = SUCCESS;
    double done = 0;
    for (ssize_t n = 1; n && !error;) {
        n = read(fd, block, READ_BLOCK);
        if (n < 0 && errno != EINTR) error = file_fail("read", path, errno);
        else if (n > 0 && EVP_DigestUpdate(context, block, (size_t)n) != 1) error = failed(path);
        if (n > 0) done += (double)n;
        if (log) log_progress(log, done / MIB, NULL);
    }
    free(block);
    return error;
}

static status digest_of(const char *path, int depth, struct log *log, char **digest);

static int is_shown(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static int compare_entries(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static status update_with_entry(EVP_MD_CTX *context, const char *folder, const char *name, int depth) {
    char *path = NULL, *digest = NULL, *line = NULL;
    if (asprintf(&path, "%s/%s", folder, name) < 0) return status_no_memory("a path", strlen(folder));
    status error = digest_of(path, depth + 1, NULL, &digest);
    if (!error && asprintf(&line, "%s %s\n", name, digest) < 0) {
        line = NULL;
        error = status_no_memory("a digest", strlen(name));
    }
    if (!error && EVP_DigestUpdate(context, line, strlen(line)) != 1) error = failed(path);
    free(path);
    free(digest);
    free(line);
    return error;
}

static status update_with_folder(EVP_MD_CTX *context, const char *path, int depth) {
    struct dirent **entry = NULL;
    if (depth == MAX_DEPTH) return status_fail(STATUS_IO, "%s: more than %d folders deep", path, MAX_DEPTH);
    int n = scandir(path, &entry, is_shown, compare_entries);
    if (n < 0) return file_fail("read", path, errno);
    status error = SUCCESS;
    for (int i = 0; i < n; i++) {
        if (!error) error = update_with_entry(context, path, entry[i]->d_name, depth);
        free(entry[i]);
    }
    free(entry);
    return error;
}

static status digest_of(const char *path, int depth, struct log *log, char **digest) {
    unsigned char sum[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    int64_t size;
    int fd;
    STATUS_TRY(file_open_input(path, &fd, &size));
    if (size < SHOWN_BYTES) log = NULL;
    if (log) log_progress_begin(log, "digest", "MiB", (double)size / MIB);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    status error = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1
                       ? SUCCESS
                       : status_no_memory("a digest", READ_BLOCK);
    if (!error)
        error =
            size < 0 ? update_with_folder(context, path, depth) : update_with_file(context, fd, path, log);
    if (!error && EVP_DigestFinal_ex(context, sum, &length) != 1) error = failed(path);
    if (!error) error = digest_text(sum, length, digest);
    EVP_MD_CTX_free(context);
    if (log) log_progress_end(log);
    close(fd);
    return error;
}

status file_digest(const char *path, char **digest) {
    return digest_of(path, 0, NULL, digest);
}

status file_digest_shown(const char *path, struct log *log, char **digest) {
    return digest_of(path, 0, log, digest);
}
