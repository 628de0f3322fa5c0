/* Runs of training in slices: accuracies, what ends them early, going on, moving to other stages. */
#include "worker/slices_fixture.h"

#include <signal.h>

#include "io/checkpoint.h"
#include "worker/evaluate.h"
#include "worker/slice_run.h"
#include "worker/slice_state.h"

static char scratch[] = "scratch";

static char adamw[] = "adamw";

/* Accuracies are those of models that one rank has as a whole. */
static void test_accuracies(void **state) {
    (void)state;
    write_data();
    const struct engine *engine = NULL;
    must(engine_find(NULL, &engine));
    struct nets nets = open_nets(true);
    struct machine alone = machine_of(engine, self), machine = machine_of(engine, world);
    for (int i = 0; stages_at(comm_size(world), i); i++) {
        struct training_config c = config_of(2, 12);
        c.slices.stages = text_of(stages_at(comm_size(world), i));
        struct dataset *data = open_data(node, 0);
        struct params *params = net_params(nets.target, 8);
        struct evaluation source, start, end;
        must(evaluate(&alone, nets.source, nets.source_params, data, DATASET_TEST, &source));
        must(evaluate(&alone, nets.target, params, data, DATASET_TEST, &start));
        struct slice_models models;
        struct slice_task task = task_of(&nets, &c, data, params, &models);
        task.epochs = 2;
        task.test = true;
        struct slice_train_result result;
        must(slice_train(&machine, &task, &result));
        must(evaluate(&alone, nets.target, params, data, DATASET_TEST, &end));
        all_true(result.source_accuracy == source.accuracy && result.start_accuracy == start.accuracy &&
                 result.accuracy == end.accuracy);
        params_destroy(&params);
        dataset_close(&data);
    }
    close_nets(&nets);
}

static status error_of(struct training_config *c, const struct machine *machine) {
    struct nets nets = open_nets(true);
    struct dataset *data = open_data(node, 0);
    struct params *params = net_params(nets.target, 8);
    struct slice_models models;
    struct slice_task task = task_of(&nets, c, data, params, &models);
    task.augment = true;
    struct slice_train_result result;
    status error = slice_train(machine, &task, &result);
    params_destroy(&params);
    dataset_close(&data);
    close_nets(&nets);
    return error;
}

static void all_have_error(status error, enum status_code code, const char *part) {
    bool right = status_code(error) == code && strstr(status_message(error), part);
    if (!right) print_error("rank %d: \"%s\"\n", comm_rank(world), status_message(error));
    status_drop(&error);
    all_true(right);
}

static void test_errors(void **state) {
    (void)state;
    write_data();
    const struct engine *engine = NULL;
    must(engine_find(NULL, &engine));
    struct machine machine = machine_of(engine, world);
    struct training_config c = config_of(1, 12);
    c.slices.micro_batches = 5;
    all_have_error(error_of(&c, &machine), STATUS_USAGE, "no multiple of its 5 micro-batches");
    c = config_of(1, SAMPLES + 1);
    all_have_error(error_of(&c, &machine), STATUS_USAGE, "only 60 training samples");
    c = config_of(1, 12);
    c.slices.stages = text_of("1:1 1:1");
    all_have_error(error_of(&c, &machine), STATUS_USAGE, "training.slices.stages");
    c = config_of(1, 12);
    c.slices.cache = on;
    all_have_error(error_of(&c, &machine), STATUS_USAGE, "training.slices.cache is on");
    c.slices.cache = scratch;
    all_have_error(error_of(&c, &machine), STATUS_USAGE, "training.slices.cache is scratch");
    c = config_of(1, 12);
    c.slices.rank_mib = 1e-5;
    all_have_error(error_of(&c, &machine), STATUS_USAGE, "one slice alone needs");
    c = config_of(3, 12);
    c.schedule.rate = 1e30;
    all_have_error(error_of(&c, &machine), STATUS_DATA,
                   "not finite"); /* the loss, or the weights before it is seen */
}

