/* Slice files: rows of tensors in any order, more than once, and what a full disk does. */
#include "io/io_testing.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include "io/slice_file.h"

static float value(int tensor, int64_t row, int64_t column) {
    return (float)(1000 * tensor + 10 * row + column) + 0.5f;
}

static void fill(float *data, int tensor, int64_t first, int64_t n, int64_t columns) {
    for (int64_t r = 0; r < n; r++)
        for (int64_t c = 0; c < columns; c++) data[r * columns + c] = value(tensor, first + r, c);
}

static void test_rows_come_back(void **state) {
    (void)state;
    enum { TENSORS = 9 };
    struct slice_file *file = NULL;
    float data[64 * 8], back[64 * 8];
    char name[TENSORS][300];
    assert_success(slice_file_create(in_folder("slices"), &file));
    for (int t = 0; t < TENSORS; t++)
        snprintf(name[t], sizeof name[t], "layer/with/slashes and %.*d/kernel", 1 + 25 * t, t);
    /* Chunks of all tensors in turn, the last rows first; tensor t has 10 + t rows of 1 + t % 8 columns. */
    for (int first = 24; first >= 0; first -= 3)
        for (int t = 0; t < TENSORS; t++) {
            int64_t rows = 10 + t, n = first + 3 < rows ? 3 : rows - first;
            if (n <= 0) continue;
            fill(data, t, first, n, 1 + t % 8);
            assert_success(slice_file_write(file, name[t], rows, 1 + t % 8, first, n, data));
        }
    for (int t = 0; t < TENSORS; t++)
        for (int64_t first = 0; first < 10 + t; first += 4)
            for (int64_t n = 1; first + n <= 10 + t; n++) {
                fill(data, t, first, n, 1 + t % 8);
                assert_success(slice_file_read(file, name[t], first, n, back));
                assert_memory_equal(back, data, (size_t)(n * (1 + t % 8)) * sizeof *data);
            }
    fill(data, 77, 2, 3, 4); /* written again */
    assert_success(slice_file_write(file, name[3], 13, 4, 2, 3, data));
    assert_success(slice_file_flush(file));
    assert_success(slice_file_read(file, name[3], 2, 3, back));
    assert_memory_equal(back, data, 12 * sizeof *data);
    slice_file_remove(&file);
    assert_null(file);
    assert_int_equal(count_entries(test_folder), 0);
    slice_file_remove(&file);
}

static void test_errors(void **state) {
    (void)state;
    struct slice_file *file = NULL;
    float data[4] = {0};
    assert_error(slice_file_create("/nowhere/at/all/slices", &file), STATUS_IO, "/nowhere/at/all/slices");
    assert_null(file);
    assert_error(slice_file_create(test_folder, &file), STATUS_IO, test_folder);
    assert_success(slice_file_create(in_folder("slices"), &file));
    assert_error(slice_file_read(file, "unknown", 0, 1, data), STATUS_INTERNAL, "unknown");
    assert_success(slice_file_write(file, "a", 1, 4, 0, 1, data));
    assert_error(slice_file_read(file, "a", 5, 1, data), STATUS_IO, "slices"); /* never written */
    assert_error(slice_file_write(file, "b", INT64_MAX / 2, 3, 0, 1, data), STATUS_INTERNAL, "b");
    slice_file_remove(&file);
}

static void test_full_disk(void **state) {
    (void)state;
    if (mount("none", test_folder, "tmpfs", 0, "size=16k")) {
        print_message("skipped: cannot mount a tmpfs\n");
        skip();
    }
    static float data[4096];
    struct slice_file *file = NULL;
    status created = slice_file_create(in_folder("slices"), &file), error = SUCCESS;
    for (int64_t row = 0; row < 8 && !created && !error; row++)
        error = slice_file_write(file, "a", 8, 1024, row, 1, data);
    slice_file_remove(&file);
    int left = count_entries(test_folder);
    assert_int_equal(umount(test_folder), 0);
    assert_success(created);
    assert_error(error, STATUS_IO, "No space left on device");
    assert_int_equal(left, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_rows_come_back),
        IN_FOLDER(test_errors),
        IN_FOLDER(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
