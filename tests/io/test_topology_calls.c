/* Calls of layers: which argument is which input, and which is an attribute. */
#include "io/keras/topology.h"
#include "io/keras/topology_json.h"
#include "io/keras/topology_scope.h"

#include "io/topology_testing.h"

#include <cjson/cJSON.h>

/* A layer as MultiHeadAttention is: three inputs by name, and options that the call gives. */
static const struct attr_spec attention_attrs[] = {
    {.name = "use_causal_mask", .type = ATTR_BOOL, .initial = "false", .call = true},
    {.name = "heads", .type = ATTR_INT, .initial = "1"},
};
static const struct layer_kind attention = {.class_name = "Attention",
                                            .attrs = attention_attrs,
                                            .nattrs = 2,
                                            .min_inputs = 2,
                                            .max_inputs = 3,
                                            .call_args = "query|value|key"};

/* And as LSTM is: the states are a list. */
static const struct layer_kind recurrent = {
    .class_name = "Recurrent", .min_inputs = 1, .max_inputs = 3, .call_args = "sequences|initial_state"};

static const struct layer_kind merge = {.class_name = "Merge", .min_inputs = 1, .max_inputs = -1};

struct bound {
    struct layer layer;
    struct problems problems;
    char inputs[64], masks[64]; /* names of the layers, a blank after each */
};

static void bind(struct bound *b, const struct layer_kind *kind, const char *text, bool first) {
    struct topology_args args = {0};
    struct topology_count count = {0};
    struct topology_reading reading = {.keras_version = 3, .problems = &b->problems, .count = &count};
    const struct topology_tensor *in[16], *mask[16];
    int masked[16];
    struct topology_bound bound = {.in = in, .mask = mask, .masked = masked};
    cJSON *json = NULL;
    assert_success(topology_parse(text, &json));
    if (first) assert_success(layer_create(kind, "x", &b->layer));
    assert_success(topology_args_read(json, &args));
    assert_true(args.ntensors <= 16);
    assert_success(topology_bind(&args, first, &reading, "x", &b->layer, &bound));
    b->inputs[0] = 0;
    b->masks[0] = 0;
    for (int i = 0; i < bound.nin; i++) sprintf(b->inputs + strlen(b->inputs), "%s ", in[i]->layer);
    for (int i = 0; i < bound.nmasks; i++)
        sprintf(b->masks + strlen(b->masks), "%s for %d ", mask[i]->layer, masked[i]);
    topology_args_clear(&args);
    cJSON_Delete(json);
}

static void clear(struct bound *b) {
    layer_clear(&b->layer);
    problems_clear(&b->problems);
}

static void assert_bound(const struct layer_kind *kind, const char *text, const char *inputs) {
    struct bound b = {0};
    bind(&b, kind, text, true);
    if (b.problems.n) fail_msg("%s: %s", text, b.problems.problem[0].text);
    assert_string_equal(b.inputs, inputs);
    clear(&b);
}

static void assert_problem(const struct layer_kind *kind, const char *text, const char *part) {
    struct bound b = {0};
    bind(&b, kind, text, true);
    if (!b.problems.n || !strstr(b.problems.problem[0].text, part))
        fail_msg("'%s' is not in '%s'", part, b.problems.n ? b.problems.problem[0].text : "");
    clear(&b);
}

#define T(name) TENSOR(name, "[null, 4]")
#define CALL(args, kwargs) "{\"args\": [" args "], \"kwargs\": {" kwargs "}}"

