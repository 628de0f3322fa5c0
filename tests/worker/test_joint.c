/* Joint training of slices over stages of ranks: the same as data-parallel training on one rank. */
#include "worker/slices_fixture.h"

#include "worker/train.h"

static char cosine[] = "cosine", adamw[] = "adamw";

/* What one rank with the whole target comes to; owned. */
static struct params *whole(const struct engine *engine, const struct nets *nets,
                            const struct training_config *config, bool augment) {
    struct machine machine = machine_of(engine, self);
    struct dataset *data = open_data(NULL, 0);
    struct teacher *teacher = NULL;
    struct params *params = net_params(nets->target, 8);
    if (config->loss.distillation > 0)
        must(teacher_create(&machine, nets->source, nets->source_params, data,
                            &(struct teacher_options){
                                .variants = augment ? 0 : 1, .batch = config->batch, .augment = augment},
                            &teacher));
    struct train_task task = {.config = config,
                              .seed = 21,
                              .data = data,
                              .augment = augment,
                              .graph = nets->target,
                              .params = params,
                              .teacher = teacher};
    struct train_result result;
    must(train(&machine, &task, &result));
    teacher_destroy(&teacher);
    dataset_close(&data);
    return params;
}

static void compare(const struct engine *engine, struct training_config *config, bool augment, bool known) {
    struct nets nets = open_nets(known);
    if (!known) config->loss.distillation = 0;
    struct params *wanted = whole(engine, &nets, config, augment);
    struct machine machine = machine_of(engine, world);
    for (int i = 0; stages_at(comm_size(world), i); i++) {
        struct dataset *data = open_data(node, 0);
        struct params *params = net_params(nets.target, 8);
        config->slices.stages = text_of(stages_at(comm_size(world), i));
        struct slice_models models;
        struct slice_task task = task_of(&nets, config, data, params, &models);
        task.joint = true;
        task.augment = augment;
        struct slice_train_result result;
        must(slice_train(&machine, &task, &result));
        assert_string_equal(result.stages, config->slices.stages);
        bool right = close_params(params, wanted, 1e-4);
        if (!right) print_error("stages %s, engine %s\n", config->slices.stages, engine->name);
        all_true(right);
        params_destroy(&params);
        dataset_close(&data);
    }
    params_destroy(&wanted);
    close_nets(&nets);
}

/* 10 epochs of 5 steps. */
static void test_same_as_data_parallel(void **state) {
    (void)state;
    write_data();
    for (int e = 0; e < engine_count(); e++) {
        struct training_config c = config_of(10, 12);
        c.slices.micro_batches = 6;
        c.optimizer.clip = 0.5;
        compare(engine_at(e), &c, true, true);
        c.optimizer = (struct optimizer_config){
            .kind = adamw, .beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-3, .weight_decay = 0.01};
        c.schedule.kind = cosine;
        c.average = 3;
        c.slices.micro_batches = 4;
        compare(engine_at(e), &c, false, true);
        c.slices.cache = on;
        compare(engine_at(e), &c, false, true);
        c.slices.cache = off;
        compare(engine_at(e), &c, true, false);
    }
}

/* Whatever the number of micro-batches, fewer than ranks too. */
static void test_micro_batches(void **state) {
    (void)state;
    write_data();
    const struct engine *engine = NULL;
    must(engine_find(NULL, &engine));
    for (int64_t n = 1; n <= 12; n *= n == 3 ? 4 : 3) {
        struct training_config c = config_of(2, 12);
        c.slices.micro_batches = n;
        compare(engine, &c, true, true);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        IN_SHARED_FOLDER(test_same_as_data_parallel),
        IN_SHARED_FOLDER(test_micro_batches),
    };
    return run_on_ranks(argc, argv, tests, sizeof tests / sizeof *tests);
}
