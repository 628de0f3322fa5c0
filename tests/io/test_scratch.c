/* Memory in a file. */
#include "io/file.h"
#include "io/scratch.h"

#include "io/io_testing.h"

#include <sys/wait.h>

#define NBYTES ((size_t)3 << 20)

/* Two processes see the same, and nothing is left. */
static void test_shared(void **state) {
    (void)state;
    char *path = NULL;
    unsigned char *data = NULL;
    assert_success(scratch_create(test_folder, NBYTES, &path));
    assert_success(scratch_open(path, NBYTES, (void **)&data));
    for (size_t i = 0; i < NBYTES; i += 4095) assert_int_equal(data[i], 0);
    pid_t pid = fork();
    if (pid == 0) {
        unsigned char *other = NULL;
        if (scratch_open(path, NBYTES, (void **)&other)) _exit(1);
        other[NBYTES - 1] = 7;
        _exit(0);
    }
    int code;
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_int_equal(code, 0);
    file_abandon(path);
    assert_int_equal(data[NBYTES - 1], 7);
    assert_int_equal(count_entries(test_folder), 0);
    scratch_close(data, NBYTES);
    free(path);
}

/* Found at the start, not at the first write that has no room; and nothing is left. */
static void test_no_room(void **state) {
    (void)state;
    char *path = NULL;
    const double room = scratch_free(test_folder);
    assert_true(room > 0);
    status error = scratch_create(test_folder, (size_t)(room * 2) + ((size_t)1 << 40), &path);
    assert_int_equal(status_code(error), STATUS_IO);
    assert_non_null(strstr(status_message(error), "godwit-scratch"));
    assert_null(path);
    status_drop(&error);
    assert_int_equal(count_entries(test_folder), 0);
}

static void test_no_folder(void **state) {
    (void)state;
    char *path = NULL;
    status error = scratch_create(in_folder("absent"), NBYTES, &path);
    assert_int_equal(status_code(error), STATUS_IO);
    assert_non_null(strstr(status_message(error), "absent"));
    assert_null(path);
    status_drop(&error);
    assert_true(scratch_free(in_folder("absent")) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {IN_FOLDER(test_shared), IN_FOLDER(test_no_room),
                                       IN_FOLDER(test_no_folder)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
