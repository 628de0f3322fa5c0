/* Models of latency: coefficients against formulas and coordinate descent, parts and levels against their
 * definitions; widths within a limit, against all choices that there are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>

#include "coordinator/trial_source.h"
#include "coordinator/budget.h"
#include "coordinator/latency.h"

/* ---- fits ---- */

static double error_of(int n, const double *in, const double *out, const double *t, const double *c) {
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += pow(c[0] + c[1] * in[i] + c[2] * out[i] + c[3] * in[i] * out[i] - t[i], 2);
    return sum;
}

/* The least squares without negative coefficients, one coefficient after another, over and over. */
static double by_descent(int n, const double *in, const double *out, const double *t) {
    double c[4] = {0};
    for (int round = 0; round < 200000; round++) {
        int k = round % 4;
        double up = 0, down = 0;
        for (int i = 0; i < n; i++) {
            double u[4] = {1, in[i], out[i], in[i] * out[i]}, rest = t[i];
            for (int j = 0; j < 4; j++) rest -= j == k ? 0 : c[j] * u[j];
            up += u[k] * rest;
            down += u[k] * u[k];
        }
        c[k] = fmax(0, up / down);
    }
    return error_of(n, in, out, t, c);
}

static void test_fit(void **state) {
    (void)state;
    enum { N = 24 };
    struct rng rng = rng_make(4, 1, 1);
    for (int trial = 0; trial < 12; trial++) {
        struct latency_part part = {0};
        double in[N], out[N], t[N], c[4];
        bool exact = trial < 6;
        for (int k = 0; k < 4; k++) c[k] = rng_uniform(&rng) - (exact ? 0 : 0.5);
        if (trial == 3) c[0] = c[2] = 0;
        for (int i = 0; i < N; i++) {
            in[i] = 1 + (double)rng_below(&rng, 7);
            out[i] =
                trial % 3 == 2 ? in[i] : 1 + i / 2; /* at most twice each: no lines, but for tied channels */
            t[i] =
                c[0] + c[1] * in[i] + c[2] * out[i] + c[3] * in[i] * out[i] + (exact ? 0 : rng_normal(&rng));
        }
        build_ok(latency_fit(N, in, out, t, &part));
        double is = error_of(N, in, out, t, part.c), wanted = by_descent(N, in, out, t);
        for (int k = 0; k < 4; k++) assert_true(part.c[k] >= 0);
        assert_true(is <= wanted * (1 + 1e-4) + 1e-6);
        for (int k = 0; k < 4 && exact && trial % 3 != 2; k++) assert_true(fabs(part.c[k] - c[k]) < 1e-5);
        assert_true(trial % 3 == 2 || part.nlines == 0);
        free(part.line);
    }
}

/* Widths that are slow or fast for no reason have their own lines. */
static void test_lines(void **state) {
    (void)state;
    enum { N = 40 };
    static const double own[] = {3, 1, 7, 2}, slope[] = {0.5, 0.25, 0, 2};
    struct latency_part part = {0};
    double in[N], out[N], t[N];
    for (int i = 0; i < N; i++) {
        int k = i * 7 % 4;
        in[i] = 1 + i % 5;
        out[i] = 8 * (k + 1);
        t[i] = own[k] + slope[k] * in[i];
    }
    build_ok(latency_fit(N, in, out, t, &part));
    assert_int_equal(part.nlines, 4);
    for (int l = 0; l < 4; l++) {
        int k = (int)part.line[l].out / 8 - 1;
        assert_true(fabs(part.line[l].c[0] - own[k]) < 1e-6 && fabs(part.line[l].c[1] - slope[k]) < 1e-6);
    }
    free(part.line);
}

