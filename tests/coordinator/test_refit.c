/* The whole target refitted: nothing changes at full width, much is repaired at half, on any number of ranks.
 * Checks are on values reduced over the ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "coordinator/compile.h"
#include "graph_build.h"
#include "shared/evaluation.h"
#include "shared/rng.h"
#include "worker/nets.h"
#include "worker/correspondence.h"
#include "worker/decomposition.h"
#include "worker/refit.h"
#include "worker/select.h"

#include "coordinator/source_nets.h"
#include "model_file.h"

static struct comm *world, *self;
static struct log *quiet;
static const struct engine *engine;

static void all_true(bool mine) {
    bool any_false = false;
    assert_null(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

#define SAMPLES 700 /* calibration; not a whole number of blocks */
#define TESTS 64

/* Sources whose weights need no file: batch norms are folded here. */
struct fixture {
    struct model *raw; /* with its batch norms */
    struct compiled *compiled;
    struct model *source, *target;
    float *x, *fresh; /* calibration inputs; others */
};

/* The source's parameters as the folded graph has them: kernels times gamma / sqrt(variance + epsilon). */
static void fold_params(struct fixture *f) {
    const struct fold *fold = f->compiled->fold;
    const struct graph *raw = f->raw->graph, *folded = fold->graph;
    for (int l = 0; l < folded->nlayers; l++) {
        const struct layer *to = &folded->layer[l], *from = &raw->layer[fold->source_layer[l]];
        int first = graph_first_param(folded, l), from_first = graph_first_param(raw, fold->source_layer[l]);
        for (int w = 0; w < to->nweights; w++)
            for (int v = 0; v < from->nweights; v++)
                if (!strcmp(to->weight[w].name, from->weight[v].name))
                    memcpy(params_at(f->source->params, first + w), params_at(f->raw->params, from_first + v),
                           (size_t)f->source->params->count[first + w] * sizeof(float));
        int norm = fold->norm_layer[l];
        if (norm < 0) continue;
        const struct layer *n = &raw->layer[norm];
        int64_t channels = n->weight[0].shape.dim[0];
        const float *gamma = NULL, *beta = NULL, *mean = NULL, *variance = NULL;
        for (int w = 0; w < n->nweights; w++) {
            const float *p = params_at(f->raw->params, graph_first_param(raw, norm) + w);
            if (!strcmp(n->weight[w].name, "gamma")) gamma = p;
            if (!strcmp(n->weight[w].name, "beta")) beta = p;
            if (!strcmp(n->weight[w].name, "moving_mean")) mean = p;
            if (!strcmp(n->weight[w].name, "moving_variance")) variance = p;
        }
        int kernel =
            to->nweights -
            2; /* the last one before the bias; its channels are an axis or, with depthwise, the last two */
        int64_t inner = 1;
        for (int a = to->weight[kernel].out_axis + 1; a > 0 && a < to->weight[kernel].shape.rank; a++)
            inner *= to->weight[kernel].shape.dim[a];
        for (int64_t i = 0; i < f->source->params->count[first + kernel]; i++) {
            int64_t c = i / inner % channels;
            params_at(f->source->params, first + kernel)[i] *=
                (gamma ? gamma[c] : 1) / sqrtf(variance[c] + (float)layer_float(n, "epsilon"));
        }
        for (int64_t c = 0; c < channels; c++) {
            float *b = params_at(f->source->params, first + kernel + 1) + c;
            *b = (beta ? beta[c] : 0) + (*b - mean[c]) * (gamma ? gamma[c] : 1) /
                                            sqrtf(variance[c] + (float)layer_float(n, "epsilon"));
        }
    }
}

/* The target sliced from the folded source by the chosen channels. */
static void slice_params(struct fixture *f) {
    const struct plan *plan = f->compiled->plan;
    for (int i = 0; i < plan->nstatements; i++) {
        const struct plan_statement *s = &plan->statement[i];
        const struct shape *from = &f->source->graph->layer[s->layer].weight[s->weight].shape;
        int p = graph_first_param(f->target->graph, s->layer) + s->weight;
        int64_t *position[SHAPE_MAX_RANK];
        for (int a = 0; a < s->shape.rank; a++) build_ok(plan_positions(plan, s, a, &position[a]));
        for (int64_t at = 0; at < f->target->params->count[p]; at++) {
            int64_t index[SHAPE_MAX_RANK], rest = at, flat = 0;
            for (int a = s->shape.rank - 1; a >= 0; rest /= s->shape.dim[a--])
                index[a] = rest % s->shape.dim[a];
            for (int a = 0; a < s->shape.rank; a++) {
                flat = flat * from->dim[a] + (position[a] ? position[a][index[a]] : index[a]);
            }
            params_at(f->target->params, p)[at] = params_at(f->source->params, p)[flat];
        }
        for (int a = 0; a < s->shape.rank; a++) free(position[a]);
    }
}

