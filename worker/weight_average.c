#include "worker/weight_average.h"

#include <stdlib.h>

struct weight_average {
    struct params *mean;
    int64_t steps, seen;
};

status weight_average_create(const struct params *params, int64_t steps, struct weight_average **average) {
    struct weight_average *a = calloc(1, sizeof *a);
    if (!a) return status_no_memory("averaged weights", sizeof *a);
    a->steps = steps;
    status error = params_clone(params, &a->mean);
    if (error) {
        free(a);
        return error;
    }
    *average = a;
    return SUCCESS;
}

void weight_average_destroy(struct weight_average **average) {
    if (!*average) return;
    params_destroy(&(*average)->mean);
    free(*average);
    *average = NULL;
}

void weight_average_add(struct weight_average *a, const struct params *params) {
    a->seen++;
    double share = 10.0 / (double)(9 + a->seen), least = 1.0 / (double)a->steps;
    float w = (float)(share > least ? share : least);
    float *mean = a->mean->data;
    const float *p = params->data;
    for (int64_t i = 0; i < params->total; i++) mean[i] += w * (p[i] - mean[i]);
}

struct params *weight_average_params(const struct weight_average *a) {
    return a->mean;
}

int64_t *weight_average_steps(struct weight_average *a) {
    return &a->seen;
}

void weight_average_checkpoint(struct weight_average *a, struct checkpoint *checkpoint) {
    checkpoint_add_integer(checkpoint, "averaged_steps", &a->seen);
    checkpoint_add_array(checkpoint, "average", a->mean->data, (size_t)a->mean->total);
}