static void inputs_by_position_and_by_name(void **state) {
    (void)state;
    assert_bound(&attention, CALL(T("q") ", " T("v"), ""), "q v ");
    assert_bound(&attention, CALL(T("q"), "\"value\": " T("v")), "q v ");
    assert_bound(&attention, CALL(T("q"), "\"key\": " T("k") ", \"value\": " T("v")), "q v k ");
    assert_bound(&attention, CALL("", "\"key\": " T("k") ", \"value\": " T("v") ", \"query\": " T("q")),
                 "q v k ");
    assert_bound(&attention, CALL(T("q") ", " T("v") ", null", "\"training\": false, \"query_mask\": null"),
                 "q v ");
    assert_bound(&attention, "[[\"q\", 0, 0, {\"value\": [\"v\", 0, 0], \"training\": null}]]", "q v ");
    assert_bound(&attention, "[[\"q\", 0, 0, {\"key\": [\"k\", 2, 1], \"value\": [\"v\", 0, 0]}]]", "q v k ");
    assert_bound(&recurrent, CALL(T("s"), "\"initial_state\": [" T("h") ", " T("c") "], \"mask\": null"),
                 "s h c ");
    assert_bound(&recurrent, CALL(T("s"), "\"initial_state\": " T("h")), "s h ");
    assert_bound(&recurrent, CALL(T("s") ", [" T("h") ", " T("c") "]", ""), "s h c ");
    assert_bound(&recurrent, "[[\"s\", 0, 0, {}], [\"h\", 0, 0, {}], [\"c\", 0, 0, {}]]", "s h c ");
    assert_bound(&recurrent, "[[\"s\", 0, 0, {\"initial_state\": [[\"h\", 0, 0], [\"c\", 0, 0]]}]]",
                 "s h c ");
    assert_bound(&recurrent, CALL("", "\"inputs\": " T("s")), "s ");
    assert_bound(&merge, CALL("[" T("a") ", " T("b") ", " T("c") "]", ""), "a b c ");
    assert_bound(&merge, CALL("[" T("a") ", [" T("b") ", [" T("c") "]]]", ""), "a b c ");
    assert_bound(&merge, CALL("[" T("a") ", " T("b") ", null]", ""), "a b ");
    assert_bound(&merge, CALL("{\"class_name\": \"__tuple__\", \"items\": [" T("a") ", " T("b") "]}", ""),
                 "a b ");
    assert_bound(&merge, "[[\"a\", 0, 0], [\"b\", 0, 0]]", "a b ");
    /* What is in an object comes in the order of its keys. */
    assert_bound(&merge, "{\"z\": [\"a\", 0, 0, {}], \"m\": [\"b\", 0, 0, {}]}", "b a ");
    assert_bound(&merge, CALL("{\"z\": " T("a") ", \"m\": " T("b") "}", ""), "b a ");
}

static void what_does_not_fit_is_a_problem(void **state) {
    (void)state;
    assert_problem(&attention, CALL(T("q") ", " T("v") ", " T("k") ", " T("m"), ""),
                   "layer \"x\": called with {");
    assert_problem(&attention, CALL(T("q") ", 3", ""), "layer \"x\": called with 3");
    assert_problem(&attention, CALL(T("q"), "\"value\": 3"), "called with value = 3");
    assert_problem(&attention, CALL(T("q"), "\"key\": " T("k")),
                   "layer \"x\" (Attention): called without value");
    assert_problem(&attention, CALL(T("q") ", " T("v"), "\"value\": " T("v")), "called with value = {");
    assert_problem(&attention, CALL(T("q") ", " T("v"), "\"attention_mask\": " T("m")),
                   "called with attention_mask = {");
    assert_problem(&attention, CALL(T("q") ", " T("v"), "\"training\": true"), "called with training = true");
    assert_problem(&attention, CALL(T("q") ", " T("v"), "\"return_attention_scores\": true"),
                   "called with return_attention_scores = true");
    assert_problem(&merge, CALL("[" T("a") ", 2.5]", ""), "called with [");
    assert_problem(&merge, CALL("[null, " T("a") "]", ""), "called with [null");
    assert_problem(&merge, CALL(T("a") ", " T("b"), ""), "called with {");
    assert_problem(&merge, "[[\"_CONSTANT_VALUE\", -1, 3.5, {}]]", "called with [[\"_CONSTANT_VALUE\"");
}

static void options_of_calls_are_attributes(void **state) {
    (void)state;
    struct bound b = {0};
    const char *causal = CALL(T("q") ", " T("v"), "\"use_causal_mask\": true");
    bind(&b, &attention, causal, true);
    assert_true(layer_bool(&b.layer, "use_causal_mask"));
    bind(&b, &attention, "[[\"q\", 0, 0, {\"value\": [\"v\", 0, 0], \"use_causal_mask\": true}]]", false);
    assert_int_equal(b.problems.n, 0);
    /* The layer has one value for all its calls. */
    bind(&b, &attention, CALL(T("q") ", " T("v"), ""), false);
    assert_int_equal(b.problems.n, 1);
    assert_non_null(strstr(b.problems.problem[0].text,
                           "layer \"x\" (Attention): called with different values of use_causal_mask"));
    clear(&b);
    bind(&b, &attention, CALL(T("q") ", " T("v"), ""), true);
    assert_false(layer_bool(&b.layer, "use_causal_mask"));
    assert_int_equal(b.problems.n, 0);
    clear(&b);
}

static void calls_that_are_none_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "3",
        "\"a\"",
        "{\"args\": 3}",
        CALL("{\"class_name\": \"__keras_tensor__\", \"config\": {\"shape\": [null]}}", ""),
        CALL("{\"class_name\": \"__keras_tensor__\", \"config\": {\"keras_history\": [3, 0, 0]}}", ""),
        CALL("{\"class_name\": \"__keras_tensor__\", \"config\": {\"keras_history\": [\"a\", -1, 0]}}", ""),
        CALL("{\"class_name\": \"__keras_tensor__\", \"config\": {\"keras_history\": [\"a\", 1e9, 0]}}", "")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct topology_args args = {0};
        cJSON *json = NULL;
        assert_success(topology_parse(bad[i], &json));
        assert_error(topology_args_read(json, &args), STATUS_DATA, "");
        topology_args_clear(&args);
        cJSON_Delete(json);
    }
}

