/* What a format of data sets implements. A format is one file of this folder and one line of io/dataset.c. */
#ifndef GODWIT_IO_DATASETS_FORMAT_H
#define GODWIT_IO_DATASETS_FORMAT_H

#include "io/config.h"
#include "shared/tensor.h"

struct dataset_format;

/* One part (training or test) of a data set as it is stored. `open` fills everything but `format`. */
struct dataset_source {
    const struct dataset_format *format;
    char *name;          /* of the samples, for messages; owned */
    char *label_name;    /* of the labels, for messages; owned; NULL: there are none */
    int64_t n;           /* samples, as many as labels if there are any */
    struct shape sample; /* as stored, batch unknown: images are (?, H, W) or (?, H, W, C) */
    enum dtype dtype;    /* what `read` gives: DTYPE_U8 or DTYPE_F32 */
    int64_t slab;        /* samples that are stored together: reads of such slabs are cheap; 0: any read is */
    bool sequential;     /* reading from the middle is slow (compressed streams) */
    int64_t classes;     /* columns of one-hot labels, class folders; 0: not known before labels are read */
    char **class_name;   /* [classes], owned; NULL: not known */
    void *state;         /* the format's own */
};

struct dataset_format {
    const char *name; /* data.format in the configuration */
    bool (*detect)(const struct data_config *config);
    /* `wanted` is the shape the model wants, or NULL. A part that is absent and not named by the
     * configuration leaves source->n = -1. After an error `close` is called. Errors: IO, DATA. */
    status (*open)(const struct data_config *config, bool test, const struct shape *wanted,
                   struct dataset_source *source);
    /* Samples [first, first + n) to x: (n, sample) of `dtype`. */
    status (*read)(struct dataset_source *source, int64_t first, int64_t n, void *x);
    status (*read_labels)(struct dataset_source *source, int32_t *label); /* [n], each 0 or more */
    void (*close)(struct dataset_source *source); /* frees `state`, which may be NULL */
};

extern const struct dataset_format dataset_idx, dataset_hdf5, dataset_folder;

/* Text of the configuration, "" for NULL. */
static inline const char *config_text(const char *text) {
    return text ? text : "";
}

/* Number `value`, sample `index`'s label, as a class number. DATA error unless it is whole and not negative.
 */
status dataset_label(double value, int64_t index, const char *what, int32_t *label) STATUS_MUST_USE;

/* DATA error unless there are as many labels as samples. */
status dataset_check_counts(const struct dataset_source *source, int64_t nlabels) STATUS_MUST_USE;

/* folder/name, or name alone if it is absolute or there is no folder; owned. */
status dataset_join(const char *folder, const char *name, char **path) STATUS_MUST_USE;

#endif
