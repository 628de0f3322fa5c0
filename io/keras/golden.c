#include "io/golden.h"

#include "io/child.h"
#include "io/file.h"
#include "io/keras/hdf5.h"

#include <hdf5.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_MAX_BYTES 512

/* Of the child that reads a file first. */
#define CHILD_MEMORY ((size_t)1 << 30)
#define CHILD_MEMORY_PER_BYTE 16 /* of the file */
#define CHILD_CPU_SECONDS 60
#define CHILD_SILENCE_SECONDS 300

static void destroy_tensors(struct tensor **tensor, int n) {
    for (int i = 0; tensor && i < n; i++) tensor_destroy(&tensor[i]);
    free(tensor);
}

void golden_destroy(struct golden **golden) {
    struct golden *g = *golden;
    if (!g) return;
    destroy_tensors(g->x, g->ninputs);
    destroy_tensors(g->y, g->noutputs);
    free(g);
    *golden = NULL;
}

static status create_empty(const struct graph *graph, struct golden **golden) {
    struct golden *g = calloc(1, sizeof *g);
    if (!g) return status_no_memory("a golden pair", sizeof *g);
    g->ninputs = graph->ninputs;
    g->noutputs = graph->noutputs;
    g->x = calloc((size_t)g->ninputs + 1, sizeof *g->x);
    g->y = calloc((size_t)g->noutputs + 1, sizeof *g->y);
    if (!g->x || !g->y) {
        golden_destroy(&g);
        return status_no_memory("a golden pair", sizeof *g);
    }
    *golden = g;
    return SUCCESS;
}

static status create_tensors(const struct graph *graph, const struct edge *edge, int n, int64_t samples,
                             struct tensor **tensor) {
    for (int i = 0; i < n; i++) {
        struct shape shape = graph->node[edge[i].node].out[edge[i].slot];
        if (shape.rank) shape.dim[0] = samples;
        STATUS_TRY(tensor_create(DTYPE_F32, &shape, &tensor[i]));
    }
    return SUCCESS;
}

status golden_create(const struct graph *graph, int64_t samples, struct golden **golden) {
    struct golden *g = NULL;
    STATUS_TRY(create_empty(graph, &g));
    g->samples = samples;
    status error = create_tensors(graph, graph->input, graph->ninputs, samples, g->x);
    if (!error) error = create_tensors(graph, graph->output, graph->noutputs, samples, g->y);
    if (error) golden_destroy(&g);
    else *golden = g;
    return error;
}

/* ---- reading ---- */

/* One side of a pair: the inputs, "x", or the outputs, "y". */
struct side {
    char letter;
    const struct graph *graph;
    const struct edge *edge;
    int n;
};

static const char *end_name(const struct side *side, int i) {
    return side->graph->layer[side->graph->node[side->edge[i].node].layer].name;
}

/* Is the name of end i its alone? */
static bool is_named(const struct side *side, int i) {
    for (int k = 0; k < side->n; k++)
        if (k != i && !strcmp(end_name(side, k), end_name(side, i))) return false;
    return true;
}

/* The dataset of end i: its number after the letter, its name in the letter's group, or the letter alone. */
static status find_dataset(int64_t file, const struct side *side, int i, int64_t *dataset,
                           char name[NAME_MAX_BYTES]) {
    snprintf(name, NAME_MAX_BYTES, "%c%d", side->letter, i);
    STATUS_TRY(hdf5_open_object(file, name, dataset));
    if (*dataset < 0 && is_named(side, i)) {
        snprintf(name, NAME_MAX_BYTES, "%c/%s", side->letter, end_name(side, i));
        STATUS_TRY(hdf5_open_object(file, name, dataset));
    }
    if (*dataset < 0 && side->n == 1) {
        snprintf(name, NAME_MAX_BYTES, "%c", side->letter);
        STATUS_TRY(hdf5_open_object(file, name, dataset));
    }
    if (*dataset >= 0) return SUCCESS;
    if (side->n == 1)
        return status_fail(STATUS_DATA, "there is no dataset \"%c\" for %s \"%s\"", side->letter,
                           side->letter == 'x' ? "input" : "output", end_name(side, i));
    return status_fail(STATUS_DATA, "there is no dataset \"%c%d\" or \"%c/%s\" for %s %d of %d", side->letter,
                       i, side->letter, end_name(side, i), side->letter == 'x' ? "input" : "output", i,
                       side->n);
}

