/* Datasets of weights: checks before anything is allocated, and rows in and out. */
#include "io/keras/hdf5.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

/* Deflate cannot compress better than 1032:1; whoever claims so wants memory, not a model. */
#define MAX_EXPANSION 1100
/* Chunks are decoded whole: they may be as large as the dataset, or as whoever extends datasets chooses. */
#define MAX_CHUNK_BYTES ((uint64_t)16 << 20)
#define CACHE_SLOTS 12421
#define MAX_CACHE_BYTES ((uint64_t)256 << 20) /* of chunks that are read in pieces */

/* Keras 3 says so of numbers that its HDF5 has no type for. */
static bool says_bfloat16(hid_t dataset) {
    char *text = NULL;
    status error = hdf5_read_text(dataset, "dtype", &text);
    bool says = !error && text && !strcmp(text, "bfloat16");
    status_drop(&error);
    free(text);
    return says;
}

/* IEEE numbers of 2, 4 or 8 bytes, or integers that fill 1, 2, 4 or 8; in either order of bytes. */
static bool plain_number(hid_t type, H5T_class_t class, size_t size) {
    H5T_order_t order = H5Tget_order(type);
    if (order != H5T_ORDER_LE && order != H5T_ORDER_BE && size > 1) return false;
    if (class == H5T_INTEGER)
        return H5Tget_precision(type) == 8 * size && H5Tget_offset(type) == 0 &&
               (size == 1 || size == 2 || size == 4 || size == 8);
    size_t sign, exponent, exponent_bits, mantissa, mantissa_bits;
    if (class != H5T_FLOAT || (size != 2 && size != 4 && size != 8) ||
        H5Tget_fields(type, &sign, &exponent, &exponent_bits, &mantissa, &mantissa_bits) < 0)
        return false;
    size_t bits = size == 2 ? 5 : size == 4 ? 8 : 11; /* of the exponent */
    return H5Tget_precision(type) == 8 * size && H5Tget_offset(type) == 0 && sign == 8 * size - 1 &&
           exponent_bits == bits && mantissa == 0 && mantissa_bits == 8 * size - 1 - bits &&
           exponent == mantissa_bits && H5Tget_ebias(type) == ((size_t)1 << (bits - 1)) - 1 &&
           H5Tget_norm(type) == H5T_NORM_IMPLIED;
}

static status check_type(hid_t dataset, struct dataset_info *info) {
    hid_t type = H5Dget_type(dataset);
    if (type < 0) return status_fail(STATUS_DATA, "has a type that cannot be read: the file is damaged");
    if (H5Tcommitted(type) > 0) {
        H5Tclose(type);
        return status_fail(STATUS_DATA, "has a type that is kept elsewhere in the file");
    }
    static const char *const names[] = {[H5T_STRING] = "text", [H5T_COMPOUND] = "records"};
    H5T_class_t class = H5Tget_class(type);
    size_t size = info->size = H5Tget_size(type);
    bool plain = plain_number(type, class, size);
    H5Tclose(type);
    if ((class == H5T_OPAQUE || (class == H5T_INTEGER && plain)) && size == 2 && says_bfloat16(dataset)) {
        info->numbers = NUMBERS_BFLOAT16;
        return SUCCESS;
    }
    info->numbers = class == H5T_INTEGER ? NUMBERS_INTEGER : NUMBERS_FLOAT;
    if (class != H5T_FLOAT && class != H5T_INTEGER) {
        const char *name = class >= 0 && (size_t) class < sizeof names / sizeof *names ? names[class] : NULL;
        return status_fail(STATUS_DATA, "holds %s of %zu bytes; weights must be float16, float32 or float64",
                           name ? name : "values", size);
    }
    return plain ? SUCCESS
                 : status_fail(STATUS_DATA,
                               "holds numbers of %zu bytes in an unusual format; weights must be float16, "
                               "float32 or float64",
                               size);
}

