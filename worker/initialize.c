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

static bool is_one_of(const char *name, const char *const *names, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (is_named(name, names[i])) return true;
    return false;
}

/* What a weight starts as if it is no kernel. */
static bool start_value(const struct layer *layer, const char *name, float *value) {
    static const char *const ones[] = {"gamma", "moving_variance", "variance", "scale",
                                       "concat_score_weight"};
    static const char *const zeros[] = {"bias", "beta", "alpha", "moving_mean", "mean", "count"};
    bool one = is_one_of(name, ones, sizeof ones / sizeof *ones);
    *value = !one ? 0 : layer_has_attr(layer, "init_values") ? (float)layer_float(layer, "init_values") : 1;
    return one || is_one_of(name, zeros, sizeof zeros / sizeof *zeros);
}

void initialize_params(const struct graph *graph, const struct opgraph *ops, uint64_t seed,
                       struct params *params) {
    for (int i = 0; i < ops->nparams; i++) {
        const struct param *p = &ops->param[i];
        const struct layer *layer = &graph->layer[p->layer];
        float *v = params_at(params, i), value;
        struct rng rng = rng_make(seed, RNG_INIT, (uint64_t)i);
        bool kernel = !start_value(layer, layer->weight[p->weight].name, &value) && p->shape.rank >= 2;
        double bound = kernel ? glorot_bound(&p->shape) : 0;
        for (int64_t j = 0; j < p->count; j++)
            v[j] = kernel ? (float)(bound * (2 * rng_uniform(&rng) - 1)) : value;
    }
}
