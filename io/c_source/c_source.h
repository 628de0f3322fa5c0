/* Models as C: one file of C99 that computes one sample, needs <math.h> and <string.h> and allocates nothing.
 */
#ifndef GODWIT_IO_C_SOURCE_C_SOURCE_H
#define GODWIT_IO_C_SOURCE_C_SOURCE_H

#include "io/model.h"

/* Weights are in the file, as constants; with `weights_beside` in a binary file instead, whose name is that
 * of `path` with .weights in the place of .c, float32 as this machine has them. Files are complete or absent.
 * Errors: IO, MEMORY, UNSUPPORTED naming the layer, for inputs whose dimensions are not known too. */
status c_source_write(const char *path, const struct model *model, bool weights_beside) STATUS_MUST_USE;

/* Who computes what it writes: for struct exporter. */
status c_source_readers(const struct graph *graph, const char **text) STATUS_MUST_USE;

#endif
