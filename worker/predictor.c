#include "worker/predictor.h"

#include "worker/exec_cache.h"

#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

/* Measured on an AMD EPYC (Zen 4) with networks from 50 kFLOP to 130 MFLOP a sample: the time of a sample
 * falls until a piece has some 16 of them and rises again, by up to a half, when the values of a piece pass
 * 100 MB (of which an exec uses the same memory again and again); two threads gain on one from about 8 MFLOP
 * an operation on, and lose more than half if the operations are small, for waking a thread takes 10 to 40
 * microseconds. */
#define PIECE_NBYTES ((int64_t)96 << 20) /* of all values of a piece */
#define THREAD_FLOPS 4e6                 /* of an operation, for each thread */
#define SHARED_FLOPS 20e6                /* of a run that is worth being shared out over threads, or */
#define SHARED_NBYTES ((int64_t)1 << 20) /* of its values */

struct predictor {
    const struct model *model;
    struct predictor_options options;
    struct exec_cache *cache;
};

/* How a run's samples are cut into pieces: `full` of `batch`, then what is left. */
struct split {
    int64_t samples, batch, full;
    bool two_sizes; /* pieces have `batch` samples or 1, not the powers of two between */
    int threads;    /* that share the pieces out; 1: all compute each piece */
    int all;        /* threads there are */
};

/* ---- splitting ---- */

static int64_t power_below(int64_t n) {
    int64_t power = 1;
    while (power <= n / 2) power *= 2;
    return power;
}

static int64_t largest_batch(const struct predictor *p, const struct form *form) {
    if (p->options.batch > 0) return p->options.batch;
    int64_t fit = form->sample_nbytes > 0 ? PIECE_NBYTES / form->sample_nbytes : PREDICTOR_BATCH;
    return fit < 1 ? 1 : power_below(fit < PREDICTOR_BATCH ? fit : PREDICTOR_BATCH);
}

/* Threads that a run in this place may use. */
static int threads_here(const struct predictor *p) {
#ifdef _OPENMP
    if (omp_get_active_level() >= omp_get_max_active_levels()) return 1;
#endif
    return p->options.threads;
}

/* Bytes of all execs of a form, if each size of pieces has one for each of so many threads. */
static double execs_nbytes(const struct predictor *p, const struct form *form, int64_t batch, int threads) {
    int sizes = 1;
    for (int64_t b = batch; b > 1; b /= 2) sizes++;
    double params = (double)p->model->params->total * sizeof(float);
    return threads * (sizes * params + 2.0 * (double)batch * (double)form->sample_nbytes);
}

static bool worth_sharing(const struct form *form, int64_t samples) {
    double flops = form->op_flops * form->ops->nops * (double)samples;
    return flops >= SHARED_FLOPS || (double)form->sample_nbytes * (double)samples >= (double)SHARED_NBYTES;
}

static struct split split_samples(const struct predictor *p, const struct form *form, int64_t samples) {
    const double most = (double)p->options.nbytes;
    struct split s = {
        .samples = samples, .batch = largest_batch(p, form), .threads = 1, .all = threads_here(p)};
    s.two_sizes = execs_nbytes(p, form, s.batch, 1) > most;
    /* Two pieces for each thread, so that the last ones end at about the same time. */
    int64_t share = samples / (2 * s.all);
    if (s.all > 1 && worth_sharing(form, samples)) {
        if (s.two_sizes && share < s.batch) share = 0;
        else if (share > s.batch) share = s.batch;
        else if (share == 0 && samples >= s.all) share = 1;
        if (share > 0 && share < s.batch) share = power_below(share);
        if (share > 0 && execs_nbytes(p, form, share, s.all) <= most) {
            s.threads = s.all;
            s.batch = share;
        }
    }
    s.full = samples / s.batch;
    return s;
}

struct piece {
    int64_t first, samples; /* of the run */
    int64_t batch;          /* samples computed: more than there are if not full */
};

