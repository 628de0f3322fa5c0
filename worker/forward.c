#include "worker/forward.h"

#include <stdlib.h>
#include <string.h>

struct forward {
    const struct comm *world;
    struct exec *exec;
    int64_t batch, sample; /* samples at a time, floats of a sample */
    float *x;              /* (batch, sample) */
};

status forward_create(const struct machine *machine, const struct opgraph *graph, struct params *params,
                      int64_t batch, struct forward **forward) {
    if (graph->ninputs != 1)
        return status_fail(STATUS_UNSUPPORTED, "the model has %d inputs; data sets give one", graph->ninputs);
    struct forward *f = calloc(1, sizeof *f);
    if (!f) return status_no_memory("a forward pass", sizeof *f);
    f->world = machine->world;
    f->batch = batch;
    f->sample = shape_sample_count(&graph->value[graph->input[0]]);
    struct exec_options options = machine_forward_options(machine, batch);
    status error = memory_alloc("a batch", (size_t)(batch * f->sample), sizeof(float), (void **)&f->x);
    if (!error) error = machine->engine->compile(graph, &options, &f->exec);
    if (!error) error = exec_set_params(f->exec, params);
    if (error) {
        forward_destroy(&f);
        return error;
    }
    *forward = f;
    return SUCCESS;
}

void forward_destroy(struct forward **forward) {
    if (!*forward) return;
    exec_destroy(&(*forward)->exec);
    free((*forward)->x);
    free(*forward);
    *forward = NULL;
}

status forward_samples(struct forward *f, struct dataset *dataset, enum dataset_part part,
                       const int64_t *index, int64_t n, int32_t *label) {
    struct batch_request request = {.part = part, .index = index, .n = n};
    comm_alive(f->world);
    STATUS_TRY(dataset_read(dataset, &request, f->x, label));
    for (int64_t i = n; i < f->batch; i++)
        memcpy(f->x + i * f->sample, f->x + (n - 1) * f->sample, (size_t)f->sample * sizeof(float));
    return exec_forward(f->exec, (const float *const[]){f->x});
}

status forward_inputs(struct forward *f, const float *x, int64_t n) {
    comm_alive(f->world);
    if (n == f->batch) return exec_forward(f->exec, (const float *const[]){x});
    memcpy(f->x, x, (size_t)(n * f->sample) * sizeof(float));
    for (int64_t i = n; i < f->batch; i++)
        memcpy(f->x + i * f->sample, x + (n - 1) * f->sample, (size_t)f->sample * sizeof(float));
    return exec_forward(f->exec, (const float *const[]){f->x});
}

const float *forward_output(const struct forward *f, int i) {
    return exec_output(f->exec, i);
}
