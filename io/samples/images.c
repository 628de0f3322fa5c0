/* Images: those of a folder, of a pattern, or one. */
#include "io/samples/format.h"

#include "io/image_list.h"

#include <stdlib.h>
#include <string.h>

static status take_list(struct samples *s, const char *path) {
    struct image_list list = {0};
    status error = image_list_add(&list, path);
    for (int i = 0; i < list.n && !error; i++) error = samples_add_file(s, list.path[i]);
    image_list_clear(&list);
    return error;
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
    STATUS_TRY(take_list(s, file));
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
