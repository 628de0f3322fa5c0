/* Where a file keeps each weight of a graph. Internal to io/keras. */
#ifndef GODWIT_IO_KERAS_LOCATE_H
#define GODWIT_IO_KERAS_LOCATE_H

#include "io/keras/topology.h"
#include "io/keras/hdf5.h"

struct place {
    char *path; /* owned, from the group that has "layer_names" */
    struct shape shape;
    size_t size; /* bytes of one element in the file */
};

struct places {
    int n, nlayers;
    struct place *place; /* [n], layer by layer, weight by weight */
    int *first;          /* [nlayers + 1] */
};

/* Finds and checks all weights of an inferred graph below `root`, the group with "layer_names". DATA error
 * naming the weight that is missing, or of another shape or type than the topology says. */
status locate_weights(int64_t root, const struct topology *topology, struct places *places) STATUS_MUST_USE;
void places_clear(struct places *places);

#endif
