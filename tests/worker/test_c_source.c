/* Models written as C, compiled here, and computed: the cases of tests/data/layers, whose outputs other
 * programs made (every tenth; with the argument "all", all of them), and whole models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "graph_build.h"
#include "io/c_source/c_source.h"
#include "io/golden.h"
#include "io/io_testing.h"
#include "shared/rng.h"
#include "worker/infer.h"
#include "worker/layer_case.h"

#include <dlfcn.h>
#include <math.h>
#include <sys/stat.h>

#define TOLERANCE 1e-4 /* of the largest output */
#define GUARD 12345.0f

static int every = 10;

static void set_name(struct model *model, const char *name) {
    free(model->graph->name);
    model->graph->name = strdup(name);
}

/* Compiles all C files of the test's folder into one library, which it opens. Each has a name of its own: one
 * that is open stays open. */
static void *compile(const char *flags) {
    static int number;
    char command[2048], name[32];
    snprintf(name, sizeof name, "all_%d.so", number++);
    snprintf(command, sizeof command,
             "cd '%s' && '%s' -std=c99 -Wall -Wextra -Werror %s %s -fPIC -shared -o %s *.c -lm",
             in_folder(""), GODWIT_C_COMPILER, GODWIT_C_FLAGS, flags, name);
    assert_int_equal(system(command), 0);
    void *library = dlopen(in_folder(name), RTLD_NOW | RTLD_LOCAL);
    if (!library) fail_msg("%s", dlerror());
    return library;
}

/* "#define NAME_WORK 123" of the file. */
static int64_t number_of(const char *path, const char *model, const char *what) {
    char define[256], line[512];
    long long n = -1;
    size_t used = (size_t)snprintf(define, sizeof define, "#define %s_%s ", model, what);
    for (char *at = define + 8; *at; at++) *at = (char)(*at >= 'a' && *at <= 'z' ? *at - 32 : *at);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        if (!strncmp(line, define, used)) n = atoll(line + used);
    fclose(file);
    assert_true(n > 0);
    return n;
}

/* Sample by sample; the workspace is as large as the file says, with a guard behind it. */
static void run(void *library, const char *name, int64_t work_count, const float *weights, int nin,
                struct tensor *const *x, int nout, struct tensor *const *y) {
    char symbol[256];
    snprintf(symbol, sizeof symbol, "%s_run", name);
    void *function = dlsym(library, symbol);
    if (!function) fail_msg("there is no %s", symbol);
    void (*call)(const void *, const void *, float *, const float *);
    memcpy(&call, &function, sizeof call);
    float *work = malloc((size_t)(work_count + 1) * sizeof *work);
    assert_non_null(work);
    for (int64_t i = 0; i <= work_count; i++) work[i] = GUARD;
    for (int64_t n = 0; n < x[0]->shape.dim[0]; n++) {
        const float *in[LAYER_CASE_MAX_ENDS];
        float *out[LAYER_CASE_MAX_ENDS];
        for (int i = 0; i < nin; i++) in[i] = tensor_f32(x[i]) + n * shape_sample_count(&x[i]->shape);
        for (int i = 0; i < nout; i++) out[i] = tensor_f32(y[i]) + n * shape_sample_count(&y[i]->shape);
        call(nin > 1 ? (const void *)in : in[0], nout > 1 ? (const void *)out : out[0], work, weights);
    }
    assert_true(work[work_count] == GUARD);
    free(work);
}

/* Number of outputs that differ. */
static int compare(const char *name, int n, struct tensor *const *y, struct tensor *const *reference) {
    int failures = 0;
    for (int i = 0; i < n; i++) {
        struct golden_difference d;
        assert_success(golden_compare(y[i], reference[i], TOLERANCE, &d));
        if (d.pass) continue;
        failures++;
        print_message("[  FAILED  ] %s: output %d: max|d| %.3g of max|y| %.3g\n", name, i, d.difference,
                      d.largest);
    }
    return failures;
}

/* Computes and compares with y. */
static int check(void *library, const char *name, const char *of, const float *weights, int nin,
                 struct tensor *const *x, int nout, struct tensor *const *y) {
    struct tensor *own[LAYER_CASE_MAX_ENDS] = {0};
    char file[256];
    snprintf(file, sizeof file, "%s.c", name);
    for (int i = 0; i < nout; i++) assert_success(tensor_create(DTYPE_F32, &y[i]->shape, &own[i]));
    run(library, name, number_of(in_folder(file), name, "WORK"), weights, nin, x, nout, own);
    int failures = compare(of, nout, own, y);
    for (int i = 0; i < nout; i++) tensor_destroy(&own[i]);
    return failures;
}

/* ---- cases ---- */

static void each_case(void (*use)(void *context, int number, const struct layer_case *one), void *context) {
    static const char *const files[] = {"tensorflow_js", "pytorch"};
    int number = 0;
    for (int f = 0; f < 2; f++) {
        char path[1024];
        struct layer_case one = {0};
        snprintf(path, sizeof path, "%s/tests/data/layers/%s.jsonl.gz", GODWIT_SOURCE_DIR, files[f]);
        struct layer_cases *cases = layer_cases_open(path);
        while (layer_cases_next(cases, &one))
            if (number++ % every == 0) use(context, number, &one);
        layer_cases_close(cases);
    }
}

