/* Optimizers against a direct implementation of their formulas, element by element in double precision. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "shared/rng.h"
#include "worker/nets.h"
#include "worker/optimizer.h"
#include "worker/weight_average.h"

static char sgd[] = "sgd", adamw[] = "adamw";

/* A convolution, a batch norm and a dense layer; the first kernel may be frozen. Two other parameters are
 * held for some steps: they keep their values, and their moments go on. */
static struct opgraph *net(bool frozen) {
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(-1, 6, 6, 3));
    x = net_conv(g, x, 3, 3, 5, (struct window_options){.no_bias = true});
    x = net_batch_norm(g, x, true, true);
    x = net_reshape(g, x, SHAPE(-1, 80));
    x = net_dense(g, x, 7, true);
    net_finish(g, 1, &x);
    if (frozen) g->param[0].trainable = false;
    return g;
}

struct moments {
    double w, first, second;
};

/* One step of one weight. */
static void step_weight(const struct optimizer_config *c, struct moments *m, double g, double rate, int step,
                        bool decays, bool held) {
    double w = m->w;
    if (c->kind == sgd) {
        m->first = c->momentum * m->first + g;
        m->w -= rate * (c->nesterov ? g + c->momentum * m->first : m->first);
    } else {
        m->first = c->beta1 * m->first + (1 - c->beta1) * g;
        m->second = c->beta2 * m->second + (1 - c->beta2) * g * g;
        double mean = m->first / (1 - pow(c->beta1, step)), square = m->second / (1 - pow(c->beta2, step));
        m->w -= rate * mean / (sqrt(square) + c->epsilon);
    }
    if (decays) m->w -= rate * c->weight_decay * w;
    if (held) m->w = w;
}

static void check(const struct optimizer_config *c, bool frozen, int threads) {
    struct opgraph *g = net(frozen);
    struct params *params = net_params(g, 5), *grads = NULL;
    struct optimizer *optimizer = NULL;
    must(params_create(g, &grads));
    must(optimizer_create(c, g, params, threads, &optimizer));
    struct moments *m = calloc((size_t)params->total, sizeof *m);
    assert_non_null(m);
    for (int64_t i = 0; i < params->total; i++) m[i].w = params->data[i];
    struct rng rng = rng_make(9, 1, 1);
    for (int step = 1; step <= 6; step++) {
        double rate = 0.05 / step, norm = 0;
        for (int p = 0; p < g->nparams; p++)
            for (int64_t i = 0; i < params->count[p] && g->param[p].trainable; i++) {
                float v = (float)(rng_normal(&rng) * (step == 3 ? 100 : 1)); /* step 3 is clipped hard */
                params_at(grads, p)[i] = v;
            }
        bool trained[8] = {true, step < 2 || step > 4, true, true, step == 6, true, true, true};
        if (step > 1) optimizer_hold(optimizer, g, params, trained);
        norm = 0;
        for (int p = 0; p < g->nparams; p++)
            for (int64_t i = 0; i < params->count[p] && g->param[p].trainable && (step == 1 || trained[p]);
                 i++)
                norm += (double)params_at(grads, p)[i] * params_at(grads, p)[i];
        norm = sqrt(norm);
        double scale = c->clip > 0 && norm > c->clip ? c->clip / norm : 1;
        for (int p = 0; p < g->nparams; p++)
            for (int64_t i = 0; i < params->count[p] && g->param[p].trainable; i++)
                step_weight(c, &m[params->offset[p] + i], params_at(grads, p)[i] * scale, rate, step,
                            g->param[p].shape.rank > 1, step > 1 && !trained[p]);
        double told = optimizer_step(optimizer, params, grads, rate);
        if (c->clip > 0) assert_true(fabs(told - norm) <= 1e-5 * norm);
        else assert_true(told == 0);
        for (int64_t i = 0; i < params->total; i++)
            if (!(fabs(params->data[i] - m[i].w) <= 2e-5 * (fabs(m[i].w) + 0.1)))
                fail_msg("%s, step %d: weight %lld is %g, not %g", c->kind, step, (long long)i,
                         (double)params->data[i], m[i].w);
    }
    free(m);
    optimizer_destroy(&optimizer);
    params_destroy(&params);
    params_destroy(&grads);
    opgraph_destroy(&g);
}

