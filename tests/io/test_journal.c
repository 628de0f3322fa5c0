/* Journals of files that are made chunk by chunk: what is written is read, and torn, changed and foreign
 * lines are told from whole ones. */
#include "io/io_testing.h"

#include "io/journal.h"
#include "shared/tensor.h"

#include <zlib.h>

/* A line with the check that the header promises. */
static void put(FILE *out, const char *line) {
    fprintf(out, "%s %08lx\n", line, crc32(0, (const unsigned char *)line, (unsigned)strlen(line)));
}

static const char *const head[] = {"godwit journal 1",
                                   "program sha256:aa",
                                   "source sha256:bb",
                                   "target sha256:cc",
                                   "chunk 8388608",
                                   "bytes 5000000000",
                                   "run 0123456789abcdef",
                                   "place 4096 float32 \"dense/kernel\"",
                                   "place 4294967296 int64 \"a \"quoted\" name/count\"",
                                   "place -1 float32 \"unused/bias\"",
                                   "end"};
#define NHEAD (int)(sizeof head / sizeof *head)
static const char *const done[] = {"done 128 128 sha256:22 \"dense/kernel\"",
                                   "done 0 128 sha256:11 \"dense/kernel\"",
                                   "done 0 1 sha256:33 \"a \"quoted\" name/count\""};

static char *make_text(size_t *length) {
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    assert_non_null(out);
    for (int i = 0; i < NHEAD; i++) put(out, head[i]);
    for (int i = 0; i < 3; i++) put(out, done[i]);
    assert_int_equal(fclose(out), 0);
    return text;
}

static void check_head(const struct journal *j) {
    assert_string_equal(j->program, "sha256:aa");
    assert_string_equal(j->source, "sha256:bb");
    assert_string_equal(j->target, "sha256:cc");
    assert_int_equal(j->chunk_bytes, 8388608);
    assert_int_equal(j->file_bytes, 5000000000);
    assert_true(j->run == 0x0123456789abcdef);
    assert_int_equal(j->ntensors, 3);
    assert_string_equal(j->tensor[0].name, "dense/kernel");
    assert_string_equal(j->tensor[1].name, "a \"quoted\" name/count");
    assert_int_equal(j->tensor[0].place.offset, 4096);
    assert_int_equal(j->tensor[1].place.offset, 4294967296);
    assert_int_equal(j->tensor[2].place.offset, -1);
    assert_true(!j->tensor[0].place.counts && j->tensor[1].place.counts);
}

static void test_read_and_written(void **state) {
    (void)state;
    size_t length, again;
    char *text = make_text(&length), *printed = NULL, *line = NULL;
    struct journal *j = NULL;
    assert_success(journal_parse(text, length, &j));
    assert_non_null(j);
    check_head(j);
    assert_int_equal(j->nchunks, 3);
    assert_string_equal(journal_find(j, 0, 0, 128)->digest, "sha256:11");
    assert_string_equal(journal_find(j, 0, 128, 128)->digest, "sha256:22");
    assert_string_equal(journal_find(j, 1, 0, 1)->digest, "sha256:33");
    assert_null(journal_find(j, 0, 0, 127));
    assert_null(journal_find(j, 0, 64, 128));
    assert_null(journal_find(j, 2, 0, 128));
    assert_success(journal_line(j, journal_find(j, 1, 0, 1), &line));
    assert_string_equal(line, strstr(text, "done 0 1 "));
    /* Printed with the chunks in order: the same but for the first two, which change places. */
    assert_success(journal_print(j, &printed, &again));
    assert_int_equal(again, length);
    assert_memory_equal(printed, text, (size_t)(strstr(text, "done") - text));
    assert_memory_equal(strstr(printed, "done 0 128"), strstr(text, "done 0 128"), 40);
    assert_true(strstr(printed, "done 0 128") < strstr(printed, "done 128"));
    free(line);
    free(printed);
    free(text);
    journal_destroy(&j);
}

/* Cut at every byte: a head that is not whole is none; of the lines after it the whole ones stay. */
static void test_cut_anywhere(void **state) {
    (void)state;
    size_t length;
    char *text = make_text(&length);
    size_t whole = (size_t)(strstr(text, "done 128") - text);
    for (size_t n = 0; n <= length; n++) {
        struct journal *j = NULL;
        char *copy = malloc(n + 1); /* of just this size: what lies behind it is not read */
        assert_non_null(copy);
        memcpy(copy, text, n);
        assert_success(journal_parse(copy, n, &j));
        if (n < whole) {
            assert_null(j);
        } else {
            int lines = 0;
            for (size_t i = whole; i < n; i++) lines += text[i] == '\n';
            assert_non_null(j);
            check_head(j);
            assert_int_equal(j->nchunks, lines);
        }
        journal_destroy(&j);
        free(copy);
    }
    free(text);
}

/* One byte changed anywhere, to anything: that line is lost, or with one of the head all. */
static void test_changed_anywhere(void **state) {
    (void)state;
    static const char bytes[] = {0, '\n', ' ', '"', '1', (char)0xff};
    size_t length;
    char *text = make_text(&length);
    size_t whole = (size_t)(strstr(text, "done 128") - text);
    for (size_t at = 0; at < length; at++)
        for (size_t b = 0; b < sizeof bytes; b++) {
            char kept = text[at];
            struct journal *j = NULL;
            if (kept == bytes[b]) continue;
            text[at] = bytes[b];
            assert_success(journal_parse(text, length, &j));
            if (at < whole) {
                assert_null(j);
            } else { /* a line end that is gone joins two lines */
                assert_non_null(j);
                check_head(j);
                assert_int_equal(j->nchunks, kept == '\n' && at < length - 1 ? 1 : 2);
            }
            journal_destroy(&j);
            text[at] = kept;
        }
    free(text);
}

/* Lines that are whole and make no sense; a chunk's later line counts. */
static void test_strange_lines(void **state) {
    (void)state;
    size_t length;
    char *text = NULL;
    FILE *out = open_memstream(&text, &length);
    struct journal *j = NULL;
    assert_non_null(out);
    for (int i = 0; i < NHEAD; i++) put(out, head[i]);
    put(out, "done 0 128 sha256:11 \"dense/kernel\"");
    put(out, "done 0 64 sha256:12 \"no such/tensor\"");
    put(out, "done x 64 sha256:12 \"dense/kernel\"");
    put(out, "done 0 64 \"dense/kernel\"");
    put(out, "done 0 64 sha256:12 dense/kernel");
    put(out, "");
    put(out, "done 5 9 sha256:55 \"dense/kernel\"");
    put(out, "done 0 64 sha256:13 \"dense/kernel\"");
    assert_int_equal(fclose(out), 0);
    assert_success(journal_parse(text, length, &j));
    assert_non_null(j);
    assert_int_equal(j->nchunks, 2);
    assert_null(journal_find(j, 0, 0, 128));
    assert_string_equal(journal_find(j, 0, 0, 64)->digest, "sha256:13");
    journal_destroy(&j);
    free(text);
    assert_success(journal_parse("", 0, &j));
    assert_null(j);
    assert_success(journal_parse("what is this?\n", 14, &j));
    assert_null(j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_and_written),
        cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_changed_anywhere),
        cmocka_unit_test(test_strange_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
