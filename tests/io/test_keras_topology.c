/* Topologies: the dialects of Keras, models inside models, and what must be refused. */
#include "io/keras.h"

#include "io/io_testing.h"

#define DENSE(name, units)                                                                                   \
    "{\"class_name\": \"Dense\", \"config\": {\"name\": \"" name "\", \"units\": " units "}}"

static struct graph *read_graph(const char *json) {
    struct graph *graph = NULL;
    assert_success(keras_graph_from_json(json, &graph));
    return graph;
}

static void refuse(const char *json, enum status_code code, const char *part) {
    struct graph *graph = NULL;
    assert_error(keras_graph_from_json(json, &graph), code, part);
    assert_null(graph);
}

/* The layer's name of the node that input k of a node comes from. */
static const char *source(const struct graph *graph, int node, int k) {
    return graph->layer[graph->node[graph->node[node].in[k].node].layer].name;
}

static void assert_shape(const struct graph *graph, int node, struct shape expected) {
    assert_true(shape_equal(&graph->node[node].out[0], &expected));
}

/* ---- dialects ---- */

static void a_list_is_a_sequential(void **state) {
    (void)state;
    struct graph *graph =
        read_graph("{\"class_name\": \"Sequential\", \"keras_version\": \"1.2.2\", \"config\": ["
                   "{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": 5, "
                   "\"batch_input_shape\": [null, 3], \"dtype\": \"float32\"}}," DENSE("e", "2") "]}");
    assert_true(graph->sequential);
    assert_int_equal(graph->keras_version, 1);
    assert_int_equal(graph->nlayers, 3);
    assert_int_equal(graph->layer[0].kind->max_inputs, 0);
    assert_string_equal(graph->layer[1].name, "d");
    assert_shape(graph, graph->output[0].node, SHAPE(SHAPE_UNKNOWN, 2));
    assert_true(shape_equal(&graph->layer[1].weight[0].shape, &SHAPE(3, 5)));
    graph_destroy(&graph);
}

static void a_sequential_may_say_only_what_it_was_built_for(void **state) {
    (void)state;
    struct graph *graph =
        read_graph("{\"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": [" DENSE(
            "d", "5") "], \"build_input_shape\": [null, 7]}}");
    assert_shape(graph, graph->input[0].node, SHAPE(SHAPE_UNKNOWN, 7));
    graph_destroy(&graph);
    refuse(
        "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": [" DENSE("d", "5") "]}}",
        STATUS_DATA, "no input shape");
}

#define FUNCTION_RELU                                                                                        \
    "{\"module\": \"builtins\", \"class_name\": \"function\", \"config\": \"relu\", \"registered_name\": "   \
    "\"function\"}"
#define POLICY                                                                                               \
    "{\"module\": \"keras\", \"class_name\": \"DTypePolicy\", \"config\": {\"name\": \"mixed_float16\"}, "   \
    "\"registered_name\": null}"
#define TENSOR(name)                                                                                         \
    "{\"class_name\": \"__keras_tensor__\", \"config\": {\"shape\": [null, 4], \"dtype\": \"float32\", "     \
    "\"keras_history\": [\"" name "\", 0, 0]}}"

#define RESULT(name, call, output)                                                                           \
    "{\"class_name\": \"__keras_tensor__\", \"config\": {\"shape\": [null, 4], \"dtype\": \"float32\", "     \
    "\"keras_history\": [\"" name "\", " call ", " output "]}}"

