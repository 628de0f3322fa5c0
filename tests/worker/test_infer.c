/* Inference on inputs in memory: numbers of samples that no piece divides, several inputs and outputs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "graph_build.h"
#include "io/model.h"
#include "worker/infer.h"

#include <math.h>

/* Outputs a - b and max(a, 0). */
static void pieces(void **state) {
    (void)state;
    static const int64_t counts[] = {1, 2, 16, 17, 37};
    struct graph *graph = NULL;
    struct model *model = NULL;
    build_ok(graph_create("ends", &graph));
    int a = build_input(graph, "a", "?,3"), b = build_input(graph, "b", "?,3");
    int d = build_layer(graph, "Subtract", "d", "", 2, (int[]){a, b});
    int r = build_layer(graph, "ReLU", "r", "", 1, &a);
    build_ok(graph_add_output(graph, (struct edge){d, 0}));
    build_ok(graph_add_output(graph, (struct edge){r, 0}));
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &model));
    for (int e = 0; e < engine_count(); e++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            struct tensor *x[2], *y[2];
            struct machine machine = {.engine = engine_at(e), .threads = 1};
            for (int i = 0; i < 2; i++) {
                build_ok(tensor_create(DTYPE_F32, &SHAPE(counts[c], 3), &x[i]));
                build_ok(tensor_create(DTYPE_F32, &SHAPE(counts[c], 3), &y[i]));
                for (int64_t k = 0; k < x[i]->count; k++)
                    tensor_f32(x[i])[k] = (float)(k * (i ? 7 : 5) % 11 - 4);
            }
            build_ok(infer(&machine, model, counts[c], x, y));
            for (int64_t k = 0; k < x[0]->count; k++) {
                float va = (float)(k * 5 % 11 - 4), vb = (float)(k * 7 % 11 - 4);
                assert_true(tensor_f32(y[0])[k] == va - vb);
                assert_true(tensor_f32(y[1])[k] == fmaxf(va, 0));
            }
            build_refused(infer(&machine, model, counts[c] + 1, x, y), STATUS_DATA,
                          "input 0 of the model is");
            for (int i = 0; i < 2; i++) {
                tensor_destroy(&x[i]);
                tensor_destroy(&y[i]);
            }
        }
    model_destroy(&model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
