/* The datasets that weights are made of. Internal to io/keras. */
#ifndef GODWIT_IO_KERAS_HDF5_SOURCE_H
#define GODWIT_IO_KERAS_HDF5_SOURCE_H

#include "io/keras/container.h"
#include "io/keras/hdf5.h"
#include "io/keras/recipe.h"

struct hdf5_source { /* of one weight */
    struct recipe recipe;
    int nparts;
    char *path[RECIPE_MAX_PARTS]; /* owned, from the root */
    struct dataset_info info[RECIPE_MAX_PARTS];
};

/* All sources of a file. Paths are relative to `root`, which is borrowed. */
struct hdf5_sources {
    int64_t root;
    int n;
    struct hdf5_source *source; /* [n], by number of the place */
    int converted;              /* the source whose values are kept, -1: none */
    float *values;              /* owned */
    int64_t open;               /* HDF5 id of the dataset read last, -1: none */
    int open_number, open_part; /* which that is */
};

status hdf5_sources_create(int64_t root, int n, struct hdf5_sources *sources) STATUS_MUST_USE;
void hdf5_sources_clear(struct hdf5_sources *sources); /* accepts one that is zero */

/* Opens the dataset `path`, inspects it and appends it to a source: DATA error, in words that follow the
 * weight's name, if it is missing or cannot be read, or holds integers without `may_count`. */
status hdf5_source_add(struct hdf5_sources *sources, int number, const char *path,
                       bool may_count) STATUS_MUST_USE;

/* Says in `place` where the weight is; its parts and its recipe are complete. `file` is the number of the
 * HDF5 file, or of the one that has it at `base`; -1: it is not to be read there. */
status hdf5_source_place(const struct hdf5_sources *sources, int number, int file, int64_t base,
                         struct place *place) STATUS_MUST_USE;

/* As container_kind.read. */
status hdf5_source_read(struct hdf5_sources *sources, const struct place *place, int number, int64_t first,
                        int64_t nrows, float *rows) STATUS_MUST_USE;

#endif
