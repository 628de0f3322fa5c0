/* Topologies written: read, written and read again they are the same, in both dialects. */
#include "io/keras/container.h"
#include "io/keras/topology.h"
#include "io/keras/topology_json.h"

#include "io/topology_testing.h"

#include <cjson/cJSON.h>

static cJSON *written(const struct graph *graph, enum topology_dialect dialect) {
    char *text = NULL;
    cJSON *json = NULL;
    assert_success(topology_write(graph, dialect, &text));
    assert_success(topology_parse(text, &json));
    free(text);
    return json;
}

/* Member of member of ...: "config.layers.1.name"; numbers count in lists. */
static const cJSON *at(const cJSON *json, const char *path) {
    char part[64];
    for (const char *c = path; *c;) {
        size_t length = strcspn(c, ".");
        assert_true(length < sizeof part);
        memcpy(part, c, length);
        part[length] = 0;
        json = cJSON_IsArray(json) ? cJSON_GetArrayItem(json, atoi(part)) : topology_member(json, part);
        c += length + (c[length] == '.');
    }
    return json;
}

static void assert_at(const cJSON *json, const char *path, const char *expected) {
    char *text = cJSON_PrintUnformatted(at(json, path));
    if (!text || strcmp(text, expected))
        fail_msg("%s is %s, not %s", path, text ? text : "missing", expected);
    cJSON_free(text);
}

static void round_trip_graph(const struct graph *graph) {
    static const enum topology_dialect dialects[] = {TOPOLOGY_COMMON, TOPOLOGY_KERAS3};
    for (int i = 0; i < 2; i++) {
        char *text = NULL, *again = NULL;
        struct graph *read = NULL;
        assert_success(topology_write(graph, dialects[i], &text));
        read = read_graph(text);
        assert_graphs_equal(graph, read);
        assert_int_equal(read->sequential, graph->sequential);
        /* What was written and read is written alike. */
        assert_success(topology_write(read, dialects[i], &again));
        assert_string_equal(text, again);
        graph_destroy(&read);
        free(text);
        free(again);
    }
}

static void round_trip(const char *json) {
    struct graph *graph = read_graph(json);
    round_trip_graph(graph);
    graph_destroy(&graph);
}

static const char chain[] = SEQUENTIAL(INPUT("x", "[null, 9, 8, 3]") "," LAYER(
    "Conv2D", "c", ", \"filters\": 4, \"kernel_size\": 3, \"groups\": 1, \"trainable\": false",
    "[]") "," LAYER("LeakyReLU", "l", ", \"alpha\": 0.25",
                    "[]") "," LAYER("ZeroPadding2D", "z", ", \"padding\": [[1, 0], [2, 1]]",
                                    "[]") "," LAYER("GlobalAveragePooling2D", "g", "", "[]") "," DENSE("d",
                                                                                                       "5"));

static const char graph_text[] = MODEL(
    INPUT("a", "[null, null, 8, 2]") "," INPUT("b", "[null, null, 8, 2]") "," LAYER(
        "Conv2D", "c", ", \"filters\": 4, \"kernel_size\": [3, 1], \"groups\": 2, \"padding\": \"same\"",
        "[[[\"a\", 0, 0, {}]], [[\"b\", 0, 0, {}]]]") "," LAYER("Concatenate", "cat", ", \"axis\": -1",
                                                                "[[[\"c\", 1, 0, {}], [\"a\", 0, 0, {}], "
                                                                "[\"c\", 0, 0, {}]]]") "," LAYER("GlobalMaxPo"
                                                                                                 "oling2D",
                                                                                                 "g",
                                                                                                 ", "
                                                                                                 "\"keepdims"
                                                                                                 "\": true",
                                                                                                 "[[[\"cat\","
                                                                                                 " 0, 0, "
                                                                                                 "{}]]]"),
    "[[\"a\", 0, 0], [\"b\", 0, 0]]", "[[\"g\", 0, 0], [\"c\", 1, 0]]");

static void graphs_are_the_same_in_both_dialects(void **state) {
    (void)state;
    round_trip(chain);
    round_trip(graph_text);
}

