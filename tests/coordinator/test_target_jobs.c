/* Several targets in one run, as a user starts it: side by side on 1 to 4 ranks they are what runs of their
 * own make; one that fails keeps no other from being published; stopped by SIGTERM, the run goes on where it
 * was; the choice among them; what one copy saves. */
#include "io/io_testing.h"

#include "coordinator/jobs_testing.h"

#include <signal.h>
#include <time.h>

#define NTARGETS 3
static const char *const names[NTARGETS] = {"half", "quarter", "separable"};

#define CONFIG                                                                                               \
    "{\"name\":\"best\",\"source\":\"source.h5\",\"data\":{\"path\":\"data\"},\"threads\":1,"                \
    "\"refit\":{\"samples\":200},\"target\":{\"precision\":\"bfloat16\"},\"training\":{\"batch\":16,"        \
    "\"epochs\":1},\"targets\":{\"half\":{},\"quarter\":{\"width\":0.25},"                                   \
    "\"separable\":{\"width\":1,\"replace\":[\"conv2 SeparableConv2D\"]}}}"

static int begin_targets(void **state) {
    if (begin(state)) return -1;
    write_text("several.json", CONFIG);
    return 0;
}

static bool same_file(const char *a, const char *b) {
    return run(0, "cmp %s %s", a, b) == 0;
}

/* ---- side by side ---- */

static const char *const memory = "", *const disk = "--set training.epochs=0 --set refit.samples=0";

/* <name>.<ranks>.<disk>.h5, each made by a run of its own. */
static void make_alone(int ranks, int on_disk) {
    for (int k = 0; k < NTARGETS; k++)
        succeeds(run(ranks, GODWIT_PROGRAM " migrate several.json --target %s --set output=%s.%d.%d.h5 %s",
                     names[k], names[k], ranks, on_disk, on_disk ? disk : memory),
                 names[k]);
}

/* Ranks of the group that made it, as the run says before the targets' own lines. */
static int ranks_of(const char *name) {
    int first, last = -1;
    char list[128], line[160];
    for (const char *at = err; *at; at += strcspn(at, "\n") + (at[strcspn(at, "\n")] == '\n')) {
        snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\n"), at);
        if (sscanf(line, "ranks %d to %d make %127[^\n]", &first, &last, list) != 3) {
            if (sscanf(line, "rank %d makes %127[^\n]", &first, list) != 2) continue;
            last = first;
        }
        for (char *word = strtok(list, ", "); word; word = strtok(NULL, ", "))
            if (!strcmp(word, name)) return last - first + 1;
    }
    fail_msg("no ranks of %s: %s", name, err);
    return 0;
}

static void check_table(void) {
    assert_non_null(strstr(out, "\ntarget                       accuracy  same class"));
    for (int k = 0; k < NTARGETS; k++) {
        char row[64];
        snprintf(row, sizeof row, " %-24s ", names[k]);
        const char *at = strstr(strstr(out, "\ntarget     "), row);
        if (!at) fail_msg("no row of %s: %s", names[k], out);
    }
    assert_non_null(strstr(err, " worked "));
}

static void test_side_by_side(void **state) {
    (void)state;
    for (int on_disk = 0; on_disk <= 1; on_disk++) {
        make_alone(1, on_disk);
        make_alone(2, on_disk);
        for (int ranks = 1; ranks <= 4; ranks++) {
            char path[2][128];
            int all = 0;
            succeeds(run(ranks, GODWIT_PROGRAM " migrate several.json --set models=side%d%d %s", ranks,
                         on_disk, on_disk ? disk : memory),
                     "several.json");
            check_table();
            char *lines = strdup(err);
            for (int k = 0; k < NTARGETS; k++) {
                snprintf(err, sizeof err, "%s", lines);
                int n = ranks_of(names[k]);
                all += n;
                snprintf(path[0], sizeof path[0], "%s.%d.%d.h5", names[k], n, on_disk);
                snprintf(path[1], sizeof path[1], "side%d%d/%s/1/model.h5", ranks, on_disk, names[k]);
                if (!same_file(path[0], path[1]))
                    fail_msg("%d ranks: %s is not what a run of its own makes of it", ranks, names[k]);
            }
            free(lines);
            assert_int_equal(all, ranks < NTARGETS ? NTARGETS : ranks); /* one each; of four, two for one */
        }
    }
}

