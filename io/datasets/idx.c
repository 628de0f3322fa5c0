/* IDX, the format of MNIST (yann.lecun.com/exdb/mnist): big-endian; two zero bytes, an element type, the
 * number of dimensions, the dimensions in 32 bits, the elements row-major. Plain or compressed by gzip. */
#include "io/datasets/format.h"

#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define IDX_MAX_RANK 4
#define GZIP_MAX_RATIO 1032 /* deflate cannot do better */
#define BLOCK_BYTES ((size_t)1 << 20)

struct idx_file {
    char *path;
    int fd;      /* plain */
    gzFile gz;   /* or compressed */
    int type;    /* 0x08 uint8, 0x09 int8, 0x0b int16, 0x0c int32, 0x0d float32, 0x0e float64 */
    size_t size; /* bytes of one element */
    struct shape shape;
    size_t header;   /* bytes */
    size_t nbytes;   /* of the elements */
    size_t position; /* of the compressed stream, in elements' bytes */
};

struct idx {
    struct idx_file x, y;
};

static size_t type_size(int type) {
    switch (type) {
    case 0x08:
    case 0x09:
        return 1;
    case 0x0b:
        return 2;
    case 0x0c:
    case 0x0d:
        return 4;
    case 0x0e:
        return 8;
    default:
        return 0;
    }
}

static status fail_truncated(const struct idx_file *file) {
    return status_fail(STATUS_DATA, "%s is truncated or damaged; get the file again", file->path);
}

/* The next bytes of the file, which must all be there. */
static status read_next(struct idx_file *file, void *data, size_t nbytes) {
    uint8_t *to = data;
    while (nbytes > 0) {
        size_t want = nbytes < BLOCK_BYTES ? nbytes : BLOCK_BYTES;
        ssize_t got = file->gz ? gzread(file->gz, to, (unsigned)want) : read(file->fd, to, want);
        if (got < 0 && !file->gz && errno == EINTR) continue;
        if (got < 0 && !file->gz) return file_fail("read", file->path, errno);
        if (got <= 0) return fail_truncated(file);
        to += got;
        nbytes -= (size_t)got;
    }
    return SUCCESS;
}

/* The header's numbers against the file's size, before memory is allocated for them. */
static status check_size(const struct idx_file *file, size_t stored) {
    size_t whole = file->header + file->nbytes;
    if (file->gz) return whole / GZIP_MAX_RATIO > stored ? fail_truncated(file) : SUCCESS;
    if (stored < whole) return fail_truncated(file);
    if (stored > whole)
        return status_fail(STATUS_DATA, "%s is longer than its header says; get the file again", file->path);
    return SUCCESS;
}

static status read_header(struct idx_file *file) {
    uint8_t head[4 + 4 * IDX_MAX_RANK];
    STATUS_TRY(read_next(file, head, 4));
    file->type = head[2];
    file->size = type_size(head[2]);
    int rank = head[3];
    if (head[0] || head[1] || !file->size || rank < 1 || rank > IDX_MAX_RANK)
        return status_fail(
            STATUS_DATA,
            "%s is not an IDX file (it begins with %02x %02x %02x %02x); check data.path and data.format",
            file->path, head[0], head[1], head[2], head[3]);
    STATUS_TRY(read_next(file, head + 4, 4 * (size_t)rank));
    file->header = 4 + 4 * (size_t)rank;
    file->shape.rank = rank;
    file->nbytes = file->size;
    for (int i = 0; i < rank; i++) {
        const uint8_t *b = head + 4 + 4 * i;
        file->shape.dim[i] =
            (int64_t)((uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]);
        if (i > 0 && file->shape.dim[i] == 0)
            return status_fail(STATUS_DATA, "%s has images without pixels; get the file again", file->path);
        if (__builtin_mul_overflow(file->nbytes, (size_t)file->shape.dim[i], &file->nbytes) ||
            file->nbytes > SIZE_MAX / 2)
            return fail_truncated(file);
    }
    return SUCCESS;
}

