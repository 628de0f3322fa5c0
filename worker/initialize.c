#include "worker/initialize.h"

#include "shared/rng.h"

#include <math.h>
#include <string.h>

/* Bound of the uniform distribution: sqrt(6 / (fan in + fan out)), fans times the receptive field. */
static double glorot_bound(const struct shape *shape) {
    double field = 1;
    for (int i = 0; i < shape->rank - 2; i++) field *= (double)shape->dim[i];
    double fans = field * (double)(shape->dim[shape->rank - 2] + shape->dim[shape->rank - 1]);
    return sqrt(6 / fans);
}

void initialize_params(const struct graph *graph, const struct opgraph *ops, uint64_t seed,
                       struct params *params) {
    for (int i = 0; i < ops->nparams; i++) {
        const struct param *p = &ops->param[i];
        const char *name = graph->layer[p->layer].weight[p->weight].name;
        float *v = params_at(params, i);
        struct rng rng = rng_make(seed, RNG_INIT, (uint64_t)i);
        double bound = p->shape.rank >= 2 ? glorot_bound(&p->shape) : 0;
        bool one = !strcmp(name, "gamma") || !strcmp(name, "moving_variance");
        for (int64_t j = 0; j < p->count; j++)
            v[j] = bound > 0 ? (float)(bound * (2 * rng_uniform(&rng) - 1)) : one ? 1 : 0;
    }
}
