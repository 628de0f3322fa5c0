/* Following a source that is still being trained: targets of what has changed are those of a run that begins
 * anew; half-written sources are waited out; other topologies begin anew; SIGTERM ends it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coordinator/jobs_testing.h"

#include "io/file.h"

/* What a script may use: start ARGUMENTS, said TEXT, made VERSION. */
static const char functions[] =
    "start() { $LAUNCH $GODWIT migrate migrate.json --set source=live/live.h5 --set training.epochs=0 \"$@\" "
    "--follow --every 0.1 >follow.out 2>follow.err & pid=$!; }\n"
    "within() { n=0; until eval \"$1\"; do n=$((n+1)); test $n -lt 400 || { echo \"not within 40 s: $1\"; "
    "cat follow.err; kill $pid; exit 9; }; sleep 0.1; done; }\n"
    "said() { within \"grep -q '$1' follow.err\"; }\n"
    "made() { within \"test -e models/small/$1/model.h5\"; }\n"
    "put() { cp $1 live/.new && mv live/.new live/live.h5; }\n"
    "rm -rf models live follow.*; mkdir live\n";

static void script(int ranks, const char *text) {
    char whole[8192], launch[32] = "";
    if (ranks) snprintf(launch, sizeof launch, "mpirun -n %d", ranks);
    snprintf(whole, sizeof whole, "GODWIT=%s\nLAUNCH='%s'\n%s%s", GODWIT_PROGRAM, launch, functions, text);
    write_text("script.sh", whole);
    succeeds(run(0, "sh script.sh"), text);
}

/* The source with other values in some of a layer's weights. */
static void write_changed(const char *file, const char *layer, float factor) {
    struct model *model = read_model("source.h5");
    int l = graph_find_layer(model->graph, layer), p = graph_first_param(model->graph, l);
    for (int64_t i = 0; i < model->params->count[p]; i++) params_at(model->params, p)[i] *= factor;
    assert_success(model_write(in_folder(file), model));
    model_destroy(&model);
}

/* The second target is what the first one's program makes of the second source, to the byte; what the change
 * does not reach is the same tensor. */
static void test_changed(void **state) {
    (void)state;
    write_changed("changed.h5", "dense", 1.5f);
    for (int ranks = 0; ranks <= 2; ranks += 2) {
        script(ranks, "start --versions 2 --set refit.sweeps=0\n"
                      "said 'there is none yet'\nput source.h5\nmade 1\nsaid 'waiting for another'\n"
                      "put changed.h5\nwait $pid\n"
                      "grep -q '1 of 12 tensors have changed' follow.err\n"
                      "grep -q 'of 6 statements 1 are migrated again, 2 fitted again' follow.err\n"
                      "sed 's/digest sha256:[0-9a-f]*//' models/small/1/plan.txt > one.txt\n"
                      "$LAUNCH $GODWIT migrate migrate.json --set source=changed.h5 --set training.epochs=0 "
                      "--set refit.sweeps=0 --plan one.txt --set output=anew.h5\n"
                      "cmp anew.h5 models/small/2/model.h5\n"
                      "$GODWIT verify --models models\n"
                      "test ! -e runs/small.source.h5\n");
        struct model *one = read_model("models/small/1/model.h5"),
                     *two = read_model("models/small/2/model.h5");
        int dense = graph_first_param(two->graph, graph_find_layer(two->graph, "dense"));
        for (int p = 0; p < two->ops->nparams; p++) {
            bool same = !memcmp(params_at(one->params, p), params_at(two->params, p),
                                (size_t)two->params->count[p] * sizeof(float));
            assert_int_equal(same, p < dense);
        }
        model_destroy(&one);
        model_destroy(&two);
    }
}

/* With the models on disk alone: what has not changed is copied. */
static void test_streamed(void **state) {
    (void)state;
    write_changed("changed.h5", "conv2", 0.5f);
    script(2, "start --versions 2 --set refit.samples=0\n"
              "put source.h5\nmade 1\nsaid 'waiting for another'\nput changed.h5\nwait $pid\n"
              "grep -q 'of 6 statements 1 are migrated again, the others copied' follow.err\n"
              "sed 's/digest sha256:[0-9a-f]*//' models/small/1/plan.txt > one.txt\n"
              "$GODWIT migrate migrate.json --set source=changed.h5 --set training.epochs=0 "
              "--set refit.samples=0 --plan one.txt --set output=anew.h5\n"
              "cmp anew.h5 models/small/2/model.h5\n");
}

