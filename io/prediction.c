#include "io/prediction.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAPTION_WIDTH 280 /* pixels */
#define CAPTION_LINES 16

/* A copy that ends between two characters of UTF-8. */
static void copy_label(const char *from, char *to, size_t size) {
    size_t n = strlen(from);
    if (n >= size)
        for (n = size - 1; n > 0 && ((unsigned char)from[n] & 0xc0) == 0x80;) n--;
    memcpy(to, from, n);
    to[n] = '\0';
}

void prediction_best(const struct preprocessing *preprocessing, const float *score, int64_t classes, int n,
                     struct prediction_class *best) {
    for (int i = 0; i < n; i++) {
        int64_t at = -1;
        for (int64_t c = 0; c < classes; c++) {
            bool taken = false;
            for (int j = 0; j < i; j++) taken = taken || best[j].number == c;
            if (!taken && (at < 0 || score[c] > score[at])) at = c;
        }
        best[i] = (struct prediction_class){.number = at, .score = score[at]};
        if (at < preprocessing->nlabels)
            copy_label(preprocessing->label[at], best[i].label, sizeof best[i].label);
        else snprintf(best[i].label, sizeof best[i].label, "class %lld", (long long)at);
    }
}

const char *prediction_score(const struct prediction *p, double score, char *text) {
    if (p->probabilities) snprintf(text, PREDICTION_SCORE_MAX, "%.1f %%", 100 * score);
    else snprintf(text, PREDICTION_SCORE_MAX, "%.4g", score);
    return text;
}

static bool add_classes(cJSON *root, const struct prediction *p) {
    cJSON *classes = cJSON_AddArrayToObject(root, "classes");
    for (int i = 0; i < p->n && classes; i++) {
        cJSON *item = cJSON_CreateObject();
        if (!item || !cJSON_AddItemToArray(classes, item)) {
            cJSON_Delete(item);
            return false;
        }
        if (!cJSON_AddStringToObject(item, "label", p->best[i].label) ||
            !cJSON_AddNumberToObject(item, "class", (double)p->best[i].number) ||
            !cJSON_AddNumberToObject(item, "score", p->best[i].score))
            return false;
    }
    return classes != NULL;
}

status prediction_json(const struct prediction *p, char **json) {
    cJSON *root = cJSON_CreateObject();
    bool ok = root && cJSON_AddStringToObject(root, "model", p->model) &&
              cJSON_AddStringToObject(root, "image", p->image) &&
              cJSON_AddNumberToObject(root, "latency_ms", 1e3 * p->latency_s) && add_classes(root, p);
    char *printed = ok ? cJSON_Print(root) : NULL;
    cJSON_Delete(root);
    *json = printed ? strdup(printed) : NULL;
    cJSON_free(printed);
    return *json ? SUCCESS : status_no_memory("a prediction", 0);
}

status prediction_image_json(const struct prediction_image *p, char **json) {
    cJSON *root = cJSON_CreateObject();
    bool ok = root && cJSON_AddStringToObject(root, "model", p->model) &&
              cJSON_AddStringToObject(root, "image", p->image) &&
              cJSON_AddStringToObject(root, "output", p->output) &&
              cJSON_AddNumberToObject(root, "width", (double)p->width) &&
              cJSON_AddNumberToObject(root, "height", (double)p->height) &&
              cJSON_AddNumberToObject(root, "tiles", (double)p->tiles) &&
              cJSON_AddNumberToObject(root, "latency_ms", 1e3 * p->latency_s);
    char *printed = ok ? cJSON_Print(root) : NULL;
    cJSON_Delete(root);
    *json = printed ? strdup(printed) : NULL;
    cJSON_free(printed);
    return *json ? SUCCESS : status_no_memory("a prediction", 0);
}

status prediction_draw(const struct prediction *p, const struct image *image, const char *path) {
    char text[CAPTION_LINES][96], score[PREDICTION_SCORE_MAX];
    const char *line[CAPTION_LINES];
    int n = p->n < CAPTION_LINES ? p->n : CAPTION_LINES;
    for (int i = 0; i < n; i++) {
        snprintf(text[i], sizeof text[i], "%d. %s %s", i + 1, p->best[i].label,
                 prediction_score(p, p->best[i].score, score));
        line[i] = text[i];
    }
    struct image *captioned = NULL;
    STATUS_TRY(image_caption(image, line, n, CAPTION_WIDTH, &captioned));
    status error = image_write(path, captioned);
    image_destroy(&captioned);
    return error;
}
