/* Fine-tuning in slices, as a user starts it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coordinator/jobs_testing.h"

#define MIGRATE GODWIT_PROGRAM " migrate migrate.json --set models=m --set runs=r "

/* Largest difference between two models' weights, relative to their size. */
static double difference(const char *a, const char *b) {
    struct model *x = read_model(a), *y = read_model(b);
    double worst = 0, scale = 0;
    assert_int_equal(x->params->total, y->params->total);
    for (int64_t i = 0; i < x->params->total; i++) {
        worst = fmax(worst, fabs((double)x->params->data[i] - y->params->data[i]));
        scale = fmax(scale, fabs((double)x->params->data[i]));
    }
    model_destroy(&x);
    model_destroy(&y);
    return worst / scale;
}

static bool same_bytes(const char *a, const char *b) {
    static char x[1 << 20], y[1 << 20];
    FILE *f = fopen(in_folder(a), "rb"), *g = fopen(in_folder(b), "rb");
    assert_true(f && g);
    size_t n = fread(x, 1, sizeof x, f), m = fread(y, 1, sizeof y, g);
    fclose(f);
    fclose(g);
    return n == m && n > 0 && n < sizeof x && !memcmp(x, y, n);
}

/* After a refit: joint training comes to what data-parallel training does. */
static void test_joint_is_data_parallel(void **state) {
    (void)state;
    succeeds(run(1, MIGRATE "--set output=whole.h5"), "data-parallel");
    static const char *const stages[] = {"3:1", "1:1 2:1", "1:2 2:1", "1:1 1:2 1:1"};
    for (int i = 0; i < 4; i++) {
        succeeds(run(i + 1,
                     MIGRATE "--set output=joint%d.h5 --set training.way=joint --set "
                             "'training.slices.stages=%s'",
                     i, stages[i]),
                 stages[i]);
        assert_non_null(strstr(err, "joint epoch 2: loss"));
        char name[32];
        snprintf(name, sizeof name, "joint%d.h5", i);
        assert_true(difference(name, "whole.h5") < 1e-3);
    }
}

/* Without a refit no rank has a whole model: the same again, and accuracies as those of whole models. */
static void test_without_whole_models(void **state) {
    (void)state;
    succeeds(run(2, MIGRATE "--set refit.samples=0 --set output=whole.h5"), "data-parallel");
    static const char *const stages[] = {"3:1", "2:1 1:1", "2:1 1:2", "2:2 1:2"};
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "lean%d.h5", i);
        succeeds(run(i + 1,
                     MIGRATE "--set refit.samples=0 --set output=%s --set training.way=joint --set "
                             "'training.slices.stages=%s'",
                     name, stages[i]),
                 stages[i]);
        assert_non_null(strstr(err, "most memory of a rank"));
        assert_true(difference(name, "whole.h5") < 1e-3);
        char *at = strstr(out, "test accuracy  "), *line = at;
        assert_non_null(at);
        double source = 0, target = 0;
        assert_int_equal(sscanf(line, "test accuracy %lf %% %lf", &source, &target), 2);
        succeeds(run(0, GODWIT_PROGRAM " evaluate source.h5 --data migrate.json --json"), "evaluate");
        assert_float_equal(100 * figure(out, "accuracy"), source, 0.006);
        succeeds(run(0, GODWIT_PROGRAM " evaluate %s --data migrate.json --json", name), "evaluate");
        assert_float_equal(100 * figure(out, "accuracy"), target, 0.006);
    }
}

/* Blockwise first, then joint or data-parallel; the same run gives the same bytes. */
static void test_blockwise_first(void **state) {
    (void)state;
    static const char *const ways[] = {"--set training.way=joint",
                                       "",
                                       "--set training.way=joint --set refit.samples=0",
                                       "--set training.epochs=0 --set refit.samples=0",
                                       "--set training.way=blockwise",
                                       "--set training.way=blockwise --set refit.samples=0",
                                       "--set training.epochs=0"};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        for (int again = 0; again < 2; again++) {
            succeeds(run(2,
                         MIGRATE
                         "--set training.blockwise_epochs=2 --set 'training.slices.stages=1:1 2:1' %s "
                         "--set output=%s.h5",
                         ways[i], again ? "b" : "a"),
                     ways[i]);
            assert_non_null(strstr(err, "blockwise epoch 2: loss"));
            if (again) assert_true(same_bytes("a.h5", "b.h5"));
        }
}

/* Another task has no logits to be taught by; kernels are rounded when all is trained. */
static void test_other_targets(void **state) {
    (void)state;
    succeeds(run(2, MIGRATE
                 "--set training.way=joint --set target.head=3 --set output=head.h5 --set refit.samples=0"),
             "another task");
    succeeds(run(2, MIGRATE "--set training.way=joint --set target.precision=int8 --set output=int8.h5 "
                            "--set refit.samples=0"),
             "int8");
    struct model *m = read_model("int8.h5");
    int kernel = graph_first_param(m->graph, graph_find_layer(m->graph, "dense"));
    const float *w = params_at(m->params, kernel);
    int64_t rows = m->ops->param[kernel].shape.dim[0], columns = m->ops->param[kernel].shape.dim[1];
    for (int64_t c = 0; c < columns; c++) {
        double largest = 0;
        for (int64_t r = 0; r < rows; r++) largest = fmax(largest, fabs((double)w[r * columns + c]));
        for (int64_t r = 0; r < rows; r++) {
            double multiple = (double)w[r * columns + c] / largest * 127;
            assert_float_equal(multiple, rint(multiple), 1e-3);
        }
    }
    model_destroy(&m);
}

static void test_mistakes(void **state) {
    (void)state;
    migrate_fails(2, 2, "training.slices.stages",
                  "--set training.way=joint --set training.slices.stages=9:2");
    migrate_fails(2, 2, "no multiple of its 5 micro-batches",
                  "--set training.way=joint --set training.slices.micro_batches=5");
    migrate_fails(2, 2, "one slice alone needs",
                  "--set training.blockwise_epochs=1 --set training.slices.rank_mib=0.0001");
    migrate_fails(0, 2, "training.slices.cache is on",
                  "--set training.way=blockwise --set training.slices.cache=on --set data.flip=true");
    migrate_fails(0, 74, "absent/godwit-scratch",
                  "--set training.way=blockwise --set training.slices.cache=scratch "
                  "--set training.slices.scratch=absent");
    migrate_fails(0, 2, "training.way", "--set training.way=sideways");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joint_is_data_parallel),
        cmocka_unit_test(test_without_whole_models),
        cmocka_unit_test(test_blockwise_first),
        cmocka_unit_test(test_other_targets),
        cmocka_unit_test(test_mistakes),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
