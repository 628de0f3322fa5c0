/* HDF5: samples x (N, ...) of any number type, labels y (N), (N, 1) or one-hot (N, classes). */
#include "io/datasets/format.h"

#include <hdf5.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLAB_MIN_BYTES ((int64_t)1 << 16) /* smaller chunks are read several at once */
#define BLOCK_BYTES ((size_t)1 << 20)

struct hdf5 {
    hid_t file, x, y;      /* -1: not open */
    hid_t memory_type;     /* of samples; borrowed */
    int64_t label_columns; /* 0: y is (N) */
};

/* Usual names, tried in order where the configuration does not say. */
static const char *const usual[2][2][6] = {
    {{"x_train", "X_train", "train_x", "train/x", "x", NULL},
     {"y_train", "Y_train", "train_y", "train/y", "y", NULL}},
    {{"x_test", "X_test", "test_x", "test/x", NULL}, {"y_test", "Y_test", "test_y", "test/y", NULL}}};

static bool hdf5_detect(const struct data_config *config) {
    htri_t is = 0;
    H5E_BEGIN_TRY is = H5Fis_hdf5(config_text(config->path));
    H5E_END_TRY
    return is > 0;
}

/* *name stays NULL if the part is absent and the configuration does not name it. */
static status find_name(const struct data_config *config, hid_t file, bool test, bool labels,
                        const char **name) {
    const char *named = config_text(labels ? (test ? config->y_test : config->y_train)
                                           : (test ? config->x_test : config->x_train));
    const char *const one[] = {named, NULL};
    for (const char *const *n = *named ? one : usual[test][labels]; *n; n++) {
        htri_t exists = 0;
        H5E_BEGIN_TRY exists = H5Oexists_by_name(file, *n, H5P_DEFAULT);
        H5E_END_TRY
        if (exists > 0) {
            *name = *n;
            return SUCCESS;
        }
    }
    if (*named)
        return status_fail(STATUS_DATA, "%s has no data set \"%s\"; check data.%c_%s",
                           config_text(config->path), named, labels ? 'y' : 'x', test ? "test" : "train");
    return SUCCESS;
}

static status open_set(const char *path, hid_t file, const char *name, char **full_name, hid_t *set,
                       struct shape *shape) {
    if (asprintf(full_name, "%s:%s", path, name) < 0) {
        *full_name = NULL;
        return status_no_memory("a data set", 0);
    }
    H5E_BEGIN_TRY *set = H5Dopen2(file, name, H5P_DEFAULT);
    H5E_END_TRY
    if (*set < 0)
        return status_fail(STATUS_DATA, "%s is not a readable data set; check its name and the file",
                           *full_name);
    hid_t space = H5Dget_space(*set);
    int rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    hsize_t dim[H5S_MAX_RANK] = {0};
    if (rank >= 1 && rank <= SHAPE_MAX_RANK) H5Sget_simple_extent_dims(space, dim, NULL);
    if (space >= 0) H5Sclose(space);
    if (rank < 1 || rank > SHAPE_MAX_RANK)
        return status_fail(STATUS_DATA, "%s has %d dimensions; 1 to %d are allowed", *full_name, rank,
                           SHAPE_MAX_RANK);
    shape->rank = rank;
    for (int i = 0; i < rank; i++) {
        if (dim[i] > INT64_MAX || (i > 0 && dim[i] == 0))
            return status_fail(STATUS_DATA, "%s has a dimension of %" PRIu64 "; write it anew", *full_name,
                               (uint64_t)dim[i]);
        shape->dim[i] = (int64_t)dim[i];
    }
    int64_t count;
    return status_context(shape_count(shape, &count), "%s", *full_name);
}

/* DTYPE_U8 for unsigned bytes, DTYPE_F32 for other numbers. */
static status element_type(hid_t set, const char *name, enum dtype *dtype) {
    hid_t type = H5Dget_type(set);
    H5T_class_t class = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);
    bool byte = class == H5T_INTEGER && H5Tget_size(type) == 1 && H5Tget_sign(type) == H5T_SGN_NONE;
    if (type >= 0) H5Tclose(type);
    if (class != H5T_INTEGER && class != H5T_FLOAT)
        return status_fail(STATUS_DATA, "%s does not hold numbers; store integers or floats", name);
    *dtype = byte ? DTYPE_U8 : DTYPE_F32;
    return SUCCESS;
}

/* Samples of a row of chunks, or of several rows if they are small; 0 for a set without chunks. */
static int64_t slab_samples(hid_t set, const struct shape *shape, enum dtype dtype) {
    hid_t properties = H5Dget_create_plist(set);
    hsize_t chunk[SHAPE_MAX_RANK];
    bool chunked = properties >= 0 && H5Pget_layout(properties) == H5D_CHUNKED &&
                   H5Pget_chunk(properties, SHAPE_MAX_RANK, chunk) == shape->rank;
    if (properties >= 0) H5Pclose(properties);
    if (!chunked || chunk[0] > INT64_MAX / 2) return 0;
    int64_t samples = (int64_t)chunk[0], nbytes = shape_sample_count(shape) * (int64_t)dtype_size(dtype);
    int64_t least = (SLAB_MIN_BYTES + nbytes - 1) / nbytes;
    if (samples < least) samples = (least + samples - 1) / samples * samples;
    return samples;
}