static status read_dataset(int64_t dataset, struct tensor **tensor) {
    struct dataset_info info = {0};
    struct tensor *read = NULL;
    int64_t rows, columns;
    STATUS_TRY(hdf5_inspect(dataset, &info));
    if (info.shape.rank < 1 || info.shape.dim[0] < 1) return status_fail(STATUS_DATA, "holds no samples");
    STATUS_TRY(tensor_create(DTYPE_F32, &info.shape, &read));
    shape_rows(&info.shape, &rows, &columns);
    status error = hdf5_read_rows(dataset, &info, 0, rows, tensor_f32(read));
    for (int64_t k = 0; k < read->count && !error; k++)
        if (!isfinite(tensor_f32(read)[k]))
            error = status_fail(STATUS_DATA, "is %s at element %lld",
                                isnan(tensor_f32(read)[k]) ? "NaN" : "infinite", (long long)k);
    if (error) tensor_destroy(&read);
    else *tensor = read;
    return error;
}

static status read_side(int64_t file, const struct side *side, int64_t *samples, struct tensor **tensor) {
    for (int i = 0; i < side->n; i++) {
        char name[NAME_MAX_BYTES];
        int64_t dataset = -1;
        STATUS_TRY(find_dataset(file, side, i, &dataset, name));
        status error = status_context(read_dataset(dataset, &tensor[i]), "dataset %s", name);
        hdf5_close(dataset);
        STATUS_TRY(error);
        if (!*samples) *samples = tensor[i]->shape.dim[0];
        if (*samples != tensor[i]->shape.dim[0])
            return status_fail(STATUS_DATA, "dataset %s has %lld samples, those before have %lld", name,
                               (long long)tensor[i]->shape.dim[0], (long long)*samples);
    }
    return SUCCESS;
}

static status read_pair(const char *path, int fd, const struct graph *graph, struct golden **golden) {
    struct golden *g = NULL;
    int64_t file = -1;
    const struct side x = {'x', graph, graph->input, graph->ninputs};
    const struct side y = {'y', graph, graph->output, graph->noutputs};
    STATUS_TRY(hdf5_open(path, fd, &file));
    status error = create_empty(graph, &g);
    if (!error) error = read_side(file, &x, &g->samples, g->x);
    if (!error) error = read_side(file, &y, &g->samples, g->y);
    hdf5_close(file);
    if (error) golden_destroy(&g);
    else *golden = g;
    return status_context(error, "%s", path);
}

struct job {
    const char *path;
    const struct graph *graph;
};

/* In a child: says whether the file can be read. */
static status try_pair(struct channel *channel, const int *files, void *argument) {
    const struct job *job = argument;
    struct golden *golden = NULL;
    struct message none = {0};
    STATUS_TRY(read_pair(job->path, files[0], job->graph, &golden));
    golden_destroy(&golden);
    channel_send(channel, SUCCESS, &none);
    return SUCCESS;
}

/* As with models, nothing is parsed here that has not been parsed in a child (io/keras/reader.h). */
static status try_in_child(const char *path, int fd, int64_t size, const struct graph *graph) {
    struct child_limits limits = {.memory = CHILD_MEMORY + CHILD_MEMORY_PER_BYTE * (size_t)size,
                                  .cpu_seconds = CHILD_CPU_SECONDS,
                                  .silence_seconds = CHILD_SILENCE_SECONDS};
    struct job job = {path, graph};
    struct child *child = NULL;
    struct message message = {0};
    hdf5_start();
    STATUS_TRY(status_context(child_start(&limits, 1, &fd, try_pair, &job, &child), "%s", path));
    status error = child_receive(child, &message);
    if (child_is_gone(child)) error = status_context(error, "%s", path);
    message_clear(&message);
    child_stop(&child);
    return error;
}

