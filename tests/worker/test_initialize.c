/* Start values: kernels within Glorot's bounds, the rest as Keras has it, whatever its rank. */
#include "worker/initialize.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "graph_build.h"

#include <math.h>

static void start_values(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs, *weight;
        double value, bound; /* all the same; or not, and within the bound */
    } cases[] = {
        {"Conv2D", "filters=4 kernel_size=3", "kernel", 0, 0.30860670}, /* sqrt(6/(9*(3+4))) */
        {"Conv2DTranspose", "filters=4 kernel_size=3", "kernel", 0, 0.30860670},
        {"Conv2D", "filters=4 kernel_size=3", "bias", 0, 0},
        {"BatchNormalization", "", "gamma", 1, 0},
        {"BatchNormalization", "", "moving_variance", 1, 0},
        {"BatchNormalization", "", "moving_mean", 0, 0},
        {"LayerNormalization", "axis=1,2,3", "gamma", 1, 0},
        {"LayerNormalization", "axis=1,2,3", "beta", 0, 0},
        {"RMSNormalization", "", "scale", 1, 0},
        {"PReLU", "", "alpha", 0, 0},
        {"LayerScale", "projection_dim=3 init_values=0.125", "gamma", 0.125, 0},
        {"Normalization", "axis=2,3", "variance", 1, 0},
        {"Normalization", "axis=2,3", "mean", 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g;
        struct opgraph *ops;
        struct params *params;
        build_ok(graph_create("start", &g));
        int x = build_input(g, "x", "?,6,5,3");
        build_output(g, build_layer(g, cases[i].class_name, "layer", cases[i].attrs, 1, &x));
        build_ok(graph_infer(g));
        build_ok(graph_lower(g, &ops, NULL));
        build_ok(params_create(ops, &params));
        for (int64_t k = 0; k < params->total; k++) params->data[k] = NAN;
        initialize_params(g, ops, 3, params);
        int w = 0;
        while (strcmp(g->layer[1].weight[w].name, cases[i].weight)) w++;
        double least = INFINITY, greatest = -INFINITY;
        for (int64_t k = 0; k < params->count[w]; k++) {
            least = fmin(least, (double)params_at(params, w)[k]);
            greatest = fmax(greatest, (double)params_at(params, w)[k]);
        }
        if (cases[i].bound > 0) {
            assert_true(least >= -cases[i].bound && greatest <= cases[i].bound);
            assert_true(least < -0.8 * cases[i].bound && greatest > 0.8 * cases[i].bound);
        } else {
            assert_true(least == cases[i].value && greatest == cases[i].value);
        }
        params_destroy(&params);
        opgraph_destroy(&ops);
        graph_destroy(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(start_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
