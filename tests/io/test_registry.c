/* The registry: what a MODEL resolves to, versions, leftovers of dead processes, publishing side by side. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "io/file.h"
#include "io/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char root[64], models[80];

static int setup(void **state) {
    (void)state;
    strcpy(root, "/tmp/godwit-registry-XXXXXX");
    if (!mkdtemp(root)) return -1;
    snprintf(models, sizeof models, "%s/models", root);
    return chdir(root);
}

static int teardown(void **state) {
    (void)state;
    char command[192];
    snprintf(command, sizeof command, "chmod -R u+w %s; rm -rf %s", root, root);
    return chdir("/") || system(command);
}

static void put(const char *folder, const char *file, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, file);
    assert_null(file_write_atomic(path, text, strlen(text)));
}

static void publish(const char *name, const char *text, const char *expected) {
    struct registry_staging *staging = NULL;
    char *folder = NULL;
    assert_null(registry_stage(models, name, &staging));
    put(registry_staging_folder(staging), "model.h5", text);
    put(registry_staging_folder(staging), "model.json", "{}");
    assert_null(registry_publish(&staging, &folder));
    assert_null(staging);
    assert_string_equal(folder + strlen(models) + 1, expected);
    free(folder);
}

static void resolves(const char *model, const char *expected) {
    char *path = NULL;
    status error = registry_resolve(models, model, &path);
    if (error) print_message("%s\n", status_message(error));
    assert_null(error);
    assert_string_equal(path, expected);
    free(path);
}

static void fails(const char *model, enum status_code code, const char *format) {
    char *path = NULL, expected[512];
    snprintf(expected, sizeof expected, format, models);
    status error = registry_resolve(models, model, &path);
    assert_int_equal(status_code(error), code);
    assert_string_equal(status_message(error), expected);
    assert_null(path);
    status_drop(&error);
}

static void test_resolve(void **state) {
    (void)state;
    char expected[256];
    fails("small", STATUS_IO,
          "no file and no model \"small\" in the registry %s; it has no models (--models or GODWIT_MODELS "
          "says where they are)");
    publish("small", "one", "small/1");
    publish("small", "two", "small/2");
    publish("big", "three", "big/1");
    snprintf(expected, sizeof expected, "%s/small/2/model.h5", models);
    resolves("small", expected);
    snprintf(expected, sizeof expected, "%s/small/1/model.h5", models);
    resolves("small:1", expected);
    fails("small:3", STATUS_IO, "model \"small\" has no version 3 in %s; it has: 1, 2");
    fails("small:01", STATUS_USAGE, "\"small:01\": a version is a positive number without leading zeros");
    fails("small:", STATUS_USAGE, "\"small:\": a version is a positive number without leading zeros");
    fails("small:0", STATUS_USAGE, "\"small:0\": a version is a positive number without leading zeros");
    fails("medium", STATUS_IO, "no file and no model \"medium\" in the registry %s; there are: big, small");
    fails("../x", STATUS_IO, "cannot open ../x: No such file or directory; check the path");
    fails("", STATUS_IO, "no file and no model \"\" in the registry %s; there are: big, small");

    put(".", "small", "a file goes before the registry");
    resolves("small", "small");
    put(".", "x.h5", "file");
    resolves("x.h5", "x.h5");
    resolves("./x.h5", "./x.h5");
    assert_int_equal(mkdir("big", 0777), 0); /* a folder does not */
    snprintf(expected, sizeof expected, "%s/big/1/model.h5", models);
    resolves("big", expected);

    char *path = NULL;
    setenv("GODWIT_MODELS", models, 1);
    assert_null(registry_resolve(NULL, "big:1", &path));
    assert_string_equal(path, expected);
    free(path);
    unsetenv("GODWIT_MODELS");
    assert_null(registry_resolve(NULL, "big:1", &path)); /* ./models */
    assert_string_equal(path, "models/big/1/model.h5");
    free(path);
}

