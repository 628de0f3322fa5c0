/* A command from its words to its exit code: arguments, help, the one error line, agreement of the ranks. On
 * 1, 2 and 3 ranks: the test starts MPI itself only through the command, once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "coordinator/command.h"
#include "coordinator/config_arguments.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct options {
    struct config_arguments config;
    long top;
    bool fails;
};

static error_t parse_options(int key, char *arg, struct argp_state *state) {
    struct options *options = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &options->config;
        return 0;
    case 't':
        return command_argument_int(state, "--top", arg, 1, 10, &options->top);
    case 'f':
        options->fails = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp_option argp_options[] = {
    {"top", 't', "N", 0, "How many", 0}, {"fail", 'f', NULL, 0, "Fail on the last rank", 0}, {0}};
static const struct argp_child argp_children[] = {{&config_argp, 0, NULL, 0}, {0}};
static const struct argp argp = {
    .options = argp_options, .parser = parse_options, .children = argp_children, .doc = "Does a thing."};

static char seen[2048];
static int seen_threads;

static status run(const struct session *session, const void *parsed) {
    const struct options *options = parsed;
    struct config *config = NULL;
    seen_threads = session->threads;
    STATUS_TRY(config_load(session->world, &options->config, &config));
    snprintf(seen, sizeof seen, "top %ld epochs %d line %s", options->top, (int)config->training.epochs,
             session->command_line);
    config_destroy(&config);
    if (options->fails && session->world && comm_rank(session->world) == comm_size(session->world) - 1)
        return status_fail(STATUS_DATA, "it is broken; mend it");
    return SUCCESS;
}

static struct command command = {
    .name = "thing", .summary = "does it", .argp = &argp, .options_size = sizeof(struct options), .run = run};

/* Runs the words with standard output and error caught in `printed`. */
static char printed[16384];

static int execute(char *const *words) {
    char path[] = "/tmp/godwit-test-XXXXXX";
    int file = mkstemp(path), out = dup(1), err = dup(2), n = 0;
    unlink(path);
    while (words[n]) n++;
    char *copy[16];
    memcpy(copy, words, (size_t)(n + 1) * sizeof *copy);
    fflush(stdout);
    dup2(file, 1);
    dup2(file, 2);
    int code = command_execute(&command, "godwit thing", n - 1, copy + 1, n, copy);
    fflush(stdout);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    ssize_t got = pread(file, printed, sizeof printed - 1, 0);
    printed[got > 0 ? got : 0] = '\0';
    close(file);
    return code;
}
#define EXECUTE(...)                                                                                         \
    execute((char *const[]){(char *)"godwit", (char *)"thing", __VA_ARGS__ __VA_OPT__(, ) NULL})

static bool speaks(void) {
    return session_launcher_rank() == 0;
}

static void refused(int code, const char *message) {
    assert_int_equal(code, 2);
    assert_string_equal(printed, speaks() ? message : "");
}

static void test_usage(void **state) {
    (void)state;
    refused(EXECUTE((char *)"--topp=3", (char *)"c.json"),
            "godwit: unrecognized option '--topp=3' (see godwit thing --help)\n");
    refused(EXECUTE((char *)"-x"), "godwit: invalid option -- 'x' (see godwit thing --help)\n");
    refused(EXECUTE((char *)"--top"),
            "godwit: option '--top' requires an argument (see godwit thing --help)\n");
    refused(EXECUTE((char *)"--top=many"),
            "godwit: --top: \"many\" is not a whole number (see godwit thing --help)\n");
    refused(EXECUTE((char *)"--top=11"),
            "godwit: --top: 11 is out of range; allowed: 1 to 10 (see godwit thing --help)\n");
    refused(EXECUTE(), "godwit: CONFIG is missing (see godwit thing --help)\n");
    refused(EXECUTE((char *)"a", (char *)"b"),
            "godwit: one CONFIG only, not \"b\" too (see godwit thing --help)\n");
    refused(EXECUTE((char *)"--log-level=loud", (char *)"a"),
            "godwit: log level \"loud\" is unknown; use error, warn, info or debug\n");
}