static void test_levels(void **state) {
    (void)state;
    static const struct {
        int width, n, level[12];
    } cases[] = {{64, 6, {4, 8, 16, 32, 48, 64}},
                 {128, 10, {4, 8, 16, 32, 48, 64, 80, 96, 112, 128}},
                 {2048, 10, {64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048}},
                 {100, 9, {4, 8, 16, 32, 48, 64, 80, 96, 100}},
                 {32, 6, {2, 4, 8, 16, 24, 32}},
                 {10, 5, {1, 3, 6, 9, 10}},
                 {1, 1, {1}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(latency_levels(cases[i].width), cases[i].n);
        for (int k = 0; k < cases[i].n; k++)
            assert_int_equal(latency_level(cases[i].width, k), cases[i].level[k]);
    }
    for (int width = 1; width < 1200; width++) {
        int n = latency_levels(width);
        for (int k = 1; k < n; k++) assert_true(latency_level(width, k) > latency_level(width, k - 1));
        assert_true(latency_level(width, 0) >= 1 && n <= 12);
        assert_int_equal(latency_level(width, n - 1), width);
        assert_int_equal(latency_level_at(width, width), width);
        assert_true(latency_level_at(width, 0.6 * width) <= 0.6 * width || width == 1);
    }
}

/* ---- parts ---- */

/* Every node but inputs in one part: the first one's, or what only passes on. */
static void test_parts(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        struct graph *g = nets[i].build();
        struct latency_model *m = NULL;
        build_ok(graph_infer(g));
        build_ok(latency_model_create(g, &m));
        int covered = 0;
        for (int p = 0; p < m->nparts; p++) {
            int node = m->part[p].last;
            for (covered++; node != m->part[p].first; covered++) {
                const struct node *n = &g->node[node];
                assert_int_equal(n->nin, 1);
                assert_int_equal(g->layer[n->layer].nweights, 0);
                assert_true(shape_equal(&n->out[0], &g->node[n->in[0].node].out[0]));
                node = n->in[0].node;
            }
        }
        assert_int_equal(covered, g->nnodes - g->ninputs);
        latency_model_destroy(&m);
        graph_destroy(&g);
    }
    struct graph *g = nets[0].build();
    struct latency_model *m = NULL;
    build_ok(graph_infer(g));
    build_ok(latency_model_create(g, &m));
    /* c1; n1 r1; c2; n2 r2; pool; d1; n3 a3; d2 */
    assert_int_equal(m->nparts, 8);
    assert_int_equal(m->part[1].first, build_node(g, "n1"));
    assert_int_equal(m->part[1].last, build_node(g, "r1"));
    latency_model_destroy(&m);
    graph_destroy(&g);
}

/* ---- widths ---- */

/* c1, c2 and d1 of the plain net, of 6, 8 and 10 channels; made-up seconds. */
static const int widths[3] = {6, 8, 10};

/* Of a made-up machine: fast where channels come in fours; six take longer than eight. */
static double uneven(int channels) {
    return ceil(channels / 4.0) * (channels % 4 ? 5.6 : 4);
}

static double formula(int a, int b, int d) {
    return 3 + 2 * 3 * uneven(a) + 0.7 * a * uneven(b) + 0.4 * b * uneven(d) + 0.2 * d;
}

struct plain_net {
    struct graph *source;
    struct compiled *c;
    struct latency_model *model;
    int group[3];
    double error[3][16];
    const double *errors[64];
};

static struct latency_part *part_of(struct plain_net *p, const char *layer) {
    int node = build_node(p->c->skeleton->graph, layer);
    for (int i = 0; i < p->model->nparts; i++)
        if (p->model->part[i].first == node) return &p->model->part[i];
    fail_msg("no part of %s", layer);
    return NULL;
}

/* What a part takes for each width that it may make, in a table; `slope` for each channel that it reads. */
static void set_lines(struct latency_part *part, int width, double factor, bool reads) {
    part->line = calloc((size_t)width, sizeof *part->line);
    assert_non_null(part->line);
    for (int k = 1; k <= width; k++)
        part->line[part->nlines++] = (struct latency_line){
            .out = k, .c = {reads ? 0 : factor * uneven(k), reads ? factor * uneven(k) : 0}};
}

static void open_plain(struct plain_net *p) {
    static const char *const layers[] = {"c1", "c2", "d1"};
    *p = (struct plain_net){0};
    p->source = nets[0].build();
    build_ok(graph_infer(p->source));
    build_ok(
        compile_target(p->source, "source.h5", NULL, &(struct target_config){.width = 1}, "small", &p->c));
    for (int i = 0; i < 3; i++) {
        int width, layer = graph_find_layer(p->c->skeleton->graph, layers[i]);
        p->group[i] =
            channel_map_of(p->c->map, graph_layer_node(p->c->skeleton->graph, layer), &width)->group;
        p->errors[p->group[i]] = p->error[i];
    }
    build_ok(latency_model_create(p->c->skeleton->graph, &p->model));
    set_lines(part_of(p, "c1"), 6, 2, true);
    set_lines(part_of(p, "c2"), 8, 0.7, true);
    set_lines(part_of(p, "d1"), 10, 0.4, true);
    part_of(p, "pool")->c[0] = 3;
    part_of(p, "d2")->c[1] = 0.2;
}

