/* The compiler: batch norms folded, widths, keep lists, slices, and the program as text. What it makes is
 * migrated from a file and run, and must compute what the source computes: the folded source always; a
 * narrower target where the channels that it drops are dead in the source. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>

#include "coordinator/trial_source.h"

static int count_norms(const struct graph *g) {
    int n = 0;
    for (int i = 0; i < g->nlayers; i++) n += g->layer[i].kind == layer_kind_find("BatchNormalization");
    return n;
}

/* ---- tests ---- */

static void test_folded_source_computes_the_same(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        struct trial_source t;
        open_source(&nets[i], 0.5, 10 + (uint64_t)i, &t);
        const struct graph *folded = t.compiled->fold->graph;
        if (count_norms(folded) != nets[i].norms)
            fail_msg("%s: %d batch norms stay, not %d", nets[i].name, count_norms(folded), nets[i].norms);
        struct model *model = migrated(&t, t.compiled->whole, folded);
        expect_same_function(&t, model, nets[i].name);
        model_destroy(&model);
        close_source(&t);
    }
}

static void test_width_one_is_the_source(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        struct trial_source t;
        open_source(&nets[i], 1, 30 + (uint64_t)i, &t);
        assert_int_equal(t.compiled->plan->nkeeps, 0);
        build_ok(compile_choose(t.compiled, NULL));
        struct model *model = migrated(&t, t.compiled->plan, t.compiled->target);
        expect_same_function(&t, model, nets[i].name);
        model_destroy(&model);
        close_source(&t);
    }
}

/* Sets all weights that make output position `at` of a layer to zero, so that its channel is dead. */
static void make_dead(struct model *m, int layer, int64_t at) {
    const struct layer *l = &m->graph->layer[layer];
    bool depthwise =
        l->kind == layer_kind_find("DepthwiseConv2D") || l->kind == layer_kind_find("DepthwiseConv1D");
    for (int w = 0; w < l->nweights; w++) {
        const struct weight *weight = &l->weight[w];
        float *v = params_at(m->params, graph_first_param(m->graph, layer) + w);
        const struct shape *s = &weight->shape;
        int axis = weight->out_axis;
        int64_t count, inner = 1, n = axis >= 0 ? s->dim[axis] : 0;
        build_ok(shape_count(s, &count));
        if (!strcmp(weight->name, "moving_variance")) continue;
        for (int i = axis + 1; axis >= 0 && i < s->rank; i++) inner *= s->dim[i];
        if (depthwise && s->rank > 1) { /* (..., C, m): position c * m + j */
            inner = 1;
            n = s->dim[s->rank - 2] * s->dim[s->rank - 1];
        }
        if (weight->blocks) n /= weight->blocks; /* gates, of all units each */
        for (int64_t i = 0; n && i < count; i++)
            if (i / inner % n == at) v[i] = 0;
    }
}

/* The same of a channel inside a layer, of `n`: all that makes it and all that reads it. */
static void make_dead_inside(struct model *m, int layer, int64_t at, int64_t n) {
    const struct layer *l = &m->graph->layer[layer];
    for (int w = 0; w < l->nweights; w++) {
        const struct shape *s = &l->weight[w].shape;
        float *v = params_at(m->params, graph_first_param(m->graph, layer) + w);
        int64_t inner = 1, count = m->params->count[graph_first_param(m->graph, layer) + w];
        int axis = l->weight[w].inner_axes & 1 ? 0 : 1;
        if (!l->weight[w].inner_axes) continue;
        for (int i = axis + 1; i < s->rank; i++) inner *= s->dim[i];
        inner *= s->dim[axis] / n;
        for (int64_t i = 0; i < count; i++)
            if (i / inner % n == at) v[i] = 0;
    }
}

/* Chooses kept[group] random classes of every pruned group. */
static int64_t **choose(const struct compiled *c, uint64_t seed) {
    int groups = channel_map_groups(c->map);
    int64_t **chosen = calloc((size_t)groups + 1, sizeof *chosen);
    assert_non_null(chosen);
    for (int g = 0; g < groups; g++) {
        int width = channel_map_width(c->map, g), n = 0;
        if (c->kept[g] == width) continue;
        assert_false(channel_map_fixed(c->map, g));
        int64_t order[64];
        bool taken[64] = {0};
        for (int i = 0; i < width; i++) order[i] = i;
        struct rng rng = rng_make(seed, 1, (uint64_t)g);
        rng_shuffle(&rng, order, width);
        for (int i = 0; i < c->kept[g]; i++) taken[order[i]] = true;
        chosen[g] = calloc((size_t)width, sizeof **chosen);
        assert_non_null(chosen[g]);
        for (int i = 0; i < width; i++)
            if (taken[i]) chosen[g][n++] = i;
    }
    return chosen;
}