static void test_versions(void **state) {
    (void)state;
    char folder[256];
    publish("m", "one", "m/1");
    snprintf(folder, sizeof folder, "%s/m/7", models); /* empty: no model, but never replaced */
    assert_int_equal(mkdir(folder, 0777), 0);
    snprintf(folder, sizeof folder, "%s/m/010", models);
    assert_int_equal(mkdir(folder, 0777), 0);
    fails("m:7", STATUS_IO, "model \"m\" has no version 7 in %s; it has: 1");
    publish("m", "eight", "m/8");
    publish("m", "nine", "m/9");
    publish("m", "ten", "m/10"); /* by number, not by text */
    char expected[256];
    snprintf(expected, sizeof expected, "%s/m/10/model.h5", models);
    resolves("m", expected);
}

static bool exists(const char *path) {
    return access(path, F_OK) == 0;
}

static void test_staging(void **state) {
    (void)state;
    struct registry_staging *staging = NULL;
    char folder[512], host[65], dead[512], alive[512], foreign[512];

    status error = registry_stage(models, "../evil", &staging);
    assert_int_equal(status_code(error), STATUS_USAGE);
    status_drop(&error);

    assert_null(registry_stage(models, "m", &staging));
    snprintf(folder, sizeof folder, "%s", registry_staging_folder(staging));
    put(folder, "model.h5", "half");
    fails("m", STATUS_IO,
          "no file and no model \"m\" in the registry %s; it has no models (--models or GODWIT_MODELS says "
          "where they are)");
    registry_abandon(&staging);
    assert_null(staging);
    assert_false(exists(folder));
    registry_abandon(&staging);

    pid_t child = fork(); /* a process that is dead afterwards */
    if (child == 0) _exit(0);
    waitpid(child, NULL, 0);
    gethostname(host, sizeof host);
    snprintf(dead, sizeof dead, "%s/m/.staging-%s-%d", models, host, (int)child);
    snprintf(alive, sizeof alive, "%s/m/.staging-%s-%d", models, host, (int)getppid());
    snprintf(foreign, sizeof foreign, "%s/m/.staging-elsewhere-%d", models, (int)child);
    assert_null(file_make_folders(dead));
    put(dead, "model.h5", "left");
    assert_null(file_make_folders(alive));
    assert_null(file_make_folders(foreign));
    publish("m", "good", "m/1");
    assert_false(exists(dead));
    assert_true(exists(alive));
    assert_true(exists(foreign));
}

/* Processes that publish at the same time each get a version of their own. */
static void test_side_by_side(void **state) {
    (void)state;
    enum { PROCESSES = 4, EACH = 5 };
    for (int i = 0; i < PROCESSES; i++) {
        if (fork() != 0) continue;
        for (int j = 0; j < EACH; j++) {
            struct registry_staging *staging = NULL;
            char *folder = NULL, path[512];
            if (registry_stage(models, "race", &staging)) _exit(1);
            snprintf(path, sizeof path, "%s/model.h5", registry_staging_folder(staging));
            if (file_write_atomic(path, "x", 1) || registry_publish(&staging, &folder)) _exit(2);
            free(folder);
        }
        _exit(0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int code = -1;
        wait(&code);
        assert_int_equal(code, 0);
    }
    for (int version = 1; version <= PROCESSES * EACH; version++) {
        char path[256];
        snprintf(path, sizeof path, "%s/race/%d/model.h5", models, version);
        assert_true(exists(path));
    }
}

static void test_unwritable(void **state) {
    (void)state;
    struct registry_staging *staging = NULL;
    put(".", "models", "a file where the folder should be");
    status error = registry_stage(models, "m", &staging);
    assert_int_equal(status_code(error), STATUS_IO);
    assert_non_null(strstr(status_message(error), models));
    assert_null(staging);
    status_drop(&error);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_resolve, setup, teardown),
        cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_staging, setup, teardown),
        cmocka_unit_test_setup_teardown(test_side_by_side, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unwritable, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
