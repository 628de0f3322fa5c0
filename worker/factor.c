#include "worker/factor.h"

#include "worker/directions.h"
#include <stdlib.h>
#include <string.h>

/* With a bias, which the second factor's takes up. */
static status fit_left(const struct machine *machine, const struct opgraph *graph, const struct directions *p,
                       const struct fit_options *options, float *left, struct fit_result *result) {
    float *z = NULL, *bias = NULL;
    status error = memory_alloc("outputs", (size_t)(p->rows * p->rank), sizeof *z, (void **)&z);
    if (!error) error = memory_alloc("biases", (size_t)p->rank, sizeof *bias, (void **)&bias);
    error = comm_agree(machine->world, error);
    if (!error) {
        directions_project(p, p->rows, p->data->call->y, true, machine->threads, z);
        struct fit_call call = *p->data->call;
        call.y = z;
        call.width = p->rank;
        call.outcome = (struct outcome){0};
        struct fit_data data = *p->data;
        data.call = &call;
        data.column = NULL;
        error = fit_operation(machine, graph, &data, options, left, bias, result);
    }
    free(z);
    free(bias);
    return error;
}

status factor_fit(const struct machine *machine, const struct opgraph *graph, const struct fit_data *data,
                  int64_t m, const struct fit_options *options, float *left, float *right,
                  struct fit_result *result) {
    const struct shape *out = &graph->value[data->call->op->out];
    struct directions d = {0};
    int64_t rank = out->dim[out->rank - 1], positions = shape_sample_count(out) / rank;
    status error = directions_find(machine, data, positions, m, rank, &d);
    if (!error) error = fit_left(machine, graph, &d, options, left, result);
    for (int64_t v = 0; v < rank && !error; v++)
        for (int64_t j = 0; j < m; j++) right[v * m + j] = (float)d.vector[j * rank + v];
    directions_free(&d);
    return error;
}
