/* What models can be written as. One exporter is one line of the table in io/export.c. */
#ifndef GODWIT_IO_EXPORT_H
#define GODWIT_IO_EXPORT_H

#include "io/model.h"

struct export_options {
    bool weights_beside; /* C: weights in a file of their own */
};

struct exporter {
    const char *name;        /* of --format: "h5" */
    const char *extensions;  /* of files: ".h5|.hdf5" */
    const char *description; /* "whole-model HDF5" */
    /* Writes the model, complete or absent. */
    status (*write)(const char *path, const struct model *model, const struct export_options *options);
    /* Who loads what write() writes and computes the same: "Keras 2 and Keras 3"; static. */
    status (*readers)(const struct graph *graph, const char **text);
};

int exporter_count(void);
const struct exporter *exporter_at(int i);

/* By name, or, if `name` is NULL, by the extension of `path`. USAGE error that lists what there is. */
status exporter_find(const char *name, const char *path, const struct exporter **exporter) STATUS_MUST_USE;

#endif
