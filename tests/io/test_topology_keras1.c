/* Topologies of Keras 1: its classes, keys and values, and what became of its Merge. */
#include "io/keras/topology.h"
#include "io/keras/topology_json.h"
#include "io/keras/topology_keras1.h"

#include "io/topology_testing.h"

#include <cjson/cJSON.h>

static cJSON *converted(const char *text) {
    cJSON *json = NULL;
    assert_success(topology_parse(text, &json));
    assert_true(topology_is_keras1(json));
    assert_success(topology_keras1_convert(json));
    return json;
}

/* A member of a list's item, as text. */
static void assert_member(const cJSON *layers, int i, const char *key, const char *expected) {
    const cJSON *config = topology_member(cJSON_GetArrayItem(layers, i), "config");
    char *text = cJSON_PrintUnformatted(topology_member(config, key));
    if (expected ? !text || strcmp(text, expected) : text != NULL)
        fail_msg("%s of layer %d is %s", key, i, text ? text : "missing");
    cJSON_free(text);
}

static void assert_class(const cJSON *layers, int i, const char *expected) {
    assert_string_equal(topology_string(cJSON_GetArrayItem(layers, i), "class_name"), expected);
}

/* As Keras 1.2.2 writes it, with the keys that it always writes. */
#define CONV1(name, more)                                                                                    \
    "{\"class_name\": \"Convolution2D\", \"config\": {\"W_constraint\": null, \"b_constraint\": null, "      \
    "\"name\": \"" name                                                                                      \
    "\", \"activity_regularizer\": null, \"trainable\": true, \"dim_ordering\": \"th\", "                    \
    "\"nb_col\": 5, \"subsample\": [2, 1], \"init\": \"glorot_uniform\", \"bias\": true, \"nb_filter\": 8, " \
    "\"border_mode\": \"same\", \"b_regularizer\": null, \"W_regularizer\": null, \"activation\": "          \
    "\"relu\", "                                                                                             \
    "\"nb_row\": 3" more "}}"

