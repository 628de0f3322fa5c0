/* A source and a target half as wide, cut in three slices, and a data set, for tests of training in slices.
 */
#ifndef GODWIT_TESTS_WORKER_SLICES_FIXTURE_H
#define GODWIT_TESTS_WORKER_SLICES_FIXTURE_H

#include "io/dataset_testing.h"

#include <math.h>

#include "worker/engine_check.h"
#include "worker/nets.h"
#include "worker/slice_train.h"

#define SAMPLES 60
#define SIDE 6
#define CLASSES 3
#define NSLICES 3

static struct comm *world, *node, *self;
static struct log *quiet;

static char sgd[] = "sgd", constant[] = "constant", frozen[] = "frozen", cross_entropy[] = "cross_entropy",
            off[] = "off", on[] = "on", nothing[] = "", data_parallel[] = "data_parallel";

static inline void all_true(bool mine) {
    bool any_false = false;
    must(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

static inline int make_shared_folder(void **state) {
    int made = comm_is_root(world) ? make_test_folder(state) : 0;
    status error = comm_bcast(world, 0, test_folder, sizeof test_folder);
    return error ? -1 : made;
}

static inline int remove_shared_folder(void **state) {
    status error = comm_barrier(world);
    if (error) return -1;
    return comm_is_root(world) ? remove_test_folder(state) : 0;
}
#define IN_SHARED_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_shared_folder, remove_shared_folder)

static inline void write_data(void) {
    if (comm_is_root(world)) {
        write_idx_pair("train", SAMPLES, SIDE, SIDE, CLASSES, false);
        write_idx_pair("t10k", 20, SIDE, SIDE, CLASSES, false);
    }
    must(comm_barrier(world));
}

static inline struct dataset *open_data(const struct comm *over, double holdout) {
    char path[512], format[] = "idx";
    snprintf(path, sizeof path, "%s", in_folder(""));
    struct data_config config = make_config(format, path);
    config.holdout = holdout;
    config.shift = 1;
    struct dataset *data = NULL;
    must(dataset_open(&config, &SHAPE(-1, SIDE, SIDE, 1), CLASSES, 5, over, &data));
    return data;
}

/* Values at the ends of the first two slices go to end[2]. */
static inline struct opgraph *net(int width, int *end) {
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(-1, SIDE, SIDE, 1));
    x = net_conv(g, x, 3, 3, 4 * width, (struct window_options){.same = true});
    x = end[0] = net_relu(g, x);
    x = net_conv(g, x, 3, 3, 5 * width, (struct window_options){.stride = {2, 2}});
    x = end[1] = net_relu(g, x);
    x = net_reshape(g, x, SHAPE(-1, net_count(g, x, 1)));
    x = net_dropout(g, x, 0.2f);
    x = net_dense(g, x, CLASSES, true);
    net_finish(g, 1, &x);
    return g;
}

static const int64_t kept[2][5] = {{1, 3, 4, 6}, {0, 2, 3, 7, 9}};

struct nets {
    struct opgraph *source, *target;
    struct params *source_params;
    struct slicing *slicing;
};

static inline struct nets open_nets(bool known) {
    int wide[2], narrow[2];
    struct nets n = {.source = net(2, wide), .target = net(1, narrow)};
    n.source_params = net_params(n.source, 99);
    struct boundary *candidate = calloc(2, sizeof *candidate);
    assert_non_null(candidate);
    for (int i = 0; i < 2; i++) {
        candidate[i] = (struct boundary){wide[i], narrow[i], malloc(sizeof kept[i])};
        assert_non_null(candidate[i].column);
        memcpy(candidate[i].column, kept[i], sizeof kept[i]);
    }
    must(slicing_create(n.source, n.target, known, 2, candidate, &n.slicing));
    assert_int_equal(n.slicing->nslices, NSLICES);
    return n;
}

static inline void close_nets(struct nets *n) {
    slicing_destroy(&n->slicing);
    params_destroy(&n->source_params);
    opgraph_destroy(&n->source);
    opgraph_destroy(&n->target);
}

static inline struct training_config config_of(int64_t epochs, int64_t batch) {
    return (struct training_config){
        .way = data_parallel,
        .slices = {.stages = nothing, .cache = off, .scratch = nothing},
        .epochs = epochs,
        .batch = batch,
        .batch_norm = frozen,
        .schedule = {.kind = constant, .rate = 0.02, .final = 0.1},
        .optimizer = {.kind = sgd, .momentum = 0.9, .weight_decay = 0.01},
        .loss = {.kind = cross_entropy, .label_smoothing = 0.1, .temperature = 2, .distillation = 0.7},
    };
}

/* The usual task, whose params are what the target starts from and becomes; `models` is room. */
static inline struct slice_task task_of(const struct nets *nets, const struct training_config *config,
                                        struct dataset *data, struct params *params,
                                        struct slice_models *models) {
    *models = (struct slice_models){nets->source_params, params};
    return (struct slice_task){.config = config,
                               .epochs = config->epochs,
                               .seed = 21,
                               .data = data,
                               .slicing = nets->slicing,
                               .load = slice_load,
                               .context = models,
                               .params = params};
}

static inline struct machine machine_of(const struct engine *engine, const struct comm *over) {
    return (struct machine){
        .world = over, .node = over == self ? self : node, .log = quiet, .engine = engine, .threads = 1};
}

static inline bool close_params(const struct params *a, const struct params *b, double tolerance) {
    double scale = 0, worst = 0;
    for (int64_t i = 0; i < a->total; i++) {
        scale = fmax(scale, fabs(a->data[i]));
        worst = fmax(worst, fabs((double)a->data[i] - b->data[i]));
    }
    if (!(worst <= tolerance * scale))
        print_error("rank %d: weights differ by %g (scale %g)\n", comm_rank(world), worst, scale);
    return worst <= tolerance * scale;
}

/* Stages "a:b ..." for this many ranks: `i`-th of several ways; NULL: there are no more. */
static inline const char *stages_at(int ranks, int i) {
    static const char *const ways[4][6] = {{"3:1"},
                                           {"3:2", "1:1 2:1", "2:1 1:1"},
                                           {"3:3", "1:1 1:1 1:1", "1:2 2:1", "2:1 1:2"},
                                           {"3:4", "1:2 1:1 1:1", "1:1 1:1 1:2", "2:2 1:2", "1:3 2:1"}};
    return ways[ranks - 1][i];
}

static inline char *text_of(const char *text) {
    return (char *)(uintptr_t)text;
}

static inline int run_on_ranks(int argc, char **argv, const struct CMUnitTest *tests, size_t n) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = comm_split_node(world, &node);
    if (!error) error = comm_split(world, comm_rank(world), 0, &self);
    if (!error) error = log_create(comm_rank(world), LOG_ERROR, &quiet);
    if (error) return 70;
    int failed = _cmocka_run_group_tests("slices", tests, n, NULL, NULL);
    log_destroy(&quiet);
    comm_destroy(&self);
    comm_destroy(&node);
    comm_stop(&world);
    return failed;
}

#endif
