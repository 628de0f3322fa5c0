#include "worker/exec_cache.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct exec_cache {
    const struct engine *engine;
    struct exec_options options; /* of all execs */
    const struct model *model;
    int most_forms;
    size_t most_nbytes;
    pthread_mutex_t lock; /* of all below; nothing is compiled while it is held */
    uint64_t clock;       /* uses so far */
    struct form *forms;
    struct ready *idle; /* the one used last comes first */
    size_t nbytes;      /* of these */
};

/* ---- forms ---- */

static void form_destroy(struct form **form) {
    struct form *f = *form;
    if (!f) return;
    opgraph_destroy(&f->ops);
    free(f->input);
    free(f->output);
    free(f->shape);
    free(f);
    *form = NULL;
}

/* Floats of one sample of each value. */
static void count_samples(const struct opgraph *ops, const int *value, int n, int64_t *count) {
    for (int i = 0; i < n; i++) count[i] = shape_sample_count(&ops->value[value[i]]);
}

static void measure(struct form *form) {
    const struct opgraph *ops = form->ops;
    double flops = 0;
    for (int i = 0; i < ops->nops; i++) {
        double of_op = op_flops(ops, &ops->op[i]);
        int64_t count = shape_sample_count(&ops->value[ops->op[i].out]);
        if (of_op > 0) flops += of_op;
        if (count > 0) form->sample_nbytes += count * (int64_t)sizeof(float);
    }
    form->op_flops = ops->nops ? flops / ops->nops : 0;
}

static status form_create(const struct model *model, const struct shape *input, struct form **form) {
    const size_t ninputs = (size_t)model->graph->ninputs, noutputs = (size_t)model->graph->noutputs;
    struct form *f = calloc(1, sizeof *f);
    if (!f) return status_no_memory("shapes", sizeof *f);
    f->input = calloc(ninputs + 1, sizeof *f->input);
    f->output = calloc(noutputs + 1, sizeof *f->output);
    f->shape = calloc(ninputs + 1, sizeof *f->shape);
    status error = f->input && f->output && f->shape
                       ? model_fit(model, input, &f->ops)
                       : status_no_memory("shapes", (ninputs + noutputs) * sizeof *f->shape);
    if (error) {
        form_destroy(&f);
        return error;
    }
    memcpy(f->shape, input, ninputs * sizeof *input);
    count_samples(f->ops, f->ops->input, f->ops->ninputs, f->input);
    count_samples(f->ops, f->ops->output, f->ops->noutputs, f->output);
    measure(f);
    *form = f;
    return SUCCESS;
}

/* The same but for the number of samples? */
static bool same_shapes(const struct shape *a, const struct shape *b, int n) {
    for (int i = 0; i < n; i++) {
        if (a[i].rank != b[i].rank) return false;
        for (int k = 1; k < a[i].rank; k++)
            if (a[i].dim[k] != b[i].dim[k]) return false;
    }
    return true;
}

/* With the lock. NULL if it is not there. */
static struct form *find_form(struct exec_cache *cache, const struct shape *input) {
    for (struct form *f = cache->forms; f; f = f->next)
        if (same_shapes(f->shape, input, f->ops->ninputs)) {
            f->holders++;
            f->used = ++cache->clock;
            return f;
        }
    return NULL;
}

/* ---- execs ---- */

static void ready_destroy(struct ready **ready) {
    struct ready *r = *ready;
    if (!r) return;
    exec_destroy(&r->exec);
    for (int i = 0; r->rest && i < r->ninputs; i++) free(r->rest[i]);
    free(r->rest);
    free((void *)r->in);
    free(r);
    *ready = NULL;
}

static status rest_create(struct ready *r) {
    r->rest = calloc((size_t)r->ninputs + 1, sizeof *r->rest);
    if (!r->rest) return status_no_memory("inputs", (size_t)r->ninputs * sizeof *r->rest);
    for (int i = 0; i < r->ninputs; i++) {
        size_t count = (size_t)(r->batch * r->form->input[i]);
        STATUS_TRY(memory_alloc("inputs", count, sizeof(float), (void **)&r->rest[i]));
        r->nbytes += count * sizeof(float);
    }
    return SUCCESS;
}

static status ready_create(const struct exec_cache *cache, const struct form *form, int64_t batch,
                           int threads, bool rest, struct ready **ready) {
    struct exec_options options = cache->options;
    options.batch = batch;
    options.threads = threads;
    if (options.precision == PRECISION_INT8 && !opgraph_same(form->ops, cache->model->ops))
        options.precision = PRECISION_FLOAT32;
    struct ready *r = calloc(1, sizeof *r);
    if (!r) return status_no_memory("a compiled model", sizeof *r);
    r->form = form;
    r->batch = batch;
    r->threads = threads;
    r->ninputs = form->ops->ninputs;
    r->in = calloc((size_t)r->ninputs + 1, sizeof *r->in);
    status error = r->in ? SUCCESS : status_no_memory("inputs", (size_t)r->ninputs * sizeof *r->in);
    if (!error && rest) error = rest_create(r);
    if (!error) error = cache->engine->compile(form->ops, &options, &r->exec);
    if (!error) error = exec_set_params(r->exec, cache->model->params);
    if (error) {
        ready_destroy(&r);
        return error;
    }
    r->nbytes += exec_memory(r->exec);
    *ready = r;
    return SUCCESS;
}

