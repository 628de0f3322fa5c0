/* Keras models on disk: topology and weights in legacy whole-model HDF5 (.h5, .hdf5), Keras 2 and Keras 3.
 * Format: keras/src/legacy/saving/legacy_h5_format.py (Keras 3), tf_keras/saving/legacy/hdf5_format.py
 * (Keras 2). Nothing here is collective. Layers are read and written from their attribute tables. */
#ifndef GODWIT_IO_KERAS_H
#define GODWIT_IO_KERAS_H

#include "io/keras/problems.h"
#include "shared/graph.h"

struct keras_file;

/* What a file does not say itself. */
struct keras_options {
    const char *topology; /* JSON file with the topology of a file that has weights only; NULL: none */
    const char *aliases;  /* JSON file that says which known layers custom classes stand for; NULL: none */
    struct problems *unsupported; /* NULL: what is unsupported is an error. Else it is put here, and the model
                                     can be looked at: unknown layers have placeholders in the graph, shapes
                                     are inferred as far as known (graph_infer_known), and if there is any, no
                                     weight is located nor can be read */
};

/* Opens a model and reads its topology; weights are located and their shapes and dtypes checked against the
 * topology, not read. `options` may be NULL. `graph` is inferred and owned by the caller; the file must be
 * closed. Errors: IO (cannot open), DATA (not HDF5, truncated, no model_config, missing weight, shape or
 * dtype that disagrees: names the tensor), UNSUPPORTED (all unknown layers and options at once). */
status keras_open(const char *path, const struct keras_options *options, struct keras_file **file,
                  struct graph **graph) STATUS_MUST_USE;
void keras_close(struct keras_file **file);

/* For a graph opened with options.unsupported: puts there what turns out to be unsupported when the graph is
 * lowered, and passes over layers that are there already. */
struct graph_tolerance keras_tolerance(struct problems *problems);

/* What the model is kept in: "whole-model HDF5 (.h5, .hdf5)". Static. */
const char *keras_container(const struct keras_file *file);

/* Class of a layer; of a placeholder for an unknown one, what the file says. */
const char *keras_class_name(const struct layer *layer);

/* Reads all weights, converted to float32, into params numbered as graph_lower() numbers them.
 * DATA error naming the tensor if a value is NaN or infinite. */
status keras_read_params(struct keras_file *file, struct params *params) STATUS_MUST_USE;

/* Reads rows [first, first + nrows) of one weight seen as a matrix whose columns are its last axis: a
 * hyperslab. `rows` has room for nrows * columns floats. Same NaN check. */
status keras_read_rows(struct keras_file *file, int layer, int weight, int64_t first, int64_t nrows,
                       float *rows) STATUS_MUST_USE;

/* Bytes of weights read from the file so far. */
int64_t keras_bytes_read(const struct keras_file *file);

/* A model being written, in any order of rows, to a temporary name beside `path`; keras_writer_commit syncs
 * it and renames it to `path`. `layer` and `weight` count in `graph`, which must be inferred and is copied as
 * far as needed. Loads in Keras 2 and Keras 3: written in the Keras 2 dialect that both read, layers in the
 * order that Keras derives from the graph (it assigns weights by order alone), so that a graph read back may
 * number its layers otherwise; layers that no output needs are left out. Which Keras the layers mean is kept
 * as root attribute "godwit_keras_version". `preprocessing`, if not NULL, is a JSON text kept as root
 * attribute "godwit_preprocessing". Errors: IO (folder, full disk: nothing is left behind), DATA for a value
 * that is NaN or infinite, INTERNAL for rows that do not exist or, at the commit, were not written. */
struct keras_writer;
status keras_writer_create(const char *path, const struct graph *graph, const char *preprocessing,
                           struct keras_writer **writer) STATUS_MUST_USE;
status keras_writer_rows(struct keras_writer *writer, int layer, int weight, int64_t first, int64_t nrows,
                         const float *rows) STATUS_MUST_USE;
status keras_writer_commit(struct keras_writer **writer) STATUS_MUST_USE;
void keras_writer_abandon(struct keras_writer **writer); /* removes the temporary file; accepts NULL */

/* Where the values of a weight go in a file that is laid out: row-major, little-endian. */
struct keras_place {
    int64_t offset; /* of the first; -1: nowhere, no output needs the layer or there are no values */
    bool counts;    /* they are int64; else float32 */
};

/* Writes at `path` the file that keras_write would, byte for byte, but for the values: its size, and space on
 * the disk for all of it. place: [weights of the graph], layer by layer. Whoever calls it writes the values,
 * and gives the file its name. Errors: IO (a full disk too: the file is left, and is the caller's). */
status keras_lay_out(const char *path, const struct graph *graph, const char *preprocessing,
                     struct keras_place *place) STATUS_MUST_USE;

/* Who loads that file and computes the same: "Keras 2 and Keras 3", or one of them alone, where a layer has
 * no form that both read or means another thing in the other; *text is static. */
status keras_readers(const struct graph *graph, const char **text) STATUS_MUST_USE;

/* The whole model at once. */
status keras_write(const char *path, const struct graph *graph, const struct params *params,
                   const char *preprocessing) STATUS_MUST_USE;
/* The same as Keras 3's archive (.keras), which only Keras 3 loads. UNSUPPORTED too, for what Keras 3
 * computes otherwise than this model. */
status keras_write_archive(const char *path, const struct graph *graph, const struct params *params,
                           const char *preprocessing) STATUS_MUST_USE;

/* Root attribute "godwit_preprocessing", owned; NULL if there is none. */
status keras_read_preprocessing(struct keras_file *file, char **json) STATUS_MUST_USE;

/* A topology alone, as JSON text (Keras's model.to_json(), or the "model_config" of a file). */
status keras_graph_from_json(const char *json, struct graph **graph) STATUS_MUST_USE;
/* Text of `length` bytes that need not end in NUL; `options` (may be NULL) as keras_open has them. */
status keras_graph_from_text(const char *text, size_t length, const struct keras_options *options,
                             struct graph **graph) STATUS_MUST_USE;
/* Of an inferred graph; layers that no output needs are left out. */
status keras_graph_to_json(const struct graph *graph, char **json) STATUS_MUST_USE;

#endif