static const char keras3[] =
    "{\"class_name\": \"Functional\", \"config\": {\"name\": \"f\", \"trainable\": true, \"layers\": ["
    "{\"module\": \"keras.layers\", \"class_name\": \"InputLayer\", \"config\": {\"batch_shape\": [null, 4], "
    "\"dtype\": \"uint8\", \"sparse\": false, \"ragged\": false, \"name\": \"x\", \"optional\": false}, "
    "\"registered_name\": null, \"name\": \"x\", \"inbound_nodes\": []},"
    "{\"module\": \"keras.layers\", \"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"trainable\": "
    "false, \"dtype\": " POLICY ", \"units\": 4, \"activation\": " FUNCTION_RELU
    ", \"use_bias\": true, \"kernel_initializer\": {\"class_name\": \"GlorotUniform\"}, "
    "\"kernel_regularizer\": null, \"quantization_config\": null}, \"registered_name\": null, "
    "\"build_config\": {\"input_shape\": [null, 4]}, \"name\": \"d\", \"inbound_nodes\": [{\"args\": "
    "[" TENSOR("x") "], \"kwargs\": {\"training\": false, \"mask\": null}}]},"
                    "{\"module\": \"keras.layers\", \"class_name\": \"Add\", \"config\": {\"name\": \"a\"}, "
                    "\"registered_name\": null, \"name\": \"a\", \"inbound_nodes\": [{\"args\": [[" TENSOR(
                        "d") ", " TENSOR("x") "]], \"kwargs\": {}}]}],"
                                              "\"input_layers\": [\"x\", 0, 0], \"output_layers\": [\"a\", "
                                              "0, 0]}, \"registered_name\": \"Functional\"}";

static void keras3_is_read(void **state) {
    (void)state;
    struct graph *graph = read_graph(keras3);
    assert_int_equal(graph->keras_version, 3);
    assert_int_equal(graph->nlayers, 3);
    const struct layer *d = &graph->layer[graph_find_layer(graph, "d")];
    assert_string_equal(layer_string(d, "activation"), "relu");
    assert_false(d->trainable);
    int a = graph->output[0].node;
    assert_int_equal(graph->node[a].nin, 2);
    assert_string_equal(source(graph, a, 0), "d");
    assert_string_equal(source(graph, a, 1), "x");
    graph_destroy(&graph);
}

/* Of both dialects: {"model_config": ...}, and keys of both Keras in one layer. */
static void wrappers_and_keys_of_both(void **state) {
    (void)state;
    struct graph *graph = read_graph(
        "{\"keras_version\": \"2.4.0\", \"model_config\": {\"class_name\": \"Sequential\", \"config\": "
        "{\"layers\": ["
        "{\"class_name\": \"InputLayer\", \"config\": {\"batch_input_shape\": {\"class_name\": "
        "\"__tuple__\", \"items\": [null, 4, 4, 2]}}},"
        "{\"class_name\": \"LeakyReLU\", \"config\": {\"alpha\": {\"type\": \"ndarray\", \"value\": 0.25}}},"
        "{\"class_name\": \"BatchNormalization\", \"config\": {\"axis\": [3], \"renorm\": false, \"fused\": "
        "true, \"virtual_batch_size\": null}},"
        "{\"class_name\": \"ZeroPadding2D\", \"config\": {\"padding\": [[1, 2], [3, 4]], \"data_format\": "
        "\"channels_last\"}},"
        "{\"class_name\": \"MaxPooling2D\", \"config\": {\"pool_size\": 2, \"strides\": null}}"
        "]}}}");
    assert_int_equal(graph->keras_version, 2);
    assert_true(layer_float(&graph->layer[1], "negative_slope") == 0.25);
    assert_int_equal(layer_int(&graph->layer[2], "axis"), 3);
    assert_shape(graph, graph->output[0].node, SHAPE(SHAPE_UNKNOWN, 3, 5, 2));
    graph_destroy(&graph);
}

/* ---- models inside models ---- */

static void a_sequential_inside_is_flattened(void **state) {
    (void)state;
    struct graph *graph = read_graph(
        "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"outer\", \"layers\": ["
        "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"inner\", \"layers\": ["
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"d\", \"units\": 6, \"batch_input_shape\": "
        "[null, 3]}}," DENSE("same", "5") "]}}," DENSE("same", "4") "]}}");
    assert_int_equal(graph->nlayers, 4);
    assert_int_equal(graph->nnodes, 4);
    assert_string_equal(graph->layer[1].name, "d");
    assert_string_equal(graph->layer[2].name, "inner_same");
    assert_string_equal(graph->layer[3].name, "same");
    graph_destroy(&graph);
}

