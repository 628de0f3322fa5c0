/* Compiled execs of one model, kept for the next time: by the shapes of the inputs, the samples of a piece
 * and the threads. For worker/predictor.h. All functions may be called by several threads at once. */
#ifndef GODWIT_WORKER_EXEC_CACHE_H
#define GODWIT_WORKER_EXEC_CACHE_H

#include "io/model.h"
#include "worker/engine.h"

struct exec_cache;

/* The model at certain shapes of its inputs. Owned by the cache; it stays while it is held. */
struct form {
    struct opgraph *ops;
    int64_t *input, *output; /* [ninputs], [noutputs] floats of one sample */
    int64_t sample_nbytes;   /* of all values of one sample */
    double op_flops;         /* of an operation on one sample, the mean */
    /* of the cache */
    struct shape *shape; /* [ninputs] of the inputs */
    int holders;
    uint64_t used; /* when last */
    struct form *next;
};

/* One exec and what a thread needs to run it. */
struct ready {
    struct exec *exec;
    const struct form *form;
    int64_t batch;
    int threads;
    const float **in; /* [ninputs], for the caller to fill in */
    float **rest;     /* [ninputs] (batch, ...): for pieces that are not full; NULL if not asked for */
    /* of the cache */
    int ninputs;
    size_t nbytes;
    struct ready *next; /* used before this one */
};

/* The model is borrowed. At most so many forms and bytes of execs are kept, of the latter at least one. */
status exec_cache_create(const struct engine *engine, const struct model *model, int forms, size_t nbytes,
                         struct exec_cache **cache) STATUS_MUST_USE;
void exec_cache_destroy(struct exec_cache **cache); /* when nothing is held nor taken; accepts NULL */

/* The form for inputs of these shapes [ninputs], held until it is let go. Errors as model_fit(). */
status exec_cache_hold(struct exec_cache *cache, const struct shape *input,
                       struct form **form) STATUS_MUST_USE;
void exec_cache_let_go(struct exec_cache *cache, struct form *form);

/* An exec for a form that is held, of this thread alone until it is given back; with `rest` also memory for
 * inputs. Compiled if none is idle. Errors: UNSUPPORTED, MEMORY. */
status exec_cache_take(struct exec_cache *cache, const struct form *form, int64_t batch, int threads,
                       bool rest, struct ready **ready) STATUS_MUST_USE;
void exec_cache_give_back(struct exec_cache *cache, struct ready *ready);

/* What is kept: forms, idle execs, bytes of these. */
void exec_cache_count(struct exec_cache *cache, int *forms, int *execs, size_t *nbytes);

#endif
