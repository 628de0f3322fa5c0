/* The report of a model against figures worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "graph_build.h"
#include "io/model_report.h"

#include <stdlib.h>

/* 8x8x3 -> conv 3x3 same, 4 -> relu -> add with a 1x1 conv, 4 -> global average -> dense 2 */
static struct graph *build(void) {
    struct graph *graph = NULL;
    build_ok(graph_create("small", &graph));
    graph->keras_version = 3;
    int x = build_input(graph, "x", "?,8,8,3");
    int a = build_layer(graph, "Conv2D", "a", "filters=4 kernel_size=3 padding=same", 1, &x);
    int r = build_layer(graph, "ReLU", "r", "", 1, &a);
    int b = build_layer(graph, "Conv2D", "b", "filters=4 kernel_size=1 use_bias=false", 1, &x);
    int s = build_layer(graph, "Add", "s", "", 2, (int[]){r, b});
    int g = build_layer(graph, "GlobalAveragePooling2D", "g", "", 1, &s);
    int d = build_layer(graph, "Dense", "d", "units=2", 1, &g);
    build_ok(graph_add_output(graph, (struct edge){d, 0}));
    build_ok(graph_infer(graph));
    return graph;
}

static void test_json(void **state) {
    (void)state;
    struct graph *graph = build();
    char *json = NULL;
    build_ok(model_report_json(graph, "m.h5", &json));
    /* a: 3*3*3*4 + 4 = 112; b: 3*4 = 12; d: 4*2 + 2 = 10 */
    assert_non_null(strstr(json, "\"params\":\t134"));
    assert_non_null(strstr(json, "\"trainable\":\t134"));
    assert_non_null(strstr(json, "\"name\":\t\"a\""));
    assert_non_null(strstr(json, "\"params\":\t112"));
    assert_non_null(strstr(json, "\"output\":\t[null, 8, 8, 4]"));
    assert_non_null(strstr(json, "\"inputs\":\t[\"r\", \"b\"]"));
    assert_non_null(strstr(json, "\"boundaries\":\t[\"x\", \"s\", \"g\", \"d\"]"));
    /* float32 outputs: 8*8*3 + 4 * 8*8*4 + 4 + 2 = 1222 floats */
    assert_non_null(strstr(json, "\"activation_bytes\":\t4888"));
    free(json);
    graph_destroy(&graph);
}

static void test_text(void **state) {
    (void)state;
    struct graph *graph = build();
    char *text = NULL;
    build_ok(model_report_text(graph, "m.h5", &text));
    assert_non_null(strstr(text, "m.h5 (Keras 3, functional)\n"));
    assert_non_null(strstr(text, "134 parameters (134 trainable)"));
    assert_non_null(strstr(text, "4.8 KiB of activations\n4 boundaries (*)\n"));
    int stars = 0;
    for (const char *c = text; (c = strstr(c, " *\n")); c++) stars++;
    assert_int_equal(stars, 4);
    free(text);
    graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_json), cmocka_unit_test(test_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