static struct calibration calibration_of(const struct fixture *f, const struct comm *over) {
    int64_t sample = net_count(f->raw->ops, f->raw->ops->input[0], 1),
            nblocks = (SAMPLES + CALIBRATION_BLOCK - 1) / CALIBRATION_BLOCK;
    int64_t first = share_begin(nblocks, comm_rank(over), comm_size(over)) * CALIBRATION_BLOCK;
    int64_t end = share_begin(nblocks, comm_rank(over) + 1, comm_size(over)) * CALIBRATION_BLOCK;
    if (end > SAMPLES) end = SAMPLES;
    return (struct calibration){.n = end > first ? end - first : 0,
                                .total = SAMPLES,
                                .first = first / CALIBRATION_BLOCK,
                                .sample = sample,
                                .x = f->x + first * sample};
}

static struct model *model_of(const struct graph *graph) {
    struct graph *copy = NULL;
    struct model *model = NULL;
    build_ok(graph_clone(graph, &copy));
    build_ok(model_create(copy, &model));
    return model;
}

static void set_up(struct fixture *f, const struct net *net, double width, const char *select) {
    *f = (struct fixture){.raw = model_random(net->build(), 40)};
    build_ok(compile_target(f->raw->graph, "source", NULL, &(struct target_config){.width = width}, "small",
                            &f->compiled));
    f->source = model_of(f->compiled->fold->graph);
    f->target = model_of(f->compiled->target);
    fold_params(f);
    int64_t sample = net_count(f->raw->ops, f->raw->ops->input[0], 1);
    f->x = random_floats(SAMPLES * sample, 5);
    f->fresh = random_floats(TESTS * sample, 6);
    int groups = channel_map_groups(f->compiled->map);
    int64_t **chosen = calloc((size_t)groups + 1, sizeof *chosen);
    assert_non_null(chosen);
    struct machine machine = {.world = self, .log = quiet, .engine = engine, .threads = 1};
    struct calibration calibration = calibration_of(f, self);
    struct selection selection = {.method = select,
                                  .calibration = &calibration,
                                  .graph = f->compiled->fold->graph,
                                  .ops = f->source->ops,
                                  .value_of = f->source->value_of,
                                  .params = f->source->params,
                                  .map = f->compiled->map,
                                  .kept = f->compiled->kept};
    build_ok(select_channels(&machine, &selection, chosen));
    build_ok(compile_choose(f->compiled, chosen));
    for (int g = 0; g < groups; g++) free(chosen[g]);
    free(chosen);
    slice_params(f);
}

static void tear_down(struct fixture *f) {
    model_destroy(&f->target);
    model_destroy(&f->source);
    compiled_destroy(&f->compiled);
    model_destroy(&f->raw);
    free(f->x);
    free(f->fresh);
}

/* Squared error of the target's outputs against the source's (batch norms not folded), on inputs that the
 * refit has not seen, relative to the spread of the source's; the largest difference, relative to the largest
 * output. */
static double output_error(const struct fixture *f, double *largest) {
    int64_t n = net_count(f->raw->ops, f->raw->ops->output[0], TESTS);
    float *a = model_run(engine, f->raw->ops, f->raw->params, TESTS, f->fresh);
    float *b = model_run(engine, f->target->ops, f->target->params, TESTS, f->fresh);
    double error = 0, mean = 0, spread = 0, scale = 0, worst = 0;
    for (int64_t i = 0; i < n; i++) mean += a[i] / (double)n;
    for (int64_t i = 0; i < n; i++) {
        error += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        spread += (a[i] - mean) * (a[i] - mean);
        scale = fmax(scale, fabs(a[i]));
        worst = fmax(worst, fabs((double)a[i] - b[i]));
    }
    free(a);
    free(b);
    *largest = worst / scale;
    return error / spread;
}