static void free_chosen(const struct compiled *c, int64_t **chosen) {
    for (int g = 0; g < channel_map_groups(c->map); g++) free(chosen[g]);
    free(chosen);
}

static bool is_chosen(const struct compiled *c, int64_t *const *chosen, struct channel channel) {
    if (!chosen[channel.group]) return true;
    for (int i = 0; i < c->kept[channel.group]; i++)
        if (chosen[channel.group][i] == channel.index) return true;
    return false;
}

/* Makes the channels that are not chosen dead in the source. Its layers and those of the folded graph are
 * found by name: a folded batch norm makes the channels of the layer before it. */
static void kill_the_rest(struct trial_source *t, int64_t *const *chosen) {
    const struct compiled *c = t->compiled;
    const struct graph *folded = c->fold->graph, *source = t->source->graph;
    for (int l = 0; l < folded->nlayers; l++) {
        int norm = c->fold->norm_layer[l], width;
        const struct channel *channel = channel_map_of(c->map, graph_layer_node(folded, l), &width);
        for (int i = 0; i < width; i++) {
            if (is_chosen(c, chosen, channel[i])) continue;
            make_dead(t->source, graph_find_layer(source, folded->layer[l].name), i);
            if (norm >= 0) make_dead(t->source, graph_find_layer(source, t->graph->layer[norm].name), i);
        }
        channel = channel_map_inner(c->map, graph_layer_node(folded, l), &width);
        for (int i = 0; i < width; i++)
            if (!is_chosen(c, chosen, channel[i]))
                make_dead_inside(t->source, graph_find_layer(source, folded->layer[l].name), i, width);
    }
}

static void test_narrow_target_keeps_live_channels(void **state) {
    (void)state;
    static const double widths[] = {0.5, 0.25, 0.8};
    for (int i = 0; i < NNETS; i++)
        for (uint64_t w = 0; w < 3; w++) {
            struct trial_source t;
            open_source(&nets[i], widths[w], 50 + (uint64_t)i, &t);
            int64_t **chosen = choose(t.compiled, w);
            kill_the_rest(&t, chosen);
            /* The compiled program borrows the graph: a second file of the same topology, with other weights.
             */
            struct keras_file *file = NULL;
            struct graph *graph = NULL;
            build_ok(model_write(in_folder("dead.h5"), t.source));
            build_ok(keras_open(in_folder("dead.h5"), NULL, &file, &graph));
            keras_close(&t.file);
            t.file = file;
            build_ok(compile_choose(t.compiled, chosen));
            struct model *model = migrated(&t, t.compiled->plan, t.compiled->target);
            expect_same_function(&t, model, nets[i].name);
            assert_true(model->params->total < t.source->params->total);
            model_destroy(&model);
            graph_destroy(&graph);
            free_chosen(t.compiled, chosen);
            close_source(&t);
        }
}

/* Widths: half of each free group, the output's classes all. */
static void test_widths(void **state) {
    (void)state;
    struct trial_source t;
    open_source(&nets[0], 0.5, 1, &t);
    static const struct {
        const char *layer, *attr;
        int64_t n;
    } wanted[] = {{"c1", "filters", 3}, {"c2", "filters", 4}, {"d1", "units", 5}, {"d2", "units", 5}};
    for (int i = 0; i < 4; i++) {
        const struct graph *g = t.compiled->target;
        assert_int_equal(layer_int(&g->layer[graph_find_layer(g, wanted[i].layer)], wanted[i].attr),
                         wanted[i].n);
    }
    assert_string_equal(t.compiled->target->name, "small");
    close_source(&t);
    open_source(&nets[0], 0.01, 1, &t); /* never less than one channel */
    const struct graph *g = t.compiled->target;
    assert_int_equal(layer_int(&g->layer[graph_find_layer(g, "c1")], "filters"), 1);
    assert_int_equal(layer_int(&g->layer[graph_find_layer(g, "d2")], "units"), 5);
    close_source(&t);
}

/* Every weight of the target has one statement; slices are numbered in order, each has weights and ends at a
 * boundary of the target that comes after all its layers. */
