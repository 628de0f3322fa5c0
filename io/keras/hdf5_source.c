#include "io/keras/hdf5_source.h"

#include <stdlib.h>
#include <string.h>

status hdf5_sources_create(int64_t root, int n, struct hdf5_sources *sources) {
    struct hdf5_source *source = calloc((size_t)n + 1, sizeof *source);
    if (!source) return status_no_memory("a list of weights", (size_t)n * sizeof *source);
    *sources = (struct hdf5_sources){.root = root, .n = n, .source = source, .converted = -1, .open = -1};
    return SUCCESS;
}

void hdf5_sources_clear(struct hdf5_sources *sources) {
    for (int i = 0; i < sources->n; i++)
        for (int k = 0; k < sources->source[i].nparts; k++) free(sources->source[i].path[k]);
    free(sources->source);
    free(sources->values);
    if (sources->source) hdf5_close(sources->open);
    *sources = (struct hdf5_sources){.converted = -1, .open = -1};
}

static status check_integers(const struct dataset_info *info, bool may_count) {
    if (info->numbers != NUMBERS_INTEGER || may_count) return SUCCESS;
    return status_fail(STATUS_DATA,
                       "holds integers of %zu bytes; weights must be float16, bfloat16, float32 or float64",
                       info->size);
}

status hdf5_source_add(struct hdf5_sources *sources, int number, const char *path, bool may_count) {
    struct hdf5_source *source = &sources->source[number];
    int64_t dataset;
    if (source->nparts == RECIPE_MAX_PARTS) return status_fail(STATUS_INTERNAL, "has too many parts");
    STATUS_TRY(hdf5_open_object(sources->root, path, &dataset));
    if (dataset < 0) return status_fail(STATUS_DATA, "is missing");
    struct dataset_info *info = &source->info[source->nparts];
    status error = hdf5_inspect(dataset, info);
    hdf5_close(dataset);
    if (!error) error = check_integers(info, may_count);
    if (error) return error;
    source->path[source->nparts] = strdup(path);
    if (!source->path[source->nparts]) return status_no_memory("a path", strlen(path));
    source->nparts++;
    return SUCCESS;
}

status hdf5_source_place(const struct hdf5_sources *sources, int number, int file, int64_t base,
                         struct place *place) {
    const struct hdf5_source *source = &sources->source[number];
    const struct dataset_info *info = &source->info[0];
    place->path = strdup(source->path[0]);
    if (!place->path) return status_no_memory("a path", strlen(source->path[0]));
    place->size = info->size;
    if (source->recipe.conversion != CONVERT_NONE || info->offset < 0 || file < 0) return SUCCESS;
    place->file = file;
    return __builtin_add_overflow(info->offset, base, &place->offset)
               ? status_fail(STATUS_DATA, "lies beyond the end of the file")
               : SUCCESS;
}

/* Rows of one part of weight `number`; its dataset stays open for the next rows. */
static status read_part(struct hdf5_sources *sources, int number, int part, int64_t first, int64_t nrows,
                        float *rows) {
    const struct hdf5_source *source = &sources->source[number];
    if (sources->open < 0 || sources->open_number != number || sources->open_part != part) {
        hdf5_close(sources->open);
        sources->open = -1;
        STATUS_TRY(hdf5_open_dataset(sources->root, source->path[part], &sources->open));
        if (sources->open < 0) return status_fail(STATUS_DATA, "is missing");
        sources->open_number = number;
        sources->open_part = part;
    }
    return hdf5_read_rows(sources->open, &source->info[part], first, nrows, rows);
}

/* All parts, one after the other; owned. */
static status read_parts(struct hdf5_sources *sources, int number, float **values) {
    const struct hdf5_source *source = &sources->source[number];
    int64_t count[RECIPE_MAX_PARTS], total = 0;
    for (int k = 0; k < source->nparts; k++) {
        STATUS_TRY(shape_count(&source->info[k].shape, &count[k]));
        total += count[k]; /* each is that of a part of the weight */
    }
    STATUS_TRY(memory_alloc("a weight", (size_t)total, sizeof(float), (void **)values));
    float *at = *values;
    for (int k = 0; k < source->nparts; k++) {
        int64_t rows, columns;
        shape_rows(&source->info[k].shape, &rows, &columns);
        status error = read_part(sources, number, k, 0, rows, at);
        if (error) {
            free(*values);
            *values = NULL;
            return error;
        }
        at += count[k];
    }
    return SUCCESS;
}

/* Converts a whole weight and keeps it for the next rows. */
static status convert(struct hdf5_sources *sources, int number, const struct shape *shape) {
    const struct hdf5_source *source = &sources->source[number];
    float *stored = NULL, *values = NULL;
    int64_t count;
    free(sources->values);
    sources->values = NULL;
    sources->converted = -1;
    STATUS_TRY(shape_count(shape, &count));
    STATUS_TRY(read_parts(sources, number, &stored));
    status error = memory_alloc("a weight", (size_t)count, sizeof *values, (void **)&values);
    if (!error) {
        recipe_apply(&source->recipe, shape, &source->info[0].shape, stored, values);
        sources->values = values;
        sources->converted = number;
    }
    free(stored);
    return error;
}

status hdf5_source_read(struct hdf5_sources *sources, const struct place *place, int number, int64_t first,
                        int64_t nrows, float *rows) {
    const struct hdf5_source *source = &sources->source[number];
    int64_t all, columns, stored_rows, stored_columns;
    shape_rows(&place->shape, &all, &columns);
    shape_rows(&source->info[0].shape, &stored_rows, &stored_columns);
    if (source->recipe.conversion == CONVERT_NONE && columns == stored_columns)
        return read_part(sources, number, 0, first, nrows, rows);
    if (sources->converted != number) STATUS_TRY(convert(sources, number, &place->shape));
    memcpy(rows, sources->values + first * columns, (size_t)(nrows * columns) * sizeof *rows);
    return SUCCESS;
}
