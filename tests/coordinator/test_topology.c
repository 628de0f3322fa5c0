/* Targets whose whole graph is given: matched with the source by name and place. What is the source's own
 * graph computes the same, under any names and with activations in layers or behind them; a narrower one is
 * the target of these widths; layers more than the source has begin as nothing; the rest is fitted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>

#include "coordinator/trial_source.h"
#include "coordinator/program.h"
#include "io/file.h"
#include "worker/correspondence.h"
#include "worker/refit.h"

#define SAMPLES 512

static struct log *quiet;

/* Writes a graph as a topology's JSON; frees it. */
static char *written(struct graph *g) {
    char *json = NULL, *path = in_folder("topology.json");
    build_ok(graph_infer(g));
    build_ok(keras_graph_to_json(g, &json));
    build_ok(file_write_atomic(path, json, strlen(json)));
    free(json);
    graph_destroy(&g);
    return path;
}

static void compile_to(struct trial_source *t, struct graph *topology) {
    const struct target_config config = {.topology = written(topology), .width = 0.5};
    compiled_destroy(&t->compiled);
    build_ok(compile_target(t->graph, "source.h5", NULL, &config, "small", &t->compiled));
}

/* Printed and parsed again it is the same program. */
static void expect_parsed(const struct trial_source *t) {
    const struct target_config config = {.topology = in_folder("topology.json")};
    struct compiled *again = NULL;
    struct position at;
    char *text[2];
    build_ok(plan_print(t->compiled->plan, &text[0]));
    status error = compile_program(t->graph, "source.h5", NULL, text[0], &config, "small", &again, &at);
    if (error) fail_msg("%d:%d: %s\n%s", at.line, at.column, status_message(error), text[0]);
    build_ok(plan_print(again->plan, &text[1]));
    assert_string_equal(text[1], text[0]);
    compiled_destroy(&again);
    free(text[0]);
    free(text[1]);
}

static void expect_part(const struct trial_source *t, const char *layer, enum skeleton_part part,
                        const char *source) {
    const struct skeleton *s = t->compiled->skeleton;
    int l = graph_find_layer(s->graph, layer);
    assert_true(l >= 0);
    const char *from = s->folded_layer[l] < 0 ? "" : s->fold->graph->layer[s->folded_layer[l]].name;
    if (s->part[l] != part || strcmp(from, source) != 0)
        fail_msg("\"%s\" is part %d of \"%s\", not %d of \"%s\"", layer, s->part[l], from, part, source);
}

/* The source's own graph, whatever its layers are called. */
static void test_same(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++)
        for (int renamed = 0; renamed <= 1; renamed++) {
            struct trial_source t;
            make_source(&nets[i], 7, &t);
            write_and_open(&t);
            struct graph *g = NULL, *same = NULL;
            build_ok(graph_clone(t.graph, &same));
            build_ok(graph_create("other", &g));
            for (int l = 0; l < same->nlayers; l++) {
                struct layer copy;
                char name[32];
                snprintf(name, sizeof name, "layer_%d", l);
                build_ok(layer_copy(&same->layer[l], renamed ? name : same->layer[l].name, &copy));
                build_ok(graph_add_layer(g, &copy, NULL));
            }
            for (int n = 0; n < same->nnodes; n++)
                build_ok(graph_add_node(g, same->node[n].layer, same->node[n].nin, same->node[n].in, NULL));
            for (int n = 0; n < same->ninputs; n++) build_ok(graph_add_input(g, same->input[n]));
            for (int n = 0; n < same->noutputs; n++) build_ok(graph_add_output(g, same->output[n]));
            graph_destroy(&same);
            compile_to(&t, g);
            const struct skeleton *s = t.compiled->skeleton;
            for (int l = 0; l < s->graph->nlayers; l++)
                if (s->graph->layer[l].nweights) assert_int_equal(s->part[l], PART_WHOLE);
            build_ok(compile_choose(t.compiled, NULL));
            struct model *model = migrated(&t, t.compiled->plan, t.compiled->target);
            expect_same_function(&t, model, nets[i].name);
            model_destroy(&model);
            close_source(&t);
        }
}

