/* Budgets: widths that stay within them, alike or by what narrowing costs in error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>

#include "coordinator/trial_source.h"
#include "coordinator/budget.h"

static struct compiled *compiled_of(const struct net *net, struct graph **source) {
    struct compiled *c = NULL;
    *source = net->build();
    build_ok(graph_infer(*source));
    build_ok(compile_target(*source, "source.h5", NULL, &(struct target_config){.width = 1}, "small", &c));
    return c;
}

static struct graph_counts counts_of(const struct compiled *c, const int *kept) {
    struct graph *graph = NULL;
    struct graph_counts counts;
    build_ok(compile_narrowed(c, kept, &graph));
    build_ok(graph_count(graph, &counts));
    graph_destroy(&graph);
    return counts;
}

/* For every net and several budgets: within them, and no wider factor would be. */
static void test_alike(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++)
        for (int k = 0; k < 6; k++) {
            struct graph *source;
            struct compiled *c = compiled_of(&nets[i], &source);
            int groups = channel_map_groups(c->map), kept[64], wider[64];
            struct graph_counts full;
            build_ok(graph_count(c->fold->graph, &full));
            if (full.flops < 0 && k >= 3) goto next; /* a sequence of any length */
            double part = 0.3 + 0.2 * (k % 3);
            struct target_config config = {.params = k < 3 ? part : 0, .flops = k < 3 ? 0 : part};
            status error = budget_allot(c, &config, NULL, NULL, kept);
            if (status_code(error) == STATUS_USAGE) { /* most of it is fixed */
                status_drop(&error);
                goto next;
            }
            build_ok(error);
            struct graph_counts now = counts_of(c, kept);
            assert_true(k < 3 ? (double)now.params <= part * (double)full.params
                              : now.flops <= part * full.flops);
            /* the same factor for all */
            double least = 1, most = 0;
            for (int g = 0; g < groups; g++) {
                double width = channel_map_width(c->map, g);
                wider[g] = kept[g];
                if (channel_map_fixed(c->map, g)) assert_int_equal(kept[g], width);
                else {
                    least = fmin(least, (kept[g] + 0.5) / width);
                    most = fmax(most, kept[g] > 1 ? (kept[g] - 0.5) / width : 0);
                    wider[g] = kept[g] < width ? kept[g] + 1 : kept[g];
                }
            }
            assert_true(most <= least + 1e-9);
            struct graph_counts more = counts_of(c, wider);
            assert_true(k < 3 ? (double)more.params > part * (double)full.params
                              : more.flops > part * full.flops);
        next:
            compiled_destroy(&c);
            graph_destroy(&source);
        }
}

/* c1 and c2 of the plain net, of 6 and 8 channels, and d1 of 10. */
struct plain_net {
    struct graph *source;
    struct compiled *c;
    int group[3];
    double error[3][16];
    const double *errors[64];
};

static void open_plain(struct plain_net *p) {
    static const char *const layers[] = {"c1", "c2", "d1"};
    *p = (struct plain_net){0};
    p->c = compiled_of(&nets[0], &p->source);
    for (int i = 0; i < 3; i++) {
        int width, layer = graph_find_layer(p->c->skeleton->graph, layers[i]);
        p->group[i] =
            channel_map_of(p->c->map, graph_layer_node(p->c->skeleton->graph, layer), &width)->group;
        p->errors[p->group[i]] = p->error[i];
    }
}

static void close_plain(struct plain_net *p) {
    compiled_destroy(&p->c);
    graph_destroy(&p->source);
}

/* A layer whose narrowing costs nothing goes first, one that costs most stays. */
static void test_by_errors(void **state) {
    (void)state;
    for (int free_one = 0; free_one < 3; free_one++) {
        struct plain_net p;
        int kept[64];
        open_plain(&p);
        for (int i = 0; i < 3; i++) {
            int width = channel_map_width(p.c->map, p.group[i]);
            for (int k = 0; k <= width; k++)
                p.error[i][k] = (i == free_one ? 1e-6 : 1) * (1 - (double)k / width);
        }
        build_ok(budget_allot(p.c, &(struct target_config){.params = 0.9}, NULL, p.errors, kept));
        for (int i = 0; i < 3; i++)
            assert_true((kept[p.group[i]] == channel_map_width(p.c->map, p.group[i])) == (i != free_one));
        /* within it nothing is narrowed */
        build_ok(budget_allot(p.c, &(struct target_config){.params = 1e6, .flops = 1}, NULL, p.errors, kept));
        for (int g = 0; g < channel_map_groups(p.c->map); g++)
            assert_int_equal(kept[g], channel_map_width(p.c->map, g));
        close_plain(&p);
    }
}

/* Against all choices that there are: the sum of errors is at most a little above the least. */
static void test_against_all_choices(void **state) {
    (void)state;
    static const double budgets[] = {0.2, 0.35, 0.5, 0.7, 0.85};
    struct rng rng = rng_make(3, 1, 1);
    double worst = 0;
    for (int trial = 0; trial < 20; trial++) {
        struct plain_net p;
        int kept[64], tried[64];
        struct graph_counts full;
        open_plain(&p);
        build_ok(graph_count(p.c->fold->graph, &full));
        for (int i = 0; i < 3; i++) { /* falling and convex */
            int width = channel_map_width(p.c->map, p.group[i]);
            double size = 0.1 + rng_uniform(&rng), bend = 1 + 3 * rng_uniform(&rng);
            for (int k = 0; k <= width; k++) p.error[i][k] = size * pow(1 - (double)k / width, bend);
        }
        double part = budgets[trial % 5], least = INFINITY, found = 0;
        build_ok(budget_allot(p.c, &(struct target_config){.flops = part}, NULL, p.errors, kept));
        assert_true(counts_of(p.c, kept).flops <= part * full.flops);
        for (int i = 0; i < 3; i++) found += p.error[i][kept[p.group[i]]];
        memcpy(tried, kept, sizeof tried);
        for (int a = 1; a <= 6; a++)
            for (int b = 1; b <= 8; b++)
                for (int d = 1; d <= 10; d++) {
                    tried[p.group[0]] = a, tried[p.group[1]] = b, tried[p.group[2]] = d;
                    double sum = p.error[0][a] + p.error[1][b] + p.error[2][d];
                    if (sum < least && counts_of(p.c, tried).flops <= part * full.flops) least = sum;
                }
        if (found - least > worst) worst = found - least;
        if (found > 1.1 * least + 0.02) fail_msg("budget %g: error %g, and %g would do", part, found, least);
        close_plain(&p);
    }
    print_message("at most %.3f above the least error\n", worst);
}

static void test_too_small(void **state) {
    (void)state;
    struct plain_net p;
    int kept[64];
    open_plain(&p);
    for (int i = 0; i < 2; i++) {
        build_refused(
            budget_allot(p.c, &(struct target_config){.params = 10}, NULL, i ? p.errors : NULL, kept),
            STATUS_USAGE, "the budget is too small: as narrow as it can be the target has");
        build_refused(
            budget_allot(p.c, &(struct target_config){.flops = 10}, NULL, i ? p.errors : NULL, kept),
            STATUS_USAGE, "operations a sample; raise target.flops, which allows 10");
    }
    close_plain(&p);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (error) return 70;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_alike), cmocka_unit_test(test_by_errors),
                                       cmocka_unit_test(test_against_all_choices),
                                       cmocka_unit_test(test_too_small)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_stop(&world);
    return failed;
}
