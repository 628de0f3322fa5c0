/* Kinds of targets: where what a target leaves out is nothing in the source, it computes what the source
 * does; what cannot be had is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>

#include "coordinator/trial_source.h"
#include "worker/finish.h"

/* Two residual blocks, the second behind the first. */
static struct graph *blocks(void) {
    int x;
    struct graph *g = begin("-1,7,7,3", &x);
    x = on(g, "Conv2D", "stem", "filters=6 kernel_size=3", x);
    for (int i = 1; i <= 2; i++) {
        char name[3][16];
        for (int k = 0; k < 3; k++)
            snprintf(name[k], sizeof name[k], "%s%d", k == 2 ? "add" : k ? "b" : "a", i);
        int y = on(g, "Conv2D", name[0], "filters=4 kernel_size=3 padding=same activation=relu", x);
        y = on(g, "Conv2D", name[1], "filters=6 kernel_size=1", y);
        x = join(g, "Add", name[2], x, y);
    }
    x = on(g, "GlobalAveragePooling2D", "pool", "", x);
    x = on(g, "Dense", "d", "units=5 activation=softmax", x);
    build_output(g, x);
    return g;
}

static const struct net two_blocks = {"blocks", blocks, 0};

static void compile_as(struct trial_source *t, const struct target_config *config) {
    build_ok(compile_target(t->graph, "source.h5", NULL, config, "small", &t->compiled));
}

static void refused(struct trial_source *t, const struct target_config *config, enum status_code code,
                    const char *part) {
    status error = compile_target(t->graph, "source.h5", NULL, config, "small", &t->compiled);
    build_refused(error, code, part);
    assert_null(t->compiled);
}

/* Makes a kernel, seen as rows of its last axis, of this rank. */
static void lower_rank(struct model *m, int layer, int64_t rank) {
    const int kernel = skeleton_kernel(&m->graph->layer[layer]);
    const struct shape *shape = &m->graph->layer[layer].weight[kernel].shape;
    float *w = params_at(m->params, graph_first_param(m->graph, layer) + kernel);
    int64_t rows, columns;
    shape_rows(shape, &rows, &columns);
    for (int64_t r = rank; r < rows; r++)
        for (int64_t c = 0; c < columns; c++)
            w[r * columns + c] = w[(r % rank) * columns + c] * (0.5f + (float)(r % 5) / 8) -
                                 w[((r + 1) % rank) * columns + c] * (float)(r % 3) / 8;
}

static void test_rank(void **state) {
    (void)state;
    const struct target_config config = {.width = 1, .rank = 0.4};
    int factored = 0;
    for (int i = 0; i <= NNETS; i++) {
        const struct net *net = i < NNETS ? &nets[i] : &two_blocks;
        struct trial_source t;
        make_source(net, 3 + (uint64_t)i, &t);
        for (int l = 0; l < t.source->graph->nlayers; l++) {
            int64_t rows, columns;
            if (!skeleton_factors(&t.source->graph->layer[l], &rows, &columns)) continue;
            int64_t rank = llround(0.4 * (double)(rows < columns ? rows : columns));
            lower_rank(t.source, l, rank < 1 ? 1 : rank);
        }
        write_and_open(&t);
        compile_as(&t, &config);
        const struct skeleton *s = t.compiled->skeleton;
        struct graph_counts before, after;
        build_ok(graph_count(t.compiled->fold->graph, &before));
        build_ok(graph_count(t.compiled->target, &after));
        for (int l = 0; l < s->graph->nlayers; l++) factored += s->part[l] == PART_LEFT;
        assert_true(s->edited ? after.params < before.params : after.params == before.params);
        build_ok(compile_choose(t.compiled, NULL));
        struct model *model = migrated(&t, t.compiled->plan, t.compiled->target);
        expect_same_function(&t, model, net->name);
        model_destroy(&model);
        if (t.compiled->uncut) {
            model = migrated(&t, t.compiled->uncut, s->graph);
            expect_same_function(&t, model, net->name);
            model_destroy(&model);
        } else {
            assert_false(s->edited);
        }
        close_source(&t);
    }
    assert_true(factored > 8);
}