static status refitted(struct fixture *f, const struct comm *over, int64_t relu_rounds, int64_t sweeps) {
    struct machine machine = {.world = over, .log = quiet, .engine = engine, .threads = 1};
    struct calibration calibration = calibration_of(f, over);
    struct refit_config config = {
        .samples = SAMPLES, .ridge = 1e-6, .relu_rounds = relu_rounds, .sweeps = sweeps};
    int *source_value = calloc((size_t)f->target->ops->nvalues + 1, sizeof *source_value);
    assert_non_null(source_value);
    correspond(f->target, f->source, f->compiled->skeleton->origin, f->compiled->skeleton->twin,
               source_value);
    struct refit task = {.config = &config,
                         .calibration = &calibration,
                         .source = f->source->ops,
                         .target = f->target->ops,
                         .source_value = source_value,
                         .source_params = f->source->params,
                         .target_params = f->target->params,
                         .plan = f->compiled->plan};
    status error = refit(&machine, &task);
    free(source_value);
    return error;
}

/* ---- tests ---- */

static void test_full_width_keeps_the_function(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        struct fixture f;
        double before, after;
        set_up(&f, &nets[i], 1, "first");
        output_error(&f, &before);
        build_ok(refitted(&f, world, 3, 1));
        output_error(&f, &after);
        bool right = before < 1e-5 && after < 1e-5;
        if (!right) print_error("%s: off by %g before, %g after\n", nets[i].name, before, after);
        for (int s = 0; s < f.compiled->plan->nstatements; s++) {
            const struct plan_statement *statement = &f.compiled->plan->statement[s];
            bool kernel = plan_is_refit(statement) && statement->shape.rank > 1;
            if (kernel) right = right && statement->residual < 1e-8;
            else right = right && isnan(statement->residual);
        }
        tear_down(&f);
        all_true(right);
    }
}

static void test_half_width_is_repaired(void **state) {
    (void)state;
    int better = 0;
    for (int i = 0; i < NNETS; i++) {
        struct fixture f;
        double largest;
        set_up(&f, &nets[i], 0.5, "next_layer");
        double before = output_error(&f, &largest);
        struct params *sliced = NULL;
        build_ok(params_clone(f.target->params, &sliced));
        build_ok(refitted(&f, world, 4, 0));
        double after = output_error(&f, &largest);
        memcpy(f.target->params->data, sliced->data, (size_t)sliced->total * sizeof(float));
        params_destroy(&sliced);
        build_ok(refitted(&f, world, 4, 1));
        double swept = output_error(&f, &largest);
        bool right = after < 0.6 * before && after < 1 && swept < 1.3 * after;
        better += swept < 0.95 * after;
        if (comm_is_root(world))
            print_message("%s: error %.3f sliced, %.3f refitted, %.3f after a sweep\n", nets[i].name, before,
                          after, swept);
        tear_down(&f);
        all_true(right);
    }
    all_true(better >= NNETS / 2);
}

/* The output of a layer for all calibration samples. */
static float *output_of(const struct model *m, const char *layer, const float *x, int64_t *columns) {
    struct opgraph *cut = NULL;
    int value = m->value_of[build_node(m->graph, layer)];
    build_ok(opgraph_cut(m->ops, m->ops->ninputs, m->ops->input, 1, &value, &cut));
    float *y = model_run(engine, cut, m->params, SAMPLES, x);
    *columns = cut->value[value].dim[cut->value[value].rank - 1];
    opgraph_destroy(&cut);
    return y;
}

/* Largest mean error of a kept channel, over the samples that are fitted to, relative to the largest output.
 */
static double mean_error(const struct fixture *f, const char *layer, const int64_t *kept) {
    int64_t wide, narrow, fitted = (SAMPLES / CALIBRATION_BLOCK) * CALIBRATION_BLOCK; /* the last is held */
    float *a = output_of(f->source, layer, f->x, &wide), *b = output_of(f->target, layer, f->x, &narrow);
    int value = f->target->value_of[build_node(f->target->graph, layer)];
    int64_t rows = fitted * net_count(f->target->ops, value, 1) / narrow;
    double worst = 0, scale = 0;
    for (int64_t j = 0; j < narrow; j++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++) {
            sum += (double)b[r * narrow + j] - a[r * wide + kept[j]];
            scale = fmax(scale, fabs(a[r * wide + kept[j]]));
        }
        worst = fmax(worst, fabs(sum) / (double)rows);
    }
    free(a);
    free(b);
    return worst / scale;
}

/* A residual net whose shortcut is not exact in the target. */
static struct graph *lossy_shortcut(void) {
    int x, y;
    struct graph *g = begin("-1,6,6,3", &x);
    x = on(g, "Conv2D", "c1", "filters=8 kernel_size=3 padding=same activation=relu", x);
    x = on(g, "Conv2D", "c2", "filters=8 kernel_size=3 padding=same activation=relu", x);
    y = on(g, "Conv2D", "c3", "filters=8 kernel_size=3 padding=same", x);
    x = join(g, "Add", "add", x, y);
    x = on(g, "ReLU", "r", "", x);
    x = on(g, "GlobalAveragePooling2D", "pool", "", x);
    x = on(g, "Dense", "d", "units=5", x);
    build_output(g, x);
    return g;
}

