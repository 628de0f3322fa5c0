/* Skeleton: the target before its layers are narrowed. The folded source's graph, in which target kinds have
 * left out nodes or put other layers in the place of one; or a given topology, whose layers stand for those
 * of the source that they were matched with (topology_match.h). */
#ifndef GODWIT_COORDINATOR_SKELETON_H
#define GODWIT_COORDINATOR_SKELETON_H

#include "coordinator/fold.h"
#include "shared/plan.h"

/* What becomes of a node of the folded source. */
struct edit {
    enum {
        EDIT_KEEP,
        EDIT_BYPASS,   /* its readers read its input `input` instead */
        EDIT_FACTOR,   /* its layer becomes two of them, with `width` channels between */
        EDIT_SEPARATE, /* its convolution becomes a separable one, with the multiplier `width` */
        EDIT_RENEW     /* its layer starts anew, with `width` outputs */
    } kind;
    int input;
    int64_t width;
};

/* What a layer of the skeleton is of one of the folded source. */
enum skeleton_part {
    PART_WHOLE,
    PART_LEFT,      /* the first of two factors: the kernel's own window, no bias, no activation */
    PART_RIGHT,     /* the second: one position wide; has the name, the bias and the activation */
    PART_SEPARABLE, /* the separable convolution for it */
    PART_FITTED,    /* of a given topology: starts anew, and is fitted to outputs of the source's layer, if it
                       stands for one, or else in sweeps */
    PART_REPEATED,  /* likewise, but starts as the identity: the layer before it stands for the same */
    PART_PROJECTED, /* likewise, to projections of its outputs */
    PART_NEW        /* of another task: nothing of the source's weights */
};

struct skeleton {
    const struct fold *fold;  /* borrowed */
    struct graph *graph;      /* owned, inferred */
    bool edited;              /* it is not the folded graph */
    int *folded_layer;        /* [graph->nlayers] the layer it comes from; -1: none */
    enum skeleton_part *part; /* [graph->nlayers] */
    int64_t *rank;            /* [graph->nlayers] of factors; the multiplier of a separable convolution */
    int *origin; /* [graph->nnodes] the folded source's node of the same meaning; -1: there is none, before a
                    second factor and from a new layer on */
    int *twin;   /* [graph->nnodes] the folded source's node whose layer computes the same before its
                    activation, perhaps with other channels; -1: none */
    int64_t *given; /* [graph->nnodes] channels that the topology has there; NULL: no topology was given */
    int64_t *given_inner; /* likewise, inside the nodes */
};

/* `edit` [nodes of the folded graph]. UNSUPPORTED for a factor of what is no Dense or plain convolution, and
 * for a separable form of what has none. */
status skeleton_create(const struct fold *fold, const struct edit *edit,
                       struct skeleton **skeleton) STATUS_MUST_USE;
/* The same for a given graph, inferred: its foldable batch norms are folded, its layers matched with the
 * source's (coordinator/topology_match.h) and made as wide as these where that can be; `given` says how wide
 * they were. USAGE error if it takes or gives other tensors than the source. */
status skeleton_of_topology(const struct fold *fold, const struct graph *topology,
                            struct skeleton **skeleton) STATUS_MUST_USE;
void skeleton_destroy(struct skeleton **skeleton);

/* Room for so many layers and nodes, nothing known of them yet. Internal to coordinator/skeleton*.c. */
status skeleton_alloc(const struct fold *fold, int nlayers, int nnodes,
                      struct skeleton **skeleton) STATUS_MUST_USE;

/* The kernel that makes a layer's outputs, the last if there are several (of separable convolutions); -1:
 * none. */
int skeleton_kernel(const struct layer *layer);

/* Can the layer be factored? That kernel is then a matrix of so many rows and columns. Of a separable
 * convolution the first factor is one too, the second an ordinary convolution. */
bool skeleton_factors(const struct layer *layer, int64_t *rows, int64_t *columns);

/* The separable kind that can stand for a layer, a plain convolution with a window; NULL: there is none. */
const struct layer_kind *skeleton_separable(const struct layer *layer);

/* A weight of one of its layers, of full width, from the source's tensors; owned by the caller, on failure
 * too.
 */
status skeleton_weight(const struct skeleton *skeleton, const struct plan *plan, int layer, int weight,
                       struct expr **expr) STATUS_MUST_USE;

/* A weight of the folded source, likewise: its batch norm folded in. */
status folded_weight(const struct fold *fold, const struct plan *plan, int layer, int weight,
                     struct expr **expr) STATUS_MUST_USE;

#endif
