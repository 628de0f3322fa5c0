/* A source in a file, compiled to a target, and what its programs give. Include after cmocka.h. */
#ifndef GODWIT_TESTS_COORDINATOR_TRIAL_SOURCE_H
#define GODWIT_TESTS_COORDINATOR_TRIAL_SOURCE_H

#include "io/io_testing.h"

#include "coordinator/compile.h"
#include "graph_build.h"
#include "shared/partition.h"
#include "shared/rng.h"
#include "worker/engine_check.h"
#include "worker/migrate.h"
#include "worker/nets.h"

#include "model_file.h"
#include "coordinator/source_nets.h"

#define BATCH 3

static struct comm *world; /* of the test */

struct trial_source {
    struct model *source;
    struct keras_file *file;
    struct graph *graph; /* as read from the file */
    struct compiled *compiled;
    const struct engine *engine;
};

static inline void write_and_open(struct trial_source *t) {
    char *path = in_folder("source.h5");
    keras_close(&t->file);
    graph_destroy(&t->graph);
    build_ok(model_write(path, t->source));
    build_ok(keras_open(path, NULL, &t->file, &t->graph));
}

static inline void make_source(const struct net *net, uint64_t seed, struct trial_source *t) {
    *t = (struct trial_source){0};
    build_ok(engine_find("openblas", &t->engine));
    t->source = model_random(net->build(), seed);
}

static inline void open_source(const struct net *net, double width, uint64_t seed, struct trial_source *t) {
    make_source(net, seed, t);
    write_and_open(t);
    build_ok(compile_target(t->graph, "source.h5", NULL, &(struct target_config){.width = width}, "small",
                            &t->compiled));
}

static inline void close_source(struct trial_source *t) {
    compiled_destroy(&t->compiled);
    keras_close(&t->file);
    graph_destroy(&t->graph);
    model_destroy(&t->source);
}

/* Runs a program into a model of `graph`. */
static inline struct model *migrated(const struct trial_source *t, const struct plan *plan,
                                     const struct graph *graph) {
    struct graph *copy = NULL;
    struct model *model = NULL;
    struct partition *partition = NULL;
    double *cost = calloc((size_t)plan->nslices + 1, sizeof *cost);
    assert_non_null(cost);
    build_ok(graph_clone(graph, &copy));
    build_ok(model_create(copy, &model));
    build_ok(partition_create(plan->nslices, cost, 1, &partition));
    struct machine machine = {.world = world, .engine = t->engine, .threads = 1};
    struct migration job = {.file = t->file, .plan = plan, .partition = partition};
    build_ok(migrate(&machine, &job, model->params));
    partition_destroy(&partition);
    free(cost);
    return model;
}

static inline void expect_same_function(const struct trial_source *t, const struct model *model,
                                        const char *what) {
    const struct opgraph *ops = t->source->ops;
    float *x = random_floats(net_count(ops, ops->input[0], BATCH), 77);
    float *y = model_run(t->engine, ops, t->source->params, BATCH, x);
    float *z = model_run(t->engine, model->ops, model->params, BATCH, x);
    assert_close(what, z, y, net_count(ops, ops->output[0], BATCH), 2e-5);
    free(x);
    free(y);
    free(z);
}

#endif
