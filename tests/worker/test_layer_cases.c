/* Every layer kind, on every engine, against what other programs computed; its gradient against finite
 * differences; and whether what is said of the kinds (shared/layer_coverage.h) is what is proven here. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/io_testing.h"
#include "shared/layer_coverage.h"
#include "shared/rng.h"
#include "worker/layer_case.h"

#include <glob.h>
#include <math.h>
#include <sys/stat.h>

#define MAX_KINDS 256
#define MAX_FAILURES 40

struct proof { /* of a kind */
    char against[256];
    bool backward;
};

static struct proof proof[MAX_KINDS];
static int failures;

/* A case that fails is said, and the others are tried; the test fails at its end. */
static void case_failed(const struct layer_case *one, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static void case_failed(const struct layer_case *one, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (failures++ < MAX_FAILURES) print_message("[  FAILED  ] %s: %s\n", one->name, text);
}

/* ---- gradients ---- */

/* A function of all inputs and trainable parameters: the sum of the outputs, each with its own factor. */
struct function {
    const struct model *model;
    struct exec *exec;
    int64_t batch;
    float *x[LAYER_CASE_MAX_ENDS];      /* inputs */
    float *moved[LAYER_CASE_MAX_ENDS];  /* inputs of the last forward, which backward reads */
    float *dx[LAYER_CASE_MAX_ENDS];     /* a direction; zero where the input is numbers of rows */
    float *factor[LAYER_CASE_MAX_ENDS]; /* of the outputs */
    struct params *params, *direction, *at, *grads;
};

static int64_t end_count(const struct function *f, int value) {
    return f->batch * shape_sample_count(&f->model->ops->value[value]);
}

/* The function's value at a distance along the direction. */
static double value_at(struct function *f, double distance) {
    const struct opgraph *ops = f->model->ops;
    double sum = 0;
    for (int64_t k = 0; k < f->params->total; k++)
        f->at->data[k] = (float)((double)f->params->data[k] + distance * (double)f->direction->data[k]);
    for (int i = 0; i < ops->ninputs; i++) {
        int64_t n = end_count(f, ops->input[i]);
        for (int64_t k = 0; k < n; k++)
            f->moved[i][k] = (float)((double)f->x[i][k] + distance * (double)f->dx[i][k]);
    }
    exec_set_step(f->exec, 0, 0);
    assert_success(exec_forward(f->exec, (const float *const *)f->moved));
    for (int i = 0; i < ops->noutputs; i++)
        for (int64_t k = 0; k < end_count(f, ops->output[i]); k++)
            sum += (double)f->factor[i][k] * (double)exec_output(f->exec, i)[k];
    return sum;
}

static float *random_values(struct rng *rng, int64_t n, double scale) {
    float *values = malloc((size_t)(n + 1) * sizeof *values);
    assert_non_null(values);
    for (int64_t k = 0; k < n; k++) values[k] = (float)(scale * (2 * rng_uniform(rng) - 1));
    return values;
}

/* Are the values of an input rows of a table? Then it has no derivative. */
static bool feeds_embedding(const struct opgraph *ops, int input) {
    for (int i = 0; i < ops->nops; i++)
        if (ops->op[i].kind == OP_EMBEDDING && ops->op[i].in[0] == input) return true;
    return false;
}

static void function_fill(struct function *f, const struct layer_case *one) {
    const struct opgraph *ops = f->model->ops;
    struct rng rng = rng_make(7, 1, 0);
    assert_success(params_clone(f->model->params, &f->params));
    assert_success(params_clone(f->model->params, &f->at));
    assert_success(params_create(ops, &f->direction));
    assert_success(params_create(ops, &f->grads));
    /* Off the lattice of the cases' numbers, where maxima tie and ReLUs bend. */
    for (int i = 0; i < f->params->n; i++) {
        bool trainable = ops->param[i].trainable;
        for (int64_t k = 0; k < f->params->count[i]; k++) {
            params_at(f->params, i)[k] += trainable ? (float)(0.06 * (rng_uniform(&rng) - 0.5)) : 0;
            params_at(f->direction, i)[k] = trainable ? (float)(2 * rng_uniform(&rng) - 1) : 0;
        }
    }
    for (int i = 0; i < ops->ninputs; i++) {
        int64_t n = end_count(f, ops->input[i]);
        bool whole = feeds_embedding(ops, ops->input[i]);
        f->x[i] = random_values(&rng, n, whole ? 0 : 0.06);
        f->dx[i] = random_values(&rng, n, whole ? 0 : 1);
        f->moved[i] = random_values(&rng, n, 0);
        for (int64_t k = 0; k < n; k++) {
            float x = tensor_f32(one->x[i])[k];
            if (x == 0) f->x[i][k] = f->dx[i][k] = 0; /* a mask may depend on it */
            f->x[i][k] += x;
        }
    }
    for (int i = 0; i < ops->noutputs; i++)
        f->factor[i] = random_values(&rng, end_count(f, ops->output[i]), 1);
}

static void function_clear(struct function *f) {
    const struct opgraph *ops = f->model->ops;
    for (int i = 0; i < ops->ninputs; i++) {
        free(f->x[i]);
        free(f->dx[i]);
        free(f->moved[i]);
    }
    for (int i = 0; i < ops->noutputs; i++) free(f->factor[i]);
    params_destroy(&f->params);
    params_destroy(&f->direction);
    params_destroy(&f->at);
    params_destroy(&f->grads);
    exec_destroy(&f->exec);
}

static double derivative_by_backward(struct function *f) {
    const struct opgraph *ops = f->model->ops;
    double sum = 0;
    value_at(f, 0);
    assert_success(exec_backward(f->exec, (const float *const *)f->factor, f->grads));
    for (int i = 0; i < f->params->n; i++)
        for (int64_t k = 0; k < f->params->count[i] && ops->param[i].trainable; k++)
            sum += (double)params_at(f->grads, i)[k] * (double)params_at(f->direction, i)[k];
    for (int i = 0; i < ops->ninputs; i++) {
        const float *grad = feeds_embedding(ops, ops->input[i]) ? NULL : exec_input_grad(f->exec, i);
        for (int64_t k = 0; grad && k < end_count(f, ops->input[i]); k++)
            sum += (double)grad[k] * (double)f->dx[i][k];
    }
    return sum;
}

/* Central differences at two distances, of which the better counts: float32 blurs the small one, a bend or
 * the curvature the large one. */
static bool differentiate(const struct layer_case *one, struct model *model, const struct engine *engine) {
    static const double distances[] = {4e-3, 1e-3, 2.5e-4, 6e-5};
    struct function f = {.model = model, .batch = one->x[0]->shape.dim[0]};
    struct exec_options options = {.batch = f.batch,
                                   .mode = EXEC_TRAIN,
                                   .threads = 1,
                                   .batch_norm = BATCH_NORM_FROZEN,
                                   .seed = 3,
                                   .input_grads = true};
    status error = engine->compile(model->ops, &options, &f.exec);
    if (status_code(error) == STATUS_UNSUPPORTED) {
        status_drop(&error);
        return false;
    }
    assert_success(error);
    function_fill(&f, one);
    assert_success(exec_set_params(f.exec, f.at));
    double backward = derivative_by_backward(&f), best = INFINITY, found = 0;
    for (size_t i = 0; i < sizeof distances / sizeof *distances; i++) {
        double h = distances[i], difference = (value_at(&f, h) - value_at(&f, -h)) / (2 * h);
        if (!(fabs(difference - backward) < best)) continue;
        best = fabs(difference - backward);
        found = difference;
    }
    bool pass = best <= 0.01 * fabs(found) + 0.01;
    if (!pass)
        case_failed(one, "engine %s: derivative %.6g by backward, %.6g by differences", engine->name,
                    backward, found);
    function_clear(&f);
    return pass;
}

/* ---- cases ---- */

static void note_kind(const struct layer_kind *kind, const char *oracle, bool backward) {
    int k = 0;
    char name[64];
    while (layer_kind_at(k) != kind) k++;
    assert_in_range(k, 0, MAX_KINDS - 1);
    snprintf(name, sizeof name, "%.*s", (int)strcspn(oracle, " "), oracle); /* without its version */
    struct proof *p = &proof[k];
    if (!strstr(p->against, name))
        snprintf(p->against + strlen(p->against), sizeof p->against - strlen(p->against), "%s%s",
                 *p->against ? ", " : "", name);
    p->backward = p->backward || backward;
}

/* Every class that the model's topology names: layers, what they wrap, and cells. */
static void note_kinds(const struct layer_case *one, bool backward) {
    static const char key[] = "\"class_name\":\"";
    for (const char *at = one->model; (at = strstr(at, key));) {
        char class_name[64];
        at += strlen(key);
        snprintf(class_name, sizeof class_name, "%.*s", (int)strcspn(at, "\""), at);
        const struct layer_kind *kind = layer_kind_find(class_name);
        if (kind) note_kind(kind, one->oracle, backward);
    }
}

static bool can_go_backward(const struct layer *layer) {
    const struct layer_coverage *coverage = layer_coverage(layer->kind);
    if (coverage && !coverage->backward) return false;
    for (int i = 0; i < layer->kind->nattrs; i++)
        if (layer->kind->attrs[i].type == ATTR_LAYER && layer->attr[i].present &&
            !can_go_backward(layer->attr[i].u.layer))
            return false;
    return true;
}

static void try_case(const struct layer_case *one) {
    const char *folder = in_folder("model");
    struct model *model = NULL;
    status error = layer_case_read(one, folder, &model);
    if (error) {
        case_failed(one, "%s", status_message(error));
        status_drop(&error);
        return;
    }
    /* Families are deep: their layers are differentiated one by one elsewhere. */
    bool single = strncmp(one->name, "family/", 7) != 0, outputs = true, backward = single, wanted = true;
    for (int l = 0; l < model->graph->nlayers; l++)
        wanted = wanted && can_go_backward(&model->graph->layer[l]);
    for (int e = 0; e < engine_count(); e++) {
        error = layer_case_compute(one, model, engine_at(e));
        if (error) case_failed(one, "%s", status_message(error));
        outputs = outputs && !error;
        status_drop(&error);
        if (single) backward = differentiate(one, model, engine_at(e)) && backward;
    }
    if (single && wanted && !backward) case_failed(one, "there is no gradient");
    if (outputs) note_kinds(one, backward);
    model_destroy(&model);
}

static void cases_of_other_programs(void **state) {
    (void)state;
    glob_t found;
    int n = 0;
    assert_int_equal(glob(GODWIT_SOURCE_DIR "/tests/data/layers/*.jsonl.gz", 0, NULL, &found), 0);
    assert_int_equal(mkdir(in_folder("model"), 0777), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct layer_cases *cases = layer_cases_open(found.gl_pathv[i]);
        struct layer_case one = {0};
        for (; layer_cases_next(cases, &one); n++) try_case(&one);
        layer_cases_close(cases);
    }
    globfree(&found);
    print_message("%d cases, %d failures\n", n, failures);
    assert_int_equal(failures, 0);
    assert_true(n > 100);
}

/* ---- what is said of the kinds ---- */

static void coverage_is_what_is_proven(void **state) {
    (void)state;
    int wrong = 0;
    for (int k = 0; k < layer_kind_count(); k++) {
        const struct layer_kind *kind = layer_kind_at(k);
        const struct layer_coverage *said = layer_coverage(kind);
        if (!*proof[k].against) {
            print_message("%s: no case in tests/data/layers has it; add one to tests/peer/layer_cases.*\n",
                          kind->class_name);
            wrong++;
        } else if (!said || said->backward != proof[k].backward ||
                   strcmp(said->against, proof[k].against) != 0) {
            print_message("shared/layer_coverage.c should have: X(\"%s\", %s, \"%s\")\n", kind->class_name,
                          proof[k].backward ? "true" : "false", proof[k].against);
            wrong++;
        }
    }
    assert_int_equal(wrong, 0);
}

/* docs/layers.md has the table as it is now. */
static void docs_have_the_table(void **state) {
    (void)state;
    char *table = NULL, *docs = NULL;
    size_t room = 0;
    assert_success(layer_coverage_table(&table));
    FILE *file = fopen(GODWIT_SOURCE_DIR "/docs/layers.md", "r");
    assert_non_null(file);
    assert_true(getdelim(&docs, &room, '\0', file) > 0);
    fclose(file);
    if (!strstr(docs, table)) fail_msg("docs/layers.md lacks what \"godwit help layers\" prints:\n%s", table);
    free(table);
    free(docs);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(cases_of_other_programs),
        cmocka_unit_test(coverage_is_what_is_proven),
        cmocka_unit_test(docs_have_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