static status check_shape(hid_t dataset, struct shape *shape) {
    hid_t space = H5Dget_space(dataset);
    hsize_t dims[H5S_MAX_RANK];
    int rank =
        space < 0 || H5Sget_simple_extent_type(space) == H5S_NULL ? -1 : H5Sget_simple_extent_ndims(space);
    if (rank > SHAPE_MAX_RANK) {
        H5Sclose(space);
        return status_fail(STATUS_DATA, "has %d dimensions; at most %d are allowed", rank, SHAPE_MAX_RANK);
    }
    if (rank >= 0 && H5Sget_simple_extent_dims(space, dims, NULL) < 0) rank = -1;
    if (space >= 0) H5Sclose(space);
    if (rank < 0) return status_fail(STATUS_DATA, "has no shape");
    shape->rank = rank;
    for (int i = 0; i < rank; i++) {
        if (dims[i] > INT64_MAX) return status_fail(STATUS_DATA, "has a dimension that is too large");
        shape->dim[i] = (int64_t)dims[i];
    }
    int64_t count;
    return shape_count(shape, &count);
}

static status check_filters(hid_t list) {
    int n = H5Pget_nfilters(list);
    H5Z_filter_t before[3];
    if (n < 0) return status_fail(STATUS_DATA, "is stored in an unknown way");
    for (int i = 0; i < n; i++) {
        unsigned flags, config;
        size_t nvalues = 0;
        char name[64] = "";
        H5Z_filter_t filter =
            H5Pget_filter2(list, (unsigned)i, &flags, &nvalues, NULL, sizeof name, name, &config);
        if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE && filter != H5Z_FILTER_FLETCHER32)
            return status_fail(
                STATUS_DATA,
                "is compressed by filter %d (%.40s); only deflate (gzip), shuffle and fletcher32 are read",
                (int)filter, name);
        for (int k = 0; k < i; k++)
            if (before[k] == filter)
                return status_fail(STATUS_DATA, "is compressed by the same filter twice");
        before[i] = filter;
    }
    return SUCCESS;
}

/* Chunks that a dataset has if it is stored as a whole. */
static uint64_t count_chunks(const struct shape *shape, const hsize_t *chunk) {
    uint64_t n = 1;
    for (int i = 0; i < shape->rank; i++) {
        uint64_t along = ((uint64_t)shape->dim[i] + chunk[i] - 1) / chunk[i];
        if (__builtin_mul_overflow(n, along, &n)) return UINT64_MAX;
    }
    return n;
}

static status check_chunks(hid_t dataset, hid_t list, const struct dataset_info *info, uint64_t nbytes,
                           uint64_t stored) {
    hsize_t chunk[H5S_MAX_RANK], there = 0;
    if (H5Pget_chunk(list, H5S_MAX_RANK, chunk) != info->shape.rank)
        return status_fail(STATUS_DATA, "is stored in an unknown way");
    uint64_t chunk_bytes = info->size;
    for (int i = 0; i < info->shape.rank; i++)
        if (chunk[i] == 0 || __builtin_mul_overflow(chunk_bytes, (uint64_t)chunk[i], &chunk_bytes))
            chunk_bytes = UINT64_MAX;
    if (chunk_bytes > (nbytes > MAX_CHUNK_BYTES ? nbytes : MAX_CHUNK_BYTES))
        return status_fail(STATUS_DATA, "has chunks that are too large");
    STATUS_TRY(check_filters(list));
    if (nbytes / MAX_EXPANSION > stored) return status_fail(STATUS_DATA, "is only partly stored");
#if H5_VERSION_GE(1, 10, 5)
    hid_t space = H5Dget_space(dataset);
    herr_t failed = space < 0 ? -1 : H5Dget_num_chunks(dataset, space, &there);
    if (space >= 0) H5Sclose(space);
    if (failed < 0) return status_fail(STATUS_DATA, "cannot be read: the file is damaged");
    if (there != count_chunks(&info->shape, chunk)) return status_fail(STATUS_DATA, "is only partly stored");
#endif
    return SUCCESS;
}

static status check_storage(hid_t dataset, hid_t list, const struct dataset_info *info) {
    int64_t count;
    STATUS_TRY(shape_count(&info->shape, &count));
    uint64_t nbytes, stored = H5Dget_storage_size(dataset);
    if (__builtin_mul_overflow((uint64_t)count, (uint64_t)info->size, &nbytes))
        return status_fail(STATUS_DATA, "is too large");
    H5D_layout_t layout = H5Pget_layout(list);
    if (layout != H5D_CHUNKED && layout != H5D_CONTIGUOUS && layout != H5D_COMPACT)
        return status_fail(STATUS_DATA,
                           "is a virtual dataset; only files that hold all their data themselves are read");
    if (layout == H5D_CONTIGUOUS && H5Pget_external_count(list) != 0)
        return status_fail(
            STATUS_DATA, "is kept in another file; only files that hold all their data themselves are read");
    if (count && stored == 0) return status_fail(STATUS_DATA, "holds no data: it was never written");
    if (layout == H5D_CHUNKED) return check_chunks(dataset, list, info, nbytes, stored);
    return stored == nbytes ? SUCCESS : status_fail(STATUS_DATA, "is only partly stored");
}