/* An engine whose forwards fail on one rank from the `fail_at`-th on. */
static struct {
    const struct engine *engine;
    struct exec_class class, inner;
    int rank, calls, fail_at;
} faulty;

static status faulty_forward(struct exec *exec, const float *const *inputs) {
    if (comm_rank(world) == faulty.rank && faulty.calls++ >= faulty.fail_at)
        return status_fail(STATUS_INTERNAL, "injected");
    return faulty.inner.forward(exec, inputs);
}

static status faulty_compile(const struct opgraph *graph, const struct exec_options *options,
                             struct exec **exec) {
    STATUS_TRY(faulty.engine->compile(graph, options, exec));
    faulty.inner = *(*exec)->class;
    faulty.class = faulty.inner;
    faulty.class.forward = faulty_forward;
    (*exec)->class = &faulty.class;
    return SUCCESS;
}

/* One rank fails at some moment, in measuring, in a step or in evaluation: all end with its error. */
static void test_failing_rank(void **state) {
    (void)state;
    write_data();
    must(engine_find("openblas", &faulty.engine));
    const struct engine engine = {.name = "faulty", .compile = faulty_compile};
    struct machine machine = machine_of(&engine, world);
    for (int r = 0; r < comm_size(world); r++)
        for (int i = 0; stages_at(comm_size(world), i); i++)
            for (int at = 0; at < 40; at += 13) {
                struct training_config c = config_of(6, 12);
                c.slices.micro_batches = 4;
                c.slices.progressive = 0.5;
                c.slices.stages = text_of(stages_at(comm_size(world), i));
                faulty.rank = r;
                faulty.calls = 0;
                faulty.fail_at = at;
                all_have_error(error_of(&c, &machine), STATUS_INTERNAL, "injected");
            }
}

/* ---- going on ---- */

/* Asks this rank to stop once the second epoch is over. */
static void stop_after_second_epoch(void *data, int rank, const char *phase, const char *event,
                                    const struct log_figure *figures, int n) {
    (void)rank, (void)phase, (void)n;
    int *stop_rank = data;
    if (!strcmp(event, "epoch") && figures[0].number == 2 && comm_rank(world) == *stop_rank) raise(SIGTERM);
}

/* Each rank in turn gets SIGTERM: all end with CHECKPOINTED, and going on, with the same stages or others,
 * comes to what an undisturbed run does. */
static void test_stopped_and_resumed(void **state) {
    (void)state;
    write_data();
    const struct engine *engine = NULL;
    must(engine_find(NULL, &engine));
    struct machine machine = machine_of(engine, world);
    struct nets nets = open_nets(true);
    struct training_config c = config_of(4, 12);
    c.optimizer = (struct optimizer_config){.kind = adamw, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-3};
    c.average = 3;
    c.slices.micro_batches = 4;
    c.slices.progressive = 0.5;
    char path[600];
    snprintf(path, sizeof path, "%s", in_folder("checkpoint"));
    for (int joint = 0; joint < 2; joint++)
        for (int r = 0; r < comm_size(world); r++) {
            struct params *result[3] = {0};
            struct slice_train_result told[3];
            for (int run = 0; run < 3; run++) { /* undisturbed, stopped, gone on with */
                struct log *stopping = NULL;
                must(log_create(comm_rank(world), LOG_ERROR, &stopping));
                if (run == 1) log_listen(stopping, stop_after_second_epoch, &r);
                machine.log = stopping;
                c.slices.stages =
                    text_of(stages_at(comm_size(world), run == 2 && stages_at(comm_size(world), 1) ? 1 : 0));
                struct dataset *data = open_data(node, 0.2);
                result[run] = net_params(nets.target, 8);
                struct slice_models models;
                struct slice_task task = task_of(&nets, &c, data, result[run], &models);
                task.epochs = 4;
                task.joint = joint;
                task.augment = true;
                task.checkpoint = run ? path : NULL;
                task.checkpoint_key = "test";
                status error = slice_train(&machine, &task, &told[run]);
                if (run == 1) all_have_error(error, STATUS_CHECKPOINTED, "run the same command again");
                else must(error);
                dataset_close(&data);
                log_destroy(&stopping);
            }
            all_true(close_params(result[2], result[0], 1e-4) && told[2].best_epoch == told[0].best_epoch &&
                     fabs(told[2].train_loss - told[0].train_loss) <= 1e-4 * told[0].train_loss);
            for (int run = 0; run < 3; run++) params_destroy(&result[run]);
            must(comm_barrier(world));
            if (comm_is_root(world)) checkpoint_remove(path);
            must(comm_barrier(world));
        }
    close_nets(&nets);
}