/* Where an addition follows, the last branch is fitted so that the sum is right, not the branch: by the
 * normal equation of its bias, which is not penalised, the mean error of the sum is zero. */
static void test_sum_is_right(void **state) {
    (void)state;
    const struct net net = {.name = "lossy shortcut", .build = lossy_shortcut};
    struct fixture f;
    set_up(&f, &net, 0.5, "next_layer");
    build_ok(refitted(&f, world, 0, 0));
    int64_t *kept = NULL;
    const struct plan *plan = f.compiled->plan;
    for (int i = 0; i < plan->nstatements && !kept; i++) {
        const struct plan_statement *s = &plan->statement[i];
        if (!strcmp(plan->target->layer[s->layer].name, "c3") && s->shape.rank == 4)
            build_ok(plan_positions(plan, s, 3, &kept));
    }
    assert_non_null(kept);
    double sum = mean_error(&f, "add", kept), branch = mean_error(&f, "c3", kept);
    if (!(sum < 1e-6 && branch > 1e-4))
        print_error("mean error of the sum %g, of the branch %g\n", sum, branch);
    free(kept);
    tear_down(&f);
    all_true(sum < 1e-6 && branch > 1e-4);
}

/* ---- targets with other layers than the source ---- */

static status read_raw(void *context, int layer, int weight, int64_t first, int64_t n, float *out) {
    const struct model *raw = context;
    int64_t rows, columns;
    shape_rows(&raw->graph->layer[layer].weight[weight].shape, &rows, &columns);
    memcpy(out, params_at(raw->params, graph_first_param(raw->graph, layer) + weight) + first * columns,
           (size_t)(n * columns) * sizeof *out);
    return SUCCESS;
}

static status decompose(void *context, int64_t m, int64_t n, double *a, double *u, double *s, double *vt) {
    (void)context;
    return singular_values(m, n, a, u, s, vt);
}

/* A target at full width that starts as its program says. */
static void set_up_as(struct fixture *f, const struct net *net, const struct target_config *config) {
    struct evaluation *evaluation = NULL;
    *f = (struct fixture){.raw = model_random(net->build(), 40)};
    struct evaluation_sources sources = {.context = f->raw, .read = read_raw, .svd = decompose};
    build_ok(compile_target(f->raw->graph, "source", NULL, config, "small", &f->compiled));
    build_ok(compile_choose(f->compiled, NULL));
    f->source = model_of(f->compiled->fold->graph);
    f->target = model_of(f->compiled->target);
    fold_params(f);
    build_ok(evaluation_create(f->compiled->plan, &sources, &evaluation));
    for (int i = 0; i < f->compiled->plan->nstatements; i++) {
        const struct plan_statement *s = &f->compiled->plan->statement[i];
        int64_t rows, columns;
        shape_rows(&s->shape, &rows, &columns);
        build_ok(evaluation_rows(
            evaluation, plan_start(s), 0, rows,
            params_at(f->target->params, graph_first_param(f->target->graph, s->layer) + s->weight)));
    }
    evaluation_destroy(&evaluation);
    int64_t sample = net_count(f->raw->ops, f->raw->ops->input[0], 1);
    f->x = random_floats(SAMPLES * sample, 5);
    f->fresh = random_floats(TESTS * sample, 6);
}

/* Kernels of less than half their rank; a sweep goes through both factors. */
static void test_factors_are_repaired(void **state) {
    (void)state;
    static const char *const names[] = {"plain", "residual", "concatenated"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const struct net *net = nets;
        while (strcmp(net->name, names[k]) != 0) net++;
        struct fixture f;
        double largest;
        set_up_as(&f, net, &(struct target_config){.width = 1, .rank = 0.4});
        assert_true(f.compiled->skeleton->edited);
        double before = output_error(&f, &largest);
        build_ok(refitted(&f, world, 2, 0));
        double after = output_error(&f, &largest);
        tear_down(&f);
        set_up_as(&f, net, &(struct target_config){.width = 1, .rank = 0.4});
        build_ok(refitted(&f, world, 2, 1));
        double swept = output_error(&f, &largest);
        if (comm_is_root(world))
            print_message("%s: error %.3f factored, %.3f refitted, %.3f after a sweep\n", net->name, before,
                          after, swept);
        tear_down(&f);
        all_true(after < 0.6 * before && swept < 1.3 * after); /* as at half width */
    }
}

