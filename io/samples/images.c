/* Images: those of a folder, of a pattern, or one. */
#include "io/samples/format.h"

#include "io/file.h"

#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static bool is_image_name(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static status list_folder(struct samples *s, const char *folder) {
    DIR *dir = opendir(folder);
    if (!dir) return file_fail("open", folder, errno);
    status error = SUCCESS;
    for (struct dirent *e = readdir(dir); e && !error; e = readdir(dir)) {
        char *path = NULL;
        if (e->d_name[0] == '.' || !is_image_name(e->d_name)) continue;
        if (asprintf(&path, "%s/%s", folder, e->d_name) < 0) {
            error = status_no_memory("a path", strlen(folder));
            break;
        }
        if (!is_folder(path)) error = samples_add_file(s, path);
        free(path);
    }
    closedir(dir);
    return error;
}

static status list_pattern(struct samples *s, const char *pattern) {
    glob_t found = {0};
    int failed = glob(pattern, GLOB_NOSORT, NULL, &found);
    status error =
        failed && failed != GLOB_NOMATCH
            ? status_fail(STATUS_IO, "cannot list %s; check the permissions of its folder", pattern)
            : SUCCESS;
    for (size_t i = 0; i < found.gl_pathc && !error; i++)
        if (!is_folder(found.gl_pathv[i])) error = samples_add_file(s, found.gl_pathv[i]);
    globfree(&found);
    return error;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static status list(struct samples *s, const char *path) {
    struct stat info;
    if (is_folder(path)) STATUS_TRY(list_folder(s, path));
    else if (stat(path, &info) == 0) STATUS_TRY(samples_add_file(s, path));
    else STATUS_TRY(list_pattern(s, path));
    if (s->nfiles == 0)
        return status_fail(STATUS_DATA, "%s has no .png or .jpg images; give a folder or a pattern that has",
                           path);
    qsort(s->file, (size_t)s->nfiles, sizeof *s->file, compare_names);
    return SUCCESS;
}

static status read_tensor(const struct samples *s, const char *path, const struct shape *input,
                          struct tensor **x) {
    struct image *image = NULL;
    status error = image_read(path, &image);
    if (!error) error = status_context(preprocessing_apply(s->preprocessing, image, input, x), "%s", path);
    image_destroy(&image);
    return error;
}

/* The shape of an input of unknown size: of the first image that can be read. */
static status first_shape(struct samples *s, struct shape *shape) {
    struct tensor *x = NULL;
    if (shape_sample_count(shape) >= 0) return SUCCESS;
    for (int i = 0; i < s->nfiles; i++) {
        status error = read_tensor(s, s->file[i], shape, &x);
        if (error && s->skip_bad && i + 1 < s->nfiles) {
            status_drop(&error);
            continue;
        }
        STATUS_TRY(error);
        *shape = x->shape;
        break;
    }
    tensor_destroy(&x);
    return SUCCESS;
}

static status images_open(struct samples *s, const char *file, const char *name) {
    const struct graph *graph = s->task->graph;
    struct samples_input *input = &s->input[0];
    (void)name;
    if (s->ninputs != 1)
        return status_fail(STATUS_USAGE, "the model has %d inputs; images are of one", s->ninputs);
    STATUS_TRY(list(s, file));
    s->n = s->nfiles;
    s->images = true;
    input->name = strdup(file);
    if (!input->name) return status_no_memory("a path", strlen(file));
    input->stored = graph->node[graph->input[0].node].out[graph->input[0].slot];
    STATUS_TRY(first_shape(s, &input->stored));
    input->stored.dim[0] = SHAPE_UNKNOWN;
    input->dtype = DTYPE_F32;
    input->kind = "PNG or JPEG";
    input->ready = true;
    return SUCCESS;
}

static status images_read(struct samples *s, int i, int64_t first, int64_t n, void *x, char **bad) {
    const struct samples_input *input = &s->input[i];
    for (int64_t k = 0; k < n; k++) {
        float *to = (float *)x + k * input->count;
        struct tensor *made = NULL;
        status error = read_tensor(s, s->file[first + k], &input->stored, &made);
        if (!error) {
            memcpy(to, made->data, (size_t)input->count * sizeof *to);
        } else if (s->skip_bad && (status_code(error) == STATUS_DATA || status_code(error) == STATUS_IO)) {
            memset(to, 0, (size_t)input->count * sizeof *to);
            bad[k] = strdup(status_message(error));
            status_drop(&error);
            if (!bad[k]) return status_no_memory("a message", 0);
        } else {
            return error;
        }
        tensor_destroy(&made);
    }
    return SUCCESS;
}

static void images_close(struct samples *s) {
    (void)s;
}

const struct samples_format samples_images = {images_open, images_read, images_close};
