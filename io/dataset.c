#include "io/dataset.h"

#include "io/dataset_store.h"
#include "io/preprocessing.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOAD_BYTES ((int64_t)4 << 20) /* read at once while loading */

/* The registry of formats, in the order in which "auto" tries them. */
static const struct dataset_format *const format[] = {&dataset_hdf5, &dataset_idx, &dataset_folder};
#define NFORMATS (sizeof format / sizeof *format)

static status agree(const struct comm *node, status local) {
    return node ? comm_agree(node, local) : local;
}

static status find_format(const struct data_config *config, const struct dataset_format **found) {
    const char *path = config_text(config->path), *name = config_text(config->format);
    if (access(path, R_OK) != 0)
        return status_fail(STATUS_IO, "cannot read the data set %s; check data.path and its permissions",
                           *path ? path : "\"\"");
    bool automatic = !*name || !strcmp(name, "auto");
    for (size_t i = 0; i < NFORMATS; i++) {
        if (automatic ? !format[i]->detect(config) : strcmp(name, format[i]->name) != 0) continue;
        *found = format[i];
        return SUCCESS;
    }
    if (automatic)
        return status_fail(
            STATUS_DATA,
            "cannot tell the format of the data set %s; set data.format to \"idx\", \"hdf5\" or \"folder\"",
            path);
    return status_fail(STATUS_USAGE,
                       "data.format is \"%s\"; choose \"auto\", \"idx\", \"hdf5\" or \"folder\"", name);
}

static void source_close(struct dataset_source *source) {
    if (source->format) source->format->close(source);
    for (int64_t i = 0; source->class_name && i < source->classes; i++) free(source->class_name[i]);
    free(source->class_name);
    free(source->name);
    free(source->label_name);
    *source = (struct dataset_source){0};
}

static bool dim_fits(int64_t stored, int64_t wanted) {
    return wanted == SHAPE_UNKNOWN || stored == wanted;
}

static bool dims_fit(const struct shape *stored, const struct shape *wanted, int rank) {
    for (int i = 1; i < rank; i++)
        if (!dim_fits(stored->dim[i], wanted->dim[i])) return false;
    return true;
}

status dataset_fit_shape(const char *name, const struct shape *stored, const struct shape *wanted,
                         struct shape *fit) {
    *fit = *stored;
    if (!wanted) {
        if (stored->rank == 3) fit->dim[fit->rank++] = 1;
        return SUCCESS;
    }
    if (stored->rank == wanted->rank && dims_fit(stored, wanted, stored->rank)) return SUCCESS;
    if (stored->rank + 1 == wanted->rank && dim_fits(1, wanted->dim[stored->rank]) &&
        dims_fit(stored, wanted, stored->rank)) {
        fit->dim[fit->rank++] = 1;
        return SUCCESS;
    }
    if (stored->rank == wanted->rank + 1 && stored->dim[wanted->rank] == 1 &&
        dims_fit(stored, wanted, wanted->rank)) {
        fit->rank--;
        return SUCCESS;
    }
    if ((stored->rank == 2 || wanted->rank == 2) &&
        shape_sample_count(stored) == shape_sample_count(wanted)) {
        *fit = *wanted;
        fit->dim[0] = SHAPE_UNKNOWN;
        return SUCCESS;
    }
    char text[2][SHAPE_TEXT_MAX];
    return status_fail(STATUS_DATA,
                       "samples of %s are %s but the model wants %s; give samples of that size, or images in "
                       "folders, which are resized",
                       name, shape_format(stored, text[0]), shape_format(wanted, text[1]));
}

static void find_image_size(struct dataset *dataset, const struct shape *stored) {
    const struct shape *shape = stored->rank == 3 || stored->rank == 4 ? stored : &dataset->sample;
    if (shape->rank != 3 && shape->rank != 4) return;
    dataset->height = shape->dim[1];
    dataset->width = shape->dim[2];
    dataset->channels = shape->rank == 4 ? shape->dim[3] : 1;
}

