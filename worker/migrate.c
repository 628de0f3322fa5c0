#include "worker/migrate.h"

#include "io/slice_file.h"
#include "shared/transform.h"
#include "worker/decomposition.h"

#include <stdio.h>
#include <stdlib.h>

/* Where a rank's chunks go and come back from. */
struct migrator {
    const struct machine *machine;
    const struct migration *job;
    struct params *params;
    struct evaluation *evaluation;
    struct slice_file *slices; /* dynamic only */
    float *chunk;              /* dynamic only: chunk_bytes, or one row if that is more */
    int counted;               /* the rank whose chunks are counted, where nothing is migrated */
};

/* What happens to one chunk: rows [first, first + n) of a statement's tensor. */
typedef status chunk_visit(struct migrator *m, const struct plan_statement *s, int owner, int64_t first,
                           int64_t n);

static int64_t widest_columns(const struct expr *expr) {
    int64_t rows, widest;
    shape_rows(&expr->shape, &rows, &widest);
    for (int i = 0; i < expr->nargs; i++) {
        int64_t columns = widest_columns(expr->arg[i]);
        if (columns > widest) widest = columns;
    }
    return widest;
}

/* Rows of a chunk: neither they nor the source rows that they come from may pass the chunk's bytes. */
static int64_t chunk_rows(const struct migration *job, const struct plan_statement *s) {
    int64_t rows, columns;
    shape_rows(&s->shape, &rows, &columns);
    if (!job->chunk_bytes) return rows;
    int64_t widest = widest_columns(plan_start(s)), n = job->chunk_bytes / (widest * (int64_t)sizeof(float));
    return n < 1 ? 1 : n > rows ? rows : n;
}

/* Visits all chunks in the program's order; every rank visits the same ones. */
static status for_each_chunk(struct migrator *m, chunk_visit *visit) {
    const struct plan *plan = m->job->plan;
    long long chunk = 0;
    for (int i = 0; i < plan->nstatements; i++) {
        const struct plan_statement *s = &plan->statement[i];
        int64_t rows, columns, step = chunk_rows(m->job, s);
        shape_rows(&s->shape, &rows, &columns);
        for (int64_t first = 0; first < rows; first += step, chunk++)
            STATUS_TRY(visit(m, s, partition_owner(m->job->partition, s->slice, chunk), first,
                             rows - first < step ? rows - first : step));
        evaluation_forget(m->evaluation);
    }
    return SUCCESS;
}

/* Place of a chunk in the arena. */
static float *target_rows(const struct migrator *m, const struct plan_statement *s, int64_t first,
                          int64_t *columns) {
    int64_t rows;
    shape_rows(&s->shape, &rows, columns);
    return params_at(m->params, graph_first_param(m->job->plan->target, s->layer) + s->weight) +
           first * *columns;
}

static void tensor_name(const struct plan_statement *s, char *name, size_t size) {
    snprintf(name, size, "%d/%d", s->layer, s->weight);
}

static status evaluate_chunk(struct migrator *m, const struct plan_statement *s, int owner, int64_t first,
                             int64_t n) {
    if (owner != comm_rank(m->machine->world)) return SUCCESS;
    int64_t rows, columns;
    float *place = target_rows(m, s, first, &columns);
    if (!m->slices) return evaluation_rows(m->evaluation, plan_start(s), first, n, place);
    char name[32];
    tensor_name(s, name, sizeof name);
    shape_rows(&s->shape, &rows, &columns);
    STATUS_TRY(evaluation_rows(m->evaluation, plan_start(s), first, n, m->chunk));
    return slice_file_write(m->slices, name, rows, columns, first, n, m->chunk);
}

/* The owner's chunk goes to everybody. A failed read is agreed on before anybody waits for data. */
static status gather_chunk(struct migrator *m, const struct plan_statement *s, int owner, int64_t first,
                           int64_t n) {
    int64_t columns;
    float *place = target_rows(m, s, first, &columns);
    status error = SUCCESS;
    if (m->slices) {
        char name[32];
        tensor_name(s, name, sizeof name);
        if (owner == comm_rank(m->machine->world)) error = slice_file_read(m->slices, name, first, n, place);
        STATUS_TRY(comm_agree(m->machine->world, error));
    }
    return comm_bcast(m->machine->world, owner, place, (size_t)(n * columns) * sizeof(float));
}

