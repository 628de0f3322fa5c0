#include "io/samples.h"

#include "io/dataset_store.h"
#include "io/digest.h"
#include "io/file.h"
#include "io/keras/hdf5.h"
#include "io/samples/format.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void samples_close(struct samples **samples) {
    struct samples *s = *samples;
    if (!s) return;
    if (s->format) s->format->close(s);
    for (int i = 0; i < s->ninputs; i++) free(s->input[i].name);
    for (int i = 0; i < s->nfiles; i++) free(s->file[i]);
    free(s->input);
    free(s->shape);
    free(s->file);
    free(s->bytes);
    free(s);
    *samples = NULL;
}

status samples_add_file(struct samples *s, const char *path) {
    if ((s->nfiles & (s->nfiles - 1)) == 0) { /* room for a power of two */
        size_t room = s->nfiles ? 2 * (size_t)s->nfiles : 1;
        char **grown = realloc(s->file, room * sizeof *grown);
        if (!grown) return status_no_memory("names of files", room * sizeof *grown);
        s->file = grown;
    }
    s->file[s->nfiles] = strdup(path);
    if (!s->file[s->nfiles]) return status_no_memory("names of files", strlen(path));
    s->nfiles++;
    return SUCCESS;
}

/* ---- opening ---- */

static bool is_there(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

/* What comes after the last colon is a name in a file, unless the whole is one. *file is owned. */
static status split_path(const char *path, char **file, const char **name) {
    const char *colon = strrchr(path, ':');
    *name = NULL;
    *file = strdup(path);
    if (!*file) return status_no_memory("a path", strlen(path));
    if (!colon || colon == path || is_there(path)) return SUCCESS;
    (*file)[colon - path] = '\0';
    *name = colon + 1;
    if (is_there(*file)) return SUCCESS;
    strcpy(*file, path); /* the colon is a part of a pattern, or of a name that is not there */
    *name = NULL;
    return SUCCESS;
}

/* By what the file begins with. */
static status format_of_file(const char *path, const struct samples_format **format) {
    static const uint8_t png[] = {0x89, 'P', 'N', 'G'}, jpeg[] = {0xff, 0xd8, 0xff}, gzip[] = {0x1f, 0x8b};
    uint8_t head[8] = {0};
    int64_t size;
    int fd;
    STATUS_TRY(file_open_input(path, &fd, &size));
    ssize_t got = pread(fd, head, sizeof head, 0);
    close(fd);
    if (got < 0) return file_fail("read", path, errno);
    if (hdf5_signature(head, (size_t)got)) *format = &samples_hdf5;
    else if (!memcmp(head, png, sizeof png) || !memcmp(head, jpeg, sizeof jpeg)) *format = &samples_images;
    else if (!memcmp(head, gzip, sizeof gzip) || (got >= 4 && !head[0] && !head[1])) *format = &samples_idx;
    else if (got == 0)
        return status_fail(STATUS_DATA, "%s is empty; give an HDF5 file, an IDX file or images", path);
    else
        return status_fail(STATUS_DATA, "%s is no HDF5 file, IDX file or image; convert it to one of these",
                           path);
    return SUCCESS;
}

static status find_format(const char *file, const char *name, const struct samples_format **format) {
    struct stat info;
    if (stat(file, &info) != 0) {
        if (errno != ENOENT || !strpbrk(file, "*?[")) return file_fail("read", file, errno);
        *format = &samples_images;
    } else if (S_ISDIR(info.st_mode)) {
        *format = &samples_images;
    } else {
        STATUS_TRY(format_of_file(file, format));
    }
    if (name && *format != &samples_hdf5)
        return status_fail(STATUS_USAGE, "%s is no HDF5 file: nothing in it is named \"%s\"", file, name);
    return SUCCESS;
}

/* What an input's samples become. */
static status fit_input(struct samples *s, const struct shape *wanted, struct samples_input *input) {
    STATUS_TRY(dataset_fit_shape(input->name, &input->stored, wanted, &input->fit));
    input->fit.dim[0] = SHAPE_UNKNOWN;
    input->count = shape_sample_count(&input->stored);
    if (input->count < 1 || input->count > INT32_MAX)
        return status_fail(STATUS_DATA, "%s has samples without numbers, or with too many", input->name);
    if (input->ready) return SUCCESS;
    const struct preprocessing *p = s->preprocessing;
    int64_t channels = input->fit.rank > 3 ? input->fit.dim[3] : p->channels > 0 ? p->channels : 1;
    return status_context(preprocessing_table(p, channels, &input->table), "%s", input->name);
}

static status fit_inputs(struct samples *s, const struct graph *graph) {
    for (int i = 0; i < s->ninputs; i++) {
        const struct shape *wanted = &graph->node[graph->input[i].node].out[graph->input[i].slot];
        STATUS_TRY(fit_input(s, wanted, &s->input[i]));
        s->shape[i] = s->input[i].fit;
    }
    return SUCCESS;
}

static status open_all(const struct samples_task *task, struct samples *s) {
    char *file = NULL;
    const char *name = NULL;
    s->input = calloc((size_t)s->ninputs + 1, sizeof *s->input);
    s->shape = calloc((size_t)s->ninputs + 1, sizeof *s->shape);
    if (!s->input || !s->shape) return status_no_memory("samples", sizeof *s->input);
    STATUS_TRY(split_path(task->path, &file, &name));
    status error = find_format(file, name, &s->format);
    if (!error) error = s->format->open(s, file, name);
    if (!error) error = fit_inputs(s, task->graph);
    free(file);
    return error;
}

status samples_open(const struct samples_task *task, struct samples **samples) {
    struct samples *s = calloc(1, sizeof *s);
    if (!s) return status_no_memory("samples", sizeof *s);
    *s = (struct samples){.task = task,
                          .preprocessing = task->preprocessing,
                          .scaled = task->scaled,
                          .skip_bad = task->skip_bad,
                          .ninputs = task->graph->ninputs};
    status error = open_all(task, s);
    s->task = NULL;
    if (error) samples_close(&s);
    *samples = s;
    return error;
}

/* ---- what they are ---- */

int64_t samples_count(const struct samples *samples) {
    return samples->n;
}

const struct shape *samples_shapes(const struct samples *samples) {
    return samples->shape;
}

const char *const *samples_files(const struct samples *samples) {
    return samples->images ? (const char *const *)samples->file : NULL;
}

void samples_tell(const struct samples *s, struct log *log) {
    const struct preprocessing *p = s->preprocessing;
    char shape[SHAPE_TEXT_MAX], scale[96];
    snprintf(scale, sizeof scale, "x * %.9g + %.9g%s", p->scale, p->offset,
             p->nmean ? ", less means, divided by deviations" : "");
    for (int i = 0; i < s->ninputs; i++) {
        const struct samples_input *input = &s->input[i];
        bool raw = input->dtype == DTYPE_F32 && (input->ready || !s->scaled) && !s->images;
        log_line(log, LOG_INFO, "%s: %" PRId64 " %s %s of %s; inputs are %s", input->name, s->n,
                 s->images ? "images, made" : "samples", shape_format(&input->fit, shape), input->kind,
                 raw ? "these numbers as they are" : scale);
    }
}

status samples_digest(const struct samples *s, char **digest) {
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    if (!out) return status_no_memory("a digest", 0);
    status error = SUCCESS;
    for (int i = 0; i < s->ninputs; i++) fprintf(out, "%s\n", s->input[i].name);
    for (int i = 0; i < s->nfiles && !error; i++) {
        struct stat info;
        if (stat(s->file[i], &info) != 0)
            error = s->skip_bad ? SUCCESS : file_fail("read", s->file[i], errno);
        else
            fprintf(out, "%s %lld %lld.%09ld\n", s->file[i], (long long)info.st_size,
                    (long long)info.st_mtim.tv_sec, info.st_mtim.tv_nsec);
    }
    if (fclose(out) && !error) error = status_no_memory("a digest", 0);
    if (!error) error = bytes_digest(text, length, digest);
    free(text);
    return error;
}

/* ---- reading ---- */

static status make_room(struct samples *s, size_t nbytes) {
    if (nbytes <= s->room) return SUCCESS;
    uint8_t *grown = realloc(s->bytes, nbytes);
    if (!grown) return status_no_memory("samples", nbytes);
    s->bytes = grown;
    s->room = nbytes;
    return SUCCESS;
}

static void scale_numbers(const struct preprocessing *p, const struct samples_input *input, int64_t n,
                          float *x) {
    int channels = input->table.channels;
    for (int64_t i = 0; i < n; i++) {
        double value = x[i] * p->scale + p->offset;
        int c = (int)(i % channels);
        x[i] = (float)(p->nmean ? (value - p->mean[c]) / p->std[c] : value);
    }
}

status samples_read(struct samples *s, int64_t first, int64_t n, float *const *x, char **bad) {
    for (int i = 0; i < s->ninputs; i++) {
        const struct samples_input *input = &s->input[i];
        int64_t count = n * input->count;
        if (input->dtype == DTYPE_U8) {
            STATUS_TRY(make_room(s, (size_t)count));
            STATUS_TRY(s->format->read(s, i, first, n, s->bytes, bad));
            preprocessing_values(&input->table, s->bytes, count, x[i]);
        } else {
            STATUS_TRY(s->format->read(s, i, first, n, x[i], bad));
            if (s->scaled && !input->ready) scale_numbers(s->preprocessing, input, count, x[i]);
        }
    }
    return SUCCESS;
}

bool samples_are_in(const struct samples *samples, const char *path) {
    for (int i = 0; i < samples->nfiles; i++)
        if (file_same(samples->file[i], path)) return true;
    return false;
}
