/* Programs and kinds of targets as a user runs them: edited programs, executed ones again, another task, dry
 * runs. */
#include "io/dataset_testing.h"

#include "coordinator/jobs_testing.h"

/* The executed program, run again, gives the same model, on any number of ranks; so does the one that was
 * printed before. */
static void test_program_again(void **state) {
    (void)state;
    static const char settings[] =
        "--set training.epochs=0 --set threads=1 --set runs=r6 --set target.precision=int4_gptq";
    static const int ranks[] = {2, 1, 2, 3, 1};
    struct model *first = NULL;
    char plan[1 << 14], again[1 << 14];
    succeeds(run(0, GODWIT_PROGRAM " plan migrate.json --set target.precision=int4_gptq -o printed.txt"),
             "plan");
    for (int i = 0; i < 5; i++) {
        char name[64], program[64] = "";
        if (i) snprintf(program, sizeof program, "--plan %s", i == 4 ? "printed.txt" : "p0/small/1/plan.txt");
        succeeds(run(ranks[i], GODWIT_PROGRAM " migrate migrate.json %s --set models=p%d %s", settings, i,
                     program),
                 "migrate --plan");
        snprintf(name, sizeof name, "p%d/small/1/model.h5", i);
        struct model *model = read_model(name);
        snprintf(name, sizeof name, "p%d/small/1/plan.txt", i);
        read_into(in_folder(name), i ? again : plan, sizeof plan);
        if (i) assert_string_equal(again, plan);
        else assert_non_null(strstr(plan, "int4, axis 3, rounding gptq)"));
        if (i)
            assert_memory_equal(model->params->data, first->params->data,
                                (size_t)first->params->total * sizeof(float));
        if (i) model_destroy(&model);
        else first = model;
    }
    model_destroy(&first);
}

/* Ranks by energy stand in the executed program, which needs nothing of the configuration for them. */
static void test_energy_again(void **state) {
    (void)state;
    static const char settings[] =
        "--set training.epochs=0 --set threads=1 --set runs=r11 --set target.width=1";
    succeeds(run(2, GODWIT_PROGRAM " migrate migrate.json %s --set target.rank_energy=0.8 --set models=e0",
                 settings),
             "migrate with rank_energy");
    char plan[1 << 14];
    read_into(in_folder("e0/small/1/plan.txt"), plan, sizeof plan);
    assert_non_null(strstr(plan, "\nfactor \"conv2\" "));
    succeeds(run(1, GODWIT_PROGRAM " migrate migrate.json %s --plan e0/small/1/plan.txt --set models=e1",
                 settings),
             "migrate --plan");
    assert_int_equal(run(0, "cmp e0/small/1/model.h5 e1/small/1/model.h5"), 0);
    fails(run(0, GODWIT_PROGRAM " migrate migrate.json --set target.rank_energy=0.8 --set refit.samples=0"),
          2, "target.rank_energy is measured on calibration samples");
}

/* A program of another width than the configuration's; one with a mistake; one of another source. */
static void test_edited_program(void **state) {
    (void)state;
    char plan[1 << 14];
    succeeds(run(0, GODWIT_PROGRAM " plan migrate.json --set target.width=0.75 -o wide.txt"), "plan");
    succeeds(run(2, GODWIT_PROGRAM
                 " migrate migrate.json --plan wide.txt --set training.epochs=0 --set models=wide "
                 "--set runs=r7"),
             "migrate --plan");
    read_into(in_folder("wide/small/1/model.json"), out, sizeof out);
    assert_int_equal(figure(out, "parameters"), 9 * 6 + 6 + 9 * 6 * 6 + 6 + 16 * 6 * 3 + 3);
    succeeds(run(0, GODWIT_PROGRAM " plan migrate.json --plan wide.txt"), "plan --plan");
    read_into(in_folder("wide.txt"), plan, sizeof plan);
    assert_string_equal(out, plan);

    char *place = strstr(plan, "k0, k1]");
    assert_non_null(place);
    place[5] = '7';
    write_text("wrong.txt", plan);
    for (int ranks = 0; ranks < 3; ranks += 2) {
        int code = run(ranks, GODWIT_PROGRAM
                       " migrate migrate.json --plan wrong.txt --set models=none --set runs=r8");
        fails(code, 65, "wrong.txt:");
        assert_non_null(strstr(err, "there is no keep list k7"));
        assert_non_null(strstr(err, "^\n"));
    }
    assert_false(exists("none/small"));
    migrate_fails(0, 74, "/nowhere/plan.txt", "--plan /nowhere/plan.txt");
}

