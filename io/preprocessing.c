#include "io/preprocessing.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_SCALE (1.0 / 255.0)

void preprocessing_destroy(struct preprocessing **preprocessing) {
    struct preprocessing *p = *preprocessing;
    if (!p) return;
    for (int i = 0; i < p->nlabels; i++) free(p->label[i]);
    free(p->label);
    free(p);
    *preprocessing = NULL;
}

static status parse_number(const cJSON *object, const char *key, double low, double high, double *value) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!item) return SUCCESS;
    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble) || item->valuedouble < low ||
        item->valuedouble > high)
        return status_fail(
            STATUS_DATA,
            "preprocessing: \"%s\" is not a number in [%g, %g]; correct the model's preprocessing", key, low,
            high);
    *value = item->valuedouble;
    return SUCCESS;
}

static status parse_size(const cJSON *object, const char *key, double high, int64_t *value) {
    double number = 0;
    STATUS_TRY(parse_number(object, key, 0, high, &number));
    if (number != floor(number))
        return status_fail(STATUS_DATA,
                           "preprocessing: \"%s\" is not a whole number; correct the model's preprocessing",
                           key);
    *value = (int64_t)number;
    return SUCCESS;
}

static status parse_labels(const cJSON *object, struct preprocessing *p) {
    const cJSON *labels = cJSON_GetObjectItemCaseSensitive(object, "labels"), *item;
    if (!labels || cJSON_IsNull(labels)) return SUCCESS;
    if (!cJSON_IsArray(labels))
        return status_fail(
            STATUS_DATA,
            "preprocessing: \"labels\" is not a list of names; correct the model's preprocessing");
    int n = cJSON_GetArraySize(labels);
    p->label = calloc((size_t)n + 1, sizeof *p->label);
    if (!p->label) return status_no_memory("labels", (size_t)n * sizeof *p->label);
    cJSON_ArrayForEach(item, labels) {
        if (!cJSON_IsString(item))
            return status_fail(
                STATUS_DATA, "preprocessing: \"labels\"[%d] is not a name; correct the model's preprocessing",
                p->nlabels);
        p->label[p->nlabels] = strdup(item->valuestring);
        if (!p->label[p->nlabels]) return status_no_memory("labels", strlen(item->valuestring));
        p->nlabels++;
    }
    return SUCCESS;
}

static status parse_numbers(const cJSON *object, const char *key, int most, double low, double high, int *n,
                            double *value) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(object, key), *item;
    *n = 0;
    if (!list || cJSON_IsNull(list)) return SUCCESS;
    bool good = cJSON_IsArray(list) && cJSON_GetArraySize(list) >= 1 && cJSON_GetArraySize(list) <= most;
    cJSON_ArrayForEach(item, list) {
        if (!good) break;
        good = cJSON_IsNumber(item) && item->valuedouble >= low && item->valuedouble <= high;
        value[*n] = item->valuedouble;
        *n += good;
    }
    if (good) return SUCCESS;
    return status_fail(STATUS_DATA,
                       "preprocessing: \"%s\" is not a list of up to %d numbers from %g to %g; correct the "
                       "model's preprocessing",
                       key, most, low, high);
}

static status parse_scales(const cJSON *object, struct preprocessing *p) {
    int nmean = 0, nstd = 0;
    STATUS_TRY(parse_numbers(object, "mean", PREPROCESSING_CHANNELS, -1e30, 1e30, &nmean, p->mean));
    STATUS_TRY(parse_numbers(object, "std", PREPROCESSING_CHANNELS, 1e-30, 1e30, &nstd, p->std));
    if (!preprocessing_fill(p, nmean, nstd))
        return status_fail(STATUS_DATA,
                           "preprocessing: \"mean\" has %d numbers and \"std\" %d; correct the model's "
                           "preprocessing",
                           nmean, nstd);
    return SUCCESS;
}

static status parse_geometry(const cJSON *object, struct preprocessing *p) {
    double size[2], box[4];
    int n = 0;
    const cJSON *crop = cJSON_GetObjectItemCaseSensitive(object, "crop");
    STATUS_TRY(parse_numbers(object, "size", 2, 1, IMAGE_MAX_SIDE, &n, size));
    if (n == 2) {
        p->size[0] = (int64_t)size[0];
        p->size[1] = (int64_t)size[1];
    }
    if (!cJSON_IsArray(crop)) return SUCCESS;
    STATUS_TRY(parse_numbers(object, "crop", 4, 0, IMAGE_MAX_SIDE, &n, box));
    if (n != 4 || box[2] < 1 || box[3] < 1)
        return status_fail(STATUS_DATA, "preprocessing: \"crop\" is no [x, y, width, height]; correct the "
                                        "model's preprocessing");
    p->crop = CROP_BOX;
    for (int i = 0; i < 4; i++) p->box[i] = (int64_t)box[i];
    return SUCCESS;
}