/* As Keras 2 and Keras 3 write what tutorials begin with. */
static void layers_that_augment_do_nothing(void **state) {
    (void)state;
    static const char *const json[] = {
        SEQUENTIAL(INPUT("x", "[null, 8, 6, 3]") "," LAYER(
            "RandomFlip", "flip", ", \"seed\": 1, \"mode\": \"horizontal\"",
            "[]") "," LAYER("RandomRotation", "turn",
                            ", \"factor\": 0.1, \"fill_mode\": \"reflect\", \"fill_value\": "
                            "0.0, \"interpolation\": \"bilinear\", \"seed\": null",
                            "[]") "," LAYER("RandomZoom", "zoom",
                                            ", \"height_factor\": 0.2, \"width_factor\": null, "
                                            "\"fill_mode\": "
                                            "\"reflect\", \"fill_value\": 0.0, \"interpolation\": "
                                            "\"bilinear\", \"seed\": null",
                                            "[]")),
        SEQUENTIAL(INPUT("x", "[null, 8, 6, 3]") "," LAYER(
            "RandomFlip", "flip",
            ", \"seed\": null, \"mode\": \"horizontal\", \"data_format\": "
            "\"channels_last\"",
            "[]") "," LAYER("RandomRotation", "turn",
                            ", \"factor\": [-0.1, 0.1], \"data_format\": \"channels_last\", "
                            "\"fill_mode\": \"reflect\", \"fill_value\": 0.0, \"interpolation\": "
                            "\"bilinear\", "
                            "\"seed\": null",
                            "[]") "," LAYER("RandomContrast", "zoom",
                                            ", \"factor\": [0.2, 0.2], \"value_range\": [0, 255], \"seed\": "
                                            "null",
                                            "[]")),
    };
    for (int i = 0; i < 2; i++) {
        struct graph *graph = read_graph(json[i]);
        struct opgraph *ops = NULL;
        assert_success(graph_infer(graph));
        assert_int_equal(graph->nnodes, 4);
        assert_shape(graph, 3, (struct shape){4, {SHAPE_UNKNOWN, 8, 6, 3}});
        assert_success(graph_lower(graph, &ops, NULL));
        assert_int_equal(ops->nops, 0);
        opgraph_destroy(&ops);
        graph_destroy(&graph);
        round_trip(json[i]);
    }
}

static void a_chain_for_keras3(void **state) {
    (void)state;
    struct graph *graph = read_graph(chain);
    cJSON *json = written(graph, TOPOLOGY_KERAS3);
    /* As Keras 3.16 writes them (shared/models/keras3/seq_cnn.keras). */
    assert_at(json, "module", "\"keras\"");
    assert_at(json, "class_name", "\"Sequential\"");
    assert_at(json, "registered_name", "null");
    assert_at(json, "config.name", "\"s\"");
    assert_at(json, "config.build_input_shape", "[null,9,8,3]");
    assert_at(json, "config.dtype.class_name", "\"DTypePolicy\"");
    assert_at(json, "config.layers.0.module", "\"keras.layers\"");
    assert_at(json, "config.layers.0.class_name", "\"InputLayer\"");
    assert_at(json, "config.layers.0.config.batch_shape", "[null,9,8,3]");
    assert_at(json, "config.layers.0.config.dtype", "\"float32\"");
    assert_null(at(json, "config.layers.0.config.batch_input_shape"));
    assert_at(json, "config.layers.1.registered_name", "null");
    assert_at(json, "config.layers.1.build_config", "{\"input_shape\":[null,9,8,3]}");
    assert_at(json, "config.layers.1.config.trainable", "false");
    assert_at(json, "config.layers.1.config.dtype",
              "{\"module\":\"keras\",\"class_name\":\"DTypePolicy\",\"config\":{\"name\":\"float32\"},"
              "\"registered_name\":null}");
    assert_at(json, "config.layers.1.config.kernel_size", "[3,3]");
    assert_null(at(json, "config.layers.1.config.groups")); /* not needed */
    assert_null(at(json, "config.layers.1.inbound_nodes"));
    assert_at(json, "config.layers.2.config.negative_slope", "0.25");
    assert_null(at(json, "config.layers.2.config.alpha"));
    assert_null(at(json, "config.layers.2.build_config"));
    assert_at(json, "config.layers.3.config.padding", "[[1,0],[2,1]]");
    assert_null(at(json, "config.layers.4.config.keepdims"));
    cJSON_Delete(json);
    graph_destroy(&graph);
}

