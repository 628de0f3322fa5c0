/* Chunks: what a migration is done in, rows of one statement's tensor at a time. */
#ifndef GODWIT_WORKER_CHUNK_H
#define GODWIT_WORKER_CHUNK_H

#include "worker/migrate.h"

struct chunk {
    int64_t number; /* among all chunks */
    int index;      /* of its statement */
    const struct plan_statement *statement;
    const struct expr *value; /* what is evaluated: see struct migration */
    int64_t first, n;         /* rows, of */
    int64_t rows, columns;    /* the tensor's */
    int owner;                /* the rank that migrates it */
};

/* The next chunk of the statements that are migrated or copied, in the program's order, the first one after
 * one that is zero; false after the last. Every rank finds the same ones, on any number of ranks all but the
 * owner. */
bool chunk_next(const struct migration *migration, struct chunk *chunk);

/* Values of the largest one. */
int64_t chunk_largest(const struct migration *migration);

#endif
