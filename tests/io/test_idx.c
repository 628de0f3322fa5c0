/* IDX data sets, and what all formats share: splits, order, scaling, augmentation, checks. */
#include "io/dataset_testing.h"

#include <math.h>
#include <time.h>

static const struct shape grey28 = {4, {SHAPE_UNKNOWN, 28, 28, 1}};

static void test_plain_and_gzip(void **state) {
    (void)state;
    for (int gzip = 0; gzip < 2; gzip++)
        for (int in_memory = 0; in_memory < 2; in_memory++) {
            write_idx_pair("train", 11, 3, 5, 4, gzip);
            write_idx_pair("t10k", 6, 3, 5, 4, !gzip);
            struct data_config config = make_config("auto", test_folder);
            config.in_memory = in_memory;
            struct dataset *dataset;
            assert_success(open_alone(&config, &SHAPE(SHAPE_UNKNOWN, 3, 5, 1), 4, &dataset));
            assert_int_equal(dataset_size(dataset, DATASET_TRAIN), 11);
            assert_int_equal(dataset_size(dataset, DATASET_HOLDOUT), 0);
            assert_int_equal(dataset_size(dataset, DATASET_TEST), 6);
            assert_int_equal(dataset_classes(dataset), 4);
            assert_true(shape_equal(dataset_sample_shape(dataset), &SHAPE(SHAPE_UNKNOWN, 3, 5, 1)));
            float x[11 * 15];
            int32_t label[11];
            for (int test = 0; test < 2; test++) {
                int64_t n = test ? 6 : 11;
                read_range(dataset, test ? DATASET_TEST : DATASET_TRAIN, 0, n, x, label);
                for (int64_t i = 0; i < n; i++) {
                    assert_int_equal(label[i], i % 4);
                    for (int64_t k = 0; k < 15; k++)
                        assert_true(x[i * 15 + k] == (float)(idx_pixel(i, k / 5, k % 5) / 255.0));
                }
            }
            dataset_close(&dataset);
            assert_null(dataset);
            remove_test_folder(NULL);
            make_test_folder(NULL);
        }
}

static void test_element_types(void **state) {
    (void)state;
    /* big-endian by hand: 1.5, -2 in each type */
    const struct {
        int type;
        size_t size;
        uint8_t bytes[16];
        float expected[2];
    } kind[] = {
        {0x09, 1, {1, 0xfe}, {1, -2}},
        {0x0b, 2, {0x01, 0x00, 0xff, 0xfe}, {256, -2}},
        {0x0c, 4, {0, 1, 0, 0, 0xff, 0xff, 0xff, 0xfe}, {65536, -2}},
        {0x0d, 4, {0x3f, 0xc0, 0, 0, 0xc0, 0, 0, 0}, {1.5f, -2}},
        {0x0e, 8, {0x3f, 0xf8, 0, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0}, {1.5f, -2}},
    };
    for (size_t k = 0; k < sizeof kind / sizeof *kind; k++) {
        uint8_t bytes[64];
        size_t used = idx_header(bytes, kind[k].type, 3, (uint32_t[]){2, 1, 1});
        memcpy(bytes + used, kind[k].bytes, 2 * kind[k].size);
        write_bytes(in_folder("x"), bytes, used + 2 * kind[k].size);
        used = idx_header(bytes, 0x0c, 1, (uint32_t[]){2}); /* int32 labels 300, 0 */
        memcpy(bytes + used, (uint8_t[]){0, 0, 1, 44, 0, 0, 0, 0}, 8);
        write_bytes(in_folder("y"), bytes, used + 8);
        struct data_config config = make_config("idx", test_folder);
        char x_name[] = "x", y_name[] = "y";
        config.x_test = x_name;
        config.y_test = y_name;
        struct dataset *dataset;
        assert_success(open_alone(&config, NULL, 0, &dataset));
        assert_int_equal(dataset_size(dataset, DATASET_TRAIN), 0);
        assert_int_equal(dataset_classes(dataset), 301);
        float x[2];
        int32_t label[2];
        read_range(dataset, DATASET_TEST, 0, 2, x, label);
        assert_true(x[0] == kind[k].expected[0] &&
                    x[1] == kind[k].expected[1]); /* scale 1 for other types than uint8 */
        assert_int_equal(label[0], 300);
        dataset_close(&dataset);
    }
}

