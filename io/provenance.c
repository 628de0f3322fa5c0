#include "io/provenance.h"
#include "io/file.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PROVENANCE_MAX_BYTES ((size_t)16 << 20)

static bool add_text(cJSON *object, const char *key, const char *text) {
    return (text ? cJSON_AddStringToObject(object, key, text) : cJSON_AddNullToObject(object, key)) != NULL;
}

static bool add_number(cJSON *object, const char *key, double number) {
    return (isfinite(number) ? cJSON_AddNumberToObject(object, key, number)
                             : cJSON_AddNullToObject(object, key)) != NULL;
}

static bool add_all(cJSON *root, const struct provenance *p) {
    char created[32], seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, p->seed); /* cJSON prints 15 digits */
    time_t now = time(NULL);
    struct tm utc;
    strftime(created, sizeof created, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    bool ok = add_text(root, "name", p->name) && add_text(root, "created", created) &&
              add_text(root, "source", p->source) && add_text(root, "source_digest", p->source_digest) &&
              add_text(root, "model_digest", p->model_digest) &&
              add_text(root, "golden_digest", p->golden_digest) &&
              add_text(root, "command_line", p->command_line) && add_text(root, "godwit", GODWIT_VERSION) &&
              add_text(root, "libraries", p->libraries) && add_text(root, "engine", p->engine) &&
              cJSON_AddRawToObject(root, "seed", seed) && add_number(root, "ranks", p->ranks) &&
              add_number(root, "threads_per_rank", p->threads);
    cJSON *metrics = ok ? cJSON_AddObjectToObject(root, "metrics") : NULL;
    for (int i = 0; i < p->nmetrics && metrics && ok; i++)
        ok = add_number(metrics, p->metric[i].name, p->metric[i].value);
    return metrics && ok && cJSON_AddRawToObject(root, "configuration", p->config_json);
}

status provenance_write(const char *path, const struct provenance *provenance) {
    cJSON *root = cJSON_CreateObject();
    char *text = root && add_all(root, provenance) ? cJSON_Print(root) : NULL;
    cJSON_Delete(root);
    if (!text) return status_no_memory("model.json", 0);
    status error = file_write_atomic(path, text, strlen(text));
    cJSON_free(text);
    return error;
}

static status copy_text(const cJSON *root, const char *key, char **copy) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, key));
    *copy = text ? strdup(text) : NULL;
    return text && !*copy ? status_no_memory("a digest", strlen(text)) : SUCCESS;
}

static status read_object(const char *path, cJSON **root) {
    char *json = NULL;
    STATUS_TRY(file_read_text(path, PROVENANCE_MAX_BYTES, &json));
    *root = cJSON_Parse(json);
    free(json);
    if (cJSON_IsObject(*root)) return SUCCESS;
    cJSON_Delete(*root);
    *root = NULL;
    return status_fail(STATUS_DATA, "%s is not JSON as this program writes it; the file is damaged", path);
}

status provenance_digests(const char *path, char **model_digest, char **golden_digest) {
    cJSON *root = NULL;
    STATUS_TRY(read_object(path, &root));
    *golden_digest = NULL;
    status error = copy_text(root, "model_digest", model_digest);
    if (!error) error = copy_text(root, "golden_digest", golden_digest);
    if (error) free(*model_digest);
    cJSON_Delete(root);
    return error;
}

status provenance_figures(const char *path, int n, const char *const *name, double *value) {
    cJSON *root = NULL;
    STATUS_TRY(read_object(path, &root));
    const cJSON *metrics = cJSON_GetObjectItemCaseSensitive(root, "metrics");
    for (int i = 0; i < n; i++) {
        const cJSON *figure = cJSON_GetObjectItemCaseSensitive(metrics, name[i]);
        value[i] = cJSON_IsNumber(figure) ? figure->valuedouble : NAN;
    }
    cJSON_Delete(root);
    return SUCCESS;
}

status provenance_choose(const char *from, const char *to, const char *name, const char *chosen,
                         const char *reason) {
    cJSON *root = NULL, *named = cJSON_CreateString(name);
    status error = read_object(from, &root);
    bool ok = !error && named && cJSON_ReplaceItemInObjectCaseSensitive(root, "name", named);
    if (!ok) cJSON_Delete(named);
    ok = ok && add_text(root, "chosen", chosen) && add_text(root, "reason", reason);
    char *text = ok ? cJSON_Print(root) : NULL;
    cJSON_Delete(root);
    if (!error && !text) error = status_no_memory("model.json", 0);
    if (!error) error = file_write_atomic(to, text, strlen(text));
    cJSON_free(text);
    return error;
}
