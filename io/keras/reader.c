#include "io/keras/reader.h"

#include "io/child.h"
#include "io/file.h"
#include "io/keras/hdf5.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Decoded values pass through two halves of shared memory: one is filled while the other is emptied. */
#define HALF_BYTES ((size_t)2 << 20)
#define HALF_VALUES ((int64_t)(HALF_BYTES / sizeof(float)))

/* Far above what models need: parsing takes milliseconds and some megabytes; decoding is fast, but what is
 * compressed as a whole has to be in memory as a whole. */
#define MEMORY ((size_t)1 << 30)
#define MEMORY_PER_BYTE 4 /* of the file */
#define CPU_SECONDS 20
#define BYTES_PER_CPU_SECOND ((int64_t)20 << 20)
#define SILENCE_SECONDS 300
#define FOLDER_BYTES ((int64_t)8 << 30) /* a folder counts as a file of this size */

#define MAX_FILES 65536

/* What the child works with. */
struct job {
    const char *path;
    const struct keras_options *options;
    float *half[2];
};

struct reader {
    struct child *child;
    float *shared; /* two halves */
};

void reader_found_clear(struct reader_found *found) {
    topology_clear(&found->topology);
    places_clear(&found->places);
    free(found->preprocessing);
    *found = (struct reader_found){0};
}

/* Text to graph, in the child and then here. */
static status read_topology(const char *json, int version, const char *path,
                            const struct keras_options *options, struct topology *t) {
    const char *from = options && options->topology ? options->topology : path;
    STATUS_TRY(status_context(topology_read(json, version, options, t), "%s", from));
    return status_context(topology_infer(t, options), "%s", path);
}

/* A model with unsupported layers is only looked at. */
static bool has_places(const struct keras_options *options) {
    return !options || !options->unsupported || !options->unsupported->n;
}

/* ---- in the child ---- */

/* The topology that the options name comes before the container's own. */
static status find_topology(const struct job *job, struct container *c, char **json, int *version) {
    if (job->options && job->options->topology)
        return container_topology(job->options->topology, json, version);
    if (!c->config)
        return status_fail(STATUS_DATA,
                           "%s has weights only; say with --topology which JSON file (of Keras's "
                           "model.to_json()) or model has the topology",
                           job->path);
    *json = c->config;
    *version = c->keras_version;
    c->config = NULL;
    return SUCCESS;
}

static void put_places(struct message *m, const struct places *places) {
    message_put_integer(m, places->nfiles);
    for (int i = 0; i < places->nfiles; i++) message_put_text(m, places->file[i]);
    message_put_integer(m, places->n);
    for (int i = 0; i < places->n; i++) {
        const struct place *place = &places->place[i];
        message_put_text(m, place->path);
        message_put_integer(m, (int64_t)place->size);
        message_put_integer(m, place->file);
        message_put_integer(m, place->offset);
    }
}

/* One row that is longer than a half, kept between the requests for its parts. */
struct long_row {
    int number;
    int64_t row;
    float *values;
};

static status decode(struct container *c, const struct places *places, struct message *request,
                     const struct job *job, struct long_row *kept) {
    int number = (int)message_get_within(request, 0, places->n - 1);
    int64_t first = message_get_integer(request), nrows = message_get_integer(request);
    int64_t column = message_get_integer(request), n = message_get_integer(request), all, columns;
    float *to = job->half[message_get_within(request, 0, 1)];
    STATUS_TRY(message_check_end(request));
    const struct place *place = &places->place[number];
    shape_rows(&place->shape, &all, &columns);
    if (columns <= HALF_VALUES) return c->kind->read(c, place, number, first, nrows, to);
    if (!kept->values || kept->number != number || kept->row != first) {
        free(kept->values);
        kept->values = malloc((size_t)columns * sizeof *kept->values);
        if (!kept->values) return status_no_memory("a weight", (size_t)columns * sizeof *kept->values);
        kept->number = number;
        kept->row = first;
        STATUS_TRY(c->kind->read(c, place, number, first, 1, kept->values));
    }
    memcpy(to, kept->values + column, (size_t)n * sizeof *to);
    return SUCCESS;
}

