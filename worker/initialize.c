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

/* Is this the name, of the layer itself or of one inside it: "forward/bias"? */
static bool is_named(const char *name, const char *last) {
    size_t a = strlen(name), b = strlen(last);
    return a >= b && !strcmp(name + a - b, last) && (a == b || name[a - b - 1] == '/');
}

void initialize_params(const struct graph *graph, const struct opgraph *ops, uint64_t seed,
                       struct params *params) {
    for (int i = 0; i < ops->nparams; i++) {
        const struct param *p = &ops->param[i];
        const char *name = graph->layer[p->layer].weight[p->weight].name;
        float *v = params_at(params, i);
        struct rng rng = rng_make(seed, RNG_INIT, (uint64_t)i);
        /* GRU's bias has two rows. */
        double bound = p->shape.rank >= 2 && !is_named(name, "bias") ? glorot_bound(&p->shape) : 0;
        bool one = is_named(name, "gamma") || is_named(name, "moving_variance") || is_named(name, "scale") ||
                   is_named(name, "concat_score_weight");
        for (int64_t j = 0; j < p->count; j++)
            v[j] = bound > 0 ? (float)(bound * (2 * rng_uniform(&rng) - 1)) : one ? 1 : 0;
    }
}