static void keys_and_values(void **state) {
    (void)state;
    cJSON *json = converted(
        "{\"class_name\": \"Sequential\", \"config\": [" CONV1("c", ", \"input_dtype\": \"float32\", "
                                                                    "\"batch_input_shape\": [null, 3, 32, "
                                                                    "32]") ","
                                                                           "{\"class_name\": "
                                                                           "\"AtrousConvolution2D\", "
                                                                           "\"config\": {\"name\": \"a\", "
                                                                           "\"nb_filter\": 4, \"nb_row\": 3, "
                                                                           "\"nb_col\": 3, \"atrous_rate\": "
                                                                           "[2, 2], \"dim_ordering\": "
                                                                           "\"tf\", \"bias\": false}},"
                                                                           "{\"class_name\": "
                                                                           "\"MaxPooling2D\", \"config\": "
                                                                           "{\"pool_size\": [2, 2], "
                                                                           "\"strides\": [2, 2], "
                                                                           "\"border_mode\": \"valid\", "
                                                                           "\"dim_ordering\": \"th\"}},"
                                                                           "{\"class_name\": "
                                                                           "\"BatchNormalization\", "
                                                                           "\"config\": {\"mode\": 0, "
                                                                           "\"axis\": 1, \"epsilon\": 0.001, "
                                                                           "\"gamma_init\": \"one\", "
                                                                           "\"beta_init\": \"zero\"}},"
                                                                           "{\"class_name\": "
                                                                           "\"ZeroPadding2D\", \"config\": "
                                                                           "{\"padding\": {\"top_pad\": 1, "
                                                                           "\"left_pad\": 2}, "
                                                                           "\"dim_ordering\": \"tf\"}},"
                                                                           "{\"class_name\": \"Dropout\", "
                                                                           "\"config\": {\"p\": 0.25}},"
                                                                           "{\"class_name\": \"Dense\", "
                                                                           "\"config\": {\"output_dim\": 10, "
                                                                           "\"input_dim\": null, \"init\": "
                                                                           "\"uniform\", \"bias\": true, "
                                                                           "\"W_regularizer\": {\"name\": "
                                                                           "\"WeightRegularizer\", \"l2\": "
                                                                           "0.01, "
                                                                           "\"l1\": 0.0}}},"
                                                                           "{\"class_name\": \"Embedding\", "
                                                                           "\"config\": {\"input_dim\": 50, "
                                                                           "\"output_dim\": 16, "
                                                                           "\"input_length\": "
                                                                           "12, \"dropout\": 0.2, \"init\": "
                                                                           "\"uniform\", \"mask_zero\": "
                                                                           "true}},"
                                                                           "{\"class_name\": "
                                                                           "\"TimeDistributed\", \"config\": "
                                                                           "{\"name\": \"t\", \"layer\": "
                                                                           "{\"class_name\": "
                                                                           "\"Dense\", \"config\": "
                                                                           "{\"output_dim\": 7, \"name\": "
                                                                           "\"inner\"}}}},"
                                                                           "{\"class_name\": \"LSTM\", "
                                                                           "\"config\": {\"output_dim\": 9, "
                                                                           "\"inner_activation\": "
                                                                           "\"hard_sigmoid\", "
                                                                           "\"dropout_W\": 0.1, "
                                                                           "\"dropout_U\": 0.2, "
                                                                           "\"inner_init\": \"orthogonal\", "
                                                                           "\"forget_bias_init\": "
                                                                           "\"one\", \"consume_less\": "
                                                                           "\"cpu\", \"input_length\": null, "
                                                                           "\"input_dim\": 3}},"
                                                                           "{\"class_name\": \"GRU\", "
                                                                           "\"config\": {\"output_dim\": 9}},"
                                                                           "{\"class_name\": "
                                                                           "\"Convolution1D\", \"config\": "
                                                                           "{\"nb_filter\": 4, "
                                                                           "\"filter_length\": 5, "
                                                                           "\"subsample_length\": 2}},"
                                                                           "{\"class_name\": "
                                                                           "\"MaxPooling1D\", \"config\": "
                                                                           "{\"pool_length\": 3, \"stride\": "
                                                                           "2}},"
                                                                           "{\"class_name\": "
                                                                           "\"TimeDistributedDense\", "
                                                                           "\"config\": {\"output_dim\": 6}},"
                                                                           "{\"class_name\": "
                                                                           "\"Deconvolution2D\", \"config\": "
                                                                           "{\"nb_filter\": 4, \"nb_row\": "
                                                                           "2, \"nb_col\": 2, "
                                                                           "\"output_shape\": [null, 3, 8, "
                                                                           "8], \"subsample\": [2, 2]}}"
                                                                           "]}");
    const cJSON *layers = topology_member(json, "config");
    assert_class(layers, 0, "Conv2D");
    assert_member(layers, 0, "filters", "8");
    assert_member(layers, 0, "kernel_size", "[3,5]");
    assert_member(layers, 0, "strides", "[2,1]");
    assert_member(layers, 0, "padding", "\"same\"");
    assert_member(layers, 0, "data_format", "\"channels_first\"");
    assert_member(layers, 0, "use_bias", "true");
    assert_member(layers, 0, "activation", "\"relu\"");
    assert_member(layers, 0, "nb_row", NULL);
    assert_member(layers, 0, "W_regularizer", NULL);
    assert_class(layers, 1, "Conv2D");
    assert_member(layers, 1, "dilation_rate", "[2,2]");
    assert_member(layers, 1, "data_format", "\"channels_last\"");
    assert_member(layers, 1, "use_bias", "false");
    assert_member(layers, 2, "padding", "\"valid\"");
    assert_member(layers, 2, "pool_size", "[2,2]");
    assert_member(layers, 3, "mode", NULL);
    assert_member(layers, 3, "axis", "1");
    assert_member(layers, 4, "padding", "[1,0,2,0]");
    assert_member(layers, 5, "rate", "0.25");
    assert_member(layers, 6, "units", "10");
    assert_member(layers, 6, "input_dim", NULL);
    assert_member(layers, 7, "input_dim", "50");
    assert_member(layers, 7, "output_dim", "16");
    assert_member(layers, 7, "dropout", NULL);
    assert_int_equal(
        (int)topology_member(
            topology_member(
                topology_member(topology_member(cJSON_GetArrayItem(layers, 8), "config"), "layer"), "config"),
            "units")
            ->valuedouble,
        7);
    assert_member(layers, 9, "units", "9");
    assert_member(layers, 9, "recurrent_activation", "\"hard_sigmoid\"");
    assert_member(layers, 9, "dropout", "0.1");
    assert_member(layers, 9, "recurrent_dropout", "0.2");
    assert_member(layers, 9, "consume_less", NULL);
    assert_member(layers, 10, "reset_after", "false");
    assert_class(layers, 11, "Conv1D");
    assert_member(layers, 11, "kernel_size", "5");
    assert_member(layers, 11, "strides", "2");
    assert_member(layers, 12, "pool_size", "3");
    assert_member(layers, 12, "strides", "2");
    assert_class(layers, 13, "Dense");
    assert_member(layers, 13, "units", "6");
    assert_class(layers, 14, "Conv2DTranspose");
    assert_member(layers, 14, "output_shape", NULL);
    cJSON_Delete(json);
}

