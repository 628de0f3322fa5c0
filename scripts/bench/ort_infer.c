/* Times inference of an ONNX model by ONNX Runtime on a CPU, through its C API, as infer_model times Godwit.
 *
 * ort_infer -s NxHxWxC -x X -y Y [-t THREADS] [-d SECONDS] LIBRARY MODEL.onnx
 *
 * LIBRARY is libonnxruntime.so of any version since 1.4, which npm's onnxruntime-node has for one. X and Y
 * are files of float32: the model's one input, of the shape -s, and what the model's one output has to be.
 * Prints the median milliseconds of one run, the largest difference from Y relative to the largest value of
 * Y, and the library's version. The output is written to the same memory by each run; no copy is made. */
#include "shared/status.h"
#include "shared/tensor.h"

#include <dlfcn.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- the part of ONNX Runtime's C API that is used ----
 *
 * The library gives a struct of pointers to functions, to which new versions only append. What is not called
 * is a place in an array here. Constants are those of onnxruntime_c_api.h. */

typedef struct ort_object ort_object; /* what the library makes and only it looks into */
typedef ort_object *(*ort_unused)(void);

struct ort_api {
    ort_unused status[2];
    const char *(*error_message)(const ort_object *error);
    ort_object *(*create_env)(int log_level, const char *log_name, ort_object **env);
    ort_unused logging[3];
    ort_object *(*create_session)(const ort_object *env, const char *path, const ort_object *options,
                                  ort_object **session);
    ort_unused session_from_memory;
    ort_object *(*run)(ort_object *session, const ort_object *options, const char *const *input_name,
                       const ort_object *const *input, size_t inputs, const char *const *output_name,
                       size_t outputs, ort_object **output);
    ort_object *(*create_options)(ort_object **options);
    ort_unused options_file[2];
    ort_object *(*set_execution_mode)(ort_object *options, int mode);
    ort_unused profiling_and_memory[9];
    ort_object *(*set_optimization)(ort_object *options, int level);
    ort_object *(*set_intra_threads)(ort_object *options, int threads);
    ort_object *(*set_inter_threads)(ort_object *options, int threads);
    ort_unused custom[4];
    ort_object *(*input_count)(const ort_object *session, size_t *count);
    ort_object *(*output_count)(const ort_object *session, size_t *count);
    ort_unused types[4];
    ort_object *(*input_name)(const ort_object *session, size_t index, ort_object *allocator, char **name);
    ort_object *(*output_name)(const ort_object *session, size_t index, ort_object *allocator, char **name);
    ort_unused run_options[11];
    ort_object *(*create_tensor)(const ort_object *memory, void *data, size_t bytes, const int64_t *shape,
                                 size_t rank, int type, ort_object **tensor);
    ort_unused is_tensor;
    ort_object *(*tensor_data)(ort_object *tensor, void **data);
    ort_unused tensor_types[12];
    ort_object *(*tensor_element_count)(const ort_object *info, size_t *count);
    ort_object *(*tensor_info)(const ort_object *tensor, ort_object **info);
    ort_unused values[3];
    ort_object *(*create_cpu_memory)(int allocator, int type, ort_object **memory);
    ort_unused memory[8];
    ort_object *(*default_allocator)(ort_object **allocator);
};

struct ort_base {
    const struct ort_api *(*api)(uint32_t version);
    const char *(*version)(void);
};

enum {
    ORT_API_VERSION = 4,
    ORT_WARNING = 2,
    ORT_SEQUENTIAL = 0,
    ORT_ALL_OPTIMIZATIONS = 99,
    ORT_FLOAT = 1,
    ORT_ARENA = 1,
    ORT_DEFAULT_MEMORY = 0
};

/* ---- the job ---- */

struct job {
    const char *library, *model, *x, *y;
    int64_t shape[4];
    size_t rank;
    int threads;
    double seconds;
};

struct session {
    const struct ort_api *api;
    const char *version;
    ort_object *session, *input, *output; /* output: NULL before the first run */
    char *input_name, *output_name;
    float *x;
};

/* Of a call of ONNX Runtime's that failed: what it says. The process ends soon, so nothing is released. */
#define ORT_TRY(api, call)                                                                                   \
    do {                                                                                                     \
        const ort_object *error_ = (call);                                                                   \
        if (error_)                                                                                          \
            return status_fail(STATUS_UNSUPPORTED, "ONNX Runtime: %s", (api)->error_message(error_));        \
    } while (0)

static status read_floats(const char *path, size_t count, float **x) {
    STATUS_TRY(memory_alloc(path, count, sizeof **x, (void **)x));
    FILE *file = fopen(path, "rb");
    if (!file) return status_fail(STATUS_IO, "%s: cannot be opened", path);
    const bool whole = fread(*x, sizeof **x, count, file) == count && fgetc(file) == EOF;
    fclose(file);
    return whole ? SUCCESS : status_fail(STATUS_DATA, "%s: not %zu float32", path, count);
}

static status load_library(const struct job *job, struct session *s) {
    void *library = dlopen(job->library, RTLD_NOW | RTLD_LOCAL);
    if (!library) return status_fail(STATUS_IO, "%s", dlerror());
    const struct ort_base *(*get_base)(void);
    *(void **)&get_base = dlsym(library, "OrtGetApiBase");
    if (!get_base) return status_fail(STATUS_DATA, "%s: not ONNX Runtime", job->library);
    s->api = get_base()->api(ORT_API_VERSION);
    s->version = get_base()->version();
    return s->api ? SUCCESS : status_fail(STATUS_UNSUPPORTED, "%s: too old", job->library);
}

