/* For tests that need a source model on disk: random weights, written and opened again. Include after
 * cmocka.h, graph_build.h and worker/nets.h. */
#ifndef GODWIT_TESTS_MODEL_FILE_H
#define GODWIT_TESTS_MODEL_FILE_H

#include "io/keras.h"
#include "io/model.h"
#include "worker/engine.h"

/* A model around the graph, which it owns; random weights, variances positive. */
static inline struct model *model_random(struct graph *graph, uint64_t seed) {
    struct model *model = NULL;
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &model));
    struct params *params = net_params(model->ops, seed);
    params_destroy(&model->params);
    model->params = params;
    return model;
}

/* Parameter number of "layer/weight". */
static inline int model_param(const struct graph *graph, const char *layer, const char *weight) {
    int l = graph_find_layer(graph, layer);
    if (l < 0) fail_msg("no layer %s", layer);
    for (int w = 0; w < graph->layer[l].nweights; w++)
        if (!strcmp(graph->layer[l].weight[w].name, weight)) return graph_first_param(graph, l) + w;
    fail_msg("no weight %s/%s", layer, weight);
    return -1;
}

/* Output 0 of a graph for a batch of inputs; owned. */
static inline float *model_run(const struct engine *engine, const struct opgraph *ops, struct params *params,
                               int64_t batch, const float *x) {
    struct exec *exec = NULL;
    build_ok(engine->compile(ops, &(struct exec_options){.batch = batch, .mode = EXEC_INFER, .threads = 1},
                             &exec));
    build_ok(exec_set_params(exec, params));
    build_ok(exec_forward(exec, (const float *const[]){x}));
    size_t nbytes = (size_t)net_count(ops, ops->output[0], batch) * sizeof(float);
    float *y = malloc(nbytes);
    assert_non_null(y);
    memcpy(y, exec_output(exec, 0), nbytes);
    exec_destroy(&exec);
    return y;
}

#endif