static status open_labels(const struct data_config *config, bool test, struct dataset_source *source) {
    struct hdf5 *h = source->state;
    const char *name = NULL;
    STATUS_TRY(find_name(config, h->file, test, true, &name));
    if (!name) return SUCCESS;
    struct shape shape;
    enum dtype ignored;
    STATUS_TRY(open_set(config_text(config->path), h->file, name, &source->label_name, &h->y, &shape));
    STATUS_TRY(element_type(h->y, source->label_name, &ignored));
    STATUS_TRY(dataset_check_counts(source, shape.dim[0]));
    if (shape.rank > 2)
        return status_fail(STATUS_DATA,
                           "%s has %d dimensions; store labels as (N), (N, 1) or one-hot (N, classes)",
                           source->label_name, shape.rank);
    h->label_columns = shape.rank == 2 ? shape.dim[1] : 0;
    if (h->label_columns > 1) source->classes = h->label_columns;
    return SUCCESS;
}

static status hdf5_open(const struct data_config *config, bool test, const struct shape *wanted,
                        struct dataset_source *source) {
    (void)wanted;
    struct hdf5 *h = calloc(1, sizeof *h);
    if (!h) return status_no_memory("a data set", sizeof *h);
    h->file = h->x = h->y = -1;
    source->state = h;
    const char *path = config_text(config->path);
    H5E_BEGIN_TRY h->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    H5E_END_TRY
    if (h->file < 0)
        return status_fail(STATUS_DATA,
                           "cannot open %s as HDF5; check data.path and whether the file is complete", path);
    const char *name = NULL;
    STATUS_TRY(find_name(config, h->file, test, false, &name));
    if (!name) {
        source->n = -1;
        return SUCCESS;
    }
    struct shape shape;
    STATUS_TRY(open_set(path, h->file, name, &source->name, &h->x, &shape));
    if (shape.rank < 2)
        return status_fail(STATUS_DATA, "%s has 1 dimension; samples need at least 2, (N, ...)",
                           source->name);
    STATUS_TRY(element_type(h->x, source->name, &source->dtype));
    h->memory_type = source->dtype == DTYPE_U8 ? H5T_NATIVE_UINT8 : H5T_NATIVE_FLOAT;
    source->n = shape.dim[0];
    source->sample = shape;
    source->sample.dim[0] = SHAPE_UNKNOWN;
    source->slab = slab_samples(h->x, &shape, source->dtype);
    return open_labels(config, test, source);
}

/* Rows [first, first + n) of a set. */
static status read_rows(hid_t set, hid_t type, const char *name, int64_t first, int64_t n, void *data) {
    hid_t space = H5Dget_space(set), memory = -1;
    hsize_t start[SHAPE_MAX_RANK] = {(hsize_t)first}, count[SHAPE_MAX_RANK];
    herr_t done = -1;
    if (space >= 0) {
        H5E_BEGIN_TRY {
            int rank = H5Sget_simple_extent_dims(space, count, NULL);
            count[0] = (hsize_t)n;
            memory = rank > 0 ? H5Screate_simple(rank, count, NULL) : -1;
            if (memory >= 0 && H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0)
                done = H5Dread(set, type, memory, space, H5P_DEFAULT, data);
        }
        H5E_END_TRY
    }
    if (memory >= 0) H5Sclose(memory);
    if (space >= 0) H5Sclose(space);
    if (done < 0)
        return status_fail(STATUS_DATA,
                           "cannot read samples %" PRId64 " to %" PRId64
                           " of %s; is the file complete and its "
                           "compression known to this HDF5 library?",
                           first, first + n - 1, name);
    return SUCCESS;
}

static status hdf5_read(struct dataset_source *source, int64_t first, int64_t n, void *x) {
    struct hdf5 *h = source->state;
    return read_rows(h->x, h->memory_type, source->name, first, n, x);
}

static status one_hot_class(const double *row, int64_t columns, int64_t index, const char *what,
                            int32_t *label) {
    int64_t ones = 0;
    for (int64_t c = 0; c < columns; c++) {
        if (row[c] == 1) {
            ones++;
            *label = (int32_t)c;
        } else if (row[c] != 0) {
            ones = 2;
        }
    }
    if (ones == 1) return SUCCESS;
    return status_fail(STATUS_DATA,
                       "%s: row %" PRId64
                       " is not one-hot (a single 1 among 0s); store class numbers or one-hot labels",
                       what, index);
}

static status hdf5_read_labels(struct dataset_source *source, int32_t *label) {
    struct hdf5 *h = source->state;
    int64_t columns = h->label_columns > 1 ? h->label_columns : 1;
    int64_t rows = (int64_t)(BLOCK_BYTES / sizeof(double)) / columns;
    if (rows < 1) rows = 1;
    double *block = malloc((size_t)(rows * columns) * sizeof *block);
    if (!block) return status_no_memory("labels", (size_t)(rows * columns) * sizeof *block);
    status error = SUCCESS;
    for (int64_t first = 0; first < source->n && !error; first += rows) {
        int64_t n = source->n - first < rows ? source->n - first : rows;
        error = read_rows(h->y, H5T_NATIVE_DOUBLE, source->label_name, first, n, block);
        for (int64_t i = 0; i < n && !error; i++)
            error = columns > 1 ? one_hot_class(block + i * columns, columns, first + i, source->label_name,
                                                &label[first + i])
                                : dataset_label(block[i], first + i, source->label_name, &label[first + i]);
    }
    free(block);
    return error;
}

static void hdf5_close(struct dataset_source *source) {
    struct hdf5 *h = source->state;
    if (!h) return;
    if (h->y >= 0) H5Dclose(h->y);
    if (h->x >= 0) H5Dclose(h->x);
    if (h->file >= 0) H5Fclose(h->file);
    free(h);
    source->state = NULL;
}

const struct dataset_format dataset_hdf5 = {"hdf5",    hdf5_detect,      hdf5_open,
                                            hdf5_read, hdf5_read_labels, hdf5_close};