static status set_scale(struct dataset_store *store, const struct data_config *config) {
    store->scale = config->scale != 0 ? config->scale : store->dtype == DTYPE_U8 ? 1.0 / 255.0 : 1.0;
    store->offset = config->offset;
    if (!isfinite(store->scale) || !isfinite(store->offset))
        return status_fail(STATUS_USAGE, "data.scale and data.offset are %g and %g; choose finite numbers",
                           store->scale, store->offset);
    for (int v = 0; v < 256; v++) store->table[v] = (float)(v * store->scale + store->offset);
    return SUCCESS;
}

static status open_store(struct dataset *dataset, const struct dataset_format *with,
                         const struct data_config *config, bool test, const struct shape *wanted,
                         bool *first) {
    struct dataset_store *store = &dataset->store[test];
    struct dataset_source *source = &store->source;
    source->format = with;
    STATUS_TRY(with->open(config, test, wanted, source));
    if (source->n < 0) {
        source->n = 0;
        source_close(source);
        return SUCCESS;
    }
    if (source->n == 0)
        return status_fail(STATUS_DATA, "%s has no samples; give a data set with some", source->name);
    struct shape fit;
    STATUS_TRY(dataset_fit_shape(source->name, &source->sample, wanted, &fit));
    if (!*first && !shape_equal(&fit, &dataset->sample)) {
        char text[2][SHAPE_TEXT_MAX];
        return status_fail(
            STATUS_DATA, "samples of %s are %s, not %s as those for training; give parts of one kind",
            source->name, shape_format(&fit, text[0]), shape_format(&dataset->sample, text[1]));
    }
    if (*first) {
        dataset->sample = fit;
        find_image_size(dataset, &source->sample);
    }
    *first = false;
    store->n = source->n;
    store->dtype = source->dtype;
    store->count = shape_sample_count(&source->sample);
    size_t total;
    if (store->count < 1 ||
        __builtin_mul_overflow((size_t)store->count, dtype_size(store->dtype), &store->nbytes) ||
        __builtin_mul_overflow(store->nbytes, (size_t)store->n, &total) || total > SIZE_MAX / 4)
        return status_fail(STATUS_DATA, "%s has more samples than can be addressed; give fewer",
                           source->name);
    if (source->slab > store->n) source->slab = store->n;
    store->resident = config->in_memory || source->sequential;
    return set_scale(store, config);
}

static status copy_class_names(struct dataset *dataset, char *const *name, int64_t n) {
    dataset->class_name = calloc((size_t)n + 1, sizeof *dataset->class_name);
    if (!dataset->class_name) return status_no_memory("labels", (size_t)n * sizeof *dataset->class_name);
    for (int64_t i = 0; i < n; i++) {
        dataset->class_name[i] = strdup(name[i]);
        if (!dataset->class_name[i]) return status_no_memory("labels", strlen(name[i]));
        dataset->nclass_names++;
    }
    return SUCCESS;
}

int64_t dataset_image_side(const struct dataset *dataset) {
    return dataset->height < dataset->width ? dataset->height : dataset->width;
}

status dataset_augment(struct dataset *dataset, const struct augmentation *a) {
    if ((a->flip || a->shift) && !dataset_image_side(dataset))
        return status_fail(STATUS_USAGE,
                           "data.flip and data.shift need images, but the samples are not; switch them off");
    if (a->shift < 0 || (a->shift && (a->shift >= dataset->height || a->shift >= dataset->width)))
        return status_fail(STATUS_USAGE,
                           "data.shift is %" PRId64 " but the images are %" PRId64 " x %" PRId64
                           " pixels; choose less",
                           a->shift, dataset->width, dataset->height);
    dataset->augmentation = *a;
    return SUCCESS;
}

struct augmentation dataset_augmentation(const struct dataset *dataset) {
    return dataset->augmentation;
}

