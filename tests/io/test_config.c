/* The configuration: defaults, values, every kind of mistake with its exact message, printing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "io/config.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct config *parse(const char *json) {
    struct config *config = NULL;
    status error = config_parse(json, "c.json", &config);
    if (error) print_message("%s\n", status_message(error));
    assert_null(error);
    return config;
}

static void test_defaults(void **state) {
    (void)state;
    struct config *c = parse("{}");
    assert_string_equal(c->name, "");
    assert_string_equal(c->models, "models");
    assert_string_equal(c->runs, "runs");
    assert_string_equal(c->engine, "auto");
    assert_int_equal(c->threads, 0);
    assert_int_equal(c->seed, 1);
    assert_int_equal(c->watchdog_s, 600);
    assert_false(c->trace);
    assert_string_equal(c->data.format, "auto");
    assert_int_equal(c->data.nlabels, 0);
    assert_true(c->data.in_memory);
    assert_string_equal(c->migration.mode, "dynamic");
    assert_true(c->migration.chunk_mib == 8);
    assert_int_equal(c->refit.samples, 4096);
    assert_true(c->refit.ridge == 0);
    assert_int_equal(c->refit.relu_rounds, 2);
    assert_int_equal(c->refit.sweeps, 1);
    assert_string_equal(c->refit.select, "next_layer");
    assert_int_equal(c->training.epochs, -1);
    assert_int_equal(c->training.batch, 0);
    assert_int_equal(c->training.average, -1);
    assert_true(c->training.budget_s == 0);
    assert_true(c->data.holdout == -1);
    assert_string_equal(c->data.augment, "auto");
    assert_string_equal(c->training.batch_norm, "batch");
    assert_string_equal(c->training.optimizer.kind, "adamw");
    assert_true(c->training.optimizer.beta2 == 0.999);
    assert_string_equal(c->training.schedule.kind, "cosine");
    assert_true(c->training.schedule.rate == 0);
    assert_true(c->training.loss.distillation == -1);
    assert_true(c->training.loss.temperature == 0);
    config_destroy(&c);
    assert_null(c);
    config_destroy(&c);
}

static void test_values(void **state) {
    (void)state;
    struct config *c = parse(
        "{\"name\": \"small\", \"seed\": 9007199254740992, \"target\": {\"width\": 1},\n"
        "\"data\": {\"labels\": [\"cat\", \"dog \\u00e9\"], \"flip\": true, \"shift\": 2, \"scale\": -0.5},\n"
        "\"training\": {\"schedule\": {\"kind\": \"one_cycle\", \"rate\": 0.1}, \"epochs\": 0}}");
    assert_string_equal(c->name, "small");
    assert_true(c->seed == INT64_C(9007199254740992));
    assert_true(c->target.width == 1.0);
    assert_int_equal(c->data.nlabels, 2);
    assert_string_equal(c->data.labels[0], "cat");
    assert_string_equal(c->data.labels[1], "dog \xc3\xa9");
    assert_true(c->data.flip);
    assert_int_equal(c->data.shift, 2);
    assert_true(c->data.scale == -0.5);
    assert_string_equal(c->training.schedule.kind, "one_cycle");
    assert_true(c->training.schedule.rate == 0.1);
    assert_true(c->training.schedule.warmup == 0.05); /* untouched keys keep their defaults */
    assert_int_equal(c->training.epochs, 0);
    config_destroy(&c);
}