static void test_slices_cover_all_weights(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        struct trial_source t;
        open_source(&nets[i], 0.5, 1, &t);
        const struct plan *plan = t.compiled->plan;
        const struct graph *g = t.compiled->target;
        int *boundary = NULL, nboundaries = 0, weights = 0;
        build_ok(graph_boundaries(g, &boundary, &nboundaries));
        for (int l = 0; l < g->nlayers; l++)
            for (int w = 0; w < g->layer[l].nweights; w++, weights++) {
                const struct plan_statement *s = plan_find(plan, l, w);
                assert_non_null(s);
                assert_true(shape_equal(&s->shape, &g->layer[l].weight[w].shape));
                assert_true(shape_equal(&s->shape, &s->value->shape));
            }
        assert_int_equal(plan->nstatements, weights);
        assert_true(plan->nslices >= 1);
        for (int s = 0, at = 0; s < plan->nslices; s++) {
            int begin_node = s ? plan->slice_node[s - 1] : -1;
            bool is_boundary = false;
            for (int b = 0; b < nboundaries; b++)
                is_boundary = is_boundary || boundary[b] == plan->slice_node[s];
            assert_true(is_boundary);
            assert_true(plan->slice_node[s] > begin_node);
            int first = at;
            for (; at < plan->nstatements && plan->statement[at].slice == s; at++)
                assert_in_range(graph_layer_node(g, plan->statement[at].layer), begin_node + 1,
                                plan->slice_node[s]);
            if (at == first) fail_msg("%s: slice %d has no weights", nets[i].name, s);
            if (s + 1 == plan->nslices) assert_int_equal(at, plan->nstatements);
        }
        free(boundary);
        close_source(&t);
    }
}

static struct graph *small(void) {
    int x;
    struct graph *g = begin("-1,8,8,1", &x);
    x = on(g, "Conv2D", "conv", "filters=4 kernel_size=3 use_bias=false", x);
    x = on(g, "BatchNormalization", "bn", "", x);
    x = on(g, "ReLU", "relu", "", x);
    x = on(g, "DepthwiseConv2D", "deep", "kernel_size=3 depth_multiplier=2", x);
    x = on(g, "Flatten", "flat", "", x);
    x = on(g, "Dense", "dense", "units=3 activation=softmax", x);
    build_output(g, x);
    return g;
}

static void test_text(void **state) {
    (void)state;
    const struct net net = {"small", small, 0};
    struct trial_source t;
    char *text = NULL;
    open_source(&net, 0.5, 1, &t);
    build_ok(plan_print(t.compiled->plan, &text));
    assert_string_equal(
        text,
        "plan 1\n"
        "source \"source.h5\"\n"
        "target \"small\"\n"
        "\n"
        "keep k0 = select(\"conv\", 2 of 4)\n"
        "keep k1 = channels(\"deep\", 4 of 8)\n"
        "keep k2 = channels(\"flat\", 64 of 128)\n"
        "\n"
        "slice 0 \"relu\" {\n"
        "  \"conv/kernel\" (3, 3, 1, 2) = refit(fold_bn(source[\"conv/kernel\"], \"bn\")[:, :, :, k0])\n"
        "  \"conv/bias\" (2,) = refit(fold_bn_bias(init(zeros, (4,)), \"bn\")[k0])\n"
        "}\n"
        "\n"
        "slice 1 \"flat\" {\n"
        "  \"deep/kernel\" (3, 3, 2, 2) = refit(source[\"deep/kernel\"][:, :, k0, :])\n"
        "  \"deep/bias\" (4,) = refit(source[\"deep/bias\"][k1])\n"
        "}\n"
        "\n"
        "slice 2 \"dense\" {\n"
        "  \"dense/kernel\" (64, 3) = refit(source[\"dense/kernel\"][k2, :])\n"
        "  \"dense/bias\" (3,) = refit(source[\"dense/bias\"])\n"
        "}\n");
    free(text);
    int64_t kept[] = {1, 3}, *chosen[64] = {0};
    int width;
    chosen[channel_map_of(t.compiled->map, t.compiled->plan->keep[0].node, &width)->group] = kept;
    build_ok(compile_choose(t.compiled, chosen));
    const struct keep *k = t.compiled->plan->keep;
    assert_memory_equal(k[0].index, ((int64_t[]){1, 3}), 2 * sizeof(int64_t));
    assert_memory_equal(k[1].index, ((int64_t[]){2, 3, 6, 7}), 4 * sizeof(int64_t));
    static const int in_eight[] = {2, 3, 6, 7};
    for (int i = 0; i < 64; i++) assert_int_equal(k[2].index[i], i / 4 * 8 + in_eight[i % 4]);
    t.compiled->plan->statement[0].residual = 0.01234;
    build_ok(plan_print(t.compiled->plan, &text));
    assert_non_null(strstr(text, "\nkeep k0 = select(\"conv\", 2 of 4, [1 3])\n"));
    assert_non_null(strstr(text, "\nkeep k1 = channels(\"deep\", 4 of 8, [2 3 6 7])\n"));
    assert_non_null(strstr(text, "[:, :, :, k0])  # residual 0.0123\n"));
    free(text);
    close_source(&t);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_folded_source_computes_the_same),   IN_FOLDER(test_width_one_is_the_source),
        IN_FOLDER(test_narrow_target_keeps_live_channels), IN_FOLDER(test_widths),
        IN_FOLDER(test_slices_cover_all_weights),          IN_FOLDER(test_text),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_stop(&world);
    return failed;
}
