#include "worker/predict.h"

#include "shared/interrupt.h"
#include "worker/conveyor.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ROOMS 3
#define BLOCK_BYTES ((double)(8 << 20))
#define VALUES_BYTES ((double)(256 << 20)) /* of all values of a batch */
#define BATCH_MAX 128
#define BATCHES_LEAST                                                                                        \
    32 /* all samples are so many batches at least, and blocks, so that ranks share them                     \
        */
#define SAMPLES_SAID_MAX 5
#define ALIGNED 16 /* floats */

/* A block on its way. */
struct room {
    int64_t block, first, n;
    float **x;  /* [ninputs] batches, each in its own aligned place; owned */
    float **y;  /* [noutputs] (block, ...), owned */
    char **bad; /* [block], messages are owned */
};

struct predictor_run {
    const struct machine *machine;
    const struct predict_task *task;
    struct exec *exec;
    struct conveyor *conveyor;
    struct room room[ROOMS];
    bool *done;      /* [blocks] they are in the file */
    int64_t rest;    /* blocks that are not */
    int64_t block;   /* samples */
    int64_t *stride; /* [ninputs] floats from batch to batch */
    status error[CONVEYOR_STAGES];
    double seconds[CONVEYOR_STAGES];
    int64_t samples, bad, said;
    double total; /* samples of all ranks */
};

/* ---- sizes ---- */

static double bytes_of(const struct opgraph *ops, const int *value, int n) {
    double bytes = 0;
    for (int i = 0; i < n; i++)
        bytes += (double)shape_sample_count(&ops->value[value ? value[i] : i]) * sizeof(float);
    return bytes;
}

static int64_t clamp(double v, double low, double high) {
    return (int64_t)(v < low ? low : v > high ? high : v);
}

void predict_sizes(const struct opgraph *ops, int64_t n, int64_t batch, int64_t *use_batch,
                   int64_t *use_block) {
    double ends = bytes_of(ops, ops->input, ops->ninputs) + bytes_of(ops, ops->output, ops->noutputs),
           values = bytes_of(ops, NULL, ops->nvalues), share = ceil((double)n / BATCHES_LEAST);
    *use_batch = batch > 0 ? clamp((double)batch, 1, fmax((double)n, 1))
                           : clamp(fmin(VALUES_BYTES / fmax(values, 1), share), 1, BATCH_MAX);
    double batches = fmin(BLOCK_BYTES / fmax(ends, 1), share) / (double)*use_batch;
    *use_block = *use_batch * clamp(batches, 1, 1 << 20);
}

/* ---- rooms ---- */

static void destroy_rooms(struct predictor_run *run) {
    const struct opgraph *ops = run->task->ops;
    for (int r = 0; r < ROOMS; r++) {
        struct room *room = &run->room[r];
        for (int i = 0; room->x && i < ops->ninputs; i++) free(room->x[i]);
        for (int i = 0; room->y && i < ops->noutputs; i++) free(room->y[i]);
        for (int64_t i = 0; room->bad && i < run->block; i++) free(room->bad[i]);
        free(room->x);
        free(room->y);
        free(room->bad);
    }
    free(run->stride);
}

static status create_room(struct predictor_run *run, struct room *room) {
    const struct opgraph *ops = run->task->ops;
    size_t batches = (size_t)(run->block / run->task->batch);
    room->x = calloc((size_t)ops->ninputs + 1, sizeof *room->x);
    room->y = calloc((size_t)ops->noutputs + 1, sizeof *room->y);
    room->bad = calloc((size_t)run->block, sizeof *room->bad);
    if (!room->x || !room->y || !room->bad) return status_no_memory("samples (lower --batch)", 0);
    for (int i = 0; i < ops->ninputs; i++)
        STATUS_TRY(memory_alloc("samples (lower --batch)", batches * (size_t)run->stride[i], sizeof(float),
                                (void **)&room->x[i]));
    for (int i = 0; i < ops->noutputs; i++)
        STATUS_TRY(memory_alloc("outputs (lower --batch)", (size_t)run->block,
                                (size_t)shape_sample_count(&ops->value[ops->output[i]]) * sizeof(float),
                                (void **)&room->y[i]));
    return SUCCESS;
}