static const struct {
    const char *json, *message;
} mistakes[] = {
    /* unknown keys */
    {"{\"training\": {\"epocs\": 3}}", "c.json: unknown key \"training.epocs\"; did you mean \"epochs\"? "
                                       "(allowed here: epochs, batch, budget_s, batch_norm, freeze, "
                                       "average, way, blockwise_epochs, slices, schedule, optimizer, loss)"},
    {"{\"training\": {\"loss\": {\"temprature\": 3}}}",
     "c.json: unknown key \"training.loss.temprature\"; did you mean \"temperature\"? (allowed here: kind, "
     "label_smoothing, distillation, temperature)"},
    {"{\"target\": {\"zzz\": 3}}",
     "c.json: unknown key \"target.zzz\" (allowed here: topology, width, widths, params, "
     "flops, latency_ms, latency_ratio, depth, blocks_removed, replace, rank, rank_energy, ranks, head, "
     "precision)"},
    {"{\"target\": {\"Width\": 3}}",
     "c.json: unknown key \"target.Width\"; did you mean \"width\"? (allowed here: topology, width, widths, "
     "params, flops, latency_ms, latency_ratio, depth, blocks_removed, replace, rank, rank_energy, ranks, "
     "head, "
     "precision)"},
    {"{\"\": 3, \"x\": 1}",
     "c.json: unknown key \"\" (allowed here: name, source, topology, output, models, runs, engine, "
     "threads, seed, watchdog_s, trace, data, target, targets, choose, migration, refit, training)"},
    /* twice */
    {"{\"seed\": 1, \"name\": \"a\", \"seed\": 2}", "c.json: \"seed\" is there twice; keep one"},
    {"{\"refit\": {\"ridge\": 1, \"ridge\": 1}}", "c.json: \"refit.ridge\" is there twice; keep one"},
    /* wrong types */
    {"{\"seed\": \"1\"}", "c.json: \"seed\" is a text; allowed: a whole number from 0 to 9007199254740992"},
    {"{\"seed\": null}", "c.json: \"seed\" is null; allowed: a whole number from 0 to 9007199254740992"},
    {"{\"data\": []}", "c.json: \"data\" is a list; allowed: an object"},
    {"{\"data\": {\"flip\": 1}}", "c.json: \"data.flip\" is a number; allowed: true or false"},
    {"{\"data\": {\"path\": true}}", "c.json: \"data.path\" is true; allowed: a text"},
    {"{\"data\": {\"labels\": \"cat\"}}", "c.json: \"data.labels\" is a text; allowed: a list of texts"},
    {"{\"data\": {\"labels\": [\"a\", 3]}}",
     "c.json: \"data.labels\" is a list with other things than texts; allowed: a list of texts"},
    {"{\"target\": {\"width\": {}}}", "c.json: \"target.width\" is an object; allowed: a number in (0, 1]"},
    /* out of range */
    {"{\"target\": {\"width\": 0}}", "c.json: \"target.width\" is 0; allowed: a number in (0, 1]"},
    {"{\"target\": {\"width\": 2}}", "c.json: \"target.width\" is 2; allowed: a number in (0, 1]"},
    {"{\"target\": {\"width\": -0.5}}", "c.json: \"target.width\" is -0.5; allowed: a number in (0, 1]"},
    {"{\"target\": {\"width\": 1e999}}", "c.json: \"target.width\" is inf; allowed: a number in (0, 1]"},
    {"{\"data\": {\"holdout\": 1}}", "c.json: \"data.holdout\" is 1; allowed: a number in [-1, 1)"},
    {"{\"seed\": -1}", "c.json: \"seed\" is -1; allowed: a whole number from 0 to 9007199254740992"},
    {"{\"seed\": 1.5}", "c.json: \"seed\" is 1.5; allowed: a whole number from 0 to 9007199254740992"},
    {"{\"training\": {\"epochs\": 100001}}",
     "c.json: \"training.epochs\" is 100001; allowed: a whole number from -1 to 100000"},
    {"{\"training\": {\"batch\": -1}}",
     "c.json: \"training.batch\" is -1; allowed: a whole number from 0 to 16777216"},
    {"{\"training\": {\"schedule\": {\"rate\": -1}}}",
     "c.json: \"training.schedule.rate\" is -1; allowed: a number in [0, 1000]"},
    {"{\"training\": {\"optimizer\": {\"kind\": \"adam\"}}}",
     "c.json: \"training.optimizer.kind\" is \"adam\"; allowed: one of \"sgd\", \"adamw\""},
    {"{\"migration\": {\"mode\": \"\"}}",
     "c.json: \"migration.mode\" is \"\"; allowed: one of \"dynamic\", \"static\""},
    {"{\"name\": \"../x\"}",
     "c.json: \"name\" is \"../x\"; allowed: letters, digits, '.', '_' and '-', not beginning with '.'"},
    {"{\"name\": \"a/b\"}",
     "c.json: \"name\" is \"a/b\"; allowed: letters, digits, '.', '_' and '-', not beginning with '.'"},
    /* not JSON */
    {"", "c.json: not JSON: mistake at or before line 1, column 1"},
    {"{\n  \"seed\": 1,\n  \"name\": x\n}",
     "c.json: not JSON: mistake at or before line 3, column 11: \"x\""},
    {"{\"seed\": 1} 2", "c.json: not JSON: mistake at or before line 1, column 13: \"2\""},
    {"{\"seed\": 1,}", "c.json: not JSON: mistake at or before line 1, column 13"},
    {"{\n\"seed\": 1\n", "c.json: not JSON: mistake at or before line 3, column 1"},
    {"[1]", "c.json: a configuration is an object, in { }, not a list"},
};

