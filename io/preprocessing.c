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

status preprocessing_print(const struct preprocessing *p, char **json) {
    cJSON *object = cJSON_CreateObject();
    bool done = object && add_exact(object, "scale", p->scale) && add_exact(object, "offset", p->offset);
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

/* Height, width and channels that `input` wants of an image; the image's own where it does not say. */
static status wanted_size(const struct preprocessing *p, const struct image *image, const struct shape *input,
                          int64_t *height, int64_t *width, int64_t *channels) {
    char text[SHAPE_TEXT_MAX];
    *height = *width = SHAPE_UNKNOWN;
    *channels = 1;
    if (input->rank == 4 || input->rank == 3) {
        *height = input->dim[1];
        *width = input->dim[2];
        if (input->rank == 4) *channels = input->dim[3] == SHAPE_UNKNOWN ? image->channels : input->dim[3];
    } else if (input->rank == 2 && p->height > 0 && p->width > 0 && p->channels > 0 &&
               p->height * p->width * p->channels == input->dim[1]) {
        *height = p->height;
        *width = p->width;
        *channels = p->channels;
    } else {
        return status_fail(STATUS_DATA, "the model's input %s is not an image; give its input as HDF5",
                           shape_format(input, text));
    }
    if (*height == SHAPE_UNKNOWN) *height = image->height;
    if (*width == SHAPE_UNKNOWN) *width = image->width;
    if (*height < 1 || *width < 1 || (*channels != 1 && *channels != 3))
        return status_fail(STATUS_DATA,
                           "the model's input %s is not a grey or RGB image; give its input as HDF5",
                           shape_format(input, text));
    return SUCCESS;
}

status preprocessing_apply(const struct preprocessing *p, const struct image *image,
                           const struct shape *input, struct tensor **x) {
    int64_t height, width, channels;
    STATUS_TRY(wanted_size(p, image, input, &height, &width, &channels));
    status error = SUCCESS;
    struct image *coloured = NULL, *cropped = NULL, *resized = NULL;
    STATUS_GOTO(error, cleanup, image_to_channels(image, (int)channels, &coloured));
    STATUS_GOTO(error, cleanup, image_crop_centre(coloured, (double)width / (double)height, &cropped));
    STATUS_GOTO(error, cleanup, image_resize(cropped, height, width, &resized));
    struct shape shape = *input;
    shape.dim[0] = 1;
    if (shape.rank > 2) {
        shape.dim[1] = height;
        shape.dim[2] = width;
    }
    if (shape.rank == 4) shape.dim[3] = channels;
    struct tensor *made;
    STATUS_GOTO(error, cleanup, tensor_create(DTYPE_F32, &shape, &made));
    float *to = tensor_f32(made);
    for (int64_t i = 0; i < made->count; i++) to[i] = (float)(resized->pixel[i] * p->scale + p->offset);
    *x = made;
cleanup:
    image_destroy(&coloured);
    image_destroy(&cropped);
    image_destroy(&resized);
    return error;
}