/* A model called twice. Keras 2 numbers its calls from 1, Keras 3 from 0 but in "output_layers". */
static char *called_twice(bool third) {
    static const char *const keras2_calls[] = {
        "[[[\"p\", 0, 0, {}]], [[\"q\", 0, 0, {}]]]",
        "[[[\"inner\", 1, 1, {}], [\"inner\", 2, 0, {}]]]",
    };
    static const char *const keras3_calls[] = {
        "[{\"args\": [" TENSOR("p") "], \"kwargs\": {}}, {\"args\": [" TENSOR("q") "], \"kwargs\": {}}]",
        "[{\"args\": [[" RESULT("inner", "0", "1") ", " RESULT("inner", "1", "0") "]], \"kwargs\": {}}]",
    };
    const char *const *calls = third ? keras3_calls : keras2_calls;
    char *json = NULL;
    assert_true(
        asprintf(&json,
                 "{\"class_name\": \"Functional\", \"config\": {\"name\": \"outer\", \"layers\": ["
                 "{\"class_name\": \"InputLayer\", \"name\": \"p\", \"config\": {\"name\": \"p\", "
                 "\"batch_input_shape\": [null, 3]}, \"inbound_nodes\": []},"
                 "{\"class_name\": \"InputLayer\", \"name\": \"q\", \"config\": {\"name\": \"q\", "
                 "\"batch_input_shape\": [null, 3]}, \"inbound_nodes\": []},"
                 "{\"class_name\": \"Functional\", \"name\": \"inner\", \"config\": {\"name\": \"inner\", "
                 "\"layers\": ["
                 "{\"class_name\": \"InputLayer\", \"name\": \"p\", \"config\": {\"name\": \"p\", "
                 "\"batch_input_shape\": [null, 3]}, \"inbound_nodes\": []},"
                 "{\"class_name\": \"Dense\", \"name\": \"d\", \"config\": {\"name\": \"d\", \"units\": 4}, "
                 "\"inbound_nodes\": [[[\"p\", 0, 0, {}]]]},"
                 "{\"class_name\": \"Dense\", \"name\": \"e\", \"config\": {\"name\": \"e\", \"units\": 4}, "
                 "\"inbound_nodes\": [[[\"d\", 0, 0, {}]]]}],"
                 "\"input_layers\": [[\"p\", 0, 0]], \"output_layers\": [[\"e\", 0, 0], [\"d\", 0, 0]]},"
                 "\"inbound_nodes\": %s},"
                 "{\"class_name\": \"Subtract\", \"name\": \"s\", \"config\": {\"name\": \"s\"}, "
                 "\"inbound_nodes\": %s}],"
                 "\"input_layers\": [[\"p\", 0, 0], [\"q\", 0, 0]], \"output_layers\": [[\"s\", 0, 0], "
                 "[\"inner\", 2, 0]]}}",
                 calls[0], calls[1]) > 0);
    return json;
}

static void a_model_called_twice_is_flattened(void **state) {
    (void)state;
    for (int third = 0; third < 2; third++) {
        char *json = called_twice(third);
        struct graph *graph = read_graph(json);
        assert_int_equal(graph->nlayers, 5); /* p, q, d, e, s */
        assert_int_equal(graph->nnodes, 7);
        int s = graph->output[0].node;
        assert_string_equal(graph->layer[graph->node[s].layer].name, "s");
        assert_string_equal(source(graph, s, 0), "d"); /* output 1 of the first call */
        assert_string_equal(source(graph, s, 1), "e"); /* output 0 of the second */
        assert_string_equal(source(graph, graph->node[s].in[0].node, 0), "p");
        int d = graph->node[graph->node[s].in[1].node].in[0].node;
        assert_string_equal(source(graph, d, 0), "q");
        assert_int_equal(graph->output[1].node, graph->node[s].in[1].node);
        graph_destroy(&graph);
        free(json);
    }
}

/* ---- refusals ---- */

