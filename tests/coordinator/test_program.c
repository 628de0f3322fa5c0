/* The program as a user starts it: help, version, unknown commands, inspect, exit codes, once under mpirun.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char out[65536], err[65536];

static void read_into(const char *path, char *text, size_t nbytes) {
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(text, 1, nbytes - 1, file) : 0;
    text[n] = '\0';
    if (file) fclose(file);
    unlink(path);
}

/* Runs `<before> godwit <arguments>` in a shell; fills out and err, returns the exit code. */
static int run(const char *before, const char *arguments) {
    char command[1024], out_path[] = "/tmp/godwit-out-XXXXXX", err_path[] = "/tmp/godwit-err-XXXXXX";
    close(mkstemp(out_path));
    close(mkstemp(err_path));
    snprintf(command, sizeof command, "%s %s %s >%s 2>%s", before, GODWIT_PROGRAM, arguments, out_path,
             err_path);
    int code = system(command);
    read_into(out_path, out, sizeof out);
    read_into(err_path, err, sizeof err);
    return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
}

static int lines(const char *text) {
    int n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

/* Exit code, nothing on standard output, one line on standard error with this in it, after `before` of
 * progress. */
static void fails_after(int before, const char *arguments, int code, const char *part) {
    int got = run("", arguments), n = lines(err);
    const char *last = err;
    for (int i = 0; i < before && strchr(last, '\n'); i++) last = strchr(last, '\n') + 1;
    if (got != code || *out || n != before + 1 || strncmp(last, "godwit: ", 8) != 0 || !strstr(last, part))
        fail_msg("godwit %s: exit code %d (expected %d), output \"%s\", error \"%s\" (expected \"%s\")",
                 arguments, got, code, out, err, part);
}

static void fails(const char *arguments, int code, const char *part) {
    fails_after(0, arguments, code, part);
}

static void test_help(void **state) {
    (void)state;
    static const char *const ways[] = {"--help", "-h", "help", "help help"};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        assert_int_equal(run("", ways[i]), 0);
        assert_string_equal(err, "");
        assert_non_null(strstr(out, "\n  inspect "));
        assert_non_null(strstr(out, "   69  unsupported layer or option\n"));
    }
    assert_int_equal(run("", "help inspect"), 0);
    assert_non_null(strstr(out, "Usage: godwit inspect [OPTION...] MODEL"));
    static const char *const two[][2] = {
        {"export", "MODEL DST\n"}, {"import", "MODEL DST.h5\n"}, {"calibrate", "MODEL DST.h5\n"}};
    for (size_t i = 0; i < sizeof two / sizeof *two; i++) { /* in the order in which they are given */
        char help[32];
        snprintf(help, sizeof help, "%s --help", two[i][0]);
        assert_int_equal(run("", help), 0);
        assert_non_null(strstr(out, two[i][1]));
    }
    assert_int_equal(run("", "help inspect"), 0);
    char *first = strdup(out);
    assert_non_null(first);
    assert_int_equal(run("", "inspect --help"), 0);
    assert_string_equal(out, first);
    free(first);
    assert_int_equal(run("", "help config"), 0);
    assert_non_null(strstr(out, "| `training.epochs` "));
    assert_int_equal(run("", "help layers"), 0);
    assert_non_null(strstr(out, "| `Conv2D` | yes | yes |"));
    assert_int_equal(run("", "help aliases"), 0);
    assert_non_null(strstr(out, "\"class_name\": \"Rescaling\""));
    assert_int_equal(run("", "--version"), 0);
    assert_non_null(strstr(out, "godwit " GODWIT_VERSION "\n"));
    assert_non_null(strstr(out, "HDF5 "));
    assert_non_null(strstr(out, "OpenBLAS "));
}

static void test_usage(void **state) {
    (void)state;
    fails("", 2, "no command given");
    fails("inspekt x.h5", 2, "unknown command \"inspekt\"; did you mean \"inspect\"?");
    fails("quantum", 2, "unknown command \"quantum\" (see godwit --help)");
    fails("help inspekt", 2, "unknown help topic \"inspekt\"; did you mean \"inspect\"?");
    fails("layers", 2, "unknown command \"layers\" (see godwit --help)");
    fails("inspect", 2, "MODEL is missing");
    fails("inspect a b", 2, "one MODEL only, not \"b\" too");
}

static void test_inspect_refuses(void **state) {
    (void)state;
    fails("inspect /nowhere/x.h5", 74, "/nowhere/x.h5");
    fails("inspect --models=/nowhere small", 74, "no file and no model \"small\" in the registry /nowhere");
    fails("inspect " GODWIT_SOURCE_DIR "/README.md", 65, "README.md");
    assert_int_equal(run("", "--version >/dev/full #"), 74);
}

