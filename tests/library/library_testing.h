/* Models for the tests of libgodwit, whose outputs are formulas. Include after cmocka.h. */
#ifndef GODWIT_TESTS_LIBRARY_TESTING_H
#define GODWIT_TESTS_LIBRARY_TESTING_H

#include "graph_build.h"
#include "io/model.h"
#include "worker/library/godwit.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#define FASHION GODWIT_SOURCE_DIR "/configs/models/fashion_source.h5"

/* A folder of this process's own, for models. */
static inline const char *folder_make(char *folder) {
    strcpy(folder, "/tmp/godwit-library-XXXXXX");
    if (!mkdtemp(folder)) fail_msg("no folder");
    return folder;
}

static inline void folder_remove(const char *folder) {
    char command[256];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

/* y = scale * (mean of the pixels of each channel) + 1, of images of any size with two channels. */
static inline void write_means(const char *path, float scale, const char *preprocessing) {
    struct graph *graph = NULL;
    struct model *model = NULL;
    build_ok(graph_create("means", &graph));
    int x = build_input(graph, "x", "?,?,?,1");
    int mean = build_layer(graph, "GlobalAveragePooling2D", "mean", "", 1, &x);
    build_output(graph, build_layer(graph, "Dense", "y", "units=2", 1, &mean));
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &model));
    params_at(model->params, 0)[0] = scale;
    params_at(model->params, 0)[1] = -scale;
    params_at(model->params, 1)[0] = params_at(model->params, 1)[1] = 1;
    if (preprocessing) assert_non_null(model->preprocessing = strdup(preprocessing));
    build_ok(model_write(path, model));
    model_destroy(&model);
}

/* Inputs a, b (3); outputs a - b and max(a, 0). */
static inline void write_ends(const char *path) {
    struct graph *graph = NULL;
    struct model *model = NULL;
    build_ok(graph_create("ends", &graph));
    int a = build_input(graph, "a", "?,3"), b = build_input(graph, "b", "?,3");
    build_output(graph, build_layer(graph, "Subtract", "d", "", 2, (int[]){a, b}));
    build_output(graph, build_layer(graph, "ReLU", "r", "", 1, &a));
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &model));
    build_ok(model_write(path, model));
    model_destroy(&model);
}

/* The larger of each two columns of images of any size with two channels: width is halved, height is not. */
static inline void write_pairs(const char *path) {
    struct graph *graph = NULL;
    struct model *model = NULL;
    build_ok(graph_create("pairs", &graph));
    int x = build_input(graph, "x", "?,?,?,2");
    build_output(graph, build_layer(graph, "MaxPooling2D", "max", "pool_size=1,2 strides=1,2", 1, &x));
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &model));
    build_ok(model_write(path, model));
    model_destroy(&model);
}

static inline godwit_model *opened(const char *name, const godwit_options *options) {
    godwit_model *model = NULL;
    godwit_error error = {0};
    if (godwit_open(name, options, &model, &error)) fail_msg("%d: %s", error.code, error.message);
    return model;
}

#define REFUSED(call, wanted, text)                                                                          \
    do {                                                                                                     \
        godwit_error error = {0, ""};                                                                        \
        int code_ = (call);                                                                                  \
        if (code_ != (wanted) || error.code != (wanted) || !strstr(error.message, (text)))                   \
            fail_msg("%d, %d: %s", code_, error.code, error.message);                                        \
    } while (0)
#define WORKS(call)                                                                                          \
    do {                                                                                                     \
        godwit_error error = {0, ""};                                                                        \
        if ((call)) fail_msg("%d: %s", error.code, error.message);                                           \
    } while (0)

#endif