static void test_mistakes(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        struct config *config = NULL;
        status error = config_parse(mistakes[i].json, "c.json", &config);
        assert_null(config);
        assert_int_equal(status_code(error), STATUS_USAGE);
        assert_string_equal(status_message(error), mistakes[i].message);
        status_drop(&error);
    }
}

/* Every prefix of a good configuration and deep nesting are errors, not crashes. */
static void test_torn(void **state) {
    (void)state;
    const char *whole = "{\"data\": {\"labels\": [\"a\\u00e9\", \"b\"], \"scale\": 1e-3}, \"seed\": 12}";
    for (size_t n = 0; n < strlen(whole); n++) {
        char text[128];
        snprintf(text, sizeof text, "%.*s", (int)n, whole);
        struct config *config = NULL;
        status error = config_parse(text, "c.json", &config);
        assert_non_null(error);
        status_drop(&error);
    }
    size_t deep = 100000;
    char *text = malloc(deep + 1);
    assert_non_null(text);
    memset(text, '[', deep);
    text[deep] = '\0';
    struct config *config = NULL;
    status error = config_parse(text, "c.json", &config);
    assert_int_equal(status_code(error), STATUS_USAGE);
    status_drop(&error);
    free(text);
}

static void set_fails(struct config *c, const char *assignment, const char *message) {
    status error = config_set(c, assignment);
    assert_int_equal(status_code(error), STATUS_USAGE);
    assert_string_equal(status_message(error), message);
    status_drop(&error);
}

static void test_set(void **state) {
    (void)state;
    struct config *c = parse("{}");
    assert_null(config_set(c, "training.epochs=12"));
    assert_int_equal(c->training.epochs, 12);
    assert_null(config_set(c, "training.schedule.rate=1e-3"));
    assert_true(c->training.schedule.rate == 1e-3);
    assert_null(config_set(c, "data.path=/a=b c"));
    assert_string_equal(c->data.path, "/a=b c");
    assert_null(config_set(c, "data.path=\"quoted\""));
    assert_string_equal(c->data.path, "quoted");
    assert_null(config_set(c, "data.path="));
    assert_string_equal(c->data.path, "");
    assert_null(config_set(c, "data.flip=true"));
    assert_true(c->data.flip);
    assert_null(config_set(c, "data.labels=[\"x\",\"y\",\"z\"]"));
    assert_null(config_set(c, "data.labels=[\"u\"]"));
    assert_int_equal(c->data.nlabels, 1);
    assert_string_equal(c->data.labels[0], "u");
    assert_null(config_set(c, "training.loss={\"temperature\": 4}"));
    assert_true(c->training.loss.temperature == 4);

    set_fails(c, "training.epoch=3",
              "--set: unknown key \"training.epoch\"; did you mean \"epochs\"? (allowed here: epochs, batch, "
              "budget_s, batch_norm, freeze, "
              "average, way, blockwise_epochs, slices, schedule, optimizer, loss)");
    set_fails(c, "target.width=2", "--set: \"target.width\" is 2; allowed: a number in (0, 1]");
    set_fails(c, "target.width=wide", "--set: \"target.width\" is wide; allowed: a number in (0, 1]");
    set_fails(c, "target.width=", "--set: \"target.width\" is empty; allowed: a number in (0, 1]");
    set_fails(c, "seed.x=1", "--set: unknown key \"seed.x\": \"seed\" has no keys of its own");
    set_fails(c, "training=3", "--set: \"training\" is a number; allowed: an object");
    set_fails(c, "seed", "--set seed: write it as KEY=VALUE, for example training.epochs=3");
    set_fails(c, "=3", "--set =3: write it as KEY=VALUE, for example training.epochs=3");
    set_fails(c, "training.=3",
              "--set: unknown key \"training.\" (allowed here: epochs, batch, budget_s, batch_norm, freeze, "
              "average, way, blockwise_epochs, slices, schedule, "
              "optimizer, loss)");
    assert_true(c->target.width == 0.5);

    status error = config_require(c, "source");
    assert_string_equal(status_message(error),
                        "key \"source\" is missing in the configuration (migrate: the source "
                        "model, a file, folder or name[:version]; short: \"source\": \"x.h5\")");
    status_drop(&error);
    assert_null(config_set(c, "source=a.h5"));
    assert_null(config_require(c, "source"));
    assert_string_equal(c->source.model, "a.h5");
    assert_null(config_set(c, "source.aliases=own.json"));
    assert_null(config_set(c, "source={\"model\": \"b.weights.h5\", \"topology\": \"b.json\"}"));
    assert_string_equal(c->source.model, "b.weights.h5");
    assert_string_equal(c->source.topology, "b.json");
    assert_string_equal(c->source.aliases, "own.json");
    set_fails(c, "source.modle=x",
              "--set: unknown key \"source.modle\"; did you mean \"model\"? (allowed here: model, topology, "
              "aliases)");
    set_fails(c, "source={\"model\": 1}", "--set: \"source.model\" is a number; allowed: a text");
    config_destroy(&c);
}

