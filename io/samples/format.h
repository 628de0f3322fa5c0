/* Inside io/samples*: what a format of samples implements. A format is one file of this folder and one line
 * of io/samples.c. */
#ifndef GODWIT_IO_SAMPLES_FORMAT_H
#define GODWIT_IO_SAMPLES_FORMAT_H

#include "io/samples.h"

/* The samples of one input. */
struct samples_input {
    char *name;                       /* for messages, owned */
    struct shape stored;              /* batch unknown */
    enum dtype dtype;                 /* what `read` gives: DTYPE_U8, or DTYPE_F32 */
    const char *kind;                 /* of the numbers that are stored: "uint8" */
    bool ready;                       /* they are inputs as they are read */
    struct preprocessing_table table; /* of DTYPE_U8 */
    struct shape fit;                 /* for the model, batch unknown */
    int64_t count;                    /* numbers of a sample */
};

struct samples_format {
    /* Fills n, input[].name, stored, dtype and kind; `file`: the path without `name`, which may be NULL.
     * After an error `close` is called. */
    status (*open)(struct samples *samples, const char *file, const char *name);
    /* Samples [first, first + n) of input i as its dtype. */
    status (*read)(struct samples *samples, int i, int64_t first, int64_t n, void *x, char **bad);
    void (*close)(struct samples *samples); /* frees `state`, which may be NULL */
};

struct samples {
    const struct samples_format *format;
    const struct samples_task *task; /* while they are opened */
    const struct preprocessing *preprocessing;
    bool scaled, skip_bad;
    int64_t n;
    int ninputs;
    struct samples_input *input; /* [ninputs], owned */
    struct shape *shape;         /* [ninputs], owned: input[i].fit */
    int nfiles;                  /* that are read */
    char **file;                 /* [nfiles], owned; of images one for each sample */
    bool images;
    uint8_t *bytes; /* of some samples, owned */
    size_t room;
    void *state; /* the format's own */
};

extern const struct samples_format samples_hdf5, samples_idx, samples_images;

/* Notes a file that is read; copied. */
status samples_add_file(struct samples *samples, const char *path) STATUS_MUST_USE;

#endif
