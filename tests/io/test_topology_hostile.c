/* Topologies that nobody vouches for: clean errors, and no more time than their length. */
#include "io/keras/topology_json.h"

#include "io/topology_testing.h"

#include <cjson/cJSON.h>
#include <time.h>

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Text that grows. */
struct text {
    char *data;
    size_t length;
    FILE *out;
};

static void text_open(struct text *text) {
    text->out = open_memstream(&text->data, &text->length);
    assert_non_null(text->out);
}

static char *text_close(struct text *text) {
    assert_int_equal(fclose(text->out), 0);
    return text->data;
}

/* ---- the text ---- */

static void assert_not_parsed(const char *text, size_t length, const char *part) {
    cJSON *json = NULL;
    assert_error(topology_parse_bytes(text, length, &json), STATUS_DATA, part);
    assert_null(json);
}

#define TEXT(literal) literal, sizeof literal - 1

static void texts_that_are_no_topology(void **state) {
    (void)state;
    assert_not_parsed(TEXT(""), "empty");
    assert_not_parsed(TEXT("{\"a\": 1"), "not JSON at byte");
    assert_not_parsed(TEXT("{\"a\": 1} x"), "not JSON at byte 9: \"x\"");
    assert_not_parsed(TEXT("{\"a\": \"\xff\"}"), "not UTF-8 at byte 7");
    assert_not_parsed(TEXT("{\"a\": \"\xc0\x80\"}"), "not UTF-8");
    assert_not_parsed(TEXT("{\"a\": \"\xed\xa0\x80\"}"), "not UTF-8");
    assert_not_parsed(TEXT("{\"a\": 1\0}"), "not UTF-8 at byte 7");
    assert_not_parsed(TEXT("{\"a\": 1, \"a\": 2}"), "\"a\" is there twice");
    assert_not_parsed(TEXT("{\"name\": \"a\\u001b[2J\"}"), "control character");
    assert_not_parsed(TEXT("{\"a\\nb\": 1}"), "control character");
    /* Only as long as it says. */
    cJSON *json = NULL;
    assert_success(topology_parse_bytes("{\"a\": \"\xc3\xa9\\\"]\"}  garbage", 16, &json));
    cJSON_Delete(json);
}

static void long_names_are_refused(void **state) {
    (void)state;
    char name[1100];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = 0;
    char *json = NULL;
    assert_true(asprintf(&json,
                         SEQUENTIAL(INPUT("x", "[null, 3]") ", {\"class_name\": \"Dense\", \"config\": "
                                                            "{\"units\": 1, \"name\": \"%s\"}}"),
                         name) > 0);
    refuse(json, STATUS_DATA, "longer than 1024 bytes");
    free(json);
}

static void depth_and_size_are_bounded(void **state) {
    (void)state;
    struct text text;
    text_open(&text);
    for (int i = 0; i < 600; i++) fputc('[', text.out);
    for (int i = 0; i < 600; i++) fputc(']', text.out);
    char *json = text_close(&text);
    assert_not_parsed(json, text.length, "nested too deeply: more than 512");
    free(json);

    text_open(&text);
    fputc('[', text.out);
    for (int i = 0; i < 5000000; i++) fputs("0,", text.out);
    fputs("0]", text.out);
    json = text_close(&text);
    assert_not_parsed(json, text.length, "values");
    free(json);
}

/* ---- numbers ---- */

