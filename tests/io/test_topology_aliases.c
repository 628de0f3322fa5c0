/* Aliases of custom classes, and layers as activations. */
#include "io/keras/topology.h"

#include "io/topology_testing.h"

#define X INPUT("x", "[null, 4, 4, 8]")
#define OF_X(last, layers) MODEL(X ", " layers, "[[\"x\", 0, 0]]", "[[\"" last "\", 0, 0]]")
#define ON_X "[[[\"x\", 0, 0, {}]]]"

static status read_with(const char *aliases, const char *json, struct topology *t) {
    char *path = in_folder("aliases.json");
    write_bytes(path, aliases, strlen(aliases));
    struct keras_options options = {.aliases = path};
    *t = (struct topology){0};
    status error = topology_read(json, 2, &options, t);
    return error ? error : graph_infer(t->graph);
}

static void assert_alias_error(const char *aliases, const char *json, enum status_code code,
                               const char *part) {
    struct topology t;
    assert_error(read_with(aliases, json, &t), code, part);
    topology_clear(&t);
}

static void values_come_from_the_custom_config(void **state) {
    (void)state;
    const char *aliases =
        "{\"_\": \"a comment\","
        "\"MultiplyBeta\": {\"class_name\": \"Rescaling\", \"config\": {\"scale\": \"$beta\", \"offset\": "
        "\"$shift:0.5\"}},"
        "\"mine>Wide\": {\"class_name\": \"Conv2D\", \"config\": {\"filters\": \"$width\", \"kernel_size\": "
        "[\"$height\", 1], \"padding\": \"$mode:same\"}}}";
    struct topology t;
    assert_success(read_with(aliases,
                             OF_X("w", LAYER("MultiplyBeta", "m", ", \"beta\": 0.25, \"dtype\": \"float32\"",
                                             ON_X) ","
                                                   "{\"class_name\": \"Wide\", \"registered_name\": "
                                                   "\"mine>Wide\", \"module\": \"mine.layers\", "
                                                   "\"name\": \"w\", \"config\": {\"name\": \"w\", "
                                                   "\"trainable\": false, \"width\": 5, \"height\": "
                                                   "3}, \"inbound_nodes\": [[[\"m\", 0, 0, {}]]]}"),
                             &t));
    const struct layer *m = layer_named(t.graph, "m"), *w = layer_named(t.graph, "w");
    assert_string_equal(m->kind->class_name, "Rescaling");
    assert_true(layer_attr(m, "scale")->u.floats.v[0] == 0.25);
    assert_true(layer_attr(m, "offset")->u.floats.v[0] == 0.5);
    assert_string_equal(w->kind->class_name, "Conv2D");
    assert_false(w->trainable);
    assert_string_equal(layer_string(w, "padding"), "same");
    assert_shape(t.graph, t.graph->output[0].node, SHAPE(SHAPE_UNKNOWN, 4, 4, 5));
    /* .weights.h5 knows it by its own class. */
    assert_string_equal(t.group[graph_find_layer(t.graph, "w")], "layers/wide");
    topology_clear(&t);
}