/* A new last layer learns from labels alone; the source's accuracy is that of another task. */
static void test_new_head(void **state) {
    (void)state;
    succeeds(run(2, GODWIT_PROGRAM
                 " migrate migrate.json --set target.head=3 --set training.epochs=6 --set models=head "
                 "--set runs=r9"),
             "migrate with a new head");
    assert_non_null(strstr(out, "\ntest accuracy "));
    read_into(in_folder("head/small/1/model.json"), out, sizeof out);
    assert_null(strstr(out, "nan"));
    assert_true(figure(out, "test_accuracy") > 0.7);
    read_into(in_folder("head/small/1/plan.txt"), out, sizeof out);
    assert_non_null(strstr(out, "= init(glorot_uniform, "));
}

/* Three residual blocks of one convolution each. */
static char *residual_topology(void) {
    static char text[1 << 13];
    size_t n = 0, size = sizeof text;
    n += (size_t)snprintf(
        text, size,
        "{\"class_name\":\"Functional\",\"config\":{\"name\":\"r\",\"layers\":[{\"class_name\":"
        "\"InputLayer\","
        "\"name\":\"x\",\"config\":{\"name\":\"x\",\"batch_input_shape\":[null,8,8,1],\"dtype\":\"float32\"},"
        "\"inbound_nodes\":[]},{\"class_name\":\"Conv2D\",\"name\":\"add0\",\"config\":{\"name\":\"add0\","
        "\"filters\":6,\"kernel_size\":[3,3],\"activation\":\"relu\"},\"inbound_nodes\":[[[\"x\",0,0,{}]]]}");
    for (int i = 1; i <= 3; i++)
        n += (size_t)snprintf(
            text + n, size - n,
            ",{\"class_name\":\"Conv2D\",\"name\":\"c%d\",\"config\":{\"name\":\"c%d\",\"filters\":6,"
            "\"kernel_size\":[3,3],\"padding\":\"same\",\"activation\":\"relu\"},\"inbound_nodes\":"
            "[[[\"add%d\",0,0,{}]]]},{\"class_name\":\"Add\",\"name\":\"add%d\",\"config\":{\"name\":\"add%"
            "d\"},"
            "\"inbound_nodes\":[[[\"add%d\",0,0,{}],[\"c%d\",0,0,{}]]]}",
            i, i, i - 1, i, i, i - 1, i);
    snprintf(text + n, size - n,
             ",{\"class_name\":\"Flatten\",\"name\":\"f\",\"config\":{\"name\":\"f\"},\"inbound_nodes\":"
             "[[[\"add3\",0,0,{}]]]},{\"class_name\":\"Dense\",\"name\":\"d\",\"config\":{\"name\":\"d\","
             "\"units\":3,\"activation\":\"softmax\"},\"inbound_nodes\":[[[\"f\",0,0,{}]]]}],"
             "\"input_layers\":[[\"x\",0,0]],\"output_layers\":[[\"d\",0,0]]}}");
    return text;
}

/* Blocks left out by what they cost: the program says which, and runs again wherever. */
static void test_blocks(void **state) {
    (void)state;
    static const char settings[] = "--set source=res.h5 --set target.width=1 --set training.epochs=0 "
                                   "--set threads=1 --set runs=r10 --set target.blocks_removed=2";
    char plan[1 << 14], again[1 << 14];
    write_text("res.json", residual_topology());
    succeeds(run(2, GODWIT_PROGRAM " train train.json --set topology=res.json --set output=res.h5"), "train");
    succeeds(run(0, GODWIT_PROGRAM " plan migrate.json %s", settings), "plan");
    assert_non_null(strstr(err, "2 of 3 residual blocks are to be left out of this program"));
    succeeds(run(2, GODWIT_PROGRAM " migrate migrate.json --set models=b0 %s", settings), "migrate");
    assert_non_null(strstr(err, "is left out: error of the outputs "));
    read_into(in_folder("b0/small/1/plan.txt"), plan, sizeof plan);
    int left = 0, kernels = 0;
    for (const char *at = plan; (at = strstr(at, "\nbypass \"add")); at++) left++;
    for (const char *at = plan; (at = strstr(at, "/kernel\" (3, 3, 6, 6) = ")); at++) kernels++;
    assert_int_equal(left, 2);
    assert_int_equal(kernels, 1);
    struct model *first = read_model("b0/small/1/model.h5");
    static const int ranks[] = {0, 3, 1};
    for (int i = 0; i < 3; i++) { /* measured again, on other ranks; then the program itself */
        char models[8], name[64];
        snprintf(models, sizeof models, "b%d", i + 1);
        succeeds(run(ranks[i], GODWIT_PROGRAM " migrate migrate.json --set models=%s %s %s", models, settings,
                     i == 2 ? "--plan b0/small/1/plan.txt" : ""),
                 "migrate again");
        snprintf(name, sizeof name, "%s/small/1/plan.txt", models);
        read_into(in_folder(name), again, sizeof again);
        assert_string_equal(plan, again);
        snprintf(name, sizeof name, "%s/small/1/model.h5", models);
        struct model *model = read_model(name);
        assert_memory_equal(model->params->data, first->params->data,
                            (size_t)first->params->total * sizeof(float));
        model_destroy(&model);
    }
    model_destroy(&first);
    migrate_fails(0, 2, "the model has 3 residual blocks",
                  "--set source=res.h5 --set target.blocks_removed=4");
    migrate_fails(2, 2, "measured on calibration samples; raise refit.samples",
                  "--set source=res.h5 --set target.blocks_removed=1 --set refit.samples=0");
}

