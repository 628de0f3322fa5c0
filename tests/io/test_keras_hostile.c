/* Files that claim what no Keras writes: refused before anything is allocated for them. */
#include "io/keras.h"

#include "io/io_testing.h"

#include <errno.h>
#include <hdf5.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define KERNEL "/model_weights/d/d/kernel:0"
#define BIAS "/model_weights/d/d/bias:0"

static const char small[] =
    "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", \"layers\": ["
    "{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"x\", \"batch_input_shape\": [null, 3]}},"
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": 4}}]}}";

static const char wide[] =
    "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", \"layers\": ["
    "{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"x\", \"batch_input_shape\": [null, 64]}},"
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": 64}},"
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"e\", \"units\": 64}},"
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"f\", \"units\": 64}}]}}";

/* Writes a model with values that count up, and opens it to be spoilt. */
static hid_t make(const char *json) {
    struct graph *graph = NULL;
    struct opgraph *ops = NULL;
    struct params *params = NULL;
    assert_success(keras_graph_from_json(json, &graph));
    assert_success(graph_infer(graph));
    assert_success(graph_lower(graph, &ops, NULL));
    assert_success(params_create(ops, &params));
    for (int64_t i = 0; i < params->total; i++) params->data[i] = (float)i;
    assert_success(keras_write(in_folder("m.h5"), graph, params, NULL));
    params_destroy(&params);
    opgraph_destroy(&ops);
    graph_destroy(&graph);
    hid_t file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(file >= 0);
    return file;
}

static status load(struct params **params) {
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    struct opgraph *ops = NULL;
    STATUS_TRY(keras_open(in_folder("m.h5"), NULL, &file, &graph));
    status error = graph_lower(graph, &ops, NULL);
    if (!error) error = params_create(ops, params);
    if (!error) error = keras_read_params(file, *params);
    opgraph_destroy(&ops);
    graph_destroy(&graph);
    keras_close(&file);
    if (error) params_destroy(params);
    return error;
}

/* Closes the spoilt file, which is refused so. */
static void refuse(hid_t file, const char *part) {
    struct params *params = NULL;
    assert_true(H5Fclose(file) >= 0);
    assert_error(load(&params), STATUS_DATA, part);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* ---- attributes ---- */

static void put_attribute(hid_t object, const char *name, hid_t type, int rank, const hsize_t *dims,
                          const void *data) {
    hid_t space = rank ? H5Screate_simple(rank, dims, NULL) : H5Screate(H5S_SCALAR);
    if (H5Aexists(object, name) > 0) H5Adelete(object, name);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(attribute >= 0);
    if (data) assert_true(H5Awrite(attribute, type, data) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
}

static hid_t text_type(size_t size) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, size);
    return type;
}