static void test_sgd(void **state) {
    (void)state;
    static const double momentum[] = {0, 0.9};
    for (int i = 0; i < 2; i++)
        for (int nesterov = 0; nesterov < 2; nesterov++)
            for (int decay = 0; decay < 2; decay++)
                check(&(struct optimizer_config){.kind = sgd,
                                                 .momentum = momentum[i],
                                                 .nesterov = nesterov,
                                                 .weight_decay = 0.3 * decay},
                      decay, 1 + decay);
}

static void test_adamw(void **state) {
    (void)state;
    for (int decay = 0; decay < 2; decay++)
        check(
            &(struct optimizer_config){
                .kind = adamw, .beta1 = 0.9, .beta2 = 0.999, .epsilon = 1e-8, .weight_decay = 0.3 * decay},
            decay, 1 + decay);
    check(
        &(struct optimizer_config){
            .kind = adamw, .beta1 = 0.5, .beta2 = 0.7, .epsilon = 0.1, .weight_decay = 0.01},
        false, 2);
}

static void test_clip(void **state) {
    (void)state;
    check(&(struct optimizer_config){.kind = sgd, .momentum = 0.9, .clip = 1.5}, false, 1);
    check(&(struct optimizer_config){.kind = adamw, .beta1 = 0.9, .beta2 = 0.9, .epsilon = 1e-3, .clip = 30},
          true, 2);
}

/* Frozen weights and moving statistics stay, whatever lies in their gradients. */
static void test_frozen_stay(void **state) {
    (void)state;
    struct opgraph *g = net(true);
    struct params *params = net_params(g, 5), *start = NULL, *grads = NULL;
    struct optimizer *optimizer = NULL;
    must(params_clone(params, &start));
    must(params_create(g, &grads));
    for (int64_t i = 0; i < grads->total; i++) grads->data[i] = 1;
    must(optimizer_create(
        &(struct optimizer_config){
            .kind = adamw, .beta1 = 0.9, .beta2 = 0.9, .epsilon = 1e-8, .weight_decay = 0.1},
        g, params, 1, &optimizer));
    optimizer_step(optimizer, params, grads, 0.1);
    for (int p = 0; p < g->nparams; p++)
        for (int64_t i = 0; i < params->count[p]; i++)
            assert_true((params_at(params, p)[i] == params_at(start, p)[i]) == !g->param[p].trainable);
    optimizer_destroy(&optimizer);
    params_destroy(&params);
    params_destroy(&start);
    params_destroy(&grads);
    opgraph_destroy(&g);
}

static void test_weight_average(void **state) {
    (void)state;
    struct opgraph *g = net(false);
    struct params *params = net_params(g, 3);
    struct weight_average *average = NULL;
    const int64_t steps = 4;
    must(weight_average_create(params, steps, &average));
    double *mean = calloc((size_t)params->total, sizeof *mean);
    assert_non_null(mean);
    struct rng rng = rng_make(2, 1, 1);
    for (int n = 1; n <= 60; n++) {
        for (int64_t i = 0; i < params->total; i++) params->data[i] = (float)rng_normal(&rng);
        weight_average_add(average, params);
        double share = fmax(1.0 / (double)steps, 10.0 / (9 + n));
        for (int64_t i = 0; i < params->total; i++) {
            mean[i] = (1 - share) * mean[i] + share * params->data[i];
            if (!(fabs(mean[i] - weight_average_params(average)->data[i]) < 1e-5))
                fail_msg("average of weight %lld after %d steps", (long long)i, n);
        }
    }
    free(mean);
    weight_average_destroy(&average);
    params_destroy(&params);
    opgraph_destroy(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sgd),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_clip),
        cmocka_unit_test(test_frozen_stay),
        cmocka_unit_test(test_weight_average),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