/* ---- memory ---- */

static int64_t aligned(int64_t n, int64_t to) {
    return (n + to - 1) / to * to;
}

/* What is in memory once, and would be in it for each rank: weights of the source without its batch norms,
 * samples as floats, the data set as bytes with labels of four. */
static void test_memory(void **state) {
    (void)state;
    static const int64_t weights[] = {3 * 3 * 8, 8, 3 * 3 * 8 * 8, 8, 4 * 4 * 8 * 3, 3};
    int64_t source = 0, samples = 200 * SIDE * SIDE * 4,
            data = aligned(240 * SIDE * SIDE, 64) + aligned(240 * 4, 64) + aligned(60 * SIDE * SIDE, 64) +
                   aligned(60 * 4, 64);
    for (int i = 0; i < 6; i++) source += aligned(weights[i], 16) * 4;
    for (int ranks = 1; ranks <= 3; ranks++) {
        char runs[32];
        snprintf(runs, sizeof runs, "memory%d", ranks);
        succeeds(run(ranks,
                     GODWIT_PROGRAM
                     " migrate several.json --set models=m%d --set runs=%s --set training.epochs=0",
                     ranks, runs),
                 "several.json");
        const char *events = run_file(runs, "best-", "run.jsonl"),
                   *event = strstr(events, "\"event\":\"memory\"");
        assert_non_null(event);
        assert_int_equal(figure(event, "source_bytes"), source);
        assert_int_equal(figure(event, "samples_bytes"), samples);
        assert_int_equal(figure(event, "data_bytes"), data);
        assert_int_equal(figure(event, "saved_rank_copies_bytes"), (ranks - 1) * (source + samples + data));
        assert_int_equal(figure(event, "saved_target_copies_bytes"), 2 * (source + samples + data));
        double peak = figure(event, "peak_rank_bytes"), node = figure(event, "node_bytes");
        assert_true(peak > 1e6 && node > 1e6 && node < 1.01 * ranks * peak);
        assert_non_null(strstr(out, "\nmemory of a node, MiB "));
    }
}

/* ---- failures ---- */

/* Of one target; the others are there, and the same as ever. */
static void test_failing(void **state) {
    (void)state;
    static const struct {
        const char *key, *message;
        int code;
    } faults[] = {{"\"depth\":[\"nix\"]", "target.depth, or bypass in a program: \"nix\" ends no", 2},
                  {"\"head\":2", "labels must be 0 to 1", 65}};
    for (int ranks = 1; ranks <= 4; ranks++)
        for (int k = 0; k < NTARGETS; k++) {
            size_t f = (size_t)(ranks + k) % 2;
            char targets[512], part[256], path[2][128];
            size_t used = 0;
            for (int i = 0; i < NTARGETS; i++)
                used += (size_t)snprintf(targets + used, sizeof targets - used, "%s\"%s\":{\"width\":%s%s%s}",
                                         i ? "," : "", names[i], i == 1 ? "0.25" : "0.5", i == k ? "," : "",
                                         i == k ? faults[f].key : "");
            snprintf(part, sizeof part, "godwit: target \"%s\": ", names[k]);
            int code =
                run(ranks,
                    GODWIT_PROGRAM " migrate several.json --set models=fail%d%d --set training.epochs=0 "
                                   "--set 'targets={%s}'",
                    ranks, k, targets);
            fails(code, faults[f].code, faults[f].message);
            char line[2048];
            error_lines(line, sizeof line);
            if (strncmp(line, part, strlen(part)) != 0) fail_msg("%s is not in %s", part, line);
            for (int i = 0; i < NTARGETS; i++) {
                snprintf(path[0], sizeof path[0], "fail%d%d/%s/1/model.h5", ranks, k, names[i]);
                snprintf(path[1], sizeof path[1], "fail11/%s/1/model.h5", names[i]);
                assert_int_equal(exists(path[0]), i != k);
                if (i != k && i != 1 &&
                    (ranks > 1 || k > 1)) /* refitted weights do not depend on the ranks */
                    assert_true(same_file(path[0], path[1]));
            }
        }
    fails(run(2, GODWIT_PROGRAM " migrate several.json --set data.path=nowhere --set models=nodata"), 74,
          "nowhere");
    fails(run(0, GODWIT_PROGRAM " migrate several.json --set output=x.h5"), 2, "choose one with --target");
}

