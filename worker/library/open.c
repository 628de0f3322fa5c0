/* Opening and closing models. */
#include "worker/library/opened.h"

#include "io/hdf5_host.h"
#include "io/registry.h"
#include "worker/blas_threads.h"
#include "worker/precision.h"

#include <locale.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

/* HDF5 has state of its own for the whole process, and may not be thread-safe. */
static pthread_mutex_t hdf5_lock = PTHREAD_MUTEX_INITIALIZER;

static int default_threads(void) {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

/* All of the options, of a caller that may know fewer of them. */
static status take_options(const godwit_options *given, godwit_options *options) {
    const godwit_options none = GODWIT_OPTIONS;
    *options = none;
    if (!given) return SUCCESS;
    if (given->size < sizeof given->size || given->size > 4096)
        return status_fail(STATUS_USAGE, "libgodwit: options of %zu bytes; begin with GODWIT_OPTIONS",
                           given->size);
    for (const char *c = (const char *)given + sizeof *options; c < (const char *)given + given->size; c++)
        if (*c)
            return status_fail(
                STATUS_USAGE,
                "libgodwit %s does not know an option that is set; the program was built for a "
                "newer version",
                godwit_version());
    memcpy(options, given, given->size < sizeof *options ? given->size : sizeof *options);
    if (!precision_is_name(options->precision))
        return status_fail(STATUS_USAGE, "libgodwit: precision \"%s\" is not " PRECISION_NAMES,
                           options->precision);
    if (options->threads < 0 || options->batch < 0)
        return status_fail(STATUS_USAGE, "libgodwit: %d threads, a batch of %d", options->threads,
                           options->batch);
    return SUCCESS;
}

static status read_locked(const char *name, const godwit_options *options, struct model **model) {
    const struct keras_options keras = {.topology = options->topology, .aliases = options->aliases};
    struct hdf5_host host;
    char *path = NULL;
    STATUS_TRY(registry_resolve(options->models, name, &path));
    pthread_mutex_lock(&hdf5_lock);
    hdf5_host_save(&host);
    status error = model_read(path, &keras, model);
    hdf5_host_restore(&host);
    pthread_mutex_unlock(&hdf5_lock);
    free(path);
    return error;
}

/* With numbers written as in C, whatever the program's locale: in this thread only. */
static status read_model(const char *name, const godwit_options *options, const struct engine *engine,
                         godwit_model *m) {
    locale_t numbers = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!numbers) return status_no_memory("a locale", 0);
    locale_t before = uselocale(numbers);
    status error = read_locked(name, options, &m->model);
    if (!error) error = preprocessing_parse(m->model->preprocessing, &m->preprocessing);
    if (!error) error = precision_choose(options->precision, m->model, engine, &m->quantization);
    uselocale(before);
    freelocale(numbers);
    return error;
}

static status take_inputs(godwit_model *m) {
    const struct opgraph *ops = m->model->ops;
    m->inputs = calloc((size_t)ops->ninputs + 1, sizeof *m->inputs);
    if (!m->inputs) return status_no_memory("shapes", (size_t)ops->ninputs * sizeof *m->inputs);
    for (int i = 0; i < ops->ninputs; i++) m->inputs[i] = ops->value[ops->input[i]];
    return SUCCESS;
}

/* Finds out now whether the engine can compute the model, if that can be known. */
static status try_engine(const godwit_model *m) {
    for (int i = 0; i < m->model->ops->ninputs; i++)
        for (int k = 1; k < m->inputs[i].rank; k++)
            if (m->inputs[i].dim[k] == SHAPE_UNKNOWN) return SUCCESS;
    blas_threads_hold();
    status error = predictor_prepare(m->predictor, 1, m->inputs);
    blas_threads_let_go();
    return error;
}

static status open_model(const char *name, const godwit_options *given, godwit_model *m) {
    godwit_options options;
    struct predictor_options predictor = {0};
    STATUS_TRY(opened_need(name, "the model's name"));
    STATUS_TRY(take_options(given, &options));
    STATUS_TRY(engine_find(options.engine, &predictor.engine));
    predictor.threads = options.threads ? options.threads : default_threads();
    predictor.batch = options.batch;
    predictor.nbytes = options.memory;
    STATUS_TRY(read_model(name, &options, predictor.engine, m));
    STATUS_TRY(take_inputs(m));
    predictor.precision = m->quantization.precision;
    predictor.range = m->quantization.range;
    STATUS_TRY(predictor_create(&predictor, m->model, &m->predictor));
    return try_engine(m);
}

int godwit_open(const char *name, const godwit_options *options, godwit_model **model, godwit_error *error) {
    status failure = opened_need(model, "where the model goes");
    if (failure) return opened_report(failure, error);
    *model = NULL;
    godwit_model *m = calloc(1, sizeof *m);
    if (!m) return opened_report(status_no_memory("a model", sizeof *m), error);
    failure = open_model(name, options, m);
    if (failure) godwit_close(m);
    else *model = m;
    return opened_report(failure, error);
}

void godwit_close(godwit_model *model) {
    if (!model) return;
    predictor_destroy(&model->predictor);
    quantization_clear(&model->quantization);
    preprocessing_destroy(&model->preprocessing);
    free(model->inputs);
    model_destroy(&model->model);
    free(model);
}

const char *godwit_version(void) {
    return GODWIT_VERSION;
}