static status create_rooms(struct predictor_run *run) {
    const struct opgraph *ops = run->task->ops;
    run->stride = calloc((size_t)ops->ninputs + 1, sizeof *run->stride);
    if (!run->stride) return status_no_memory("samples", 0);
    for (int i = 0; i < ops->ninputs; i++) {
        int64_t n = run->task->batch * shape_sample_count(&ops->value[ops->input[i]]);
        run->stride[i] = (n + ALIGNED - 1) / ALIGNED * ALIGNED;
    }
    for (int r = 0; r < ROOMS; r++) STATUS_TRY(create_room(run, &run->room[r]));
    return SUCCESS;
}

static int64_t batch_size(const struct predictor_run *run, const struct room *room, int64_t at) {
    int64_t left = room->n - at;
    return left < run->task->batch ? left : run->task->batch;
}

/* ---- reading ---- */

/* The rest of the last batch repeats its last sample. */
static void fill_up(const struct opgraph *ops, int64_t n, int64_t batch, float *const *x) {
    for (int i = 0; i < ops->ninputs; i++) {
        int64_t size = shape_sample_count(&ops->value[ops->input[i]]);
        for (int64_t k = n; k < batch; k++)
            memcpy(x[i] + k * size, x[i] + (n - 1) * size, (size_t)size * sizeof(float));
    }
}

static status read_room(struct predictor_run *run, struct room *room, float **x) {
    const struct predict_task *task = run->task;
    results_block(task->results, room->block, &room->first, &room->n);
    for (int64_t at = 0; at < room->n; at += task->batch) {
        int64_t n = batch_size(run, room, at);
        for (int i = 0; i < task->ops->ninputs; i++) x[i] = room->x[i] + at / task->batch * run->stride[i];
        STATUS_TRY(samples_read(task->samples, room->first + at, n, x, room->bad + at));
        fill_up(task->ops, n, task->batch, x);
    }
    return SUCCESS;
}

/* This rank's next block from `block` on: of those that are not done every so manyth; -1: there is none. */
static int64_t next_block(const struct predictor_run *run, int64_t block, int64_t *number) {
    const struct comm *world = run->machine->world;
    for (int64_t n = results_blocks(run->task->results); block < n; block++) {
        if (run->done[block]) continue;
        if ((*number)++ % comm_size(world) == comm_rank(world)) return block;
    }
    return -1;
}

static void *read_rooms(void *argument) {
    struct predictor_run *run = argument;
    status error = SUCCESS;
    int64_t number = 0;
    float **x = calloc((size_t)run->task->ops->ninputs + 1, sizeof *x);
    if (!x) error = status_no_memory("samples", 0);
    for (int64_t block = 0; !error && (block = next_block(run, block, &number)) >= 0; block++) {
        int at = conveyor_take(run->conveyor, CONVEYOR_READ);
        if (at < 0) break;
        double start = comm_time();
        run->room[at].block = block;
        error = read_room(run, &run->room[at], x);
        run->seconds[CONVEYOR_READ] += comm_time() - start;
        if (!error) conveyor_pass(run->conveyor, CONVEYOR_READ);
    }
    free(x);
    run->error[CONVEYOR_READ] = error;
    conveyor_end(run->conveyor, CONVEYOR_READ);
    return NULL;
}

/* ---- writing ---- */

static void *write_rooms(void *argument) {
    struct predictor_run *run = argument;
    status error = SUCCESS;
    for (int at; !error && (at = conveyor_take(run->conveyor, CONVEYOR_WRITE)) >= 0;) {
        struct room *room = &run->room[at];
        double start = comm_time();
        error = results_write(run->task->results, room->block, (const float *const *)room->y, room->bad);
        for (int64_t i = 0; i < room->n; i++) {
            free(room->bad[i]);
            room->bad[i] = NULL;
        }
        run->seconds[CONVEYOR_WRITE] += comm_time() - start;
        if (!error) conveyor_pass(run->conveyor, CONVEYOR_WRITE);
    }
    run->error[CONVEYOR_WRITE] = status_first(error, results_sync(run->task->results));
    conveyor_end(run->conveyor, CONVEYOR_WRITE);
    return NULL;
}