/* What a rank can do alone: opens both parts and checks what is known before samples are read. */
static status open_parts(struct dataset *dataset, const struct data_config *config,
                         const struct shape *wanted) {
    const struct dataset_format *with = NULL;
    STATUS_TRY(find_format(config, &with));
    bool first = true;
    STATUS_TRY(open_store(dataset, with, config, false, wanted, &first));
    STATUS_TRY(open_store(dataset, with, config, true, wanted, &first));
    if (first)
        return status_fail(
            STATUS_DATA,
            "found neither training nor test samples in %s; check data.path, data.x_train and data.x_test",
            config_text(config->path));
    STATUS_TRY(dataset_augment(dataset, &(struct augmentation){config->flip, config->shift}));
    const struct dataset_source *source = &dataset->store[dataset->store[0].n == 0].source;
    if (config->nlabels > 0) STATUS_TRY(copy_class_names(dataset, config->labels, config->nlabels));
    else if (source->class_name) STATUS_TRY(copy_class_names(dataset, source->class_name, source->classes));
    STATUS_TRY(dataset_split(dataset, config->holdout));
    return dataset_reader_create(dataset);
}

static size_t align(size_t nbytes) {
    return (nbytes + 63) / 64 * 64;
}

/* Bytes of samples and labels kept in memory; places them at `base` if it is not NULL. */
static size_t place(struct dataset *dataset, uint8_t *base) {
    size_t used = 0;
    for (int s = 0; s < 2; s++) {
        struct dataset_store *store = &dataset->store[s];
        if (store->n > 0 && store->source.label_name) {
            if (base) store->label = (int32_t *)(void *)(base + used);
            used += align((size_t)store->n * sizeof(int32_t));
        }
        if (store->n > 0 && store->resident) {
            if (base) store->x = base + used;
            used += align((size_t)store->n * store->nbytes);
        }
    }
    return used;
}

static status create_memory(struct dataset *dataset, const struct comm *node) {
    size_t nbytes = place(dataset, NULL);
    void *base = NULL;
    if (nbytes == 0) return SUCCESS;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0 && nbytes / (size_t)page > (size_t)pages)
        return status_fail(
            STATUS_MEMORY,
            "the data set needs %.1f GiB, more than this machine has; set data.in_memory to false",
            (double)nbytes / 1073741824.0);
    if (node) {
        STATUS_TRY(status_context(comm_window_create(node, nbytes, &base, &dataset->window),
                                  "the data set's %.1f MiB in memory (or set data.in_memory to false)",
                                  (double)nbytes / 1048576.0));
    } else {
        STATUS_TRY(memory_alloc("the data set (or set data.in_memory to false)", 1, nbytes, &base));
        dataset->memory = base;
    }
    place(dataset, base);
    dataset->bytes = nbytes;
    return SUCCESS;
}

/* This rank's share of a part's samples, whole slabs. */
static status load_share(struct dataset_store *store, int rank, int nranks) {
    if (store->source.sequential) {
        if (rank != 0) return SUCCESS;
        nranks = 1;
    }
    int64_t unit = store->source.slab > 0 ? store->source.slab : 1, nunits = (store->n + unit - 1) / unit;
    int64_t first = nunits / nranks * rank + (nunits % nranks < rank ? nunits % nranks : rank);
    int64_t last = first + nunits / nranks + (rank < nunits % nranks);
    int64_t step = LOAD_BYTES / (unit * (int64_t)store->nbytes);
    if (step < 1) step = 1;
    for (int64_t u = first; u < last; u += step) {
        int64_t begin = u * unit, end = (u + step < last ? u + step : last) * unit;
        if (end > store->n) end = store->n;
        STATUS_TRY(dataset_store_read(store, begin, end - begin,
                                      (uint8_t *)store->x + (size_t)begin * store->nbytes));
    }
    return SUCCESS;
}

static status fill(struct dataset *dataset, const struct comm *node) {
    int rank = node ? comm_rank(node) : 0, nranks = node ? comm_size(node) : 1;
    for (int s = 0; s < 2; s++) {
        struct dataset_store *store = &dataset->store[s];
        if (store->label && rank == 0)
            STATUS_TRY(store->source.format->read_labels(&store->source, store->label));
        if (store->x) STATUS_TRY(load_share(store, rank, nranks));
    }
    return SUCCESS;
}

