/* For the tests of Keras files: models of ../shared, whole reads, and graphs compared. Include after
 * io_testing.h. */
#ifndef GODWIT_TESTS_KERAS_TESTING_H
#define GODWIT_TESTS_KERAS_TESTING_H

#include "io/keras.h"

/* The path of a model in ../shared/models; NULL, and said, if it is absent. Four may be in use at a time. */
static inline const char *shared_model(const char *name) {
    static char path[4][1024];
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/models/%s", GODWIT_SHARED_DIR, name);
    if (access(path[next], R_OK) == 0) return path[next];
    print_message("[   SKIP   ] %s is absent\n", path[next]);
    return NULL;
}

/* Opens a model and reads all its weights. */
static inline status load_model(const char *path, const struct keras_options *options, struct graph **graph,
                                struct params **params) {
    struct keras_file *file = NULL;
    struct opgraph *ops = NULL;
    *graph = NULL;
    *params = NULL;
    STATUS_TRY(keras_open(path, options, &file, graph));
    status error = graph_lower(*graph, &ops, NULL);
    if (!error) error = params_create(ops, params);
    if (!error) error = keras_read_params(file, *params);
    opgraph_destroy(&ops);
    keras_close(&file);
    if (error) {
        params_destroy(params);
        graph_destroy(graph);
    }
    return error;
}

static inline void assert_same_layer(const struct layer *x, const struct layer *y) {
    assert_string_equal(x->name, y->name);
    assert_ptr_equal(x->kind, y->kind);
    assert_int_equal(x->trainable, y->trainable);
    for (int i = 0; i < x->kind->nattrs; i++)
        if (!attr_equal(&x->kind->attrs[i], &x->attr[i], &y->attr[i]))
            fail_msg("layer %s: %s differs", x->name, x->kind->attrs[i].name);
}

static inline void assert_same_graph(const struct graph *a, const struct graph *b) {
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->sequential, b->sequential);
    assert_int_equal(a->keras_version, b->keras_version);
    assert_int_equal(a->nlayers, b->nlayers);
    assert_int_equal(a->nnodes, b->nnodes);
    assert_int_equal(a->ninputs, b->ninputs);
    assert_int_equal(a->noutputs, b->noutputs);
    for (int l = 0; l < a->nlayers; l++) assert_same_layer(&a->layer[l], &b->layer[l]);
    for (int i = 0; i < a->nnodes; i++) {
        assert_int_equal(a->node[i].layer, b->node[i].layer);
        assert_int_equal(a->node[i].nin, b->node[i].nin);
        assert_memory_equal(a->node[i].in, b->node[i].in, (size_t)a->node[i].nin * sizeof *a->node[i].in);
    }
    assert_memory_equal(a->output, b->output, (size_t)a->noutputs * sizeof *a->output);
    assert_memory_equal(a->input, b->input, (size_t)a->ninputs * sizeof *a->input);
}

static inline void assert_same_params(const struct params *a, const struct params *b) {
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->total, b->total);
    assert_memory_equal(a->count, b->count, (size_t)a->n * sizeof *a->count);
    assert_memory_equal(a->data, b->data, (size_t)a->total * sizeof *a->data);
}

#endif