static void test_damaged_files(void **state) {
    (void)state;
    struct data_config config = make_config("idx", test_folder);
    uint8_t bytes[400];
    const char *x = "train-images-idx3-ubyte", *y = "train-labels-idx1-ubyte";
    write_idx_pair("train", 10, 4, 4, 3, false);
    size_t whole = idx_header(bytes, 0x08, 3, (uint32_t[]){10, 4, 4}) + 160;
    memset(bytes + 16, 9, 160);
    for (size_t cut = 0; cut < whole; cut += 5) {
        write_bytes(in_folder(x), bytes, cut);
        assert_open_fails(&config, NULL, 0, STATUS_DATA, x);
    }
    write_bytes(in_folder(x), bytes, whole + 1);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "longer");
    bytes[0] = 1;
    write_bytes(in_folder(x), bytes, whole);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "not an IDX file");
    bytes[0] = 0;
    bytes[2] = 0x0a;
    write_bytes(in_folder(x), bytes, whole);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "not an IDX file");
    /* dimensions whose product overflows, images without pixels, an empty set */
    idx_header(bytes, 0x08, 3, (uint32_t[]){0xffffffff, 0xffffffff, 0xffffffff});
    write_bytes(in_folder(x), bytes, whole);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "truncated");
    idx_header(bytes, 0x08, 3, (uint32_t[]){10, 4, 0});
    write_bytes(in_folder(x), bytes, 16);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "without pixels");
    idx_header(bytes, 0x08, 3, (uint32_t[]){0, 4, 4});
    write_bytes(in_folder(x), bytes, 16);
    size_t used = idx_header(bytes, 0x08, 1, (uint32_t[]){0});
    write_bytes(in_folder(y), bytes, used);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "no samples");
    /* counts that differ; labels where images should be */
    write_idx_pair("train", 10, 4, 4, 3, false);
    used = idx_header(bytes, 0x08, 1, (uint32_t[]){9});
    write_bytes(in_folder(y), bytes, used + 9);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "10 samples");
    assert_int_equal(rename(in_folder(x), in_folder(y)), 0);
    write_idx_pair("t10k", 10, 4, 4, 3, false);
    assert_int_equal(rename(in_folder("t10k-images-idx3-ubyte"), in_folder(x)), 0);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "labels have 1");
}

static void test_damaged_gzip(void **state) {
    (void)state;
    write_idx_pair("train", 200, 10, 10, 3, true);
    struct data_config config = make_config("auto", test_folder);
    const char *path = in_folder("train-images-idx3-ubyte.gz");
    uint8_t *data = malloc(1 << 16);
    assert_non_null(data);
    FILE *file = fopen(path, "rb");
    size_t n = fread(data, 1, 1 << 16, file);
    fclose(file);
    for (size_t cut = 3; cut < n; cut += 1 + n / 40) {
        write_bytes(path, data, cut);
        assert_open_fails(&config, NULL, 0, STATUS_DATA, "train-images");
    }
    write_bytes(path, data, n - 1); /* only the trailer with the checksum is cut */
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "truncated");
    data[n - 6] ^= 1; /* a wrong checksum */
    write_bytes(path, data, n);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "truncated");
    free(data);
    /* a header that promises far more than the file can hold is refused before memory is asked for */
    uint8_t head[16];
    idx_header(head, 0x08, 3, (uint32_t[]){4000000000u, 1000, 1000});
    write_gzip(path, head, sizeof head);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "truncated");
    idx_header(head, 0x08, 3, (uint32_t[]){200, 10, 10});
    write_gzip(path, head, sizeof head);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "truncated");
}