static int64_t count_pieces(const struct split *s) {
    int64_t rest = s->samples - s->full * s->batch;
    return s->full + (s->two_sizes ? rest > 0 : __builtin_popcountll((unsigned long long)rest));
}

static struct piece piece_at(const struct split *s, int64_t i) {
    if (i < s->full) return (struct piece){i * s->batch, s->batch, s->batch};
    int64_t first = s->full * s->batch, rest = s->samples - first;
    if (s->two_sizes) return (struct piece){first, rest, rest == 1 ? 1 : s->batch};
    for (int64_t k = s->full; k < i; k++) {
        first += power_below(rest);
        rest -= power_below(rest);
    }
    return (struct piece){first, power_below(rest), power_below(rest)};
}

/* Threads for one exec. */
static int exec_threads(const struct form *form, const struct split *s, int64_t batch) {
    double worth = form->op_flops * (double)batch / THREAD_FLOPS;
    if (s->threads > 1 || worth < 2) return 1;
    return worth < s->all ? (int)worth : s->all;
}

static status take(const struct predictor *p, const struct form *form, const struct split *s, int64_t batch,
                   struct ready **ready) {
    return exec_cache_take(p->cache, form, batch, exec_threads(form, s, batch), s->two_sizes && batch > 1,
                           ready);
}

/* ---- running ---- */

struct run {
    const struct predictor *predictor;
    const struct form *form;
    const struct split *split;
    const float *const *x;
    float *const *y;
};

/* Inputs of a piece that is not full: the last sample fills it up. */
static void fill(const struct ready *ready, const struct piece *piece, const float *const *x) {
    for (int i = 0; i < ready->ninputs; i++) {
        int64_t size = ready->form->input[i];
        for (int64_t k = 0; k < piece->batch; k++) {
            int64_t sample = piece->first + (k < piece->samples ? k : piece->samples - 1);
            memcpy(ready->rest[i] + k * size, x[i] + sample * size, (size_t)size * sizeof(float));
        }
        ready->in[i] = ready->rest[i];
    }
}

static status run_piece(const struct run *run, struct ready *ready, const struct piece *piece) {
    const struct form *form = run->form;
    if (piece->samples < piece->batch) fill(ready, piece, run->x);
    else
        for (int i = 0; i < ready->ninputs; i++) ready->in[i] = run->x[i] + piece->first * form->input[i];
    STATUS_TRY(exec_forward(ready->exec, ready->in));
    for (int i = 0; i < form->ops->noutputs; i++)
        memcpy(run->y[i] + piece->first * form->output[i], exec_output(ready->exec, i),
               (size_t)(piece->samples * form->output[i]) * sizeof(float));
    return SUCCESS;
}

/* The next piece of one thread, which keeps its exec as long as pieces are as large. */
static status run_next(const struct run *run, int64_t i, struct ready **ready) {
    const struct predictor *p = run->predictor;
    struct piece piece = piece_at(run->split, i);
    if (*ready && (*ready)->batch != piece.batch) {
        exec_cache_give_back(p->cache, *ready);
        *ready = NULL;
    }
    if (!*ready) STATUS_TRY(take(p, run->form, run->split, piece.batch, ready));
    return run_piece(run, *ready, &piece);
}

static void give_back(const struct run *run, struct ready *ready) {
    if (ready) exec_cache_give_back(run->predictor->cache, ready);
}

static status run_in_turn(const struct run *run, int64_t pieces) {
    struct ready *ready = NULL;
    status error = SUCCESS;
    for (int64_t i = 0; i < pieces && !error; i++) error = run_next(run, i, &ready);
    give_back(run, ready);
    return error;
}

