/* Models written as ONNX, computed by ONNX Runtime: the cases of tests/data/layers, whose outputs other
 * programs made, and whole models with their reference outputs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/golden.h"
#include "io/io_testing.h"
#include "io/onnx/onnx.h"
#include "shared/rng.h"
#include "worker/infer.h"
#include "worker/layer_case.h"

#include <cjson/cJSON.h>
#include <sys/stat.h>

#define MAX_FAILURES 40
#define TOLERANCE 1e-4 /* of the largest output */

static char *peers(void) {
    const char *folder = getenv("GODWIT_PEERS");
    return strdup(folder ? folder : GODWIT_SOURCE_DIR "/build/peers");
}

/* A model that ONNX Runtime is to compute, and what should come out. */
struct job {
    char name[128];
    int noutputs;
    struct tensor *y[LAYER_CASE_MAX_ENDS];
};

struct jobs {
    struct job *job;
    int n, room, failures;
    FILE *list;
};

static void failed(struct jobs *jobs, const char *name, const char *why) {
    if (jobs->failures++ < MAX_FAILURES) print_message("[  FAILED  ] %s: %s\n", name, why);
}

static void write_values(const char *path, const struct tensor *tensor) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(tensor->data, sizeof(float), (size_t)tensor->count, file), tensor->count);
    assert_int_equal(fclose(file), 0);
}

static void jobs_begin(struct jobs *jobs) {
    *jobs = (struct jobs){.list = fopen(in_folder("jobs"), "w")};
    assert_non_null(jobs->list);
}

/* Writes the model, with constants of more than `inline_max` bytes in a file of their own, and its inputs;
 * the outputs y are moved (NULL then). */
static void jobs_add(struct jobs *jobs, const char *name, const struct model *model, int64_t inline_max,
                     struct tensor *const *x, struct tensor **y) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%d.onnx", in_folder(""), jobs->n);
    status error = onnx_write_parts(path, model, inline_max);
    if (error) {
        failed(jobs, name, status_message(error));
        status_drop(&error);
        return;
    }
    if (jobs->n == jobs->room) {
        jobs->room = 2 * jobs->room + 16;
        jobs->job = realloc(jobs->job, (size_t)jobs->room * sizeof *jobs->job);
        assert_non_null(jobs->job);
    }
    struct job *job = &jobs->job[jobs->n];
    *job = (struct job){.noutputs = model->ops->noutputs};
    snprintf(job->name, sizeof job->name, "%s", name);
    for (int i = 0; i < job->noutputs; i++) {
        job->y[i] = y[i];
        y[i] = NULL;
    }
    fprintf(jobs->list, "{\"model\": \"%s/%d.onnx\", \"x\": [", in_folder(""), jobs->n);
    for (int i = 0; i < model->ops->ninputs; i++) {
        snprintf(path, sizeof path, "%s/%d.x%d", in_folder(""), jobs->n, i);
        write_values(path, x[i]);
        fprintf(jobs->list, "%s{\"file\": \"%s\", \"shape\": [", i ? ", " : "", path);
        for (int k = 0; k < x[i]->shape.rank; k++)
            fprintf(jobs->list, "%s%lld", k ? ", " : "", (long long)x[i]->shape.dim[k]);
        fprintf(jobs->list, "]}");
    }
    fprintf(jobs->list, "], \"y\": \"%s/%d.y\"}\n", in_folder(""), jobs->n);
    jobs->n++;
}

static status read_values(const char *path, const cJSON *shape, struct tensor **tensor) {
    struct shape s = {0};
    const cJSON *dim;
    cJSON_ArrayForEach(dim, shape) s.dim[s.rank++] = (int64_t)dim->valuedouble;
    STATUS_TRY(tensor_create(DTYPE_F32, &s, tensor));
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fread((*tensor)->data, sizeof(float), (size_t)(*tensor)->count, file), (*tensor)->count);
    fclose(file);
    return SUCCESS;
}

static status compare_output(int number, int i, const cJSON *shape, const struct tensor *reference) {
    char path[1024];
    struct tensor *y = NULL;
    struct golden_difference d;
    snprintf(path, sizeof path, "%s/%d.y%d", in_folder(""), number, i);
    STATUS_TRY(read_values(path, shape, &y));
    status error = golden_compare(y, reference, TOLERANCE, &d);
    if (!error && !d.pass)
        error = status_fail(STATUS_DATA, "output %d: max|d| %.3g of max|y| %.3g", i, d.difference, d.largest);
    tensor_destroy(&y);
    return error;
}

static void compare_job(struct jobs *jobs, int number, const char *answer) {
    const struct job *job = &jobs->job[number];
    cJSON *line = cJSON_Parse(answer);
    assert_non_null(line);
    const char *why = cJSON_GetStringValue(cJSON_GetObjectItem(line, "error"));
    const cJSON *y = cJSON_GetObjectItem(line, "y");
    if (why) failed(jobs, job->name, why);
    else assert_int_equal(cJSON_GetArraySize(y), job->noutputs);
    for (int i = 0; i < job->noutputs && !why; i++) {
        status error = compare_output(number, i, cJSON_GetArrayItem(y, i), job->y[i]);
        if (error) failed(jobs, job->name, status_message(error));
        status_drop(&error);
    }
    cJSON_Delete(line);
}