static void all_that_is_unsupported_is_named_at_once(void **state) {
    (void)state;
    struct graph *graph = NULL;
    status error = keras_graph_from_json(
        "{\"class_name\": \"Sequential\", \"config\": {\"layers\": ["
        "{\"class_name\": \"InputLayer\", \"config\": {\"batch_input_shape\": [null, 8, 8, 2], \"ragged\": "
        "true}},"
        "{\"class_name\": \"Conv2D\", \"config\": {\"name\": \"c\", \"filters\": 2, \"kernel_size\": 3, "
        "\"padding\": \"causal\"}},"
        "{\"class_name\": \"Conv2D\", \"config\": {\"name\": \"f\", \"filters\": 2, \"kernel_size\": 3, "
        "\"data_format\": \"sideways\"}},"
        "{\"class_name\": \"Frobnicate\", \"config\": {\"name\": \"frob\"}},"
        "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"in\", \"layers\": [{\"class_name\": "
        "\"Lambda\", \"config\": {\"name\": \"inner_lambda\"}}]}},"
        "{\"class_name\": \"Dense\", \"registered_name\": \"mine>Dense\", \"config\": {\"name\": \"custom\", "
        "\"units\": 2}},"
        "{\"class_name\": \"Dense\", \"module\": \"my.layers\", \"config\": {\"name\": \"module\", "
        "\"units\": 2}},"
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"quantized\", \"units\": 2, \"dtype\": "
        "{\"class_name\": \"QuantizedDTypePolicy\", \"config\": {\"name\": \"int8_from_float32\"}}}},"
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"act\", \"units\": 2, \"activation\": "
        "\"frobnicate\"}},"
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"advanced\", \"units\": 2, \"activation\": "
        "{\"class_name\": \"MyActivation\", \"config\": {\"alpha\": 0.1}}}},"
        "{\"class_name\": \"Activation\", \"config\": {\"name\": \"own\", \"activation\": "
        "{\"module\": \"builtins\", \"class_name\": \"function\", \"config\": \"f\", \"registered_name\": "
        "\"mine>f\"}}},"
        "{\"class_name\": \"TimeDistributed\", \"config\": {\"name\": \"steps\", \"layer\": {\"class_name\": "
        "\"Activation\", \"config\": {\"name\": \"g\", \"activation\": {\"class_name\": \"MyActivation\", "
        "\"config\": {}}}}}},"
        "{\"class_name\": \"Dense\", \"config\": {\"name\": \"option\", \"units\": 2, \"lora_rank\": 4}}"
        "]}}",
        &graph);
    static const char *const named[] = {"ragged = true",
                                        "layer \"c\" (Conv2D): padding = \"causal\"",
                                        "\"f\"",
                                        "sideways",
                                        "layer \"frob\" (Frobnicate)",
                                        "layer \"inner_lambda\" (Lambda)",
                                        "layer \"custom\" (Dense)",
                                        "layer \"module\" (Dense)",
                                        "layer \"quantized\" (Dense): dtype",
                                        "\"act\"",
                                        "frobnicate",
                                        "layer \"advanced\" (Dense): activation",
                                        "layer \"own\" (Activation): activation = mine>f, a custom function",
                                        "layer \"g\" (Activation): activation = {",
                                        "layer \"option\" (Dense): lora_rank = 4"};
    assert_int_equal(status_code(error), STATUS_UNSUPPORTED);
    for (size_t i = 0; i < sizeof named / sizeof *named; i++)
        if (!strstr(status_message(error), named[i]))
            fail_msg("'%s' is not in '%s'", named[i], status_message(error));
    assert_null(strchr(status_message(error), '\n'));
    status_drop(&error);
    assert_null(graph);
}

#define INPUT                                                                                                \
    "{\"class_name\": \"InputLayer\", \"name\": \"x\", \"config\": {\"name\": \"x\", "                       \
    "\"batch_input_shape\": [null, 4]}, \"inbound_nodes\": []}"
#define CALLED(name, nodes)                                                                                  \
    "{\"class_name\": \"Dense\", \"name\": \"" name "\", \"config\": {\"name\": \"" name                     \
    "\", \"units\": 4}, \"inbound_nodes\": " nodes "}"
#define MODEL(layers, inputs, outputs)                                                                       \
    "{\"class_name\": \"Functional\", \"config\": {\"name\": \"m\", \"layers\": [" layers                    \
    "], \"input_layers\": " inputs ", \"output_layers\": " outputs "}}"