static struct graph *source_net(void) {
    int x;
    struct graph *g = begin("-1,9,9,2", &x);
    x = on(g, "Conv2D", "c1", "filters=8 kernel_size=3 padding=same use_bias=false", x);
    x = on(g, "BatchNormalization", "n1", "", x);
    x = on(g, "ReLU", "r1", "", x);
    x = on(g, "Conv2D", "c2", "filters=8 kernel_size=3 padding=same activation=relu", x);
    x = on(g, "Conv2D", "c3", "filters=12 kernel_size=3 strides=2 padding=same", x);
    x = on(g, "Activation", "a3", "activation=relu", x);
    x = on(g, "GlobalAveragePooling2D", "pool", "", x);
    x = on(g, "Dense", "d1", "units=10 activation=relu", x);
    x = on(g, "Dense", "d2", "units=4 activation=softmax", x);
    build_output(g, x);
    return g;
}

static const struct net whole_net = {"net", source_net, 0};

/* Activations elsewhere, layers between, and other names. */
static struct graph *rewritten(int more) {
    int x;
    struct graph *g = begin("-1,9,9,2", &x);
    x = on(g, "Conv2D", "first", "filters=8 kernel_size=3 padding=same activation=relu", x);
    if (more) x = on(g, "Conv2D", "more1", "filters=8 kernel_size=3 padding=same activation=relu", x);
    x = on(g, "Conv2D", "second", "filters=8 kernel_size=3 padding=same", x);
    x = on(g, "ReLU", "r", "", x);
    x = on(g, "Conv2D", "third", "filters=12 kernel_size=3 strides=2 padding=same activation=relu", x);
    if (more) x = on(g, "Conv2D", "more2", "filters=12 kernel_size=5 padding=same activation=relu", x);
    if (more) x = on(g, "Conv2D", "more3", "filters=12 kernel_size=1 activation=relu", x);
    x = on(g, "GlobalAveragePooling2D", "p", "", x);
    x = on(g, "Dense", "fourth", "units=10 activation=relu", x);
    if (more) x = on(g, "Dense", "more4", "units=10 activation=relu", x);
    x = on(g, "Dense", "fifth", "units=4", x);
    x = on(g, "Softmax", "s", "", x);
    build_output(g, x);
    return g;
}

static void test_rewritten(void **state) {
    (void)state;
    struct trial_source t;
    make_source(&whole_net, 3, &t);
    write_and_open(&t);
    for (int more = 0; more <= 1; more++) {
        compile_to(&t, rewritten(more));
        static const char *const pairs[][2] = {
            {"first", "c1"}, {"second", "c2"}, {"third", "c3"}, {"fourth", "d1"}, {"fifth", "d2"}};
        for (int i = 0; i < 5; i++)
            if (!more || i < 1) expect_part(&t, pairs[i][0], PART_WHOLE, pairs[i][1]);
        build_ok(compile_choose(t.compiled, NULL));
        struct model *model = migrated(&t, t.compiled->plan, t.compiled->target);
        expect_same_function(&t, model, more ? "with more layers" : "rewritten");
        model_destroy(&model);
    }
    expect_part(&t, "more3", PART_REPEATED, "c3");
    close_source(&t);
}

/* The widths of a target given as its graph: the program is that of the widths. */
static void test_narrower(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        struct trial_source t;
        open_source(&nets[i], 0.5, 7, &t);
        char *wanted = NULL, *found = NULL;
        struct graph *narrow = NULL;
        build_ok(plan_print(t.compiled->plan, &wanted));
        build_ok(graph_clone(t.compiled->target, &narrow));
        compile_to(&t, narrow);
        build_ok(plan_print(t.compiled->plan, &found));
        assert_string_equal(found, wanted);
        expect_parsed(&t);
        free(wanted);
        free(found);
        close_source(&t);
    }
}

/* ---- with other channels, and fitted ---- */

/* Fewer channels where an Add ties them to others, more elsewhere, a window that the source does not have,
 * and a separable convolution. */
