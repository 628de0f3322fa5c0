/* Inside io/dataset*.c: a data set's parts as they are kept. */
#ifndef GODWIT_IO_DATASET_STORE_H
#define GODWIT_IO_DATASET_STORE_H

#include "io/dataset.h"
#include "io/datasets/format.h"

struct dataset_slab {
    int64_t number; /* -1: nothing yet */
    uint64_t used;  /* when, for replacing the one used longest ago */
    void *x;        /* (samples of a slab, sample) */
};

/* The training or the test samples. */
struct dataset_store {
    struct dataset_source source; /* open while samples are read from it, i.e. where x is NULL */
    int64_t n;                    /* 0: absent */
    int64_t count;                /* elements of a sample */
    size_t nbytes;                /* of a sample */
    enum dtype dtype;
    double scale, offset;
    float table[256];          /* DTYPE_U8: value -> value * scale + offset */
    bool resident;             /* samples are kept in memory */
    void *x;                   /* (n, sample), if resident; borrowed from the data set's memory */
    int32_t *label;            /* [n], NULL: none; borrowed likewise */
    struct dataset_slab *slab; /* [nslabs], where samples are read slab by slab */
    int64_t nslabs;
    uint64_t clock;
};

struct dataset {
    uint64_t seed;
    struct shape sample;             /* as the model wants it, batch unknown */
    int64_t height, width, channels; /* 0 if samples are not images */
    int64_t classes;
    struct augmentation augmentation;
    char **class_name; /* [nclass_names], owned */
    int nclass_names;
    struct dataset_store store[2]; /* training, test */
    int64_t *index[2];             /* training and hold-out samples in store[0], ascending; NULL: all */
    int64_t size[2];
    void *memory;               /* of samples and labels: private ... */
    struct comm_window *window; /* ... or shared by the node */
    size_t bytes;               /* of it */
    uint8_t *scratch;           /* one sample as stored, and one augmented */
};

/* Splits store[0] into training and hold-out samples by the seed; below 0: an automatic part. */
status dataset_split(struct dataset *dataset, double holdout) STATUS_MUST_USE;

/* The store of a part, and where sample `i` of the part is in it. */
static inline struct dataset_store *dataset_part_store(struct dataset *dataset, enum dataset_part part) {
    return &dataset->store[part == DATASET_TEST];
}
static inline int64_t dataset_part_index(const struct dataset *dataset, enum dataset_part part, int64_t i) {
    return part != DATASET_TEST && dataset->index[part] ? dataset->index[part][i] : i;
}

/* The shape of a sample for the model: as stored; with or without a last axis of 1; or with the same number
 * of elements, where either is flat. DATA error that names what the samples are of. `wanted` may be NULL. */
status dataset_fit_shape(const char *name, const struct shape *stored, const struct shape *wanted,
                         struct shape *fit) STATUS_MUST_USE;

/* Memory for reading samples: slabs where the store has them, scratch for the data set. */
status dataset_reader_create(struct dataset *dataset) STATUS_MUST_USE;
void dataset_reader_destroy(struct dataset *dataset);

/* Reads samples [first, first + n) as stored; float samples must be finite. */
status dataset_store_read(struct dataset_store *store, int64_t first, int64_t n, void *x) STATUS_MUST_USE;

#endif