/* Takes an exec out of the list of idle ones. With the lock. */
static struct ready *unlink_ready(struct exec_cache *cache, struct ready **at) {
    struct ready *r = *at;
    *at = r->next;
    r->next = NULL;
    cache->nbytes -= r->nbytes;
    return r;
}

/* ---- what is too much; with the lock, returns what is to be destroyed without it ---- */

static struct ready *unlink_last(struct exec_cache *cache) {
    struct ready **at = &cache->idle;
    while ((*at)->next) at = &(*at)->next;
    return unlink_ready(cache, at);
}

static struct form *unlink_oldest_form(struct exec_cache *cache) {
    struct form **oldest = NULL;
    int n = 0;
    for (struct form **at = &cache->forms; *at; at = &(*at)->next) {
        n++;
        if (!(*at)->holders && (!oldest || (*at)->used < (*oldest)->used)) oldest = at;
    }
    if (n <= cache->most_forms || !oldest) return NULL;
    struct form *form = *oldest;
    *oldest = form->next;
    return form;
}

/* Moves the execs of a form to `trash`. */
static void unlink_execs(struct exec_cache *cache, const struct form *form, struct ready **trash) {
    for (struct ready **at = &cache->idle; *at;) {
        if ((*at)->form != form) {
            at = &(*at)->next;
            continue;
        }
        struct ready *r = unlink_ready(cache, at);
        r->next = *trash;
        *trash = r;
    }
}

static void throw_away(struct ready **trash) {
    while (*trash) {
        struct ready *r = *trash;
        *trash = r->next;
        ready_destroy(&r);
    }
}

/* Drops forms that nobody holds until few enough are left. */
static void tidy_forms(struct exec_cache *cache) {
    struct form *form;
    do {
        struct ready *trash = NULL;
        pthread_mutex_lock(&cache->lock);
        form = unlink_oldest_form(cache);
        if (form) unlink_execs(cache, form, &trash);
        pthread_mutex_unlock(&cache->lock);
        throw_away(&trash);
        form_destroy(&form);
    } while (form);
}

/* ---- the interface ---- */

status exec_cache_create(const struct engine *engine, const struct exec_options *options,
                         const struct model *model, int forms, size_t nbytes, struct exec_cache **cache) {
    struct exec_cache *c = calloc(1, sizeof *c);
    if (!c) return status_no_memory("a predictor", sizeof *c);
    *c = (struct exec_cache){
        .engine = engine, .options = *options, .model = model, .most_forms = forms, .most_nbytes = nbytes};
    pthread_mutex_init(&c->lock, NULL);
    *cache = c;
    return SUCCESS;
}

void exec_cache_destroy(struct exec_cache **cache) {
    struct exec_cache *c = *cache;
    if (!c) return;
    throw_away(&c->idle);
    while (c->forms) {
        struct form *form = c->forms;
        c->forms = form->next;
        form_destroy(&form);
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
    *cache = NULL;
}

status exec_cache_hold(struct exec_cache *cache, const struct shape *input, struct form **form) {
    pthread_mutex_lock(&cache->lock);
    *form = find_form(cache, input);
    pthread_mutex_unlock(&cache->lock);
    if (*form) return SUCCESS;
    struct form *made = NULL;
    STATUS_TRY(form_create(cache->model, input, &made));
    pthread_mutex_lock(&cache->lock);
    *form = find_form(cache, input); /* another thread may have made it meanwhile */
    if (!*form) {
        made->holders = 1;
        made->used = ++cache->clock;
        made->next = cache->forms;
        cache->forms = *form = made;
        made = NULL;
    }
    pthread_mutex_unlock(&cache->lock);
    form_destroy(&made);
    return SUCCESS;
}

void exec_cache_let_go(struct exec_cache *cache, struct form *form) {
    pthread_mutex_lock(&cache->lock);
    form->holders--;
    pthread_mutex_unlock(&cache->lock);
    tidy_forms(cache);
}

status exec_cache_take(struct exec_cache *cache, const struct form *form, int64_t batch, int threads,
                       bool rest, struct ready **ready) {
    struct ready *found = NULL;
    pthread_mutex_lock(&cache->lock);
    for (struct ready **at = &cache->idle; *at; at = &(*at)->next)
        if ((*at)->form == form && (*at)->batch == batch && (*at)->threads == threads &&
            (!rest || (*at)->rest)) {
            found = unlink_ready(cache, at);
            break;
        }
    pthread_mutex_unlock(&cache->lock);
    *ready = found;
    return found ? SUCCESS : ready_create(cache, form, batch, threads, rest, ready);
}

void exec_cache_give_back(struct exec_cache *cache, struct ready *ready) {
    struct ready *trash = NULL;
    pthread_mutex_lock(&cache->lock);
    ready->next = cache->idle;
    cache->idle = ready;
    cache->nbytes += ready->nbytes;
    while (cache->nbytes > cache->most_nbytes && cache->idle->next) {
        struct ready *last = unlink_last(cache);
        last->next = trash;
        trash = last;
    }
    pthread_mutex_unlock(&cache->lock);
    throw_away(&trash);
}

void exec_cache_count(struct exec_cache *cache, int *forms, int *execs, size_t *nbytes) {
    *forms = *execs = 0;
    pthread_mutex_lock(&cache->lock);
    for (const struct form *f = cache->forms; f; f = f->next) ++*forms;
    for (const struct ready *r = cache->idle; r; r = r->next) ++*execs;
    *nbytes = cache->nbytes;
    pthread_mutex_unlock(&cache->lock);
}