static void close_file(struct idx_file *file) {
    if (file->gz) gzclose_r(file->gz);
    else if (file->fd >= 0) close(file->fd);
    file->gz = NULL;
    file->fd = -1;
    free(file->path);
    file->path = NULL;
}

/* Takes `path` over, also when it fails. */
static status open_file(char *path, struct idx_file *file) {
    file->path = path;
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0) return file_fail("open", path, errno);
    struct stat info;
    if (fstat(file->fd, &info) != 0) return file_fail("read", path, errno);
    if (!S_ISREG(info.st_mode)) return status_fail(STATUS_DATA, "%s is not a file; check data.path", path);
    uint8_t magic[2] = {0};
    if (pread(file->fd, magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b) {
        file->gz = gzdopen(file->fd, "rb");
        if (!file->gz) return status_no_memory(path, 0);
        gzbuffer(file->gz, 1u << 18);
    }
    STATUS_TRY(read_header(file));
    return check_size(file, (size_t)info.st_size);
}

/* Elements' bytes [first, first + nbytes). */
static status read_bytes(struct idx_file *file, size_t first, void *data, size_t nbytes) {
    if (!file->gz) {
        for (size_t done = 0; done < nbytes;) {
            ssize_t got =
                pread(file->fd, (uint8_t *)data + done, nbytes - done, (off_t)(file->header + first + done));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return file_fail("read", file->path, errno);
            if (got == 0) return fail_truncated(file);
            done += (size_t)got;
        }
        return SUCCESS;
    }
    if (first != file->position && gzseek(file->gz, (z_off_t)(file->header + first), SEEK_SET) < 0)
        return fail_truncated(file);
    STATUS_TRY(read_next(file, data, nbytes));
    file->position = first + nbytes;
    if (file->position == file->nbytes) { /* the end of the stream carries a checksum: make zlib look at it */
        uint8_t more;
        int got = gzread(file->gz, &more, 1), code = Z_OK;
        gzerror(file->gz, &code);
        if (got < 0 || code != Z_OK) return fail_truncated(file);
        if (got > 0)
            return status_fail(STATUS_DATA, "%s is longer than its header says; get the file again",
                               file->path);
    }
    return SUCCESS;
}

static double element(const uint8_t *b, int type) {
    uint32_t word = type == 0x0c || type == 0x0d
                        ? (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3]
                        : 0;
    switch (type) {
    case 0x08:
        return b[0];
    case 0x09:
        return (int8_t)b[0];
    case 0x0b:
        return (int16_t)((uint16_t)b[0] << 8 | b[1]);
    case 0x0c:
        return (int32_t)word;
    case 0x0d: {
        float value;
        memcpy(&value, &word, sizeof value);
        return (double)value;
    }
    default: {
        uint64_t wide = 0;
        double value;
        for (int i = 0; i < 8; i++) wide = wide << 8 | b[i];
        memcpy(&value, &wide, sizeof value);
        return value;
    }
    }
}

/* The usual names of a part's file, as MNIST and Fashion-MNIST have them. */
static status find_usual(const char *folder, bool test, bool labels, char **path) {
    static const char *const name[2][2][2] = {{{"train-images-idx3-ubyte", "train-images.idx3-ubyte"},
                                               {"train-labels-idx1-ubyte", "train-labels.idx1-ubyte"}},
                                              {{"t10k-images-idx3-ubyte", "t10k-images.idx3-ubyte"},
                                               {"t10k-labels-idx1-ubyte", "t10k-labels.idx1-ubyte"}}};
    static const char *const ending[] = {"", ".gz"};
    *path = NULL;
    for (int i = 0; i < 4; i++) {
        char full[64];
        snprintf(full, sizeof full, "%s%s", name[test][labels][i / 2], ending[i % 2]);
        STATUS_TRY(dataset_join(folder, full, path));
        if (access(*path, F_OK) == 0) return SUCCESS;
        free(*path);
        *path = NULL;
    }
    return SUCCESS;
}