static void a_whole_config_goes_along(void **state) {
    (void)state;
    struct topology t;
    const char *json = OF_X("d", LAYER("MyDense", "d",
                                       ", \"units\": 3, \"activation\": \"relu\", \"use_bias\": "
                                       "false",
                                       ON_X));
    assert_success(read_with("{\"MyDense\": {\"class_name\": \"Dense\", \"config\": \"$all\"}}", json, &t));
    assert_int_equal(layer_int(layer_named(t.graph, "d"), "units"), 3);
    assert_false(layer_bool(layer_named(t.graph, "d"), "use_bias"));
    topology_clear(&t);
    /* But for what is said besides, or taken by name. */
    assert_success(
        read_with("{\"MyDense\": {\"class_name\": \"Dense\", \"config\": {\"$all\": true, \"units\": "
                  "\"$width\", \"activation\": \"tanh\"}}}",
                  OF_X("d", LAYER("MyDense", "d", ", \"width\": 6, \"use_bias\": false", ON_X)), &t));
    assert_int_equal(layer_int(layer_named(t.graph, "d"), "units"), 6);
    assert_string_equal(layer_string(layer_named(t.graph, "d"), "activation"), "tanh");
    assert_false(layer_bool(layer_named(t.graph, "d"), "use_bias"));
    topology_clear(&t);
    /* What the class does not have is a problem still. */
    assert_alias_error("{\"MyDense\": {\"class_name\": \"Dense\", \"config\": \"$all\"}}",
                       OF_X("d", LAYER("MyDense", "d", ", \"units\": 6, \"gain\": 2", ON_X)),
                       STATUS_UNSUPPORTED, "layer \"d\" (Dense): gain = 2");
}

static void chains_are_called_one_after_the_other(void **state) {
    (void)state;
    const char *aliases = "{\"Block\": [{\"class_name\": \"Conv2D\", \"config\": {\"filters\": \"$width\", "
                          "\"kernel_size\": 1}}, {\"class_name\": \"BatchNormalization\"}, {\"class_name\": "
                          "\"ReLU\", \"config\": {\"max_value\": 6}}]}";
    struct topology t;
    assert_success(
        read_with(aliases,
                  OF_X("d", LAYER("Block", "b", ", \"width\": 5, \"trainable\": false",
                                  ON_X) "," LAYER("Dense", "d", ", \"units\": 2", "[[[\"b\", 0, 0, {}]]]")),
                  &t));
    assert_int_equal(t.graph->nlayers, 5);
    int d = t.graph->output[0].node, relu = t.graph->node[d].in[0].node;
    assert_string_equal(layer_of(t.graph, relu)->kind->class_name, "ReLU");
    assert_string_equal(source(t.graph, relu, 0), "b_2");
    assert_string_equal(source(t.graph, t.graph->node[relu].in[0].node, 0), "b");
    assert_false(layer_named(t.graph, "b_2")->trainable);
    /* In a file their weights are those of one layer. */
    int b = graph_find_layer(t.graph, "b");
    assert_string_equal(t.top_name[t.top_of[b]], "b");
    assert_int_equal(t.top_of[graph_find_layer(t.graph, "b_2")], t.top_of[b]);
    topology_clear(&t);
}

static void bad_aliases_are_refused(void **state) {
    (void)state;
    const char *json = OF_X("m", LAYER("MultiplyBeta", "m", ", \"gain\": 2", ON_X));
    assert_alias_error("{\"MultiplyBeta\": {\"class_name\": \"Rescaling\", \"config\": {\"scale\": "
                       "\"$beta\"}}}",
                       json, STATUS_DATA,
                       "aliases.json: \"MultiplyBeta\" takes \"beta\" from the layer's config, which layer "
                       "\"m\" does not have");
    assert_alias_error("{\"MultiplyBeta\": {\"class_name\": \"Frobnicate\"}}", json, STATUS_UNSUPPORTED,
                       "layer \"m\" (Frobnicate)");
    assert_alias_error("{\"Other\": {\"class_name\": \"ReLU\"}}", json, STATUS_UNSUPPORTED,
                       "layer \"m\" (MultiplyBeta)");
    assert_alias_error("{\"MultiplyBeta\": \"Rescaling\"}", json, STATUS_DATA,
                       "aliases.json: \"MultiplyBeta\" must be");
    assert_alias_error("{\"MultiplyBeta\": {\"config\": {}}}", json, STATUS_DATA, "must be");
    assert_alias_error("{\"MultiplyBeta\": []}", json, STATUS_DATA, "must be");
    assert_alias_error("[]", json, STATUS_DATA, "must be a JSON object");
    assert_alias_error("{", json, STATUS_DATA, "not JSON");
    struct topology t = {0};
    struct keras_options options = {.aliases = in_folder("nowhere.json")};
    assert_error(topology_read(json, 2, &options, &t), STATUS_IO, "nowhere.json");
}