static void test_inspect(void **state) {
    (void)state;
    const char *model = GODWIT_SHARED_DIR "/models/keras3/seq_cnn.h5";
    if (access(model, R_OK)) {
        print_message("skipped: no %s\n", model);
        skip();
    }
    char arguments[512];
    snprintf(arguments, sizeof arguments, "inspect %s", model);
    assert_int_equal(run("", arguments), 0);
    assert_string_equal(err, "");
    assert_non_null(strstr(out, "Keras 3, Sequential"));
    assert_non_null(strstr(out, "10,522 parameters (10,506 trainable)")); /* as Keras's summary counts */
    /* A 3x3 convolution of one channel to 8 with bias: 80 parameters. */
    char *row = strstr(out, "\nconv2d ");
    assert_non_null(row);
    row[1 + strcspn(row + 1, "\n")] = '\0';
    assert_non_null(strstr(row, "(?, 15, 16, 8) "));
    assert_non_null(strstr(row, " 80 "));
    snprintf(arguments, sizeof arguments, "inspect --json %s", model);
    assert_int_equal(run("", arguments), 0);
    assert_non_null(strstr(out, "\"params\":\t10522"));
    assert_non_null(strstr(out, "\"output\":\t[null, 28, 28, 1]"));
    snprintf(arguments, sizeof arguments, "inspect --json %s", model);
    assert_int_equal(run("mpirun -n 2", arguments), 0); /* once, not twice */
    assert_string_equal(err, "");
    const char *total = strstr(out, "\"total\"");
    assert_non_null(total);
    assert_null(strstr(total + 1, "\"total\""));
}

static void test_inspect_lists_all(void **state) {
    (void)state;
    const char *model = GODWIT_SHARED_DIR "/models/keras3/transformer.h5";
    if (access(model, R_OK)) {
        print_message("skipped: no %s\n", model);
        skip();
    }
    char arguments[512];
    snprintf(arguments, sizeof arguments, "inspect %s", model);
    int code = run("", arguments);
    if (code == 0) return; /* every layer is supported */
    assert_int_equal(code, 69);
    assert_int_equal(lines(err), 1);
}

/* Outputs that Keras computed, on every engine; then with less tolerance than float32 has. */
static void test_evaluate_golden(void **state) {
    (void)state;
    const char *models = GODWIT_SHARED_DIR "/models/keras3";
    char arguments[512];
    fails("evaluate x.h5", 2, "--data or --golden is missing");
    fails("evaluate x.h5 --data=a --golden=b", 2, "not both");
    fails("evaluate x.h5 --golden=b --tolerance=much", 2, "--tolerance: \"much\" is not a number");
    fails("evaluate x.h5 --golden=b --tolerance=-1", 2, "--tolerance: -1 is out of range");
    if (access(models, R_OK)) {
        print_message("skipped: no %s\n", models);
        skip();
    }
    snprintf(arguments, sizeof arguments, "evaluate %s/seq_cnn.h5 --golden %s/seq_cnn.golden.h5 --engine all",
             models, models);
    assert_int_equal(run("", arguments), 0);
    assert_non_null(strstr(out, "2 samples, tolerance 0.0001"));
    assert_non_null(strstr(out, "\nopenblas "));
    assert_int_equal(lines(out), 2 + (strstr(out, "\nonednn ") ? 2 : 1));
    strcat(arguments, " --json");
    assert_int_equal(run("mpirun -n 2", arguments), 0);
    assert_non_null(strstr(out, "\"engine\":\t\"openblas\""));
    assert_non_null(strstr(out, "\"pass\":\ttrue"));
    strcat(arguments, " --tolerance 1e-12");
    assert_int_equal(run("", arguments), 65);
    assert_non_null(strstr(out, "\"pass\":\tfalse"));
    assert_int_equal(lines(err), 1);
    assert_non_null(strstr(err, "output \"dense\" on engine "));
    snprintf(arguments, sizeof arguments, "evaluate %s/seq_cnn.h5 --golden %s/mobilenet_v2.golden.h5", models,
             models);
    fails(arguments, 65, "input \"input_layer\" takes (?, 28, 28, 1), not (2, 64, 64, 3)");
}

/* Does this model compute what Keras did? */
static void computes_the_same(const char *model, const char *name) {
    char arguments[512];
    snprintf(arguments, sizeof arguments,
             "evaluate %s --golden " GODWIT_SHARED_DIR "/models/keras3/%s.golden.h5", model, name);
    if (run("", arguments) != 0) fail_msg("godwit %s: %s%s", arguments, out, err);
}

