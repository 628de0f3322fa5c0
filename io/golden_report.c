#include "io/golden_report.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

status golden_report_add(struct golden_report *report, const char *engine, const char *output,
                         const struct golden_difference *difference) {
    struct golden_result *grown = realloc(report->result, (size_t)(report->n + 1) * sizeof *grown);
    if (grown) report->result = grown;
    char *copy = grown ? strdup(output) : NULL;
    if (!copy) return status_no_memory("a report", (size_t)(report->n + 1) * sizeof *grown);
    report->result[report->n++] = (struct golden_result){engine, copy, *difference};
    return SUCCESS;
}

void golden_report_clear(struct golden_report *report) {
    for (int i = 0; i < report->n; i++) free(report->result[i].output);
    free(report->result);
    free(report->golden);
    *report = (struct golden_report){0};
}

/* The first that is not a number, else the one of the largest ratio; NULL if there is none. */
static const struct golden_result *worst(const struct golden_report *report) {
    const struct golden_result *found = NULL;
    for (int i = 0; i < report->n; i++) {
        const struct golden_result *r = &report->result[i];
        if (isnan(r->difference.difference)) return r;
        if (!found || r->difference.ratio > found->difference.ratio) found = r;
    }
    return found;
}

static bool passes(const struct golden_report *report) {
    for (int i = 0; i < report->n; i++)
        if (!report->result[i].difference.pass) return false;
    return true;
}

status golden_report_verdict(const struct golden_report *report) {
    if (passes(report)) return SUCCESS;
    const struct golden_result *r = worst(report);
    return status_fail(
        STATUS_DATA,
        "output \"%s\" on engine %s differs from %s by %.3g, %.3g of its largest value; allowed: "
        "%.3g of it",
        r->output, r->engine, report->golden, r->difference.difference, r->difference.ratio,
        report->tolerance);
}

/* ---- as text ---- */

static void print_report(FILE *out, const struct golden_report *report, const char *model) {
    int width = 6;
    for (int i = 0; i < report->n; i++) {
        int length = (int)strlen(report->result[i].output);
        if (length > width) width = length;
    }
    fprintf(out, "%s against %s, %lld sample%s, tolerance %.3g of max|y|\n", model, report->golden,
            (long long)report->samples, report->samples == 1 ? "" : "s", report->tolerance);
    fprintf(out, "%-10s  %-*s  %10s  %10s  %10s\n", "engine", width, "output", "max|d|", "max|y|", "ratio");
    for (int i = 0; i < report->n; i++) {
        const struct golden_result *r = &report->result[i];
        fprintf(out, "%-10s  %-*s  %10.2e  %10.4g  %10.1e  %s\n", r->engine, width, r->output,
                r->difference.difference, r->difference.largest, r->difference.ratio,
                r->difference.pass ? "pass" : "FAIL");
    }
}

/* The worst ratio of each engine: "onednn 1.2e-07, openblas 3e-08". */
static void print_engines(FILE *out, const struct golden_report *report) {
    for (int i = 0; i < report->n;) {
        const char *engine = report->result[i].engine;
        double ratio = 0;
        fprintf(out, "%s%s ", i ? ", " : "", engine);
        for (; i < report->n && !strcmp(report->result[i].engine, engine); i++)
            if (!(report->result[i].difference.ratio <= ratio)) ratio = report->result[i].difference.ratio;
        fprintf(out, "%.1e", ratio);
    }
}

static void print_verified(FILE *out, const struct verified *verified, int n) {
    int width = 5;
    for (int i = 0; i < n; i++)
        if ((int)strlen(verified[i].model) > width) width = (int)strlen(verified[i].model);
    for (int i = 0; i < n; i++) {
        const struct verified *v = &verified[i];
        fprintf(out, "%-*s  %s", width, v->model, v->problem ? "FAIL" : "pass");
        if (v->digest) fprintf(out, "  digest");
        if (v->golden.n) {
            fprintf(out, "%s outputs: ", v->digest ? "," : " ");
            print_engines(out, &v->golden);
        } else if (!v->problem) {
            fprintf(out, "; it has no golden pair");
        }
        if (v->problem) fprintf(out, "  %s", v->problem);
        putc('\n', out);
    }
}

