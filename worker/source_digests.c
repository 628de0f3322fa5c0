#include "worker/source_digests.h"

#include "io/digest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE ((int64_t)1 << 20) /* values read at once */

/* *sum becomes the digest of itself and the piece's. */
static status add_piece(const float *piece, int64_t n, char **sum) {
    char *part = NULL, *both = NULL, *next = NULL;
    STATUS_TRY(bytes_digest(piece, (size_t)n * sizeof *piece, &part));
    if (asprintf(&both, "%s%s", *sum, part) < 0) both = NULL;
    status error =
        both ? bytes_digest(both, strlen(both), &next) : status_no_memory("a digest", strlen(*sum));
    free(part);
    free(both);
    if (error) return error;
    free(*sum);
    *sum = next;
    return SUCCESS;
}

static status digest_tensor(struct keras_file *file, int layer, int weight, const struct shape *shape,
                            char **text) {
    int64_t rows, columns;
    float *piece = NULL;
    shape_rows(shape, &rows, &columns);
    int64_t step = columns < PIECE ? PIECE / (columns > 0 ? columns : 1) : 1;
    *text = strdup("");
    if (!*text) return status_no_memory("a digest", 1);
    STATUS_TRY(memory_alloc("a piece of a tensor", (size_t)(step * columns), sizeof *piece, (void **)&piece));
    status error = SUCCESS;
    for (int64_t first = 0; first < rows && !error; first += step) {
        int64_t n = rows - first < step ? rows - first : step;
        error = keras_read_rows(file, layer, weight, first, n, piece);
        if (!error) error = add_piece(piece, n * columns, text);
    }
    free(piece);
    return error;
}

static status digest_mine(const struct machine *machine, struct keras_file *file, const struct graph *graph,
                          char **mine) {
    for (int l = 0, p = 0; l < graph->nlayers; l++)
        for (int w = 0; w < graph->layer[l].nweights; w++, p++)
            if (p % comm_size(machine->world) == comm_rank(machine->world))
                STATUS_TRY(digest_tensor(file, l, w, &graph->layer[l].weight[w].shape, &mine[p]));
    return SUCCESS;
}

status source_digests_create(const struct machine *machine, struct keras_file *file,
                             const struct graph *graph, struct source_digests *digests) {
    const struct comm *world = machine->world;
    *digests = (struct source_digests){0};
    for (int l = 0; l < graph->nlayers; l++) digests->n += graph->layer[l].nweights;
    char **mine = calloc((size_t)digests->n + 1, sizeof *mine);
    digests->text = calloc((size_t)digests->n + 1, sizeof *digests->text);
    status error = mine && digests->text ? digest_mine(machine, file, graph, mine)
                                         : status_no_memory("digests", (size_t)digests->n * sizeof *mine);
    error = comm_agree(world, error);
    for (int p = 0; p < digests->n && !error; p++)
        error = comm_bcast_text(world, p % comm_size(world), mine[p], &digests->text[p]);
    for (int p = 0; mine && p < digests->n; p++) free(mine[p]);
    free(mine);
    if (error) source_digests_free(digests);
    return error;
}

void source_digests_free(struct source_digests *digests) {
    for (int p = 0; digests->text && p < digests->n; p++) free(digests->text[p]);
    free(digests->text);
    *digests = (struct source_digests){0};
}
