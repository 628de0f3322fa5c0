/* Migrations without models in memory as a user runs them: what they publish and what they leave out; killed
 * at any time in any way, they go on when started again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coordinator/job_process.h"
#include "coordinator/jobs_testing.h"

#include "io/digest.h"
#include "io/keras.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <time.h>

#define NOTHING "--set refit.samples=0 --set training.epochs=0 "

static const char no_data[] = "{\"name\":\"small\",\"source\":\"source.h5\",\"target\":{\"width\":0.5},"
                              "\"refit\":{\"samples\":0},\"training\":{\"epochs\":0}}";

static char *file_digest_of(const char *name) {
    char *digest = NULL;
    assert_success(file_digest(in_folder(name), &digest));
    return digest;
}

static bool same_files(const char *a, const char *b) {
    char *x = file_digest_of(a), *y = file_digest_of(b);
    bool same = !strcmp(x, y);
    free(x);
    free(y);
    return same;
}

/* Entries of a folder, hidden ones too. */
static int entries(const char *folder) {
    return count_entries(in_folder(folder));
}

/* ---- what comes out ---- */

static void test_needs_no_data(void **state) {
    (void)state;
    write_text("no_data.json", no_data);
    succeeds(run(2, GODWIT_PROGRAM " migrate no_data.json --set models=s1 --set runs=sr1"), "migrate");
    assert_non_null(strstr(err, "evaluation and golden outputs are left out"));
    assert_non_null(strstr(out, "parameters"));
    assert_non_null(strstr(out, "MFLOP a sample"));
    assert_null(strstr(out, "accuracy"));
    assert_null(strstr(out, "latency"));
    assert_int_equal(entries("s1/small"), 1);
    assert_int_equal(entries("s1/small/1"), 3); /* model.h5, model.json, plan.txt */
    char text[1 << 16];
    read_into(in_folder("s1/small/1/model.json"), text, sizeof text);
    char *digest = file_digest_of("s1/small/1/model.h5");
    assert_non_null(strstr(text, digest));
    free(digest);
    assert_int_equal(figure(text, "parameters"), 36 + 4 + 144 + 4 + 192 + 3);
    succeeds(run(0, GODWIT_PROGRAM " verify small --models=s1"), "verify");
    /* What makes inputs of images is the source's. */
    struct model *source = read_model("source.h5"), *model = read_model("s1/small/1/model.h5");
    assert_non_null(source->preprocessing);
    assert_string_equal(source->preprocessing, model->preprocessing);
    model_destroy(&source);
    model_destroy(&model);
    /* The executed program gives the same again. */
    succeeds(run(0, GODWIT_PROGRAM
                 " migrate no_data.json --plan s1/small/1/plan.txt --set output=again.h5 --set runs=sr1"),
             "migrate --plan");
    assert_true(same_files("again.h5", "s1/small/1/model.h5"));
    assert_non_null(strstr(run_file("sr1", "small", "run.jsonl"), "\"peak_mib\""));
    /* Killed between publishing and taking the other name away: what is published stays as it is. */
    assert_int_equal(link(in_folder("s1/small/1/model.h5"), in_folder("s1/small/.model.h5.migration")), 0);
    succeeds(
        run(0, GODWIT_PROGRAM " migrate no_data.json --set target.width=0.25 --set models=s1 --set runs=sr1"),
        "migrate");
    assert_int_equal(entries("s1/small"), 2);
    assert_true(same_files("again.h5", "s1/small/1/model.h5"));
    assert_false(same_files("again.h5", "s1/small/2/model.h5"));
}

/* The values of a migration in memory, with each way to choose channels and with transforms that are done
 * last.
 */
