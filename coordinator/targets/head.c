/* Head: another number of classes, for a task that the source does not have: the last layer with weights gets
 * so many outputs, and starts anew. It learns from labels alone. */
#include "coordinator/target_kind.h"

/* The Dense or convolution that the output comes from, nothing but layers without weights between; -1: there
 * is none. */
static int find_head(const struct graph *g) {
    int node = g->noutputs == 1 ? g->output[0].node : -1;
    while (node >= 0) {
        const struct layer *layer = &g->layer[g->node[node].layer];
        if (layer->kind->affine && layer->kind->set_width) return node;
        node = layer->nweights || g->node[node].nin != 1 ? -1 : g->node[node].in[0].node;
    }
    return -1;
}

static status edit(const struct target_config *config, const struct graph *folded, struct edit *edit) {
    if (config->head == 0) return SUCCESS;
    int node = find_head(folded);
    if (node < 0)
        return status_fail(STATUS_UNSUPPORTED,
                           "target.head: the model's output does not come from one Dense or convolution");
    edit[node] = (struct edit){.kind = EDIT_RENEW, .width = config->head};
    return SUCCESS;
}

const struct target_kind target_head = {.edit = edit};
