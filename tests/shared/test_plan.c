/* The migration program's text: names are quoted so that any name can be read back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "graph_build.h"
#include "shared/transform.h"

static void names_are_quoted(void **state) {
    (void)state;
    struct graph *g = NULL;
    struct plan *plan = NULL;
    struct plan_statement s = {.shape = SHAPE(3, 2), .residual = NAN};
    char *text = NULL;
    assert_null(graph_create("a \"small\" net", &g));
    int x = build_input(g, "in", "?,3");
    int y = build_layer(g, "Dense", "a\"b\\c", "units=2", 1, &x);
    assert_null(graph_add_output(g, (struct edge){y, 0}));
    assert_null(graph_infer(g));
    assert_null(plan_create(g, g, "/a \"b\".h5", NULL, &plan));
    assert_null(expr_create(&transform_source, NULL, &s.value));
    s.layer = g->node[y].layer;
    s.value->operand[0].present = true;
    s.value->operand[0].u.tensor.layer = s.layer;
    s.value->operand[0].u.tensor.weight = 0;
    assert_null(plan_add_statement(plan, &s));
    assert_null(plan_add_slice(plan, y));
    assert_null(plan_print(plan, &text));
    assert_string_equal(text, "plan 1\n"
                              "source \"/a \\\"b\\\".h5\"\n"
                              "target \"a \\\"small\\\" net\"\n"
                              "\nslice 0 \"a\\\"b\\\\c\" {\n"
                              "  \"a\\\"b\\\\c/kernel\" (3, 2) = source[\"a\\\"b\\\\c/kernel\"]\n"
                              "}\n");
    free(text);
    plan_destroy(&plan);
    graph_destroy(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(names_are_quoted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