static void absurd_numbers_are_clean_errors(void **state) {
    (void)state;
    static const char *const layers[] = {
        LAYER("Conv2D", "l", ", \"filters\": 1e15, \"kernel_size\": 3", "[]"),
        LAYER("Conv2D", "l", ", \"filters\": 1e308, \"kernel_size\": 3", "[]"),
        LAYER("Conv2D", "l", ", \"filters\": -1, \"kernel_size\": 3", "[]"),
        LAYER("Conv2D", "l", ", \"filters\": 2147483647, \"kernel_size\": 30000", "[]"),
        LAYER("Conv2D", "l", ", \"filters\": 4, \"kernel_size\": 1e12", "[]"),
        LAYER("Conv2D", "l", ", \"filters\": 4, \"kernel_size\": [3, -3]", "[]"),
        LAYER("Conv2D", "l", ", \"filters\": 4, \"kernel_size\": 3, \"strides\": 0", "[]"),
        LAYER("Conv2D", "l", ", \"filters\": 4, \"kernel_size\": 3, \"dilation_rate\": 4611686018427387904",
              "[]"),
        LAYER("Conv2D", "l", ", \"filters\": 4, \"kernel_size\": 3, \"groups\": 9007199254740992", "[]"),
        LAYER("SeparableConv2D", "l", ", \"filters\": 4, \"kernel_size\": 3, \"depth_multiplier\": 9e15",
              "[]"),
        LAYER("DepthwiseConv2D", "l", ", \"kernel_size\": 3, \"depth_multiplier\": 9e15", "[]"),
        LAYER("ZeroPadding2D", "l", ", \"padding\": 9007199254740992", "[]"),
        LAYER("UpSampling2D", "l", ", \"size\": 9007199254740992", "[]"),
        LAYER("MaxPooling2D", "l", ", \"pool_size\": 9007199254740992", "[]"),
        LAYER("Reshape", "l", ", \"target_shape\": [4294967296, 4294967296, 4294967296]", "[]"),
        LAYER("Reshape", "l", ", \"target_shape\": [1, 2, 3, 4, 5, 6, 7, 8, 9]", "[]"),
        LAYER("Dense", "l", ", \"units\": 9007199254740993", "[]"),
        LAYER("Dense", "l", ", \"units\": 1e999", "[]"),
        LAYER("ReLU", "l", ", \"max_value\": 1e999", "[]"),
        LAYER("Rescaling", "l", ", \"scale\": [1, 1e999]", "[]"),
        LAYER("InputLayer", "l", ", \"batch_input_shape\": [null, 2147483647, 2147483647, 2147483647]", "[]"),
        LAYER("InputLayer", "l", ", \"batch_input_shape\": [null, 1, 2, 3, 4, 5, 6, 7, 8, 9]", "[]"),
        LAYER("InputLayer", "l", ", \"batch_input_shape\": [null, 0]", "[]"),
        LAYER("InputLayer", "l", ", \"batch_input_shape\": [null, 99999999999]", "[]"),
    };
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        char *json = NULL;
        bool input = strstr(layers[i], "InputLayer");
        assert_true(asprintf(&json, "{\"class_name\": \"Sequential\", \"config\": {\"layers\": [%s%s]}}",
                             input ? "" : INPUT("x", "[null, 64, 64, 3]") ", ", layers[i]) > 0);
        struct graph *graph = NULL;
        status error = keras_graph_from_json(json, &graph);
        if (status_code(error) != STATUS_DATA && status_code(error) != STATUS_UNSUPPORTED)
            fail_msg("%s: %s", layers[i], error ? status_message(error) : "no error");
        status_drop(&error);
        free(json);
    }
}

/* Few and small numbers that come to a lot. */
static void weights_are_bounded(void **state) {
    (void)state;
    refuse(
        SEQUENTIAL(INPUT("x", "[null, 2000000]") "," DENSE("a", "2000000000") "," DENSE("b", "2000000000")),
        STATUS_DATA, "more than any file can hold");
    refuse(SEQUENTIAL(INPUT("x", "[null, 2000000, 2000000, 3]")), STATUS_DATA, "more than any memory holds");
    /* more than 64 bits count */
    refuse(SEQUENTIAL(INPUT("x", "[null, 100000000, 2048, 1000000000]")), STATUS_DATA,
           "more than any memory holds");
}

/* ---- many ---- */

/* A functional model of n layers whose names, classes and numbers of inputs are given. */
static double read_many(const char *json, size_t length, enum status_code code) {
    double start = seconds();
    struct graph *graph = NULL;
    status error = keras_graph_from_text(json, length, NULL, &graph);
    if (status_code(error) != code) fail_msg("%s", error ? status_message(error) : "no error");
    status_drop(&error);
    graph_destroy(&graph);
    return seconds() - start;
}