/* *path is NULL if the part is absent and the configuration does not name it. */
static status find_path(const struct data_config *config, bool test, bool labels, char **path) {
    const char *named = config_text(labels ? (test ? config->y_test : config->y_train)
                                           : (test ? config->x_test : config->x_train));
    if (*named) return dataset_join(config_text(config->path), named, path);
    return find_usual(config_text(config->path), test, labels, path);
}

static bool idx_detect(const struct data_config *config) {
    for (int test = 0; test < 2; test++) {
        char *path = NULL;
        status error = find_usual(config_text(config->path), test, false, &path);
        bool found = !error && path;
        status_drop(&error);
        free(path);
        if (found) return true;
    }
    return false;
}

static status idx_open(const struct data_config *config, bool test, const struct shape *wanted,
                       struct dataset_source *source) {
    (void)wanted;
    char *x_path = NULL, *y_path = NULL;
    STATUS_TRY(find_path(config, test, false, &x_path));
    if (!x_path) {
        source->n = -1;
        return SUCCESS;
    }
    struct idx *idx = calloc(1, sizeof *idx);
    if (!idx) {
        free(x_path);
        return status_no_memory("a data set", sizeof *idx);
    }
    idx->x.fd = idx->y.fd = -1;
    source->state = idx;
    STATUS_TRY(open_file(x_path, &idx->x));
    source->name = strdup(x_path);
    if (!source->name) return status_no_memory("a data set", strlen(x_path));
    source->n = idx->x.shape.dim[0];
    source->sample = idx->x.shape;
    source->sample.dim[0] = SHAPE_UNKNOWN;
    source->dtype = idx->x.type == 0x08 ? DTYPE_U8 : DTYPE_F32;
    source->sequential = idx->x.gz != NULL;
    STATUS_TRY(find_path(config, test, true, &y_path));
    if (!y_path) return SUCCESS;
    STATUS_TRY(open_file(y_path, &idx->y));
    source->label_name = strdup(y_path);
    if (!source->label_name) return status_no_memory("a data set", strlen(y_path));
    if (idx->y.shape.rank != 1)
        return status_fail(STATUS_DATA, "%s has %d dimensions, labels have 1; check which file is which",
                           y_path, idx->y.shape.rank);
    return dataset_check_counts(source, idx->y.shape.dim[0]);
}

static status idx_read(struct dataset_source *source, int64_t first, int64_t n, void *x) {
    struct idx *idx = source->state;
    struct idx_file *file = &idx->x;
    size_t count = (size_t)shape_sample_count(&source->sample), size = file->size;
    if (source->dtype == DTYPE_U8) return read_bytes(file, (size_t)first * count, x, (size_t)n * count);
    uint8_t *block = malloc(BLOCK_BYTES);
    if (!block) return status_no_memory("a data set", BLOCK_BYTES);
    status error = SUCCESS;
    float *to = x;
    size_t start = (size_t)first * count, total = (size_t)n * count;
    for (size_t done = 0; done < total && !error;) {
        size_t part = total - done < BLOCK_BYTES / size ? total - done : BLOCK_BYTES / size;
        error = read_bytes(file, (start + done) * size, block, part * size);
        for (size_t i = 0; i < part && !error; i++)
            to[done + i] = (float)element(block + i * size, file->type);
        done += part;
    }
    free(block);
    return error;
}

static status idx_read_labels(struct dataset_source *source, int32_t *label) {
    struct idx *idx = source->state;
    struct idx_file *file = &idx->y;
    uint8_t *bytes = malloc(file->nbytes ? file->nbytes : 1);
    if (!bytes) return status_no_memory("labels", file->nbytes);
    status error = read_bytes(file, 0, bytes, file->nbytes);
    for (int64_t i = 0; i < source->n && !error; i++)
        error = dataset_label(element(bytes + (size_t)i * file->size, file->type), i, source->label_name,
                              &label[i]);
    free(bytes);
    return error;
}

static void idx_close(struct dataset_source *source) {
    struct idx *idx = source->state;
    if (!idx) return;
    close_file(&idx->x);
    close_file(&idx->y);
    free(idx);
    source->state = NULL;
}

const struct dataset_format dataset_idx = {"idx", idx_detect, idx_open, idx_read, idx_read_labels, idx_close};