/* Opens, answers what was found, then decodes what is asked for. */
static status serve(struct channel *channel, const int *files, void *argument) {
    const struct job *job = argument;
    struct container c = {0};
    struct topology t = {0};
    struct places places = {0};
    char *json = NULL;
    int version = 0;
    STATUS_TRY(container_open(job->path, files[0], job->options, &c));
    STATUS_TRY(find_topology(job, &c, &json, &version));
    STATUS_TRY(read_topology(json, version, job->path, job->options, &t));
    if (has_places(job->options)) {
        STATUS_TRY(places_create(t.graph, &places));
        STATUS_TRY(status_context(c.kind->locate(&c, &t, &places), "%s", job->path));
    }

    struct message message = {0}, none = {0};
    message_put_integer(&message, container_number(c.kind));
    message_put_text(&message, json);
    message_put_integer(&message, version);
    message_put_text(&message, c.preprocessing);
    put_places(&message, &places);
    channel_send(channel, SUCCESS, &message);
    free(json);
    topology_clear(&t);

    struct long_row kept = {0};
    for (;;) {
        channel_receive(channel, &message);
        channel_send(channel, decode(&c, &places, &message, job, &kept), &none);
    }
}

/* ---- in the parent ---- */

static status wrong_places(const char *path) {
    return status_fail(STATUS_DATA, "%s: the reader talks nonsense: the file is damaged or hostile", path);
}

/* Bytes of a place's values as float32; -1 if there are too many. */
static int64_t place_bytes(const struct place *place) {
    int64_t count, nbytes;
    status error = shape_count(&place->shape, &count);
    bool counted = !error && !__builtin_mul_overflow(count, (int64_t)sizeof(float), &nbytes);
    status_drop(&error);
    return counted ? nbytes : -1;
}

/* A file with weights in it, and how many bytes of it are some weight's. */
struct extent {
    int64_t size, used;
};

/* The files that places are in; *extents [places->nfiles] is owned. */
static status get_files(struct message *m, const char *path, int64_t size, struct places *places,
                        struct extent **extents) {
    int n = (int)message_get_within(m, 0, MAX_FILES);
    *extents = calloc((size_t)n + 1, sizeof **extents);
    if (!*extents) return status_no_memory("a list of files", (size_t)n * sizeof **extents);
    for (int i = 0; i < n && !m->failed; i++) {
        char *file = message_get_text(m);
        int number = -1;
        struct stat info = {.st_size = size};
        status error = file ? places_file(places, file, &number) : SUCCESS;
        if (!error && file && strcmp(file, path) && stat(file, &info) != 0)
            error = file_fail("open", file, errno);
        free(file);
        STATUS_TRY(error);
        if (number != i) return wrong_places(path);
        (*extents)[i].size = info.st_size;
    }
    return message_check(m);
}

static status get_place(struct message *m, const char *path, struct places *places, struct extent *extents,
                        struct place *place) {
    place->path = message_get_text(m);
    place->size = (size_t)message_get_within(m, 0, 16);
    place->file = (int)message_get_within(m, 0, places->nfiles ? places->nfiles - 1 : 0);
    place->offset = message_get_within(m, -1, INT64_MAX);
    STATUS_TRY(message_check(m));
    int64_t nbytes = place_bytes(place);
    if (!place->path || nbytes < 0) return wrong_places(path);
    if (place->offset < 0) return SUCCESS;
    if (!places->nfiles) return wrong_places(path);
    struct extent *in = &extents[place->file];
    const char *file = places->file[place->file];
    if (place->offset > in->size || nbytes > in->size - place->offset)
        return status_fail(STATUS_DATA, "%s: weight %s lies beyond the end of the file: it is truncated",
                           file, place->path);
    if (nbytes > in->size - in->used)
        return status_fail(STATUS_DATA, "%s: weights lie in the place of others: the file is damaged", file);
    in->used += nbytes;
    return SUCCESS;
}

/* Fills in places that have the graph's shapes. What the child says is not trusted. */
static status get_places(struct message *m, const char *path, int64_t size, struct places *places) {
    struct extent *extents = NULL;
    status error = get_files(m, path, size, places, &extents);
    message_get_within(m, places->n, places->n);
    for (int i = 0; i < places->n && !error; i++)
        error = get_place(m, path, places, extents, &places->place[i]);
    free(extents);
    return error ? error : message_check_end(m);
}

static status get_found(struct message *m, const char *path, int64_t size,
                        const struct keras_options *options, struct reader_found *found) {
    found->kind = container_kind((int)message_get_within(m, 0, INT_MAX));
    char *json = message_get_text(m);
    int version = (int)message_get_within(m, 0, 9);
    found->preprocessing = message_get_text(m);
    status error = message_check(m);
    if (!error && (!json || !found->kind)) error = wrong_places(path);
    if (!error) error = read_topology(json, version, path, options, &found->topology);
    free(json);
    STATUS_TRY(error);
    if (has_places(options)) STATUS_TRY(places_create(found->topology.graph, &found->places));
    return get_places(m, path, size, &found->places);
}