/* Measured widths: what is said of them agrees with itself; how long anything takes is no matter. */
static void test_latency(void **state) {
    (void)state;
    char plan[1 << 14], json[1 << 16];
    succeeds(run(0, GODWIT_PROGRAM " plan migrate.json --set target.latency_ms=1"), "plan");
    assert_non_null(strstr(err, "godwit migrate measures"));
    fails(run(2, GODWIT_PROGRAM " migrate migrate.json --set target.latency_ms=1e-9 --set runs=r11"), 2,
          "as narrow as it can be the target takes");
    for (int i = 0; i < 4; i++) {
        static const char *const settings[] = {
            "latency_ms=1e6", "latency_ratio=0.7", "latency_ratio=0.8 --set refit.samples=0",
            "latency_ratio=0.9 --set target.params=0.5 --set engine=openblas"};
        char models[8], name[64];
        snprintf(models, sizeof models, "l%d", i);
        int code = run(i % 3,
                       GODWIT_PROGRAM " migrate migrate.json --set training.epochs=0 --set models=%s "
                                      "--set runs=r12 --set target.%s",
                       models, settings[i]);
        if (i && code == 2) { /* the machine was busy with something else just then */
            fails(code, 2, "as narrow as it can be the target takes");
            continue;
        }
        succeeds(code, "migrate within a latency");
        assert_true(strstr(err, "widths allotted within ") || strstr(err, "no widths were found within "));
        snprintf(name, sizeof name, "%s/small/1/model.json", models);
        read_into(in_folder(name), json, sizeof json);
        double limit = figure(json, "latency_limit_s"), is = figure(json, "latency_s");
        assert_true(limit > 0 && is > 0);
        assert_true(figure(json, "latency_within_limit") == (is <= limit));
        assert_non_null(strstr(err, is <= limit ? " within the " : " above the "));
        assert_true(i == 0 || figure(json, "parameters") <= figure(json, "source_parameters"));
        if (i == 0) {
            assert_true(is <= limit);
            snprintf(name, sizeof name, "%s/small/1/plan.txt", models);
            read_into(in_folder(name), plan, sizeof plan);
            assert_null(strstr(plan, "\nkeep ")); /* nothing is narrowed */
            succeeds(run(1,
                         GODWIT_PROGRAM " migrate migrate.json --plan l0/small/1/plan.txt --set models=l0 "
                                        "--set runs=r12 --set training.epochs=0 --set target.latency_ms=1e6"),
                     "migrate --plan");
            assert_null(strstr(err, "widths allotted")); /* the program says them */
            assert_non_null(strstr(err, " within the 1e+06 ms that are allowed"));
        }
        if (i == 3) assert_true(figure(json, "parameters") <= 0.5 * figure(json, "source_parameters"));
    }
}

/* What would be done, and nothing is. */
static void test_dry_run(void **state) {
    (void)state;
    char printed[sizeof out];
    succeeds(run(0, GODWIT_PROGRAM " plan migrate.json"), "plan");
    strcpy(printed, out);
    succeeds(run(2, GODWIT_PROGRAM " migrate migrate.json --dry-run --set models=dry --set runs=dryruns"),
             "--dry-run");
    assert_int_equal(strncmp(out, printed, strlen(printed)), 0);
    assert_non_null(strstr(out, "\n# parameters"));
    assert_non_null(strstr(out, " 383 ")); /* as test_migrate() counts them */
    assert_non_null(strstr(out, "\n# 1 "));
    assert_null(strstr(out, "\n# 2 "));
    assert_non_null(strstr(out, "\n# all "));
    assert_false(exists("dry"));
    assert_false(exists("dryruns"));
    /* It is a program, too: the figures are comments. */
    write_text("dry.txt", out);
    succeeds(run(0, GODWIT_PROGRAM " plan migrate.json --plan dry.txt"), "plan --plan");
    assert_string_equal(out, printed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_program_again),  cmocka_unit_test(test_energy_again),
        cmocka_unit_test(test_edited_program), cmocka_unit_test(test_new_head),
        cmocka_unit_test(test_blocks),         cmocka_unit_test(test_latency),
        cmocka_unit_test(test_dry_run)};
    return cmocka_run_group_tests(tests, begin, end);
}
