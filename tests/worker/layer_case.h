/* Cases of layers: small models with weights, inputs, and the outputs that another program computed for them.
 * What a file of cases has is said in tests/data/layers/README.md. Include after cmocka.h. */
#ifndef GODWIT_TESTS_WORKER_LAYER_CASE_H
#define GODWIT_TESTS_WORKER_LAYER_CASE_H

#include "io/model.h"
#include "worker/engine.h"

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
/* Does it, and gives the model the shapes of the inputs. */
status layer_case_read(const struct layer_case *one, const char *folder,
                       struct model **model) STATUS_MUST_USE;

#define LAYER_CASE_TOLERANCE 1e-4 /* of the largest output */
/* Computes the outputs on an engine; a DATA error if they are not those of the case. */
status layer_case_compute(const struct layer_case *one, struct model *model,
                          const struct engine *engine) STATUS_MUST_USE;

/* Outputs that were computed by another program: calls `each` for every line. */
struct layer_answer {
    const char *name, *error; /* error: it could not compute them */
    int noutputs;
    struct tensor *y[LAYER_CASE_MAX_ENDS];
};
void layer_answers_read(const char *path, void (*each)(void *context, const struct layer_answer *answer),
                        void *context);

#endif