/* Keys with a word, which --preprocess has too. */
static status parse_words(const cJSON *object, struct preprocessing *p) {
    static const char *const keys[] = {"crop", "colour", "resize"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, keys[i]);
        char word[64];
        if (!item || cJSON_IsNull(item) || cJSON_IsArray(item)) continue;
        snprintf(word, sizeof word, "%s=%.40s", keys[i], cJSON_IsString(item) ? item->valuestring : "?");
        status error =
            strchr(word, ',') ? status_fail(STATUS_USAGE, "%s", word) : preprocessing_change(p, word);
        if (!error) continue;
        status_drop(&error);
        return status_fail(STATUS_DATA,
                           "preprocessing: \"%s\" is none of its words; correct the model's preprocessing",
                           keys[i]);
    }
    return SUCCESS;
}

status preprocessing_parse(const char *json, struct preprocessing **preprocessing) {
    struct preprocessing *p = calloc(1, sizeof *p);
    if (!p) return status_no_memory("preprocessing", sizeof *p);
    p->scale = DEFAULT_SCALE;
    status error = SUCCESS;
    cJSON *object = NULL;
    if (json) {
        object = cJSON_Parse(json);
        if (!cJSON_IsObject(object)) {
            error = status_fail(STATUS_DATA, "the model's preprocessing is not a JSON object; write it anew");
            goto cleanup;
        }
        STATUS_GOTO(error, cleanup, parse_number(object, "scale", -1e30, 1e30, &p->scale));
        STATUS_GOTO(error, cleanup, parse_number(object, "offset", -1e30, 1e30, &p->offset));
        STATUS_GOTO(error, cleanup, parse_size(object, "height", IMAGE_MAX_SIDE, &p->height));
        STATUS_GOTO(error, cleanup, parse_size(object, "width", IMAGE_MAX_SIDE, &p->width));
        STATUS_GOTO(error, cleanup, parse_size(object, "channels", 1 << 16, &p->channels));
        STATUS_GOTO(error, cleanup, parse_labels(object, p));
        STATUS_GOTO(error, cleanup, parse_scales(object, p));
        STATUS_GOTO(error, cleanup, parse_geometry(object, p));
        STATUS_GOTO(error, cleanup, parse_words(object, p));
    }
    *preprocessing = p;
    p = NULL;
cleanup:
    cJSON_Delete(object);
    preprocessing_destroy(&p);
    return error;
}

/* With as few digits as give the same double when read again. */
static bool add_exact(cJSON *object, const char *key, double value) {
    char text[32];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    return cJSON_AddRawToObject(object, key, text) != NULL;
}

static bool add_numbers(cJSON *object, const char *key, int n, const double *value) {
    cJSON *list = cJSON_AddArrayToObject(object, key);
    for (int i = 0; i < n && list; i++) {
        cJSON *item = cJSON_CreateNumber(value[i]);
        if (!item || !cJSON_AddItemToArray(list, item)) {
            cJSON_Delete(item);
            return false;
        }
    }
    return list != NULL;
}

/* What is not as usual of crop, size, colour and filter. */
static bool add_geometry(cJSON *object, const struct preprocessing *p) {
    static const char *const colour[] = {"model", "grey", "rgb"}, *const filter[] = {"smooth", "bilinear",
                                                                                     "area", "nearest"};
    bool done = true;
    double box[4], size[2] = {(double)p->size[0], (double)p->size[1]};
    for (int i = 0; i < 4; i++) box[i] = (double)p->box[i];
    if (p->nmean) done = add_numbers(object, "mean", p->nmean, p->mean);
    if (p->nmean) done = done && add_numbers(object, "std", p->nmean, p->std);
    if (p->crop == CROP_NONE) done = done && cJSON_AddStringToObject(object, "crop", "none");
    if (p->crop == CROP_BOX) done = done && add_numbers(object, "crop", 4, box);
    if (p->size[0]) done = done && add_numbers(object, "size", 2, size);
    if (p->colour) done = done && cJSON_AddStringToObject(object, "colour", colour[p->colour]);
    if (p->filter) done = done && cJSON_AddStringToObject(object, "resize", filter[p->filter]);
    return done;
}

status preprocessing_print(const struct preprocessing *p, char **json) {
    cJSON *object = cJSON_CreateObject();
    bool done = object && add_exact(object, "scale", p->scale) && add_exact(object, "offset", p->offset) &&
                add_geometry(object, p);
    if (p->height) done = done && cJSON_AddNumberToObject(object, "height", (double)p->height);
    if (p->width) done = done && cJSON_AddNumberToObject(object, "width", (double)p->width);
    if (p->channels) done = done && cJSON_AddNumberToObject(object, "channels", (double)p->channels);
    cJSON *labels = done ? cJSON_AddArrayToObject(object, "labels") : NULL;
    done = done && labels;
    for (int i = 0; i < p->nlabels && done; i++) {
        cJSON *label = cJSON_CreateString(p->label[i]);
        done = label && cJSON_AddItemToArray(labels, label);
        if (!done) cJSON_Delete(label);
    }
    char *text = done ? cJSON_PrintUnformatted(object) : NULL;
    cJSON_Delete(object);
    if (!text) return status_no_memory("preprocessing", 0);
    *json = text;
    return SUCCESS;
}
