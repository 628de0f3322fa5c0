#include "worker/stream.h"

#include "shared/evaluation.h"
#include "shared/interrupt.h"
#include "worker/chunk.h"
#include "worker/chunk_writer.h"

#include <stdlib.h>
#include <string.h>

#define MIB 1048576.0

/* What a rank streams with. */
struct streamer {
    const struct machine *machine;
    const struct migration *migration;
    struct target_file *file;
    bool *done;     /* [chunks of all ranks] of this rank's: the file has it */
    int64_t chunks; /* of all ranks */
    double total;   /* bytes of them */
    struct evaluation *evaluation;
    struct chunk_writer *writer;
};

/* Is a chunk this rank's to do? */
static bool is_mine(const struct streamer *s, const struct chunk *c) {
    return c->owner == comm_rank(s->machine->world) &&
           target_file_has(s->file, c->statement->layer, c->statement->weight);
}

static double bytes_of(const struct chunk *c) {
    return (double)(c->n * c->columns) * sizeof(float);
}

/* What this rank has done stands for what all have. */
static void show(const struct streamer *s, double bytes) {
    log_progress(s->machine->log, bytes / MIB * comm_size(s->machine->world), NULL);
}

static status stop_here(const struct streamer *s) {
    return status_fail(STATUS_CHECKPOINTED,
                       "stopped by SIGTERM while migrating; run the same command again to continue from %s",
                       target_file_path(s->file));
}

/* ---- what is there already ---- */

static status check_chunks(struct streamer *s, struct stream_counts *counts) {
    for (struct chunk c = {0}; chunk_next(s->migration, &c);) {
        int layer = c.statement->layer, weight = c.statement->weight;
        if (!is_mine(s, &c) || !target_file_knows(s->file, layer, weight, c.first, c.n)) continue;
        if (interrupt_requested()) return stop_here(s);
        STATUS_TRY(target_file_check(s->file, layer, weight, c.first, c.n, &s->done[c.number]));
        if (s->done[c.number]) counts->resumed++;
        else counts->damaged++;
    }
    return SUCCESS;
}

static status count(struct streamer *s, struct stream_counts *counts) {
    for (struct chunk c = {0}; chunk_next(s->migration, &c);) {
        s->chunks = c.number + 1;
        if (!target_file_has(s->file, c.statement->layer, c.statement->weight)) continue;
        counts->chunks++;
        s->total += bytes_of(&c);
    }
    return memory_alloc("a list of chunks", (size_t)s->chunks + 1, sizeof *s->done, (void **)&s->done);
}

/* Collective. */
static status look(struct streamer *s, struct stream_counts *counts) {
    const struct comm *world = s->machine->world;
    status error = count(s, counts);
    if (!error) error = check_chunks(s, counts);
    STATUS_TRY(comm_agree(world, error));
    int64_t sums[] = {counts->resumed, counts->damaged};
    STATUS_TRY(comm_sum_i64(world, sums, 2));
    counts->resumed = sums[0];
    counts->damaged = sums[1];
    if (counts->resumed || counts->damaged)
        log_line(s->machine->log, LOG_INFO, "resumed: %lld of %lld chunks were done",
                 (long long)counts->resumed, (long long)counts->chunks);
    if (counts->damaged)
        log_line(s->machine->log, LOG_WARN,
                 "%lld chunks in %s are not what was written: they are migrated again; check the disk",
                 (long long)counts->damaged, target_file_path(s->file));
    return SUCCESS;
}

/* ---- the rest ---- */

/* Is it what it was before? */
static bool is_copied(const struct streamer *s, const struct chunk *c) {
    return s->migration->before && s->migration->stale && !s->migration->stale[c->index];
}

static int weight_named(const struct layer *layer, const char *name) {
    for (int w = 0; w < layer->nweights; w++)
        if (!strcmp(layer->weight[w].name, name)) return w;
    return -1;
}