static void calls_with_arguments_are_unsupported(void **state) {
    (void)state;
    refuse(MODEL(INPUT "," CALLED("d", "[[[\"x\", 0, 0, {\"training\": true}]]]"), "[[\"x\", 0, 0]]",
                 "[[\"d\", 0, 0]]"),
           STATUS_UNSUPPORTED, "layer \"d\": called with training = true");
    refuse(MODEL(INPUT "," CALLED("d", "[{\"args\": [" TENSOR("x") ", 2.5], \"kwargs\": {}}]"),
                 "[[\"x\", 0, 0]]", "[[\"d\", 0, 0]]"),
           STATUS_UNSUPPORTED, "layer \"d\": called with 2.5");
    refuse(MODEL(INPUT
                 "," CALLED("d", "[{\"args\": [" TENSOR("x") "], \"kwargs\": {\"mask\": " TENSOR("x") "}}]"),
                 "[[\"x\", 0, 0]]", "[[\"d\", 0, 0]]"),
           STATUS_UNSUPPORTED, "called with mask");
}

static void broken_graphs_are_refused(void **state) {
    (void)state;
    refuse(MODEL(INPUT "," CALLED("d", "[[[\"e\", 0, 0, {}]]]") "," CALLED("e", "[[[\"d\", 0, 0, {}]]]"),
                 "[[\"x\", 0, 0]]", "[[\"e\", 0, 0]]"),
           STATUS_DATA, "depends on its output");
    refuse(MODEL(INPUT "," CALLED("d", "[[[\"d\", 0, 0, {}]]]"), "[[\"x\", 0, 0]]", "[[\"d\", 0, 0]]"),
           STATUS_DATA, "depends on its output");
    refuse(MODEL(INPUT "," CALLED("d", "[[[\"nowhere\", 0, 0, {}]]]"), "[[\"x\", 0, 0]]", "[[\"d\", 0, 0]]"),
           STATUS_DATA, "\"nowhere\"");
    refuse(MODEL(INPUT "," CALLED("d", "[[[\"x\", 3, 0, {}]]]"), "[[\"x\", 0, 0]]", "[[\"d\", 0, 0]]"),
           STATUS_DATA, "call 3");
    refuse(MODEL(INPUT "," CALLED("d", "[[[\"x\", 0, 1, {}]]]"), "[[\"x\", 0, 0]]", "[[\"d\", 0, 0]]"),
           STATUS_DATA, "\"d\"");
    refuse(MODEL(INPUT "," CALLED("d", "[[[\"x\", 0, 0, {}]]]"), "[[\"d\", 0, 0]]", "[[\"d\", 0, 0]]"),
           STATUS_DATA, "no input layer");
    refuse(MODEL(INPUT "," CALLED("d", "[[[\"x\", 0, 0, {}]]]"), "[[\"x\", 0, 0]]", "[]"), STATUS_DATA,
           "output_layers");
    refuse(MODEL(INPUT "," CALLED("d", "[[[\"x\", 0, 0, {}]]]"), "[]", "[[\"d\", 0, 0]]"), STATUS_DATA,
           "input_layers");
    refuse(MODEL(INPUT "," CALLED("d", "[[[\"x\", 0, 0, {}]]]") "," CALLED("d", "[[[\"x\", 0, 0, {}]]]"),
                 "[[\"x\", 0, 0]]", "[[\"d\", 0, 0]]"),
           STATUS_DATA, "two layers are named \"d\"");
    refuse(MODEL(INPUT "," CALLED("d", "[[[\"x\", 0, 0, {}], [\"x\", 0, 0, {}]]]"), "[[\"x\", 0, 0]]",
                 "[[\"d\", 0, 0]]"),
           STATUS_DATA, "\"d\"");
}