static status read_source(void *context, int layer, int weight, int64_t first, int64_t n, float *out) {
    return keras_read_rows(context, layer, weight, first, n, out);
}

static status decompose(void *context, int64_t m, int64_t n, double *a, double *u, double *s, double *vt) {
    (void)context;
    return singular_values(m, n, a, u, s, vt);
}

static status migrator_open(struct migrator *m) {
    const struct migration *job = m->job;
    struct evaluation_sources sources = {.context = job->file, .read = read_source, .svd = decompose};
    STATUS_TRY(evaluation_create(job->plan, &sources, &m->evaluation));
    if (!job->chunk_bytes) return SUCCESS;
    int64_t largest = 0;
    for (int i = 0; i < job->plan->nstatements; i++) {
        int64_t rows, columns, n = chunk_rows(job, &job->plan->statement[i]);
        shape_rows(&job->plan->statement[i].shape, &rows, &columns);
        if (n * columns > largest) largest = n * columns;
    }
    STATUS_TRY(memory_alloc("a chunk", (size_t)largest, sizeof *m->chunk, (void **)&m->chunk));
    char path[4096];
    if (snprintf(path, sizeof path, "%s/slices-rank%d", job->folder, comm_rank(m->machine->world)) >=
        (int)sizeof path)
        return status_fail(STATUS_USAGE, "the path of the run folder is too long: \"%s\"", job->folder);
    return slice_file_create(path, &m->slices);
}

status migrate(const struct machine *machine, const struct migration *migration, struct params *params) {
    struct migrator m = {.machine = machine, .job = migration, .params = params};
    status error = migrator_open(&m);
    if (!error) error = for_each_chunk(&m, evaluate_chunk);
    if (!error && m.slices) error = slice_file_flush(m.slices);
    error = comm_agree(machine->world, error);
    if (!error) error = for_each_chunk(&m, gather_chunk);
    slice_file_remove(&m.slices);
    evaluation_destroy(&m.evaluation);
    free(m.chunk);
    return error;
}

/* ---- what it would read ---- */

struct counter {
    const struct graph *source;
    double bytes;
};

static status count_rows(void *context, int layer, int weight, int64_t first, int64_t n, float *out) {
    struct counter *counter = context;
    int64_t rows, columns;
    (void)first;
    shape_rows(&counter->source->layer[layer].weight[weight].shape, &rows, &columns);
    for (int64_t i = 0; i < n * columns; i++) out[i] = 1; /* variances are positive */
    counter->bytes += (double)(n * columns) * sizeof *out;
    return SUCCESS;
}

static status no_decomposition(void *context, int64_t m, int64_t n, double *a, double *u, double *s,
                               double *vt) {
    (void)context, (void)m, (void)n, (void)a, (void)u, (void)s, (void)vt; /* what they are is no matter */
    return SUCCESS;
}

static status count_chunk(struct migrator *m, const struct plan_statement *s, int owner, int64_t first,
                          int64_t n) {
    int64_t rows, columns;
    float *chunk = NULL;
    if (owner != m->counted) return SUCCESS;
    shape_rows(&s->shape, &rows, &columns);
    STATUS_TRY(memory_alloc("a chunk", (size_t)(n * columns), sizeof *chunk, (void **)&chunk));
    status error = evaluation_rows(m->evaluation, plan_start(s), first, n, chunk);
    free(chunk);
    return error;
}

status migration_bytes(const struct migration *migration, double *bytes) {
    status error = SUCCESS;
    for (int rank = 0; rank < migration->partition->nranks && !error; rank++) {
        struct counter counter = {.source = migration->plan->source};
        struct evaluation_sources sources = {
            .context = &counter, .read = count_rows, .svd = no_decomposition};
        struct migrator m = {.job = migration, .counted = rank};
        error = evaluation_create(migration->plan, &sources, &m.evaluation);
        if (!error) error = for_each_chunk(&m, count_chunk);
        evaluation_destroy(&m.evaluation);
        bytes[rank] = counter.bytes;
    }
    return error;
}