static void calls_for_keras3(void **state) {
    (void)state;
    struct graph *graph = read_graph(graph_text);
    cJSON *json = written(graph, TOPOLOGY_KERAS3);
    /* As Keras 3.16 writes them (shared/models/keras3/graph_mix.keras). */
    assert_at(json, "module", "\"keras.src.models.functional\"");
    assert_at(json, "registered_name", "\"Functional\"");
    assert_at(json, "config.input_layers", "[[\"a\",0,0],[\"b\",0,0]]");
    assert_at(json, "config.output_layers", "[[\"g\",0,0],[\"c\",1,0]]");
    int c = -1, cat = -1, n = cJSON_GetArraySize(at(json, "config.layers"));
    char path[80];
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "config.layers.%d.name", i);
        if (!strcmp(cJSON_GetStringValue(at(json, path)), "c")) c = i;
        if (!strcmp(cJSON_GetStringValue(at(json, path)), "cat")) cat = i;
    }
    snprintf(path, sizeof path, "config.layers.%d.inbound_nodes.1", c);
    assert_at(at(json, path), "args.0.class_name", "\"__keras_tensor__\"");
    assert_at(at(json, path), "args.0.config.shape", "[null,null,8,2]");
    assert_at(at(json, path), "args.0.config.dtype", "\"float32\"");
    assert_at(at(json, path), "args.0.config.keras_history", "[\"b\",0,0]");
    assert_at(at(json, path), "kwargs", "{}");
    snprintf(path, sizeof path, "config.layers.%d.config.groups", c);
    assert_at(json, path, "2");
    /* A layer that takes a list gets one. */
    snprintf(path, sizeof path, "config.layers.%d.inbound_nodes.0.args", cat);
    assert_int_equal(cJSON_GetArraySize(at(json, path)), 1);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetArrayItem(at(json, path), 0)), 3);
    assert_at(at(json, path), "0.0.config.keras_history", "[\"c\",1,0]");
    cJSON_Delete(json);
    graph_destroy(&graph);
}

/* ---- calls with several arguments ---- */

static const struct attr_spec attention_attrs[] = {
    {.name = "use_causal_mask", .type = ATTR_BOOL, .initial = "false", .call = true},
    {.name = "use_scale", .keras2 = "scaled", .type = ATTR_BOOL, .initial = "false"}};

static status infer_first(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                          int *nout) {
    (void)layer, (void)nin;
    out[0] = in[0];
    *nout = 1;
    return SUCCESS;
}

static const struct layer_kind attention = {.class_name = "MyAttention",
                                            .module = "",
                                            .attrs = attention_attrs,
                                            .nattrs = 2,
                                            .min_inputs = 1,
                                            .max_inputs = 5,
                                            .call_args = "query|value|states",
                                            .infer = infer_first};

/* x, then attention on x `nin` times. */
static struct graph *attention_graph(int nin, bool causal) {
    struct graph *graph = NULL;
    struct layer layer;
    struct edge in[5] = {{0, 0}, {0, 0}, {0, 0}, {0, 0}, {0, 0}};
    assert_success(graph_create("m", &graph));
    assert_success(layer_create(layer_kind_find("InputLayer"), "x", &layer));
    layer_attr(&layer, "batch_shape")->present = true;
    layer_attr(&layer, "batch_shape")->u.ints.n = 2;
    layer_attr(&layer, "batch_shape")->u.ints.v = calloc(2, sizeof(int64_t));
    layer_attr(&layer, "batch_shape")->u.ints.v[1] = 4;
    assert_success(graph_add_layer(graph, &layer, NULL));
    assert_success(layer_create(&attention, "a", &layer));
    layer_attr(&layer, "use_causal_mask")->u.b = causal;
    assert_success(graph_add_layer(graph, &layer, NULL));
    assert_success(graph_add_node(graph, 0, 0, NULL, NULL));
    assert_success(graph_add_node(graph, 1, nin, in, NULL));
    assert_success(graph_add_input(graph, (struct edge){0, 0}));
    assert_success(graph_add_output(graph, (struct edge){1, 0}));
    assert_success(graph_infer(graph));
    return graph;
}