/* ---- stopped ---- */

static pid_t start(int ranks, const char *arguments) {
    char command[2048];
    unlink(in_folder("err.txt")); /* of the run before */
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid) return pid;
    snprintf(command, sizeof command,
             "cd '%s' && exec mpirun -n %d " GODWIT_PROGRAM " %s >out.txt 2>err.txt </dev/null", test_folder,
             ranks, arguments);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static void wait_for_line(const char *part) {
    for (int i = 0; i < 6000; i++) {
        read_into(in_folder("err.txt"), err, sizeof err);
        if (strstr(err, part)) return;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    fail_msg("no '%s' in %s", part, err);
}

/* To every child of mpirun, as a batch system does. */
static void terminate_ranks(pid_t mpirun) {
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)mpirun, (int)mpirun);
    read_into(path, text, sizeof text);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " "))
        kill((pid_t)strtol(word, NULL, 10), SIGTERM);
}

static int count_published(const char *models) {
    char path[128];
    int n = 0;
    for (int k = 0; k < NTARGETS; k++) {
        snprintf(path, sizeof path, "%s/%s/1/model.h5", models, names[k]);
        n += exists(path);
    }
    return n;
}

static void test_stopped(void **state) {
    (void)state;
    static const char *const arguments =
        "migrate several.json --set training.epochs=150 --set choose.by=params";
    int code;
    char path[2][128];
    succeeds(run(2, GODWIT_PROGRAM " %s --set models=whole --set runs=whole_runs", arguments), "undisturbed");
    assert_false(exists("whole_runs/best.targets"));
    pid_t pid = start(2, "migrate several.json --set training.epochs=150 --set choose.by=params");
    wait_for_line(": target: the source's class");
    terminate_ranks(pid);
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_int_equal(WEXITSTATUS(code), 75);
    read_into(in_folder("err.txt"), err, sizeof err);
    assert_non_null(strstr(err, "run the same command again to continue"));
    int before = count_published("models");
    assert_in_range(before, 1, NTARGETS - 1);
    assert_true(exists("runs/best.targets"));
    assert_false(exists("models/best"));
    succeeds(run(2, GODWIT_PROGRAM " %s", arguments), "again");
    check_table();
    assert_non_null(strstr(err, ": made before this run was stopped: models/"));
    assert_false(exists("runs/best.targets"));
    for (int k = 0; k < NTARGETS; k++) {
        snprintf(path[0], sizeof path[0], "models/%s/1/model.h5", names[k]);
        snprintf(path[1], sizeof path[1], "whole/%s/1/model.h5", names[k]);
        assert_true(same_file(path[0], path[1]));
        snprintf(path[0], sizeof path[0], "models/%s/2", names[k]);
        assert_false(exists(path[0]));
    }
    assert_true(same_file("models/best/1/model.h5", "whole/best/1/model.h5"));
}

/* ---- the choice ---- */

static char *model_json(const char *models, const char *name) {
    static char text[1 << 14];
    char path[128];
    snprintf(path, sizeof path, "%s/%s/1/model.json", models, name);
    read_into(in_folder(path), text, sizeof text);
    return text;
}