status golden_read(const char *path, const struct graph *graph, struct golden **golden) {
    int fd;
    int64_t size;
    STATUS_TRY(file_open_input(path, &fd, &size));
    status error = size < 0
                       ? status_fail(STATUS_IO, "cannot open %s: it is a folder; give an HDF5 file", path)
                       : try_in_child(path, fd, size, graph);
    if (!error) error = read_pair(path, fd, graph, golden);
    close(fd);
    return error;
}

/* ---- writing ---- */

static status write_dataset(hid_t file, const char *name, const struct tensor *tensor) {
    hsize_t dims[SHAPE_MAX_RANK];
    int64_t rows, columns;
    for (int i = 0; i < tensor->shape.rank; i++) dims[i] = (hsize_t)tensor->shape.dim[i];
    hid_t space = H5Screate_simple(tensor->shape.rank, dims, NULL);
    hid_t dataset =
        space < 0 ? -1 : H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    char text[HDF5_TEXT_MAX];
    shape_rows(&tensor->shape, &rows, &columns);
    status error = dataset < 0 ? status_fail(STATUS_IO, "cannot be written: %s", hdf5_last_error(text))
                               : hdf5_write_rows(dataset, &tensor->shape, 0, rows, tensor_f32(tensor));
    hdf5_close(dataset);
    if (space >= 0) H5Sclose(space);
    return status_context(error, "dataset %s", name);
}

static status write_side(hid_t file, char letter, int n, struct tensor *const *tensor) {
    for (int i = 0; i < n; i++) {
        char name[16];
        if (n == 1) snprintf(name, sizeof name, "%c", letter);
        else snprintf(name, sizeof name, "%c%d", letter, i);
        STATUS_TRY(write_dataset(file, name, tensor[i]));
    }
    return SUCCESS;
}

static status write_file(const char *path, const struct golden *golden, const char *made_by) {
    int64_t file = -1;
    STATUS_TRY(hdf5_create(path, &file));
    status error = hdf5_write_text(file, "made_by", made_by);
    if (!error) error = write_side(file, 'x', golden->ninputs, golden->x);
    if (!error) error = write_side(file, 'y', golden->noutputs, golden->y);
    if (!error) return hdf5_finish(file);
    hdf5_discard(file);
    return error;
}

status golden_write(const char *path, const struct golden *golden, const char *made_by) {
    char *temporary = NULL;
    STATUS_TRY(file_temporary(path, &temporary));
    status error = status_context(write_file(temporary, golden, made_by), "%s", path);
    if (!error) error = file_commit(temporary, path);
    else file_abandon(temporary);
    free(temporary);
    return error;
}

/* ---- comparing ---- */

status golden_compare(const struct tensor *y, const struct tensor *reference, double tolerance,
                      struct golden_difference *result) {
    struct golden_difference r = {0};
    char is[SHAPE_TEXT_MAX], should[SHAPE_TEXT_MAX];
    if (!shape_equal(&y->shape, &reference->shape))
        return status_fail(STATUS_DATA, "is %s, and the reference %s", shape_format(&y->shape, is),
                           shape_format(&reference->shape, should));
    for (int64_t i = 0; i < y->count; i++) {
        double value = fabs((double)tensor_f32(reference)[i]);
        double d = fabs((double)tensor_f32(y)[i] - (double)tensor_f32(reference)[i]);
        if (value > r.largest) r.largest = value;
        if (!(d <= r.difference)) r.difference = d;
        if (isnan(d)) break;
    }
    r.ratio = r.difference == 0 ? 0 : r.difference / r.largest;
    r.pass = r.difference <= tolerance * r.largest;
    *result = r;
    return SUCCESS;
}