static struct graph *mixed(void) {
    int x, y;
    struct graph *g = begin("-1,9,9,2", &x);
    x = on(g, "Conv2D", "a", "filters=16 kernel_size=3 padding=same activation=relu", x);
    y = on(g, "SeparableConv2D", "b",
           "filters=16 kernel_size=3 padding=same activation=relu depth_multiplier=2", x);
    x = join(g, "Add", "sum", x, y);
    x = on(g, "Conv2D", "c", "filters=8 kernel_size=5 strides=2 padding=same activation=relu", x);
    x = on(g, "GlobalAveragePooling2D", "p", "", x);
    x = on(g, "Dense", "d", "units=6", x);
    x = on(g, "Dense", "e", "units=4 activation=softmax", x);
    build_output(g, x);
    return g;
}

/* A shallow one: not every layer of the source has one. */
static struct graph *shallow(void) {
    int x;
    struct graph *g = begin("-1,9,9,2", &x);
    x = on(g, "Conv2D", "a", "filters=12 kernel_size=3 strides=2 padding=same activation=relu", x);
    x = on(g, "GlobalAveragePooling2D", "p", "", x);
    x = on(g, "Dense", "e", "units=4 activation=softmax", x);
    build_output(g, x);
    return g;
}

/* Another start than the source's, but only linear layers: what there is to fit is fitted exactly. */
static struct graph *linear(void) {
    int x;
    struct graph *g = begin("-1,6", &x);
    x = on(g, "Dense", "d1", "units=5", x);
    x = on(g, "Dense", "d2", "units=3", x);
    build_output(g, x);
    return g;
}

static struct graph *linear_given(int units) {
    int x;
    char attrs[32];
    struct graph *g = begin("-1,6", &x);
    snprintf(attrs, sizeof attrs, "units=%d", units);
    x = on(g, "Dense", "a", attrs, x);
    x = on(g, "Dense", "b", "units=3", x);
    build_output(g, x);
    return g;
}

static const struct net linear_net = {"linear", linear, 0};

/* Squared error of the model's outputs against the source's, relative to their spread. */
static double error_of(const struct trial_source *t, const struct model *model) {
    enum { TESTS = 64 };
    const struct opgraph *ops = t->source->ops;
    float *x = random_floats(net_count(ops, ops->input[0], TESTS), 78);
    float *y = model_run(t->engine, ops, t->source->params, TESTS, x);
    float *z = model_run(t->engine, model->ops, model->params, TESTS, x);
    int64_t n = net_count(ops, ops->output[0], TESTS);
    double error = 0, mean = 0, spread = 0;
    for (int64_t i = 0; i < n; i++) mean += y[i] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        error += ((double)y[i] - z[i]) * ((double)y[i] - z[i]);
        spread += (y[i] - mean) * (y[i] - mean);
    }
    free(x);
    free(y);
    free(z);
    return error / spread;
}

static void refit_model(const struct trial_source *t, struct model *model, int64_t sweeps) {
    struct machine machine = {.world = world, .log = quiet, .engine = t->engine, .threads = 1};
    struct model *source = migrated(t, t->compiled->whole, t->compiled->fold->graph);
    int64_t sample = net_count(source->ops, source->ops->input[0], 1);
    float *x = random_floats(SAMPLES * sample, 5);
    struct calibration calibration = {.n = SAMPLES, .total = SAMPLES, .sample = sample, .x = x};
    struct refit_config config = {.samples = SAMPLES, .relu_rounds = 2, .sweeps = sweeps};
    int *source_value = calloc((size_t)model->ops->nvalues + 1, sizeof *source_value);
    assert_non_null(source_value);
    correspond(model, source, t->compiled->skeleton->origin, t->compiled->skeleton->twin, source_value);
    struct refit task = {.config = &config,
                         .calibration = &calibration,
                         .source = source->ops,
                         .target = model->ops,
                         .source_value = source_value,
                         .source_params = source->params,
                         .target_params = model->params,
                         .plan = t->compiled->plan};
    build_ok(refit(&machine, &task));
    free(source_value);
    free(x);
    model_destroy(&source);
}

/* What the refit makes of the target: its error before and after. */
static void fitted(struct trial_source *t, struct graph *topology, int64_t sweeps, double error[2]) {
    compile_to(t, topology);
    expect_parsed(t);
    build_ok(compile_choose(t->compiled, NULL));
    struct model *model = migrated(t, t->compiled->plan, t->compiled->target);
    error[0] = error_of(t, model);
    refit_model(t, model, sweeps);
    error[1] = error_of(t, model);
    model_destroy(&model);
}

