/* A small source and its target, chosen and sliced, ready to be refitted on any number of ranks. Include
 * after cmocka.h. */
#ifndef GODWIT_TESTS_COORDINATOR_REFIT_FIXTURE_H
#define GODWIT_TESTS_COORDINATOR_REFIT_FIXTURE_H

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

static inline void all_true(bool mine) {
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
static inline void fold_params(struct fixture *f) {
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

static inline status read_raw(void *context, int layer, int weight, int64_t first, int64_t n, float *out) {
    const struct model *raw = context;
    int64_t rows, columns;
    shape_rows(&raw->graph->layer[layer].weight[weight].shape, &rows, &columns);
    memcpy(out, params_at(raw->params, graph_first_param(raw->graph, layer) + weight) + first * columns,
           (size_t)(n * columns) * sizeof *out);
    return SUCCESS;
}

static inline status decompose(void *context, int64_t m, int64_t n, double *a, double *u, double *s,
                               double *vt) {
    (void)context;
    return singular_values(m, n, a, u, s, vt);
}

/* The target's parameters as its program says, before anything is refitted. */
static inline void start_params(struct fixture *f) {
    struct evaluation *evaluation = NULL;
    struct evaluation_sources sources = {.context = f->raw, .read = read_raw, .svd = decompose};
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
}

static inline struct calibration calibration_of(const struct fixture *f, const struct comm *over) {
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

static inline struct model *model_of(const struct graph *graph) {
    struct graph *copy = NULL;
    struct model *model = NULL;
    build_ok(graph_clone(graph, &copy));
    build_ok(model_create(copy, &model));
    return model;
}

/* Chooses the channels, and starts with what the source has of them. */
static inline void choose_anew(struct fixture *f, const char *select) {
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
    start_params(f);
}

static inline void set_up_to(struct fixture *f, const struct net *net, const struct target_config *config,
                             const char *select) {
    *f = (struct fixture){.raw = model_random(net->build(), 40)};
    build_ok(compile_target(f->raw->graph, "source", NULL, config, "small", &f->compiled));
    f->source = model_of(f->compiled->fold->graph);
    f->target = model_of(f->compiled->target);
    fold_params(f);
    int64_t sample = net_count(f->raw->ops, f->raw->ops->input[0], 1);
    f->x = random_floats(SAMPLES * sample, 5);
    f->fresh = random_floats(TESTS * sample, 6);
    choose_anew(f, select);
}

static inline void set_up(struct fixture *f, const struct net *net, double width, const char *select) {
    set_up_to(f, net, &(struct target_config){.width = width}, select);
}

static inline void tear_down(struct fixture *f) {
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
static inline double output_error(const struct fixture *f, double *largest) {
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

static inline status refitted(struct fixture *f, const struct comm *over, int64_t relu_rounds,
                              int64_t sweeps) {
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

/* A target at full width that starts as its program says. */
static inline void set_up_as(struct fixture *f, const struct net *net, const struct target_config *config) {
    *f = (struct fixture){.raw = model_random(net->build(), 40)};
    build_ok(compile_target(f->raw->graph, "source", NULL, config, "small", &f->compiled));
    build_ok(compile_choose(f->compiled, NULL));
    f->source = model_of(f->compiled->fold->graph);
    f->target = model_of(f->compiled->target);
    fold_params(f);
    start_params(f);
    int64_t sample = net_count(f->raw->ops, f->raw->ops->input[0], 1);
    f->x = random_floats(SAMPLES * sample, 5);
    f->fresh = random_floats(TESTS * sample, 6);
}

static inline status fixture_open(int *argc, char ***argv) {
    STATUS_TRY(comm_start(argc, argv, &world));
    STATUS_TRY(comm_split(world, comm_rank(world), 0, &self));
    STATUS_TRY(log_create(comm_rank(world), LOG_ERROR, &quiet));
    return engine_find("openblas", &engine);
}

static inline void fixture_close(void) {
    log_destroy(&quiet);
    comm_destroy(&self);
    comm_stop(&world);
}

#endif