static void test_left_out_block_is_repaired(void **state) {
    (void)state;
    const struct net net = {.name = "lossy shortcut", .build = lossy_shortcut};
    static char add[] = "add";
    char *names[] = {add};
    struct fixture f;
    double largest;
    set_up_as(&f, &net, &(struct target_config){.width = 1, .depth = names, .ndepth = 1});
    double before = output_error(&f, &largest);
    build_ok(refitted(&f, world, 2, 1));
    double after = output_error(&f, &largest);
    if (!(after < 0.5 * before)) print_error("error %g, then %g\n", before, after);
    tear_down(&f);
    all_true(after < 0.5 * before);
}

/* A person may take refit off a statement: then the second of two factors stays as it is, and so does the
 * first, which has nothing to go with, until it is fitted in a sweep towards the next layer's outputs. */
static void test_factor_that_is_not_refitted(void **state) {
    (void)state;
    struct fixture f;
    set_up_as(&f, &nets[0], &(struct target_config){.width = 1, .rank = 0.4});
    struct params *start = NULL;
    build_ok(params_clone(f.target->params, &start));
    const struct skeleton *s = f.compiled->skeleton;
    for (int i = 0; i < f.compiled->plan->nstatements; i++) {
        struct plan_statement *statement = &f.compiled->plan->statement[i];
        if (s->part[statement->layer] != PART_RIGHT || !plan_is_refit(statement)) continue;
        struct expr *refit = statement->value;
        statement->value = refit->arg[0];
        refit->nargs = 0;
        expr_destroy(&refit);
    }
    bool right = true;
    int factors = 0, fitted = 0;
    for (int sweeps = 0; sweeps <= 1; sweeps++) {
        build_ok(refitted(&f, world, 2, sweeps));
        for (int l = 0; l < f.target->graph->nlayers; l++) {
            if (s->part[l] == PART_WHOLE) continue;
            int p = graph_first_param(f.target->graph, l);
            bool same = !memcmp(params_at(f.target->params, p), params_at(start, p),
                                (size_t)start->count[p] * sizeof(float));
            right = right && (same || (sweeps && s->part[l] == PART_LEFT));
            fitted += !same;
            factors++;
        }
    }
    right = right && fitted > 0;
    params_destroy(&start);
    tear_down(&f);
    all_true(right && factors > 1);
}

static void test_ranks_do_not_matter(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        struct fixture together, alone;
        set_up(&together, &nets[i], 0.5, "next_layer");
        set_up(&alone, &nets[i], 0.5, "next_layer");
        build_ok(refitted(&together, world, 2, 1));
        build_ok(refitted(&alone, self, 2, 1));
        const struct params *a = together.target->params, *b = alone.target->params;
        bool right = !memcmp(a->data, b->data, (size_t)a->total * sizeof(float));
        if (!right) print_error("rank %d: %s: not the same bytes\n", comm_rank(world), nets[i].name);
        tear_down(&together);
        tear_down(&alone);
        all_true(right);
    }
}

/* Activations that are not finite: one error on all ranks, which names the layer. */
static void test_not_finite(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f, &nets[0], 0.5, "first");
    if (comm_rank(world) == comm_size(world) - 1)
        f.x[SAMPLES * net_count(f.raw->ops, f.raw->ops->input[0], 1) - 1] = NAN;
    status error = refitted(&f, world, 2, 1);
    bool right = status_code(error) == STATUS_DATA && strstr(status_message(error), "refit of \"c1\"");
    if (!right) print_error("%s\n", status_message(error));
    status_drop(&error);
    tear_down(&f);
    all_true(right);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = comm_split(world, comm_rank(world), 0, &self);
    if (!error) error = log_create(comm_rank(world), LOG_ERROR, &quiet);
    if (!error) error = engine_find("openblas", &engine);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_width_keeps_the_function),
        cmocka_unit_test(test_half_width_is_repaired),
        cmocka_unit_test(test_sum_is_right),
        cmocka_unit_test(test_factors_are_repaired),
        cmocka_unit_test(test_left_out_block_is_repaired),
        cmocka_unit_test(test_factor_that_is_not_refitted),
        cmocka_unit_test(test_ranks_do_not_matter),
        cmocka_unit_test(test_not_finite),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    log_destroy(&quiet);
    comm_destroy(&self);
    comm_stop(&world);
    return failed;
}
