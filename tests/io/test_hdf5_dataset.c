/* HDF5 data sets, written here with the HDF5 library itself. */
#include "io/dataset_testing.h"

#include <hdf5.h>
#include <math.h>

#define PATH in_folder("data.h5")

/* Writes a set of doubles as `type`, in chunks if `chunk` is not NULL. */
static void write_set(hid_t file, const char *name, hid_t type, int rank, const hsize_t *dim,
                      const hsize_t *chunk, bool compress, const double *value) {
    hid_t space = H5Screate_simple(rank, dim, NULL), create = H5Pcreate(H5P_DATASET_CREATE),
          link = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(link, 1);
    if (chunk) H5Pset_chunk(create, rank, chunk);
    if (compress) H5Pset_deflate(create, 4);
    hid_t set = H5Dcreate2(file, name, type, space, link, create, H5P_DEFAULT);
    assert_true(set >= 0);
    assert_true(H5Dwrite(set, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, value) >= 0);
    H5Dclose(set);
    H5Pclose(link);
    H5Pclose(create);
    H5Sclose(space);
}

static hid_t create_file(void) {
    hid_t file = H5Fcreate(PATH, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
    return file;
}

static double *make_values(int64_t n, int modulus) {
    double *value = malloc((size_t)n * sizeof *value);
    assert_non_null(value);
    for (int64_t i = 0; i < n; i++) value[i] = (double)((i * 7 + i / 256) % modulus);
    return value;
}

/* Every sample of an epoch's order, in batches, must be the value written. */
static void check_all(struct dataset *dataset, const double *value, int64_t n, int64_t count, double scale,
                      int classes) {
    int64_t *order = malloc((size_t)n * sizeof *order);
    int *seen = calloc((size_t)n, sizeof *seen);
    float *x = malloc((size_t)(32 * count) * sizeof *x);
    assert_true(order && seen && x);
    assert_success(dataset_order(dataset, DATASET_TRAIN, 1, order));
    for (int64_t first = 0; first < n; first += 32) {
        int32_t label[32];
        struct batch_request request = {
            .part = DATASET_TRAIN, .index = order + first, .n = n - first < 32 ? n - first : 32};
        assert_success(dataset_read(dataset, &request, x, label));
        for (int64_t b = 0; b < request.n; b++) {
            int64_t i = request.index[b];
            seen[i]++;
            assert_int_equal(label[b], i % classes);
            for (int64_t k = 0; k < count; k++)
                assert_true(x[b * count + k] == (float)(value[i * count + k] * scale));
        }
    }
    for (int64_t i = 0; i < n; i++) assert_int_equal(seen[i], 1);
    free(order);
    free(seen);
    free(x);
}

static void test_layouts(void **state) {
    (void)state;
    enum { N = 330, H = 28, W = 28 };
    const hsize_t dim[] = {N, H, W}, chunk[] = {50, 14, 14}, tiny[] = {1, 28, 28}, whole[] = {N, H, W};
    const hsize_t *layout[] = {NULL, chunk, tiny, whole};
    double *value = make_values(N * H * W, 256), label[N];
    for (int i = 0; i < N; i++) label[i] = i % 10;
    const hid_t type[] = {H5T_STD_U8LE, H5T_IEEE_F32LE, H5T_IEEE_F64BE, H5T_STD_I16BE};
    for (size_t l = 0; l < sizeof layout / sizeof *layout; l++)
        for (size_t t = 0; t < sizeof type / sizeof *type; t++) {
            hid_t file = create_file();
            write_set(file, "x_train", type[t], 3, dim, layout[l], layout[l] != NULL, value);
            write_set(file, "y_train", H5T_STD_I64LE, 1, dim, NULL, false, label);
            H5Fclose(file);
            for (int in_memory = 0; in_memory < 2; in_memory++) {
                struct data_config config = make_config("auto", PATH);
                config.in_memory = in_memory;
                struct dataset *dataset;
                assert_success(open_alone(&config, &SHAPE(SHAPE_UNKNOWN, H, W, 1), 10, &dataset));
                assert_int_equal(dataset_size(dataset, DATASET_TRAIN), N);
                assert_int_equal(dataset_size(dataset, DATASET_TEST), 0);
                assert_true(shape_equal(dataset_sample_shape(dataset), &SHAPE(SHAPE_UNKNOWN, H, W, 1)));
                check_all(dataset, value, N, H * W, t == 0 ? 1.0 / 255.0 : 1.0, 10);
                dataset_close(&dataset);
            }
        }
    free(value);
}

static void test_order_reads_chunk_by_chunk(void **state) {
    (void)state;
    /* chunks of 4 MiB, of which 16 are kept: an order changes its window of 16 chunks 3 times */
    enum { CHUNKS = 40, ROWS = 8, COUNT = 1 << 19 };
    const hsize_t dim[] = {CHUNKS * ROWS, COUNT}, chunk[] = {ROWS, COUNT};
    hid_t file = create_file(), space = H5Screate_simple(2, dim, NULL),
          create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(create, 2, chunk); /* nothing is written: the file stays small, samples are zeros */
    H5Dclose(H5Dcreate2(file, "x_train", H5T_STD_U8LE, space, H5P_DEFAULT, create, H5P_DEFAULT));
    H5Pclose(create);
    H5Sclose(space);
    H5Fclose(file);
    struct data_config config = make_config("hdf5", PATH);
    config.in_memory = false;
    config.holdout = 0.25;
    struct dataset *dataset;
    assert_success(open_alone(&config, NULL, 0, &dataset));
    int64_t n = dataset_size(dataset, DATASET_TRAIN);
    assert_int_equal(n, CHUNKS * ROWS * 3 / 4);
    int64_t order[CHUNKS * ROWS], again[CHUNKS * ROWS];
    int seen[CHUNKS * ROWS] = {0};
    assert_success(dataset_order(dataset, DATASET_TRAIN, 0, order));
    assert_success(dataset_order(dataset, DATASET_TRAIN, 0, again));
    assert_memory_equal(order, again, (size_t)n * sizeof *order);
    for (int64_t i = 0; i < n; i++) {
        assert_true(order[i] >= 0 && order[i] < n);
        seen[order[i]]++;
    }
    for (int64_t i = 0; i < n; i++) assert_int_equal(seen[i], 1);
    /* samples near each other in the set come near each other in the order: within a window of at most 128 */
    int64_t place[CHUNKS * ROWS];
    for (int64_t i = 0; i < n; i++) place[order[i]] = i;
    int64_t near = 0, sorted = 0;
    for (int64_t i = 1; i < n; i++) {
        near += llabs(place[i] - place[i - 1]) < 16 * ROWS;
        sorted += order[i] == order[i - 1] + 1;
    }
    assert_true(near > n * 8 / 10);
    assert_true(sorted < n / 10);
    /* and the first window does not hold the first chunks */
    int64_t late = 0;
    for (int64_t i = 0; i < 8 * ROWS; i++) late += order[i] >= n / 2;
    assert_true(late > 0);
    assert_success(dataset_order(dataset, DATASET_TRAIN, 1, again));
    assert_memory_not_equal(order, again, (size_t)n * sizeof *order);
    dataset_close(&dataset);
}

static void test_names_and_labels(void **state) {
    (void)state;
    enum { N = 6 };
    const hsize_t x_dim[] = {N, 2, 3, 1}, y_dim[] = {N, 1}, hot_dim[] = {N, 3};
    double *value = make_values(N * 6, 200), column[N], hot[N * 3] = {0};
    for (int i = 0; i < N; i++) {
        column[i] = i % 3;
        hot[i * 3 + i % 3] = 1;
    }
    hid_t file = create_file();
    write_set(file, "set/images", H5T_STD_U8LE, 4, x_dim, NULL, false, value);
    write_set(file, "set/float_column", H5T_IEEE_F32LE, 2, y_dim, NULL, false, column);
    write_set(file, "set/one_hot", H5T_STD_U8LE, 2, hot_dim, hot_dim, false, hot);
    write_set(file, "test/x", H5T_STD_U8LE, 4, x_dim, NULL, false, value);
    write_set(file, "test/y", H5T_IEEE_F64LE, 2, hot_dim, NULL, false, hot);
    H5Fclose(file);
    free(value);
    char images[] = "set/images", float_column[] = "set/float_column", one_hot[] = "/set/one_hot",
         none[] = "set/none", group[] = "set";
    char *labels[] = {float_column, one_hot};
    struct data_config config = make_config("auto", PATH);
    config.x_train = images;
    for (int i = 0; i < 2; i++) {
        config.y_train = labels[i];
        struct dataset *dataset;
        assert_success(open_alone(&config, NULL, 3, &dataset));
        assert_int_equal(dataset_size(dataset, DATASET_TEST), N);
        assert_int_equal(dataset_classes(dataset), 3);
        float x[N * 6];
        int32_t label[N];
        for (int part = 0; part < 2; part++) {
            read_range(dataset, part ? DATASET_TEST : DATASET_TRAIN, 0, N, x, label);
            for (int k = 0; k < N; k++) assert_int_equal(label[k], k % 3);
        }
        dataset_close(&dataset);
    }
    assert_open_fails(&config, NULL, 2, STATUS_DATA, "3 classes");
    config.y_train = none;
    assert_open_fails(&config, NULL, 3, STATUS_DATA, "data.y_train");
    config.y_train = group;
    assert_open_fails(&config, NULL, 3, STATUS_DATA, "not a readable data set");
    config.x_train = none;
    assert_open_fails(&config, NULL, 3, STATUS_DATA, "data.x_train");
}

/* x of N x 2 x 2 floats and y, then the error that opening gives. */
static void expect_failure(const double *x, hid_t y_type, int y_rank, const hsize_t *y_dim, const double *y,
                           int64_t classes, const char *part) {
    const hsize_t dim[] = {4, 2, 2};
    hid_t file = create_file();
    write_set(file, "x_train", H5T_IEEE_F32LE, 3, dim, NULL, false, x);
    write_set(file, "y_train", y_type, y_rank, y_dim, NULL, false, y);
    H5Fclose(file);
    struct data_config config = make_config("auto", PATH);
    assert_open_fails(&config, NULL, classes, STATUS_DATA, part);
}

static void test_bad_values(void **state) {
    (void)state;
    double x[16] = {0}, y[16] = {0, 1, 2, 1};
    const hsize_t one[] = {4}, five[] = {5}, hot[] = {4, 2}, cube[] = {4, 2, 2};
    expect_failure(x, H5T_STD_I32LE, 1, one, y, 2, "label 2 is 2");
    expect_failure(x, H5T_STD_I32LE, 1, five, y, 0, "4 samples");
    expect_failure(x, H5T_STD_I32LE, 3, cube, y, 0, "3 dimensions");
    y[3] = -1;
    expect_failure(x, H5T_STD_I32LE, 1, one, y, 0, "label 3 is -1");
    y[3] = 0.5;
    expect_failure(x, H5T_IEEE_F32LE, 1, one, y, 0, "label 3 is 0.5");
    y[3] = NAN;
    expect_failure(x, H5T_IEEE_F32LE, 1, one, y, 0, "label 3 is nan");
    y[3] = 1e18;
    expect_failure(x, H5T_STD_I64LE, 1, one, y, 0, "label 3 is 1e+18");
    const double good[] = {1, 0, 0, 1, 1, 0, 0, 1},
                 bad[][8] = {{1, 0, 0, 0, 1, 0, 0, 1}, {1, 0, 0, 1, 1, 1, 0, 1}, {1, 0, .5, 1, 1, 0, 0, 1}};
    for (int i = 0; i < 3; i++) expect_failure(x, H5T_IEEE_F32LE, 2, hot, bad[i], 0, "not one-hot");
    x[13] = NAN;
    expect_failure(x, H5T_IEEE_F32LE, 2, hot, good, 0, "sample 3 has a value that is NaN");
    x[13] = 1e300; /* beyond float32 */
    const hsize_t dim[] = {4, 2, 2};
    hid_t file = create_file();
    write_set(file, "x_train", H5T_IEEE_F64LE, 3, dim, NULL, false, x);
    write_set(file, "y_train", H5T_IEEE_F32LE, 2, hot, NULL, false, good);
    H5Fclose(file);
    struct data_config config = make_config("auto", PATH);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "infinite");
    /* without a copy in memory it is found when it is read */
    config.in_memory = false;
    struct dataset *dataset;
    assert_success(open_alone(&config, NULL, 2, &dataset));
    int64_t index[] = {0, 3};
    float batch[8];
    struct batch_request request = {.part = DATASET_TRAIN, .index = index, .n = 2};
    assert_error(dataset_read(dataset, &request, batch, NULL), STATUS_DATA, "sample 3");
    request.n = 1;
    assert_success(dataset_read(dataset, &request, batch, NULL));
    dataset_close(&dataset);
}