/* What takes time as the square of the layers takes much longer than this. With a sanitizer, which makes each
 * allocation slow, there are fewer. */
#define MOST_SECONDS 10
#ifdef __SANITIZE_ADDRESS__
#define MANY 1024
#else
#define MANY 16384
#endif

static void assert_quick(char *(*make)(int n, size_t *length), int n, enum status_code code) {
    size_t length;
    char *json = make(n, &length);
    double took = read_many(json, length, code);
    if (took > MOST_SECONDS) fail_msg("%d layers took %g s", n, took);
    free(json);
}

static char *chain_of(int n, size_t *length) {
    struct text text;
    text_open(&text);
    fprintf(text.out, "{\"class_name\": \"Functional\", \"config\": {\"name\": \"m\", \"layers\": [%s",
            INPUT("x", "[null, 3]"));
    for (int i = 1; i < n; i++)
        fprintf(text.out,
                ", {\"class_name\": \"ReLU\", \"name\": \"l%d\", \"config\": {\"name\": \"l%d\"}, "
                "\"inbound_nodes\": [[[\"%s%d\", 0, 0, {}]]]}",
                i, i, i > 1 ? "l" : "x", i - 1);
    char *json = NULL;
    fprintf(text.out, "], \"input_layers\": [[\"x\", 0, 0]], \"output_layers\": [[\"l%d\", 0, 0]]}}", n - 1);
    json = text_close(&text);
    /* "x0" is x */
    char *first = strstr(json, "\"x0\"");
    memcpy(first, " \"x\"", 4);
    *length = text.length;
    return json;
}

/* Each layer takes the outputs of the 32 before it. */
static char *dense_of(int n, size_t *length) {
    struct text text;
    text_open(&text);
    fprintf(text.out, "{\"class_name\": \"Functional\", \"config\": {\"name\": \"m\", \"layers\": [%s",
            INPUT("l0", "[null, 3]"));
    for (int i = 1; i < n; i++) {
        fprintf(text.out,
                ", {\"class_name\": \"Add\", \"name\": \"l%d\", \"config\": {\"name\": \"l%d\"}, "
                "\"inbound_nodes\": [[",
                i, i);
        for (int k = i > 32 ? i - 32 : 0; k < i; k++)
            fprintf(text.out, "%s[\"l%d\", 0, 0]", k + 1 < i ? "" : "", k),
                fputs(k + 1 < i ? ", " : "", text.out);
        fputs("]]}", text.out);
    }
    fprintf(text.out, "], \"input_layers\": [[\"l0\", 0, 0]], \"output_layers\": [[\"l%d\", 0, 0]]}}", n - 1);
    char *json = text_close(&text);
    *length = text.length;
    return json;
}

