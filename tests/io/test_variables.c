/* .weights.h5: the names of groups that the Kerases give, models inside models, and what is wrong with a
 * file. */
#include "io/io_testing.h"

#include "io/hdf5_testing.h"
#include "io/keras_testing.h"

#define DENSE "{\"class_name\": \"Dense\", \"config\": {\"name\": \"%s\", \"units\": %d}}"
#define MAX_LAYERS 16

/* A topology: Dense layers of width 2 named a, b, c, ... on an input of 2. */
static const char *topology_of(int ndense) {
    static char text[8192];
    int used = snprintf(
        text, sizeof text,
        "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", \"layers\": [{\"class_name\": "
        "\"InputLayer\", \"config\": {\"name\": \"x\", \"batch_input_shape\": [null, 2]}}");
    for (int i = 0; i < ndense; i++) {
        char name[2] = {(char)('a' + i), 0};
        used += snprintf(text + used, sizeof text - (size_t)used, ", " DENSE, name, 2);
    }
    snprintf(text + used, sizeof text - (size_t)used, "]}}");
    return text;
}

static hid_t begin(void) {
    return H5Fcreate(in_folder("m.weights.h5"), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
}

/* The kernel and the bias of a Dense layer in a group; their values are 10 * number + i and -number. */
static void put_dense(hid_t file, const char *group, int number) {
    char path[256];
    double kernel[4], bias[2] = {-number, -number};
    for (int i = 0; i < 4; i++) kernel[i] = 10 * number + i;
    snprintf(path, sizeof path, "%s/vars/0", group);
    put_data(file, path, H5T_IEEE_F32LE, H5P_DEFAULT, 2, (hsize_t[]){2, 2}, kernel);
    snprintf(path, sizeof path, "%s/vars/1", group);
    put_data(file, path, H5T_IEEE_F32LE, H5P_DEFAULT, 1, (hsize_t[]){2}, bias);
}

static void put_group(hid_t file, const char *path) {
    hid_t link = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(link, 1);
    H5Gclose(H5Gcreate2(file, path, link, H5P_DEFAULT, H5P_DEFAULT));
    H5Pclose(link);
}

static status load(const char *topology, struct graph **graph, struct params **params) {
    write_bytes(in_folder("t.json"), topology, strlen(topology));
    return load_model(in_folder("m.weights.h5"), &(struct keras_options){.topology = in_folder("t.json")},
                      graph, params);
}

/* Layer i of n has the values of number i. */
static void assert_dense(const char *topology, int n) {
    struct graph *graph = NULL;
    struct params *params = NULL;
    assert_success(load(topology, &graph, &params));
    assert_int_equal(params->n, 2 * n);
    for (int l = 0; l < n; l++) {
        for (int i = 0; i < 4; i++) assert_true(params_at(params, 2 * l)[i] == (float)(10 * l + i));
        assert_true(params_at(params, 2 * l + 1)[1] == (float)-l);
    }
    graph_destroy(&graph);
    params_destroy(&params);
}

static void refuse(const char *topology, const char *part) {
    struct graph *graph;
    struct params *params;
    assert_error(load(topology, &graph, &params), STATUS_DATA, part);
}

/* Groups are listed by name, dense_10 before dense_2. */
static void groups_are_counted(void **state) {
    (void)state;
    hid_t file = begin();
    for (int i = 0; i < 12; i++) {
        char group[32];
        snprintf(group, sizeof group, i ? "layers/dense_%d" : "layers/dense", i);
        put_dense(file, group, i);
    }
    H5Fclose(file);
    assert_dense(topology_of(12), 12);
}

/* Keras 2.12 and 2.13: another name for "layers"; 2.12 lists layers with weights twice, and counts both. */
static void groups_of_keras_2_12(void **state) {
    (void)state;
    for (int twice = 0; twice < 2; twice++) {
        hid_t file = begin();
        for (int i = 0; i < 12; i++) {
            char group[64];
            int number = twice ? 2 * i : i;
            snprintf(group, sizeof group,
                     number ? "_layer_checkpoint_dependencies/dense_%d"
                            : "_layer_checkpoint_dependencies/dense",
                     number);
            put_dense(file, group, i);
        }
        put_group(file, "_layer_checkpoint_dependencies/input_layer/vars");
        put_group(file, "_layer_checkpoint_dependencies/dense_99/vars"); /* without weights */
        H5Fclose(file);
        assert_dense(topology_of(12), 12);
    }
}

/* Numbers begin again in each model. */
static void models_inside_have_groups_of_their_own(void **state) {
    (void)state;
    static const char topology[] =
        "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"m\", \"layers\": [{\"class_name\": "
        "\"InputLayer\", "
        "\"config\": {\"name\": \"x\", \"batch_input_shape\": [null, 2]}}, "
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"a\", \"units\": 2}}, "
        "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"inner\", \"layers\": ["
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"b\", \"units\": 2}}, "
        "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"innermost\", \"layers\": ["
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"c\", \"units\": 2}}]}}, "
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": 2}}]}}, "
        "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"second\", \"layers\": ["
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"e\", \"units\": 2}}]}}, "
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"f\", \"units\": 2}}]}}";
    hid_t file = begin();
    put_dense(file, "layers/dense", 0);
    put_dense(file, "layers/sequential/layers/dense", 1);
    put_dense(file, "layers/sequential/layers/sequential/layers/dense", 2);
    put_dense(file, "layers/sequential/layers/dense_1", 3);
    put_dense(file, "layers/sequential_1/layers/dense", 4);
    put_dense(file, "layers/dense_1", 5);
    put_group(file, "optimizer/vars");
    put_group(file, "vars");
    H5Fclose(file);
    assert_dense(topology, 6);
}

/* Rows are read where they lie. */
static void rows(void **state) {
    (void)state;
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    float row[2];
    hid_t id = begin();
    put_dense(id, "layers/dense", 7);
    H5Fclose(id);
    write_bytes(in_folder("t.json"), topology_of(1), strlen(topology_of(1)));
    assert_success(keras_open(in_folder("m.weights.h5"),
                              &(struct keras_options){.topology = in_folder("t.json")}, &file, &graph));
    assert_success(keras_read_rows(file, 1, 0, 1, 1, row));
    assert_true(row[0] == 72 && row[1] == 73);
    assert_int_equal(keras_bytes_read(file), 8);
    keras_close(&file);
    graph_destroy(&graph);
}

static void what_is_wrong_is_named(void **state) {
    (void)state;
    hid_t file = begin();
    put_dense(file, "layers/dense", 0);
    H5Fclose(file);
    refuse(topology_of(2),
           "2 layers of the topology have their weights in groups layers/dense..., and there are 1");

    file = begin();
    put_dense(file, "layers/dense", 0);
    put_data(file, "layers/dense/vars/2", H5T_IEEE_F32LE, H5P_DEFAULT, 1, (hsize_t[]){2}, (double[]){0, 0});
    H5Fclose(file);
    refuse(topology_of(1),
           "weight kernel of layer \"a\": there are 3 variables in layers/dense/vars, but the layer "
           "needs 2");

    file = begin();
    put_dense(file, "layers/dense", 0);
    H5Lmove(file, "layers/dense/vars/1", file, "layers/dense/vars/one", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    refuse(topology_of(1), "weight bias of layer \"a\": layers/dense/vars/1: is missing");

    file = begin();
    put_group(file, "layers/dense/vars");
    put_data(file, "layers/dense/vars/0", H5T_IEEE_F32LE, H5P_DEFAULT, 2, (hsize_t[]){1, 4},
             (double[]){0, 0, 0, 0});
    put_data(file, "layers/dense/vars/1", H5T_IEEE_F32LE, H5P_DEFAULT, 1, (hsize_t[]){2}, (double[]){0, 0});
    H5Fclose(file);
    refuse(topology_of(1), "layers/dense/vars/0: has shape (1, 4), but the topology needs (2, 2)");

    file = begin();
    put_dense(file, "layers/dense", 0);
    H5Ldelete(file, "layers/dense/vars/0", H5P_DEFAULT);
    put_data(file, "layers/dense/vars/0", H5T_STD_I8LE, H5P_DEFAULT, 2, (hsize_t[]){2, 2},
             (double[]){0, 1, 2, 3});
    H5Fclose(file);
    refuse(topology_of(1), "layers/dense/vars/0: holds integers of 1 bytes");

    file = begin();
    put_dense(file, "elsewhere", 0);
    put_group(file, "layers");
    H5Lcreate_soft("/elsewhere", file, "layers/dense", H5P_DEFAULT, H5P_DEFAULT);
    H5Fclose(file);
    refuse(topology_of(1), "link to elsewhere");

    file = begin();
    put_dense(file, "layer/dense", 0);
    H5Fclose(file);
    refuse(topology_of(1), "this HDF5 file is not a Keras model");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(groups_are_counted),
        IN_FOLDER(groups_of_keras_2_12),
        IN_FOLDER(models_inside_have_groups_of_their_own),
        IN_FOLDER(rows),
        IN_FOLDER(what_is_wrong_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