/* Ranks of some layers alone. */
static void test_ranks(void **state) {
    (void)state;
    static char stem[] = "stem 3", a1[] = "a1 0.5", wrong[] = "a3 2", add[] = "add1 1", nothing[] = "a1",
                half[] = "a1 2.5", large[] = "a1 5";
    char *texts[] = {stem, a1};
    struct trial_source t;
    make_source(&two_blocks, 7, &t);
    write_and_open(&t);
    compile_as(&t, &(struct target_config){.width = 1, .rank = 1, .ranks = texts, .nranks = 2});
    const struct skeleton *s = t.compiled->skeleton;
    for (int l = 0; l < s->graph->nlayers; l++) {
        const char *name = s->graph->layer[l].name;
        int rank = !strcmp(name, "stem_factor") ? 3 : !strcmp(name, "a1_factor") ? 2 : 0; /* of 6, of 4 */
        assert_int_equal(s->part[l] == PART_LEFT, rank > 0);
        if (rank) assert_int_equal(s->rank[l], rank);
    }
    compiled_destroy(&t.compiled);
    static const struct {
        char *text;
        const char *message;
    } errors[] = {{wrong, "\"a3\" is no Dense or convolution that can be factored; did you mean"},
                  {add, "\"add1\" is no Dense or convolution"},
                  {nothing, "\"a1\" is no layer's name, a space and a rank"},
                  {half, "is no layer's name, a space and a rank"},
                  {large, "the kernel of \"a1\" has rank 4 at most"}};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        char *list[] = {errors[i].text};
        refused(&t, &(struct target_config){.width = 1, .ranks = list, .nranks = 1}, STATUS_USAGE,
                errors[i].message);
    }
    close_source(&t);
}

/* Blocks whose last convolution is zero. */
static void test_depth(void **state) {
    (void)state;
    static char first[] = "add1", second[] = "add2", other[] = "stem";
    char *names[] = {second, first};
    for (int n = 1; n <= 2; n++) {
        struct trial_source t;
        make_source(&two_blocks, 5, &t);
        for (int i = 0; i < n; i++) {
            int layer = graph_find_layer(t.source->graph, i ? "b1" : "b2");
            for (int w = 0; w < 2; w++) {
                int p = graph_first_param(t.source->graph, layer) + w;
                memset(params_at(t.source->params, p), 0, (size_t)t.source->params->count[p] * sizeof(float));
            }
        }
        write_and_open(&t);
        compile_as(&t, &(struct target_config){.width = 1, .depth = names, .ndepth = n});
        assert_int_equal(graph_find_layer(t.compiled->target, "a2"), -1);
        assert_int_equal(graph_find_layer(t.compiled->target, "a1") < 0, n == 2);
        assert_int_equal(t.compiled->target->nnodes, t.compiled->fold->graph->nnodes - 3 * n);
        build_ok(compile_choose(t.compiled, NULL));
        struct model *model = migrated(&t, t.compiled->plan, t.compiled->target);
        expect_same_function(&t, model, "blocks");
        model_destroy(&model);
        compiled_destroy(&t.compiled);
        char *wrong[] = {other};
        refused(&t, &(struct target_config){.width = 1, .depth = wrong, .ndepth = 1}, STATUS_USAGE,
                "\"stem\" ends no residual block that can be left out; these do: add1, add2");
        close_source(&t);
    }
}

static void test_widths(void **state) {
    (void)state;
    static char one[] = "stem 0.5", two[] = "a2 0.25", wrong[] = "a3 0.5", nothing[] = "a2 0",
                whole[] = "d 0.5";
    char *texts[] = {one, two};
    struct trial_source t;
    make_source(&two_blocks, 7, &t);
    write_and_open(&t);
    compile_as(&t, &(struct target_config){.width = 1, .widths = texts, .nwidths = 2});
    const struct graph *g = t.compiled->target;
    static const struct {
        const char *layer;
        int64_t width;
    } cases[] = {{"stem", 3}, {"a1", 4}, {"b1", 3},
                 {"a2", 1},   {"b2", 3}, {"d", 5}}; /* Adds tie stem, b1 and b2 */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct shape *s = &g->layer[graph_find_layer(g, cases[i].layer)].weight[0].shape;
        assert_int_equal(s->dim[s->rank - 1], cases[i].width);
    }
    compiled_destroy(&t.compiled);
    static const struct {
        char *text;
        const char *message;
    } errors[] = {{wrong, "there is no layer \"a3\"; did you mean"},
                  {nothing, "\"a2 0\" is no layer's name, a space and a factor"},
                  {whole, "the channels of \"d\" have to be kept whole"}};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        char *list[] = {errors[i].text};
        refused(&t, &(struct target_config){.width = 1, .widths = list, .nwidths = 1}, STATUS_USAGE,
                errors[i].message);
    }
    refused(&t, &(struct target_config){.width = 1, .params = 0.5, .widths = texts, .nwidths = 2},
            STATUS_USAGE, "target.widths and a budget");
    close_source(&t);
}