static void bad_values_are_refused(void **state) {
    (void)state;
#define ONE(config)                                                                                          \
    "{\"class_name\": \"Sequential\", \"config\": {\"layers\": [" INPUT                                      \
    ", {\"class_name\": \"Dense\", \"config\": {\"name\": \"d\"" config "}}]}}"
    refuse(ONE(""), STATUS_DATA, "layer \"d\" (Dense): units is missing");
    refuse(ONE(", \"units\": \"many\""), STATUS_DATA, "units must be a whole number, and is \"many\"");
    refuse(ONE(", \"units\": 2.5"), STATUS_DATA, "units must be a whole number, and is 2.5");
    refuse(ONE(", \"units\": 1e300"), STATUS_DATA, "units");
    refuse(ONE(", \"units\": -3"), STATUS_DATA, "units");
    refuse(ONE(", \"units\": null"), STATUS_DATA, "units must be given");
    refuse(ONE(", \"units\": 4, \"use_bias\": \"yes\""), STATUS_DATA, "use_bias must be true or false");
    refuse("{\"class_name\": \"Sequential\", \"config\": {\"layers\": []}}", STATUS_DATA, "no layers");
    refuse("{\"class_name\": \"Sequential\", \"config\": {\"layers\": [3]}}", STATUS_DATA, "not an object");
    refuse("{\"class_name\": \"Sequential\", \"config\": {\"layers\": [{\"config\": {\"name\": \"a\"}}]}}",
           STATUS_DATA, "no class_name");
    refuse("{\"class_name\": \"MyModel\", \"config\": {\"width\": 3}}", STATUS_DATA, "no list of layers");
    refuse("{}", STATUS_DATA, "no list of layers");
    refuse("[]", STATUS_DATA, "no list of layers");
    refuse("3", STATUS_DATA, "no list of layers");
    refuse("", STATUS_DATA, "empty");
    refuse("{\"class_name\": ", STATUS_DATA, "not JSON");
    refuse("{\"class_name\": \"Sequential\", \"class_name\": \"Functional\"}", STATUS_DATA,
           "key \"class_name\" is there twice");
}

static void deep_json_is_refused(void **state) {
    (void)state;
    for (int depth = 100; depth <= 1000000; depth *= 100) {
        char *json = malloc((size_t)depth * 2 + 1000);
        char *end = json + sprintf(json, "{\"class_name\": \"Sequential\", \"config\": {\"layers\": [" INPUT
                                         ", {\"class_name\": \"Dense\", \"config\": {\"units\": ");
        memset(end, '[', (size_t)depth);
        memset(end + depth, ']', (size_t)depth);
        strcpy(end + 2 * (size_t)depth, "}}]}}");
        struct graph *graph = NULL;
        status error = keras_graph_from_json(json, &graph);
        assert_int_equal(status_code(error), STATUS_DATA);
        status_drop(&error);
        free(json);
    }
}

/* Models inside models, each called twice by the one around it: 2^60 calls if they were followed. */
static void calls_do_not_explode(void **state) {
    (void)state;
    char *json = strdup(INPUT), *model = NULL;
    for (int i = 0; i < 60; i++) {
        /* The model m<i> has an input and calls what is inside it twice. */
        char *inner = NULL;
        if (i == 0) inner = strdup(CALLED("leaf", "[[[\"x\", 0, 0, {}]]]"));
        else
            assert_true(asprintf(&inner,
                                 "{\"class_name\": \"Functional\", \"name\": \"leaf\", \"config\": %s, "
                                 "\"inbound_nodes\": [[[\"x\", 0, 0, {}]], [[\"leaf\", 1, 0, {}]]]}",
                                 model) > 0);
        free(model);
        assert_true(asprintf(&model,
                             "{\"name\": \"m%d\", \"layers\": [%s, %s], \"input_layers\": [[\"x\", 0, 0]], "
                             "\"output_layers\": [[\"leaf\", %d, 0]]}",
                             i, json, inner, i ? 2 : 0) > 0);
        free(inner);
    }
    char *whole = NULL;
    assert_true(asprintf(&whole, "{\"class_name\": \"Functional\", \"config\": %s}", model) > 0);
    refuse(whole, STATUS_DATA, "calls of layers");
    free(whole);
    free(model);
    free(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_is_a_sequential),
        cmocka_unit_test(a_sequential_may_say_only_what_it_was_built_for),
        cmocka_unit_test(keras3_is_read),
        cmocka_unit_test(wrappers_and_keys_of_both),
        cmocka_unit_test(a_sequential_inside_is_flattened),
        cmocka_unit_test(a_model_called_twice_is_flattened),
        cmocka_unit_test(all_that_is_unsupported_is_named_at_once),
        cmocka_unit_test(calls_with_arguments_are_unsupported),
        cmocka_unit_test(broken_graphs_are_refused),
        cmocka_unit_test(bad_values_are_refused),
        cmocka_unit_test(deep_json_is_refused),
        cmocka_unit_test(calls_do_not_explode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