static void close_plain(struct plain_net *p) {
    latency_model_destroy(&p->model);
    compiled_destroy(&p->c);
    graph_destroy(&p->source);
}

static double seconds_of(const struct plain_net *p, const int *kept) {
    return formula(kept[p->group[0]], kept[p->group[1]], kept[p->group[2]]);
}

/* Of all levels within the limit. */
static double least_error(const struct plain_net *p, double limit, bool *possible) {
    double least = INFINITY;
    *possible = false;
    for (int a = 1; a <= 6; a++)
        for (int b = 1; b <= 8; b++)
            for (int d = 1; d <= 10; d++) {
                if (latency_level_at(6, a) != a || latency_level_at(8, b) != b ||
                    latency_level_at(10, d) != d)
                    continue;
                if (formula(a, b, d) > limit) continue;
                *possible = true;
                least = fmin(least, p->error[0][a] + p->error[1][b] + p->error[2][d]);
            }
    return least;
}

static void test_within(void **state) {
    (void)state;
    struct rng rng = rng_make(3, 1, 1);
    double worst = 0, full = formula(6, 8, 10);
    for (int trial = 0; trial < 30; trial++) {
        struct plain_net p;
        int kept[64];
        double found = 0;
        bool possible;
        open_plain(&p);
        for (int g = 0; g < channel_map_groups(p.c->map); g++) kept[g] = channel_map_width(p.c->map, g);
        struct graph *graph = NULL;
        build_ok(compile_narrowed(p.c, kept, &graph));
        assert_true(fabs(latency_of(p.model, graph) - full) < 1e-9);
        graph_destroy(&graph);
        for (int i = 0; i < 3; i++) { /* falling and convex */
            double size = 0.1 + rng_uniform(&rng), bend = 1 + 3 * rng_uniform(&rng);
            for (int k = 0; k <= widths[i]; k++) p.error[i][k] = size * pow(1 - (double)k / widths[i], bend);
        }
        p.model->scale = 1e-3; /* seconds */
        double narrowest = formula(1, 1, 1),
               limit = narrowest + (0.02 + 0.98 * rng_uniform(&rng)) * (full - narrowest);
        struct latency_limit latency = {p.model, 1e-3 * limit};
        double least = least_error(&p, limit, &possible);
        assert_true(possible);
        build_ok(budget_allot(p.c, &(struct target_config){.width = 1}, &latency, p.errors, kept));
        assert_true(seconds_of(&p, kept) <= limit * (1 + 1e-9));
        for (int i = 0; i < 3; i++) {
            found += p.error[i][kept[p.group[i]]];
            assert_int_equal(latency_level_at(widths[i], kept[p.group[i]]), kept[p.group[i]]);
        }
        worst = fmax(worst, found - least);
        if (found > 1.1 * least + 0.05) fail_msg("limit %g: error %g, and %g would do", limit, found, least);
        /* the same factor for all, where nothing is known of errors */
        build_ok(budget_allot(p.c, &(struct target_config){.width = 1}, &latency, NULL, kept));
        assert_true(seconds_of(&p, kept) <= limit * (1 + 1e-9));
        /* with another budget beside it */
        struct graph_counts counts, all;
        build_ok(graph_count(p.c->fold->graph, &all));
        status error =
            budget_allot(p.c, &(struct target_config){.width = 1, .params = 0.4}, &latency, p.errors, kept);
        build_ok(error);
        build_ok(compile_narrowed(p.c, kept, &graph));
        build_ok(graph_count(graph, &counts));
        graph_destroy(&graph);
        assert_true(seconds_of(&p, kept) <= limit * (1 + 1e-9) &&
                    (double)counts.params <= 0.4 * (double)all.params);
        close_plain(&p);
    }
    print_message("at most %.3f above the least error\n", worst);
}

static void test_too_slow(void **state) {
    (void)state;
    struct plain_net p;
    int kept[64];
    open_plain(&p);
    struct latency_limit latency = {p.model, 0.9 * formula(1, 1, 1)};
    for (int i = 0; i < 2; i++)
        build_refused(
            budget_allot(p.c, &(struct target_config){.width = 1}, &latency, i ? p.errors : NULL, kept),
            STATUS_USAGE, "ms a sample; raise target.latency_ms or target.latency_ratio");
    close_plain(&p);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (error) return 70;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fit),    cmocka_unit_test(test_lines),
                                       cmocka_unit_test(test_levels), cmocka_unit_test(test_parts),
                                       cmocka_unit_test(test_within), cmocka_unit_test(test_too_slow)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_stop(&world);
    return failed;
}