static void masks_are_for_inputs(void **state) {
    (void)state;
    static const struct {
        const struct layer_kind *kind;
        const char *call, *masks;
    } cases[] = {
        {&recurrent, CALL(T("s"), "\"mask\": " T("m")), "m for 0 "},
        {&attention, CALL(T("q") ", " T("v"), "\"value_mask\": " T("m") ", \"query_mask\": " T("n")),
         "m for 1 n for 0 "},
        {&merge, CALL("[" T("a") ", " T("b") ", " T("c") "]", "\"mask\": [" T("m") ", null, " T("n") "]"),
         "m for 0 n for 2 "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bound b = {0};
        bind(&b, cases[i].kind, cases[i].call, true);
        assert_int_equal(b.problems.n, 0);
        assert_string_equal(b.masks, cases[i].masks);
        clear(&b);
    }
}

/* Outputs in an object, as a model made with dictionaries has them, by key. */
static void ends_by_name(void **state) {
    (void)state;
    struct graph *graph = read_graph(MODEL(
        INPUT("b", "[null, 2]") "," INPUT("a", "[null, 3]") "," LAYER(
            "Concatenate", "c", "", "[[[\"b\", 0, 0, {}], [\"a\", 0, 0, {}]]]"),
        "{\"y\": [\"b\", 0, 0], \"x\": [\"a\", 0, 0]}", "{\"q\": [\"c\", 0, 0], \"p\": [\"a\", 0, 0]}"));
    assert_string_equal(layer_of(graph, graph->input[0].node)->name, "a");
    assert_string_equal(layer_of(graph, graph->output[0].node)->name, "a");
    assert_shape(graph, graph->output[1].node, SHAPE(SHAPE_UNKNOWN, 5));
    graph_destroy(&graph);
}

/* ---- kinds that there are ---- */

#define NODE(class_name, name, config, args, kwargs)                                                         \
    "{\"class_name\": \"" class_name "\", \"name\": \"" name "\", \"config\": {\"name\": \"" name            \
    "\", \"trainable\": true" config "}, \"inbound_nodes\": [" CALL(args, kwargs) "]}"
#define SEQUENCE(name) TENSOR(name, "[null, 5, 8]")

static void round_trip(const struct graph *graph) {
    static const enum topology_dialect dialects[] = {TOPOLOGY_COMMON, TOPOLOGY_KERAS3};
    for (int i = topology_dialect_of(graph) == TOPOLOGY_KERAS3; i < 2; i++) {
        char *text = NULL;
        assert_success(topology_write(graph, dialects[i], &text));
        struct graph *again = read_graph(text);
        assert_graphs_equal(graph, again);
        graph_destroy(&again);
        free(text);
    }
}

static void attention_by_keyword(void **state) {
    (void)state;
    static const char *const args[][2] = {
        {SEQUENCE("x") ", " SEQUENCE("y"), "\"key\": " SEQUENCE("x") ", \"use_causal_mask\": true"},
        {SEQUENCE("x"), "\"key\": " SEQUENCE("x") ", \"use_causal_mask\": true, \"value\": " SEQUENCE("y")},
    };
    for (int i = 0; i < 2; i++) {
        char *json = NULL;
        assert_true(
            asprintf(
                &json,
                MODEL(INPUT("x", "[null, 5, 8]") ", " INPUT(
                          "y", "[null, 5, 8]") ", {\"class_name\": "
                                               "\"MultiHeadAttention\", \"name\": \"m\", \"config\": "
                                               "{\"name\": \"m\", "
                                               "\"trainable\": true, \"num_heads\": 2, \"key_dim\": 4}, "
                                               "\"inbound_nodes\": [{\"args\": [%s], \"kwargs\": {%s}}]}",
                      "[[\"x\", 0, 0], [\"y\", 0, 0]]", "[\"m\", 0, 0]"),
                args[i][0], args[i][1]) > 0);
        struct graph *graph = read_graph(json);
        int m = graph->output[0].node;
        assert_int_equal(graph->node[m].nin, 3);
        assert_string_equal(source(graph, m, 1), "y");
        assert_string_equal(source(graph, m, 2), "x");
        assert_true(layer_bool(layer_of(graph, m), "use_causal_mask"));
        assert_int_equal(topology_dialect_of(graph), TOPOLOGY_KERAS3);
        round_trip(graph);
        graph_destroy(&graph);
        free(json);
    }
}

static void states_by_keyword(void **state) {
    (void)state;
    struct graph *graph = read_graph(
        MODEL(INPUT("x", "[null, 5, 8]") ", " INPUT("h", "[null, 3]") ", " INPUT("c", "[null, 3]") ", " NODE(
                  "LSTM", "l", ", \"units\": 3", SEQUENCE("x"),
                  "\"mask\": null, \"initial_state\": [" TENSOR("h", "[null, 3]") ", " TENSOR(
                      "c", "[null, 3]") "]"),
              "[[\"x\", 0, 0], [\"h\", 0, 0], [\"c\", 0, 0]]", "[\"l\", 0, 0]"));
    int l = graph->output[0].node;
    assert_int_equal(graph->node[l].nin, 3);
    assert_string_equal(source(graph, l, 2), "c");
    round_trip(graph);
    graph_destroy(&graph);
}

/* As Keras 3 writes a model whose Embedding masks zeros. */
static void masks_that_keras3_writes(void **state) {
    (void)state;
#define NOT_EQUAL(of, value)                                                                                 \
    "{\"module\": \"keras.src.ops.numpy\", \"class_name\": \"NotEqual\", \"name\": \"ne\", \"config\": "     \
    "{\"name\": \"ne\"}, \"inbound_nodes\": [" CALL(TENSOR(of, "[null, 5]") ", " value, "") "]}"
#define MASKED(of, value, on)                                                                                \
    MODEL(INPUT("x", "[null, 5]") ", " INPUT("z", "[null, 5]") ", " NODE(                                    \
              "Embedding", "e", ", \"input_dim\": 9, \"output_dim\": 8, \"mask_zero\": true",                \
              TENSOR("x", "[null, 5]"),                                                                      \
              "") ", " NOT_EQUAL(of, value) ", " NODE("Dropout", "d", ", \"rate\": 0.5", SEQUENCE("e"),      \
                                                      "") ", " NODE("LSTM", "l", ", \"units\": 3",           \
                                                                    SEQUENCE(on),                            \
                                                                    "\"mask\": " TENSOR("ne", "[null, 5]")), \
          "[[\"x\", 0, 0], [\"z\", 0, 0]]", "[\"l\", 0, 0]")
    struct graph *graph = read_graph(MASKED("x", "0", "d"));
    assert_int_equal(graph_find_layer(graph, "ne"), -1); /* the layers make it themselves */
    assert_string_equal(source(graph, graph->output[0].node, 0), "d");
    round_trip(graph);
    graph_destroy(&graph);
    /* Not the mask that the layers would make. */
    refuse(MASKED("z", "0", "d"), STATUS_UNSUPPORTED, "layer \"l\": called with mask \"ne\"");
    refuse(MASKED("x", "1", "d"), STATUS_UNSUPPORTED, "layer \"l\": called with mask \"ne\"");
    /* A mask as a tensor. */
    refuse(MODEL(INPUT("x", "[null, 5]") ", " NOT_EQUAL("x", "0"), "[[\"x\", 0, 0]]", "[[\"ne\", 0, 0]]"),
           STATUS_UNSUPPORTED, "layer \"ne\": operation NotEqual");
    /* That of a Masking is of time steps. */
    graph = read_graph(
        MODEL(INPUT("x", "[null, 5, 8]") ", " NODE(
                  "Masking", "m", ", \"mask_value\": 2.0", SEQUENCE("x"),
                  "") ", " NOT_EQUAL("x", "2.0") ", "
                                                 "{\"module\": \"keras.src.ops.numpy\", \"class_name\": "
                                                 "\"Any\", \"name\": \"any\", \"config\": "
                                                 "{\"name\": \"any\", \"axis\": [-1], \"keepdims\": false}, "
                                                 "\"inbound_nodes\": [" CALL(SEQUENCE("ne"), "") "]}, " NODE(
                                                     "GRU", "l", ", \"units\": 3, \"reset_after\": true",
                                                     SEQUENCE("m"), "\"mask\": " TENSOR("any", "[null, 5]")),
              "[[\"x\", 0, 0]]", "[\"l\", 0, 0]"));
    round_trip(graph);
    graph_destroy(&graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inputs_by_position_and_by_name),
        cmocka_unit_test(what_does_not_fit_is_a_problem),
        cmocka_unit_test(options_of_calls_are_attributes),
        cmocka_unit_test(calls_that_are_none_are_refused),
        cmocka_unit_test(masks_are_for_inputs),
        cmocka_unit_test(ends_by_name),
        cmocka_unit_test(attention_by_keyword),
        cmocka_unit_test(states_by_keyword),
        cmocka_unit_test(masks_that_keras3_writes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
