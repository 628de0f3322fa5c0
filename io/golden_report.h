/* What comparing models with golden pairs found, for people and for programs. */
#ifndef GODWIT_IO_GOLDEN_REPORT_H
#define GODWIT_IO_GOLDEN_REPORT_H

#include "io/golden.h"

struct golden_result {
    const char *engine; /* borrowed */
    char *output;       /* owned: name of its layer */
    struct golden_difference difference;
};

/* Of one model. */
struct golden_report {
    char *golden; /* owned: the pair's path; NULL: there is none */
    int64_t samples;
    double tolerance;
    int n;
    struct golden_result *result; /* [n], owned: each engine's outputs */
};

/* Appends a result; `output` is copied. */
status golden_report_add(struct golden_report *report, const char *engine, const char *output,
                         const struct golden_difference *difference) STATUS_MUST_USE;
void golden_report_clear(struct golden_report *report);
/* DATA error naming the worst output if one did not pass. */
status golden_report_verdict(const struct golden_report *report) STATUS_MUST_USE;

/* A table: engine, output, max|d|, max|y|, ratio, pass or FAIL. Owned. */
status golden_report_text(const struct golden_report *report, const char *model, char **text) STATUS_MUST_USE;
/* {"model", "golden", "samples", "tolerance", "pass", "outputs": [{"engine", "output", "max_difference",
 * "max_y", "ratio", "pass"}]}; null for numbers that are not finite. Owned. */
status golden_report_json(const struct golden_report *report, const char *model, char **json) STATUS_MUST_USE;

/* ---- several models, checked against what is kept beside them ---- */

struct verified {
    char *model;   /* owned: "name:version", or a path */
    bool digest;   /* the file's digest was recorded, and compared */
    char *problem; /* owned: what is wrong; NULL: nothing */
    struct golden_report golden;
};

void verified_clear(struct verified *verified);
/* A line a model. Owned. */
status verified_text(const struct verified *verified, int n, char **text) STATUS_MUST_USE;
/* {"models": [{"model", "pass", "problem", "digest": "checked" or null, "golden": as golden_report_json or
 * null}], "pass"}. Owned. */
status verified_json(const struct verified *verified, int n, char **json) STATUS_MUST_USE;

#endif