static void test_bad_requests(void **state) {
    (void)state;
    struct data_config config = make_config("auto", in_folder("none"));
    assert_open_fails(&config, NULL, 0, STATUS_IO, "none");
    config = make_config("auto", NULL);
    assert_open_fails(&config, NULL, 0, STATUS_IO, "data.path");
    config = make_config("idx", test_folder);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "neither");
    config = make_config("csv", test_folder);
    assert_open_fails(&config, NULL, 0, STATUS_USAGE, "csv");
    write_bytes(in_folder("file"), "text", 4);
    config = make_config("auto", in_folder("file"));
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "data.format");
    write_idx_pair("train", 10, 4, 6, 5, false);
    config = make_config("auto", test_folder);
    /* labels 0..4 */
    assert_open_fails(&config, NULL, 4, STATUS_DATA, "label 4 is 4");
    /* shapes */
    assert_open_fails(&config, &SHAPE(SHAPE_UNKNOWN, 6, 4, 1), 5, STATUS_DATA, "(?, 6, 4, 1)");
    assert_open_fails(&config, &SHAPE(SHAPE_UNKNOWN, 4, 6, 3), 5, STATUS_DATA, "the model wants");
    assert_open_fails(&config, &SHAPE(SHAPE_UNKNOWN, 25), 5, STATUS_DATA, "the model wants");
    config.holdout = 1;
    assert_open_fails(&config, NULL, 0, STATUS_USAGE, "holdout");
    config.holdout = NAN;
    assert_open_fails(&config, NULL, 0, STATUS_USAGE, "holdout");
    config.holdout = 0;
    config.shift = 4;
    assert_open_fails(&config, NULL, 0, STATUS_USAGE, "shift");
    config.shift = 0;
    config.scale = INFINITY;
    assert_open_fails(&config, NULL, 0, STATUS_USAGE, "finite");
    config.scale = 0;
    char a[] = "a", b[] = "b";
    char *few[] = {a, b};
    config.labels = few;
    config.nlabels = 2;
    assert_open_fails(&config, NULL, 5, STATUS_DATA, "names 2 classes");
    config.nlabels = 0;
    char other[] = "other";
    config.x_test = other;
    assert_open_fails(&config, NULL, 5, STATUS_IO, "other");
    config.x_test = no_text;
    write_idx_pair("t10k", 10, 5, 6, 5, false);
    assert_open_fails(&config, NULL, 5, STATUS_DATA, "one kind");
    assert_int_equal(remove(in_folder("t10k-images-idx3-ubyte")), 0);
    struct dataset *dataset;
    assert_success(open_alone(&config, NULL, 5, &dataset));
    float x[24];
    for (int64_t i = -1; i <= 10; i += 11) {
        struct batch_request request = {.part = DATASET_TRAIN, .index = &i, .n = 1};
        assert_error(dataset_read(dataset, &request, x, NULL), STATUS_DATA, "sample");
    }
    int64_t zero = 0;
    struct batch_request request = {.part = DATASET_TEST, .index = &zero, .n = 1};
    assert_error(dataset_read(dataset, &request, x, NULL), STATUS_DATA, "sample");
    dataset_close(&dataset);
    /* without labels: samples can be read, labels cannot */
    assert_int_equal(remove(in_folder("train-labels-idx1-ubyte")), 0);
    assert_success(open_alone(&config, NULL, 5, &dataset));
    assert_int_equal(dataset_classes(dataset), 0);
    int32_t label;
    request.part = DATASET_TRAIN;
    assert_success(dataset_read(dataset, &request, x, NULL));
    assert_error(dataset_read(dataset, &request, x, &label), STATUS_DATA, "no labels");
    dataset_close(&dataset);
}

static void test_shapes_that_fit(void **state) {
    (void)state;
    write_idx_pair("train", 3, 4, 6, 5, false);
    struct data_config config = make_config("auto", test_folder);
    const struct shape wanted[] = {SHAPE(8, 4, 6, 1), SHAPE(SHAPE_UNKNOWN, 4, 6), SHAPE(SHAPE_UNKNOWN, 24),
                                   SHAPE(SHAPE_UNKNOWN, SHAPE_UNKNOWN, SHAPE_UNKNOWN, 1),
                                   SHAPE(SHAPE_UNKNOWN, SHAPE_UNKNOWN, SHAPE_UNKNOWN, SHAPE_UNKNOWN)};
    const struct shape expected[] = {SHAPE(SHAPE_UNKNOWN, 4, 6, 1), SHAPE(SHAPE_UNKNOWN, 4, 6),
                                     SHAPE(SHAPE_UNKNOWN, 24), SHAPE(SHAPE_UNKNOWN, 4, 6, 1),
                                     SHAPE(SHAPE_UNKNOWN, 4, 6, 1)};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct dataset *dataset;
        assert_success(open_alone(&config, &wanted[i], 5, &dataset));
        assert_true(shape_equal(dataset_sample_shape(dataset), &expected[i]));
        dataset_close(&dataset);
    }
}

