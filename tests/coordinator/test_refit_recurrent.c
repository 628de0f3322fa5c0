/* Recurrent layers whose units are pruned and refitted, on any number of ranks. Where half of the units are
 * twins of the others the target can do all that the source does, and closed form finds how. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coordinator/refit_fixture.h"

#define UNITS 8

static const char *cell_name, *cell_attrs;
static bool with_mask;

/* One recurrent layer, read by a dense one. */
static struct graph *one_cell(void) {
    int x;
    struct graph *g = begin("-1,9,3", &x);
    if (with_mask) x = on(g, "Masking", "mask", "", x);
    x = on(g, cell_name, "cell", cell_attrs, x);
    x = on(g, "Dense", "d", "units=5", x);
    build_output(g, x);
    return g;
}

static float *weights_of(const struct model *m, const char *layer, const char *name) {
    int l = graph_find_layer(m->graph, layer);
    for (int w = 0; w < m->graph->layer[l].nweights; w++)
        if (!strcmp(m->graph->layer[l].weight[w].name, name))
            return params_at(m->params, graph_first_param(m->graph, l) + w);
    return NULL;
}

/* Unit j + UNITS / 2 does what unit j does: it has the same inputs, though what reads it is its own affair.
 */
static void make_twins(struct model *m) {
    int cell = graph_find_layer(m->graph, "cell");
    for (int w = 0; w < m->graph->layer[cell].nweights; w++) {
        int p = graph_first_param(m->graph, cell) + w;
        float *v = params_at(m->params, p);
        for (int64_t i = 0; i < m->params->count[p]; i++)
            if (i % UNITS >= UNITS / 2) v[i] = v[i - UNITS / 2];
    }
}

static struct net net_of(const char *name, const char *attrs, bool masked) {
    cell_name = name;
    cell_attrs = attrs;
    with_mask = masked;
    return (struct net){.name = name, .build = one_cell};
}

/* Steps that a mask leaves out: those of zeros only. */
static void zero_steps(float *x, int64_t samples) {
    for (int64_t i = 0; i < samples; i++)
        for (int t = 0; t < 9; t++)
            for (int c = 0; c < 3 && (i * 5 + t * 7) % 4 == 0; c++) x[(i * 9 + t) * 3 + c] = 0;
}

static void set_up_twins(struct fixture *f, const struct net *net) {
    set_up(f, net, 0.5, "first");
    make_twins(f->raw);
    make_twins(f->source);
    start_params(f);
    if (!with_mask) return;
    zero_steps(f->x, SAMPLES);
    zero_steps(f->fresh, TESTS);
}

static const struct {
    const char *name, *attrs;
    bool masked;
} cells[] = {
    {"SimpleRNN", "units=8", false},
    {"SimpleRNN", "units=8 use_bias=false activation=relu go_backwards=true", false},
    {"LSTM", "units=8 return_sequences=true", false},
    {"LSTM", "units=8 go_backwards=true", true},
    {"GRU", "units=8 return_sequences=true", true},
    {"GRU", "units=8 reset_after=true return_sequences=true go_backwards=true", false},
    {"GRU", "units=8 reset_after=true use_bias=false", true},
    {"GRU", "units=8 go_backwards=true recurrent_activation=hard_sigmoid use_bias=false", false},
};

static void test_twins_are_merged(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        struct fixture f;
        struct net net = net_of(cells[i].name, cells[i].attrs, cells[i].masked);
        double largest;
        set_up_twins(&f, &net);
        double before = output_error(&f, &largest);
        build_ok(refitted(&f, world, 2, 0));
        double after = output_error(&f, &largest);
        struct plan_statement *s = NULL;
        for (int k = 0; k < f.compiled->plan->nstatements && !s; k++) s = &f.compiled->plan->statement[k];
        bool right = before > 1e-3 && after < 1e-5 * before && s->residual < 1e-5;
        if (!right)
            print_error("%s %s: error %g, then %g, residual %g\n", cells[i].name, cells[i].attrs, before,
                        after, s->residual);
        tear_down(&f);
        all_true(right);
    }
}

/* The merged units read their twins' part too: recurrent kernel U[j] + U[twin of j], by algebra. */
static void test_recurrent_kernel_is_the_sum(void **state) {
    (void)state;
    struct fixture f;
    struct net net = net_of("LSTM", "units=8 return_sequences=true", false);
    set_up_twins(&f, &net);
    build_ok(refitted(&f, world, 2, 0));
    const float *wide = weights_of(f.source, "cell", "recurrent_kernel"),
                *narrow = weights_of(f.target, "cell", "recurrent_kernel");
    enum { HALF = UNITS / 2 };
    double worst = 0;
    for (int u = 0; u < HALF; u++)
        for (int g = 0; g < 4; g++)
            for (int j = 0; j < HALF; j++) {
                double wanted =
                    (double)wide[(u * 4 + g) * UNITS + j] + wide[((u + HALF) * 4 + g) * UNITS + j];
                worst = fmax(worst, fabs(narrow[(u * 4 + g) * HALF + j] - wanted));
            }
    if (!(worst < 5e-3)) print_error("off by %g\n", worst);
    tear_down(&f);
    all_true(worst < 5e-3);
}

