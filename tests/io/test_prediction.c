/* A classifier's answer: the best classes, as JSON and drawn; model.json's content. */
#include "io/io_testing.h"

#include <math.h>

#include "io/file.h"
#include "io/prediction.h"
#include "io/provenance.h"

static char top[] = "T-shirt/top", shoe[] = "\"boot\"";

static struct preprocessing named(char **label, int n) {
    label[0] = top;
    label[1] = shoe;
    return (struct preprocessing){.scale = 1, .label = label, .nlabels = n};
}

static void test_best(void **state) {
    (void)state;
    char *label[2];
    struct preprocessing p = named(label, 2);
    struct prediction_class best[5];
    static const float score[] = {0.1f, 0.3f, 0.05f, 0.3f, 0.25f};
    prediction_best(&p, score, 5, 5, best);
    static const int order[] = {1, 3, 4, 0, 2}; /* equal scores: the lower number first */
    static const char *const names[] = {"\"boot\"", "class 3", "class 4", "T-shirt/top", "class 2"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(best[i].number, order[i]);
        assert_true(best[i].score == score[order[i]]);
        assert_string_equal(best[i].label, names[i]);
    }
    prediction_best(&p, score, 5, 2, best);
    assert_int_equal(best[1].number, 3);
    static const float negative[] = {-3, -1, -2};
    prediction_best(&p, negative, 3, 1, best);
    assert_int_equal(best[0].number, 1);
    static const float nan[] = {NAN, NAN, NAN};
    prediction_best(&p, nan, 3, 3, best);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < i; j++) assert_true(best[i].number != best[j].number);
}

/* A name that is longer than its place is cut between characters. */
static void test_long_label(void **state) {
    (void)state;
    char text[200] = "", *label[1] = {text};
    struct preprocessing p = {.label = label, .nlabels = 1};
    struct prediction_class best;
    for (int shift = 0; shift < 4; shift++) {
        memset(text, 'x', (size_t)shift);
        text[shift] = '\0';
        while (strlen(text) < 100) strcat(text, "\xe2\x82\xac"); /* the euro sign, three bytes */
        prediction_best(&p, (const float[]){1}, 1, 1, &best);
        size_t n = strlen(best.label);
        assert_true(n > 56 && n < sizeof best.label);
        assert_memory_equal(best.label, text, n);
        assert_int_equal((n - (size_t)shift) % 3, 0);
    }
}

static void test_json(void **state) {
    (void)state;
    char *label[2], *json = NULL;
    struct preprocessing p = named(label, 2);
    struct prediction_class best[2];
    prediction_best(&p, (const float[]){0.25f, 0.75f}, 2, 2, best);
    struct prediction prediction = {
        .model = "small", .image = "a \"b\".png", .latency_s = 0.0015, .n = 2, .best = best};
    assert_success(prediction_json(&prediction, &json));
    static const char *const parts[] = {
        "\"small\"",     "\"a \\\"b\\\".png\"", "\"latency_ms\":\t1.5", "\"label\":\t\"\\\"boot\\\"\"",
        "\"class\":\t1", "\"score\":\t0.75",    "\"T-shirt/top\""};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(json, parts[i])) fail_msg("no %s in %s", parts[i], json);
    assert_true(strstr(json, "boot") < strstr(json, "T-shirt"));
    free(json);
}

static void test_scores(void **state) {
    (void)state;
    char text[PREDICTION_SCORE_MAX];
    struct prediction p = {.probabilities = true};
    assert_string_equal(prediction_score(&p, 0.991, text), "99.1 %");
    p.probabilities = false; /* a model without a softmax */
    assert_string_equal(prediction_score(&p, 12.345, text), "12.35");
}

static void test_draw(void **state) {
    (void)state;
    char *label[2];
    struct preprocessing p = named(label, 2);
    struct prediction_class best[2];
    struct image *image = NULL, *drawn = NULL;
    prediction_best(&p, (const float[]){0.25f, 0.75f}, 2, 2, best);
    struct prediction prediction = {.model = "small", .image = "x", .n = 2, .best = best};
    assert_success(image_create(28, 28, 1, &image));
    assert_success(prediction_draw(&prediction, image, in_folder("out.png")));
    assert_success(image_read(in_folder("out.png"), &drawn));
    assert_int_equal(drawn->channels, 3);
    assert_true(drawn->height > 28 && drawn->width >= 280);
    image_destroy(&drawn);
    assert_error(prediction_draw(&prediction, image, in_folder("out.gif")), STATUS_USAGE, "out.gif");
    assert_error(prediction_draw(&prediction, image, "/nowhere/out.png"), STATUS_IO, "/nowhere/out.png");
    image_destroy(&image);
}

static void test_provenance(void **state) {
    (void)state;
    struct provenance_metric metric[] = {{"accuracy", 0.5}, {"unknown", NAN}};
    struct provenance p = {.name = "small",
                           .source = "dir/source \"1\".h5",
                           .source_digest = "sha256:00",
                           .model_digest = "sha256:11",
                           .command_line = "godwit migrate 'a b.json'",
                           .config_json = "{\"seed\": 4}",
                           .libraries = "HDF5 1",
                           .engine = "openblas",
                           .seed = 9007199254740991,
                           .ranks = 3,
                           .threads = 2,
                           .nmetrics = 2,
                           .metric = metric};
    char *json = NULL;
    assert_success(provenance_write(in_folder("model.json"), &p));
    assert_success(file_read_text(in_folder("model.json"), 1 << 16, &json));
    static const char *const parts[] = {"\"name\":\t\"small\"",
                                        "\"dir/source \\\"1\\\".h5\"",
                                        "\"sha256:00\"",
                                        "\"sha256:11\"",
                                        "godwit migrate 'a b.json'",
                                        "{\"seed\": 4}",
                                        "\"HDF5 1\"",
                                        "\"openblas\"",
                                        "\"seed\":\t9007199254740991",
                                        "\"ranks\":\t3",
                                        "\"threads_per_rank\":\t2",
                                        "\"accuracy\":\t0.5",
                                        "\"unknown\":\tnull",
                                        "\"godwit\":\t\"" GODWIT_VERSION "\""};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(json, parts[i])) fail_msg("no %s in %s", parts[i], json);
    free(json);
    p.source = p.source_digest = NULL; /* trained, not migrated */
    assert_success(provenance_write(in_folder("model.json"), &p));
    assert_success(file_read_text(in_folder("model.json"), 1 << 16, &json));
    assert_non_null(strstr(json, "\"source\":\tnull"));
    free(json);
    assert_error(provenance_write("/nowhere/model.json", &p), STATUS_IO, "/nowhere/model.json");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_best), cmocka_unit_test(test_long_label), cmocka_unit_test(test_json),
        IN_FOLDER(test_draw),        IN_FOLDER(test_provenance),        cmocka_unit_test(test_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