static void test_help(void **state) {
    (void)state;
    assert_int_equal(EXECUTE((char *)"--help"), 0);
    if (!speaks()) {
        assert_string_equal(printed, "");
        return;
    }
    assert_non_null(strstr(printed, "Usage: godwit thing [OPTION...] CONFIG"));
    assert_non_null(strstr(printed, "Does a thing."));
    assert_non_null(strstr(printed, "--top=N"));
    assert_non_null(strstr(printed, "--set=KEY=VALUE"));
    assert_non_null(strstr(printed, "--log-level=LEVEL"));
}

static char config_path[] = "/tmp/godwit-config-XXXXXX";

static void write_config(const char *json) {
    int file = mkstemp(config_path);
    assert_true(file >= 0);
    assert_int_equal(write(file, json, strlen(json)), (ssize_t)strlen(json));
    close(file);
}

static void test_alone(void **state) {
    (void)state;
    command.parallel = false;
    int code = EXECUTE((char *)"-t2", config_path, (char *)"--set", (char *)"training.epochs=7");
    assert_int_equal(code, 0);
    assert_string_equal(printed, "");
    if (!speaks()) return; /* does nothing */
    char expected[256];
    snprintf(expected, sizeof expected, "top 2 epochs 7 line godwit thing -t2 %s --set training.epochs=7",
             config_path);
    assert_string_equal(seen, expected);
    assert_true(seen_threads >= 1);

    assert_int_equal(EXECUTE(config_path, (char *)"--set", (char *)"training.epoch=7"), 2);
    assert_string_equal(
        printed, "godwit: --set: unknown key \"training.epoch\"; did you mean \"epochs\"? (allowed here: "
                 "epochs, batch, budget_s, batch_norm, freeze, average, way, blockwise_epochs, slices, schedule, "
                 "optimizer, loss)\n");
    assert_int_equal(EXECUTE((char *)"/nowhere/c.json"), 74);
    assert_non_null(strstr(printed, "godwit: "));
    assert_non_null(strstr(printed, "/nowhere/c.json"));
    assert_ptr_equal(strchr(printed, '\n'), printed + strlen(printed) - 1);
}

/* The last test, since MPI can be started once: a failure on the last rank. */
static void test_parallel(void **state) {
    (void)state;
    command.parallel = true;
    memset(seen, 0, sizeof seen);
    int code = EXECUTE(config_path, (char *)"--fail", (char *)"--set=training.epochs=9");
    if (code != 65) print_message("%s", printed);
    assert_int_equal(code, 65);
    assert_non_null(strstr(seen, "top 0 epochs 9 "));
    const char *size = getenv("OMPI_COMM_WORLD_SIZE");
    char expected[64] = "godwit: it is broken; mend it\n";
    if (size && atoi(size) > 1)
        snprintf(expected, sizeof expected, "godwit: rank %d: it is broken; mend it\n", atoi(size) - 1);
    assert_string_equal(printed, speaks() ? expected : "");
}

/* In a child, since MPI can be started once: several tasks of the batch system that do not see each other. */
static void test_singleton(void **state) {
    (void)state;
    if (getenv("OMPI_COMM_WORLD_SIZE")) return; /* under mpirun */
    pid_t child = fork();
    if (child == 0) {
        setenv("SLURM_NTASKS", "4", 1);
        command.parallel = true;
        int code = EXECUTE(config_path);
        bool good = code == 2 &&
                    strcmp(printed, "godwit: Slurm started 4 tasks (SLURM_NTASKS) but MPI sees only one: "
                                    "start with \"srun --mpi=pmix\" or \"mpirun\", or use one task\n") == 0;
        if (!good) fprintf(stderr, "exit code %d: %s", code, printed);
        _exit(good ? 0 : 1);
    }
    int code = -1;
    waitpid(child, &code, 0);
    assert_int_equal(code, 0);
}

int main(void) {
    write_config("{\"training\": {\"epochs\": 5}}");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_usage),     cmocka_unit_test(test_help),     cmocka_unit_test(test_alone),
        cmocka_unit_test(test_singleton), cmocka_unit_test(test_parallel),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(config_path);
    return failed;
}