static void several_arguments_need_keras3(void **state) {
    (void)state;
    const char *node = "config.layers.1.inbound_nodes.0";
    struct graph *graph = attention_graph(1, true);
    assert_int_equal(topology_dialect_of(graph), TOPOLOGY_COMMON);
    cJSON *json = written(graph, TOPOLOGY_COMMON);
    assert_at(json, node, "[[\"x\",0,0,{\"use_causal_mask\":true}]]");
    assert_at(json, "config.layers.1.config.scaled", "false");
    assert_null(at(json, "config.layers.1.config.use_causal_mask"));
    cJSON_Delete(json);
    graph_destroy(&graph);

    graph = attention_graph(2, false);
    assert_int_equal(topology_dialect_of(graph), TOPOLOGY_KERAS3);
    json = written(graph, TOPOLOGY_KERAS3);
    assert_at(at(json, node), "args.0.config.keras_history", "[\"x\",0,0]");
    assert_at(at(json, node), "kwargs.value.config.keras_history", "[\"x\",0,0]");
    assert_null(at(json, "config.layers.1.inbound_nodes.0.kwargs.use_causal_mask"));
    assert_at(json, "config.layers.1.module", "null");
    assert_at(json, "config.layers.1.registered_name", "\"MyAttention\"");
    assert_at(json, "config.layers.1.config.use_scale", "false");
    cJSON_Delete(json);
    graph_destroy(&graph);

    /* The last name takes what is left, as a list. */
    graph = attention_graph(4, true);
    json = written(graph, TOPOLOGY_KERAS3);
    assert_int_equal(cJSON_GetArraySize(at(at(json, node), "kwargs.states")), 2);
    assert_at(at(json, node), "kwargs.use_causal_mask", "true");
    cJSON_Delete(json);
    graph_destroy(&graph);
}

/* hard_sigmoid is not the same function in Keras 2 and Keras 3. */
static void what_keras3_computes_otherwise_is_refused(void **state) {
    (void)state;
    struct graph *graph = read_graph(SEQUENTIAL(INPUT("x", "[null, 3]") "," LAYER(
        "Dense", "d", ", \"units\": 2, \"activation\": \"hard_sigmoid\"", "[]")));
    char *text = NULL;
    assert_error(topology_write(graph, TOPOLOGY_KERAS3, &text), STATUS_UNSUPPORTED,
                 "layer \"d\" (Dense): activation is that of Keras 2");
    assert_success(topology_write(graph, TOPOLOGY_COMMON, &text));
    free(text);
    graph->keras_version = 3;
    assert_success(topology_write(graph, TOPOLOGY_KERAS3, &text));
    free(text);
    graph_destroy(&graph);
}

/* Files that Keras itself wrote. */
static void real_files_are_the_same_in_both_dialects(void **state) {
    (void)state;
    static const char *const files[] = {"keras3/seq_cnn.h5",     "keras3/mobilenet_v2.h5",
                                        "keras3/graph_mix.h5",   "keras3/lstm_text.h5",
                                        "keras3/transformer.h5", "fer2013_big_XCEPTION.hdf5"};
    int n = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/models/%s", GODWIT_SHARED_DIR, files[i]);
        if (access(path, R_OK)) continue;
        struct keras_file *file = NULL;
        struct graph *graph = NULL;
        assert_success(keras_open(path, NULL, &file, &graph));
        keras_close(&file);
        round_trip_graph(graph);
        graph_destroy(&graph);
        n++;
    }
    if (!n) {
        print_message("no model in %s/models\n", GODWIT_SHARED_DIR);
        skip();
    }
}

/* ---- against what Keras 3.16 wrote ---- */