/* Where values lie that need no decoding; -1 if there is no such place. */
static int64_t plain_offset(hid_t dataset, hid_t list) {
    if (H5Pget_layout(list) != H5D_CONTIGUOUS) return -1;
    hid_t type = H5Dget_type(dataset);
    bool plain = type >= 0 && H5Tequal(type, H5T_IEEE_F32LE) > 0;
    if (type >= 0) H5Tclose(type);
    haddr_t at = plain ? H5Dget_offset(dataset) : HADDR_UNDEF;
    return at == HADDR_UNDEF || at > INT64_MAX ? -1 : (int64_t)at;
}

status hdf5_inspect(int64_t dataset, struct dataset_info *info) {
    if (H5Iget_type(dataset) != H5I_DATASET) return status_fail(STATUS_DATA, "is not a dataset");
    STATUS_TRY(check_type(dataset, info));
    STATUS_TRY(check_shape(dataset, &info->shape));
    hid_t list = H5Dget_create_plist(dataset);
    if (list < 0) return status_fail(STATUS_DATA, "is stored in an unknown way");
    status error = check_storage(dataset, list, info);
    if (!error) info->offset = plain_offset(dataset, list);
    H5Pclose(list);
    return error;
}

status hdf5_open_dataset(int64_t from, const char *path, int64_t *dataset) {
    hsize_t chunk[H5S_MAX_RANK];
    int64_t found;
    STATUS_TRY(hdf5_open_object(from, path, &found));
    *dataset = found;
    hid_t list = H5Iget_type(found) == H5I_DATASET ? H5Dget_create_plist(found) : -1;
    int rank = list >= 0 && H5Pget_layout(list) == H5D_CHUNKED ? H5Pget_chunk(list, H5S_MAX_RANK, chunk) : -1;
    if (list >= 0) H5Pclose(list);
    if (rank <= 0) return SUCCESS;
    uint64_t nbytes = 8;
    for (int i = 0; i < rank; i++)
        if (__builtin_mul_overflow(nbytes, (uint64_t)chunk[i], &nbytes)) nbytes = 0;
    if (nbytes < MAX_CACHE_BYTES) nbytes = MAX_CACHE_BYTES;
    hdf5_close(found); /* a second id of an open dataset would share its cache */
    hid_t access = H5Pcreate(H5P_DATASET_ACCESS);
    *dataset = access >= 0 && H5Pset_chunk_cache(access, CACHE_SLOTS, nbytes, 1) >= 0
                   ? H5Dopen2(from, path, access)
                   : -1;
    if (access >= 0) H5Pclose(access);
    return *dataset < 0 ? status_fail(STATUS_DATA, "cannot be opened: the file is damaged") : SUCCESS;
}

/* ---- rows ---- */

enum direction { READ, WRITE };

/* How values lie in memory. */
struct cells {
    hid_t type;
    size_t size;
};

/* The largest box of rows from row `first` on, at most nrows of them; returns how many. */
static int64_t first_box(const struct shape *shape, int64_t first, int64_t nrows, hsize_t *start,
                         hsize_t *count) {
    int last = shape->rank - 1;
    if (last < 0) return 1;
    int64_t stride[SHAPE_MAX_RANK]; /* rows in one step along an axis */
    stride[last] = 1;
    if (last > 0) stride[last - 1] = 1;
    for (int i = last - 2; i >= 0; i--) stride[i] = stride[i + 1] * shape->dim[i + 1];
    int axis = 0;
    while (axis < last - 1 && (first % stride[axis] || nrows < stride[axis])) axis++;
    int64_t rows = 1;
    for (int i = 0; i < last; i++) {
        int64_t at = first / stride[i] % shape->dim[i];
        int64_t steps = i < axis ? 1 : i > axis ? shape->dim[i] : nrows / stride[i];
        if (i == axis && steps > shape->dim[i] - at) steps = shape->dim[i] - at;
        start[i] = (hsize_t)at;
        count[i] = (hsize_t)steps;
        rows *= steps;
    }
    start[last] = 0;
    count[last] = (hsize_t)shape->dim[last];
    return rows;
}

