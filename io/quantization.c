#include "io/quantization.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#define KEY "quantization"
#define LONGEST 60000 /* characters that an attribute of an HDF5 file takes */

/* The layer that a value comes from: of an operation's node, or an input layer; NULL: none. */
static const char *layer_of_op(const struct model *model, int op) {
    const int node = model->ops->op[op].node;
    return node < 0 ? NULL : model->graph->layer[model->graph->node[node].layer].name;
}

static const char *layer_of_input(const struct model *model, int i) {
    const struct graph *graph = model->graph;
    return graph->layer[graph->node[graph->input[i].node].layer].name;
}

/* ---- reading ---- */

/* The next range of that layer; `seen`: an object that counts for each layer how many were taken. */
static struct value_range next_range(const cJSON *ranges, const char *layer, cJSON *seen) {
    const struct value_range unknown = {NAN, NAN};
    cJSON *count = layer ? cJSON_GetObjectItemCaseSensitive(seen, layer) : NULL;
    if (!layer) return unknown;
    if (!count) count = cJSON_AddNumberToObject(seen, layer, 0);
    if (!count) return unknown;
    const cJSON *pair = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(ranges, layer), count->valueint);
    cJSON_SetNumberValue(count, count->valueint + 1);
    const cJSON *low = cJSON_GetArrayItem(pair, 0), *high = cJSON_GetArrayItem(pair, 1);
    if (!cJSON_IsNumber(low) || !cJSON_IsNumber(high)) return unknown;
    return (struct value_range){(float)low->valuedouble, (float)high->valuedouble};
}

static status read_ranges(const struct model *model, const cJSON *ranges, struct value_range **range) {
    const struct opgraph *ops = model->ops;
    struct value_range *r;
    STATUS_TRY(memory_alloc("ranges", (size_t)ops->nvalues + 1, sizeof *r, (void **)&r));
    cJSON *seen = cJSON_CreateObject();
    for (int v = 0; v < ops->nvalues; v++) r[v] = (struct value_range){NAN, NAN};
    for (int i = 0; i < ops->ninputs; i++)
        r[ops->input[i]] = next_range(ranges, layer_of_input(model, i), seen);
    for (int i = 0; i < ops->nops; i++) r[ops->op[i].out] = next_range(ranges, layer_of_op(model, i), seen);
    cJSON_Delete(seen);
    *range = r;
    return SUCCESS;
}

static status read_json(const struct model *model, const cJSON *json, struct quantization *q) {
    const cJSON *precision = cJSON_GetObjectItemCaseSensitive(json, "precision");
    const cJSON *ranges = cJSON_GetObjectItemCaseSensitive(json, "ranges");
    if (!json) return SUCCESS;
    if (!cJSON_IsString(precision) || !precision_find(precision->valuestring, &q->precision))
        return status_fail(STATUS_DATA,
                           "the model's \"" KEY "\" has no precision that is known: float32, bfloat16, "
                           "int8");
    return cJSON_IsObject(ranges) ? read_ranges(model, ranges, &q->range) : SUCCESS;
}

status quantization_read(const struct model *model, struct quantization *quantization) {
    *quantization = (struct quantization){.precision = PRECISION_FLOAT32};
    if (!model->preprocessing) return SUCCESS;
    cJSON *all = cJSON_Parse(model->preprocessing);
    if (!all) return status_fail(STATUS_DATA, "the model's preprocessing is not JSON");
    status error = read_json(model, cJSON_GetObjectItemCaseSensitive(all, KEY), quantization);
    cJSON_Delete(all);
    if (error) quantization_clear(quantization);
    return error;
}

void quantization_clear(struct quantization *quantization) {
    free(quantization->range);
    quantization->range = NULL;
}

/* ---- writing ---- */

static bool add_range(cJSON *ranges, const char *layer, struct value_range range) {
    char text[64];
    cJSON *list = layer ? cJSON_GetObjectItemCaseSensitive(ranges, layer) : NULL;
    if (!layer) return true;
    if (!list) list = cJSON_AddArrayToObject(ranges, layer);
    snprintf(text, sizeof text, "[%.6g,%.6g]", (double)range.low, (double)range.high);
    const bool known = isfinite(range.low) && isfinite(range.high);
    return list && cJSON_AddItemToArray(list, known ? cJSON_CreateRaw(text) : cJSON_CreateNull());
}

static bool make_json(const struct model *model, const struct quantization *q, cJSON *json) {
    const struct opgraph *ops = model->ops;
    bool made = cJSON_AddStringToObject(json, "precision", precision_name(q->precision));
    cJSON *ranges = made && q->range ? cJSON_AddObjectToObject(json, "ranges") : NULL;
    if (!ranges) return made && !q->range;
    for (int i = 0; i < ops->ninputs && made; i++)
        made = add_range(ranges, layer_of_input(model, i), q->range[ops->input[i]]);
    for (int i = 0; i < ops->nops && made; i++)
        made = add_range(ranges, layer_of_op(model, i), q->range[ops->op[i].out]);
    return made;
}

status quantization_write(struct model *model, const struct quantization *quantization) {
    cJSON *all = model->preprocessing ? cJSON_Parse(model->preprocessing) : cJSON_CreateObject();
    if (!all) return status_fail(STATUS_DATA, "the model's preprocessing is not JSON");
    cJSON_DeleteItemFromObjectCaseSensitive(all, KEY);
    cJSON *json = quantization->precision == PRECISION_FLOAT32 ? NULL : cJSON_AddObjectToObject(all, KEY);
    bool made = !json || make_json(model, quantization, json);
    char *text = made ? cJSON_PrintUnformatted(all) : NULL;
    cJSON_Delete(all);
    if (!text) return status_no_memory("ranges", (size_t)model->ops->nvalues * sizeof *quantization->range);
    if (strlen(text) > LONGEST) {
        free(text);
        return status_fail(STATUS_UNSUPPORTED,
                           "the model has too many layers: what is said of their values would not "
                           "fit one attribute of its file; use bfloat16");
    }
    free(model->preprocessing);
    model->preprocessing = text;
    return SUCCESS;
}