static status create_session(const struct job *job, struct session *s) {
    const struct ort_api *api = s->api;
    ort_object *env, *options, *allocator;
    size_t inputs, outputs;
    ORT_TRY(api, api->create_env(ORT_WARNING, "ort_infer", &env));
    ORT_TRY(api, api->create_options(&options));
    ORT_TRY(api, api->set_execution_mode(options, ORT_SEQUENTIAL));
    ORT_TRY(api, api->set_optimization(options, ORT_ALL_OPTIMIZATIONS));
    ORT_TRY(api, api->set_intra_threads(options, job->threads));
    ORT_TRY(api, api->set_inter_threads(options, 1));
    ORT_TRY(api, api->create_session(env, job->model, options, &s->session));
    ORT_TRY(api, api->input_count(s->session, &inputs));
    ORT_TRY(api, api->output_count(s->session, &outputs));
    if (inputs != 1 || outputs != 1)
        return status_fail(STATUS_UNSUPPORTED, "%s: %zu inputs and %zu outputs, not one of each", job->model,
                           inputs, outputs);
    ORT_TRY(api, api->default_allocator(&allocator));
    ORT_TRY(api, api->input_name(s->session, 0, allocator, &s->input_name));
    ORT_TRY(api, api->output_name(s->session, 0, allocator, &s->output_name));
    return SUCCESS;
}

static status create_input(const struct job *job, struct session *s) {
    const struct ort_api *api = s->api;
    ort_object *memory;
    size_t count = 1;
    for (size_t k = 0; k < job->rank; k++) count *= (size_t)job->shape[k];
    STATUS_TRY(read_floats(job->x, count, &s->x));
    ORT_TRY(api, api->create_cpu_memory(ORT_ARENA, ORT_DEFAULT_MEMORY, &memory));
    ORT_TRY(api, api->create_tensor(memory, s->x, count * sizeof *s->x, job->shape, job->rank, ORT_FLOAT,
                                    &s->input));
    return SUCCESS;
}

static status run_once(struct session *s) {
    ORT_TRY(s->api, s->api->run(s->session, NULL, (const char *const *)&s->input_name,
                                (const ort_object *const *)&s->input, 1, (const char *const *)&s->output_name,
                                1, &s->output));
    return SUCCESS;
}

static status compare_output(const struct job *job, const struct session *s, double *difference) {
    const struct ort_api *api = s->api;
    ort_object *info;
    size_t count;
    float *y, *reference;
    double largest = 0;
    *difference = 0;
    ORT_TRY(api, api->tensor_info(s->output, &info));
    ORT_TRY(api, api->tensor_element_count(info, &count));
    ORT_TRY(api, api->tensor_data(s->output, (void **)&y));
    STATUS_TRY(read_floats(job->y, count, &reference));
    for (size_t i = 0; i < count; i++) {
        const double d = fabs((double)y[i] - reference[i]);
        if (!(d <= *difference)) *difference = d; /* NaN stays */
        largest = fmax(largest, fabs((double)reference[i]));
    }
    *difference /= largest;
    free(reference);
    return SUCCESS;
}

/* ---- timing ---- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static status time_runs(const struct job *job, struct session *s, double *median) {
    enum { MOST = 1 << 20 };
    double *ms, end = now() + job->seconds;
    int n = 0;
    STATUS_TRY(memory_alloc("times", MOST, sizeof *ms, (void **)&ms));
    while (n < 5 || (n < MOST && now() < end)) {
        double start = now();
        STATUS_TRY(run_once(s));
        ms[n++] = 1e3 * (now() - start);
    }
    qsort(ms, (size_t)n, sizeof *ms, compare);
    *median = ms[n / 2];
    free(ms);
    return SUCCESS;
}

static status run(const struct job *job) {
    struct session s = {0};
    double median, difference;
    STATUS_TRY(load_library(job, &s));
    STATUS_TRY(create_session(job, &s));
    STATUS_TRY(create_input(job, &s));
    for (int i = 0; i < 3; i++) STATUS_TRY(run_once(&s));
    STATUS_TRY(time_runs(job, &s, &median));
    STATUS_TRY(compare_output(job, &s, &difference));
    printf("%.6f %.3g %s\n", median, difference, s.version);
    return SUCCESS;
}

static status parse_shape(const char *text, struct job *job) {
    char *end;
    for (job->rank = 0; job->rank < 4; text = end + 1) {
        job->shape[job->rank] = strtoll(text, &end, 10);
        if (end == text || job->shape[job->rank++] < 1 || (*end && *end != 'x')) break;
        if (!*end) return SUCCESS;
    }
    return status_fail(STATUS_USAGE, "-s: not like 1x28x28x1");
}

static status parse(int argc, char **argv, struct job *job) {
    int option;
    while ((option = getopt(argc, argv, "s:x:y:t:d:")) >= 0) {
        switch (option) {
        case 's':
            STATUS_TRY(parse_shape(optarg, job));
            break;
        case 'x':
            job->x = optarg;
            break;
        case 'y':
            job->y = optarg;
            break;
        case 't':
            job->threads = atoi(optarg);
            break;
        case 'd':
            job->seconds = atof(optarg);
            break;
        default:
            return status_fail(STATUS_USAGE, "unknown option");
        }
    }
    if (optind + 2 != argc || !job->rank || !job->x || !job->y || job->threads < 1)
        return status_fail(STATUS_USAGE,
                           "-s, -x, -y, LIBRARY and MODEL.onnx are needed, threads of at least 1");
    job->library = argv[optind];
    job->model = argv[optind + 1];
    return SUCCESS;
}

int main(int argc, char **argv) {
    struct job job = {.threads = 1, .seconds = 1};
    status error = parse(argc, argv, &job);
    if (!error) error = run(&job);
    if (!error) return 0;
    fprintf(stderr, "ort_infer: %s\n", status_message(error));
    int code = status_exit_code(status_code(error));
    status_drop(&error);
    return code;
}
