/* Files as h5py 2 and 3 write them, and files that are damaged, hostile or of another kind. */
#include "io/keras.h"

#include "io/io_testing.h"

#include "io/hdf5_testing.h"

#include <math.h>
#include <sys/file.h>
#include <sys/stat.h>

#define DENSE(name, units)                                                                                   \
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"" name "\", \"units\": " units "}}"
#define NORM(name) "{\"class_name\": \"BatchNormalization\", \"config\": {\"name\": \"" name "\"}}"
#define FROZEN(name, units)                                                                                  \
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"" name                                             \
    "\", \"trainable\": false, \"units\": " units "}}"
#define INPUT                                                                                                \
    "{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"x\", \"batch_input_shape\": [null, 3]}}"
#define SEQUENTIAL(name, layers)                                                                             \
    "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"" name "\", \"layers\": [" layers "]}}"

static const char small[] = SEQUENTIAL("small", INPUT "," DENSE("d", "4") "," NORM("n"));

/* ---- building files ---- */

/* What the next file is like. */
struct style {
    bool variable;       /* strings */
    hid_t type, list;    /* of weights: 0 for float32, 0 for contiguous */
    const char *version; /* NULL: no attribute */
    const char *suffix;  /* of weight names */
    double first;        /* values count up from here */
};

