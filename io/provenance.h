/* model.json: where a registry model comes from. */
#ifndef GODWIT_IO_PROVENANCE_H
#define GODWIT_IO_PROVENANCE_H

#include "shared/status.h"

#include <stdint.h>

struct provenance_metric {
    const char *name;
    double value;
};

struct provenance {
    const char *name;
    const char *source, *source_digest; /* NULL for a trained model */
    const char *model_digest;           /* of model.h5 */
    const char *golden_digest;          /* of golden.h5; NULL: there is none */
    const char *command_line;
    const char *config_json; /* the effective configuration */
    const char *libraries;   /* versions */
    const char *engine;
    uint64_t seed;
    int ranks, threads;
    int nmetrics;
    const struct provenance_metric *metric; /* not finite: null */
};

/* Writes `path`, complete or absent. Errors: IO, MEMORY. */
status provenance_write(const char *path, const struct provenance *provenance) STATUS_MUST_USE;

/* The digests in a model.json, owned; NULL for one that is not there. Errors: IO, DATA (not such a file). */
status provenance_digests(const char *path, char **model_digest, char **golden_digest) STATUS_MUST_USE;

/* Figures of a model.json by their names; NAN for what is not there. Errors as above. */
status provenance_figures(const char *path, int n, const char *const *name, double *value) STATUS_MUST_USE;

/* Writes `to`, a copy of the model.json `from`, for a model of the name `name` that was chosen of several:
 * with "chosen", the one it is, and "reason". Errors: IO, DATA, MEMORY. */
status provenance_choose(const char *from, const char *to, const char *name, const char *chosen,
                         const char *reason) STATUS_MUST_USE;

#endif
