#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "worker/layer_case.h"

#include "io/golden.h"
#include "worker/infer.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

struct layer_cases {
    gzFile file;
    char *line;
    size_t room;
};

struct layer_cases *layer_cases_open(const char *path) {
    struct layer_cases *cases = calloc(1, sizeof *cases);
    assert_non_null(cases);
    cases->file = gzopen(path, "rb");
    if (!cases->file) fail_msg("cannot open %s", path);
    cases->room = 1 << 20;
    cases->line = malloc(cases->room);
    assert_non_null(cases->line);
    return cases;
}

void layer_cases_close(struct layer_cases *cases) {
    gzclose(cases->file);
    free(cases->line);
    free(cases);
}

/* A whole line; false at the end. */
static bool read_line(struct layer_cases *cases) {
    size_t used = 0;
    while (gzgets(cases->file, cases->line + used, (int)(cases->room - used))) {
        used += strlen(cases->line + used);
        if (used && cases->line[used - 1] == '\n') return true;
        cases->room *= 2;
        cases->line = realloc(cases->line, cases->room);
        assert_non_null(cases->line);
    }
    assert_int_equal(used, 0);
    return false;
}

static char *text_of(const cJSON *line, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(line, key));
    assert_non_null(text);
    return strdup(text);
}

static struct tensor *tensor_of(const cJSON *json) {
    const cJSON *shape = cJSON_GetObjectItem(json, "shape"), *data = cJSON_GetObjectItem(json, "data"), *item;
    struct shape s = {0};
    struct tensor *tensor = NULL;
    cJSON_ArrayForEach(item, shape) s.dim[s.rank++] = (int64_t)item->valuedouble;
    assert_null(tensor_create(DTYPE_F32, &s, &tensor));
    assert_int_equal(cJSON_GetArraySize(data), tensor->count);
    float *to = tensor_f32(tensor);
    cJSON_ArrayForEach(item, data) *to++ = (float)item->valuedouble;
    return tensor;
}

static int tensors_of(const cJSON *list, struct tensor **tensor) {
    const cJSON *item;
    int n = 0;
    cJSON_ArrayForEach(item, list) {
        assert_in_range(n, 0, LAYER_CASE_MAX_ENDS - 1);
        tensor[n++] = tensor_of(item);
    }
    assert_true(n > 0);
    return n;
}

bool layer_cases_next(struct layer_cases *cases, struct layer_case *one) {
    layer_case_clear(one);
    if (!read_line(cases)) return false;
    cJSON *line = cJSON_Parse(cases->line);
    assert_non_null(line);
    const cJSON *weights = cJSON_GetObjectItem(line, "weights"), *item;
    one->name = text_of(line, "name");
    one->oracle = text_of(line, "oracle");
    one->model = cJSON_PrintUnformatted(cJSON_GetObjectItem(line, "model"));
    one->nweights = cJSON_GetArraySize(weights);
    float *to = one->weights = malloc((size_t)(one->nweights + 1) * sizeof *to);
    assert_non_null(to);
    cJSON_ArrayForEach(item, weights) *to++ = (float)item->valuedouble;
    one->ninputs = tensors_of(cJSON_GetObjectItem(line, "x"), one->x);
    one->noutputs = tensors_of(cJSON_GetObjectItem(line, "y"), one->y);
    cJSON_Delete(line);
    return true;
}

void layer_case_clear(struct layer_case *one) {
    for (int i = 0; i < one->ninputs; i++) tensor_destroy(&one->x[i]);
    for (int i = 0; i < one->noutputs; i++) tensor_destroy(&one->y[i]);
    free(one->name);
    free(one->oracle);
    free(one->model);
    free(one->weights);
    *one = (struct layer_case){0};
}

static void write_file(const char *folder, const char *name, const void *data, size_t nbytes) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, nbytes, file), nbytes);
    assert_int_equal(fclose(file), 0);
}

void layer_case_write(const struct layer_case *one, const char *folder) {
    write_file(folder, "model.json", one->model, strlen(one->model));
    write_file(folder, "weights.bin", one->weights, (size_t)one->nweights * sizeof *one->weights);
}

status layer_case_read(const struct layer_case *one, const char *folder, struct model **model) {
    struct model *m = NULL;
    struct shape shape[LAYER_CASE_MAX_ENDS];
    layer_case_write(one, folder);
    STATUS_TRY(model_read(folder, NULL, &m));
    status error = SUCCESS;
    if (m->ops->ninputs != one->ninputs || m->ops->noutputs != one->noutputs)
        error = status_fail(STATUS_DATA, "%d inputs and %d outputs", m->ops->ninputs, m->ops->noutputs);
    for (int i = 0; i < one->ninputs; i++) shape[i] = one->x[i]->shape;
    if (!error) error = model_set_inputs(m, shape);
    if (error) model_destroy(&m);
    *model = m;
    return error;
}

status layer_case_compute(const struct layer_case *one, struct model *model, const struct engine *engine) {
    struct machine machine = {.engine = engine, .threads = 1};
    struct tensor *y[LAYER_CASE_MAX_ENDS] = {0};
    status error = SUCCESS;
    for (int i = 0; i < one->noutputs && !error; i++)
        error = tensor_create(DTYPE_F32, &one->y[i]->shape, &y[i]);
    if (!error) error = infer(&machine, model, one->x[0]->shape.dim[0], one->x, y);
    for (int i = 0; i < one->noutputs && !error; i++) {
        struct golden_difference d;
        error = golden_compare(y[i], one->y[i], LAYER_CASE_TOLERANCE, &d);
        if (!error && !d.pass)
            error =
                status_fail(STATUS_DATA, "output %d: max|d| %.3g of max|y| %.3g", i, d.difference, d.largest);
    }
    for (int i = 0; i < one->noutputs; i++) tensor_destroy(&y[i]);
    return status_context(error, "engine %s", engine->name);
}

void layer_answers_read(const char *path, void (*each)(void *context, const struct layer_answer *answer),
                        void *context) {
    struct layer_cases *cases = layer_cases_open(path);
    while (read_line(cases)) {
        cJSON *line = cJSON_Parse(cases->line);
        assert_non_null(line);
        struct layer_answer answer = {.name = cJSON_GetStringValue(cJSON_GetObjectItem(line, "name")),
                                      .error = cJSON_GetStringValue(cJSON_GetObjectItem(line, "error"))};
        if (!answer.error) answer.noutputs = tensors_of(cJSON_GetObjectItem(line, "y"), answer.y);
        each(context, &answer);
        for (int i = 0; i < answer.noutputs; i++) tensor_destroy(&answer.y[i]);
        cJSON_Delete(line);
    }
    layer_cases_close(cases);
}