static void test_choice(void **state) {
    (void)state;
    int best = -1;
    double most = 0, of[NTARGETS], accuracy[NTARGETS];
    succeeds(run(2, GODWIT_PROGRAM " migrate several.json --set models=any"), "no choice");
    assert_null(strstr(out, "chosen"));
    assert_false(exists("any/best"));
    for (int k = 0; k < NTARGETS; k++) {
        of[k] = figure(model_json("any", names[k]), "parameters");
        accuracy[k] = figure(model_json("any", names[k]), "test_accuracy");
        if (of[k] > most) most = of[k];
    }
    for (int k = 0; k < NTARGETS; k++) /* without the largest: the most accurate, of equals the smaller */
        if (of[k] < most &&
            (best < 0 || accuracy[k] > accuracy[best] || (accuracy[k] >= accuracy[best] && of[k] < of[best])))
            best = k;
    succeeds(
        run(2, GODWIT_PROGRAM " migrate several.json --set models=chosen --set choose.params=%.0f", most - 1),
        "choice");
    char line[64], path[128];
    snprintf(line, sizeof line, "\nchosen: %s (highest accuracy", names[best]);
    if (!strstr(out, line)) fail_msg("no '%s' in %s", line, out);
    snprintf(path, sizeof path, "chosen/%s/1/model.h5", names[best]);
    assert_true(same_file("chosen/best/1/model.h5", path));
    snprintf(line, sizeof line, "\"chosen\":\t\"%s\"", names[best]);
    assert_non_null(strstr(model_json("chosen", "best"), line));
    assert_non_null(strstr(model_json("chosen", "best"), "\"name\":\t\"best\""));
    assert_non_null(strstr(model_json("chosen", "best"), "\"reason\":\t\"highest accuracy"));
    succeeds(run(0, GODWIT_PROGRAM " verify best --models chosen"), "verify");

    succeeds(run(2, GODWIT_PROGRAM " migrate several.json --set models=none --set choose.params=3"), "none");
    assert_non_null(strstr(err,
                           "godwit: warning: no target keeps to the limits of \"choose\"; \"quarter\" comes "
                           "nearest: "));
    assert_null(strstr(out, "chosen"));
    assert_false(exists("none/best"));
    fails(run(0, GODWIT_PROGRAM " migrate several.json --set name=half --set choose.by=accuracy"), 2,
          "one of the targets has that name too");
    succeeds(run(1, GODWIT_PROGRAM
                 " migrate several.json --set name= --set models=nameless --set choose.by=flops"),
             "nameless");
    assert_non_null(strstr(out, "\nchosen: quarter (fewest operations"));
    assert_null(strstr(out, "\nit is "));
}

/* A budget of latency is kept by measuring while nothing else computes: by all ranks, before the others. */
static void test_latency(void **state) {
    (void)state;
    succeeds(run(2, GODWIT_PROGRAM " migrate several.json --set models=timed --set training.epochs=0 --set "
                                   "'targets={\"wide\":{\"width\":0.75},\"fast\":{\"latency_ms\":100},"
                                   "\"half\":{}}'"),
             "latency");
    const char *alone = strstr(err, "ranks 0 to 1 make fast\n"),
               *made = strstr(err, "fast: target after refit"),
               *others = strstr(err, "rank 0 makes wide\nrank 1 makes half\n");
    assert_true(alone && made && others && alone < made && made < others);
    assert_true(figure(model_json("timed", "fast"), "latency_within_limit") == 1);
    for (int k = 0; k < 2; k++)
        assert_true(figure(model_json("timed", k ? "wide" : "half"), "latency_s") > 0 &&
                    figure(model_json("timed", k ? "wide" : "half"), "source_latency_s") > 0);
}

static void test_arguments(void **state) {
    (void)state;
    succeeds(run(0, GODWIT_PROGRAM " plan several.json --target quarter"), "plan --target");
    assert_non_null(strstr(out, "target \"quarter\""));
    fails(run(0, GODWIT_PROGRAM " plan several.json"), 2,
          "several targets; choose one with --target: half, quarter, separable");
    fails(run(0, GODWIT_PROGRAM " migrate several.json --target third"), 2,
          "there is no target \"third\"; there are: half, quarter, separable");
    fails(run(0, GODWIT_PROGRAM " migrate several.json --set 'targets={\"a\":{\"widht\":1}}'"), 2,
          "unknown key \"targets.a.widht\"; did you mean \"width\"?");
    fails(run(0, GODWIT_PROGRAM " migrate several.json --set 'targets={\"a b\":{}}'"), 2,
          "a name has letters");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_side_by_side), cmocka_unit_test(test_memory), cmocka_unit_test(test_failing),
        cmocka_unit_test(test_stopped),      cmocka_unit_test(test_choice), cmocka_unit_test(test_latency),
        cmocka_unit_test(test_arguments),
    };
    return cmocka_run_group_tests(tests, begin_targets, end);
}