static void test_holdout_and_order(void **state) {
    (void)state;
    enum { N = 100 };
    write_idx_pair("train", N, 1, 2, 5, false);
    struct data_config config = make_config("auto", test_folder);
    config.holdout = 0.17;
    config.scale = 1;
    struct dataset *dataset, *again, *other;
    assert_success(dataset_open(&config, NULL, 0, 7, NULL, &dataset));
    assert_success(dataset_open(&config, NULL, 0, 7, NULL, &again));
    assert_success(dataset_open(&config, NULL, 0, 8, NULL, &other));
    assert_int_equal(dataset_size(dataset, DATASET_TRAIN), 83);
    assert_int_equal(dataset_size(dataset, DATASET_HOLDOUT), 17);
    /* disjoint and complete: the first pixel, 31 i mod 256, names sample i */
    int seen[256] = {0}, held[256] = {0};
    float x[2 * N], y[2 * N], z[2 * N];
    read_range(dataset, DATASET_TRAIN, 0, 83, x, NULL);
    for (int i = 0; i < 83; i++) seen[(int)x[2 * i]]++;
    read_range(dataset, DATASET_HOLDOUT, 0, 17, x, NULL);
    read_range(again, DATASET_HOLDOUT, 0, 17, y, NULL);
    read_range(other, DATASET_HOLDOUT, 0, 17, z, NULL);
    assert_memory_equal(x, y, 34 * sizeof *x);
    assert_memory_not_equal(x, z, 34 * sizeof *x);
    for (int i = 0; i < 17; i++) held[(int)x[2 * i]]++;
    for (int i = 0; i < N; i++) assert_int_equal(seen[31 * i % 256] + held[31 * i % 256], 1);
    /* an order is a permutation, by seed and epoch */
    int64_t order[3][83];
    assert_success(dataset_order(dataset, DATASET_TRAIN, 0, order[0]));
    assert_success(dataset_order(again, DATASET_TRAIN, 0, order[1]));
    assert_memory_equal(order[0], order[1], sizeof order[0]);
    assert_success(dataset_order(dataset, DATASET_TRAIN, 1, order[1]));
    assert_memory_not_equal(order[0], order[1], sizeof order[0]);
    assert_success(dataset_order(other, DATASET_TRAIN, 0, order[2]));
    assert_memory_not_equal(order[0], order[2], sizeof order[0]);
    int64_t moved = 0;
    int count[83] = {0};
    for (int i = 0; i < 83; i++) {
        count[order[0][i]]++;
        moved += order[0][i] != i;
    }
    for (int i = 0; i < 83; i++) assert_int_equal(count[i], 1);
    assert_true(moved > 70);
    dataset_close(&dataset);
    dataset_close(&again);
    dataset_close(&other);
}

/* Which mirror and shift turn the pattern of sample `i` into `x`; fails if none does. */
static void find_move(const float *x, int64_t i, int64_t height, int64_t width, int64_t shift, int *mirror,
                      int64_t *dy, int64_t *dx) {
    for (*mirror = 0; *mirror < 2; ++*mirror)
        for (*dy = -shift; *dy <= shift; ++*dy)
            for (*dx = -shift; *dx <= shift; ++*dx) {
                bool same = true;
                for (int64_t r = 0; r < height && same; r++)
                    for (int64_t c = 0; c < width && same; c++) {
                        int64_t sr = r - *dy, sc = c - *dx;
                        bool inside = sr >= 0 && sr < height && sc >= 0 && sc < width;
                        float expected = inside ? idx_pixel(i, sr, *mirror ? width - 1 - sc : sc) : 0;
                        same = x[r * width + c] == expected * 2 + 1;
                    }
                if (same) return;
            }
    fail_msg("sample %d is not a mirrored and shifted copy", (int)i);
}

static void test_augmentation(void **state) {
    (void)state;
    enum { N = 64, H = 5, W = 7 };
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        write_idx_pair("train", N, H, W, 5, false);
        struct data_config config = make_config("auto", test_folder);
        config.in_memory = in_memory;
        config.flip = true;
        config.shift = 2;
        config.scale = 2;
        config.offset = 1;
        struct dataset *dataset;
        assert_success(open_alone(&config, NULL, 0, &dataset));
        static float x[N * H * W], y[N * H * W];
        int64_t index[N], reversed[N];
        for (int i = 0; i < N; i++) {
            index[i] = i;
            reversed[i] = N - 1 - i;
        }
        struct batch_request request = {
            .part = DATASET_TRAIN, .index = index, .n = N, .augment = true, .epoch = 3};
        assert_success(dataset_read(dataset, &request, x, NULL));
        int mirrored = 0, moves[5][5] = {0};
        for (int64_t i = 0; i < N; i++) {
            int mirror;
            int64_t dy, dx;
            find_move(x + i * H * W, i, H, W, 2, &mirror, &dy, &dx);
            mirrored += mirror;
            moves[dy + 2][dx + 2]++;
        }
        assert_true(mirrored > 20 && mirrored < 44);
        int kinds = 0;
        for (int i = 0; i < 25; i++) kinds += moves[i / 5][i % 5] > 0;
        assert_true(kinds > 15);
        /* by epoch and sample alone, not by the place in the batch */
        request.index = reversed;
        assert_success(dataset_read(dataset, &request, y, NULL));
        for (int i = 0; i < N; i++)
            assert_memory_equal(x + i * H * W, y + (N - 1 - i) * H * W, H * W * sizeof *x);
        request.epoch = 4;
        assert_success(dataset_read(dataset, &request, x, NULL));
        assert_memory_not_equal(x, y, sizeof x);
        dataset_close(&dataset);
    }
}