static void a_sequential_of_keras1(void **state) {
    (void)state;
    struct graph *graph = read_graph(
        "{\"class_name\": \"Sequential\", \"config\": ["
        "{\"class_name\": \"Convolution2D\", \"config\": {\"name\": \"c\", \"batch_input_shape\": [null, 9, "
        "8, 3], "
        "\"input_dtype\": \"float32\", \"nb_filter\": 4, \"nb_row\": 3, \"nb_col\": 2, \"border_mode\": "
        "\"valid\", \"subsample\": [1, 1], \"dim_ordering\": \"tf\", \"bias\": true, \"init\": "
        "\"glorot_uniform\", \"activation\": \"linear\"}},"
        "{\"class_name\": \"Flatten\", \"config\": {\"name\": \"f\", \"trainable\": true}},"
        "{\"class_name\": \"Dropout\", \"config\": {\"name\": \"dr\", \"p\": 0.5}},"
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"output_dim\": 5, \"activation\": "
        "\"softmax\", \"input_dim\": null}}]}");
    assert_int_equal(graph->keras_version, 1);
    assert_true(graph->sequential);
    assert_true(shape_equal(&layer_named(graph, "c")->weight[0].shape, &SHAPE(3, 2, 3, 4)));
    assert_true(layer_float(layer_named(graph, "dr"), "rate") == 0.5);
    assert_shape(graph, graph->output[0].node, SHAPE(SHAPE_UNKNOWN, 5));
    graph_destroy(&graph);
}