/* Makes the kernel of a convolution, (3, 3, C, M), for each input channel a product of windows and outputs.
 */
static void lower_window(struct model *m, int layer, int multiplier) {
    const struct shape *shape = &m->graph->layer[layer].weight[0].shape;
    float *w = params_at(m->params, graph_first_param(m->graph, layer));
    int64_t channels = shape->dim[2], each = channels * shape->dim[3];
    for (int64_t t = multiplier; t < 9; t++)
        for (int64_t i = 0; i < each; i++)
            w[t * each + i] = w[(t % multiplier) * each + i] * (0.5f + (float)(t % 4) / 8);
}

/* A separable convolution computes what the plain one did, if its windows are products, or if the multiplier
 * is the number of the window's positions, whatever they are. */
static void test_replace(void **state) {
    (void)state;
    static char one[] = "a1 SeparableConv2D", two[] = "a2 SeparableConv2D 2", nine[] = "* SeparableConv2D 9",
                stem[] = "stem SeparableConv2D 9";
    char *few[] = {one, two}, *whole[] = {stem, nine};
    for (int all = 0; all <= 1; all++) {
        struct trial_source t;
        make_source(&two_blocks, 13, &t);
        if (!all) lower_window(t.source, graph_find_layer(t.source->graph, "a1"), 1);
        if (!all) lower_window(t.source, graph_find_layer(t.source->graph, "a2"), 2);
        write_and_open(&t);
        compile_as(&t, &(struct target_config){.width = 1, .replace = all ? whole : few, .nreplace = 2});
        const struct skeleton *s = t.compiled->skeleton;
        int separable = 0;
        for (int l = 0; l < s->graph->nlayers; l++) separable += s->part[l] == PART_SEPARABLE;
        assert_int_equal(separable,
                         all ? 1 : 2); /* with nine none gets smaller: only the one that is named */
        build_ok(compile_choose(t.compiled, NULL));
        struct model *model = migrated(&t, t.compiled->plan, t.compiled->target);
        expect_same_function(&t, model, "separable");
        model_destroy(&model);
        model = migrated(&t, t.compiled->uncut, s->graph);
        expect_same_function(&t, model, "separable, uncut");
        model_destroy(&model);
        close_source(&t);
    }
    struct trial_source t;
    make_source(&two_blocks, 13, &t);
    write_and_open(&t);
    static const struct {
        const char *text, *message;
    } errors[] = {{"a1", "is no layer's name (or *), the class"},
                  {"a1 SeparableConv2D 0", "is no layer's name (or *), the class"},
                  {"a3 SeparableConv2D", "there is no layer \"a3\"; did you mean \"a1\"?"},
                  {"a1 Dense", "cannot become a Dense; it can become a SeparableConv2D"},
                  {"b1 SeparableConv2D", "layer \"b1\" (Conv2D) cannot become"},
                  {"a1 SeparableConv2D 10", "the window of \"a1\" has 9 positions"}};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s", errors[i].text);
        char *list[] = {text};
        refused(&t, &(struct target_config){.width = 1, .replace = list, .nreplace = 1}, STATUS_USAGE,
                errors[i].message);
    }
    close_source(&t);
}