static void test_fitted(void **state) {
    (void)state;
    struct trial_source t;
    double error[2];
    make_source(&whole_net, 3, &t);
    write_and_open(&t);
    fitted(&t, mixed(), 1, error);
    expect_part(&t, "a", PART_PROJECTED, "c1");
    expect_part(&t, "b", PART_PROJECTED, "c2");
    expect_part(&t, "c", PART_FITTED, "c3");
    print_message("mixed: error %.3f, %.3f refitted\n", error[0], error[1]);
    assert_true(error[1] < 0.2 && error[1] < 0.3 * error[0]);
    fitted(&t, shallow(), 1, error);
    print_message("shallow: error %.3f, %.3f refitted\n", error[0], error[1]);
    assert_true(error[1] < 0.5 && error[1] < error[0]);
    close_source(&t);
}

/* Five channels between linear layers: what three outputs need of them is in three directions at most, and in
 * more there is room for all. */
static void test_linear(void **state) {
    (void)state;
    struct trial_source t;
    double error[2];
    make_source(&linear_net, 3, &t);
    write_and_open(&t);
    fitted(&t, linear_given(9), 0, error);
    expect_part(&t, "a", PART_PROJECTED, "d1");
    assert_true(error[1] < 1e-6);
    compile_to(&t, linear_given(4));
    expect_part(&t, "a", PART_WHOLE, "d1"); /* a choice of channels */
    close_source(&t);
}

/* ---- refused ---- */

static struct graph *other_ends(const char *input, const char *units) {
    int x;
    struct graph *g = begin(input, &x);
    x = on(g, "GlobalAveragePooling2D", "p", "", x);
    x = on(g, "Dense", "d", units, x);
    build_output(g, x);
    return g;
}

static void refused(struct trial_source *t, const struct target_config *config, enum status_code code,
                    const char *part) {
    build_refused(compile_target(t->graph, "source.h5", NULL, config, "small", &t->compiled), code, part);
    assert_null(t->compiled);
}

static void test_refused(void **state) {
    (void)state;
    static char bad[] = "no/such/file.json", model[] = "no/such/model.h5", depth[] = "add";
    struct trial_source t;
    make_source(&whole_net, 3, &t);
    write_and_open(&t);
    refused(&t, &(struct target_config){.topology = bad}, STATUS_IO, "no/such/file.json");
    refused(&t, &(struct target_config){.topology = model}, STATUS_IO, "no/such/model.h5");
    char *path = written(other_ends("-1,9,9,3", "units=4 activation=softmax"));
    refused(&t, &(struct target_config){.topology = path}, STATUS_USAGE,
            "takes (?, 9, 9, 3), the source (?, 9, 9, 2)");
    path = written(other_ends("-1,9,9,2", "units=5 activation=softmax"));
    refused(&t, &(struct target_config){.topology = path}, STATUS_USAGE,
            "for another number of classes use target.head");
    char *names[] = {depth};
    const struct target_config others[] = {{.topology = path, .params = 0.5},
                                           {.topology = path, .rank = 0.5},
                                           {.topology = path, .depth = names, .ndepth = 1},
                                           {.topology = path, .replace = names, .nreplace = 1},
                                           {.topology = path, .head = 3}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        refused(&t, &others[i], STATUS_USAGE, "target.topology gives the whole graph; leave target.");
    build_ok(file_write_atomic(path, "{\"class_name\": ", 15));
    refused(&t, &(struct target_config){.topology = path}, STATUS_DATA, "topology.json");
    close_source(&t);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = log_create(comm_rank(world), LOG_ERROR, &quiet);
    if (error) return 70;
    const struct CMUnitTest tests[] = {IN_FOLDER(test_same),     IN_FOLDER(test_rewritten),
                                       IN_FOLDER(test_narrower), IN_FOLDER(test_fitted),
                                       IN_FOLDER(test_linear),   IN_FOLDER(test_refused)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    log_destroy(&quiet);
    comm_stop(&world);
    return failed;
}
