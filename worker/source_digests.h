/* Digests of a source's tensors, by which those that have changed are told. */
#ifndef GODWIT_WORKER_SOURCE_DIGESTS_H
#define GODWIT_WORKER_SOURCE_DIGESTS_H

#include "io/keras.h"
#include "worker/machine.h"

struct source_digests {
    int n;       /* of tensors: parameters as graph_lower() numbers them */
    char **text; /* [n] SHA-256 of the values as float32, owned */
};

/* Reads the whole source, each rank its part of the tensors, some at a time. Collective; the same on every
 * rank. Errors: those of the file. */
status source_digests_create(const struct machine *machine, struct keras_file *file,
                             const struct graph *graph, struct source_digests *digests) STATUS_MUST_USE;
void source_digests_free(struct source_digests *digests);

#endif