/* Models inside, all of whose layers have the same name. */
static char *same_names(int n, size_t *length) {
    struct text text;
    text_open(&text);
    fprintf(text.out, "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": [%s",
            INPUT("x", "[null, 3]"));
    for (int i = 0; i < n / 2 - 1; i++)
        fprintf(text.out, ", {\"class_name\": \"Sequential\", \"config\": {\"name\": \"i\", \"layers\": ["
                          "{\"class_name\": \"ReLU\", \"config\": {\"name\": \"a\"}}]}}");
    fputs("]}}", text.out);
    char *json = text_close(&text);
    *length = text.length;
    return json;
}

static char *unknown_classes(int n, size_t *length) {
    struct text text;
    text_open(&text);
    fprintf(text.out, "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": [%s",
            INPUT("x", "[null, 3]"));
    for (int i = 1; i < n; i++)
        fprintf(text.out, ", {\"class_name\": \"C%d\", \"config\": {\"name\": \"a%d\"}}", i, i);
    fputs("]}}", text.out);
    char *json = text_close(&text);
    *length = text.length;
    return json;
}

static void time_is_that_of_the_text(void **state) {
    (void)state;
    assert_quick(chain_of, MANY, STATUS_OK);
    assert_quick(dense_of, MANY, STATUS_OK);
    assert_quick(same_names, MANY, STATUS_OK);
    assert_quick(unknown_classes, MANY, STATUS_UNSUPPORTED);
}

static void numbers_of_layers_and_calls_are_bounded(void **state) {
    (void)state;
    size_t length;
    char *json = chain_of(16385, &length);
    read_many(json, length, STATUS_DATA);
    free(json);
    /* Also if they are in models inside. */
    json = same_names(40000, &length);
    read_many(json, length, STATUS_DATA);
    free(json);
    /* Calls, in few bytes. */
    struct text text;
    text_open(&text);
    fprintf(text.out,
            "{\"class_name\": \"Functional\", \"config\": {\"name\": \"m\", \"layers\": [%s, "
            "{\"class_name\": \"ReLU\", \"name\": \"l\", \"config\": {}, \"inbound_nodes\": [[]",
            INPUT("x", "[null, 3]"));
    for (int i = 0; i < 70000; i++) fputs(",[]", text.out);
    fputs("]}], \"input_layers\": [[\"x\", 0, 0]], \"output_layers\": [[\"l\", 0, 0]]}}", text.out);
    json = text_close(&text);
    refuse(json, STATUS_DATA, "calls of layers");
    free(json);
}

/* A model inside with a wide call, called many times: its calls have more inputs than memory has room for. */
static void inputs_of_calls_are_bounded(void **state) {
    (void)state;
    struct text text;
    text_open(&text);
    fprintf(text.out,
            "{\"class_name\": \"Functional\", \"config\": {\"name\": \"m\", \"layers\": [%s, "
            "{\"class_name\": \"Functional\", \"name\": \"i\", \"config\": {\"name\": \"i\", "
            "\"layers\": [%s, {\"class_name\": \"Add\", \"name\": \"a\", \"config\": {}, "
            "\"inbound_nodes\": [[[\"y\", 0, 0]",
            INPUT("x", "[null, 3]"), INPUT("y", "[null, 3]"));
    for (int i = 0; i < 10000; i++) fputs(",[\"y\", 0, 0]", text.out);
    fputs("]]}], \"input_layers\": [[\"y\", 0, 0]], \"output_layers\": [[\"a\", 0, 0]]}, \"inbound_nodes\": "
          "[[[\"x\", 0, 0]]",
          text.out);
    for (int i = 1; i < 10000; i++) fprintf(text.out, ", [[\"i\", %d, 0]]", i);
    fputs("]}], \"input_layers\": [[\"x\", 0, 0]], \"output_layers\": [[\"i\", 10000, 0]]}}", text.out);
    char *json = text_close(&text);
    refuse(json, STATUS_DATA, "inputs");
    free(json);
}

/* Wrappers inside wrappers. */
static void wrapped_layers_count(void **state) {
    (void)state;
    struct text text;
    text_open(&text);
    fprintf(text.out, "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"s\", \"layers\": [%s, ",
            INPUT("x", "[null, 4, 3]"));
    for (int i = 0; i < 200; i++)
        fputs("{\"class_name\": \"TimeDistributed\", \"config\": {\"layer\": ", text.out);
    fputs("{\"class_name\": \"ReLU\", \"config\": {}}", text.out);
    for (int i = 0; i < 200; i++) fputs("}}", text.out);
    fputs("]}}", text.out);
    char *json = text_close(&text);
    struct graph *graph = NULL;
    status error = keras_graph_from_json(json, &graph);
    assert_true(!error || status_code(error) == STATUS_DATA || status_code(error) == STATUS_UNSUPPORTED);
    status_drop(&error);
    graph_destroy(&graph);
    free(json);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_that_are_no_topology),
        cmocka_unit_test(long_names_are_refused),
        cmocka_unit_test(depth_and_size_are_bounded),
        cmocka_unit_test(absurd_numbers_are_clean_errors),
        cmocka_unit_test(weights_are_bounded),
        cmocka_unit_test(time_is_that_of_the_text),
        cmocka_unit_test(numbers_of_layers_and_calls_are_bounded),
        cmocka_unit_test(inputs_of_calls_are_bounded),
        cmocka_unit_test(wrapped_layers_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
