/* Scopes to one graph: models inside models are flattened, operations become layers. Internal to io/keras. */
#ifndef GODWIT_IO_KERAS_TOPOLOGY_BUILD_H
#define GODWIT_IO_KERAS_TOPOLOGY_BUILD_H

#include "io/keras/topology.h"
#include "io/keras/topology_scope.h"

#define TOPOLOGY_MAX_EDGES (1 << 20) /* inputs of all calls together */

struct topology_builder {
    struct topology *topology;
    const struct topology_reading *reading;
    void *names;        /* those taken: a search tree */
    int room;           /* of topology->top_of and group */
    int ncalls, nedges; /* made so far, calls of models among them */
};

/* Where a layer is, before its model is flattened. */
struct topology_position {
    int top;            /* the outermost layer it belongs to */
    const char *group;  /* in .weights.h5; copied */
    const char *prefix; /* before its name, if that is taken */
    bool keeps_name;    /* it is itself an outermost layer */
};

/* Adds a layer to the graph, moved from *layer on failure too; its number goes to *index. */
status topology_add_layer(struct topology_builder *builder, struct layer *layer,
                          const struct topology_position *position, int *index) STATUS_MUST_USE;

/* Moves all layers of a scope, and of those inside it, to the graph (topology_layers.c). */
status topology_add_layers(struct topology_builder *builder, struct topology_scope *scope) STATUS_MUST_USE;

/* Makes all calls of a scope whose layers have been added (topology_nodes.c). */
status topology_add_nodes(struct topology_builder *builder,
                          const struct topology_scope *scope) STATUS_MUST_USE;

void topology_builder_clear(struct topology_builder *builder); /* not the topology */

#endif