static bool needs_child(const struct places *places) {
    for (int i = 0; i < places->n; i++)
        if (places->place[i].offset < 0) return true;
    return false;
}

static status open_in_child(struct reader *r, const char *path, int fd, int64_t size,
                            const struct keras_options *options, struct reader_found *found) {
    if (size < 0) size = FOLDER_BYTES;
    struct child_limits limits = {.memory = MEMORY + MEMORY_PER_BYTE * (size_t)size,
                                  .cpu_seconds = CPU_SECONDS + (int)(size / BYTES_PER_CPU_SECOND),
                                  .silence_seconds = SILENCE_SECONDS};
    r->shared = mmap(NULL, 2 * HALF_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (r->shared == MAP_FAILED) {
        r->shared = NULL;
        return status_no_memory("a model's decoded weights", 2 * HALF_BYTES);
    }
    struct job job = {path, options, {r->shared, r->shared + HALF_VALUES}};
    struct message message = {0};
    /* HDF5 may talk to MPI when it starts, which a child must not. */
    hdf5_start();
    STATUS_TRY(status_context(child_start(&limits, 1, &fd, serve, &job, &r->child), "%s", path));
    status error = child_receive(r->child, &message);
    if (child_is_gone(r->child)) error = status_context(error, "%s", path);
    if (!error) error = get_found(&message, path, size, options, found);
    message_clear(&message);
    return error;
}

status reader_open(const char *path, int fd, int64_t size, const struct keras_options *options,
                   struct reader **reader, struct reader_found *found) {
    struct reader *r = calloc(1, sizeof *r);
    if (!r) return status_no_memory("a reader", sizeof *r);
    status error = open_in_child(r, path, fd, size, options, found);
    if (error || !needs_child(&found->places)) reader_close(&r);
    *reader = r;
    return error;
}

void reader_close(struct reader **reader) {
    struct reader *r = *reader;
    if (!r) return;
    child_stop(&r->child);
    if (r->shared) munmap(r->shared, 2 * HALF_BYTES);
    free(r);
    *reader = NULL;
}

/* A piece of a weight that fits into a half. */
struct piece {
    int64_t first, nrows; /* rows, of which */
    int64_t column, n;    /* n values from this column of the first on */
};

static struct piece next_piece(int64_t columns, int64_t at, int64_t end) {
    struct piece piece = {.first = at / columns, .column = at % columns};
    if (columns <= HALF_VALUES) {
        int64_t most = HALF_VALUES / columns, left = (end - at) / columns;
        piece.nrows = left < most ? left : most;
        piece.n = piece.nrows * columns;
    } else {
        int64_t left = columns - piece.column;
        piece.nrows = 1;
        piece.n = left < HALF_VALUES ? left : HALF_VALUES;
    }
    return piece;
}

static status ask(struct reader *r, int number, const struct piece *piece, int half) {
    struct message request = {0};
    message_put_integer(&request, number);
    message_put_integer(&request, piece->first);
    message_put_integer(&request, piece->nrows);
    message_put_integer(&request, piece->column);
    message_put_integer(&request, piece->n);
    message_put_integer(&request, half);
    status error = child_send(r->child, &request);
    message_clear(&request);
    return error;
}

status reader_read(struct reader *r, int number, const struct shape *shape, int64_t first, int64_t nrows,
                   float *rows) {
    int64_t all, columns;
    shape_rows(shape, &all, &columns);
    int64_t at = first * columns, end = (first + nrows) * columns;
    if (at == end) return SUCCESS;
    struct piece piece = next_piece(columns, at, end);
    struct message answer = {0};
    status error = ask(r, number, &piece, 0);
    for (int half = 0; !error && at < end; half = !half) {
        struct piece here = piece;
        error = child_receive(r->child, &answer);
        at += here.n;
        if (!error && at < end) {
            piece = next_piece(columns, at, end);
            error = ask(r, number, &piece, !half);
        }
        if (error) break;
        memcpy(rows, r->shared + (half ? HALF_VALUES : 0), (size_t)here.n * sizeof *rows);
        rows += here.n;
    }
    message_clear(&answer);
    return error;
}
