#include "worker/chunk.h"

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
static int64_t step_of(const struct migration *migration, const struct expr *value, int64_t rows) {
    int64_t row = widest_columns(value) * (int64_t)sizeof(float);
    if (!migration->chunk_bytes || !row) return rows;
    int64_t n = migration->chunk_bytes / row;
    return n < 1 ? 1 : n > rows ? rows : n;
}

/* To the statement's first chunk; false if it has no rows. */
static bool begin(const struct migration *migration, int index, struct chunk *chunk) {
    chunk->index = index;
    chunk->statement = &migration->plan->statement[index];
    chunk->value = migration->final ? chunk->statement->value : plan_start(chunk->statement);
    chunk->first = 0;
    shape_rows(&chunk->statement->shape, &chunk->rows, &chunk->columns);
    return chunk->rows > 0;
}

bool chunk_next(const struct migration *migration, struct chunk *chunk) {
    const struct plan *plan = migration->plan;
    bool here = false;
    if (chunk->statement) {
        chunk->first += chunk->n;
        chunk->number++;
        here = chunk->first < chunk->rows;
    }
    for (int i = chunk->statement ? chunk->index + 1 : 0; !here; i++) {
        if (i >= plan->nstatements) return false;
        bool wanted = !migration->stale || migration->stale[i] || migration->before;
        here = wanted && begin(migration, i, chunk);
    }
    int64_t step = step_of(migration, chunk->value, chunk->rows);
    chunk->n = chunk->rows - chunk->first < step ? chunk->rows - chunk->first : step;
    chunk->owner = partition_owner(migration->partition, chunk->statement->slice, chunk->number);
    return true;
}

int64_t chunk_largest(const struct migration *migration) {
    int64_t largest = 0;
    for (int i = 0; i < migration->plan->nstatements; i++) {
        struct chunk chunk = {0};
        if (!begin(migration, i, &chunk)) continue;
        int64_t count = step_of(migration, chunk.value, chunk.rows) * chunk.columns;
        if (count > largest) largest = count;
    }
    return largest;
}
