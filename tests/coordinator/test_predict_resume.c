/* godwit predict that is killed, or whose rank fails: it goes on when it is started again, on any number of
 * ranks, to the same bytes; and its memory does not grow with its samples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coordinator/predict_testing.h"

#define FEATURES 1024
#define SAMPLES 24000

static const char wide_json[] =
    "{\"class_name\":\"Sequential\",\"config\":{\"name\":\"wide\",\"layers\":["
    "{\"class_name\":\"InputLayer\",\"config\":{\"name\":\"in\",\"batch_input_shape\":[null,1024]}},"
    "{\"class_name\":\"Dense\",\"config\":{\"name\":\"a\",\"units\":2048,\"activation\":\"relu\"}},"
    "{\"class_name\":\"Dense\",\"config\":{\"name\":\"b\",\"units\":2048,\"activation\":\"tanh\"}},"
    "{\"class_name\":\"Dense\",\"config\":{\"name\":\"c\",\"units\":2048,\"activation\":\"tanh\"}},"
    "{\"class_name\":\"Dense\",\"config\":{\"name\":\"out\",\"units\":5}}]}}";
static const char narrow_json[] =
    "{\"class_name\":\"Sequential\",\"config\":{\"name\":\"narrow\",\"layers\":["
    "{\"class_name\":\"InputLayer\",\"config\":{\"name\":\"in\",\"batch_input_shape\":[null,1024]}},"
    "{\"class_name\":\"Dense\",\"config\":{\"name\":\"out\",\"units\":2}}]}}";

static const char large_outputs_json[] =
    "{\"class_name\":\"Sequential\",\"config\":{\"name\":\"large\",\"layers\":["
    "{\"class_name\":\"InputLayer\",\"config\":{\"name\":\"in\",\"batch_input_shape\":[null,1024]}},"
    "{\"class_name\":\"Dense\",\"config\":{\"name\":\"a\",\"units\":4}},"
    "{\"class_name\":\"Dense\",\"config\":{\"name\":\"out\",\"units\":4096}}]}}";

/* n samples of bytes; only the first 5 of each are not zero, and those only of the first SAMPLES. */
static void write_bytes_of(const char *name, uint32_t n) {
    uint8_t head[16], row[5];
    FILE *file = fopen(in_folder(name), "wb");
    assert_non_null(file);
    size_t used = idx_header(head, 0x08, 2, (uint32_t[]){n, FEATURES});
    fwrite(head, 1, used, file);
    for (uint32_t s = 0; s < n && s < SAMPLES; s++) {
        for (int i = 0; i < 5; i++) row[i] = (uint8_t)(s * 7 + (uint32_t)i * 50 + s / 256);
        assert_int_equal(fseek(file, (long)(used + (size_t)s * FEATURES), SEEK_SET), 0);
        assert_int_equal(fwrite(row, 1, 5, file), 5);
    }
    assert_int_equal(fclose(file), 0);
    assert_int_equal(truncate(in_folder(name), (off_t)(used + (size_t)n * FEATURES)), 0);
}

static int setup(void **state) {
    if (make_test_folder(state)) return -1;
    write_model("wide.h5", wide_json, "{\"scale\":0.01}");
    write_model("narrow.h5", narrow_json, NULL);
    write_bytes_of("in.idx", SAMPLES);
    return 0;
}

/* "resumed: N of M blocks were done"; -1 if it does not say so. */
static int resumed(void) {
    int n, of;
    const char *at = strstr(err, "resumed: ");
    return at && sscanf(at, "resumed: %d of %d blocks were done", &n, &of) == 2 ? n : -1;
}

static void arguments(char *line, size_t size, const char *output) {
    snprintf(line, size, "predict wide.h5 -i in.idx -o %s --threads 1 --batch 8", output);
}

enum way { KILL_ALONE, KILL_RANK, KILL_GROUP, TERMINATE_ALONE, TERMINATE_MPIRUN, WAYS };