static status move_box(hid_t dataset, int rank, const hsize_t *start, const hsize_t *count, int64_t n,
                       enum direction direction, const struct cells *cells, void *values) {
    hsize_t length = (hsize_t)n;
    hid_t file = H5Dget_space(dataset);
    hid_t memory = H5Screate_simple(1, &length, NULL);
    herr_t failed =
        file < 0 || memory < 0 ||
                (rank > 0 && H5Sselect_hyperslab(file, H5S_SELECT_SET, start, NULL, count, NULL) < 0)
            ? -1
            : 0;
    if (failed >= 0)
        failed = direction == READ ? H5Dread(dataset, cells->type, memory, file, H5P_DEFAULT, values)
                                   : H5Dwrite(dataset, cells->type, memory, file, H5P_DEFAULT, values);
    char text[HDF5_TEXT_MAX];
    status error = SUCCESS;
    if (failed < 0 && direction == READ)
        error =
            status_fail(STATUS_DATA, "cannot be read: the file is damaged (HDF5: %s)", hdf5_last_error(text));
    else if (failed < 0)
        error = status_fail(STATUS_IO, "cannot be written: %s; free some space or choose another folder",
                            hdf5_last_error(text));
    if (memory >= 0) H5Sclose(memory);
    if (file >= 0) H5Sclose(file);
    return error;
}

static status move_rows(hid_t dataset, const struct shape *shape, int64_t first, int64_t nrows,
                        enum direction direction, const struct cells *cells, void *values) {
    int64_t rows, columns;
    char *at = values;
    shape_rows(shape, &rows, &columns);
    if (first < 0 || nrows < 0 || first > rows - nrows)
        return status_fail(STATUS_INTERNAL, "has no rows %lld to %lld", (long long)first,
                           (long long)(first + nrows));
    while (nrows > 0) {
        hsize_t start[SHAPE_MAX_RANK], count[SHAPE_MAX_RANK];
        int64_t done = first_box(shape, first, nrows, start, count);
        STATUS_TRY(move_box(dataset, shape->rank, start, count, done * columns, direction, cells, at));
        first += done;
        nrows -= done;
        at += (size_t)(done * columns) * cells->size;
    }
    return SUCCESS;
}

/* Read as 16 bits each into the upper half of the room for floats, then widened from below. */
static status read_bfloat16(hid_t dataset, const struct shape *shape, int64_t first, int64_t nrows,
                            float *rows) {
    int64_t all, columns;
    shape_rows(shape, &all, &columns);
    int64_t n = nrows * columns;
    uint16_t *half = (uint16_t *)rows + n;
    hid_t stored = H5Dget_type(dataset);
    bool opaque =
        stored >= 0 && H5Tget_class(stored) == H5T_OPAQUE; /* little-endian, as all that Keras writes */
    const struct cells cells = {opaque ? stored : H5T_NATIVE_UINT16, sizeof *half};
    status error = move_rows(dataset, shape, first, nrows, READ, &cells, half);
    if (stored >= 0) H5Tclose(stored);
    for (int64_t i = 0; i < n && !error; i++) {
        uint32_t bits = (uint32_t)half[i] << 16;
        memcpy(&rows[i], &bits, sizeof bits);
    }
    return error;
}

status hdf5_read_rows(int64_t dataset, const struct dataset_info *info, int64_t first, int64_t nrows,
                      float *rows) {
    if (info->numbers == NUMBERS_BFLOAT16) return read_bfloat16(dataset, &info->shape, first, nrows, rows);
    const struct cells cells = {H5T_NATIVE_FLOAT, sizeof *rows};
    return move_rows(dataset, &info->shape, first, nrows, READ, &cells, rows);
}

status hdf5_write_rows(int64_t dataset, const struct shape *shape, int64_t first, int64_t nrows,
                       const float *rows) {
    const struct cells cells = {H5T_NATIVE_FLOAT, sizeof *rows};
    return move_rows(dataset, shape, first, nrows, WRITE, &cells, (float *)(uintptr_t)rows);
}
