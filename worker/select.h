/* Which channels the target keeps: coupled channels are chosen together, by what they are worth to the next
 * layer. */
#ifndef GODWIT_WORKER_SELECT_H
#define GODWIT_WORKER_SELECT_H

#include "shared/channels.h"
#include "worker/calibration.h"

struct selection {
    const char *method;                    /* "next_layer", "norm", "first" */
    const struct calibration *calibration; /* of next_layer */
    const struct graph *graph;             /* the source, batch norms folded, that `map` belongs to */
    const struct opgraph *ops;             /* its operations */
    const int *value_of;                   /* [graph->nnodes] value of each node's output */
    struct params *params;
    double *const *norm; /* NULL, or for each group that is chosen from [width] its kernel norms (see
                            worker/kernel_norm.h): then "norm" and "first" need no params and no samples */
    const struct channel_map *map;
    const int *kept; /* [groups] classes to keep of each group */
    double **error;  /* NULL, or for each group NULL or room for kept + 1 numbers: what keeping 0, 1, ... of
                        its  classes costs in squared errors of the next layers, each relative to its own
                        outputs; where  that cannot be measured, it falls evenly from 1 to 0 */
};

/* Chooses classes for every group with kept[group] less than its width: chosen[group] (owned by the caller,
 * [kept[group]] ascending), NULL for the others. `chosen` has room for all groups. Collective; the same on
 * every rank.
 *
 * next_layer: greedily the class whose columns most reduce the squared error of the next layers' source
 * outputs, by block Cholesky downdates of the Gram matrix of the source's patches (group orthogonal matching
 * pursuit, Swirszcz, Abe, Lozano 2009); several readers' errors are added, each relative to its own outputs.
 * Groups are chosen from the last to the first, so that of the next layer only the outputs count that are
 * kept of it. norm: the largest kernels. first: the first ones. */
status select_channels(const struct machine *machine, const struct selection *selection,
                       int64_t **chosen) STATUS_MUST_USE;

#endif