/* What is printed is read back as the same. */
static void test_print(void **state) {
    (void)state;
    struct config *c = parse(
        "{\"seed\": 9007199254740991, \"refit\": {\"ridge\": 0.1}, \"data\": {\"labels\": [\"a\\\"b\"]}}");
    char *json = NULL, *again = NULL;
    assert_null(config_print(c, &json));
    config_destroy(&c);
    c = parse(json);
    assert_true(c->seed == INT64_C(9007199254740991));
    assert_true(c->refit.ridge == 0.1);
    assert_string_equal(c->data.labels[0], "a\"b");
    assert_null(config_print(c, &again));
    assert_string_equal(json, again);
    free(json);
    free(again);
    config_destroy(&c);
}

static void test_read(void **state) {
    (void)state;
    struct config *c = NULL;
    status error = config_read("/nowhere/c.json", &c);
    assert_int_equal(status_code(error), STATUS_IO);
    assert_non_null(strstr(status_message(error), "/nowhere/c.json"));
    status_drop(&error);
    char path[] = "/tmp/godwit-config-XXXXXX";
    int file = mkstemp(path);
    assert_int_equal(write(file, "{\"seed\": 5}", 11), 11);
    close(file);
    assert_null(config_read(path, &c));
    assert_int_equal(c->seed, 5);
    config_destroy(&c);
    unlink(path);
}

/* Every configuration that comes with the program is one. */
static void test_shipped(void **state) {
    (void)state;
    glob_t found;
    assert_int_equal(glob(GODWIT_SOURCE_DIR "/configs/*.json", 0, NULL, &found), 0);
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct config *c = NULL;
        status error = config_read(found.gl_pathv[i], &c);
        if (error) fail_msg("%s", status_message(error));
        config_destroy(&c);
    }
    globfree(&found);
}

/* The README's table of keys is the one that `godwit help config` prints. */
static void test_readme(void **state) {
    (void)state;
    char *text = NULL, *readme = NULL;
    size_t nbytes = 0;
    assert_null(config_describe(&text));
    FILE *file = fopen(GODWIT_SOURCE_DIR "/README.md", "r");
    assert_non_null(file);
    assert_true(getdelim(&readme, &nbytes, '\0', file) > 0);
    fclose(file);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        if (!strstr(readme, line)) fail_msg("README.md lacks this line of \"godwit help config\": %s", line);
    }
    free(text);
    free(readme);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults), cmocka_unit_test(test_values), cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_torn),     cmocka_unit_test(test_set),    cmocka_unit_test(test_print),
        cmocka_unit_test(test_read),     cmocka_unit_test(test_readme), cmocka_unit_test(test_shipped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
