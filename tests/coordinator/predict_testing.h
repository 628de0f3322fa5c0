/* For the tests of godwit predict: small models whose outputs a formula gives, inputs, and readers of what
 * comes out that are not ours. Include after cmocka.h. */
#ifndef GODWIT_TESTS_COORDINATOR_PREDICT_TESTING_H
#define GODWIT_TESTS_COORDINATOR_PREDICT_TESTING_H

#include "coordinator/job_process.h"
#include "coordinator/jobs_testing.h"
#include "io/hdf5_testing.h"

#include "io/image.h"

#define PREDICT GODWIT_PROGRAM " predict "

/* A limit on memory; sanitizers take more than any. */
#ifdef __SANITIZE_ADDRESS__
#define WITH_MIB(mib) ""
#else
#define WITH_MIB(mib) "prlimit --data=$((" #mib " << 20)) "
#endif

/* A model of a topology; parameter k is k-dependent and small. */
static inline void write_model(const char *name, const char *json, const char *preprocessing) {
    struct graph *graph = NULL;
    struct model *model = NULL;
    assert_success(keras_graph_from_json(json, &graph));
    assert_success(model_create(graph, &model));
    for (int p = 0; p < model->params->n; p++)
        for (int64_t i = 0; i < model->params->count[p]; i++)
            params_at(model->params, p)[i] = (float)((i * 7 + p * 3) % 11 - 5) / 8;
    if (preprocessing) assert_non_null(model->preprocessing = strdup(preprocessing));
    assert_success(model_write(in_folder(name), model));
    model_destroy(&model);
}

/* (4) -> Dense 3, linear. */
static const char linear_json[] =
    "{\"class_name\":\"Sequential\",\"config\":{\"name\":\"linear\",\"layers\":["
    "{\"class_name\":\"InputLayer\",\"config\":{\"name\":\"in\",\"batch_input_shape\":[null,4]}},"
    "{\"class_name\":\"Dense\",\"config\":{\"name\":\"out\",\"units\":3}}]}}";
/* (2, 2, 1) -> Flatten -> Dense 3: the same of pixels. */
static const char pixels_json[] =
    "{\"class_name\":\"Sequential\",\"config\":{\"name\":\"pixels\",\"layers\":["
    "{\"class_name\":\"InputLayer\",\"config\":{\"name\":\"in\",\"batch_input_shape\":[null,2,2,1]}},"
    "{\"class_name\":\"Flatten\",\"config\":{\"name\":\"flat\"}},"
    "{\"class_name\":\"Dense\",\"config\":{\"name\":\"out\",\"units\":3}}]}}";
static const char labels_json[] = "{\"scale\":0.5,\"offset\":-1,\"labels\":[\"a\",\"b,\\\"c\\\"\",\"d\"]}";

/* Output k of those for x[4]: the kernel is parameter 0, the bias 1. */
static inline double linear(const double *x, int k) {
    double sum = (double)((k * 7 + 3) % 11 - 5) / 8;
    for (int i = 0; i < 4; i++) sum += x[i] * (double)(((i * 3 + k) * 7) % 11 - 5) / 8;
    return sum;
}

/* Number i of sample s of test inputs. */
static inline double value_of(int64_t s, int i) {
    return (double)((s * 37 + i * 11) % 101) / 50 - 1;
}

static inline hid_t create_h5(const char *name) {
    hid_t file = H5Fcreate(in_folder(name), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
    return file;
}

/* n samples of 4; of sample `nan` the first is none. */
static inline void write_samples(const char *name, const char *set, int64_t n, int64_t nan) {
    double *x = calloc((size_t)n * 4 + 1, sizeof *x);
    assert_non_null(x);
    for (int64_t s = 0; s < n; s++)
        for (int i = 0; i < 4; i++) x[4 * s + i] = s == nan && !i ? NAN : value_of(s, i);
    hid_t file = create_h5(name), list = H5Pcreate(H5P_DATASET_CREATE);
    put_data(file, set, H5T_IEEE_F32LE, list, 2, (hsize_t[]){(hsize_t)n, 4}, x);
    H5Pclose(list);
    H5Fclose(file);
    free(x);
}

/* A whole data set as doubles, owned; its rank and dimensions. */
static inline double *read_set(const char *name, const char *set, int rank, hsize_t *dim) {
    hid_t file = H5Fopen(in_folder(name), H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0) fail_msg("no HDF5 file %s", name);
    hid_t id = H5Dopen2(file, set, H5P_DEFAULT);
    if (id < 0) fail_msg("no data set %s in %s", set, name);
    hid_t space = H5Dget_space(id);
    assert_int_equal(H5Sget_simple_extent_ndims(space), rank);
    H5Sget_simple_extent_dims(space, dim, NULL);
    size_t count = 1;
    for (int i = 0; i < rank; i++) count *= dim[i];
    double *values = calloc(count + 1, sizeof *values);
    assert_non_null(values);
    assert_true(H5Dread(id, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Sclose(space);
    H5Dclose(id);
    H5Fclose(file);
    return values;
}

/* A text file, owned. */
static inline char *load_text(const char *name) {
    FILE *file = fopen(in_folder(name), "r");
    if (!file) fail_msg("no file %s", name);
    fseek(file, 0, SEEK_END);
    size_t n = (size_t)ftell(file);
    rewind(file);
    char *text = malloc(n + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, n, file), n);
    text[n] = 0;
    fclose(file);
    return text;
}

/* Takes the next field of CSV out of *at, in place; it ends at a comma or line end, which is returned. */
static inline char csv_field(char **at, char **field) {
    char *from = *at, *to = *at;
    bool quoted = *from == '"';
    *field = to;
    from += quoted;
    while (*from && (quoted || (*from != ',' && *from != '\n'))) {
        if (quoted && *from == '"') {
            if (from[1] != '"') {
                quoted = false;
                from++;
                continue;
            }
            from++;
        }
        *to++ = *from++;
    }
    char end = *from;
    *at = end ? from + 1 : from;
    *to = 0;
    return end;
}

static inline bool near(double a, double b) {
    return fabs(a - b) < 1e-5;
}

static inline bool same_bytes(const char *a, const char *b) {
    char command[1200];
    snprintf(command, sizeof command, "cmp -s '%s' '%s'", in_folder(a), in_folder(b));
    return system(command) == 0;
}

/* n grey images of 2 x 2 pixels. */
static inline uint8_t pixel_of(int64_t s, int i) {
    return (uint8_t)(s * 5 + i * 40);
}

static inline void write_images(const char *folder, int n) {
    mkdir(in_folder(folder), 0777);
    for (int s = 0; s < n; s++) {
        char name[128];
        struct image *image;
        assert_success(image_create(2, 2, 1, &image));
        for (int i = 0; i < 4; i++) image->pixel[i] = pixel_of(s, i);
        snprintf(name, sizeof name, "%s/%03d.png", folder, s);
        assert_success(image_write(in_folder(name), image));
        image_destroy(&image);
    }
}

static inline void pixel_inputs(int64_t s, double scale, double offset, double *x) {
    for (int i = 0; i < 4; i++) x[i] = pixel_of(s, i) * scale + offset;
}

#endif