static status run_shared(const struct run *run, int64_t pieces) {
    status first = SUCCESS;
    bool failed = false;
#pragma omp parallel num_threads(run->split->threads)
    {
        struct ready *ready = NULL;
#pragma omp for schedule(dynamic, 1)
        for (int64_t i = 0; i < pieces; i++) {
            bool stop;
#pragma omp atomic read
            stop = failed;
            status error = stop ? SUCCESS : run_next(run, i, &ready);
            if (!error) continue;
#pragma omp atomic write
            failed = true;
#pragma omp critical(predictor_error)
            first = status_first(first, error);
        }
        give_back(run, ready);
    }
    return first;
}

/* ---- the interface ---- */

status predictor_create(const struct predictor_options *options, const struct model *model,
                        struct predictor **predictor) {
    struct predictor *p = calloc(1, sizeof *p);
    if (!p) return status_no_memory("a predictor", sizeof *p);
    *p = (struct predictor){.model = model, .options = *options};
    if (p->options.threads < 1) p->options.threads = 1;
    if (!p->options.nbytes) p->options.nbytes = PREDICTOR_BYTES;
    int forms = options->forms > 0 ? options->forms : PREDICTOR_FORMS;
    status error = exec_cache_create(options->engine, model, forms, p->options.nbytes, &p->cache);
    if (error) {
        free(p);
        return error;
    }
    *predictor = p;
    return SUCCESS;
}

void predictor_destroy(struct predictor **predictor) {
    if (!*predictor) return;
    exec_cache_destroy(&(*predictor)->cache);
    free(*predictor);
    *predictor = NULL;
}

status predictor_outputs(struct predictor *predictor, const struct shape *input, struct shape *output) {
    struct form *form = NULL;
    STATUS_TRY(exec_cache_hold(predictor->cache, input, &form));
    for (int i = 0; i < form->ops->noutputs; i++) {
        output[i] = form->ops->value[form->ops->output[i]];
        output[i].dim[0] = SHAPE_UNKNOWN;
    }
    exec_cache_let_go(predictor->cache, form);
    return SUCCESS;
}

/* Execs for pieces of a size, of all threads that may run one at a time. */
static status prepare_pieces(const struct predictor *p, const struct form *form, const struct split *s,
                             int64_t batch, int64_t threads) {
    struct ready **ready = calloc((size_t)threads, sizeof *ready);
    status error = ready ? SUCCESS : status_no_memory("a predictor", (size_t)threads * sizeof *ready);
    for (int64_t i = 0; i < threads && !error; i++) error = take(p, form, s, batch, &ready[i]);
    for (int64_t i = 0; ready && i < threads; i++)
        if (ready[i]) exec_cache_give_back(p->cache, ready[i]);
    free(ready);
    return error;
}

status predictor_prepare(struct predictor *predictor, int64_t samples, const struct shape *input) {
    struct form *form = NULL;
    status error = SUCCESS;
    STATUS_TRY(exec_cache_hold(predictor->cache, input, &form));
    struct split split = split_samples(predictor, form, samples);
    if (split.full > 0)
        error = prepare_pieces(predictor, form, &split, split.batch,
                               split.full < split.threads ? split.full : split.threads);
    for (int64_t i = split.full, pieces = count_pieces(&split); i < pieces && !error; i++)
        error = prepare_pieces(predictor, form, &split, piece_at(&split, i).batch, 1);
    exec_cache_let_go(predictor->cache, form);
    return error;
}

status predictor_run(struct predictor *predictor, int64_t samples, const struct shape *input,
                     const float *const *x, float *const *y) {
    struct form *form = NULL;
    STATUS_TRY(exec_cache_hold(predictor->cache, input, &form));
    struct split split = split_samples(predictor, form, samples);
    const struct run run = {predictor, form, &split, x, y};
    int64_t pieces = count_pieces(&split);
    status error = split.threads > 1 ? run_shared(&run, pieces) : run_in_turn(&run, pieces);
    exec_cache_let_go(predictor->cache, form);
    return error;
}

void predictor_keeps(struct predictor *predictor, int *forms, int *execs, size_t *nbytes) {
    exec_cache_count(predictor->cache, forms, execs, nbytes);
}