/* Layers have other numbers in a file that is read back, but the same names. */
static status copy_rows(const struct streamer *s, const struct chunk *c, float *rows) {
    const struct migrated_before *before = s->migration->before;
    const struct layer *layer = &s->migration->plan->target->layer[c->statement->layer];
    const char *name = layer->weight[c->statement->weight].name;
    int l = graph_find_layer(before->graph, layer->name),
        w = l < 0 ? -1 : weight_named(&before->graph->layer[l], name);
    if (w < 0 || !shape_equal(&before->graph->layer[l].weight[w].shape, &c->statement->shape))
        return status_fail(STATUS_DATA, "the target made before has no such \"%s/%s\"; start anew",
                           layer->name, name);
    return keras_read_rows(before->file, l, w, c->first, c->n, rows);
}

static status make_chunk(struct streamer *s, const struct chunk *c, double *evaluate_s) {
    if (interrupt_requested()) return stop_here(s);
    double start = comm_time();
    float *rows = chunk_writer_room(s->writer);
    if (!rows) return SUCCESS; /* the writer's error is told when it ends */
    start = machine_span(s->machine, TRACE_WAIT, "wait for the file", c->statement->slice, c->number, start);
    STATUS_TRY(is_copied(s, c) ? copy_rows(s, c, rows)
                               : evaluation_rows(s->evaluation, c->value, c->first, c->n, rows));
    *evaluate_s +=
        machine_span(s->machine, TRACE_COMPUTE, "evaluate", c->statement->slice, c->number, start) - start;
    chunk_writer_give(s->writer, c);
    return SUCCESS;
}

static status make_chunks(struct streamer *s, struct stream_counts *counts) {
    double bytes = 0;
    int statement = 0;
    status error = migration_evaluation(s->migration, &s->evaluation);
    if (!error) error = chunk_writer_begin(s->file, chunk_largest(s->migration), &s->writer);
    for (struct chunk c = {0}; !error && chunk_next(s->migration, &c);) {
        if (c.index != statement) evaluation_forget(s->evaluation);
        statement = c.index;
        if (!is_mine(s, &c)) continue;
        if (!s->done[c.number]) error = make_chunk(s, &c, &counts->evaluate_s);
        show(s, bytes += bytes_of(&c));
    }
    double start = comm_time();
    error = chunk_writer_end(&s->writer, error, &counts->write_s);
    machine_span(s->machine, TRACE_WAIT, "wait for the file", -1, -1, start);
    evaluation_destroy(&s->evaluation);
    return error;
}

status stream(const struct machine *machine, const struct migration *migration, struct target_file *file,
              struct stream_counts *counts) {
    struct streamer s = {.machine = machine, .migration = migration, .file = file};
    *counts = (struct stream_counts){0};
    interrupt_catch();
    status error = look(&s, counts);
    if (!error) {
        log_progress_begin(machine->log, "migrate", "MiB", s.total / MIB);
        error = comm_agree(machine->world, make_chunks(&s, counts));
        if (!error) log_progress(machine->log, s.total / MIB, NULL);
        log_progress_end(machine->log);
    }
    interrupt_release();
    free(s.done);
    return error;
}

/* ---- back into memory ---- */

static status read_tensor(struct evaluation *evaluation, const struct migration *migration,
                          struct target_file *file, const struct plan_statement *s, int64_t rows,
                          float *values) {
    if (target_file_has(file, s->layer, s->weight))
        return target_file_read(file, s->layer, s->weight, 0, rows, values);
    status error = evaluation_rows(evaluation, migration->final ? s->value : plan_start(s), 0, rows, values);
    evaluation_forget(evaluation);
    return error;
}

/* Rank 0 reads, everybody gets it. */
status stream_params(const struct machine *machine, const struct migration *migration,
                     struct target_file *file, struct params *params) {
    const struct plan *plan = migration->plan;
    struct evaluation *evaluation = NULL;
    status error = comm_agree(machine->world, migration_evaluation(migration, &evaluation));
    for (int i = 0; i < plan->nstatements && !error; i++) {
        const struct plan_statement *s = &plan->statement[i];
        float *values = params_at(params, graph_first_param(plan->target, s->layer) + s->weight);
        int64_t rows, columns;
        shape_rows(&s->shape, &rows, &columns);
        if (comm_is_root(machine->world)) error = read_tensor(evaluation, migration, file, s, rows, values);
        error = comm_agree(machine->world, error);
        if (!error) error = comm_bcast(machine->world, 0, values, (size_t)(rows * columns) * sizeof *values);
    }
    evaluation_destroy(&evaluation);
    return error;
}