/* A new last layer; what comes before it is the source's. */
static void test_head(void **state) {
    (void)state;
    struct trial_source t;
    make_source(&two_blocks, 11, &t);
    write_and_open(&t);
    compile_as(&t, &(struct target_config){.width = 1, .head = 7});
    const struct skeleton *s = t.compiled->skeleton;
    const struct graph *g = t.compiled->target;
    int layer = graph_find_layer(g, "d"), pool = graph_layer_node(g, graph_find_layer(g, "pool"));
    assert_int_equal(g->node[g->output[0].node].out[0].dim[1], 7);
    assert_int_equal(s->part[layer], PART_NEW);
    assert_int_equal(s->origin[g->output[0].node], -1);
    assert_int_equal(s->origin[pool],
                     graph_layer_node(s->fold->graph, graph_find_layer(s->fold->graph, "pool")));
    for (int i = 0; i < t.compiled->plan->nstatements; i++) {
        const struct plan_statement *statement = &t.compiled->plan->statement[i];
        assert_int_equal(plan_is_refit(statement), statement->layer != layer);
    }
    build_ok(compile_choose(t.compiled, NULL));
    struct model *model = migrated(&t, t.compiled->plan, g);
    const float *w = params_at(model->params, model_param(g, "d", "kernel"));
    double bound = sqrt(6.0 / (6 + 7)), largest = 0;
    for (int i = 0; i < 6 * 7; i++) largest = fmax(largest, fabs(w[i]));
    assert_true(largest <= bound && largest > bound / 2);
    assert_memory_equal(params_at(model->params, model_param(g, "stem", "kernel")),
                        params_at(t.source->params, model_param(t.source->graph, "stem", "kernel")),
                        3 * 3 * 3 * 6 * sizeof(float));
    model_destroy(&model);
    close_source(&t);
}

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* What training has made is rounded, each output channel to 255 multiples of its scale; biases stay. */
static void test_precision(void **state) {
    (void)state;
    static char bytes[] = "int8";
    struct trial_source t;
    make_source(&nets[0], 9, &t);
    write_and_open(&t);
    compile_as(&t, &(struct target_config){.width = 1, .precision = bytes});
    assert_true(plan_finishes(t.compiled->plan));
    build_ok(compile_choose(t.compiled, NULL));
    struct model *model = migrated(&t, t.compiled->plan, t.compiled->target);
    expect_same_function(&t, model, "not yet rounded");
    for (int64_t i = 0; i < model->params->total; i++)
        ((float *)model->params->data)[i] *= 1.25f; /* trained */
    struct params *before = NULL;
    build_ok(params_create(model->ops, &before));
    memcpy(before->data, model->params->data, (size_t)before->total * sizeof(float));
    struct machine machine = {.world = world, .engine = t.engine, .threads = 1};
    struct finish task = {t.compiled->plan, model->ops, model->params, &(struct calibration){0}};
    build_ok(finish(&machine, &task));
    for (int p = 0; p < model->ops->nparams; p++) {
        const struct shape *shape = &model->ops->param[p].shape;
        const float *a = params_at(before, p), *b = params_at(model->params, p);
        int64_t rows, columns;
        if (shape->rank < 2) {
            assert_memory_equal(a, b, (size_t)before->count[p] * sizeof *a);
            continue;
        }
        shape_rows(shape, &rows, &columns);
        float *column = malloc((size_t)rows * sizeof *column);
        for (int64_t c = 0; c < columns; c++) {
            float largest = 0;
            for (int64_t r = 0; r < rows; r++) largest = fmaxf(largest, fabsf(a[r * columns + c]));
            for (int64_t r = 0; r < rows; r++) {
                column[r] = b[r * columns + c] / (largest / 127);
                assert_true(fabsf(b[r * columns + c] - a[r * columns + c]) <= largest / 127 * 0.5001f);
                assert_true(fabsf(column[r] - rintf(column[r])) < 1e-3f && fabsf(column[r]) < 127.01f);
            }
            qsort(column, (size_t)rows, sizeof *column, compare_floats);
            assert_true(fmaxf(column[rows - 1], -column[0]) > 126.9f);
        }
        free(column);
    }
    params_destroy(&before);
    model_destroy(&model);
    close_source(&t);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_rank),    IN_FOLDER(test_ranks), IN_FOLDER(test_depth),    IN_FOLDER(test_widths),
        IN_FOLDER(test_replace), IN_FOLDER(test_head),  IN_FOLDER(test_precision)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_stop(&world);
    return failed;
}