/* Keras's own classes mean what they mean, and code is not run, whatever the aliases say. */
static void own_classes_and_code_have_no_alias(void **state) {
    (void)state;
    struct topology t;
    assert_success(read_with("{\"ReLU\": {\"class_name\": \"Dense\", \"config\": {\"units\": 1}}}",
                             OF_X("r", LAYER("ReLU", "r", "", ON_X)), &t));
    assert_string_equal(layer_named(t.graph, "r")->kind->class_name, "ReLU");
    topology_clear(&t);
    assert_alias_error("{\"Lambda\": {\"class_name\": \"ReLU\"}}", OF_X("l", LAYER("Lambda", "l", "", ON_X)),
                       STATUS_UNSUPPORTED, "layer \"l\" (Lambda): code in a model is never run");
    assert_alias_error("{}",
                       OF_X("c",
                            "{\"class_name\": \"Own\", \"module\": \"mine\", \"name\": \"c\", \"config\": "
                            "{}, \"inbound_nodes\": " ON_X "}"),
                       STATUS_UNSUPPORTED, "layer \"c\" (Own): a custom class; --aliases can say");
}

static void custom_classes_are_told_by_module_and_package(void **state) {
    (void)state;
    static const char *const custom[] = {
        "\"class_name\": \"ReLU\", \"module\": \"keras_cv.layers\"",
        "\"class_name\": \"ReLU\", \"module\": \"tensorflow_addons.layers\"",
        "\"class_name\": \"ReLU\", \"registered_name\": \"keras_nlp>ReLU\"",
        "\"class_name\": \"Custom>ReLU\"",
    };
    static const char *const own[] = {
        "\"class_name\": \"ReLU\", \"module\": \"keras.src.layers.activations.relu\"",
        "\"class_name\": \"ReLU\", \"module\": \"keras\", \"registered_name\": null",
        "\"class_name\": \"ReLU\", \"module\": \"tf_keras.src.layers\", \"registered_name\": \"Keras>ReLU\"",
        "\"class_name\": \"ReLU\", \"module\": \"tensorflow.python.keras.layers\"",
        "\"class_name\": \"ReLU\", \"module\": null",
    };
    for (size_t i = 0; i < sizeof custom / sizeof *custom + sizeof own / sizeof *own; i++) {
        bool is_own = i >= sizeof custom / sizeof *custom;
        char *json = NULL;
        assert_true(asprintf(&json,
                             OF_X("r", "{%s, \"name\": \"r\", \"config\": {\"name\": \"r\"}, "
                                       "\"inbound_nodes\": " ON_X "}"),
                             is_own ? own[i - sizeof custom / sizeof *custom] : custom[i]) > 0);
        struct graph *graph = NULL;
        status error = keras_graph_from_json(json, &graph);
        assert_int_equal(status_code(error), is_own ? STATUS_OK : STATUS_UNSUPPORTED);
        status_drop(&error);
        graph_destroy(&graph);
        free(json);
    }
}

/* ---- activations that are layers ---- */

static void an_activation_may_be_a_layer(void **state) {
    (void)state;
    struct graph *graph =
        read_graph(OF_X("e", LAYER("Dense", "d",
                                   ", \"units\": 3, \"activation\": {\"module\": \"keras.layers\", "
                                   "\"class_name\": \"LeakyReLU\", \"config\": {\"name\": \"leaky\", "
                                   "\"negative_slope\": 0.1}, \"registered_name\": null}",
                                   ON_X) "," LAYER("Activation", "e",
                                                   ", \"activation\": {\"class_name\": \"ReLU\", \"config\": "
                                                   "{\"max_value\": 6}}",
                                                   "[[[\"d\", 0, 0, {}]]]")));
    assert_int_equal(graph->nlayers, 5);
    assert_string_equal(layer_string(layer_named(graph, "d"), "activation"), "linear");
    assert_true(layer_float(layer_named(graph, "leaky"), "negative_slope") == 0.1);
    int relu = graph->output[0].node;
    assert_string_equal(layer_of(graph, relu)->kind->class_name, "ReLU");
    assert_string_equal(source(graph, relu, 0), "e");
    assert_string_equal(source(graph, graph->node[relu].in[0].node, 0), "leaky");
    graph_destroy(&graph);
}