/* A functional model with the function `merge`, which makes a layer Merge. */
static void merges_by_mode(void **state) {
    (void)state;
    static const struct {
        const char *mode, *class_name;
    } modes[] = {{"sum", "Add"}, {"mul", "Multiply"}, {"concat", "Concatenate"}, {"max", "Maximum"}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        char *json = NULL;
        assert_true(
            asprintf(
                &json,
                "{\"class_name\": \"Model\", \"keras_version\": \"1.2.2\", \"config\": {\"name\": \"m\", "
                "\"layers\": ["
                "{\"class_name\": \"InputLayer\", \"name\": \"x\", \"config\": {\"name\": \"x\", "
                "\"batch_input_shape\": [null, 4, 6], \"input_dtype\": \"int32\", \"sparse\": false}, "
                "\"inbound_nodes\": []},"
                "{\"class_name\": \"Merge\", \"name\": \"merge_1\", \"config\": {\"name\": \"merge_1\", "
                "\"mode\": \"%s\", \"mode_type\": \"raw\", \"concat_axis\": 1, \"dot_axes\": -1, "
                "\"output_shape\": null, \"output_shape_type\": \"raw\", \"output_mask\": null, "
                "\"output_mask_type\": \"raw\", \"arguments\": {}}, "
                "\"inbound_nodes\": [[[\"x\", 0, 0], [\"x\", 0, 0]]]}],"
                "\"input_layers\": [[\"x\", 0, 0]], \"output_layers\": [[\"merge_1\", 0, 0]]}}",
                modes[i].mode) > 0);
        struct graph *graph = read_graph(json);
        const struct layer *merge = layer_named(graph, "merge_1");
        assert_string_equal(merge->kind->class_name, modes[i].class_name);
        assert_string_equal(layer_string(layer_named(graph, "x"), "dtype"), "int32");
        if (!strcmp(modes[i].mode, "concat")) assert_int_equal(layer_int(merge, "axis"), 1);
        graph_destroy(&graph);
        free(json);
    }
}

/* Branches are models; their layers are the outermost ones of the file. */
static void a_sequential_that_begins_with_a_merge(void **state) {
    (void)state;
#define DENSE1(name, units, more)                                                                            \
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"" name "\", \"output_dim\": " units                \
    ", \"W_regularizer\": null" more "}}"
    const char *json =
        "{\"class_name\": \"Sequential\", \"config\": ["
        "{\"class_name\": \"Merge\", \"config\": {\"name\": \"merge_1\", \"mode\": \"concat\", "
        "\"concat_axis\": "
        "-1, \"mode_type\": \"raw\", \"layers\": ["
        "{\"class_name\": \"Sequential\", \"config\": [" DENSE1(
            "a", "3",
            ", \"batch_input_shape\": [null, 7], \"input_dtype\": \"float32\"") "," DENSE1("b", "4",
                                                                                           "") "]},"
                                                                                               "{\"class_"
                                                                                               "name\": "
                                                                                               "\"Model\", "
                                                                                               "\"config\": "
                                                                                               "{\"name\": "
                                                                                               "\"side\", "
                                                                                               "\"layers\": ["
                                                                                               "{\"class_"
                                                                                               "name\": "
                                                                                               "\"InputLayer"
                                                                                               "\", "
                                                                                               "\"name\": "
                                                                                               "\"s\", "
                                                                                               "\"config\": "
                                                                                               "{\"name\": "
                                                                                               "\"s\", "
                                                                                               "\"batch_"
                                                                                               "input_"
                                                                                               "shape\": "
                                                                                               "[null, 2], "
                                                                                               "\"input_"
                                                                                               "dtype\": "
                                                                                               "\"float32\"},"
                                                                                               " \"inbound_"
                                                                                               "nodes\": []},"
                                                                                               "{\"class_"
                                                                                               "name\": "
                                                                                               "\"Dense\", "
                                                                                               "\"name\": "
                                                                                               "\"c\", "
                                                                                               "\"config\": "
                                                                                               "{\"name\": "
                                                                                               "\"c\", "
                                                                                               "\"output_"
                                                                                               "dim\": 5}, "
                                                                                               "\"inbound_"
                                                                                               "nodes\": "
                                                                                               "[[[\"s\", 0, "
                                                                                               "0]]]}],"
                                                                                               "\"input_"
                                                                                               "layers\": "
                                                                                               "[[\"s\", 0, "
                                                                                               "0]], "
                                                                                               "\"output_"
                                                                                               "layers\": "
                                                                                               "[[\"c\", 0, "
                                                                                               "0]]}}"
                                                                                               "]}}," DENSE1(
                                                                                                   "d", "6",
                                                                                                   "") "]}";
    struct topology t = {0};
    assert_success(topology_read(json, 0, NULL, &t));
    assert_success(graph_infer(t.graph));
    assert_int_equal(t.graph->keras_version, 1);
    assert_int_equal(t.graph->ninputs, 2);
    assert_string_equal(layer_of(t.graph, t.graph->input[0].node)->name, "a_input");
    assert_string_equal(layer_of(t.graph, t.graph->input[1].node)->name, "s");
    assert_shape(t.graph, t.graph->output[0].node, SHAPE(SHAPE_UNKNOWN, 6));
    int merge = t.graph->node[t.graph->output[0].node].in[0].node;
    assert_string_equal(layer_of(t.graph, merge)->kind->class_name, "Concatenate");
    assert_string_equal(source(t.graph, merge, 0), "b");
    assert_string_equal(source(t.graph, merge, 1), "c");
    static const char *const outermost[] = {"a_input", "a", "b", "s", "c", "merge_1", "d"};
    assert_int_equal(t.ntop, 7);
    for (int i = 0; i < t.ntop; i++) assert_string_equal(t.top_name[i], outermost[i]);
    topology_clear(&t);
}

