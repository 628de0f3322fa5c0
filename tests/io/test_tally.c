/* What is kept of a run with several targets: the tally, the figures of a model.json, and that of a chosen
 * model. */
#include "io/io_testing.h"

#include <math.h>

#include "io/file.h"
#include "io/provenance.h"
#include "io/tally.h"

static struct tally *open_tally(const char *key) {
    struct tally *tally = NULL;
    assert_success(tally_open(in_folder("run.targets"), key, &tally));
    return tally;
}

static void test_tally(void **state) {
    (void)state;
    struct tally *t = open_tally("sha256:1");
    assert_null(tally_find(t, "half"));
    assert_int_equal(access(in_folder("run.targets"), F_OK), -1);
    assert_success(tally_add(t, "half", "models/half/1/model.h5"));
    assert_success(tally_add(t, "half.2", "a folder/half.2/7/model.h5"));
    tally_close(&t);
    t = open_tally("sha256:1");
    assert_string_equal(tally_find(t, "half"), "models/half/1/model.h5");
    assert_string_equal(tally_find(t, "half.2"), "a folder/half.2/7/model.h5");
    assert_null(tally_find(t, "hal"));
    assert_success(tally_add(t, "half", "models/half/2/model.h5"));
    tally_close(&t);
    char *text = NULL;
    assert_success(file_read_text(in_folder("run.targets"), 1000, &text));
    assert_string_equal(text, "godwit targets 1\nsha256:1\nhalf models/half/2/model.h5\n"
                              "half.2 a folder/half.2/7/model.h5\n");
    free(text);
    /* Another run's, and a file of another kind, say nothing. */
    static const char *const others[] = {"sha256:12", "sha256:"};
    for (int i = 0; i < 2; i++) {
        t = open_tally(others[i]);
        assert_null(tally_find(t, "half"));
        tally_close(&t);
    }
    t = open_tally("sha256:2");
    assert_success(tally_add(t, "new", "x"));
    tally_remove(t);
    assert_int_equal(access(in_folder("run.targets"), F_OK), -1);
    tally_close(&t);
    write_bytes(in_folder("run.targets"), "godwit targets 2\nsha256:2\nnew x\n", 32);
    t = open_tally("sha256:2");
    assert_null(tally_find(t, "new"));
    tally_close(&t);
}

static void test_figures(void **state) {
    (void)state;
    const struct provenance_metric metric[] = {
        {"test_accuracy", 0.875}, {"agreement", NAN}, {"flops", 1.5e7}};
    const struct provenance p = {.name = "half",
                                 .command_line = "godwit",
                                 .config_json = "{\"seed\": 3}",
                                 .libraries = "none",
                                 .engine = "openblas",
                                 .model_digest = "sha256:77",
                                 .ranks = 2,
                                 .threads = 1,
                                 .nmetrics = 3,
                                 .metric = metric};
    static const char *const names[] = {"flops", "test_accuracy", "agreement", "latency_s"};
    double v[4];
    char *digest = NULL, *golden = NULL, *text = NULL;
    assert_success(provenance_write(in_folder("model.json"), &p));
    assert_success(provenance_figures(in_folder("model.json"), 4, names, v));
    assert_true(v[0] == 1.5e7 && v[1] == 0.875 && isnan(v[2]) && isnan(v[3]));
    assert_success(
        provenance_choose(in_folder("model.json"), in_folder("chosen.json"), "small", "half", "the best"));
    assert_success(file_read_text(in_folder("chosen.json"), 10000, &text));
    assert_non_null(strstr(text, "\"name\":\t\"small\""));
    assert_non_null(strstr(text, "\"chosen\":\t\"half\""));
    assert_non_null(strstr(text, "\"reason\":\t\"the best\""));
    assert_non_null(strstr(text, "\"seed\":\t3"));
    free(text);
    assert_success(provenance_digests(in_folder("chosen.json"), &digest, &golden));
    assert_string_equal(digest, "sha256:77");
    free(digest);
    free(golden);
    write_bytes(in_folder("bad.json"), "[1]", 3);
    assert_error(provenance_figures(in_folder("bad.json"), 4, names, v), STATUS_DATA, "bad.json");
    assert_error(provenance_choose(in_folder("bad.json"), in_folder("x.json"), "a", "b", "c"), STATUS_DATA,
                 "bad.json");
    assert_error(provenance_figures(in_folder("none.json"), 4, names, v), STATUS_IO, "none.json");
}

static void test_double(void **state) {
    (void)state;
    char *text = NULL;
    write_bytes(in_folder("a"), "hello", 5);
    assert_success(file_double(in_folder("a"), in_folder("b")));
    unlink(in_folder("a"));
    assert_success(file_read_text(in_folder("b"), 100, &text));
    assert_string_equal(text, "hello");
    free(text);
    write_bytes(in_folder("c"), "there", 5);
    assert_error(file_double(in_folder("b"), in_folder("c")), STATUS_IO, "cannot create");
    assert_error(file_double(in_folder("none"), in_folder("d")), STATUS_IO, "cannot create");
    /* Another file system has no second name for it. */
    char far[] = "/dev/shm/godwit_test_XXXXXX";
    int fd = mkstemp(far);
    if (fd < 0) skip();
    close(fd);
    unlink(far);
    assert_success(file_double(in_folder("b"), far));
    assert_success(file_read_text(far, 100, &text));
    assert_string_equal(text, "hello");
    free(text);
    unlink(far);
}

int main(void) {
    const struct CMUnitTest tests[] = {IN_FOLDER(test_tally), IN_FOLDER(test_figures),
                                       IN_FOLDER(test_double)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