/* One layer, called for two sequences of different lengths: one fit of all steps of both. */
static struct graph *called_twice(void) {
    int x, a, b;
    struct graph *g = begin("-1,9,3", &x);
    a = on(g, "Conv1D", "a", "filters=5 kernel_size=3", x);
    b = on(g, "Conv1D", "b", "filters=5 kernel_size=2 strides=2", x);
    a = on(g, "GRU", "cell", "units=8 reset_after=true", a);
    b = again(g, "cell", b);
    x = join(g, "Concatenate", "cat", a, b);
    x = on(g, "Dense", "d", "units=5", x);
    build_output(g, x);
    return g;
}

static void test_layer_called_twice(void **state) {
    (void)state;
    static char half[] = "cell 0.5";
    char *widths[] = {half};
    const struct target_config config = {.width = 1, .widths = widths, .nwidths = 1};
    const struct net net = {.name = "called twice", .build = called_twice};
    struct fixture f;
    double largest;
    with_mask = false;
    set_up_to(&f, &net, &config, "first");
    make_twins(f.raw);
    make_twins(f.source);
    start_params(&f);
    double before = output_error(&f, &largest);
    build_ok(refitted(&f, world, 2, 0));
    double after = output_error(&f, &largest);
    bool right = before > 1e-3 && after < 1e-5 * before;
    if (!right) print_error("error %g, then %g\n", before, after);
    tear_down(&f);
    all_true(right);
}

/* Units that are not twins: better than sliced, and the outputs of the layer no worse, whatever the states
 * that the fit was made with; the same bytes on any number of ranks. */
static void test_outputs_get_better(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++) {
        struct fixture f, alone;
        struct net net = net_of(cells[i].name, cells[i].attrs, cells[i].masked);
        double largest;
        set_up(&f, &net, 0.5, "next_layer");
        set_up(&alone, &net, 0.5, "next_layer");
        double before = output_error(&f, &largest);
        build_ok(refitted(&f, world, 2, 1));
        build_ok(refitted(&alone, self, 2, 1));
        double after = output_error(&f, &largest);
        const struct params *a = f.target->params, *b = alone.target->params;
        bool same = !memcmp(a->data, b->data, (size_t)a->total * sizeof(float));
        if (!(same && after < before))
            print_error("%s %s: error %g, then %g%s\n", cells[i].name, cells[i].attrs, before, after,
                        same ? "" : ", not the same bytes");
        tear_down(&f);
        tear_down(&alone);
        all_true(same && after < before);
    }
}

/* Unit 2 is read by nobody but the other units, which need it: they choose it. */
static void test_what_the_layer_reads_itself_counts(void **state) {
    (void)state;
    struct net net = net_of("SimpleRNN", "units=8 return_sequences=true", false);
    struct fixture f;
    set_up(&f, &net, 0.5, "first");
    float *u = weights_of(f.source, "cell", "recurrent_kernel"), *d = weights_of(f.source, "d", "kernel");
    for (int j = 0; j < UNITS; j++)
        for (int k = 0; k < UNITS; k++) u[j * UNITS + k] = j == 2 && k != 2 ? 3.0F : 0;
    for (int k = 0; k < 5; k++) d[2 * 5 + k] = 0;
    struct machine machine = {.world = world, .log = quiet, .engine = engine, .threads = 1};
    struct calibration calibration = calibration_of(&f, world);
    int groups = channel_map_groups(f.compiled->map);
    int64_t **chosen = calloc((size_t)groups + 1, sizeof *chosen);
    assert_non_null(chosen);
    struct selection selection = {.method = "next_layer",
                                  .calibration = &calibration,
                                  .graph = f.compiled->fold->graph,
                                  .ops = f.source->ops,
                                  .value_of = f.source->value_of,
                                  .params = f.source->params,
                                  .map = f.compiled->map,
                                  .kept = f.compiled->kept};
    build_ok(select_channels(&machine, &selection, chosen));
    bool found = false;
    for (int g = 0; g < groups; g++) {
        for (int k = 0; chosen[g] && k < UNITS / 2; k++) found = found || chosen[g][k] == 2;
        free(chosen[g]);
    }
    free(chosen);
    tear_down(&f);
    all_true(found);
}

int main(int argc, char **argv) {
    if (fixture_open(&argc, &argv)) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twins_are_merged),
        cmocka_unit_test(test_recurrent_kernel_is_the_sum),
        cmocka_unit_test(test_layer_called_twice),
        cmocka_unit_test(test_outputs_get_better),
        cmocka_unit_test(test_what_the_layer_reads_itself_counts),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close();
    return failed;
}