/* A source that is cut off, and one that is written bit by bit; the same again; another topology; one that
 * cannot be used; and the end. */
static void test_troubled(void **state) {
    (void)state;
    script(
        2,
        "sed 's/\"filters\":8/\"filters\":6/' tiny.json > other.json\n"
        "$GODWIT train train.json --set topology=other.json --set output=other.h5 --set training.epochs=1\n"
        "start\n"
        "head -c 6000 source.h5 > live/.new; mv live/.new live/live.h5\nsaid 'is left out'\n"
        "(head -c 9000 source.h5; sleep 0.15; tail -c +9001 source.h5 | head -c 4000; sleep 0.15; "
        "tail -c +13001 source.h5) > live/live.h5\n"
        "made 1\nsaid 'waiting for another'\n"
        "put source.h5\nsaid '0 of 12 tensors have changed: nothing to do'\n"
        "put other.h5\nmade 2\nsaid 'has another topology'\n"
        "echo nothing > live/live.h5\nsaid 'is not a Keras model'\n"
        "put source.h5\nmade 3\n"
        "sleep 0.5\nkill -TERM $pid\nwait $pid || true\n"
        "said 'stopped by SIGTERM after 3 targets'\n"
        "test ! -e models/small/4\n"
        "$GODWIT verify --models models\n");
}

/* A mistake that waiting does not mend ends it; alone and on ranks. */
static void test_unusable(void **state) {
    (void)state;
    write_set("shifted", 48, SIDE, 1); /* labels 1 to 3 of 3 classes */
    for (int ranks = 0; ranks <= 2; ranks += 2)
        script(ranks, "cp source.h5 live/live.h5\n"
                      "start --set data.path=shifted --versions 1\ncode=0\nwait $pid || code=$?\n"
                      "cat follow.err\ntest $code -eq 65\n"
                      "test $(grep -c '^godwit: ' follow.err) -eq 1\n! grep -q 'is left out' follow.err\n"
                      "test ! -e models/small/1\ntest ! -e runs/small.source.h5\n");
}

/* A source of other inputs is compared with the data set anew, and does not end what has begun. */
static void test_other_input(void **state) {
    (void)state;
    write_set("tall", 48, 2 * SIDE, 0);
    script(2, "sed 's/null,8,8,1/null,16,8,1/' tiny.json > tall.json\n"
              "$GODWIT train train.json --set topology=tall.json --set data.path=tall --set output=tall.h5 "
              "--set training.epochs=1\n"
              "start --versions 2\n"
              "put source.h5\nmade 1\nsaid 'waiting for another'\nput tall.h5\n"
              "said 'is left out: samples of .* the model wants (?, 16, 8, 1)'\n"
              "test $(grep -c 'is left out' follow.err) -eq 1\ntest ! -e models/small/2\n"
              "put source.h5\ncode=0\nwait $pid || code=$?\n"
              "cat follow.err\ntest $code -eq 0\ntest -e models/small/2/model.h5\n");
}

/* Without mpirun, which turns SIGTERM into an error of its own, the end is a success. */
static void test_terminated(void **state) {
    (void)state;
    script(0, "cp source.h5 live/live.h5\nstart\nmade 1\nsaid 'waiting for another'\n"
              "kill -TERM $pid\ncode=0\nwait $pid || code=$?\ncat follow.err\ntest $code -eq 0\n"
              "grep -q 'stopped by SIGTERM after 1 target$' follow.err\n");
}

static void test_arguments(void **state) {
    (void)state;
    fails(run(0, "%s migrate migrate.json --follow --dry-run", GODWIT_PROGRAM), 2, "not both");
    fails(run(0, "%s migrate migrate.json --every 3", GODWIT_PROGRAM), 2, "go with --follow");
    fails(run(0, "%s migrate migrate.json --follow --versions 0", GODWIT_PROGRAM), 2,
          "--versions: 0 is out of");
    fails(run(0, "%s migrate migrate.json --follow --set source=small:1", GODWIT_PROGRAM), 2,
          "a version never changes");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_changed),     cmocka_unit_test(test_streamed),
                                       cmocka_unit_test(test_troubled),    cmocka_unit_test(test_unusable),
                                       cmocka_unit_test(test_other_input), cmocka_unit_test(test_terminated),
                                       cmocka_unit_test(test_arguments)};
    return cmocka_run_group_tests(tests, begin, end);
}