/* Runs all and compares. */
static void jobs_end(struct jobs *jobs, int at_least) {
    char command[4096], *folder = peers(), *line = NULL;
    size_t room = 0;
    int n = 0;
    assert_int_equal(fclose(jobs->list), 0);
    snprintf(command, sizeof command, "node '%s/tests/peer/onnx_run.mjs' '%s' '%s'", GODWIT_SOURCE_DIR,
             folder, in_folder("jobs"));
    free(folder);
    FILE *answers = popen(command, "r");
    assert_non_null(answers);
    for (; getline(&line, &room, answers) > 0; n++) {
        assert_in_range(n, 0, jobs->n - 1);
        compare_job(jobs, n, line);
    }
    assert_int_equal(pclose(answers), 0);
    free(line);
    print_message("%d models computed by ONNX Runtime, %d failures\n", n, jobs->failures);
    assert_int_equal(n, jobs->n);
    for (int i = 0; i < jobs->n; i++)
        for (int k = 0; k < jobs->job[i].noutputs; k++) tensor_destroy(&jobs->job[i].y[k]);
    free(jobs->job);
    assert_int_equal(jobs->failures, 0);
    assert_true(n >= at_least);
}

static void all_cases(void **state) {
    static const char *const files[] = {"tensorflow_js", "pytorch"};
    struct jobs jobs;
    (void)state;
    jobs_begin(&jobs);
    assert_int_equal(mkdir(in_folder("model"), 0777), 0);
    for (int f = 0; f < 2; f++) {
        char path[1024];
        struct layer_case one = {0};
        snprintf(path, sizeof path, "%s/tests/data/layers/%s.jsonl.gz", GODWIT_SOURCE_DIR, files[f]);
        struct layer_cases *cases = layer_cases_open(path);
        while (layer_cases_next(cases, &one)) {
            struct model *model = NULL;
            assert_null(layer_case_read(&one, in_folder("model"), &model));
            jobs_add(&jobs, one.name, model, INT64_MAX, one.x, one.y);
            model_destroy(&model);
        }
        layer_cases_close(cases);
    }
    jobs_end(&jobs, 400);
}

/* Real models; those that take images of any size are written without one. */
static const struct {
    const char *model, *golden; /* below ../shared/models; no golden: computed by the portable engine */
    bool peer, own;             /* the model is below GODWIT_PEERS, or in the source */
    const char *aliases;
} known[] = {
    {"keras3/mobilenet_v2.h5", "keras3/mobilenet_v2.golden.h5", .peer = false},
    {"keras3/seq_cnn.h5", "keras3/seq_cnn.golden.h5", .peer = false},
    {"keras3/lstm_text.h5", "keras3/lstm_text.golden.h5", .peer = false},
    {"keras3/transformer.h5", "keras3/transformer.golden.h5", .peer = false},
    {"keras3/graph_mix.h5", "keras3/graph_mix.golden.h5", .peer = false},
    {"fer2013_big_XCEPTION.hdf5", "fer2013_big_XCEPTION.golden.h5", .peer = false},
    {"configs/models/fashion_source.h5", NULL, .own = true},
    {"node_modules/@upscalerjs/esrgan-slim/models/x2", "esrgan-slim-x2.golden.h5", .peer = true,
     .aliases = GODWIT_SOURCE_DIR "/configs/aliases/upscalerjs.json"},
};

/* Small random inputs, which do not saturate a softmax, and what the portable engine computes of them. */
static void own_golden(const struct model *model, struct golden **golden) {
    struct machine machine = {.threads = 1};
    struct rng rng = rng_make(1, RNG_INIT, 0);
    assert_success(golden_create(model->graph, 3, golden));
    for (int i = 0; i < (*golden)->ninputs; i++)
        for (int64_t k = 0; k < (*golden)->x[i]->count; k++)
            tensor_f32((*golden)->x[i])[k] = 0.1f * (float)rng_normal(&rng);
    assert_success(engine_find("openblas", &machine.engine));
    assert_success(infer(&machine, model, 3, (*golden)->x, (*golden)->y));
}

static void whole_models(void **state) {
    struct jobs jobs;
    char *folder = peers();
    int n = 0;
    (void)state;
    jobs_begin(&jobs);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const struct keras_options options = {.aliases = known[i].aliases};
        char path[1024], values[1024];
        struct model *model = NULL;
        struct golden *golden = NULL;
        snprintf(path, sizeof path, "%s/%s",
                 known[i].own    ? GODWIT_SOURCE_DIR
                 : known[i].peer ? folder
                                 : GODWIT_SHARED_DIR "/models",
                 known[i].model);
        snprintf(values, sizeof values, "%s/models/%s", GODWIT_SHARED_DIR,
                 known[i].golden ? known[i].golden : "");
        if (access(path, R_OK) || (known[i].golden && access(values, R_OK))) {
            print_message("[   SKIP   ] %s or %s is absent\n", path, values);
            continue;
        }
        assert_success(model_read(path, &options, &model));
        if (known[i].golden) assert_success(golden_read(values, model->graph, &golden));
        else own_golden(model, &golden);
        jobs_add(&jobs, known[i].model, model, known[i].own ? 0 : INT64_MAX, golden->x, golden->y);
        golden_destroy(&golden);
        model_destroy(&model);
        n++;
    }
    free(folder);
    jobs_end(&jobs, n);
}

int main(void) {
    char *folder = peers(), path[1024];
    snprintf(path, sizeof path, "%s/node_modules/onnxruntime-node", folder);
    free(folder);
    if (access(path, R_OK) != 0) {
        printf("skipped: %s is absent; scripts/install_peers.sh installs it\n", path);
        return 77;
    }
    const struct CMUnitTest tests[] = {IN_FOLDER(all_cases), IN_FOLDER(whole_models)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
