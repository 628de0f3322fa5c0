#include "worker/energy.h"

#include "worker/activations.h"
#include "worker/directions.h"

#include <stdlib.h>

static int64_t directions_holding(const struct directions *d, double energy) {
    double all = 0, sum = 0;
    int64_t rank = 0;
    for (int64_t j = 0; j < d->m; j++) all += d->variance[j];
    while (rank < d->m && sum < energy * all) sum += d->variance[rank++];
    return rank < 1 ? 1 : rank;
}

static status measure(const struct machine *machine, const struct opgraph *graph, const struct calibration *c,
                      struct activations *activations, int value, double energy, int64_t *rank) {
    const struct shape *shape = &graph->value[value];
    int64_t m = shape->dim[shape->rank - 1], positions = shape_sample_count(shape) / m;
    struct directions d = {0};
    float *y = NULL;
    status error = activations_compute(activations, value, &y);
    error = comm_agree(machine->world, error);
    struct fit_call call = {.y = y, .width = m};
    struct fit_data data = {.ncalls = 1,
                            .call = &call,
                            .n = c->n,
                            .total = c->total,
                            .block = CALIBRATION_BLOCK,
                            .first = c->first};
    if (!error) error = directions_find(machine, &data, positions, m, 1, &d);
    if (!error) *rank = directions_holding(&d, energy);
    directions_free(&d);
    free(y);
    return error;
}

status energy_ranks(const struct machine *machine, const struct opgraph *graph, struct params *params,
                    const struct calibration *c, double energy, int n, const int *value, int64_t *rank) {
    struct activations *activations = NULL;
    status error = activations_create(machine, graph, params, c->x, c->n, CALIBRATION_BLOCK, &activations);
    error = comm_agree(machine->world, error);
    for (int i = 0; i < n && !error; i++) {
        int maker = opgraph_producer(graph, value[i]);
        error = comm_agree(machine->world, activations_advance(activations, maker));
        if (!error) error = measure(machine, graph, c, activations, value[i], energy, &rank[i]);
    }
    activations_destroy(&activations);
    return error;
}