/* ---- computing ---- */

static void take_outputs(struct predictor_run *run, struct room *room, int64_t at, int64_t n) {
    const struct opgraph *ops = run->task->ops;
    for (int i = 0; i < ops->noutputs; i++) {
        int64_t size = shape_sample_count(&ops->value[ops->output[i]]);
        float *y = room->y[i] + at * size;
        memcpy(y, exec_output(run->exec, i), (size_t)(n * size) * sizeof(float));
        for (int64_t k = 0; k < n; k++)
            for (int64_t v = 0; room->bad[at + k] && v < size; v++) y[k * size + v] = NAN;
    }
}

static void count_bad(struct predictor_run *run, const struct room *room) {
    for (int64_t i = 0; i < room->n; i++) {
        if (!room->bad[i]) continue;
        run->bad++;
        if (run->said++ < SAMPLES_SAID_MAX)
            log_line(run->machine->log, LOG_WARN, "passed over: %s", room->bad[i]);
    }
}

static status stop_here(const struct predictor_run *run) {
    return status_fail(STATUS_CHECKPOINTED,
                       "stopped by SIGTERM while predicting; run the same command again to continue from %s",
                       results_path(run->task->results));
}

static status compute_room(struct predictor_run *run, struct room *room, const float **x) {
    const struct predict_task *task = run->task;
    int nranks = comm_size(run->machine->world);
    for (int64_t at = 0; at < room->n; at += task->batch) {
        if (interrupt_requested()) return stop_here(run);
        int64_t n = batch_size(run, room, at);
        for (int i = 0; i < task->ops->ninputs; i++) x[i] = room->x[i] + at / task->batch * run->stride[i];
        STATUS_TRY(status_context(exec_forward(run->exec, x), "samples %lld to %lld",
                                  (long long)(room->first + at), (long long)(room->first + at + n - 1)));
        take_outputs(run, room, at, n);
        run->samples += n;
        /* What this rank has done stands for what all have. */
        log_progress(run->machine->log, fmin((double)(run->samples * nranks), run->total), NULL);
    }
    count_bad(run, room);
    return SUCCESS;
}

static status compute_rooms(struct predictor_run *run) {
    status error = SUCCESS;
    const float **x = calloc((size_t)run->task->ops->ninputs + 1, sizeof *x);
    if (!x) error = status_no_memory("samples", 0);
    for (int at; !error && (at = conveyor_take(run->conveyor, CONVEYOR_COMPUTE)) >= 0;) {
        double start = comm_time();
        error = compute_room(run, &run->room[at], x);
        run->seconds[CONVEYOR_COMPUTE] =
            machine_span(run->machine, TRACE_COMPUTE, "predict", -1, run->room[at].block, start) - start +
            run->seconds[CONVEYOR_COMPUTE];
        if (!error) conveyor_pass(run->conveyor, CONVEYOR_COMPUTE);
    }
    free(x);
    conveyor_end(run->conveyor, CONVEYOR_COMPUTE);
    return error;
}

static status start_exec(struct predictor_run *run) {
    const struct predict_task *task = run->task;
    const struct exec_options options = machine_forward_options(run->machine, task->batch);
    STATUS_TRY(run->machine->engine->compile(task->ops, &options, &run->exec));
    return exec_set_params(run->exec, task->params);
}

/* All three at once; the rank's own threads have ended when it returns. */
static status run_stages(struct predictor_run *run) {
    pthread_t thread[2];
    void *(*const work[])(void *) = {read_rooms, write_rooms};
    static const enum conveyor_stage stage[] = {CONVEYOR_READ, CONVEYOR_WRITE};
    status error = SUCCESS;
    bool runs[2] = {false};
    for (int i = 0; i < 2; i++) {
        int failed = pthread_create(&thread[i], NULL, work[i], run);
        runs[i] = !failed;
        if (!failed) continue;
        error = status_first(
            error, status_fail(STATUS_MEMORY, "no thread to read or write with: %s", strerror(failed)));
        conveyor_end(run->conveyor, stage[i]);
    }
    if (error) conveyor_end(run->conveyor, CONVEYOR_COMPUTE);
    else error = compute_rooms(run);
    for (int i = 0; i < 2; i++)
        if (runs[i]) pthread_join(thread[i], NULL);
    for (int i = 0; i < CONVEYOR_STAGES; i++) error = status_first(error, run->error[i]);
    return error;
}

