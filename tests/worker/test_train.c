/* Training over ranks: the same as on one rank, the same again, the best epoch, and errors that all ranks end
 * with. Checks are on values reduced over the ranks. */
#include "io/dataset_testing.h"

#include <hdf5.h>
#include <math.h>
#include <signal.h>

#include "io/checkpoint.h"
#include "shared/rng.h"
#include "worker/engine_check.h"
#include "worker/nets.h"
#include "worker/evaluate.h"
#include "worker/train.h"

static struct comm *world, *node, *self;
static struct log *quiet;

static char sgd[] = "sgd", adamw[] = "adamw", constant[] = "constant", cosine[] = "cosine",
            batch_norm[] = "batch", frozen[] = "frozen", cross_entropy[] = "cross_entropy";

static void all_true(bool mine) {
    bool any_false = false;
    assert_null(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

/* All ranks must have this error, with the same text. */
static void all_have_error(status error, enum status_code code, const char *part) {
    char text[512] = "";
    snprintf(text, sizeof text, "%s", status_message(error));
    bool right = status_code(error) == code && strstr(text, part);
    if (!right) print_error("rank %d: \"%s\"\n", comm_rank(world), text);
    char first[512];
    memcpy(first, text, sizeof first);
    must(comm_bcast(world, 0, first, sizeof first));
    status_drop(&error);
    all_true(right && !strcmp(first, text));
}

static int make_shared_folder(void **state) {
    int made = comm_is_root(world) ? make_test_folder(state) : 0;
    status error = comm_bcast(world, 0, test_folder, sizeof test_folder);
    return error ? -1 : made;
}

static int remove_shared_folder(void **state) {
    status error = comm_barrier(world);
    if (error) return -1;
    return comm_is_root(world) ? remove_test_folder(state) : 0;
}
#define IN_SHARED_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_shared_folder, remove_shared_folder)

/* ---- data and nets ---- */

#define SAMPLES 48
#define SIDE 6
#define CLASSES 3

/* Images whose classes differ by where they are bright, under noise. `bad`: in this sample one pixel is
 * `value`; -1: in none. */
static void write_data_with(int bad, double value) {
    if (comm_is_root(world)) {
        static double x[SAMPLES][SIDE][SIDE], y[SAMPLES];
        for (int i = 0; i < SAMPLES; i++) {
            struct rng rng = rng_make(3, 1, (uint64_t)i);
            y[i] = i % CLASSES;
            for (int r = 0; r < SIDE; r++)
                for (int c = 0; c < SIDE; c++)
                    x[i][r][c] = 0.7 * (r / 2 == i % CLASSES) + 0.8 * rng_normal(&rng);
        }
        if (bad >= 0) x[bad][2][2] = value;
        hid_t file = H5Fcreate(in_folder("data.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
        const struct {
            const char *name;
            int rank;
            const double *data;
        } sets[] = {{"x_train", 3, x[0][0]}, {"y_train", 1, y}, {"x_test", 3, x[0][0]}, {"y_test", 1, y}};
        for (int s = 0; s < 4; s++) {
            hid_t space = H5Screate_simple(sets[s].rank, (const hsize_t[]){SAMPLES, SIDE, SIDE}, NULL);
            /* Without chunks: only the rank that needs a sample reads it. */
            hid_t set = H5Dcreate2(file, sets[s].name, s % 2 ? H5T_STD_I32LE : H5T_IEEE_F32LE, space,
                                   H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
            assert_true(H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, sets[s].data) >= 0);
            H5Dclose(set);
            H5Sclose(space);
        }
        H5Fclose(file);
    }
    must(comm_barrier(world));
}

static void write_data(int bad) {
    write_data_with(bad, NAN);
}

/* Opened for the ranks of `over`, or for this rank alone. */
static struct dataset *open_data(const struct comm *over, double holdout, bool in_memory) {
    char path[512], format[] = "hdf5";
    snprintf(path, sizeof path, "%s", in_folder("data.h5"));
    struct data_config config = make_config(format, path);
    config.holdout = holdout;
    config.in_memory = in_memory;
    config.shift = 1;
    struct dataset *data = NULL;
    must(dataset_open(&config, &SHAPE(-1, SIDE, SIDE, 1), CLASSES, 5, over, &data));
    return data;
}

static struct opgraph *net(void) {
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(-1, SIDE, SIDE, 1));
    x = net_conv(g, x, 3, 3, 4, (struct window_options){.same = true, .no_bias = true});
    x = net_batch_norm(g, x, true, true);
    x = net_relu(g, x);
    x = net_conv(g, x, 3, 3, 5, (struct window_options){.stride = {2, 2}});
    x = net_batch_norm(g, x, true, true);
    x = net_relu(g, x);
    x = net_reshape(g, x, SHAPE(-1, net_count(g, x, 1)));
    x = net_dropout(g, x, 0.2f);
    x = net_dense(g, x, CLASSES, true);
    net_finish(g, 1, &x);
    return g;
}

static struct training_config config_of(int64_t epochs, int64_t batch) {
    return (struct training_config){
        .epochs = epochs,
        .batch = batch,
        .batch_norm = batch_norm,
        .schedule = {.kind = constant, .rate = 0.02, .final = 0.1},
        .optimizer = {.kind = sgd, .momentum = 0.9, .weight_decay = 0.01, .clip = 5},
        .loss = {.kind = cross_entropy, .label_smoothing = 0.1, .temperature = 2},
    };
}

static struct machine machine_of(const struct engine *engine, const struct comm *over) {
    return (struct machine){.world = over, .node = over, .log = quiet, .engine = engine, .threads = 1};
}

/* Trains from the usual start; the result is owned. */
static struct params *trained(const struct machine *machine, const struct training_config *config,
                              struct dataset *data, struct train_result *result) {
    struct opgraph *g = net();
    struct params *params = net_params(g, 8);
    struct train_task task = {
        .config = config, .seed = 21, .data = data, .augment = true, .graph = g, .params = params};
    must(train(machine, &task, result));
    opgraph_destroy(&g);
    return params;
}

static bool close_params(const struct params *a, const struct params *b, double tolerance) {
    double scale = 0, worst = 0;
    for (int64_t i = 0; i < a->total; i++) {
        scale = fmax(scale, fabs(a->data[i]));
        worst = fmax(worst, fabs((double)a->data[i] - b->data[i]));
    }
    if (!(worst <= tolerance * scale))
        print_error("rank %d: weights differ by %g (scale %g)\n", comm_rank(world), worst, scale);
    return worst <= tolerance * scale;
}

/* ---- tests ---- */

static void compare_with_one_rank(const struct engine *engine, const struct training_config *config) {
    struct machine together = machine_of(engine, world), alone = machine_of(engine, self);
    struct dataset *ours = open_data(node, 0, true), *mine = open_data(NULL, 0, true);
    struct train_result a, b;
    struct params *over_ranks = trained(&together, config, ours, &a),
                  *by_one = trained(&alone, config, mine, &b);
    bool right = close_params(over_ranks, by_one, 2e-4);
    right = right && fabs(a.train_loss - b.train_loss) <= 1e-4 * b.train_loss && a.steps == b.steps;
    struct train_result again_result;
    struct params *again = trained(&together, config, ours, &again_result);
    right = right && !memcmp(again->data, over_ranks->data, (size_t)again->total * sizeof(float));
    /* ... and every rank has the same weights. */
    must(comm_bcast(world, 0, again->data, (size_t)again->total * sizeof(float)));
    right = right && !memcmp(again->data, over_ranks->data, (size_t)again->total * sizeof(float));
    params_destroy(&over_ranks);
    params_destroy(&by_one);
    params_destroy(&again);
    dataset_close(&ours);
    dataset_close(&mine);
    all_true(right);
}

static void test_ranks_do_not_matter(void **state) {
    (void)state;
    write_data(-1);
    for (int e = 0; e < engine_count(); e++) {
        struct training_config c = config_of(2, 13); /* 13 samples do not split evenly */
        compare_with_one_rank(engine_at(e), &c);
        c.batch_norm = frozen;
        c.optimizer.kind = adamw;
        c.optimizer.beta1 = 0.9;
        c.optimizer.beta2 = 0.99;
        c.optimizer.epsilon = 1e-3;
        c.average = 3;
        c.schedule.kind = cosine;
        c.schedule.warmup = 0.2;
        compare_with_one_rank(engine_at(e), &c);
    }
}

static void test_learns(void **state) {
    (void)state;
    write_data(-1);
    struct training_config c = config_of(25, 12);
    const struct engine *engine = NULL;
    must(engine_find(NULL, &engine));
    struct machine machine = machine_of(engine, world);
    struct dataset *data = open_data(node, 0, true);
    struct train_result result, first;
    struct params *params = trained(&machine, &c, data, &result);
    params_destroy(&params);
    c.epochs = 1;
    params = trained(&machine, &c, data, &first);
    params_destroy(&params);
    dataset_close(&data);
    assert_int_equal(result.steps, 25 * 4);
    assert_int_equal(result.best_epoch, 25);
    assert_true(result.train_loss < 0.75 * first.train_loss);
}

/* With a constant rate an epoch does not know how many follow, so runs of 1, 2, ... epochs show what each
 * epoch reached. */
static void test_best_epoch_is_kept(void **state) {
    (void)state;
    enum { EPOCHS = 6 };
    write_data(-1);
    const struct engine *engine = NULL;
    must(engine_find("openblas", &engine));
    struct machine machine = machine_of(engine, world);
    struct dataset *data = open_data(node, 0.4, true);
    struct params *kept = NULL, *best = NULL;
    struct train_result result[EPOCHS + 1] = {0};
    struct opgraph *g = net();
    for (int n = 1; n <= EPOCHS; n++) {
        struct training_config c = config_of(n, 14);
        c.schedule.rate = 0.15; /* too high: the accuracy goes up and down */
        params_destroy(&kept);
        kept = trained(&machine, &c, data, &result[n]);
        bool better = n == 1 || result[n].holdout_accuracy > result[n - 1].holdout_accuracy;
        all_true(result[n].best_epoch == (better ? n : result[n - 1].best_epoch));
        all_true(n == 1 || result[n].holdout_accuracy >= result[n - 1].holdout_accuracy);
        if (better) {
            params_destroy(&best);
            must(params_clone(kept, &best));
        }
        all_true(!memcmp(kept->data, best->data, (size_t)kept->total * sizeof(float)));
        struct evaluation e;
        must(evaluate(&machine, g, kept, data, DATASET_HOLDOUT, &e));
        all_true(e.accuracy == result[n].holdout_accuracy);
    }
    assert_true(result[EPOCHS].best_epoch < EPOCHS); /* the last is not always the best */
    opgraph_destroy(&g);
    params_destroy(&kept);
    params_destroy(&best);
    dataset_close(&data);
}

/* Asks this rank to stop once the second epoch is over. */
static void stop_after_second_epoch(void *data, int rank, const char *phase, const char *event,
                                    const struct log_figure *figures, int n) {
    (void)rank, (void)phase, (void)n;
    int *stop_rank = data;
    if (!strcmp(event, "epoch") && figures[0].number == 2 && comm_rank(world) == *stop_rank) raise(SIGTERM);
}

/* Each rank in turn gets SIGTERM: all end with CHECKPOINTED, and going on gives the bytes of an undisturbed
 * run. */
static void test_stopped_and_resumed(void **state) {
    (void)state;
    write_data(-1);
    const struct engine *engine = NULL;
    must(engine_find(NULL, &engine));
    struct machine machine = machine_of(engine, world);
    struct dataset *data = open_data(node, 0.2, true);
    struct training_config c = config_of(4, 13);
    c.optimizer.kind = adamw;
    c.optimizer.beta1 = 0.9;
    c.optimizer.beta2 = 0.99;
    c.optimizer.epsilon = 1e-3;
    c.average = 3;
    struct train_result whole, result;
    struct params *undisturbed = trained(&machine, &c, data, &whole);
    struct opgraph *g = net();
    char path[600];
    snprintf(path, sizeof path, "%s", in_folder("checkpoint"));
    for (int r = 0; r < comm_size(world); r++) {
        struct log *stopping = NULL;
        must(log_create(comm_rank(world), LOG_ERROR, &stopping));
        log_listen(stopping, stop_after_second_epoch, &r);
        struct params *params = net_params(g, 8);
        struct train_task task = {.config = &c,
                                  .seed = 21,
                                  .data = data,
                                  .augment = true,
                                  .graph = g,
                                  .params = params,
                                  .checkpoint = path,
                                  .checkpoint_key = "test"};
        machine.log = stopping;
        status error = train(&machine, &task, &result);
        all_true(status_code(error) == STATUS_CHECKPOINTED &&
                 strstr(status_message(error), "run the same command again"));
        status_drop(&error);
        params_destroy(&params);

        params = net_params(g, 8);
        task.params = params;
        machine.log = quiet;
        must(train(&machine, &task, &result));
        all_true(!memcmp(params->data, undisturbed->data, (size_t)params->total * sizeof(float)));
        all_true(result.steps == whole.steps && result.best_epoch == whole.best_epoch &&
                 result.train_loss == whole.train_loss && result.holdout_accuracy == whole.holdout_accuracy);
        params_destroy(&params);
        must(comm_barrier(world));
        if (comm_is_root(world)) checkpoint_remove(path);
        must(comm_barrier(world));
        log_destroy(&stopping);
    }
    opgraph_destroy(&g);
    params_destroy(&undisturbed);
    dataset_close(&data);
}

/* With a hold-out part, training that only does harm returns what it started from. */
static void test_start_is_kept_if_best(void **state) {
    (void)state;
    write_data(-1);
    const struct engine *engine = NULL;
    must(engine_find("openblas", &engine));
    struct machine machine = machine_of(engine, world);
    struct dataset *data = open_data(node, 0.4, true);
    struct training_config c = config_of(25, 12), harm = config_of(1, 14);
    harm.schedule.rate = 30;
    harm.optimizer.clip = 1;
    struct train_result good, bad;
    struct params *params = trained(&machine, &c, data, &good), *before = NULL;
    must(params_clone(params, &before));
    struct opgraph *g = net();
    struct train_task task = {.config = &harm, .seed = 21, .data = data, .graph = g, .params = params};
    must(train(&machine, &task, &bad));
    all_true(bad.best_epoch == 0 && bad.holdout_accuracy == good.holdout_accuracy);
    all_true(!memcmp(params->data, before->data, (size_t)params->total * sizeof(float)));
    opgraph_destroy(&g);
    params_destroy(&params);
    params_destroy(&before);
    dataset_close(&data);
}

/* A cached teacher and one that computes give the same training, on any number of ranks. */
static void test_distillation(void **state) {
    (void)state;
    write_data(-1);
    const struct engine *engine = NULL;
    must(engine_find("openblas", &engine));
    struct training_config c = config_of(2, 12);
    c.loss.distillation = 0.7;
    struct params *result[3] = {0};
    struct opgraph *g = net();
    struct params *taught_by = net_params(g, 99);
    for (int i = 0; i < 3; i++) { /* computed, cached, cached on one rank */
        const struct comm *over = i == 2 ? self : world;
        struct machine machine = machine_of(engine, over);
        struct dataset *data = open_data(i == 2 ? NULL : node, 0, true);
        struct teacher *teacher = NULL;
        must(teacher_create(&machine, g, taught_by, data, &(struct teacher_options){.variants = i > 0, .batch = 12}, &teacher));
        result[i] = net_params(g, 8);
        struct train_task task = {
            .config = &c, .seed = 1, .data = data, .graph = g, .params = result[i], .teacher = teacher};
        struct train_result told;
        must(train(&machine, &task, &told));
        teacher_destroy(&teacher);
        dataset_close(&data);
    }
    bool right = close_params(result[1], result[0], 1e-4) && close_params(result[2], result[0], 1e-4);
    struct params *plain = net_params(g, 8);
    right = right && memcmp(plain->data, result[0]->data, (size_t)plain->total * sizeof(float));
    for (int i = 0; i < 3; i++) params_destroy(&result[i]);
    params_destroy(&plain);
    params_destroy(&taught_by);
    opgraph_destroy(&g);
    all_true(right);
}

/* Takes the graph. */
static status train_error_of(const struct engine *engine, struct opgraph *g, const struct training_config *c,
                             struct dataset *data) {
    struct machine machine = machine_of(engine, world);
    struct params *params = net_params(g, 8);
    struct train_task task = {.config = c, .seed = 21, .data = data, .graph = g, .params = params};
    struct train_result result;
    status error = train(&machine, &task, &result);
    params_destroy(&params);
    opgraph_destroy(&g);
    return error;
}

static status train_error(const struct training_config *c, struct dataset *data) {
    const struct engine *engine = NULL;
    must(engine_find(NULL, &engine));
    return train_error_of(engine, net(), c, data);
}

static void test_loss_not_finite(void **state) {
    (void)state;
    write_data(-1);
    struct dataset *data = open_data(node, 0, true);
    struct training_config c = config_of(3, 12);
    c.schedule.rate = 1e30;
    c.optimizer.clip = 0;
    c.batch_norm = frozen;
    status error = train_error(&c, data);
    int epoch = 0, step = 0;
    const char *place = strstr(status_message(error), "epoch ");
    bool named = place && sscanf(place, "epoch %d, step %d", &epoch, &step) == 2 && epoch >= 1 &&
                 epoch <= 3 && step >= 1 && step <= 4;
    all_have_error(error, STATUS_DATA, "the loss is not finite in epoch ");
    all_true(named);
    dataset_close(&data);
}

static void test_batch_that_does_not_fit(void **state) {
    (void)state;
    write_data(-1);
    struct dataset *data = open_data(node, 0, true);
    struct training_config c = config_of(1, SAMPLES + 1);
    all_have_error(train_error(&c, data), STATUS_USAGE,
                   "training.batch is 49, but there are only 48 training samples");
    if (comm_size(world) > 1) {
        c.batch = comm_size(world) - 1;
        all_have_error(train_error(&c, data), STATUS_USAGE, "fewer samples than the");
    }
    c.batch = comm_size(world);
    c.epochs = 0;
    must(train_error(&c, data));
    dataset_close(&data);
}

/* One sample cannot be read: the rank that needs it fails, all end with its error, whatever they were doing.
 */
static void test_failing_rank(void **state) {
    (void)state;
    char *norms[] = {batch_norm, frozen};
    static const int bad[] = {0, 17, SAMPLES - 1};
    for (int b = 0; b < 3; b++) {
        write_data(bad[b]);
        for (int n = 0; n < 2; n++) {
            struct dataset *data = open_data(node, 0, false);
            struct training_config c = config_of(2, 12);
            c.batch_norm = norms[n];
            all_have_error(train_error(&c, data), STATUS_DATA, "NaN or infinite");
            dataset_close(&data);
        }
    }
}

/* Pixels as ids of three rows, with batch norm after the table: it sums over the ranks. */
static struct opgraph *embedding_net(void) {
    struct opgraph *g = net_create();
    float three = 3, zero = 0;
    int x = net_reshape(g, net_input(g, SHAPE(-1, SIDE, SIDE, 1)), SHAPE(-1, SIDE, SIDE));
    x = net_affine(g, net_activation(g, x, ACTIVATION_SIGMOID, 0, 0, 0), 1, &three, &zero);
    x = net_batch_norm(g, net_embedding(g, x, 3, 4), true, true);
    x = net_dense(g, net_reshape(g, x, SHAPE(-1, SIDE * SIDE * 4)), CLASSES, true);
    net_finish(g, 1, &x);
    return g;
}

/* One sample has an id that the table does not have: only the rank that meets it knows. */
static void test_id_out_of_range(void **state) {
    (void)state;
    for (int e = 0; e < engine_count(); e++)
        for (int bad = -1; bad < SAMPLES; bad += 17) {
            write_data_with(bad, 1e6);
            struct dataset *data = open_data(node, 0, false);
            struct training_config c = config_of(1, 12);
            status error = train_error_of(engine_at(e), embedding_net(), &c, data);
            if (bad < 0) must(error);
            else all_have_error(error, STATUS_DATA, "outside the embedding's table of 3 rows");
            dataset_close(&data);
        }
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = comm_split_node(world, &node);
    if (!error) error = comm_split(world, comm_rank(world), 0, &self);
    if (!error) error = log_create(comm_rank(world), LOG_ERROR, &quiet);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        IN_SHARED_FOLDER(test_ranks_do_not_matter), IN_SHARED_FOLDER(test_learns),
        IN_SHARED_FOLDER(test_best_epoch_is_kept),  IN_SHARED_FOLDER(test_distillation),
        IN_SHARED_FOLDER(test_loss_not_finite),     IN_SHARED_FOLDER(test_batch_that_does_not_fit),
        IN_SHARED_FOLDER(test_failing_rank),        IN_SHARED_FOLDER(test_start_is_kept_if_best),
        IN_SHARED_FOLDER(test_stopped_and_resumed), IN_SHARED_FOLDER(test_id_out_of_range),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    log_destroy(&quiet);
    comm_destroy(&self);
    comm_destroy(&node);
    comm_stop(&world);
    return failed;
}