static void test_bad_files(void **state) {
    (void)state;
    struct data_config config = make_config("hdf5", PATH);
    assert_open_fails(&config, NULL, 0, STATUS_IO, "data.h5");
    write_bytes(PATH, "not HDF5", 8);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "HDF5");
    /* an empty set, a set of texts, a set of plain numbers */
    const hsize_t none[] = {0, 2, 2}, flat[] = {3};
    const double value[3] = {0};
    hid_t file = create_file();
    write_set(file, "x_train", H5T_STD_U8LE, 3, none, NULL, false, value);
    H5Fclose(file);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "no samples");
    file = create_file();
    write_set(file, "x_train", H5T_STD_U8LE, 1, flat, NULL, false, value);
    H5Fclose(file);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "1 dimension");
    file = create_file();
    hid_t space = H5Screate_simple(1, flat, NULL), text = H5Tcopy(H5T_C_S1);
    hid_t set = H5Dcreate2(file, "x_train", text, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5Dclose(set);
    H5Sclose(space);
    H5Tclose(text);
    H5Fclose(file);
    assert_open_fails(&config, NULL, 0, STATUS_DATA, "data.h5:x_train");
    /* more than any machine has: refused before memory is asked for */
    const hsize_t huge[] = {1000000000, 1000, 1000}, chunk[] = {1, 1000, 1000};
    file = create_file();
    space = H5Screate_simple(3, huge, NULL);
    hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(create, 3, chunk);
    H5Dclose(H5Dcreate2(file, "x_train", H5T_STD_U8LE, space, H5P_DEFAULT, create, H5P_DEFAULT));
    H5Pclose(create);
    H5Sclose(space);
    H5Fclose(file);
    assert_open_fails(&config, NULL, 0, STATUS_MEMORY, "data.in_memory");
    /* truncated at every length, damaged anywhere: an error or a data set, nothing else */
    enum { N = 60 };
    const hsize_t dim[] = {N, 8, 8}, part[] = {7, 8, 8};
    double *values = make_values(N * 64, 256);
    file = create_file();
    write_set(file, "x_train", H5T_STD_U8LE, 3, dim, part, true, values);
    H5Fclose(file);
    free(values);
    uint8_t *bytes = malloc(1 << 20);
    assert_non_null(bytes);
    FILE *f = fopen(PATH, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, 1 << 20, f);
    fclose(f);
    struct dataset *dataset = NULL;
    for (size_t cut = 0; cut < n; cut += 1 + n / 50) {
        write_bytes(PATH, bytes, cut);
        assert_open_fails(&config, NULL, 0, STATUS_DATA, "data.h5");
    }
    for (size_t at = n / 2; at < n; at += 1 + n / 100) {
        bytes[at] ^= 0xff;
        write_bytes(PATH, bytes, n);
        status error = open_alone(&config, NULL, 0, &dataset);
        status_drop(&error);
        dataset_close(&dataset);
        bytes[at] ^= 0xff;
    }
    free(bytes);
}

int main(void) {
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_layouts),          IN_FOLDER(test_order_reads_chunk_by_chunk),
        IN_FOLDER(test_names_and_labels), IN_FOLDER(test_bad_values),
        IN_FOLDER(test_bad_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