status dataset_require_classes(const struct dataset *dataset, int64_t classes) {
    for (int s = 0; s < 2; s++) {
        const struct dataset_store *store = &dataset->store[s];
        if (!store->label) continue;
        if (store->source.classes > classes)
            return status_fail(STATUS_DATA,
                               "%s has %" PRId64 " classes but the model has %" PRId64
                               " outputs; give data or a model that fit",
                               store->source.label_name, store->source.classes, classes);
        for (int64_t i = 0; i < store->n; i++)
            if (store->label[i] >= classes)
                return status_fail(STATUS_DATA,
                                   "%s: label %" PRId64 " is %" PRId32 " but the model has %" PRId64
                                   " outputs; labels must be 0 to %" PRId64,
                                   store->source.label_name, i, store->label[i], classes, classes - 1);
    }
    return SUCCESS;
}

static status check_labels(struct dataset *dataset, int64_t classes) {
    if (classes > 0) STATUS_TRY(dataset_require_classes(dataset, classes));
    for (int s = 0; s < 2; s++) {
        const struct dataset_store *store = &dataset->store[s];
        if (!store->label) continue;
        if (store->source.classes > dataset->classes) dataset->classes = store->source.classes;
        for (int64_t i = 0; i < store->n; i++)
            if (store->label[i] >= dataset->classes) dataset->classes = (int64_t)store->label[i] + 1;
    }
    if (dataset->nclass_names > 0 && dataset->nclass_names < dataset->classes)
        return status_fail(STATUS_DATA,
                           "data.labels names %d classes but the labels have %" PRId64 "; name them all",
                           dataset->nclass_names, dataset->classes);
    return SUCCESS;
}

/* Nothing more is read from a part in memory: its files are closed, its name stays for messages. */
static void close_resident(struct dataset *dataset) {
    for (int s = 0; s < 2; s++) {
        struct dataset_source *source = &dataset->store[s].source;
        if (dataset->store[s].resident && source->format) source->format->close(source);
    }
}

void dataset_close(struct dataset **dataset) {
    struct dataset *d = *dataset;
    if (!d) return;
    dataset_reader_destroy(d);
    for (int s = 0; s < 2; s++) source_close(&d->store[s].source);
    for (int i = 0; i < d->nclass_names; i++) free(d->class_name[i]);
    free(d->class_name);
    free(d->index[0]);
    free(d->index[1]);
    free(d->memory);
    comm_window_destroy(&d->window);
    free(d);
    *dataset = NULL;
}

status dataset_open(const struct data_config *config, const struct shape *sample, int64_t classes,
                    uint64_t seed, const struct comm *node, struct dataset **dataset) {
    struct dataset *d = calloc(1, sizeof *d);
    status error = d ? SUCCESS : status_no_memory("a data set", sizeof *d);
    if (d) {
        d->seed = seed;
        error = open_parts(d, config, sample);
    }
    STATUS_GOTO(error, cleanup, agree(node, error));
    STATUS_GOTO(error, cleanup, create_memory(d, node));
    error = fill(d, node);
    STATUS_GOTO(error, cleanup, agree(node, error));
    if (d->window) STATUS_GOTO(error, cleanup, comm_window_sync(d->window));
    STATUS_GOTO(error, cleanup, agree(node, check_labels(d, classes)));
    close_resident(d);
    *dataset = d;
    d = NULL;
cleanup:
    dataset_close(&d);
    return error;
}

int64_t dataset_size(const struct dataset *dataset, enum dataset_part part) {
    return part == DATASET_TEST ? dataset->store[1].n : dataset->size[part];
}

const struct shape *dataset_sample_shape(const struct dataset *dataset) {
    return &dataset->sample;
}

int64_t dataset_bytes(const struct dataset *dataset) {
    return (int64_t)dataset->bytes;
}

int64_t dataset_classes(const struct dataset *dataset) {
    return dataset->classes;
}

status dataset_preprocessing(const struct dataset *dataset, char **json) {
    const struct dataset_store *store = &dataset->store[dataset->store[0].n == 0];
    const struct preprocessing p = {.scale = store->scale,
                                    .offset = store->offset,
                                    .height = dataset->height,
                                    .width = dataset->width,
                                    .channels = dataset->channels,
                                    .label = dataset->class_name,
                                    .nlabels = dataset->nclass_names};
    return preprocessing_print(&p, json);
}