static void activations_by_function(void **state) {
    (void)state;
    struct graph *graph =
        read_graph(OF_X("d", LAYER("Dense", "d",
                                   ", \"units\": 3, \"activation\": {\"module\": \"builtins\", "
                                   "\"class_name\": \"function\", \"config\": \"swish\", "
                                   "\"registered_name\": \"function\"}",
                                   ON_X)));
    assert_string_equal(layer_string(layer_named(graph, "d"), "activation"), "silu");
    char *text = NULL;
    assert_success(keras_graph_to_json(graph, &text)); /* Keras 2 has it as swish */
    assert_non_null(strstr(text, "\"activation\":\"swish\""));
    free(text);
    assert_success(topology_write(graph, TOPOLOGY_KERAS3, &text));
    assert_non_null(strstr(text, "\"activation\":\"silu\""));
    free(text);
    graph_destroy(&graph);
    /* One of the user's own, even if it is named like one of Keras. */
    refuse(OF_X("d", LAYER("Dense", "d",
                           ", \"units\": 3, \"activation\": {\"module\": \"builtins\", "
                           "\"class_name\": \"function\", \"config\": \"relu\", "
                           "\"registered_name\": \"mine>relu\"}",
                           ON_X)),
           STATUS_UNSUPPORTED, "layer \"d\" (Dense): activation = mine>relu, a custom function");
}

/* ---- inputs ---- */

static void inputs_keep_their_type(void **state) {
    (void)state;
    struct graph *graph = read_graph(OF_X("r", LAYER("ReLU", "r", "", ON_X)));
    assert_string_equal(layer_string(layer_named(graph, "x"), "dtype"), "float32");
    graph_destroy(&graph);
    graph = read_graph(SEQUENTIAL(LAYER(
        "InputLayer", "x", ", \"batch_shape\": [null, 3], \"dtype\": \"int32\"", "[]") "," DENSE("d", "2")));
    assert_string_equal(layer_string(layer_named(graph, "x"), "dtype"), "int32");
    for (int dialect = 0; dialect < 2; dialect++) {
        char *text = NULL;
        assert_success(topology_write(graph, dialect ? TOPOLOGY_KERAS3 : TOPOLOGY_COMMON, &text));
        assert_non_null(strstr(text, "\"dtype\":\"int32\""));
        struct graph *again = read_graph(text);
        assert_graphs_equal(graph, again);
        graph_destroy(&again);
        free(text);
    }
    graph_destroy(&graph);
    refuse(SEQUENTIAL(LAYER("InputLayer", "x", ", \"batch_shape\": [null, 3], \"dtype\": \"string\"",
                            "[]") "," DENSE("d", "2")),
           STATUS_UNSUPPORTED, "layer \"x\" (InputLayer): dtype = \"string\"");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(values_come_from_the_custom_config),
        IN_FOLDER(a_whole_config_goes_along),
        IN_FOLDER(chains_are_called_one_after_the_other),
        IN_FOLDER(bad_aliases_are_refused),
        IN_FOLDER(own_classes_and_code_have_no_alias),
        cmocka_unit_test(custom_classes_are_told_by_module_and_package),
        cmocka_unit_test(an_activation_may_be_a_layer),
        cmocka_unit_test(activations_by_function),
        cmocka_unit_test(inputs_keep_their_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