/* A stage that turns out to be slower than was thought loses slices, or gets ranks, and nothing that has been
 * learned is lost. */
static void test_rebalanced(void **state) {
    (void)state;
    write_data();
    const struct engine *engine = NULL;
    must(engine_find("openblas", &engine));
    struct machine machine = machine_of(engine, world);
    struct nets nets = open_nets(true);
    struct training_config c = config_of(2, 12);
    c.optimizer = (struct optimizer_config){.kind = adamw, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-3};
    c.slices.micro_batches = 4;
    c.average = 3;
    struct dataset *data = open_data(node, 0);
    struct params *params = net_params(nets.target, 8), *wanted = NULL;
    int64_t order[SAMPLES];
    double equal[NSLICES + 1] = {1, 1, 1, 0}, none[NSLICES + 1] = {0};
    double compute[NSLICES] = {1, 1, 1};
    for (int moved = 0; moved < 2; moved++) {
        struct slice_models models;
        struct slice_task task = task_of(&nets, &c, data, params, &models);
        task.epochs = 2;
        struct slice_train_result result = {0};
        struct slice_run r = {
            .machine = &machine, .task = &task, .way = &slice_way_blockwise, .result = &result};
        memcpy(compute, equal, sizeof compute);
        r.cost.compute = compute;
        r.cost.cost = (struct stages_cost){.nslices = NSLICES,
                                           .compute = compute,
                                           .transfer = none,
                                           .sum = none,
                                           .bytes = none,
                                           .micro_batches = 4};
        must(stages_create(&r.cost.cost, comm_size(world), comm_size(world) > 1 ? 2 : 1, &r.stages));
        must(slice_run_open(&r));
        must(params_clone(r.stage.params, &r.best));
        struct slice_progress progress = {0};
        for (int epoch = 0; epoch < 2; epoch++) {
            must(dataset_order(data, DATASET_TRAIN, (uint64_t)epoch, order));
            stage_begin_epoch(&r.stage, epoch, order);
            must(r.way->run(r.self, 0, r.stage.steps_per_epoch, &progress));
            if (epoch == 1 || !moved) continue;
            int first = r.stages->first_slice[1];
            /* The first stage took ten times as long. */
            must(slice_run_rebalance(&r, (r.stage.index == 0 ? 10 : 1) * (double)r.stage.steps_per_epoch));
            all_true(comm_size(world) == 1 || r.stages->first_slice[1] < first ||
                     stages_ranks(r.stages, 0) > 1 || r.stages->nstages != 2);
        }
        struct params *all = net_params(nets.target, 8);
        must(slice_state_move(world, nets.slicing, false, r.stages, weight_average_params(r.stage.average),
                              all));
        if (!moved) wanted = all;
        else {
            all_true(close_params(all, wanted, 1e-4));
            params_destroy(&all);
        }
        slice_run_close(&r);
        stages_destroy(&r.stages);
        params_destroy(&r.best);
    }
    params_destroy(&wanted);
    params_destroy(&params);
    dataset_close(&data);
    close_nets(&nets);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        IN_SHARED_FOLDER(test_accuracies),   IN_SHARED_FOLDER(test_errors),
        IN_SHARED_FOLDER(test_failing_rank), IN_SHARED_FOLDER(test_stopped_and_resumed),
        IN_SHARED_FOLDER(test_rebalanced),
    };
    return run_on_ranks(argc, argv, tests, sizeof tests / sizeof *tests);
}
