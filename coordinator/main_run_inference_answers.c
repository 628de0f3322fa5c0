#include "coordinator/main_run_inference_answers.h"

#include "io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

struct answers {
    struct answers_task task;
    bool folder;    /* the output is one */
    bool json_file; /* the output is .json */
    FILE *list;     /* of JSON objects, NULL: none is asked for */
    char *text;     /* what is in it, owned */
    size_t length;
};

static bool ends_in(const char *text, const char *ending) {
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && !strcasecmp(text + n - m, ending);
}

static const char *base_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int compare_bases(const void *a, const void *b) {
    return strcmp(base_of(*(char *const *)a), base_of(*(char *const *)b));
}

/* In a folder each image needs a name of its own. */
static status check_names(const struct image_list *images) {
    char **sorted = malloc((size_t)images->n * sizeof *sorted);
    if (!sorted) return status_no_memory("names of images", (size_t)images->n * sizeof *sorted);
    memcpy(sorted, images->path, (size_t)images->n * sizeof *sorted);
    qsort(sorted, (size_t)images->n, sizeof *sorted, compare_bases);
    status error = SUCCESS;
    for (int i = 1; i < images->n && !error; i++)
        if (!compare_bases(&sorted[i - 1], &sorted[i]))
            error = status_fail(STATUS_USAGE, "%s and %s have the same name; give another --output for one",
                                sorted[i - 1], sorted[i]);
    free(sorted);
    return error;
}

static status find_output(struct answers *a) {
    const char *output = a->task.output;
    struct stat info;
    bool there = stat(output, &info) == 0;
    a->json_file = ends_in(output, ".json");
    a->folder = !a->json_file && (output[strlen(output) - 1] == '/' || (there && S_ISDIR(info.st_mode)) ||
                                  a->task.images->n > 1);
    if (a->folder && there && !S_ISDIR(info.st_mode))
        return status_fail(STATUS_USAGE, "--output: %s is no folder; of several images it must be one",
                           output);
    if (!a->folder) return SUCCESS;
    STATUS_TRY(check_names(a->task.images));
    return there ? SUCCESS : file_make_folders(output);
}

/* Where image i goes: the output, or a file in it; owned. */
static status output_of(const struct answers *a, int i, char **path) {
    const char *output = a->task.output, *base = base_of(a->task.images->path[i]);
    bool known = ends_in(base, ".png") || ends_in(base, ".jpg") || ends_in(base, ".jpeg");
    int length = a->folder ? asprintf(path, "%s%s%s%s", output, output[strlen(output) - 1] == '/' ? "" : "/",
                                      base, known ? "" : ".png")
                           : asprintf(path, "%s", output);
    return length < 0 ? status_no_memory("a path", strlen(output)) : SUCCESS;
}

/* No image is written over that is read. */
static status check_outputs(const struct answers *a) {
    for (int i = 0; i < a->task.images->n; i++) {
        char *path = NULL;
        STATUS_TRY(output_of(a, i, &path));
        bool same = file_same(path, a->task.images->path[i]);
        free(path);
        if (same)
            return status_fail(STATUS_USAGE, "--output: %s is an input; give another name or folder",
                               a->task.images->path[i]);
    }
    return SUCCESS;
}

status answers_begin(const struct answers_task *task, struct answers **answers) {
    struct answers *a = calloc(1, sizeof *a);
    if (!a) return status_no_memory("answers", sizeof *a);
    a->task = *task;
    status error = task->output && *task->output ? find_output(a) : SUCCESS;
    if (!error && task->output && *task->output) error = check_outputs(a);
    if (!error && (a->json_file || task->json)) {
        a->list = open_memstream(&a->text, &a->length);
        if (!a->list) error = status_no_memory("answers", 0);
    }
    if (!error) *answers = a;
    else error = answers_end(&a, error);
    return error;
}

status answers_need_images(const struct answers *a) {
    if (!a->task.output || a->json_file)
        return status_fail(STATUS_USAGE, "--output is missing: the model makes images");
    return SUCCESS;
}

/* Takes the text over. */
static void add_json(struct answers *a, char *json) {
    if (ftell(a->list) > 0) fputs(",\n", a->list);
    fputs(json, a->list);
    free(json);
}

status answers_classes(struct answers *a, int i, struct prediction *p, const struct image *image) {
    char text[PREDICTION_SCORE_MAX], *json = NULL, *path = NULL;
    bool several = a->task.images->n > 1;
    p->model = a->task.model;
    p->image = a->task.images->path[i];
    if (several && !a->task.json) printf("%s\n", p->image);
    for (int k = 0; k < p->n && !a->task.json; k++)
        printf("%d. %-24s %8s\n", k + 1, p->best[k].label, prediction_score(p, p->best[k].score, text));
    if (!a->task.json) printf("computed in %.3f ms\n", 1e3 * p->latency_s);
    if (a->list) {
        STATUS_TRY(prediction_json(p, &json));
        add_json(a, json);
    }
    if (!a->task.output || a->json_file) return SUCCESS;
    STATUS_TRY(output_of(a, i, &path));
    status error = prediction_draw(p, image, path);
    free(path);
    return error;
}

static status add_image_json(struct answers *a, int i, const struct image *made, const char *path,
                             const struct tiles_report *r) {
    const struct prediction_image p = {.model = a->task.model,
                                       .image = a->task.images->path[i],
                                       .output = path,
                                       .width = made->width,
                                       .height = made->height,
                                       .tiles = r->rows * r->columns,
                                       .latency_s = r->seconds};
    char *json = NULL;
    STATUS_TRY(prediction_image_json(&p, &json));
    add_json(a, json);
    return SUCCESS;
}

status answers_image(struct answers *a, int i, const struct image *made, const struct tiles_report *r) {
    char *path = NULL;
    STATUS_TRY(output_of(a, i, &path));
    status error = image_write(path, made);
    if (!error && a->list) error = add_image_json(a, i, made, path, r);
    if (!error && !a->task.json) {
        if (a->task.images->n > 1) printf("%s: ", path);
        printf("%lld x %lld image computed in %.3f ms", (long long)made->width, (long long)made->height,
               1e3 * r->seconds);
        if (r->rows * r->columns > 1)
            printf(", in %lld tiles of %lld x %lld", (long long)(r->rows * r->columns), (long long)r->width,
                   (long long)r->height);
        printf("\n");
    }
    free(path);
    return error;
}

/* One object, or a list of them. */
static status write_json(struct answers *a) {
    char *all = NULL;
    bool several = a->task.images->n > 1;
    int length = asprintf(&all, "%s%s%s\n", several ? "[" : "", a->text, several ? "]" : "");
    if (length < 0) return status_no_memory("answers", a->length);
    status error = a->json_file ? file_write_atomic(a->task.output, all, (size_t)length) : SUCCESS;
    if (!error && a->task.json) fputs(all, stdout);
    free(all);
    return error;
}

status answers_end(struct answers **answers, status error) {
    struct answers *a = *answers;
    if (!a) return error;
    if (a->list && fclose(a->list)) error = status_first(error, status_no_memory("answers", a->length));
    if (!error && a->text) error = write_json(a);
    free(a->text);
    free(a);
    *answers = NULL;
    return error;
}
