/* IDX files, plain or compressed by gzip, as data sets have them; without labels. */
#include "io/datasets/format.h"
#include "io/samples/format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io/file.h"

static char no_text[] = "";

static status idx_open(struct samples *s, const char *file, const char *name) {
    (void)name;
    struct dataset_source *source = calloc(1, sizeof *source);
    if (!source) return status_no_memory("samples", sizeof *source);
    s->state = source;
    if (s->ninputs != 1)
        return status_fail(
            STATUS_USAGE, "the model has %d inputs; give an HDF5 file with a group of data sets", s->ninputs);
    char *path = realpath(file, NULL);
    if (!path) return file_fail("read", file, errno);
    /* The file as the part of a data set that has no other files. */
    struct data_config config = {
        .path = path, .x_train = path, .y_train = no_text, .x_test = no_text, .y_test = no_text};
    source->format = &dataset_idx;
    status error = dataset_idx.open(&config, false, NULL, source);
    free(path);
    STATUS_TRY(error);
    s->n = source->n;
    struct samples_input *input = &s->input[0];
    input->name = strdup(file);
    input->stored = source->sample;
    input->dtype = source->dtype;
    input->kind = source->dtype == DTYPE_U8 ? "uint8" : "numbers";
    if (!input->name) return status_no_memory("samples", strlen(file));
    return samples_add_file(s, file);
}

static status idx_read(struct samples *s, int i, int64_t first, int64_t n, void *x, char **bad) {
    struct dataset_source *source = s->state;
    (void)i, (void)bad;
    return dataset_idx.read(source, first, n, x);
}

static void idx_close(struct samples *s) {
    struct dataset_source *source = s->state;
    if (!source) return;
    if (source->format) dataset_idx.close(source);
    free(source->name);
    free(source->label_name);
    free(source);
    s->state = NULL;
}

const struct samples_format samples_idx = {idx_open, idx_read, idx_close};
