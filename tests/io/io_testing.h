/* For the tests of io/: a folder of its own for each test, and checks of a status. */
#ifndef GODWIT_TESTS_IO_TESTING_H
#define GODWIT_TESTS_IO_TESTING_H

#include "shared/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char test_folder[128];

/* The path of a name in the test's folder; eight may be in use at a time. */
static inline char *in_folder(const char *name) {
    static char path[8][512];
    static int next;
    next = (next + 1) % 8;
    snprintf(path[next], sizeof path[next], "%s/%s", test_folder, name);
    return path[next];
}

static inline int make_test_folder(void **state) {
    (void)state;
    strcpy(test_folder, "/tmp/godwit_test_XXXXXX");
    return mkdtemp(test_folder) ? 0 : -1;
}

static inline int remove_test_folder(void **state) {
    (void)state;
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", test_folder);
    return system(command);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_test_folder, remove_test_folder)

static inline int count_entries(const char *path) {
    DIR *dir = opendir(path);
    if (!dir) return -1;
    int n = 0;
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) n++;
    closedir(dir);
    return n - 2;
}

static inline void assert_success(status error) {
    if (error) fail_msg("%s", status_message(error));
}

/* `part` must be in the message. */
static inline void assert_error(status error, enum status_code code, const char *part) {
    if (!error) fail_msg("no error; one with '%s' was expected", part);
    if (!strstr(status_message(error), part)) fail_msg("'%s' is not in '%s'", part, status_message(error));
    assert_int_equal(status_code(error), code);
    status_drop(&error);
}

static inline void write_bytes(const char *path, const void *data, size_t nbytes) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, nbytes, file), nbytes);
    assert_int_equal(fclose(file), 0);
}

#endif
