/* Watching a model that is being trained: replaced, written over, appearing in a folder or as a version. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "io/io_testing.h"

#include "io/file.h"
#include "io/source_watch.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void put(const char *name, const char *text) {
    assert_null(file_write_atomic(in_folder(name), text, strlen(text)));
}

/* As who writes a file bit by bit. */
static void append(const char *name, const char *text) {
    FILE *file = fopen(in_folder(name), "a");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* Sets the time of the last writing, in seconds. */
static void date(const char *name, time_t seconds) {
    const struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    assert_int_equal(utimensat(AT_FDCWD, in_folder(name), times, 0), 0);
}

static struct source_watch *watch_of(const char *name) {
    struct source_watch *watch = NULL;
    assert_null(source_watch_create(NULL, in_folder(name), &watch));
    return watch;
}

static void sees(struct source_watch *watch, enum source_state expected) {
    enum source_state state;
    status error = source_watch_look(watch, &state);
    if (error) print_message("%s\n", status_message(error));
    assert_null(error);
    assert_int_equal(state, expected);
}

static void takes(struct source_watch *watch, const char *from, const char *text) {
    char *path = NULL, *copied = NULL;
    bool whole = false;
    assert_null(source_watch_take(watch, in_folder("copy"), &path, &whole));
    assert_true(whole);
    assert_string_equal(path, in_folder(from));
    assert_null(file_read_text(in_folder("copy"), 4096, &copied));
    assert_string_equal(copied, text);
    free(path);
    free(copied);
}

/* A file that is replaced, and one that is written over. */
static void test_file(void **state) {
    (void)state;
    struct source_watch *watch = watch_of("model.h5");
    sees(watch, SOURCE_MISSING);
    put("model.h5", "one");
    sees(watch, SOURCE_MOVING);
    sees(watch, SOURCE_SETTLED);
    takes(watch, "model.h5", "one");
    sees(watch, SOURCE_SAME);
    put("model.h5", "two"); /* as long: another file */
    sees(watch, SOURCE_MOVING);
    append("model.h5", " and");
    sees(watch, SOURCE_MOVING);
    append("model.h5", " more");
    sees(watch, SOURCE_MOVING);
    sees(watch, SOURCE_SETTLED);
    takes(watch, "model.h5", "two and more");
    sees(watch, SOURCE_SAME);
    assert_int_equal(unlink(in_folder("model.h5")), 0);
    sees(watch, SOURCE_MISSING);
    put("model.h5", "two and more"); /* the same again is another one */
    sees(watch, SOURCE_MOVING);
    source_watch_destroy(&watch);
}

/* What changes between the look and the copy is told, and looked at again. */
static void test_changed_meanwhile(void **state) {
    (void)state;
    struct source_watch *watch = watch_of("model.h5");
    char *path = NULL;
    bool whole = true;
    put("model.h5", "one");
    sees(watch, SOURCE_MOVING);
    sees(watch, SOURCE_SETTLED);
    append("model.h5", " more");
    assert_null(source_watch_take(watch, in_folder("copy"), &path, &whole));
    assert_false(whole);
    assert_int_equal(access(in_folder("copy"), F_OK), -1);
    free(path);
    sees(watch, SOURCE_MOVING);
    sees(watch, SOURCE_SETTLED);
    assert_int_equal(unlink(in_folder("model.h5")), 0);
    assert_null(source_watch_take(watch, in_folder("copy"), &path, &whole));
    assert_false(whole);
    free(path);
    source_watch_destroy(&watch);
}

/* The newest model file of a folder; others, and what is hidden, do not count. */
static void test_checkpoints(void **state) {
    (void)state;
    struct source_watch *watch = watch_of("checkpoints");
    sees(watch, SOURCE_MISSING);
    assert_int_equal(mkdir(in_folder("checkpoints"), 0777), 0);
    sees(watch, SOURCE_MISSING);
    put("checkpoints/notes.txt", "no model");
    put("checkpoints/.hidden.h5", "no model");
    sees(watch, SOURCE_MISSING);
    put("checkpoints/epoch_09.h5", "nine");
    date("checkpoints/epoch_09.h5", 1000);
    sees(watch, SOURCE_MOVING);
    sees(watch, SOURCE_SETTLED);
    takes(watch, "checkpoints/epoch_09.h5", "nine");
    put("checkpoints/epoch_10.keras", "ten");
    date("checkpoints/epoch_10.keras", 1000); /* within the clock's grain */
    sees(watch, SOURCE_MOVING);
    sees(watch, SOURCE_SETTLED);
    takes(watch, "checkpoints/epoch_10.keras", "ten");
    put("checkpoints/epoch_08.h5", "eight");
    date("checkpoints/epoch_08.h5", 2000); /* trained later */
    sees(watch, SOURCE_MOVING);
    sees(watch, SOURCE_SETTLED);
    takes(watch, "checkpoints/epoch_08.h5", "eight");
    sees(watch, SOURCE_SAME);
    source_watch_destroy(&watch);
}

/* The newest version in the registry. */
static void test_registry(void **state) {
    (void)state;
    struct source_watch *watch = NULL;
    assert_null(source_watch_create(in_folder("models"), "net", &watch));
    sees(watch, SOURCE_MISSING);
    assert_int_equal(mkdir(in_folder("models"), 0777), 0);
    assert_int_equal(mkdir(in_folder("models/net"), 0777), 0);
    for (int version = 9; version <= 10; version++) {
        char name[32];
        snprintf(name, sizeof name, "models/net/%d", version);
        assert_int_equal(mkdir(in_folder(name), 0777), 0);
        snprintf(name, sizeof name, "models/net/%d/model.h5", version);
        put(name, version == 9 ? "nine" : "ten");
        sees(watch, SOURCE_MOVING);
        sees(watch, SOURCE_SETTLED);
        takes(watch, name, version == 9 ? "nine" : "ten");
        sees(watch, SOURCE_SAME);
    }
    source_watch_destroy(&watch);
    status error = source_watch_create(in_folder("models"), "net:9", &watch);
    assert_int_equal(status_code(error), STATUS_USAGE);
    status_drop(&error);
    assert_null(watch);
}

static void test_unwritable(void **state) {
    (void)state;
    struct source_watch *watch = watch_of("model.h5");
    char *path = NULL;
    bool whole;
    put("model.h5", "one");
    sees(watch, SOURCE_MOVING);
    sees(watch, SOURCE_SETTLED);
    status error = source_watch_take(watch, in_folder("none/copy"), &path, &whole);
    assert_int_equal(status_code(error), STATUS_IO);
    status_drop(&error);
    free(path);
    source_watch_destroy(&watch);
}

int main(void) {
    const struct CMUnitTest tests[] = {IN_FOLDER(test_file), IN_FOLDER(test_changed_meanwhile),
                                       IN_FOLDER(test_checkpoints), IN_FOLDER(test_registry),
                                       IN_FOLDER(test_unwritable)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