static void test_same_as_in_memory(void **state) {
    (void)state;
    static const char *const settings[] = {
        "--set refit.select=first", "--set refit.select=norm", "--set target.precision=int8",
        "--set target.rank=0.5 --set target.precision=bfloat16", "--set target.width=1"};
    for (int i = 0; i < 5; i++) {
        succeeds(run(2,
                     GODWIT_PROGRAM " migrate migrate.json " NOTHING
                                    "%s --set migration.mode=static --set output=static.h5 --set runs=sr2",
                     settings[i]),
                 "static");
        assert_non_null(strstr(out, "test accuracy"));
        succeeds(run(i % 3,
                     GODWIT_PROGRAM " migrate migrate.json " NOTHING
                                    "%s --set output=stream.h5 --set runs=sr2",
                     settings[i]),
                 "dynamic");
        struct model *a = read_model("static.h5"), *b = read_model("stream.h5");
        assert_int_equal(a->params->total, b->params->total);
        assert_memory_equal(a->params->data, b->params->data, (size_t)a->params->total * sizeof(float));
        model_destroy(&a);
        model_destroy(&b);
    }
    assert_int_equal(unlink(in_folder("static.h5")), 0);
    assert_int_equal(unlink(in_folder("stream.h5")), 0);
}

/* The figure in the last column of each rank's line of a dry run: MiB of the source. */
static double foretold(const char *text, int rank) {
    char line[32];
    snprintf(line, sizeof line, "\n# %-6d ", rank);
    const char *at = strstr(text, line);
    if (!at) fail_msg("no rank %d in %s", rank, text);
    const char *end = strchr(at + 1, '\n');
    while (end[-1] != ' ') end--;
    return strtod(end, NULL);
}

/* Quantized kernels are read twice: the dry run knows. */
static void test_dry_run_foretells(void **state) {
    (void)state;
    char plan[sizeof out], line[1 << 16];
    succeeds(run(2, GODWIT_PROGRAM " migrate large.json --set target.precision=int8 --dry-run"), "--dry-run");
    memcpy(plan, out, sizeof plan);
    succeeds(run(2, GODWIT_PROGRAM
                 " migrate large.json --set target.precision=int8 --set output=dry.h5 --set runs=srd"),
             "migrate");
    strcpy(line, run_file("srd", "large", "run.jsonl"));
    int ranks = 0;
    for (char *rest, *l = strtok_r(line, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest)) {
        if (!strstr(l, "\"migrated\"")) continue;
        int rank = (int)figure(l, "rank");
        double mib = figure(l, "bytes_read") / 1048576;
        if (!(fabs(mib - foretold(plan, rank)) < 0.006))
            fail_msg("rank %d read %g MiB, not %g", rank, mib, foretold(plan, rank));
        assert_true(mib > 1);
        ranks++;
    }
    assert_int_equal(ranks, 2);
    assert_int_equal(unlink(in_folder("dry.h5")), 0);
}

/* ---- killed ---- */

