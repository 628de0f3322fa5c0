/* Boundaries, against the definition: a node is one if without it no output can be reached from an input. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "graph_build.h"
#include "shared/rng.h"

/* Can an output be reached from an input without passing through node `without`? (-1: through any) */
static bool reachable(const struct graph *g, int without) {
    bool *reached = calloc((size_t)g->nnodes, sizeof *reached), found = false;
    for (int i = 0; i < g->ninputs; i++) reached[g->input[i].node] = g->input[i].node != without;
    for (int i = 0; i < g->nnodes; i++)
        for (int k = 0; k < g->node[i].nin; k++)
            if (i != without && reached[g->node[i].in[k].node]) reached[i] = true;
    for (int i = 0; i < g->noutputs; i++) found |= reached[g->output[i].node];
    free(reached);
    return found;
}

static void expect_definition(const struct graph *g) {
    int *nodes, n, at = 0;
    build_ok(graph_boundaries(g, &nodes, &n));
    for (int i = 0; i < g->nnodes; i++) {
        bool is = at < n && nodes[at] == i;
        at += is;
        assert_int_equal(is, !reachable(g, i));
    }
    assert_int_equal(at, n); /* ascending, no others */
    free(nodes);
}

static int relu(struct graph *g, int in) {
    char name[32];
    snprintf(name, sizeof name, "relu%d", g->nnodes);
    return build_layer(g, "ReLU", name, "", 1, &in);
}

static int add(struct graph *g, int a, int b) {
    char name[32];
    snprintf(name, sizeof name, "add%d", g->nnodes);
    return build_layer(g, "Add", name, "", 2, (int[]){a, b});
}

static struct graph *begin(int *input) {
    struct graph *g;
    build_ok(graph_create("boundaries", &g));
    *input = build_input(g, "x", "?,4");
    return g;
}

static void expect(struct graph *g, int count, const int *expected) {
    int *nodes, n;
    build_ok(graph_infer(g));
    build_ok(graph_boundaries(g, &nodes, &n));
    assert_int_equal(n, count);
    for (int i = 0; i < n; i++) assert_int_equal(nodes[i], expected[i]);
    free(nodes);
    expect_definition(g);
    graph_destroy(&g);
}

static void test_chain(void **state) {
    (void)state;
    int x;
    struct graph *g = begin(&x);
    build_output(g, relu(g, relu(g, x)));
    expect(g, 3, (int[]){0, 1, 2});
}

static void test_residual(void **state) {
    (void)state;
    int x;
    struct graph *g = begin(&x);
    int a = relu(g, x), b = relu(g, a), c = relu(g, b); /* 1 2 3 */
    int sum = add(g, a, c);                             /* 4 */
    build_output(g, relu(g, sum));                      /* 5 */
    expect(g, 4, (int[]){0, 1, 4, 5});
}

static void test_long_skip_and_double_edge(void **state) {
    (void)state;
    int x;
    struct graph *g = begin(&x);
    int a = relu(g, x), b = relu(g, a), c = add(g, b, b), d = relu(g, c); /* 1 2 3 4 */
    build_output(g, add(g, x, d));                                        /* 5 */
    expect(g, 2, (int[]){0, 5});
    g = begin(&x);
    a = add(g, x, x);
    build_output(g, a);
    expect(g, 2, (int[]){0, 1});
}

static void test_side_branches_do_not_count(void **state) {
    (void)state;
    int x;
    struct graph *g = begin(&x);
    int a = relu(g, x), b = relu(g, a);
    relu(g, relu(g, a)); /* leads nowhere: nodes 3, 4 */
    build_output(g, b);
    int *nodes, n;
    build_ok(graph_infer(g));
    build_ok(graph_boundaries(g, &nodes, &n));
    assert_int_equal(n, 3);
    assert_int_equal(nodes[2], b);
    free(nodes);
    graph_destroy(&g);
}

static void test_two_outputs(void **state) {
    (void)state;
    int x;
    struct graph *g = begin(&x);
    int a = relu(g, x), b = relu(g, a);
    build_output(g, a); /* an output that others read too */
    build_output(g, b);
    expect(g, 2, (int[]){0, 1});
}

static void test_two_inputs(void **state) {
    (void)state;
    int x;
    struct graph *g = begin(&x);
    int y = build_input(g, "y", "?,4");
    int a = relu(g, x), b = relu(g, y), sum = add(g, a, b), c = relu(g, sum);
    build_output(g, c);
    expect(g, 2, (int[]){4, 5});
}

static void test_random_graphs(void **state) {
    (void)state;
    for (int trial = 0; trial < 200; trial++) {
        struct rng rng = rng_make(7, RNG_INIT, (uint64_t)trial);
        int x;
        struct graph *g = begin(&x);
        int ninner = 2 + (int)rng_below(&rng, 12);
        for (int i = 0; i < ninner; i++) {
            /* mostly recent nodes, so that there are boundaries to find */
            int last = g->nnodes - 1, reach = last < 3 ? last + 1 : 3;
            int a = last - (int)rng_below(&rng, (uint64_t)reach);
            int b = last - (int)rng_below(&rng, (uint64_t)reach);
            if (rng_below(&rng, 2)) relu(g, rng_below(&rng, 3) ? last : a);
            else add(g, a, b);
        }
        build_output(g, g->nnodes - 1);
        if (rng_below(&rng, 4) == 0) build_output(g, g->nnodes / 2);
        build_ok(graph_infer(g));
        assert_true(reachable(g, -1));
        expect_definition(g);
        graph_destroy(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_residual),
        cmocka_unit_test(test_long_skip_and_double_edge),
        cmocka_unit_test(test_side_branches_do_not_count),
        cmocka_unit_test(test_two_outputs),
        cmocka_unit_test(test_two_inputs),
        cmocka_unit_test(test_random_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
