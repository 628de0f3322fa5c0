/* Which layers are not trained, and how long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdint.h>

#include "coordinator/freeze.h"
#include "graph_build.h"

#include "coordinator/source_nets.h"

/* Layers c1, n1, r1, c2, n2, r2, pool, d1, n3, a3, d2. */
static int64_t *parsed(const struct graph *g, int n, const char *const *texts) {
    char copy[4][64], *list[4];
    int64_t *thaw = NULL;
    for (int i = 0; i < n; i++) {
        snprintf(copy[i], sizeof copy[i], "%s", texts[i]);
        list[i] = copy[i];
    }
    build_ok(freeze_parse(&(struct training_config){.freeze = list, .nfreeze = n}, g, &thaw));
    return thaw;
}

static void expect(const struct graph *g, const int64_t *thaw, const char *layer, int64_t epoch) {
    int l = graph_find_layer(g, layer);
    for (int w = 0; w < g->layer[l].nweights; w++)
        if (thaw[graph_first_param(g, l) + w] != epoch)
            fail_msg("\"%s\" is trained from epoch %lld on, not %lld", layer,
                     (long long)thaw[graph_first_param(g, l) + w], (long long)epoch);
}

static void test_patterns(void **state) {
    (void)state;
    struct graph *g = plain();
    build_ok(graph_infer(g));
    assert_null(parsed(g, 0, NULL));
    int64_t *thaw = parsed(g, 3, (const char *const[]){"c*", "d? 2", "d2 0"});
    expect(g, thaw, "c1", INT64_MAX);
    expect(g, thaw, "c2", INT64_MAX);
    expect(g, thaw, "d1", 2);
    expect(g, thaw, "d2", 0);
    expect(g, thaw, "n1", 0);
    free(thaw);
    static const char *const wrong[] = {"c3", "pool", "d1 d2", " 3"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[32], *list[] = {text};
        snprintf(text, sizeof text, "%s", wrong[i]);
        build_refused(freeze_parse(&(struct training_config){.freeze = list, .nfreeze = 1}, g, &thaw),
                      STATUS_USAGE, i < 3 ? "no layer with weights is called" : "is no layer's name");
        assert_null(thaw);
    }
    graph_destroy(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_patterns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
