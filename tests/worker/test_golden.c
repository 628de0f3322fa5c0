/* Real models in every container they come in, and as this program writes them again, with inputs and the
 * outputs that Keras 3 or TensorFlow.js computed for them: every engine must give the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "io/io_testing.h"
#include "io/golden.h"
#include "io/model.h"
#include "worker/infer.h"

#define TOLERANCE 1e-4 /* of the largest output */

struct known {
    const char *model, *golden; /* below ../shared/models */
    const char *topology;       /* likewise; NULL: none is needed */
    bool peer;                  /* the model is below GODWIT_PEERS/node_modules instead */
    const char *aliases;        /* below the source; NULL: none */
};

static char *join(const char *folder, const char *name) {
    char *path = NULL;
    assert_true(asprintf(&path, "%s/%s", folder, name) > 0);
    return path;
}

static char *shared_model(const char *name) {
    return join(GODWIT_SHARED_DIR "/models", name);
}

static char *peer_model(const char *name) {
    const char *peers = getenv("GODWIT_PEERS");
    char *modules = join(peers ? peers : GODWIT_SOURCE_DIR "/build/peers", "node_modules");
    char *path = join(modules, name);
    free(modules);
    return path;
}

static struct golden *read_golden(struct model *model, const char *path) {
    struct golden *golden = NULL;
    struct shape shape[8];
    assert_success(golden_read(path, model->graph, &golden));
    assert_in_range(golden->ninputs, 1, 8);
    for (int i = 0; i < golden->ninputs; i++) shape[i] = golden->x[i]->shape;
    assert_success(model_set_inputs(model, shape));
    return golden;
}

static void compare(const char *path, const struct keras_options *options, const char *values) {
    struct model *model = NULL;
    assert_success(model_read(path, options, &model));
    struct golden *golden = read_golden(model, values), *own = NULL;
    for (int e = 0; e < engine_count(); e++) {
        struct machine machine = {.engine = engine_at(e), .threads = 1};
        assert_success(golden_create(model->graph, golden->samples, &own));
        assert_success(infer(&machine, model, golden->samples, golden->x, own->y));
        for (int i = 0; i < golden->noutputs; i++) {
            struct golden_difference d;
            assert_success(golden_compare(own->y[i], golden->y[i], TOLERANCE, &d));
            print_message("%s, %s: max|d| %.2e, max|y| %.3g, ratio %.1e\n", strrchr(path, '/') + 1,
                          machine.engine->name, d.difference, d.largest, d.ratio);
            assert_true(d.largest > 0);
            assert_true(d.pass);
        }
        golden_destroy(&own);
    }
    golden_destroy(&golden);
    model_destroy(&model);
}

/* The model as it came; then as HDF5 and as an archive of Keras 3 that this program wrote. */
static void known_outputs(const struct known *known) {
    char *path = known->peer ? peer_model(known->model) : shared_model(known->model);
    char *values = shared_model(known->golden),
         *topology = known->topology ? shared_model(known->topology) : NULL;
    char *aliases = known->aliases ? join(GODWIT_SOURCE_DIR, known->aliases) : NULL;
    if (access(path, R_OK) || access(values, R_OK)) {
        print_message("[   SKIP   ] %s is absent\n", access(path, R_OK) ? path : values);
    } else {
        const struct keras_options options = {.topology = topology, .aliases = aliases};
        const char *plain = in_folder("written.h5"), *archive = in_folder("written.keras");
        struct model *model = NULL;
        compare(path, &options, values);
        assert_success(model_read(path, &options, &model));
        assert_success(model_write(plain, model));
        compare(plain, NULL, values);
        status error = keras_write_archive(archive, model->graph, model->params, NULL);
        if (error) { /* what Keras 3 computes otherwise */
            assert_error(error, STATUS_UNSUPPORTED, "Keras 3");
        } else {
            compare(archive, NULL, values);
        }
        model_destroy(&model);
    }
    free(path);
    free(values);
    free(topology);
    free(aliases);
}

#define MODEL_OF_KERAS3(name)                                                                                \
    static void name(void **state) {                                                                         \
        (void)state;                                                                                         \
        static const struct known known[] = {                                                                \
            {"keras3/" #name ".h5", "keras3/" #name ".golden.h5", NULL, false, NULL},                        \
            {"keras3/" #name ".keras", "keras3/" #name ".golden.h5", NULL, false, NULL},                     \
            {"keras3/" #name ".weights.h5", "keras3/" #name ".golden.h5", "keras3/" #name ".h5", false,      \
             NULL},                                                                                          \
        };                                                                                                   \
        for (int i = 0; i < 3; i++) known_outputs(&known[i]);                                                \
    }

MODEL_OF_KERAS3(seq_cnn)
MODEL_OF_KERAS3(graph_mix)
MODEL_OF_KERAS3(lstm_text)
MODEL_OF_KERAS3(transformer)
MODEL_OF_KERAS3(mobilenet_v2)

static void xception_of_keras2(void **state) {
    (void)state;
    known_outputs(
        &(struct known){"fer2013_big_XCEPTION.hdf5", "fer2013_big_XCEPTION.golden.h5", NULL, false, NULL});
}

/* A model of TensorFlow.js with custom layers, of any image size; needs scripts/install_peers.sh. */
static void esrgan_of_tfjs(void **state) {
    (void)state;
    known_outputs(&(struct known){"@upscalerjs/esrgan-slim/models/x2", "esrgan-slim-x2.golden.h5", NULL, true,
                                  "configs/aliases/upscalerjs.json"});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(seq_cnn),        IN_FOLDER(graph_mix),    IN_FOLDER(lstm_text),
        IN_FOLDER(transformer),    IN_FOLDER(mobilenet_v2), IN_FOLDER(xception_of_keras2),
        IN_FOLDER(esrgan_of_tfjs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
