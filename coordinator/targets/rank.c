/* Rank: kernels of Dense, of plain and (the pointwise ones) of separable convolutions as products of two,
 * where that has fewer parameters: a factor on the rank of the kernel as a matrix of window times input
 * channels by output channels; and others for some layers: "ranks": ["conv_3 16", "conv_4 0.25"], a rank or a
 * factor below 1. */
#include "coordinator/target_kind.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int calls(const struct graph *g, int layer) {
    int n = 0;
    for (int i = 0; i < g->nnodes; i++) n += g->node[i].layer == layer;
    return n;
}

static bool can_be_factored(const struct graph *g, int layer, int64_t *rows, int64_t *columns) {
    return skeleton_factors(&g->layer[layer], rows, columns) && calls(g, layer) == 1;
}

static int64_t rank_of(double setting, int64_t rows, int64_t columns) {
    int64_t full = rows < columns ? rows : columns;
    int64_t rank = setting < 1 ? llround(setting * (double)full) : llround(setting);
    return rank < 1 ? 1 : rank;
}

/* "name number" */
static status parse(const char *text, char **name, double *number) {
    const char *space = strrchr(text, ' ');
    char *end = NULL;
    *number = space ? strtod(space + 1, &end) : 0;
    if (!space || space == text || end == space + 1 || *end || !(*number > 0) ||
        (*number >= 1 && *number != floor(*number)))
        return status_fail(
            STATUS_USAGE,
            "target.ranks: \"%.80s\" is no layer's name, a space and a rank or a factor below 1", text);
    *name = strndup(text, (size_t)(space - text));
    return *name ? SUCCESS : status_no_memory("a name", strlen(text));
}

static bool counts(const struct graph *g, int layer) {
    int64_t rows, columns;
    return can_be_factored(g, layer, &rows, &columns);
}

static status cannot(const struct graph *folded, const char *name) {
    const char *near = graph_nearest_layer(folded, counts, name);
    return status_fail(STATUS_USAGE,
                       "target.ranks: \"%.80s\" is no Dense or convolution that can be factored%s%s%s", name,
                       near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static status factor_one(const char *text, const struct graph *folded, struct edit *edit) {
    char *name = NULL;
    double number;
    int64_t rows, columns;
    STATUS_TRY(parse(text, &name, &number));
    int layer = graph_find_layer(folded, name);
    status error =
        layer >= 0 && can_be_factored(folded, layer, &rows, &columns) ? SUCCESS : cannot(folded, name);
    int64_t rank = error ? 0 : rank_of(number, rows, columns);
    if (!error && (rank > rows || rank > columns))
        error = status_fail(STATUS_USAGE, "target.ranks: the kernel of \"%s\" has rank %lld at most", name,
                            (long long)(rows < columns ? rows : columns));
    if (!error) edit[graph_layer_node(folded, layer)] = (struct edit){.kind = EDIT_FACTOR, .width = rank};
    free(name);
    return error;
}

static void factor_all(double factor, const struct graph *folded, struct edit *edit) {
    for (int i = 0; i < folded->nnodes; i++) {
        int64_t rows, columns;
        if (edit[i].kind != EDIT_KEEP || !can_be_factored(folded, folded->node[i].layer, &rows, &columns))
            continue;
        int64_t rank = rank_of(factor, rows, columns);
        if (rank * (rows + columns) < rows * columns)
            edit[i] = (struct edit){.kind = EDIT_FACTOR, .width = rank};
    }
}

static status edit(const struct target_config *config, const struct graph *folded, struct edit *edit) {
    for (int i = 0; i < config->nranks; i++) STATUS_TRY(factor_one(config->ranks[i], folded, edit));
    if (config->rank > 0 && config->rank < 1) factor_all(config->rank, folded, edit);
    return SUCCESS;
}

const struct target_kind target_rank = {.edit = edit};
