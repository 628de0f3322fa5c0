/* Batches that inference takes in parts: the same outputs as one sample at a time, whatever divides the
 * batch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/engine_check.h"
#include "worker/nets.h"

#include <stdlib.h>
#include <string.h>

#define SIDE 64
#define CHANNELS 64 /* a sample of 1 MiB */

static struct exec *make(const struct engine *engine, const struct opgraph *graph, struct params *params,
                         int64_t batch, int threads) {
    const struct exec_options options = {.batch = batch, .mode = EXEC_INFER, .threads = threads};
    struct exec *exec = exec_must(engine, graph, &options);
    must(exec_set_params(exec, params));
    return exec;
}

static void parts(void **state) {
    (void)state;
    static const int64_t batches[] = {1, 4, 7, 8, 11};
    struct opgraph *g = net_create();
    int a = net_input(g, SHAPE(0, SIDE, SIDE, CHANNELS)), b = net_input(g, SHAPE(0, 3));
    int y = net_reduce(g, net_relu(g, net_conv(g, a, 1, 1, CHANNELS, (struct window_options){0})),
                       REDUCE_MEAN, 6, false);
    int z = net_dense(g, b, 5, true);
    net_finish(g, 2, (int[]){y, z});
    struct params *params = net_params(g, 1);
    float *x[2] = {random_floats(11 * SIDE * SIDE * CHANNELS, 2), random_floats(11 * 3, 3)};
    for (int e = 0; e < engine_count(); e++)
        for (int threads = 1; threads <= 2; threads++) {
            struct exec *one = make(engine_at(e), g, params, 1, threads);
            float expected[11][CHANNELS + 5];
            for (int i = 0; i < 11; i++) {
                const float *const in[2] = {x[0] + (size_t)i * SIDE * SIDE * CHANNELS, x[1] + i * 3};
                must(exec_forward(one, in));
                memcpy(expected[i], exec_output(one, 0), CHANNELS * sizeof(float));
                memcpy(expected[i] + CHANNELS, exec_output(one, 1), 5 * sizeof(float));
            }
            exec_destroy(&one);
            for (size_t k = 0; k < sizeof batches / sizeof *batches; k++) {
                struct exec *all = make(engine_at(e), g, params, batches[k], threads);
                must(exec_forward(all, (const float *const *)x));
                for (int64_t i = 0; i < batches[k]; i++) {
                    assert_close("mean", exec_output(all, 0) + i * CHANNELS, expected[i], CHANNELS, 1e-6);
                    assert_close("dense", exec_output(all, 1) + i * 5, expected[i] + CHANNELS, 5, 1e-6);
                }
                exec_destroy(&all);
            }
        }
    opgraph_destroy(&g);
    params_destroy(&params);
    free(x[0]);
    free(x[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(parts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