/* A value in the midst of a kernel. */
static void put_value(const char *name, float value) {
    FILE *file = fopen(in_folder(name), "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, 20000000, SEEK_SET), 0);
    assert_int_equal(fwrite(&value, sizeof value, 1, file), 1);
    assert_int_equal(fclose(file), 0);
}

/* "resumed: N of M chunks were done"; -1 if it does not say so. */
static int resumed(void) {
    int n, of;
    const char *at = strstr(err, "resumed: ");
    if (!at || sscanf(at, "resumed: %d of %d chunks were done", &n, &of) != 2) return -1;
    assert_int_equal(of, CHUNKS);
    return n;
}

enum way { KILL_ALONE, KILL_RANK, KILL_MPIRUN, KILL_GROUP, TERMINATE, WAYS };

static void kill_rank(pid_t mpirun) {
    pid_t pid = rank_of(mpirun, 1);
    assert_true(pid > 0); /* never all processes */
    kill(pid, SIGKILL);
}

static void kill_by(enum way way, pid_t pid) {
    switch (way) {
    case KILL_RANK:
        kill_rank(pid);
        break;
    case KILL_GROUP:
        kill(-pid, SIGKILL);
        break;
    default:
        kill(pid, way == TERMINATE ? SIGTERM : SIGKILL);
        break;
    }
}

/* Killed twice at different times, on different numbers of ranks, then let go to its end. */
static void test_killed(void **state) {
    (void)state;
    succeeds(run(0, GODWIT_PROGRAM " migrate large.json --set output=whole.h5"), "migrate");
    assert_int_equal(resumed(), -1);
    for (enum way way = KILL_ALONE; way < WAYS; way++) {
        int ranks = way == KILL_ALONE || way == TERMINATE ? 0 : 2, before = 0;
        for (int times = 0; times < 2; times++) {
            pid_t pid = start(ranks, "large.json");
            /* The journal of the run before is there at once: it must have grown. */
            wait_for_lines(before + 300);
            kill_by(way, pid);
            int code = end_of(pid);
            read_into(in_folder("err.txt"), err, sizeof err);
            if (way == TERMINATE)
                fails(code, 75, "run the same command again to continue from .made.h5.migration");
            else if (way != KILL_RANK) assert_int_equal(code, -SIGKILL);
            else assert_true(code != 0);
            bool heard = way != KILL_MPIRUN && way != KILL_GROUP; /* it passes on what ranks say */
            if (times && heard && !(resumed() >= before))
                fail_msg("way %d: %d lines were there: %s", (int)way, before, err);
            if (exists("made.h5")) fail_msg("%s", "the job was at its end before it was killed");
            before = journal_lines();
            assert_true(before >= 300);
        }
        succeeds(run(way == KILL_GROUP ? 1 : 2 - ranks, GODWIT_PROGRAM " migrate large.json"), "migrate");
        if (!(resumed() >= before)) fail_msg("%d lines were there: %s", before, err);
        assert_true(same_files("made.h5", "whole.h5"));
        assert_int_equal(unlink(in_folder("made.h5")), 0);
        assert_false(exists(".made.h5.migration"));
        assert_false(exists(".made.h5.migration.journal"));
    }
}

/* Another program or another source: what is there is not gone on with. */
static void test_changed(void **state) {
    (void)state;
    pid_t pid = start(0, "large.json");
    wait_for_lines(300);
    kill(pid, SIGKILL);
    end_of(pid);
    succeeds(run(0, GODWIT_PROGRAM " migrate large.json --set target.precision=int8"), "migrate");
    assert_non_null(strstr(err, "is of another program: it is made anew"));
    assert_int_equal(resumed(), -1);
    succeeds(run(2, GODWIT_PROGRAM " migrate large.json --set target.precision=int8 --set output=fresh.h5"),
             "migrate");
    assert_true(same_files("made.h5", "fresh.h5"));
    assert_int_equal(unlink(in_folder("made.h5")), 0);

    pid = start(0, "large.json");
    wait_for_lines(300);
    kill(pid, SIGKILL);
    end_of(pid);
    put_value("large.h5", 1);
    succeeds(run(0, GODWIT_PROGRAM " migrate large.json"), "migrate");
    assert_non_null(strstr(err, "is of another source: it is made anew"));
    assert_int_equal(resumed(), -1);
    assert_false(same_files("made.h5", "whole.h5"));
    assert_int_equal(unlink(in_folder("made.h5")), 0);
}

/* Two at a time of one name: one waits for the other. */
static void test_two_at_once(void **state) {
    (void)state;
    pid_t pid = start(0, "large.json --set output= --set models=two");
    succeeds(run(2, GODWIT_PROGRAM " migrate large.json --set output= --set models=two"), "migrate");
    assert_int_equal(end_of(pid), 0);
    assert_true(exists("two/large/1/model.h5") && exists("two/large/2/model.h5"));
    assert_int_equal(entries("two/large"), 2);
    assert_true(same_files("two/large/1/model.h5", "two/large/2/model.h5"));
}

/* One that does not end is waited for a while, and left alone. */
static void test_locked(void **state) {
    (void)state;
    write_bytes(in_folder(".made.h5.migration"), "of another", 10);
    int fd = open(in_folder(".made.h5.migration"), O_RDWR);
    assert_int_equal(flock(fd, LOCK_SH), 0);
    fails(run(2, GODWIT_PROGRAM " migrate large.json"), 74, "another run is writing .made.h5.migration");
    char text[16] = "";
    assert_int_equal(pread(fd, text, 10, 0), 10);
    assert_string_equal(text, "of another");
    assert_true(exists(".made.h5.migration"));
    close(fd);
    assert_int_equal(unlink(in_folder(".made.h5.migration")), 0);
}

/* ---- failures ---- */

static void test_full_disk(void **state) {
    (void)state;
    mkdir(in_folder("full"), 0777);
    if (mount("tmpfs", in_folder("full"), "tmpfs", 0, "size=8m") != 0) {
        print_message("[   SKIP   ] a small file system cannot be mounted here\n");
        skip();
    }
    fails(run(2, GODWIT_PROGRAM " migrate large.json --set output=full/x.h5"), 74, "No space left on device");
    int left = entries("full");
    fails(run(2, GODWIT_PROGRAM " migrate large.json --set output= --set models=full"), 74,
          "No space left on device");
    int left_models = entries("full");
    umount(in_folder("full"));
    assert_int_equal(left, 0);
    assert_int_equal(left_models, 0);
}

/* A source that has no number somewhere: nothing is left, as going on would not help. */
static void test_bad_source(void **state) {
    (void)state;
    char command[1024];
    snprintf(command, sizeof command, "cp '%s' '%s'", in_folder("large.h5"), in_folder("nan.h5"));
    assert_int_equal(system(command), 0);
    put_value("nan.h5", NAN);
    fails(run(2, GODWIT_PROGRAM " migrate large.json --set source=nan.h5"), 65, "is NaN at element");
    fails(run(0, GODWIT_PROGRAM " migrate large.json --set source=nan.h5 --set output= --set models=none"),
          65, "is NaN at element");
    assert_false(exists(".made.h5.migration") || exists(".made.h5.migration.journal") || exists("made.h5"));
    assert_false(exists("none/large"));
}

/* With refit, the file is scratch in the folder of runs; a run that is killed later finds it. */
static void test_with_refit(void **state) {
    (void)state;
    succeeds(run(2, GODWIT_PROGRAM " migrate migrate.json --set training.epochs=0 --set data.holdout=0 --set "
                                   "models=w1 --set runs=wr"),
             "migrate");
    assert_false(exists("wr/small.migration") || exists("wr/small.migration.journal"));
    pid_t pid = start(
        2, "migrate.json --set training.epochs=100000 --set data.holdout=0 --set models=w1 --set runs=wr");
    for (int i = 0; i < 60000 && !exists("wr/small.checkpoint"); i++) sleep_ms(1);
    kill(-pid, SIGKILL);
    end_of(pid);
    assert_true(exists("wr/small.migration") && exists("wr/small.migration.journal"));
    assert_int_equal(unlink(in_folder("wr/small.checkpoint")), 0);
    succeeds(run(1, GODWIT_PROGRAM " migrate migrate.json --set training.epochs=0 --set data.holdout=0 --set "
                                   "models=w1 --set runs=wr"),
             "migrate");
    int n, of;
    const char *at = strstr(err, "resumed: ");
    if (!at || sscanf(at, "resumed: %d of %d chunks were done", &n, &of) != 2)
        fail_msg("not resumed: %s", err);
    assert_true(n == of && n > 10);
    assert_false(exists("wr/small.migration") || exists("wr/small.migration.journal"));
    assert_int_equal(versions("w1"), 2);
    assert_true(same_files("w1/small/1/plan.txt", "w1/small/2/plan.txt"));
}

static int begin_large(void **state) {
    if (begin(state)) return -1;
    write_large();
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_needs_no_data),
        cmocka_unit_test(test_same_as_in_memory),
        cmocka_unit_test(test_dry_run_foretells),
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_two_at_once),
        cmocka_unit_test(test_locked),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_bad_source),
        cmocka_unit_test(test_with_refit),
    };
    return cmocka_run_group_tests(tests, begin_large, end);
}
