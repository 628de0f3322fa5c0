/* Cases of layers: small models with weights, inputs, and the outputs that another program computed for them.
 * What a file of cases has is said in tests/data/layers/README.md. Include after cmocka.h. */
#ifndef GODWIT_TESTS_WORKER_LAYER_CASE_H
#define GODWIT_TESTS_WORKER_LAYER_CASE_H

#include "shared/tensor.h"

#define LAYER_CASE_MAX_ENDS 8

struct layer_case {
    char *name;   /* "conv2d/3" */
    char *oracle; /* "TensorFlow.js 4.22.0" */
    char *model;  /* model.json of a layers-model of TensorFlow.js; its weights are in weights.bin */
    float *weights;
    int64_t nweights;
    int ninputs, noutputs;
    struct tensor *x[LAYER_CASE_MAX_ENDS], *y[LAYER_CASE_MAX_ENDS];
};

struct layer_cases;

/* Opens a file of cases; fails the test if it cannot be read. */
struct layer_cases *layer_cases_open(const char *path);
/* The next case, or false at the end; the one before is gone. */
bool layer_cases_next(struct layer_cases *cases, struct layer_case *one);
void layer_cases_close(struct layer_cases *cases);
void layer_case_clear(struct layer_case *one);

/* Writes the model into a folder that exists, for keras_open(). */
void layer_case_write(const struct layer_case *one, const char *folder);

#endif