/* Starts it, and ends it in some way once the journal has grown to so many lines; its exit code. */
static int start_and_kill(enum way way, int ranks, const char *output, int lines) {
    char line[512], journal[128];
    arguments(line, sizeof line, output);
    snprintf(journal, sizeof journal, ".%s.prediction.journal", output);
    pid_t pid = start_command(ranks, line);
    for (int i = 0; i < 60000 && lines_of(journal) < lines; i++) sleep_ms(1);
    if (lines_of(journal) < lines) {
        read_into(in_folder("err.txt"), err, sizeof err);
        fail_msg("%s", err);
    }
    if (way == KILL_RANK) {
        pid_t rank = rank_of(pid, 1);
        assert_true(rank > 0); /* never all processes */
        kill(rank, SIGKILL);
    } else {
        kill(way == KILL_GROUP ? -pid : pid, way >= TERMINATE_ALONE ? SIGTERM : SIGKILL);
    }
    int code = end_of(pid);
    read_into(in_folder("err.txt"), err, sizeof err);
    return code;
}

static void test_killed(void **state) {
    (void)state;
    static const char *const ending[] = {"h5", "csv", "jsonl"};
    char line[512], output[32], whole[32], hidden[64], journal[80];
    for (int e = 0; e < 3; e++) {
        snprintf(whole, sizeof whole, "whole.%s", ending[e]);
        arguments(line, sizeof line, whole);
        succeeds(run(e, GODWIT_PROGRAM " %s", line), "predict");
        assert_int_equal(resumed(), -1);
    }
    for (enum way way = 0; way < WAYS; way++) {
        int ranks = way == KILL_ALONE || way == TERMINATE_ALONE ? 0 : 2;
        snprintf(output, sizeof output, "out.%s", ending[way % 3]);
        snprintf(whole, sizeof whole, "whole.%s", ending[way % 3]);
        snprintf(hidden, sizeof hidden, ".%s.prediction", output);
        snprintf(journal, sizeof journal, "%s.journal", hidden);
        int code = start_and_kill(way, ranks, output, 3);
        /* mpirun that is told to end has an exit code of its own. */
        if (way == TERMINATE_MPIRUN) assert_non_null(strstr(err, "stopped by SIGTERM while predicting"));
        if (way == TERMINATE_ALONE) fails(code, 75, "run the same command again to continue from .out.");
        else assert_true(code != 0);
        assert_false(exists(output));
        assert_true(exists(hidden));
        int before = lines_of(journal);
        arguments(line, sizeof line, output);
        succeeds(run(way == KILL_GROUP  ? 3
                     : way == KILL_RANK ? 1
                                        : 2 - ranks,
                     GODWIT_PROGRAM " %s", line),
                 "again");
        if (!(resumed() >= before)) fail_msg("%d lines were there: %s", before, err);
        if (!same_bytes(output, whole)) fail_msg("%s is not %s", output, whole);
        assert_false(exists(hidden) || exists(journal));
        assert_int_equal(unlink(in_folder(output)), 0);
    }
}

/* Changes a byte of the hidden file, or what is to be done: it is seen. */
static void test_changed(void **state) {
    (void)state;
    char line[512];
    start_and_kill(KILL_ALONE, 0, "out.h5", 3);
    FILE *file = fopen(in_folder(".out.h5.prediction"), "r+b");
    assert_non_null(file);
    fseek(file, 4096, SEEK_SET); /* in the first block, whose values begin after less */
    fputc(fgetc(file) ^ 0xff, file);
    fclose(file);
    arguments(line, sizeof line, "out.h5");
    succeeds(run(2, GODWIT_PROGRAM " %s", line), "damaged");
    assert_non_null(strstr(err, "are not what was written"));
    assert_true(same_bytes("out.h5", "whole.h5"));

    start_and_kill(KILL_ALONE, 0, "out.csv", 3);
    succeeds(run(0, GODWIT_PROGRAM " %s --top 2", (arguments(line, sizeof line, "out.csv"), line)), "--top");
    assert_non_null(strstr(err, "is of another setting: it is made anew"));
    assert_int_equal(resumed(), -1);

    start_and_kill(KILL_ALONE, 0, "out.csv", 3);
    write_bytes_of("in.idx", SAMPLES);
    succeeds(run(0, GODWIT_PROGRAM " %s", (arguments(line, sizeof line, "out.csv"), line)), "input");
    assert_non_null(strstr(err, "is of another input: it is made anew"));
    assert_true(same_bytes("out.csv", "whole.csv"));

    start_and_kill(KILL_ALONE, 0, "out.csv", 3);
    write_model("wide.h5", wide_json, "{\"scale\":0.02}");
    succeeds(run(0, GODWIT_PROGRAM " %s", (arguments(line, sizeof line, "out.csv"), line)), "model");
    assert_non_null(strstr(err, "is of another model: it is made anew"));
    assert_false(same_bytes("out.csv", "whole.csv"));
    write_model("wide.h5", wide_json, "{\"scale\":0.01}");
}