/* ---- what is there already ---- */

static status check_blocks(struct predictor_run *run, int64_t *there, struct predict_counts *counts) {
    const struct comm *world = run->machine->world;
    for (int64_t b = comm_rank(world); b < counts->blocks; b += comm_size(world)) {
        bool known, same;
        if (interrupt_requested()) return stop_here(run);
        STATUS_TRY(results_check(run->task->results, b, &known, &same));
        there[b] = same;
        counts->resumed += same;
        counts->damaged += known && !same;
        comm_alive(world);
    }
    return SUCCESS;
}

/* Collective. */
static status look(struct predictor_run *run, struct predict_counts *counts) {
    const struct comm *world = run->machine->world;
    struct log *log = run->machine->log;
    int64_t *there = NULL;
    counts->blocks = results_blocks(run->task->results);
    status error =
        memory_alloc("a list of blocks", (size_t)counts->blocks + 1, sizeof *there, (void **)&there);
    if (!error)
        error = memory_alloc("a list of blocks", (size_t)counts->blocks + 1, sizeof *run->done,
                             (void **)&run->done);
    if (!error) error = check_blocks(run, there, counts);
    error = comm_agree(world, error);
    if (!error) error = comm_sum_i64(world, there, (size_t)counts->blocks);
    int64_t sums[] = {counts->resumed, counts->damaged};
    if (!error) error = comm_sum_i64(world, sums, 2);
    for (int64_t b = 0; b < counts->blocks && !error; b++) {
        run->done[b] = there[b] > 0;
        run->rest += !run->done[b];
    }
    free(there);
    STATUS_TRY(error);
    counts->resumed = sums[0];
    counts->damaged = sums[1];
    if (counts->resumed || counts->damaged)
        log_line(log, LOG_INFO, "resumed: %lld of %lld blocks were done", (long long)counts->resumed,
                 (long long)counts->blocks);
    if (counts->damaged && comm_is_root(world))
        log_line(log, LOG_WARN,
                 "%lld blocks in %s are not what was written: they are computed again; check the disk",
                 (long long)counts->damaged, results_path(run->task->results));
    return SUCCESS;
}

/* ---- all ---- */

/* This rank's part. */
static status run_here(struct predictor_run *run) {
    status error = conveyor_create(ROOMS, &run->conveyor);
    if (!error) error = create_rooms(run);
    if (!error) error = start_exec(run);
    if (!error) error = run_stages(run);
    exec_destroy(&run->exec);
    destroy_rooms(run);
    conveyor_destroy(&run->conveyor);
    return error;
}

status predict(const struct machine *machine, const struct predict_task *task,
               struct predict_counts *counts) {
    struct predictor_run run = {.machine = machine, .task = task};
    int64_t first;
    *counts = (struct predict_counts){0};
    if (results_blocks(task->results)) results_block(task->results, 0, &first, &run.block);
    run.block = (run.block + task->batch - 1) / task->batch * task->batch;
    interrupt_catch();
    status error = look(&run, counts);
    if (!error && run.rest) {
        run.total = fmin((double)samples_count(task->samples), (double)run.rest * (double)run.block);
        log_progress_begin(machine->log, "predict", "samples", run.total);
        error = comm_agree(machine->world, run_here(&run));
        if (!error) log_progress(machine->log, run.total, NULL);
        log_progress_end(machine->log);
    }
    int64_t sums[] = {run.samples, run.bad};
    if (!error) error = comm_sum_i64(machine->world, sums, 2);
    interrupt_release();
    free(run.done);
    counts->samples = sums[0];
    counts->bad = sums[1];
    counts->read_s = run.seconds[CONVEYOR_READ];
    counts->compute_s = run.seconds[CONVEYOR_COMPUTE];
    counts->write_s = run.seconds[CONVEYOR_WRITE];
    return error;
}