static const cJSON *layer_of_json(const cJSON *model, const char *name) {
    const cJSON *layers = topology_member(topology_member(model, "config"), "layers");
    for (const cJSON *layer = layers->child; layer; layer = layer->next) {
        const char *is = topology_string(topology_member(layer, "config"), "name");
        if (is && !strcmp(is, name)) return layer;
    }
    fail_msg("there is no layer \"%s\"", name);
    return NULL;
}

static void assert_same(const cJSON *is, const cJSON *should, const char *name, const char *key) {
    if (should && cJSON_Compare(is, should, 1)) return;
    char *a = cJSON_PrintUnformatted(is), *b = should ? cJSON_PrintUnformatted(should) : NULL;
    fail_msg("\"%s\": %s is %s, not %s", name, key, a, b ? b : "there");
}

/* Every key of a config is one that Keras writes, and has the value that it writes; of layers inside, too. */
static void assert_config(const cJSON *is, const cJSON *should, const char *name) {
    for (const cJSON *item = is->child; item; item = item->next) {
        const cJSON *other = topology_member(should, item->string);
        if (cJSON_IsObject(item) && topology_member(item, "config") && topology_member(other, "config"))
            assert_config(item, other, name);
        else if (!strcmp(item->string, "config")) assert_config(item, other, name);
        else assert_same(item, other, name, item->string);
    }
}

static void keras3_writes_the_same(void **state) {
    (void)state;
    static const char *const files[] = {"seq_cnn", "mobilenet_v2", "graph_mix", "lstm_text", "transformer"};
    int n = 0;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[512], *text = NULL, *mine = NULL;
        int version;
        snprintf(path, sizeof path, "%s/models/keras3/%s.keras", GODWIT_SHARED_DIR, files[i]);
        if (access(path, R_OK)) continue;
        assert_success(container_topology(path, &text, &version));
        struct graph *graph = read_graph(text);
        assert_success(topology_write(graph, TOPOLOGY_KERAS3, &mine));
        cJSON *theirs = NULL, *ours = NULL;
        assert_success(topology_parse(text, &theirs));
        assert_success(topology_parse(mine, &ours));
        static const char *const keys[] = {"module", "class_name", "registered_name"};
        for (int k = 0; k < 3; k++)
            assert_same(topology_member(ours, keys[k]), topology_member(theirs, keys[k]), files[i], keys[k]);
        const cJSON *layers = topology_member(topology_member(ours, "config"), "layers");
        for (const cJSON *layer = layers->child; layer; layer = layer->next) {
            const char *name = topology_string(topology_member(layer, "config"), "name");
            const cJSON *other = layer_of_json(theirs, name);
            for (int k = 0; k < 3; k++)
                assert_same(topology_member(layer, keys[k]), topology_member(other, keys[k]), name, keys[k]);
            assert_config(topology_member(layer, "config"), topology_member(other, "config"), name);
            const cJSON *build = topology_member(layer, "build_config");
            if (build) assert_same(build, topology_member(other, "build_config"), name, "build_config");
            const cJSON *call = topology_member(layer, "inbound_nodes");
            const cJSON *its = topology_member(other, "inbound_nodes");
            if (!call || !call->child || layer_named(graph, name)->kind->call_args) continue;
            assert_same(topology_member(call->child, "args"), topology_member(its->child, "args"), name,
                        "args");
        }
        cJSON_Delete(theirs);
        cJSON_Delete(ours);
        graph_destroy(&graph);
        free(text);
        free(mine);
        n++;
    }
    if (!n) {
        print_message("no model in %s/models\n", GODWIT_SHARED_DIR);
        skip();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(graphs_are_the_same_in_both_dialects),
        cmocka_unit_test(real_files_are_the_same_in_both_dialects),
        cmocka_unit_test(keras3_writes_the_same),
        cmocka_unit_test(layers_that_augment_do_nothing),
        cmocka_unit_test(a_chain_for_keras3),
        cmocka_unit_test(calls_for_keras3),
        cmocka_unit_test(several_arguments_need_keras3),
        cmocka_unit_test(what_keras3_computes_otherwise_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
