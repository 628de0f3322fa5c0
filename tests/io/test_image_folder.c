/* Folders of images as data sets. */
#include "io/dataset_testing.h"

#include "io/file.h"
#include "io/image.h"

/* A grey (or RGB) image of one value at folder/name. */
static void write_image(const char *path, int64_t height, int64_t width, int channels, uint8_t value) {
    char folder[512];
    snprintf(folder, sizeof folder, "%s", in_folder(path));
    *strrchr(folder, '/') = 0;
    assert_success(file_make_folders(folder));
    struct image *image;
    assert_success(image_create(height, width, channels, &image));
    memset(image->pixel, value, (size_t)(height * width * channels));
    assert_success(image_write(in_folder(path), image));
    image_destroy(&image);
}

static void test_classes_are_sorted_folders(void **state) {
    (void)state;
    write_image("train/dog/b.png", 8, 8, 1, 20);
    write_image("train/dog/a.png", 8, 8, 1, 10);
    write_image("train/cat/z.PNG", 16, 32, 3, 30); /* resized and made grey */
    write_image("train/cat/y.jpg", 8, 8, 1, 40);
    write_image("train/Zebra/1.png", 8, 8, 1, 50); /* capitals first, as strcmp has it */
    write_image("test/dog/1.png", 8, 8, 1, 60);    /* numbered as for training */
    write_bytes(in_folder("train/cat/notes.txt"), "x", 1);
    write_bytes(in_folder("train/cat/.hidden.png"), "x", 1);
    write_bytes(in_folder("train/readme.png"), "x", 1);
    const int expected[5][2] = {{50, 0}, {40, 1}, {30, 1}, {10, 2}, {20, 2}};
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        struct data_config config = make_config("auto", test_folder);
        config.in_memory = in_memory;
        config.scale = 1;
        struct dataset *dataset;
        assert_success(open_alone(&config, &SHAPE(SHAPE_UNKNOWN, 8, 8, 1), 3, &dataset));
        assert_int_equal(dataset_size(dataset, DATASET_TRAIN), 5);
        assert_int_equal(dataset_size(dataset, DATASET_TEST), 1);
        assert_int_equal(dataset_classes(dataset), 3);
        float x[5 * 64];
        int32_t label[5];
        read_range(dataset, DATASET_TRAIN, 0, 5, x, label);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(label[i], expected[i][1]);
            for (int k = 0; k < 64; k++) assert_int_equal((int)x[64 * i + k], expected[i][0]);
        }
        read_range(dataset, DATASET_TEST, 0, 1, x, label);
        assert_int_equal(label[0], 2);
        assert_int_equal((int)x[0], 60);
        char *json;
        assert_success(dataset_preprocessing(dataset, &json));
        assert_non_null(strstr(json, "[\"Zebra\",\"cat\",\"dog\"]"));
        free(json);
        dataset_close(&dataset);
    }
}

static void test_without_parts_and_without_classes(void **state) {
    (void)state;
    write_image("a/1.png", 6, 9, 3, 7);
    write_image("b/1.png", 12, 18, 3, 8);
    struct data_config config = make_config("folder", test_folder);
    struct dataset *dataset;
    /* the model does not say a size: the first image does */
    assert_success(open_alone(&config, &SHAPE(SHAPE_UNKNOWN, SHAPE_UNKNOWN, SHAPE_UNKNOWN, 3), 2, &dataset));
    assert_int_equal(dataset_size(dataset, DATASET_TRAIN), 2);
    assert_int_equal(dataset_size(dataset, DATASET_TEST), 0);
    assert_true(shape_equal(dataset_sample_shape(dataset), &SHAPE(SHAPE_UNKNOWN, 6, 9, 3)));
    dataset_close(&dataset);
    config = make_config("folder", in_folder("a"));
    assert_success(open_alone(&config, NULL, 0, &dataset));
    float x[6 * 9 * 3];
    int32_t label;
    int64_t index = 0;
    struct batch_request request = {.part = DATASET_TRAIN, .index = &index, .n = 1};
    assert_success(dataset_read(dataset, &request, x, NULL));
    assert_true(x[0] == (float)(7 / 255.0));
    assert_error(dataset_read(dataset, &request, x, &label), STATUS_DATA, "no labels");
    dataset_close(&dataset);
}

static void test_bad_folders(void **state) {
    (void)state;
    struct data_config config = make_config("folder", test_folder);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "no .png or .jpg images");
    write_image("train/a/1.png", 4, 4, 1, 0);
    write_image("val/b/1.png", 4, 4, 1, 0);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "not among the training classes");
    assert_int_equal(rename(in_folder("val/b"), in_folder("val/a")), 0);
    assert_open_fails(&config, &SHAPE(SHAPE_UNKNOWN, 4, 4, 5), 0, STATUS_DATA, "wants 5");
    assert_success(file_make_folders(in_folder("train/c")));
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "train/c");
    write_bytes(in_folder("train/c/2.png"), "garbage", 7);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "train/c/2.png");
    config.in_memory = false;
    struct dataset *dataset;
    assert_success(open_alone(&config, NULL, 0, &dataset));
    float x[16];
    int64_t index[] = {0, 1};
    struct batch_request request = {.part = DATASET_TRAIN, .index = index, .n = 2};
    assert_error(dataset_read(dataset, &request, x, NULL), STATUS_DATA, "train/c/2.png");
    dataset_close(&dataset);
    write_bytes(in_folder("file"), "x", 1);
    config = make_config("folder", in_folder("file"));
    assert_open_fails(&config, NULL, 0, STATUS_IO, "file");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_classes_are_sorted_folders),
        IN_FOLDER(test_without_parts_and_without_classes),
        IN_FOLDER(test_bad_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