/* From each container to .h5, and from that to .keras. */
static void test_import_and_export(void **state) {
    (void)state;
    static const char *const names[] = {"seq_cnn", "mobilenet_v2", "graph_mix", "lstm_text", "transformer"};
    const char *models = GODWIT_SHARED_DIR "/models/keras3";
    char folder[] = "/tmp/godwit-export-XXXXXX", arguments[1024], dst[64], archive[64];
    if (access(models, R_OK)) {
        print_message("skipped: no %s\n", models);
        skip();
    }
    assert_non_null(mkdtemp(folder));
    snprintf(dst, sizeof dst, "%s/model.h5", folder);
    snprintf(archive, sizeof archive, "%s/model.keras", folder);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *name = names[i];
        for (int container = 0; container < 3; container++) {
            static const char *const source[] = {"h5", "keras", "weights.h5"};
            int n = snprintf(arguments, sizeof arguments, "import %s/%s.%s %s", models, name,
                             source[container], dst);
            if (container == 2) {
                fails_after(1, arguments, 65, "has weights only; say with --topology");
                assert_int_equal(access(dst, F_OK), -1);
                snprintf(arguments + n, sizeof arguments - (size_t)n, " --topology %s/%s.keras", models,
                         name);
            }
            assert_int_equal(run(container ? "" : "mpirun -n 2", arguments), 0);
            assert_int_equal(lines(out), 1);
            assert_non_null(strstr(out, "Keras 3\n"));
            computes_the_same(dst, name);
            snprintf(arguments, sizeof arguments, "export %s %s", dst, archive);
            assert_int_equal(run("", arguments), 0);
            computes_the_same(archive, name);
            unlink(dst);
            unlink(archive);
        }
    }
    snprintf(arguments, sizeof arguments, "import %s/seq_cnn.h5 %s", models, archive);
    fails(arguments, 2, "import writes .h5");
    snprintf(arguments, sizeof arguments, "import %s/seq_cnn.golden.h5 %s", models, dst);
    fails_after(1, arguments, 65, "seq_cnn.golden.h5");
    snprintf(arguments, sizeof arguments, "export %s/seq_cnn.h5 %s/model.txt", models, folder);
    fails(arguments, 2, "model.txt");
    snprintf(arguments, sizeof arguments, "export %s/seq_cnn.h5 %s/nowhere/model.keras", models, folder);
    fails_after(2, arguments, 74, "nowhere/model.keras");
    assert_int_equal(rmdir(folder), 0); /* nothing was left there */
}

/* What the exporters make of it is tested on its own. */
static void test_export_for_other_programs(void **state) {
    (void)state;
    const char *model = GODWIT_SOURCE_DIR "/configs/models/fashion_source.h5";
    char folder[] = "/tmp/godwit-export-XXXXXX", arguments[1024], path[64];
    static const char *const files[] = {"model.onnx", "model.c", "model.weights"};
    assert_non_null(mkdtemp(folder));
    snprintf(arguments, sizeof arguments, "export %s %s/model.onnx --shape 28,28,1", model, folder);
    assert_int_equal(run("", arguments), 0);
    assert_non_null(strstr(out, "298410 parameters"));
    snprintf(arguments, sizeof arguments, "export %s %s/model.c --weights-beside", model, folder);
    assert_int_equal(run("mpirun -n 2", arguments), 0);
    assert_int_equal(lines(out), 1);
    snprintf(arguments, sizeof arguments, "export %s %s/model.keras --weights-beside", model, folder);
    fails_after(2, arguments, 2, "--weights-beside");
    snprintf(arguments, sizeof arguments, "export %s %s/model.c --shape 28,28", model, folder);
    fails_after(1, arguments, 65, "takes (?, 28, 28, 1)");
    snprintf(arguments, sizeof arguments, "export %s %s/model.c --shape 28,x", model, folder);
    fails(arguments, 2, "28,x");
    snprintf(arguments, sizeof arguments, "export %s %s/model.c --shape 28,28,1 --shape 2", model, folder);
    fails_after(1, arguments, 2, "has 1 inputs");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(folder), 0); /* nothing else was left there */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_inspect_refuses),
        cmocka_unit_test(test_inspect),
        cmocka_unit_test(test_inspect_lists_all),
        cmocka_unit_test(test_evaluate_golden),
        cmocka_unit_test(test_import_and_export),
        cmocka_unit_test(test_export_for_other_programs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
