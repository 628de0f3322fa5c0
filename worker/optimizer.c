#include "worker/optimizer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct optimizer {
    struct optimizer_config config;
    bool adamw;
    int threads;
    int64_t step;
    int64_t n;     /* floats of the trainable range */
    float *first;  /* [n] momentum, or first moment */
    float *second; /* [n] second moment; NULL for sgd */
    float *decay;  /* [n] 1 where weight decay acts, else 0 */
    float *moves;  /* [n] 1 where weights may change, else 0 */
};

status optimizer_create(const struct optimizer_config *config, const struct opgraph *graph,
                        const struct params *params, int threads, struct optimizer **optimizer) {
    struct optimizer *o = calloc(1, sizeof *o);
    if (!o) return status_no_memory("the optimizer", sizeof *o);
    o->config = *config;
    o->adamw = !strcmp(config->kind, "adamw");
    o->threads = threads;
    o->n = params->ntrainable;
    status error = memory_alloc("the optimizer", (size_t)o->n, sizeof(float), (void **)&o->first);
    if (!error && o->adamw)
        error = memory_alloc("the optimizer", (size_t)o->n, sizeof(float), (void **)&o->second);
    if (!error) error = memory_alloc("the optimizer", (size_t)o->n, sizeof(float), (void **)&o->decay);
    if (!error) error = memory_alloc("the optimizer", (size_t)o->n, sizeof(float), (void **)&o->moves);
    if (error) {
        optimizer_destroy(&o);
        return error;
    }
    optimizer_hold(o, graph, params, NULL);
    for (int i = 0; i < graph->nparams; i++)
        if (graph->param[i].trainable && graph->param[i].shape.rank >= 2)
            for (int64_t j = 0; j < params->count[i]; j++) o->decay[params->offset[i] + j] = 1;
    *optimizer = o;
    return SUCCESS;
}

void optimizer_destroy(struct optimizer **optimizer) {
    if (!*optimizer) return;
    free((*optimizer)->first);
    free((*optimizer)->second);
    free((*optimizer)->decay);
    free((*optimizer)->moves);
    free(*optimizer);
    *optimizer = NULL;
}

void optimizer_hold(struct optimizer *o, const struct opgraph *graph, const struct params *params,
                    const bool *trained) {
    for (int i = 0; i < graph->nparams; i++)
        for (int64_t j = 0; graph->param[i].trainable && j < params->count[i]; j++)
            o->moves[params->offset[i] + j] = !trained || trained[i];
}

/* Summed in one order, whatever the number of threads. */
static double norm_of(const float *g, const float *moves, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i += 4096) {
        float part = 0;
        int64_t end = i + 4096 < n ? i + 4096 : n;
        for (int64_t j = i; j < end; j++) part += moves[j] * g[j] * g[j];
        sum += part;
    }
    return sqrt(sum);
}

static void step_sgd(struct optimizer *o, float *w, const float *g, float scale, float rate) {
    float momentum = (float)o->config.momentum, decay = rate * (float)o->config.weight_decay;
    bool nesterov = o->config.nesterov;
    float *v = o->first;
    const float *decays = o->decay, *moves = o->moves;
#pragma omp parallel for simd num_threads(o->threads) schedule(static)
    for (int64_t i = 0; i < o->n; i++) {
        float gi = g[i] * scale;
        v[i] = momentum * v[i] + gi;
        w[i] -= moves[i] * (rate * (nesterov ? gi + momentum * v[i] : v[i]) + decay * decays[i] * w[i]);
    }
}

static void step_adamw(struct optimizer *o, float *w, const float *g, float scale, float rate) {
    float b1 = (float)o->config.beta1, b2 = (float)o->config.beta2, epsilon = (float)o->config.epsilon;
    float c1 = 1 / (float)(1 - pow(o->config.beta1, (double)o->step));
    float c2 = 1 / (float)(1 - pow(o->config.beta2, (double)o->step));
    float decay = rate * (float)o->config.weight_decay;
    float *m = o->first, *v = o->second;
    const float *decays = o->decay, *moves = o->moves;
#pragma omp parallel for simd num_threads(o->threads) schedule(static)
    for (int64_t i = 0; i < o->n; i++) {
        float gi = g[i] * scale;
        m[i] = b1 * m[i] + (1 - b1) * gi;
        v[i] = b2 * v[i] + (1 - b2) * gi * gi;
        w[i] -= moves[i] * (rate * (m[i] * c1) / (sqrtf(v[i] * c2) + epsilon) + decay * decays[i] * w[i]);
    }
}

double optimizer_step(struct optimizer *o, struct params *params, const struct params *grads, double rate) {
    o->step++;
    double norm = o->config.clip > 0 ? norm_of(grads->data, o->moves, o->n) : 0;
    float scale = o->config.clip > 0 && norm > o->config.clip ? (float)(o->config.clip / norm) : 1;
    if (o->adamw) step_adamw(o, params->data, grads->data, scale, (float)rate);
    else step_sgd(o, params->data, grads->data, scale, (float)rate);
    return norm;
}

float *optimizer_first(const struct optimizer *o) {
    return o->first;
}

float *optimizer_second(const struct optimizer *o) {
    return o->second;
}

int64_t *optimizer_steps(struct optimizer *o) {
    return &o->step;
}

void optimizer_checkpoint(struct optimizer *o, struct checkpoint *checkpoint) {
    checkpoint_add_integer(checkpoint, "optimizer_step", &o->step);
    checkpoint_add_array(checkpoint, "first_moment", o->first, (size_t)o->n);
    if (o->second) checkpoint_add_array(checkpoint, "second_moment", o->second, (size_t)o->n);
}