static void attributes_of_odd_types(void **state) {
    (void)state;
    static const int numbers[4] = {0};
    hid_t file = make(small), group = H5Gopen2(file, "/model_weights", H5P_DEFAULT);
    put_attribute(group, "layer_names", H5T_NATIVE_INT, 1, (hsize_t[]){4}, numbers);
    H5Gclose(group);
    refuse(file, "attribute layer_names is not text");

    file = make(small), group = H5Gopen2(file, "/model_weights", H5P_DEFAULT);
    hid_t type = text_type(1);
    put_attribute(group, "layer_names", type, 2, (hsize_t[]){2, 2}, "xdxd");
    H5Gclose(group);
    refuse(file, "attribute layer_names is not one text or a list of texts");

    file = make(small);
    assert_true(H5Tcommit2(file, "elsewhere", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    put_attribute(file, "model_config", type, 0, NULL, "{");
    H5Tclose(type);
    refuse(file, "attribute model_config has a type that is kept elsewhere in the file");

    file = make(small);
    type = H5Tvlen_create(H5T_NATIVE_INT);
    put_attribute(file, "model_config", type, 0, NULL, NULL);
    H5Tclose(type);
    refuse(file, "attribute model_config is not text");

    file = make(small);
    put_attribute(file, "model_config", H5T_STD_REF_OBJ, 0, NULL, NULL);
    refuse(file, "attribute model_config is not text");
}

static void attributes_that_are_too_long(void **state) {
    (void)state;
    hid_t file = make(small), type = text_type(H5T_VARIABLE);
    size_t size = ((size_t)64 << 20) + 1;
    char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, ' ', size);
    text[size] = 0;
    put_attribute(file, "model_config", type, 0, NULL, &text);
    free(text);
    H5Tclose(type);
    refuse(file, "attribute model_config is longer than 64 MiB");
}

/* New enough for attributes outside the object's header. */
static hid_t make_dense(void) {
    hid_t list = H5Pcreate(H5P_FILE_ACCESS);
    H5Fclose(make(small));
    H5Pset_libver_bounds(list, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
    hid_t file = H5Fopen(in_folder("m.h5"), H5F_ACC_RDWR, list);
    H5Pclose(list);
    return file;
}

static void too_many_attributes(void **state) {
    (void)state;
    hid_t file = make_dense(), space = H5Screate(H5S_SCALAR);
    hid_t group = H5Gcreate2(file, "/new", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    for (int i = 0; i < 65537; i++) {
        char name[16];
        snprintf(name, sizeof name, "%x", i);
        H5Aclose(H5Acreate2(group, name, H5T_NATIVE_CHAR, space, H5P_DEFAULT, H5P_DEFAULT));
    }
    H5Gclose(group);
    H5Sclose(space);
    H5Ldelete(file, "/model_weights", H5P_DEFAULT);
    H5Lmove(file, "/new", file, "/model_weights", H5P_DEFAULT, H5P_DEFAULT);
    refuse(file, "an object has 65537 attributes");

    file = make_dense();
    hid_t type = text_type(2);
    char *names = calloc((1 << 20) + 1, 2);
    assert_non_null(names);
    H5Ldelete(file, "/model_weights", H5P_DEFAULT);
    group = H5Gcreate2(file, "/model_weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    put_attribute(group, "layer_names", type, 1, (hsize_t[]){(1 << 20) + 1}, names);
    H5Gclose(group);
    H5Tclose(type);
    free(names);
    refuse(file, "attribute layer_names has more than 1048576 names");
}

/* ---- datasets ---- */

/* Puts another dataset in the place of the kernel; `values` may be NULL. */
static hid_t with_kernel(hid_t type, hid_t list, const void *values) {
    hid_t file = make(small), space = H5Screate_simple(2, (hsize_t[]){3, 4}, NULL);
    if (H5Tget_class(type) != H5T_NO_CLASS && H5Tcommitted(type) == 0) type = H5Tcopy(type);
    H5Ldelete(file, KERNEL, H5P_DEFAULT);
    hid_t dataset = H5Dcreate2(file, KERNEL, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    assert_true(dataset >= 0);
    if (values) assert_true(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Tclose(type);
    return file;
}

static const float twelve[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

static void numbers_of_odd_formats(void **state) {
    (void)state;
    hid_t type = H5Tcopy(H5T_IEEE_F32LE); /* another exponent */
    H5Tset_fields(type, 31, 20, 11, 0, 20);
    H5Tset_ebias(type, 1023);
    refuse(with_kernel(type, H5P_DEFAULT, twelve), "in an unusual format");
    H5Tclose(type);
    type = H5Tcopy(H5T_IEEE_F64LE); /* fewer bits than it has room for */
    H5Tset_fields(type, 31, 23, 8, 0, 23);
    H5Tset_precision(type, 32);
    refuse(with_kernel(type, H5P_DEFAULT, twelve), "in an unusual format");
    H5Tclose(type);
    refuse(with_kernel(H5T_VAX_F32, H5P_DEFAULT, twelve), "in an unusual format");
    refuse(with_kernel(H5T_NATIVE_LDOUBLE, H5P_DEFAULT, twelve), "in an unusual format");
    type = H5Tarray_create2(H5T_NATIVE_FLOAT, 1, (hsize_t[]){2});
    refuse(with_kernel(type, H5P_DEFAULT, NULL), "weights must be float16, float32 or float64");
    H5Tclose(type);
    type = H5Tvlen_create(H5T_NATIVE_FLOAT);
    refuse(with_kernel(type, H5P_DEFAULT, NULL), "weights must be float16, float32 or float64");
    H5Tclose(type);
}

static void type_elsewhere(void **state) {
    (void)state;
    hid_t file = make(small), type = H5Tcopy(H5T_IEEE_F32LE);
    hid_t space = H5Screate_simple(2, (hsize_t[]){3, 4}, NULL);
    assert_true(H5Tcommit2(file, "elsewhere", type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    H5Ldelete(file, KERNEL, H5P_DEFAULT);
    hid_t dataset = H5Dcreate2(file, KERNEL, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, twelve) >= 0);
    H5Dclose(dataset);
    H5Tclose(type);
    H5Sclose(space);
    refuse(file, "has a type that is kept elsewhere");

    file = make(small); /* the type in the place of the dataset */
    type = H5Tcopy(H5T_IEEE_F32LE);
    H5Ldelete(file, KERNEL, H5P_DEFAULT);
    assert_true(H5Tcommit2(file, KERNEL, type, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    H5Tclose(type);
    refuse(file, "is not a dataset");
}

static void filters(void **state) {
    (void)state;
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(list, 2, (hsize_t[]){2, 3});
    H5Pset_deflate(list, 1);
    H5Pset_deflate(list, 2);
    refuse(with_kernel(H5T_IEEE_F32LE, list, twelve), "compressed by the same filter twice");
    H5Premove_filter(list, H5Z_FILTER_ALL);
    H5Pset_scaleoffset(list, H5Z_SO_FLOAT_DSCALE, 3);
    refuse(with_kernel(H5T_IEEE_F32LE, list, twelve), "is compressed by filter 6 (scaleoffset)");
    H5Premove_filter(list, H5Z_FILTER_ALL);
    H5Pset_nbit(list);
    refuse(with_kernel(H5T_IEEE_F32LE, list, twelve), "is compressed by filter 5 (nbit)");
    H5Premove_filter(list, H5Z_FILTER_ALL);
    /* a filter that this HDF5 does not have and would look for among plugins */
    H5Pset_filter(list, 32001, H5Z_FLAG_OPTIONAL, 0, NULL);
    refuse(with_kernel(H5T_IEEE_F32LE, list, NULL), "holds no data");
    unsigned plugins = 99;
    assert_true(H5PLget_loading_state(&plugins) >= 0);
    assert_int_equal(plugins, 0);
    H5Pclose(list);
}

static void chunks(void **state) {
    (void)state;
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(list, 2, (hsize_t[]){2, 3});
    hid_t file = with_kernel(H5T_IEEE_F32LE, list, NULL); /* one of four chunks is written */
    hid_t dataset = H5Dopen2(file, KERNEL, H5P_DEFAULT), space = H5Dget_space(dataset);
    hid_t memory = H5Screate_simple(2, (hsize_t[]){2, 3}, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, (hsize_t[]){0, 0}, NULL, (hsize_t[]){2, 3}, NULL);
    assert_true(H5Dwrite(dataset, H5T_NATIVE_FLOAT, memory, space, H5P_DEFAULT, twelve) >= 0);
    H5Sclose(memory);
    H5Sclose(space);
    H5Dclose(dataset);
    refuse(file, "is only partly stored");

    /* a chunk of a gigabyte in a dataset of 48 bytes */
    file = make(small);
    H5Pset_chunk(list, 2, (hsize_t[]){16384, 16384});
    H5Pset_deflate(list, 9);
    space = H5Screate_simple(2, (hsize_t[]){3, 4}, (hsize_t[]){H5S_UNLIMITED, H5S_UNLIMITED});
    H5Ldelete(file, KERNEL, H5P_DEFAULT);
    dataset = H5Dcreate2(file, KERNEL, H5T_IEEE_F32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    assert_true(dataset >= 0);
    assert_true(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, (hsize_t[]){0, 0}, 12, "not deflated") >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
    refuse(file, "has chunks that are too large");
    H5Pclose(list);
}

static void virtual_data(void **state) {
    (void)state;
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(2, (hsize_t[]){3, 4}, NULL);
    assert_true(H5Pset_virtual(list, space, in_folder("m.h5"), "/elsewhere", space) >= 0);
    H5Sclose(space);
    hid_t file = with_kernel(H5T_IEEE_F32LE, list, NULL);
    H5Pclose(list);
    refuse(file, "is a virtual dataset");
}

/* Small weights that all are the same large one: the parameters would need more than the file has. */
static void weights_in_one_place(void **state) {
    (void)state;
    hid_t file = make(wide);
    static const char *const other[] = {"/model_weights/e/e/kernel:0", "/model_weights/f/f/kernel:0"};
    for (int i = 0; i < 2; i++) {
        H5Ldelete(file, other[i], H5P_DEFAULT);
        H5Lcreate_hard(file, KERNEL, file, other[i], H5P_DEFAULT, H5P_DEFAULT);
    }
    H5Fclose(file);
    struct params *params = NULL; /* as long as they fit into the file that is none of our business */
    assert_success(load(&params));
    params_destroy(&params);
    char command[600];
    snprintf(command, sizeof command, "h5repack '%s' '%s' 2>/dev/null", in_folder("m.h5"), in_folder("n.h5"));
    if (system(command) != 0) skip(); /* hdf5-tools is not there */
    assert_int_equal(rename(in_folder("n.h5"), in_folder("m.h5")), 0);
    assert_error(load(&params), STATUS_DATA, "weights lie in the place of others");
}

/* ---- links ---- */

static hid_t traverse(const char *name, hid_t group, const void *data, size_t size, hid_t list, hid_t more) {
    (void)name, (void)data, (void)size, (void)list, (void)more;
    return H5Gopen2(group, "/", H5P_DEFAULT);
}

static void links(void **state) {
    (void)state;
    hid_t file = make(small);
    H5Ldelete(file, KERNEL, H5P_DEFAULT);
    static const H5L_class_t class = {
        .version = H5L_LINK_CLASS_T_VERS, .id = (H5L_type_t)70, .comment = "ours", .trav_func = traverse};
    assert_true(H5Lregister(&class) >= 0);
    assert_true(H5Lcreate_ud(file, KERNEL, (H5L_type_t)70, "", 0, H5P_DEFAULT, H5P_DEFAULT) >= 0);
    refuse(file, "is a link to elsewhere");

    file = make(small);
    H5Ldelete(file, "/model_weights/d/d", H5P_DEFAULT);
    H5Lcreate_soft("/model_weights/d/d", file, "/model_weights/d/d", H5P_DEFAULT, H5P_DEFAULT);
    refuse(file, "is a link to elsewhere");

    file = make(small);
    H5Lmove(file, "/model_weights", file, "/w", H5P_DEFAULT, H5P_DEFAULT);
    H5Lcreate_external("other.h5", "/", file, "/model_weights", H5P_DEFAULT, H5P_DEFAULT);
    refuse(file, "is a link to elsewhere");
}

/* Groups that are in themselves, twice: a search below them would never end. */
static void rings_of_groups(void **state) {
    (void)state;
    H5Fclose(make(small));
    hid_t file = H5Fcreate(in_folder("m.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    H5Gclose(H5Gcreate2(file, "/layers", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    H5Gclose(H5Gcreate2(file, "/layers/dense_7", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "/layers/dense_7/%d", i);
        H5Lcreate_hard(file, "/layers/dense_7", file, name, H5P_DEFAULT, H5P_DEFAULT);
    }
    H5Fclose(file);
    write_bytes(in_folder("m.json"), small, sizeof small - 1);
    struct keras_options options = {.topology = in_folder("m.json")};
    struct keras_file *model = NULL;
    struct graph *graph = NULL;
    assert_error(keras_open(in_folder("m.h5"), &options, &model, &graph), STATUS_DATA,
                 "has too many groups in it");
}

/* ---- topologies ---- */

static void refuse_topology(const char *json, const char *part) {
    struct graph *graph = NULL;
    assert_error(keras_graph_from_json(json, &graph), STATUS_DATA, part);
}

static void long_topologies(void **state) {
    (void)state;
    size_t size = ((size_t)64 << 20) + 16;
    char *text = malloc(size);
    assert_non_null(text);
    memset(text, ' ', size);
    text[size - 1] = 0;
    refuse_topology(text, "the topology is longer than 67108864 bytes");
    memset(text, ',', ((size_t)4 << 20) + 1);
    text[((size_t)4 << 20) + 1] = 0;
    refuse_topology(text, "the topology has more than 4194304 values");
    memset(text, '[', 100000);
    text[100000] = 0;
    refuse_topology(text, "nested too deeply");
    text[0] = '"'; /* a string may have any number of commas in it */
    memset(text + 1, ',', (size_t)5 << 20);
    strcpy(text + 1 + ((size_t)5 << 20), "\\\"\"");
    struct graph *graph = NULL;
    status error = keras_graph_from_json(text, &graph);
    assert_int_equal(status_code(error), STATUS_DATA);
    assert_null(strstr(status_message(error), "values"));
    status_drop(&error);
    free(text);
}

int main(void) {
    H5open();
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    const struct CMUnitTest tests[] = {
        IN_FOLDER(attributes_of_odd_types),
        IN_FOLDER(attributes_that_are_too_long),
        IN_FOLDER(too_many_attributes),
        IN_FOLDER(numbers_of_odd_formats),
        IN_FOLDER(type_elsewhere),
        IN_FOLDER(filters),
        IN_FOLDER(chunks),
        IN_FOLDER(virtual_data),
        IN_FOLDER(weights_in_one_place),
        IN_FOLDER(links),
        IN_FOLDER(rings_of_groups),
        cmocka_unit_test(long_topologies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