static void what_keras2_has_no_word_for_is_refused(void **state) {
    (void)state;
#define ONE1(layer)                                                                                          \
    "{\"class_name\": \"Sequential\", \"keras_version\": \"1.1.0\", \"config\": [" DENSE1(                   \
        "a", "3", ", \"batch_input_shape\": [null, 7]") ", " layer "]}"
    refuse(ONE1("{\"class_name\": \"Highway\", \"config\": {\"name\": \"h\"}}"), STATUS_UNSUPPORTED,
           "layer \"h\" (Highway)");
    refuse(ONE1("{\"class_name\": \"MaxoutDense\", \"config\": {\"name\": \"h\", \"output_dim\": 3}}"),
           STATUS_UNSUPPORTED, "layer \"h\" (MaxoutDense)");
    refuse(ONE1("{\"class_name\": \"BatchNormalization\", \"config\": {\"name\": \"n\", \"mode\": 2}}"),
           STATUS_UNSUPPORTED, "layer \"n\" (BatchNormalization): mode = 2");
    refuse(ONE1("{\"class_name\": \"Merge\", \"config\": {\"name\": \"m\", \"mode\": \"dot\"}}"),
           STATUS_UNSUPPORTED, "layer \"m\" (Merge)");
    refuse(
        ONE1("{\"class_name\": \"Merge\", \"config\": {\"name\": \"m\", \"mode\": \"concat\", \"mode_type\": "
             "\"lambda\"}}"),
        STATUS_UNSUPPORTED, "layer \"m\" (Merge)");
    refuse("{\"class_name\": \"Sequential\", \"config\": [{\"class_name\": \"Merge\", \"config\": {\"name\": "
           "\"m\", \"mode\": \"sum\", \"layers\": [3]}}]}",
           STATUS_DATA, "Merge of what is no model");
    refuse("{\"class_name\": \"Sequential\", \"config\": [{\"class_name\": \"Merge\", \"config\": {\"name\": "
           "\"m\", \"mode\": \"sum\", \"layers\": []}}]}",
           STATUS_DATA, "");
}

/* Keys that only look like those of Keras 1 are left alone. */
static void later_models_are_not_changed(void **state) {
    (void)state;
    cJSON *json = NULL;
    assert_success(topology_parse(SEQUENTIAL(INPUT("x", "[null, 3]") "," DENSE("d", "2")), &json));
    assert_false(topology_is_keras1(json));
    cJSON_Delete(json);
    refuse("{\"class_name\": \"Sequential\", \"keras_version\": \"2.0.0\", \"config\": [" DENSE1(
               "a", "3", ", \"batch_input_shape\": [null, 7]") "]}",
           STATUS_DATA, "units is missing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_and_values),
        cmocka_unit_test(a_sequential_of_keras1),
        cmocka_unit_test(merges_by_mode),
        cmocka_unit_test(a_sequential_that_begins_with_a_merge),
        cmocka_unit_test(what_keras2_has_no_word_for_is_refused),
        cmocka_unit_test(later_models_are_not_changed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
