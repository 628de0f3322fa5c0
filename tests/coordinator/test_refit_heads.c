/* Heads of attention that are pruned and refitted, on any number of ranks. Where half of the heads are twins
 * of the others, or are not read, the target can do all that the source does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coordinator/refit_fixture.h"

static const char *kind, *attrs;

/* One block of an encoder. */
static struct graph *block(void) {
    int x, y;
    struct graph *g = begin("-1,6,5", &x);
    x = on(g, "Dense", "embed", "units=8", x);
    y = attend(g, kind, "mha", attrs, x, x);
    x = join(g, "Add", "add", x, y);
    x = on(g, "LayerNormalization", "n1", "", x);
    y = on(g, "Dense", "d1", "units=12 activation=relu", x);
    y = on(g, "Dense", "d2", "units=8", y);
    x = join(g, "Add", "add2", x, y);
    x = on(g, "LayerNormalization", "n2", "", x);
    x = on(g, "GlobalAveragePooling1D", "pool", "", x);
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

static const struct {
    const char *kind, *attrs;
    int heads, values; /* those that are chosen; values of one, of all queries that it serves */
} cases[] = {
    {"MultiHeadAttention", "num_heads=4 key_dim=3", 4, 3},
    {"MultiHeadAttention", "num_heads=4 key_dim=3 value_dim=2 use_bias=false", 4, 2},
    {"GroupedQueryAttention", "head_dim=2 num_query_heads=8 num_key_value_heads=4", 4, 4},
};
#define NCASES (int)(sizeof cases / sizeof *cases)

/* Half of the heads, and all else. */
static void set_up_heads(struct fixture *f, int i, const char *select) {
    static char half[] = "mha 0.5";
    char *widths[] = {half};
    const struct target_config config = {.width = 1, .widths = widths, .nwidths = 1};
    struct net net = {.name = cases[i].kind, .build = block};
    kind = cases[i].kind;
    attrs = cases[i].attrs;
    set_up_to(f, &net, &config, select);
}

/* The weight of the layer that has this name; n floats for each head, of which there are `heads`, `outer`
 * times one after the other. */
struct part {
    float *v;
    int64_t outer, n;
    int heads;
};

static struct part part_of(struct model *m, const char *name, int heads) {
    int l = graph_find_layer(m->graph, "mha");
    const struct layer *layer = &m->graph->layer[l];
    for (int w = 0; w < layer->nweights; w++) {
        if (strcmp(layer->weight[w].name, name) != 0) continue;
        int p = graph_first_param(m->graph, l) + w;
        int64_t outer = strstr(name, "kernel") && !strstr(name, "output") ? layer->weight[w].shape.dim[0] : 1;
        return (struct part){params_at(m->params, p), outer, m->params->count[p] / outer / heads, heads};
    }
    return (struct part){0};
}

static const char *const inputs[] = {"query/kernel", "query/bias",   "key/kernel",
                                     "key/bias",     "value/kernel", "value/bias"};

/* Head j + 2 does what head j does, though its values are read otherwise. */
static void make_twins(struct model *m, int heads) {
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        struct part p = part_of(m, inputs[i], heads);
        for (int64_t o = 0; o < p.outer; o++)
            memcpy(p.v + (o * heads + heads / 2) * p.n, p.v + o * heads * p.n,
                   (size_t)(heads / 2 * p.n) * sizeof(float));
    }
}

static void test_twins_are_merged(void **state) {
    (void)state;
    for (int i = 0; i < NCASES; i++) {
        struct fixture f;
        double largest;
        set_up_heads(&f, i, "first");
        make_twins(f.raw, cases[i].heads);
        make_twins(f.source, cases[i].heads);
        start_params(&f);
        double before = output_error(&f, &largest);
        build_ok(refitted(&f, world, 2, 0));
        double after = output_error(&f, &largest);
        /* By algebra: the kept head's rows of the output kernel and those of its twin. */
        const struct part wide = part_of(f.source, "attention_output/kernel", cases[i].heads),
                          narrow = part_of(f.target, "attention_output/kernel", cases[i].heads / 2);
        double worst = 0;
        for (int64_t j = 0; j < narrow.n * narrow.heads; j++)
            worst = fmax(worst, fabs((double)wide.v[j] + wide.v[j + narrow.n * narrow.heads] - narrow.v[j]));
        bool right =
            before > 1e-3 && after < 1e-5 * before && worst < 5e-3 && narrow.n == cases[i].values * 8;
        if (!right)
            print_error("%s %s: error %g, then %g; kernel off by %g\n", cases[i].kind, cases[i].attrs, before,
                        after, worst);
        tear_down(&f);
        all_true(right);
    }
}

/* Heads 0 and 2 make nothing, and are not read. */
static void make_dead_heads(struct model *m, int heads) {
    static const char *const names[] = {"query/kernel", "key/kernel", "value/kernel",
                                        "attention_output/kernel"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct part p = part_of(m, names[i], heads);
        for (int64_t k = 0; k < p.outer * heads * p.n; k++)
            if (k / p.n % heads == 0 || k / p.n % heads == 2) p.v[k] = 0;
    }
}

/* They are not chosen, and nothing is lost. */
static void test_dead_heads_go(void **state) {
    (void)state;
    static const char *const methods[] = {"next_layer", "norm"};
    for (int i = 0; i < NCASES; i++)
        for (int k = 0; k < 2; k++) {
            struct fixture f;
            double largest;
            set_up_heads(&f, i, "first");
            make_dead_heads(f.raw, cases[i].heads);
            make_dead_heads(f.source, cases[i].heads);
            choose_anew(&f, methods[k]);
            output_error(&f, &largest);
            bool right = largest < 1e-5;
            if (!right) print_error("%s by %s: off by %g\n", cases[i].attrs, methods[k], largest);
            build_ok(refitted(&f, world, 2, 1));
            output_error(&f, &largest);
            right = right && largest < 1e-5;
            tear_down(&f);
            all_true(right);
        }
}

/* Better than sliced, and the same bytes on any number of ranks; with all widths halved, the model's too. */
static void test_outputs_get_better(void **state) {
    (void)state;
    for (int i = 0; i < 2 * NCASES; i++) {
        struct fixture f, alone;
        double largest;
        struct net net = {.name = cases[i % NCASES].kind, .build = block};
        const struct target_config config = {.width = 0.5};
        struct fixture *both[] = {&f, &alone};
        for (int k = 0; k < 2; k++)
            if (i < NCASES) set_up_heads(both[k], i, "next_layer");
            else {
                kind = cases[i % NCASES].kind;
                attrs = cases[i % NCASES].attrs;
                set_up_to(both[k], &net, &config, "next_layer");
            }
        double before = output_error(&f, &largest);
        build_ok(refitted(&f, world, 2, 1));
        build_ok(refitted(&alone, self, 2, 1));
        double after = output_error(&f, &largest);
        const struct params *a = f.target->params, *b = alone.target->params;
        bool right = after < 0.7 * before && !memcmp(a->data, b->data, (size_t)a->total * sizeof(float));
        if (comm_is_root(world))
            print_message("%s: error %.4f sliced, %.4f refitted\n", net.name, before, after);
        tear_down(&f);
        tear_down(&alone);
        all_true(right);
    }
}

int main(int argc, char **argv) {
    if (fixture_open(&argc, &argv)) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twins_are_merged),
        cmocka_unit_test(test_dead_heads_go),
        cmocka_unit_test(test_outputs_get_better),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close();
    return failed;
}