static status close_text(FILE *out, char **buffer, char **text) {
    if (!out || fclose(out)) {
        free(*buffer);
        return status_no_memory("a report", 4096);
    }
    *text = *buffer;
    return SUCCESS;
}

status golden_report_text(const struct golden_report *report, const char *model, char **text) {
    char *buffer = NULL;
    size_t nbytes = 0;
    FILE *out = open_memstream(&buffer, &nbytes);
    if (out) print_report(out, report, model);
    return close_text(out, &buffer, text);
}

status verified_text(const struct verified *verified, int n, char **text) {
    char *buffer = NULL;
    size_t nbytes = 0;
    FILE *out = open_memstream(&buffer, &nbytes);
    if (out) print_verified(out, verified, n);
    return close_text(out, &buffer, text);
}

/* ---- as JSON ---- */

static cJSON *number_of(double number) {
    char text[40];
    if (!isfinite(number)) return cJSON_CreateNull();
    snprintf(text, sizeof text, "%.9g", number);
    return cJSON_CreateRaw(text);
}

/* As in io/model_report.c: cJSON's functions accept a NULL. */
static cJSON *report_of(const struct golden_report *report, const char *model) {
    cJSON *object = cJSON_CreateObject(), *outputs = cJSON_CreateArray();
    for (int i = 0; i < report->n; i++) {
        const struct golden_result *r = &report->result[i];
        cJSON *one = cJSON_CreateObject();
        cJSON_AddStringToObject(one, "engine", r->engine);
        cJSON_AddStringToObject(one, "output", r->output);
        cJSON_AddItemToObject(one, "max_difference", number_of(r->difference.difference));
        cJSON_AddItemToObject(one, "max_y", number_of(r->difference.largest));
        cJSON_AddItemToObject(one, "ratio", number_of(r->difference.ratio));
        cJSON_AddBoolToObject(one, "pass", r->difference.pass);
        cJSON_AddItemToArray(outputs, one);
    }
    cJSON_AddStringToObject(object, "model", model);
    cJSON_AddStringToObject(object, "golden", report->golden);
    cJSON_AddItemToObject(object, "samples", number_of((double)report->samples));
    cJSON_AddItemToObject(object, "tolerance", number_of(report->tolerance));
    cJSON_AddBoolToObject(object, "pass", passes(report));
    cJSON_AddItemToObject(object, "outputs", outputs);
    return object;
}

static status print_json(cJSON *object, char **json) {
    char *text = object ? cJSON_Print(object) : NULL;
    cJSON_Delete(object);
    char *line = text ? realloc(text, strlen(text) + 2) : NULL;
    if (!line) {
        free(text);
        return status_no_memory("a report", 4096);
    }
    *json = strcat(line, "\n");
    return SUCCESS;
}

status golden_report_json(const struct golden_report *report, const char *model, char **json) {
    return print_json(report_of(report, model), json);
}

status verified_json(const struct verified *verified, int n, char **json) {
    cJSON *object = cJSON_CreateObject(), *models = cJSON_CreateArray();
    bool all = true;
    for (int i = 0; i < n; i++) {
        const struct verified *v = &verified[i];
        cJSON *one = cJSON_CreateObject();
        all = all && !v->problem;
        cJSON_AddStringToObject(one, "model", v->model);
        cJSON_AddBoolToObject(one, "pass", !v->problem);
        cJSON_AddItemToObject(one, "problem",
                              v->problem ? cJSON_CreateString(v->problem) : cJSON_CreateNull());
        cJSON_AddItemToObject(one, "digest", v->digest ? cJSON_CreateString("checked") : cJSON_CreateNull());
        cJSON_AddItemToObject(one, "golden",
                              v->golden.n ? report_of(&v->golden, v->model) : cJSON_CreateNull());
        cJSON_AddItemToArray(models, one);
    }
    cJSON_AddItemToObject(object, "models", models);
    cJSON_AddBoolToObject(object, "pass", all);
    return print_json(object, json);
}

void verified_clear(struct verified *verified) {
    free(verified->model);
    free(verified->problem);
    golden_report_clear(&verified->golden);
    *verified = (struct verified){0};
}