static hid_t create(const char *config, const struct style *style) {
    hid_t file = H5Fcreate(in_folder("m.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (config) put_text(file, "model_config", config, style->variable);
    if (style->version) put_text(file, "keras_version", style->version, true);
    H5Gclose(H5Gcreate2(file, "model_weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    return file;
}

/* A weight of a layer; dims end with 0. Values count on from `*next`. */
struct data {
    const char *name;
    hsize_t dims[4];
};

static void put_layer(hid_t file, const char *layer, int n, const struct data *data,
                      const struct style *style, double *next) {
    char path[256];
    char names[8][64];
    const char *list[8];
    snprintf(path, sizeof path, "/model_weights/%s", layer);
    hid_t group = H5Gcreate2(file, path, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    for (int i = 0; i < n; i++) {
        double values[256];
        int rank = 0;
        hsize_t count = 1;
        while (data[i].dims[rank]) count *= data[i].dims[rank++];
        for (hsize_t k = 0; k < count; k++) values[k] = (*next)++;
        snprintf(names[i], sizeof names[i], "%s%s", data[i].name, style->suffix ? style->suffix : "");
        list[i] = names[i];
        put_data(group, names[i], style->type ? style->type : H5T_IEEE_F32LE,
                 style->list ? style->list : H5P_DEFAULT, rank, data[i].dims, values);
    }
    put_names(group, "weight_names", n, list, style->variable);
    H5Gclose(group);
}

static void put_layer_names(hid_t file, int n, const char *const *names, const struct style *style) {
    hid_t group = H5Gopen2(file, "model_weights", H5P_DEFAULT);
    put_names(group, "layer_names", n, names, style->variable);
    H5Gclose(group);
}

static const struct data dense[] = {{"d_1/kernel", {3, 4}}, {"d_1/bias", {4}}};
static const struct data norm[] = {
    {"n_7/gamma", {4}}, {"n_7/beta", {4}}, {"n_7/moving_mean", {4}}, {"n_7/moving_variance", {4}}};

/* The small model; its weights count up from style->first: kernel 12, bias 4, then four times 4. */
static void make_small(const struct style *style) {
    hid_t file = create(small, style);
    double next = style->first;
    put_layer(file, "d", 2, dense, style, &next);
    put_layer(file, "n", 4, norm, style, &next);
    put_layer_names(file, 3, (const char *const[]){"x", "d", "n"}, style);
    put_layer(file, "x", 0, NULL, style, &next);
    H5Fclose(file);
}

static const struct style keras2 = {.variable = false, .version = "2.0.5", .suffix = ":0"};

static status load(struct graph **graph, struct params **params) {
    struct keras_file *file = NULL;
    struct opgraph *ops = NULL;
    *graph = NULL;
    *params = NULL;
    STATUS_TRY(keras_open(in_folder("m.h5"), NULL, &file, graph));
    assert_success(graph_lower(*graph, &ops, NULL));
    assert_success(params_create(ops, params));
    status error = keras_read_params(file, *params);
    opgraph_destroy(&ops);
    keras_close(&file);
    if (error) {
        params_destroy(params);
        graph_destroy(graph);
    }
    return error;
}

static void refuse(enum status_code code, const char *part) {
    struct graph *graph;
    struct params *params;
    assert_error(load(&graph, &params), code, part);
    assert_int_equal(H5Fget_obj_count(H5F_OBJ_ALL, H5F_OBJ_ALL), 0);
}

static void assert_counts_up(const float *values, int n, double first) {
    for (int i = 0; i < n; i++) assert_true(values[i] == (float)(first + i));
}

/* ---- what Keras writes ---- */

static void strings_and_numbers_of_all_kinds(void **state) {
    (void)state;
    hid_t half = float16(), types[] = {0, half, H5T_IEEE_F64LE, H5T_IEEE_F32BE};
    for (int variable = 0; variable < 2; variable++)
        for (int t = 0; t < 4; t++) {
            struct graph *graph;
            struct params *params;
            struct style style = {.variable = variable,
                                  .type = types[t],
                                  .version = variable ? "3.5.0" : "2.2.4-tf",
                                  .suffix = variable ? "" : ":0",
                                  .first = t == 1 ? 0 : 0.25};
            make_small(&style);
            assert_success(load(&graph, &params));
            assert_int_equal(graph->keras_version, variable ? 3 : 2);
            assert_counts_up(params_at(params, 0), 12, style.first);
            assert_counts_up(params_at(params, 1), 4, style.first + 12);
            for (int i = 2; i < 6; i++) assert_counts_up(params_at(params, i), 4, style.first + 8 + 4 * i);
            graph_destroy(&graph);
            params_destroy(&params);
        }
    H5Tclose(half);
}

static void half_precision_is_exact(void **state) {
    (void)state;
    struct graph *graph;
    struct params *params;
    make_small(&keras2);
    hid_t file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT), half = float16();
    double values[12] = {65504, -65504, 0x1p-24, 0x1p-14, 0x1.ff8p-15, 1 + 0x1p-10, -0.0, 1.0 / 3};
    assert_true(H5Ldelete(file, "/model_weights/d/d_1/kernel:0", H5P_DEFAULT) >= 0);
    put_data(file, "/model_weights/d/d_1/kernel:0", half, H5P_DEFAULT, 2, (hsize_t[]){3, 4}, values);
    H5Tclose(half);
    H5Fclose(file);
    assert_success(load(&graph, &params));
    values[7] = 0x1.554p-2; /* 1/3 rounded to 11 bits */
    for (int i = 0; i < 12; i++) assert_true(params_at(params, 0)[i] == (float)values[i]);
    graph_destroy(&graph);
    params_destroy(&params);
}

static void compressed_weights_are_read(void **state) {
    (void)state;
    struct graph *graph;
    struct params *params;
    hid_t file = create(small, &keras2), list = H5Pcreate(H5P_DATASET_CREATE);
    double next = 0;
    H5Pset_chunk(list, 2, (hsize_t[]){2, 3});
    H5Pset_shuffle(list);
    H5Pset_deflate(list, 5);
    H5Pset_fletcher32(list);
    double values[12];
    for (int i = 0; i < 12; i++) values[i] = next++;
    hid_t group = H5Gcreate2(file, "/model_weights/d", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    put_data(group, "k", H5T_IEEE_F32LE, list, 2, dense[0].dims, values);
    put_data(group, "b", H5T_IEEE_F32LE, H5P_DEFAULT, 1, dense[1].dims, values);
    put_names(group, "weight_names", 2, (const char *const[]){"k", "b"}, true);
    H5Gclose(group);
    put_layer(file, "n", 4, norm, &keras2, &next);
    put_layer_names(file, 2, (const char *const[]){"d", "n"}, &keras2);
    H5Pclose(list);
    H5Fclose(file);
    assert_success(load(&graph, &params));
    assert_counts_up(params_at(params, 0), 12, 0);
    graph_destroy(&graph);
    params_destroy(&params);
}

/* The names of layers differ from the topology's: they are matched by their order, layers without weights
 * aside. */
static void groups_of_other_names_are_matched_by_order(void **state) {
    (void)state;
    struct graph *graph;
    struct params *params;
    hid_t file = create(small, &keras2);
    double next = 0;
    put_layer(file, "dense_12", 2, dense, &keras2, &next);
    put_layer(file, "batch_normalization_3", 4, norm, &keras2, &next);
    put_layer(file, "input_4", 0, NULL, &keras2, &next);
    put_layer_names(file, 3, (const char *const[]){"dense_12", "input_4", "batch_normalization_3"}, &keras2);
    H5Fclose(file);
    assert_success(load(&graph, &params));
    assert_counts_up(params_at(params, 0), 12, 0);
    assert_counts_up(params_at(params, 5), 4, 28);
    graph_destroy(&graph);
    params_destroy(&params);
}

/* A model inside a model is one layer: all trainable weights of its layers, then all others; those of a
 * frozen layer count among the others. */
static void weights_of_a_model_inside_are_found(void **state) {
    (void)state;
    struct graph *graph;
    struct params *params;
    hid_t file =
        create(SEQUENTIAL("outer", INPUT "," SEQUENTIAL("inner", FROZEN("f", "4") "," NORM("n") "," DENSE(
                                                                     "d", "4")) "," DENSE("last", "2")),
               &keras2);
    static const struct data inner[] = {{"a", {4}},    {"b", {4}}, {"c", {4, 4}}, {"d", {4}},
                                        {"e", {3, 4}}, {"f", {4}}, {"g", {4}},    {"h", {4}}};
    static const struct data last[] = {{"a", {4, 2}}, {"b", {2}}};
    double next = 0;
    put_layer(file, "inner", 8, inner, &keras2, &next);
    put_layer(file, "last", 2, last, &keras2, &next);
    put_layer_names(file, 2, (const char *const[]){"inner", "last"}, &keras2);
    H5Fclose(file);
    assert_success(load(&graph, &params));
    assert_int_equal(params->n, 10);
    /* gamma 0, beta 4, kernel of d 8, bias of d 24 | kernel of f 28, bias of f 40, mean 44, variance 48 | 52,
     * 60 */
    static const int first[] = {28, 40, 0, 4, 44, 48, 8, 24, 52, 60};
    for (int i = 0; i < 10; i++) assert_counts_up(params_at(params, i), (int)params->count[i], first[i]);
    assert_string_equal(graph->layer[1].name, "f");
    assert_false(graph->layer[1].trainable);
    graph_destroy(&graph);
    params_destroy(&params);
}

/* ---- what is wrong ---- */

/* Puts other data in the place of the kernel of the small model. */
static void replace_kernel(hid_t type, hid_t list, int rank, const hsize_t *dims, const double *values) {
    make_small(&keras2);
    hid_t file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(H5Ldelete(file, "/model_weights/d/d_1/kernel:0", H5P_DEFAULT) >= 0);
    put_data(file, "/model_weights/d/d_1/kernel:0", type, list, rank, dims, values);
    H5Fclose(file);
}

static void wrong_weights_are_named(void **state) {
    (void)state;
    double values[64] = {0};
    replace_kernel(H5T_STD_I32LE, H5P_DEFAULT, 2, (hsize_t[]){3, 4}, values);
    refuse(STATUS_DATA, "weight kernel of layer \"d\" (d/d_1/kernel:0): holds integers of 4 bytes");
    replace_kernel(H5T_STD_I8LE, H5P_DEFAULT, 2, (hsize_t[]){3, 4}, values);
    refuse(STATUS_DATA, "holds integers of 1 bytes");
    replace_kernel(H5T_IEEE_F32LE, H5P_DEFAULT, 2, (hsize_t[]){4, 3}, values);
    refuse(STATUS_DATA,
           "weight kernel of layer \"d\" (d/d_1/kernel:0): has shape (4, 3), but the topology needs (3, 4)");
    replace_kernel(H5T_IEEE_F32LE, H5P_DEFAULT, 1, (hsize_t[]){12}, values);
    refuse(STATUS_DATA, "has shape (12,)");
    replace_kernel(H5T_IEEE_F32LE, H5P_DEFAULT, 12, (hsize_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 4}, values);
    refuse(STATUS_DATA, "has 12 dimensions");
    values[5] = NAN;
    replace_kernel(H5T_IEEE_F32LE, H5P_DEFAULT, 2, (hsize_t[]){3, 4}, values);
    refuse(STATUS_DATA, "weight d/d_1/kernel:0: is NaN at element 5");
    values[5] = -INFINITY;
    replace_kernel(H5T_IEEE_F32LE, H5P_DEFAULT, 2, (hsize_t[]){3, 4}, values);
    refuse(STATUS_DATA, "is infinite at element 5");
    values[5] = 1e300; /* not a float32 */
    replace_kernel(H5T_IEEE_F64LE, H5P_DEFAULT, 2, (hsize_t[]){3, 4}, values);
    refuse(STATUS_DATA, "is infinite at element 5");
}

static void rows_with_nan_are_named(void **state) {
    (void)state;
    double values[12] = {[9] = NAN};
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    float rows[12];
    replace_kernel(H5T_IEEE_F32LE, H5P_DEFAULT, 2, (hsize_t[]){3, 4}, values);
    assert_success(keras_open(in_folder("m.h5"), NULL, &file, &graph));
    assert_success(keras_read_rows(file, 1, 0, 0, 2, rows));
    assert_int_equal(keras_bytes_read(file), 32);
    assert_error(keras_read_rows(file, 1, 0, 1, 2, rows), STATUS_DATA, "NaN at element 9");
    assert_error(keras_read_rows(file, 1, 0, 2, 2, rows), STATUS_INTERNAL, "rows");
    assert_error(keras_read_rows(file, 1, 2, 0, 1, rows), STATUS_INTERNAL, "weight 2");
    keras_close(&file);
    graph_destroy(&graph);
}

/* Datasets that live elsewhere, or are not all there. */
static void data_elsewhere_is_refused(void **state) {
    (void)state;
    double values[12] = {0};
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    write_bytes(in_folder("raw"), values, sizeof values);
    H5Pset_external(list, in_folder("raw"), 0, 48);
    replace_kernel(H5T_IEEE_F32LE, list, 2, (hsize_t[]){3, 4}, values);
    H5Pclose(list);
    refuse(STATUS_DATA, "kept in another file");

    make_small(&keras2);
    hid_t file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(file, "/model_weights/d/d_1/kernel:0", H5P_DEFAULT);
    H5Lcreate_external("other.h5", "/kernel", file, "/model_weights/d/d_1/kernel:0", H5P_DEFAULT,
                       H5P_DEFAULT);
    H5Fclose(file);
    refuse(STATUS_DATA, "link to elsewhere");

    make_small(&keras2);
    file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Lmove(file, "/model_weights/d", file, "/elsewhere", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_soft("/elsewhere", file, "/model_weights/d", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    refuse(STATUS_DATA, "link to elsewhere");

    make_small(&keras2);
    file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(file, "/model_weights/d/d_1/bias:0", H5P_DEFAULT);
    hid_t space = H5Screate_simple(1, &(hsize_t){4}, NULL);
    H5Dclose(H5Dcreate2(file, "/model_weights/d/d_1/bias:0", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT,
                        H5P_DEFAULT));
    H5Sclose(space);
    H5Fclose(file);
    refuse(STATUS_DATA, "holds no data");

    make_small(&keras2);
    file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(file, "/model_weights/d/d_1/bias:0", H5P_DEFAULT);
    H5Gclose(H5Gcreate2(file, "/model_weights/d/d_1/bias:0", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Fclose(file);
    refuse(STATUS_DATA, "is not a dataset");
}

static void missing_parts_are_named(void **state) {
    (void)state;
    make_small(&keras2);
    hid_t file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(file, "/model_weights/n/n_7/beta:0", H5P_DEFAULT);
    H5Fclose(file);
    refuse(STATUS_DATA, "weight beta of layer \"n\" (n/n_7/beta:0): is missing");

    make_small(&keras2);
    file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(file, "/model_weights/n", H5P_DEFAULT);
    H5Fclose(file);
    refuse(STATUS_DATA, "weights of layer \"n\" are missing");

    make_small(&keras2);
    file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Adelete_by_name(file, "/model_weights/n", "weight_names", H5P_DEFAULT);
    H5Fclose(file);
    refuse(STATUS_DATA, "\"n\" needs 4 weights, and the file has 0");

    make_small(&keras2);
    file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Adelete_by_name(file, "/model_weights", "layer_names", H5P_DEFAULT);
    H5Fclose(file);
    refuse(STATUS_DATA, "weights of layer \"d\" are missing");

    make_small(&keras2);
    file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(file, "/model_weights", H5P_DEFAULT);
    H5Fclose(file);
    refuse(STATUS_DATA, "no group model_weights");

    H5Fclose(create(NULL, &keras2));
    refuse(STATUS_DATA, "no attribute model_config or layer_names");
    H5Fclose(create("{\"class_name\": \"Sequential\"", &keras2));
    refuse(STATUS_DATA, "not JSON");

    make_small(&keras2);
    file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Adelete(file, "model_config");
    put_names(file, "model_config", 0, NULL, true);
    H5Fclose(file);
    refuse(STATUS_DATA, "model_config is not one text");
}

static void other_files_are_refused(void **state) {
    (void)state;
    refuse(STATUS_IO, "No such file");
    if (!getenv("HDF5_USE_FILE_LOCKING")) {
        make_small(&keras2);
        FILE *writer = fopen(in_folder("m.h5"), "r+b");
        assert_int_equal(flock(fileno(writer), LOCK_EX), 0);
        refuse(STATUS_IO, "unable to lock file");
        fclose(writer);
    }
    write_bytes(in_folder("m.h5"), "", 0);
    refuse(STATUS_DATA, "m.h5 is not a Keras model; what can be read is HDF5");
    write_bytes(in_folder("m.h5"), "\x89HDF\r\n\x1a\n", 8);
    refuse(STATUS_DATA, "m.h5");
    unlink(in_folder("m.h5"));
    mkdir(in_folder("m.h5"), 0777);
    refuse(STATUS_DATA, "is not a Keras model");
}

static void truncated_files_are_refused(void **state) {
    (void)state;
    make_small(&keras2);
    struct stat info;
    assert_int_equal(stat(in_folder("m.h5"), &info), 0);
    for (off_t size = info.st_size - 1; size >= 0; size -= size > info.st_size - 20 ? 1 : 61) {
        assert_int_equal(truncate(in_folder("m.h5"), size), 0);
        refuse(STATUS_DATA, "m.h5");
    }
}

int main(void) {
    H5open();
    const struct CMUnitTest tests[] = {
        IN_FOLDER(strings_and_numbers_of_all_kinds),
        IN_FOLDER(half_precision_is_exact),
        IN_FOLDER(compressed_weights_are_read),
        IN_FOLDER(groups_of_other_names_are_matched_by_order),
        IN_FOLDER(weights_of_a_model_inside_are_found),
        IN_FOLDER(wrong_weights_are_named),
        IN_FOLDER(rows_with_nan_are_named),
        IN_FOLDER(data_elsewhere_is_refused),
        IN_FOLDER(missing_parts_are_named),
        IN_FOLDER(other_files_are_refused),
        IN_FOLDER(truncated_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
