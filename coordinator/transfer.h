/* A model read from one file and written to another: import and export. */
#ifndef GODWIT_COORDINATOR_TRANSFER_H
#define GODWIT_COORDINATOR_TRANSFER_H

#include "coordinator/model_arguments.h"
#include "io/export.h"
#include "shared/log.h"

#include <stdio.h>

#define TRANSFER_MAX_SHAPES 16

/* Shapes that inputs are given, for models that take any size: of all inputs in the model's order, or none.
 */
struct input_shapes {
    int n;
    struct shape shape[TRANSFER_MAX_SHAPES]; /* the batch is unknown */
};

/* Adds a shape as it is typed, "224,224,3". USAGE error. */
status input_shapes_add(struct input_shapes *shapes, const char *text) STATUS_MUST_USE;

/* Reads MODEL, gives its inputs the shapes (NULL: none), writes it to `path` and prints one line about it on
 * `out`. Not collective. USAGE error if there are more or fewer shapes than inputs. */
status transfer_model(const struct model_arguments *model, const struct input_shapes *shapes,
                      const struct exporter *exporter, const struct export_options *options, const char *path,
                      struct log *log, FILE *out) STATUS_MUST_USE;

#endif
