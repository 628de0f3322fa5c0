/* A model read from one file and written to another: import and export. */
#ifndef GODWIT_COORDINATOR_TRANSFER_H
#define GODWIT_COORDINATOR_TRANSFER_H

#include "coordinator/model_arguments.h"
#include "io/export.h"
#include "shared/log.h"

#include <stdio.h>

/* Reads MODEL, writes it to `path` and prints one line about it on `out`. Not collective. */
status transfer_model(const struct model_arguments *model, const struct exporter *exporter, const char *path,
                      struct log *log, FILE *out) STATUS_MUST_USE;

#endif
