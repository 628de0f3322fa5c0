/* How channels pass through a graph, so that coupled channels are chosen together.
 *
 * Every position on the last axis of every node's output carries an *atom*, one channel of some producer.
 * Layers make fresh atoms (Conv2D), pass them on (pooling), tie them (Add), line them up (Concatenate) or
 * repeat them (Flatten, depthwise). Atoms that have been tied form a class; classes made by the same
 * producers form a group. A group is pruned as one; what must be kept whole is fixed. Computed from each
 * layer kind's own rule (layer_kind.channels). A layer may have channels inside, which no output carries. */
#ifndef GODWIT_SHARED_CHANNELS_H
#define GODWIT_SHARED_CHANNELS_H

#include "shared/graph.h"

struct channel_map;

/* What layer_kind.channels() gets for one node. */
struct channels {
    struct channel_map *map;
    int nin;
    const struct shape *in;    /* [nin] */
    const struct shape *out;   /* first output */
    const int *const *in_atom; /* [nin][last dimension of in] */
    int *out_atom;             /* [last dimension of out], to be filled */
    int node;
};

/* Fresh atoms on the output: this layer decides how many there are. */
status channels_fresh(struct channels *c) STATUS_MUST_USE;
/* The same, but the output is kept whole (a softmax over it needs all); inputs are free. */
status channels_fresh_whole(struct channels *c) STATUS_MUST_USE;
/* The output carries the atoms of the first input that is as wide as it; further inputs of the same width are
 * tied to them. Narrower inputs (broadcast) are kept whole. */
status channels_same(struct channels *c) STATUS_MUST_USE;
/* The output's atoms are those of the inputs, one input after the other. */
status channels_concat(struct channels *c) STATUS_MUST_USE;
/* Output position i carries the atom of input position i % C (Flatten of ...,C) ... */
status channels_tile(struct channels *c) STATUS_MUST_USE;
/* ... or of input position i / (out/C) (depthwise multiplier). */
status channels_repeat(struct channels *c) STATUS_MUST_USE;
/* So many channels inside the layer besides, which it makes and reads itself: heads of attention. */
status channels_inner(struct channels *c, int n) STATUS_MUST_USE;
/* Keeps one input whole. */
void channels_keep(struct channels *c, int input);
/* Cannot be pruned: inputs and output are kept whole. */
status channels_fix(struct channels *c) STATUS_MUST_USE;

/* The whole graph's channels. Inputs and outputs of the graph are fixed. */
status channel_map_create(const struct graph *graph, struct channel_map **map) STATUS_MUST_USE;
void channel_map_destroy(struct channel_map **map);

int channel_map_groups(const struct channel_map *map);
bool channel_map_fixed(const struct channel_map *map, int group);
int channel_map_width(const struct channel_map *map, int group); /* number of classes */

/* Per position on the last axis of a node's output: group and class within the group. Borrowed, [width]. */
struct channel {
    int group, index;
};
const struct channel *channel_map_of(const struct channel_map *map, int node, int *width);
/* The same of the channels inside the node; *width is 0 if there are none. They are all of their group, in
 * order, which has none of any output. */
const struct channel *channel_map_inner(const struct channel_map *map, int node, int *width);
/* The group whose classes are, in order, the node's channels, or those inside it; -1 if there is none. */
int channel_map_whole(const struct channel_map *map, int node, bool inner);

#endif