static void test_preprocessing_json(void **state) {
    (void)state;
    write_idx_pair("train", 4, 4, 6, 2, false);
    struct data_config config = make_config("auto", test_folder);
    char a[] = "cat", b[] = "dog";
    char *names[] = {a, b};
    config.labels = names;
    config.nlabels = 2;
    config.offset = -0.5;
    struct dataset *dataset;
    char *json;
    assert_success(open_alone(&config, NULL, 2, &dataset));
    assert_success(dataset_preprocessing(dataset, &json));
    assert_non_null(strstr(json, "\"scale\":0.0039215686274"));
    assert_non_null(strstr(json, "\"offset\":-0.5"));
    assert_non_null(strstr(json, "\"labels\":[\"cat\",\"dog\"]"));
    assert_non_null(strstr(json, "\"height\":4"));
    assert_non_null(strstr(json, "\"width\":6"));
    assert_non_null(strstr(json, "\"channels\":1"));
    free(json);
    dataset_close(&dataset);
}

static void test_fashion_mnist(void **state) {
    (void)state;
    const char *path = "/usr/share/datasets/fashion-mnist";
    if (access(path, R_OK) != 0) {
        print_message("skipped: no dataset-fashion-mnist\n");
        skip();
    }
    struct data_config config = make_config("auto", path);
    config.flip = true;
    config.shift = 2;
    struct dataset *dataset;
    assert_success(open_alone(&config, &grey28, 10, &dataset));
    assert_int_equal(dataset_size(dataset, DATASET_TRAIN), 60000);
    assert_int_equal(dataset_size(dataset, DATASET_TEST), 10000);
    assert_int_equal(dataset_classes(dataset), 10);
    enum { BATCH = 128 };
    float *x = malloc(BATCH * 784 * sizeof *x);
    int32_t label[BATCH];
    int64_t index[BATCH], count[2][10] = {{0}};
    double sum = 0, squares = 0;
    assert_non_null(x);
    for (int test = 0; test < 2; test++)
        for (int64_t first = 0; first < (test ? 10000 : 60000); first += 50) {
            read_range(dataset, test ? DATASET_TEST : DATASET_TRAIN, first, 50, x, label);
            for (int i = 0; i < 50; i++) count[test][label[i]]++;
            for (int64_t k = 0; k < 50 * 784 && !test; k++) {
                sum += (double)x[k];
                squares += (double)x[k] * (double)x[k];
            }
        }
    for (int c = 0; c < 10; c++) {
        assert_int_equal(count[0][c], 6000);
        assert_int_equal(count[1][c], 1000);
    }
    /* the mean and standard deviation known for the training images */
    double mean = sum / (60000.0 * 784), deviation = sqrt(squares / (60000.0 * 784) - mean * mean);
    assert_true(fabs(mean - 0.2860) < 1e-4 && fabs(deviation - 0.3530) < 1e-4);
    for (int i = 0; i < BATCH; i++) index[i] = 401 * i;
    struct batch_request request = {.part = DATASET_TRAIN, .index = index, .n = BATCH, .augment = true};
    clock_t begin = clock();
    for (int i = 0; i < 50; i++) assert_success(dataset_read(dataset, &request, x, label));
    print_message("an augmented batch of 128 x 28 x 28: %.3f ms\n",
                  (double)(clock() - begin) * 1e3 / CLOCKS_PER_SEC / 50);
    free(x);
    dataset_close(&dataset);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_plain_and_gzip),     IN_FOLDER(test_element_types),
        IN_FOLDER(test_damaged_files),      IN_FOLDER(test_damaged_gzip),
        IN_FOLDER(test_bad_requests),       IN_FOLDER(test_shapes_that_fit),
        IN_FOLDER(test_holdout_and_order),  IN_FOLDER(test_augmentation),
        IN_FOLDER(test_preprocessing_json), cmocka_unit_test(test_fashion_mnist),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