static void write_case(void *context, int number, const struct layer_case *one) {
    struct model *model = NULL;
    char name[64], file[80];
    (void)context;
    assert_success(layer_case_read(one, in_folder("model"), &model));
    snprintf(name, sizeof name, "case_%d", number);
    snprintf(file, sizeof file, "%s.c", name);
    set_name(model, name);
    assert_success(c_source_write(in_folder(file), model, false));
    model_destroy(&model);
}

struct checked {
    void *library;
    int n, failures;
};

static void check_case(void *context, int number, const struct layer_case *one) {
    struct checked *c = context;
    char name[64];
    snprintf(name, sizeof name, "case_%d", number);
    c->failures += check(c->library, name, one->name, NULL, one->ninputs, one->x, one->noutputs, one->y);
    c->n++;
}

static void cases(void **state) {
    (void)state;
    struct checked c = {0};
    assert_int_equal(mkdir(in_folder("model"), 0777), 0);
    each_case(write_case, NULL);
    c.library = compile("-O1");
    each_case(check_case, &c);
    dlclose(c.library);
    print_message("%d cases computed in C, %d outputs differ\n", c.n, c.failures);
    assert_int_equal(c.failures, 0);
    assert_true(c.n >= 400 / every);
}

/* ---- whole models ---- */

/* Small random inputs, which do not saturate a softmax, and what the portable engine computes of them. */
static void own_golden(const struct model *model, struct golden **golden) {
    struct machine machine = {.threads = 1};
    struct rng rng = rng_make(1, RNG_INIT, 0);
    assert_success(golden_create(model->graph, 2, golden));
    for (int i = 0; i < (*golden)->ninputs; i++)
        for (int64_t k = 0; k < (*golden)->x[i]->count; k++)
            tensor_f32((*golden)->x[i])[k] = 0.1f * (float)rng_normal(&rng);
    assert_success(engine_find("openblas", &machine.engine));
    assert_success(infer(&machine, model, 2, (*golden)->x, (*golden)->y));
}

static float *read_weights(const char *path, int64_t count) {
    float *weights = malloc((size_t)count * sizeof *weights);
    FILE *file = fopen(path, "rb");
    assert_true(weights && file);
    assert_int_equal(fread(weights, sizeof *weights, (size_t)count, file), count);
    assert_int_equal(fgetc(file), EOF);
    fclose(file);
    return weights;
}

/* `values`: the reference outputs; NULL: what the portable engine computes. The model is destroyed. */
static void check_whole(struct model *model, const char *path, const char *values, bool beside) {
    struct golden *golden = NULL;
    float *weights = NULL;
    if (values) assert_success(golden_read(values, model->graph, &golden));
    else own_golden(model, &golden);
    set_name(model, "whole model 1");
    assert_success(c_source_write(in_folder("whole_model_1.c"), model, beside));
    void *library = compile("-O2");
    if (beside)
        weights = read_weights(in_folder("whole_model_1.weights"),
                               number_of(in_folder("whole_model_1.c"), "whole_model_1", "WEIGHTS"));
    assert_int_equal(check(library, "whole_model_1", path, weights, golden->ninputs, golden->x,
                           golden->noutputs, golden->y),
                     0);
    dlclose(library);
    free(weights);
    golden_destroy(&golden);
    model_destroy(&model);
}

static void check_model(const char *path, const char *values, bool beside) {
    struct model *model = NULL;
    assert_success(model_read(path, NULL, &model));
    check_whole(model, path, values, beside);
}

static struct model *random_model(struct graph *graph) {
    struct model *model = NULL;
    struct rng rng = rng_make(2, RNG_INIT, 0);
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &model));
    for (int i = 0; i < model->params->n; i++)
        for (int64_t k = 0; k < model->params->count[i]; k++)
            params_at(model->params, i)[k] = fabsf((float)rng_normal(&rng)) * (k % 2 ? 0.5f : 0.3f);
    return model;
}

/* Values that are read again after what could have been written over them; a batch norm in a kernel; outputs
 * that are inputs, that are given twice, that others go on from. */
static void values_are_kept(void **state) {
    (void)state;
    struct graph *g = NULL;
    build_ok(graph_create("kept", &g));
    int x = build_input(g, "x", "-1,6"), z = build_input(g, "z", "-1,5");
    int a = build_layer(g, "Dense", "a", "units=5", 1, &x);
    int b = build_layer(g, "BatchNormalization", "b", "", 1, &a);
    int c = build_layer(g, "Activation", "c", "activation=tanh", 1, &b);
    int d = build_layer(g, "Activation", "d", "activation=sigmoid", 1, &c);
    int e = build_layer(g, "Reshape", "e", "target_shape=5,1", 1, &c);
    int f = build_layer(g, "Reshape", "f", "target_shape=5", 1, &e);
    int h = build_layer(g, "Activation", "h", "activation=exponential", 1, &f);
    int all[] = {c, d, h, z};
    int sum = build_layer(g, "Add", "sum", "", 4, all);
    int more = build_layer(g, "Activation", "more", "activation=tanh", 1, &sum);
    build_output(g, sum);
    build_output(g, more);
    build_output(g, sum);
    build_output(g, z);
    check_whole(random_model(g), "kept", NULL, false);
}

