#include "worker/migrate.h"

#include "shared/transform.h"
#include "worker/chunk.h"
#include "worker/decomposition.h"

#include <stdlib.h>

static status read_source(void *context, int layer, int weight, int64_t first, int64_t n, float *out) {
    return keras_read_rows(context, layer, weight, first, n, out);
}

static status decompose(void *context, int64_t m, int64_t n, double *a, double *u, double *s, double *vt) {
    (void)context;
    return singular_values(m, n, a, u, s, vt);
}

status migration_evaluation(const struct migration *migration, struct evaluation **evaluation) {
    struct evaluation_sources sources = {.context = migration->file, .read = read_source, .svd = decompose};
    return evaluation_create(migration->plan, &sources, evaluation);
}

/* A rank's chunks, evaluated in order. */
struct work {
    const struct machine *machine; /* NULL: what is done is only counted */
    const struct migration *migration;
    int rank;
    struct evaluation *evaluation;
    /* Where a chunk's rows go. */
    status (*place)(void *context, const struct chunk *chunk, float **rows);
    void *context;
};

static status evaluate_chunks(struct work *work) {
    int statement = 0;
    for (struct chunk c = {0}; chunk_next(work->migration, &c);) {
        if (c.index != statement) evaluation_forget(work->evaluation);
        statement = c.index;
        if (c.owner != work->rank) continue;
        float *rows = NULL;
        STATUS_TRY(work->place(work->context, &c, &rows));
        double begin = comm_time();
        STATUS_TRY(evaluation_rows(work->evaluation, c.value, c.first, c.n, rows));
        if (!work->machine) continue;
        machine_span(work->machine, TRACE_COMPUTE, "evaluate", c.statement->slice, c.number, begin);
        comm_alive(work->machine->world);
    }
    return SUCCESS;
}

/* ---- into memory ---- */

struct memory {
    const struct plan *plan;
    struct params *params;
};

static status place_in_memory(void *context, const struct chunk *c, float **rows) {
    const struct memory *m = context;
    int param = graph_first_param(m->plan->target, c->statement->layer) + c->statement->weight;
    *rows = params_at(m->params, param) + c->first * c->columns;
    return SUCCESS;
}

/* The owner's chunk goes to everybody. */
static status gather(const struct comm *world, const struct migration *migration, struct memory *memory) {
    for (struct chunk c = {0}; chunk_next(migration, &c);) {
        float *rows;
        STATUS_TRY(place_in_memory(memory, &c, &rows));
        STATUS_TRY(comm_bcast(world, c.owner, rows, (size_t)(c.n * c.columns) * sizeof *rows));
    }
    return SUCCESS;
}

/* numbers[rank]: the number of its node among `leaders`, the first ranks of all nodes. */
static status number_nodes(const struct machine *machine, const struct comm *leaders, int64_t *numbers) {
    int rank = comm_rank(machine->world);
    int64_t number = comm_rank(leaders);
    STATUS_TRY(comm_bcast(machine->node, 0, &number, sizeof number));
    numbers[rank] = number;
    return comm_sum_i64(machine->world, numbers, (size_t)comm_size(machine->world));
}

/* The chunks of other nodes' ranks, which one rank of a node receives for all of it. */
static status receive(const struct comm *leaders, const struct migration *migration, const int64_t *numbers,
                      struct memory *memory) {
    for (struct chunk c = {0}; chunk_next(migration, &c);) {
        float *rows;
        STATUS_TRY(place_in_memory(memory, &c, &rows));
        STATUS_TRY(
            comm_bcast(leaders, (int)numbers[c.owner], rows, (size_t)(c.n * c.columns) * sizeof *rows));
    }
    return SUCCESS;
}

/* The same where the ranks of a node have the values in common: the owner has written its chunk there. */
static status gather_shared(const struct machine *machine, const struct migration *migration,
                            struct memory *memory) {
    const struct comm *world = machine->world;
    struct comm *part = NULL; /* of all first ranks, or of all others */
    bool leads = comm_is_root(machine->node);
    int64_t *numbers = calloc((size_t)comm_size(world), sizeof *numbers);
    STATUS_TRY(comm_agree(world, numbers ? SUCCESS : status_no_memory("nodes", sizeof *numbers)));
    status error = comm_split(world, leads ? 0 : 1, comm_rank(world), &part);
    if (!error) error = number_nodes(machine, part, numbers);
    if (!error) error = params_sync(memory->params);
    if (!error && leads && comm_size(part) > 1) error = receive(part, migration, numbers, memory);
    error = comm_agree(world, error);
    if (!error) error = params_sync(memory->params);
    comm_destroy(&part);
    free(numbers);
    return error;
}

status migrate(const struct machine *machine, const struct migration *migration, struct params *params) {
    STATUS_TRY(params_sync(params)); /* nobody reads the old values any more */
    struct memory memory = {migration->plan, params};
    struct work work = {.machine = machine,
                        .migration = migration,
                        .rank = comm_rank(machine->world),
                        .place = place_in_memory,
                        .context = &memory};
    status error = migration_evaluation(migration, &work.evaluation);
    if (!error) error = evaluate_chunks(&work);
    evaluation_destroy(&work.evaluation);
    error = comm_agree(machine->world, error);
    if (error) return error;
    return params->window ? gather_shared(machine, migration, &memory)
                          : gather(machine->world, migration, &memory);
}

status migrate_part(const struct machine *machine, const struct migration *migration, struct params *part) {
    struct evaluation *evaluation = NULL;
    int statement = 0;
    status error = migration_evaluation(migration, &evaluation);
    for (struct chunk c = {0}; !error && chunk_next(migration, &c);) {
        int param = graph_first_param(migration->plan->target, c.statement->layer) + c.statement->weight;
        if (c.index != statement) evaluation_forget(evaluation);
        statement = c.index;
        if (!part->count[param]) continue;
        error =
            evaluation_rows(evaluation, c.value, c.first, c.n, params_at(part, param) + c.first * c.columns);
        comm_alive(machine->world);
    }
    evaluation_destroy(&evaluation);
    return error;
}

/* ---- what it would read ---- */

struct counter {
    const struct graph *source;
    double bytes;
    float *rows; /* one chunk */
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

static status place_nowhere(void *context, const struct chunk *chunk, float **rows) {
    struct counter *counter = context;
    (void)chunk;
    *rows = counter->rows;
    return SUCCESS;
}

status migration_bytes(const struct migration *migration, double *bytes) {
    struct counter counter = {.source = migration->plan->source};
    status error = memory_alloc("a chunk", (size_t)chunk_largest(migration), sizeof *counter.rows,
                                (void **)&counter.rows);
    for (int rank = 0; rank < migration->partition->nranks && !error; rank++) {
        struct evaluation_sources sources = {
            .context = &counter, .read = count_rows, .svd = no_decomposition};
        struct work work = {
            .migration = migration, .rank = rank, .place = place_nowhere, .context = &counter};
        counter.bytes = 0;
        error = evaluation_create(migration->plan, &sources, &work.evaluation);
        if (!error) error = evaluate_chunks(&work);
        evaluation_destroy(&work.evaluation);
        bytes[rank] = counter.bytes;
    }
    free(counter.rows);
    return error;
}
