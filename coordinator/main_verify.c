/* godwit verify: models of the registry against what was recorded when they were made. */
#include "coordinator/command.h"
#include "coordinator/main_commands.h"
#include "coordinator/main_golden.h"
#include "coordinator/model_arguments.h"

#include "io/digest.h"
#include "io/provenance.h"
#include "io/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODELS_MAX 256

struct options {
    struct model_arguments files; /* of its options only */
    int nmodels;
    const char *model[MODELS_MAX];
    const char *engine;
    double tolerance;
    bool json;
};

static const struct argp_option argp_options[] = {
    {"engine", 'e', "NAME", 0, "What computes: all (default), onednn, openblas", 0},
    {"tolerance", 't', "T", 0, "The largest difference allowed, as a part of max|y| (default 1e-4)", 0},
    {"json", 'j', NULL, 0, "Print JSON, for programs", 0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->files;
        options->engine = "all";
        options->tolerance = GOLDEN_TOLERANCE;
        return 0;
    case 'e':
        options->engine = arg;
        return 0;
    case 't':
        return command_argument_number(state, "--tolerance", arg, 0, 1, &options->tolerance);
    case 'j':
        options->json = true;
        return 0;
    case ARGP_KEY_ARG:
        if (options->nmodels == MODELS_MAX)
            return command_argument_error(state, "more than %d models", MODELS_MAX);
        options->model[options->nmodels++] = arg;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The path of a file beside the model. */
static status beside(const char *model, const char *file, char **path) {
    const char *slash = strrchr(model, '/');
    int folder = slash ? (int)(slash - model) + 1 : 0;
    if (asprintf(path, "%.*s%s", folder, model, file) < 0) return status_no_memory("a path", strlen(model));
    return SUCCESS;
}

static status check_digest(const char *path, const char *recorded) {
    char *digest = NULL;
    STATUS_TRY(file_digest(path, &digest));
    status error = SUCCESS;
    if (strcmp(digest, recorded) != 0)
        error = status_fail(STATUS_DATA, "%s is not the file that was published: its digest is %s, not %s",
                            path, digest, recorded);
    free(digest);
    return error;
}

/* Digests that model.json has, of files that must then be there. */
static status check_digests(const char *model, const char *golden, const char *json, bool *checked) {
    char *model_digest = NULL, *golden_digest = NULL;
    if (access(json, F_OK) != 0) return SUCCESS;
    STATUS_TRY(provenance_digests(json, &model_digest, &golden_digest));
    status error = model_digest ? check_digest(model, model_digest) : SUCCESS;
    if (!error && golden_digest) error = check_digest(golden, golden_digest);
    *checked = !error && model_digest;
    free(model_digest);
    free(golden_digest);
    return error;
}

/* All that can be checked of one model. */
static status verify_model(const struct session *session, const struct options *o, const char *model,
                           struct verified *verified) {
    char *golden = NULL, *json = NULL;
    status error = beside(model, "golden.h5", &golden);
    if (!error) error = beside(model, "model.json", &json);
    if (!error) error = check_digests(model, golden, json, &verified->digest);
    bool there = !error && access(golden, F_OK) == 0;
    if (there) {
        const struct golden_task task = {model, &o->files.keras, golden, o->engine, o->tolerance};
        error = golden_check(session, &task, &verified->golden);
        if (!error) error = golden_report_verdict(&verified->golden);
    } else if (!error && !verified->digest) {
        error = status_fail(STATUS_DATA,
                            "there is nothing to verify it by: no golden.h5 and no model.json with a "
                            "digest beside %s",
                            model);
    }
    free(golden);
    free(json);
    return error;
}

/* The models named, or all of the registry. */
static status find_models(const struct options *o, struct registry_entry **entry, int *n) {
    if (!o->nmodels) return registry_list(o->files.models, entry, n);
    struct registry_entry *e = calloc((size_t)o->nmodels, sizeof *e);
    if (!e) return status_no_memory("models", (size_t)o->nmodels * sizeof *e);
    for (int i = 0; i < o->nmodels; i++) {
        status error = registry_resolve(o->files.models, o->model[i], &e[i].path);
        if (!error && !(e[i].model = strdup(o->model[i]))) error = status_no_memory("models", 0);
        if (error) {
            registry_list_free(e, o->nmodels);
            return error;
        }
    }
    *entry = e;
    *n = o->nmodels;
    return SUCCESS;
}

static status print(const struct options *o, const struct verified *verified, int n) {
    char *text = NULL;
    STATUS_TRY(o->json ? verified_json(verified, n, &text) : verified_text(verified, n, &text));
    fputs(text, stdout);
    free(text);
    return SUCCESS;
}

/* A model that fails does not keep the others from being checked. */
static status verify_models(const struct session *session, const struct options *o,
                            const struct registry_entry *entry, int n, struct verified *verified) {
    int failed = 0;
    const struct verified *first = NULL;
    for (int i = 0; i < n; i++) {
        struct verified *v = &verified[i];
        status error = verify_model(session, o, entry[i].path, v);
        v->model = strdup(entry[i].model);
        v->problem = error ? strdup(status_message(error)) : NULL;
        bool copied = v->model && (!error || v->problem);
        failed += error != SUCCESS;
        if (error && !first) first = v;
        status_drop(&error);
        if (!copied) return status_no_memory("a report", 0);
    }
    STATUS_TRY(print(o, verified, n));
    if (!failed) return SUCCESS;
    return n == 1 ? status_fail(STATUS_DATA, "%s: %s", first->model, first->problem)
                  : status_fail(STATUS_DATA, "%d of %d models failed; %s: %s", failed, n, first->model,
                                first->problem);
}

static status run(const struct session *session, const void *parsed) {
    const struct options *o = parsed;
    struct registry_entry *entry = NULL;
    const struct engine *ignored;
    int n = 0;
    if (strcmp(o->engine, "all") != 0) STATUS_TRY(engine_find(o->engine, &ignored));
    STATUS_TRY(find_models(o, &entry, &n));
    struct verified *verified = calloc((size_t)n, sizeof *verified);
    status error = verified ? verify_models(session, o, entry, n, verified)
                            : status_no_memory("a report", (size_t)n * sizeof *verified);
    for (int i = 0; verified && i < n; i++) verified_clear(&verified[i]);
    free(verified);
    registry_list_free(entry, n);
    return error;
}

static const struct argp argp = {
    .options = argp_options,
    .parser = parse,
    .args_doc = "[MODEL...]",
    .doc =
        "Checks models against what lies beside them: the digest of the file in model.json, and the outputs "
        "in "
        "golden.h5 that the portable engine computed when the model was made, on every engine. Finds files "
        "that "
        "were damaged and builds that compute wrongly, for instance after moving to another machine. If one "
        "fails, the exit code is 65.\v"
        "MODEL is NAME[:VERSION] in the registry, or the path of a model file; without any, all versions of "
        "all "
        "models in the registry are checked. A golden.h5 of your own making (see godwit help evaluate, "
        "--golden) beside a model is checked likewise.",
    .children = (const struct argp_child[]){{&model_options_argp, 0, NULL, 0}, {0}},
};

const struct command command_verify = {.name = "verify",
                                       .summary =
                                           "models of the registry against their digests and golden outputs",
                                       .argp = &argp,
                                       .options_size = sizeof(struct options),
                                       .run = run};