/* A rank that cannot write: all end with its message, and what the others wrote is gone on with. */
static void test_failed_write(void **state) {
    (void)state;
    write_model("large.h5", large_outputs_json, NULL);
    write_bytes_of("some.idx", 4000);
    static const char *const ending[] = {"h5", "csv --all"};
    for (int e = 0; e < 2; e++) {
        char line[256], whole[32], output[32];
        snprintf(whole, sizeof whole, "large_whole.%s", ending[e]);
        snprintf(output, sizeof output, "large_out.%s", ending[e]);
        succeeds(run(0, PREDICT "large.h5 -i some.idx --threads 1 -o %s", whole), "whole");
        snprintf(line, sizeof line, "predict large.h5 -i some.idx --threads 1 -o %s", output);
        whole[strcspn(whole, " ")] = output[strcspn(output, " ")] = 0;
        for (int ranks = 2; ranks <= 3; ranks++)
            for (int r = ranks - 1; r >= 0;
                 r--) { /* files of 32 MiB at most, of 64 and more that there are */
                char hidden[64];
                snprintf(hidden, sizeof hidden, ".%s.prediction", output);
                unlink(in_folder(hidden));
                strcat(hidden, ".journal");
                unlink(in_folder(hidden));
                fails(run(ranks,
                          "sh -c 'trap \"\" XFSZ; test $OMPI_COMM_WORLD_RANK = %d && ulimit -f 65536; "
                          "exec " GODWIT_PROGRAM " %s'",
                          r, line),
                      74, "File too large");
                assert_false(exists(output));
            }
        succeeds(run(2, GODWIT_PROGRAM " %s", line), "again");
        assert_true(e == 0 || resumed() > 0); /* rank 0 does not begin a file that cannot be written */
        assert_true(same_bytes(output, whole));
        unlink(in_folder(output));
        unlink(in_folder(whole));
    }
}

/* 600 MB of samples, 2.4 GB as numbers, with 320 MiB for each rank. */
static void test_memory(void **state) {
    (void)state;
    write_bytes_of("long.idx", 600000);
    for (int ranks = 0; ranks <= 2; ranks += 2)
        for (int e = 0; e < 2; e++) {
            succeeds(run(ranks, WITH_MIB(320) PREDICT "narrow.h5 -i long.idx -o long.%s --threads 1",
                         e ? "csv" : "h5"),
                     "600000 samples");
            if (!e) {
                hsize_t dim[2];
                double *y = read_set("long.h5", "y", 2, dim), first = 0;
                assert_int_equal(dim[0], 600000);
                /* The bias, of zeros. */
                for (int k = 0; k < 2; k++)
                    assert_true(near(y[2 * 599999 + k], (double)((k * 7 + 3) % 11 - 5) / 8));
                /* Sample 12345 by the formula. */
                for (int i = 0; i < 5; i++)
                    first +=
                        (uint8_t)(12345 * 7 + i * 50 + 12345 / 256) / 255.0 * (((i * 2) * 7) % 11 - 5) / 8;
                first += (3 % 11 - 5) / 8.0;
                if (!(fabs(y[2 * 12345] - first) < 1e-4)) fail_msg("%g, not %g", y[2 * 12345], first);
                free(y);
            }
            unlink(in_folder(e ? "long.csv" : "long.h5"));
        }
    unlink(in_folder("long.idx"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_killed),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_failed_write),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, setup, remove_test_folder);
}
