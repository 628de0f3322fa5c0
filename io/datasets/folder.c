/* Folders of images: each class is a subfolder, numbered in the order of strcmp; images without class folders
 * have no labels. With a subfolder "train" the parts are it and "test" or "val", else everything is training.
 */
#include "io/datasets/format.h"

#include "io/file.h"
#include "io/image.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

struct names {
    char **name;
    size_t n, room;
};

struct folder {
    char *path;
    char **file;    /* [n], relative to path */
    int32_t *label; /* [n] */
    size_t room;
};

static void names_free(struct names *names) {
    for (size_t i = 0; i < names->n; i++) free(names->name[i]);
    free(names->name);
    *names = (struct names){0};
}

static status names_add(struct names *names, const char *name) {
    if (names->n == names->room) {
        size_t room = names->room ? 2 * names->room : 64;
        char **grown = realloc(names->name, room * sizeof *grown);
        if (!grown) return status_no_memory("names of images", room * sizeof *grown);
        names->name = grown;
        names->room = room;
    }
    names->name[names->n] = strdup(name);
    if (!names->name[names->n]) return status_no_memory("names of images", strlen(name));
    names->n++;
    return SUCCESS;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool is_image_name(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

/* The sorted subfolders, or image files, of a folder. Hidden names are passed over. */
static status list(const char *path, bool folders, struct names *names) {
    DIR *dir = opendir(path);
    if (!dir) return file_fail("open", path, errno);
    status error = SUCCESS;
    for (struct dirent *entry = readdir(dir); entry && !error; entry = readdir(dir)) {
        if (entry->d_name[0] == '.') continue;
        char *full;
        error = dataset_join(path, entry->d_name, &full);
        if (error) break;
        if (folders ? is_folder(full) : is_image_name(entry->d_name) && !is_folder(full))
            error = names_add(names, entry->d_name);
        free(full);
    }
    closedir(dir);
    if (!error && names->n) qsort(names->name, names->n, sizeof *names->name, compare_names);
    return error;
}

/* The folder of a part, owned; *path is NULL if the part is absent. */
static status find_part(const struct data_config *config, bool test, char **path) {
    static const char *const test_name[] = {"test", "val", "validation"};
    const char *root = config_text(config->path);
    const char *named = config_text(test ? config->x_test : config->x_train);
    if (*named) return dataset_join(root, named, path);
    *path = NULL;
    STATUS_TRY(dataset_join(root, "train", path));
    if (!is_folder(*path)) {
        free(*path);
        *path = NULL;
        if (test) return SUCCESS;
        *path = strdup(root);
        return *path ? SUCCESS : status_no_memory("a path", strlen(root));
    }
    if (!test) return SUCCESS;
    for (size_t i = 0; i < sizeof test_name / sizeof *test_name; i++) {
        free(*path);
        STATUS_TRY(dataset_join(root, test_name[i], path));
        if (is_folder(*path)) return SUCCESS;
    }
    free(*path);
    *path = NULL;
    return SUCCESS;
}

static bool folder_detect(const struct data_config *config) {
    return is_folder(config_text(config->path));
}

static status add_file(struct folder *f, struct dataset_source *source, const char *class, const char *name,
                       int32_t label) {
    if ((size_t)source->n == f->room) {
        size_t room = f->room ? 2 * f->room : 1024;
        char **file = realloc(f->file, room * sizeof *file);
        if (file) f->file = file;
        int32_t *labels = realloc(f->label, room * sizeof *labels);
        if (labels) f->label = labels;
        if (!file || !labels) return status_no_memory("names of images", room * sizeof *file);
        f->room = room;
    }
    STATUS_TRY(dataset_join(class, name, &f->file[source->n]));
    f->label[source->n++] = label;
    return SUCCESS;
}

static status add_class(struct folder *f, struct dataset_source *source, const char *class, int32_t label) {
    struct names images = {0};
    char *path;
    STATUS_TRY(dataset_join(f->path, class, &path));
    status error = list(path, false, &images);
    for (size_t i = 0; i < images.n && !error; i++) error = add_file(f, source, class, images.name[i], label);
    if (!error && images.n == 0)
        error =
            status_fail(STATUS_DATA, "class folder %s has no .png or .jpg images; fill or remove it", path);
    names_free(&images);
    free(path);
    return error;
}

/* Test classes are numbered as the training part's are. */
static status find_class(char *const *names, int64_t n, const char *class, const char *path, int32_t *label) {
    for (int64_t i = 0; i < n; i++) {
        if (strcmp(names[i], class)) continue;
        *label = (int32_t)i;
        return SUCCESS;
    }
    return status_fail(STATUS_DATA,
                       "class folder %s of %s is not among the training classes; remove or rename it", class,
                       path);
}

static status list_samples(const struct data_config *config, bool test, struct dataset_source *source) {
    struct folder *f = source->state;
    struct names classes = {0}, own = {0};
    char *train = NULL;
    status error;
    STATUS_GOTO(error, cleanup, list(f->path, true, &own));
    if (own.n == 0) {
        STATUS_GOTO(error, cleanup, list(f->path, false, &classes));
        for (size_t i = 0; i < classes.n; i++)
            STATUS_GOTO(error, cleanup, add_file(f, source, "", classes.name[i], 0));
        goto cleanup;
    }
    if (test) STATUS_GOTO(error, cleanup, find_part(config, false, &train));
    STATUS_GOTO(error, cleanup, list(train ? train : f->path, true, &classes));
    for (size_t i = 0; i < own.n; i++) {
        int32_t label = 0;
        STATUS_GOTO(error, cleanup,
                    find_class(classes.name, (int64_t)classes.n, own.name[i], f->path, &label));
        STATUS_GOTO(error, cleanup, add_class(f, source, own.name[i], label));
    }
    source->label_name = strdup(f->path);
    if (!source->label_name) {
        error = status_no_memory("a path", strlen(f->path));
        goto cleanup;
    }
    source->class_name = classes.name;
    source->classes = (int64_t)classes.n;
    classes = (struct names){0};
cleanup:
    names_free(&classes);
    names_free(&own);
    free(train);
    return error;
}

/* What the model wants; where it does not say, what the first image has. */
static status choose_size(const struct shape *wanted, struct dataset_source *source) {
    struct folder *f = source->state;
    int64_t height = SHAPE_UNKNOWN, width = SHAPE_UNKNOWN, channels = SHAPE_UNKNOWN;
    if (wanted && (wanted->rank == 3 || wanted->rank == 4)) {
        height = wanted->dim[1];
        width = wanted->dim[2];
        channels = wanted->rank == 4 ? wanted->dim[3] : 1;
    }
    if (channels != SHAPE_UNKNOWN && channels != 1 && channels != 3)
        return status_fail(
            STATUS_DATA,
            "%s holds images, of 1 or 3 channels, but the model wants %d; choose another data set", f->path,
            (int)channels);
    if (height == SHAPE_UNKNOWN || width == SHAPE_UNKNOWN || channels == SHAPE_UNKNOWN) {
        char *path;
        struct image *image;
        STATUS_TRY(dataset_join(f->path, f->file[0], &path));
        status error = image_read(path, &image);
        free(path);
        if (error) return error;
        if (height == SHAPE_UNKNOWN) height = image->height;
        if (width == SHAPE_UNKNOWN) width = image->width;
        if (channels == SHAPE_UNKNOWN) channels = image->channels;
        image_destroy(&image);
    }
    source->sample = SHAPE(SHAPE_UNKNOWN, height, width, channels);
    return SUCCESS;
}

static status folder_open(const struct data_config *config, bool test, const struct shape *wanted,
                          struct dataset_source *source) {
    struct folder *f = calloc(1, sizeof *f);
    if (!f) return status_no_memory("a data set", sizeof *f);
    source->state = f;
    STATUS_TRY(find_part(config, test, &f->path));
    if (!f->path) {
        source->n = -1;
        return SUCCESS;
    }
    source->name = strdup(f->path);
    if (!source->name) return status_no_memory("a path", strlen(f->path));
    source->dtype = DTYPE_U8;
    STATUS_TRY(list_samples(config, test, source));
    if (source->n == 0)
        return status_fail(
            STATUS_DATA,
            "%s has no .png or .jpg images; give a folder with one subfolder of images per class", f->path);
    return choose_size(wanted, source);
}

/* An image as the sample's height, width and channels, cut in the middle to its aspect. */
static status read_image(const char *path, const struct shape *sample, uint8_t *x) {
    int64_t height = sample->dim[1], width = sample->dim[2], channels = sample->dim[3];
    struct image *image = NULL, *coloured = NULL, *cropped = NULL, *resized = NULL;
    status error;
    STATUS_GOTO(error, cleanup, image_read(path, &image));
    STATUS_GOTO(error, cleanup, image_to_channels(image, (int)channels, &coloured));
    STATUS_GOTO(error, cleanup, image_crop_centre(coloured, (double)width / (double)height, &cropped));
    STATUS_GOTO(error, cleanup, image_resize(cropped, height, width, &resized));
    memcpy(x, resized->pixel, (size_t)(height * width * channels));
cleanup:
    image_destroy(&image);
    image_destroy(&coloured);
    image_destroy(&cropped);
    image_destroy(&resized);
    return error;
}

static status folder_read(struct dataset_source *source, int64_t first, int64_t n, void *x) {
    struct folder *f = source->state;
    int64_t count = shape_sample_count(&source->sample);
    for (int64_t i = 0; i < n; i++) {
        char *path;
        STATUS_TRY(dataset_join(f->path, f->file[first + i], &path));
        status error = read_image(path, &source->sample, (uint8_t *)x + i * count);
        free(path);
        if (error) return error;
    }
    return SUCCESS;
}

static status folder_read_labels(struct dataset_source *source, int32_t *label) {
    struct folder *f = source->state;
    memcpy(label, f->label, (size_t)source->n * sizeof *label);
    return SUCCESS;
}

static void folder_close(struct dataset_source *source) {
    struct folder *f = source->state;
    if (!f) return;
    for (int64_t i = 0; i < source->n; i++) free(f->file[i]);
    free(f->file);
    free(f->label);
    free(f->path);
    free(f);
    source->state = NULL;
}

const struct dataset_format dataset_folder = {"folder",    folder_detect,      folder_open,
                                              folder_read, folder_read_labels, folder_close};