static void fashion(void **state) {
    (void)state;
    check_model(GODWIT_SOURCE_DIR "/configs/models/fashion_source.h5", NULL, false);
}

static void weights_beside(void **state) {
    (void)state;
    check_model(GODWIT_SOURCE_DIR "/configs/models/fashion_source.h5", NULL, true);
}

static void keras_models(void **state) {
    static const char *const models[] = {"keras3/graph_mix", "keras3/transformer", "keras3/seq_cnn",
                                         "keras3/lstm_text", "keras3/mobilenet_v2"};
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        char path[512], values[512];
        snprintf(path, sizeof path, "%s/models/%s.h5", GODWIT_SHARED_DIR, models[i]);
        snprintf(values, sizeof values, "%s/models/%s.golden.h5", GODWIT_SHARED_DIR, models[i]);
        if (access(path, R_OK)) {
            print_message("[   SKIP   ] %s is absent\n", path);
            continue;
        }
        check_model(path, values, i % 2);
    }
}

/* ---- what it refuses, and memory ---- */

/* Of a chain of layers no more than two values are in memory at once. */
static void memory_is_used_again(void **state) {
    (void)state;
    struct graph *g = NULL;
    struct model *model = NULL;
    build_ok(graph_create("chain", &g));
    int x = build_input(g, "x", "-1,8");
    for (int i = 0; i < 6; i++) {
        char name[16];
        snprintf(name, sizeof name, "dense_%d", i);
        x = build_layer(g, "Dense", name, "units=16 activation=relu", 1, &x);
        snprintf(name, sizeof name, "norm_%d", i);
        x = build_layer(g, "BatchNormalization", name, "", 1, &x);
    }
    build_output(g, build_layer(g, "Dense", "last", "units=3", 1, &x));
    build_ok(graph_infer(g));
    build_ok(model_create(g, &model));
    assert_success(c_source_write(in_folder("chain.c"), model, false));
    assert_int_equal(number_of(in_folder("chain.c"), "chain", "WORK"), 32);
    model_destroy(&model);
}

/* Names that are no names in C, too long, or the same after all. */
static void names(void **state) {
    (void)state;
    struct graph *g = NULL;
    struct model *model = NULL;
    char name[400];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = 0;
    build_ok(graph_create("1 */ model", &g));
    int x = build_input(g, "in*/put", "-1,3");
    x = build_layer(g, "Dense", "a b", "units=2", 1, &x);
    x = build_layer(g, "Dense", "a/b", "units=2 activation=tanh", 1, &x);
    x = build_layer(g, "Dense", "7*/", "units=2 activation=elu", 1, &x);
    build_output(g, build_layer(g, "Dense", name, "units=2", 1, &x));
    build_ok(graph_infer(g));
    build_ok(model_create(g, &model));
    assert_success(c_source_write(in_folder("names.c"), model, false));
    void *library = compile("-O1");
    assert_non_null(dlsym(library, "w_1____model_run"));
    dlclose(library);
    model_destroy(&model);
}

static void refusals(void **state) {
    (void)state;
    struct graph *g = NULL;
    struct model *model = NULL;
    build_ok(graph_create("any", &g));
    int x = build_input(g, "image", "-1,-1,-1,3");
    build_output(g, build_layer(g, "Conv2D", "conv", "filters=2 kernel_size=3", 1, &x));
    build_ok(graph_infer(g));
    build_ok(model_create(g, &model));
    assert_error(c_source_write(in_folder("any.c"), model, false), STATUS_UNSUPPORTED, "--shape");
    assert_int_equal(count_entries(in_folder("")), 0);
    build_ok(model_set_inputs(model, &SHAPE(SHAPE_UNKNOWN, 6, 5, 3)));
    assert_success(c_source_write(in_folder("any.c"), model, false));
    assert_int_equal(count_entries(in_folder("")), 1);
    assert_error(c_source_write(in_folder("nowhere/any.c"), model, false), STATUS_IO, "nowhere");
    model_destroy(&model);
}

int main(int argc, char **argv) {
    if (argc > 1 && !strcmp(argv[1], "all")) every = 1;
    const struct CMUnitTest tests[] = {
        IN_FOLDER(cases),
        IN_FOLDER(fashion),
        IN_FOLDER(weights_beside),
        IN_FOLDER(keras_models),
        IN_FOLDER(memory_is_used_again),
        IN_FOLDER(refusals),
        IN_FOLDER(names),
        IN_FOLDER(values_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
