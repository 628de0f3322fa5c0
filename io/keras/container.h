/* Containers: the files and folders that Keras models come in. Internal to io/keras.
 *
 * To add one: a file io/keras/container_<name>.c that defines `const struct container_kind container_<name>`,
 * and a line in io/keras/container.c. A container only finds things: the topology's text, and where the bytes
 * of each weight are. It does so in a child process (reader.c), which may crash; keras_open() (keras.c) reads
 * what lies in files as float32; what has to be decoded it asks the child for. */
#ifndef GODWIT_IO_KERAS_CONTAINER_H
#define GODWIT_IO_KERAS_CONTAINER_H

#include "io/keras.h"
#include "io/keras/topology.h"

struct place {          /* of one weight */
    char *path;         /* owned; where in the container, for messages */
    struct shape shape; /* of the weight, as the topology has it */
    size_t size;        /* bytes that one element takes in the file */
    int file;           /* if offset >= 0: number in places->file */
    int64_t offset; /* there its values lie, in its shape, row-major, as little-endian float32; -1: they have
                       to be decoded, see container_kind.read */
};

/* Where a container keeps each weight of a graph. */
struct places {
    int n, nlayers;
    struct place *place; /* [n], layer by layer, weight by weight */
    int *first;          /* [nlayers + 1] first place of each layer */
    int nfiles;
    char **file; /* [nfiles], owned: paths */
};

/* Empty places (path NULL, offset -1), of the shapes that an inferred graph says. */
status places_create(const struct graph *graph, struct places *places) STATUS_MUST_USE;
/* Number of a file; added if it is new. */
status places_file(struct places *places, const char *path, int *file) STATUS_MUST_USE;
void places_clear(struct places *places);

struct container {
    const struct container_kind *kind;
    char *path;          /* owned */
    int fd;              /* the file or folder of that path, open for reading; borrowed */
    char *config;        /* owned: the topology's JSON text; NULL: it has none */
    int keras_version;   /* major version of the Keras that wrote the topology, 0 if not known */
    char *preprocessing; /* owned: JSON, NULL: none */
    void *state;         /* of the kind */
};

struct container_kind {
    const char *name;        /* "h5" */
    const char *description; /* for the list of what can be read: "whole-model HDF5 (.h5, .hdf5)" */

    /* Is it of this kind, by what is in it? `head` are the first n bytes of a file, n at most
     * CONTAINER_HEAD_BYTES; of a folder, n is 0 and head is NULL. */
    bool (*recognise)(const char *path, const unsigned char *head, size_t n);

    /* Opens c->path; fills in config, keras_version, preprocessing and state. On an error, close is called
     * too. */
    status (*open)(struct container *c, const struct keras_options *options);

    /* Finds the weights of an inferred graph and checks shape and type of each. `places` are as places_create
     * makes them. DATA error naming the weight that is missing, or of another shape or type than the topology
     * says. */
    status (*locate)(struct container *c, const struct topology *topology, struct places *places);

    /* Rows [first, first + nrows) of the weight of a place that has no offset, seen as a matrix whose columns
     * are the last axis of its shape. Values need not be finite: that is checked by the caller. Errors in
     * words that follow the weight's name. */
    status (*read)(struct container *c, const struct place *place, int number, int64_t first, int64_t nrows,
                   float *rows);

    void (*close)(struct container *c); /* frees state; it may be NULL, or half filled in */
};

#define CONTAINER_HEAD_BYTES 4096

/* Number of a kind, and kind of a number; NULL if there is none. */
int container_number(const struct container_kind *kind);
const struct container_kind *container_kind(int number);

/* Opens a model of any kind: `fd` is `path`, open for reading as long as the container is. Errors: IO (cannot
 * read), DATA (no kind recognises it: lists what can be read; or damaged). */
status container_open(const char *path, int fd, const struct keras_options *options,
                      struct container *c) STATUS_MUST_USE;
void container_close(struct container *c); /* accepts one that is zero */

/* The topology alone of `path`: a JSON file, or a container. `*json` is owned, *keras_version as in struct
 * container. Errors name the path. */
status container_topology(const char *path, char **json, int *keras_version) STATUS_MUST_USE;

#endif
