/* The report of a model against figures worked out by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "graph_build.h"
#include "io/model_report.h"

#include <cjson/cJSON.h>
#include <hdf5.h>
#include <stdlib.h>
#include <unistd.h>

/* 8x8x3 -> conv 3x3 same, 4 -> relu -> add with a 1x1 conv, 4 -> global average -> dense 2 */
static struct graph *build(void) {
    struct graph *graph = NULL;
    build_ok(graph_create("small", &graph));
    graph->keras_version = 3;
    int x = build_input(graph, "x", "?,8,8,3");
    int a = build_layer(graph, "Conv2D", "a", "filters=4 kernel_size=3 padding=same", 1, &x);
    int r = build_layer(graph, "ReLU", "r", "", 1, &a);
    int b = build_layer(graph, "Conv2D", "b", "filters=4 kernel_size=1 use_bias=false", 1, &x);
    int s = build_layer(graph, "Add", "s", "", 2, (int[]){r, b});
    int g = build_layer(graph, "GlobalAveragePooling2D", "g", "", 1, &s);
    int d = build_layer(graph, "Dense", "d", "units=2", 1, &g);
    build_ok(graph_add_output(graph, (struct edge){d, 0}));
    build_ok(graph_infer(graph));
    return graph;
}

static void test_json(void **state) {
    (void)state;
    struct graph *graph = build();
    char *json = NULL;
    build_ok(model_report_json(&(struct model_report){"m.h5", "a box", graph, NULL}, &json));
    /* a: 3*3*3*4 + 4 = 112; b: 3*4 = 12; d: 4*2 + 2 = 10 */
    assert_non_null(strstr(json, "\"params\":\t134"));
    assert_non_null(strstr(json, "\"trainable\":\t134"));
    assert_non_null(strstr(json, "\"name\":\t\"a\""));
    assert_non_null(strstr(json, "\"params\":\t112"));
    assert_non_null(strstr(json, "\"output\":\t[null, 8, 8, 4]"));
    assert_non_null(strstr(json, "\"inputs\":\t[\"r\", \"b\"]"));
    assert_non_null(strstr(json, "\"boundaries\":\t[\"x\", \"s\", \"g\", \"d\"]"));
    /* float32 outputs: 8*8*3 + 4 * 8*8*4 + 4 + 2 = 1222 floats */
    assert_non_null(strstr(json, "\"activation_bytes\":\t4888"));
    free(json);
    graph_destroy(&graph);
}

static void test_text(void **state) {
    (void)state;
    struct graph *graph = build();
    char *text = NULL;
    build_ok(model_report_text(&(struct model_report){"m.h5", "a box", graph, NULL}, &text));
    assert_non_null(strstr(text, "m.h5 (a box, Keras 3, functional)\n"));
    assert_non_null(strstr(text, "134 parameters (134 trainable)"));
    assert_non_null(
        strstr(text, "4.8 KiB of activations\ninput: x (?, 8, 8, 3)\noutput: d (?, 2)\n4 boundaries (*)\n"));
    int stars = 0;
    for (const char *c = text; (c = strstr(c, " *\n")); c++) stars++;
    assert_int_equal(stars, 4);
    free(text);
    graph_destroy(&graph);
}

/* Two classes that are unknown, one of them twice within an inner model; an option that is; a branch beside
 * them that is known. */
static const char partly_known[] =
    "{\"class_name\": \"Model\", \"config\": {\"name\": \"m\", \"layers\": ["
    "{\"class_name\": \"InputLayer\", \"name\": \"x\", \"config\": {\"batch_input_shape\": [null, 4, 4, 2]}, "
    "\"inbound_nodes\": []},"
    "{\"class_name\": \"Conv2D\", \"name\": \"first\", \"config\": {\"filters\": 3, \"kernel_size\": [1, "
    "1]}, \"inbound_nodes\": [[[\"x\", 0, 0, {}]]]},"
    "{\"class_name\": \"Lambda\", \"name\": \"odd\", \"config\": {}, \"inbound_nodes\": [[[\"first\", 0, 0, "
    "{}]]]},"
    "{\"class_name\": \"Conv2D\", \"name\": \"after\", \"config\": {\"filters\": 3, \"kernel_size\": [1, "
    "1]}, \"inbound_nodes\": [[[\"odd\", 0, 0, {}]]]},"
    "{\"class_name\": \"Conv2D\", \"name\": \"beside\", \"config\": {\"filters\": 5, \"kernel_size\": [1, "
    "1], \"activation\": \"wavy\"}, \"inbound_nodes\": [[[\"first\", 0, 0, {}]]]},"
    "{\"class_name\": \"Flatten\", \"name\": \"flat\", \"config\": {}, \"inbound_nodes\": [[[\"first\", 0, "
    "0, {}]]]},"
    "{\"class_name\": \"Sequential\", \"name\": \"inner\", \"config\": {\"name\": \"inner\", \"layers\": ["
    "{\"class_name\": \"InputLayer\", \"config\": {\"name\": \"i\", \"batch_input_shape\": [null, 48]}},"
    "{\"class_name\": \"Own>Noise\", \"config\": {\"name\": \"odd\"}},"
    "{\"class_name\": \"Own>Noise\", \"config\": {\"name\": \"first\"}}]},"
    " \"inbound_nodes\": [[[\"flat\", 0, 0, {}]]]}],"
    "\"input_layers\": [[\"x\", 0, 0]],"
    "\"output_layers\": [[\"after\", 0, 0], [\"beside\", 0, 0], [\"inner\", 1, 0]]}}";

static void write_model(const char *path, const char *config) {
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, strlen(config) + 1);
    hid_t attribute = H5Acreate2(file, "model_config", type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Awrite(attribute, type, config) >= 0);
    H5Aclose(attribute);
    H5Tclose(type);
    H5Sclose(space);
    H5Gclose(H5Gcreate2(file, "model_weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    assert_true(H5Fclose(file) >= 0);
}

static const cJSON *layer_named(const cJSON *report, const char *name) {
    const cJSON *layer;
    cJSON_ArrayForEach(layer, cJSON_GetObjectItem(report, "layers")) {
        if (!strcmp(cJSON_GetObjectItem(layer, "name")->valuestring, name)) return layer;
    }
    fail_msg("no layer %s", name);
    return NULL;
}

static void test_partly_known(void **state) {
    (void)state;
    char path[] = "/tmp/godwit-report-XXXXXX", *json = NULL, *text = NULL;
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    struct problems problems = {0};
    close(mkstemp(path));
    write_model(path, partly_known);
    build_refused(keras_open(path, NULL, &file, &graph), STATUS_UNSUPPORTED, "\"odd\" (Lambda)");
    assert_null(graph);
    build_ok(keras_open(path, &(struct keras_options){.unsupported = &problems}, &file, &graph));
    assert_int_equal(problems.n, 4);
    struct model_report report = {path, keras_container(file), graph, &problems};
    build_ok(model_report_json(&report, &json));
    build_ok(model_report_text(&report, &text));

    cJSON *parsed = cJSON_Parse(json);
    assert_non_null(parsed);
    const cJSON *unsupported = cJSON_GetObjectItem(parsed, "unsupported"), *one;
    assert_int_equal(cJSON_GetArraySize(unsupported), 4);
    static const char *const refused[] = {"odd", "beside", "inner_odd", "inner_first"};
    for (int i = 0; i < 4; i++) {
        bool found = false;
        cJSON_ArrayForEach(one, unsupported) {
            found = found || !strcmp(cJSON_GetObjectItem(one, "layer")->valuestring, refused[i]);
        }
        assert_true(found);
        assert_true(cJSON_IsFalse(cJSON_GetObjectItem(layer_named(parsed, refused[i]), "supported")));
    }
    assert_string_equal(cJSON_GetObjectItem(layer_named(parsed, "inner_odd"), "class")->valuestring,
                        "Own>Noise");
    /* What comes before is known, and a branch; what comes after is not. */
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(layer_named(parsed, "first"), "supported")));
    assert_int_equal(cJSON_GetObjectItem(layer_named(parsed, "first"), "params")->valueint, 9);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(layer_named(parsed, "odd"), "output")));
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(layer_named(parsed, "after"), "supported")));
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(layer_named(parsed, "after"), "params")));
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(layer_named(parsed, "flat"), "output")), 2);
    const cJSON *total = cJSON_GetObjectItem(parsed, "total");
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(total, "complete")));
    assert_non_null(strstr(text, "\nodd "));
    assert_non_null(strstr(text, "? not supported\n"));
    assert_non_null(strstr(text, "at least 9 parameters"));
    assert_non_null(strstr(text, "outputs: after ?, beside ?, inner_first ?\n"));
    cJSON_Delete(parsed);
    free(json);
    free(text);
    build_refused(problems_take(&problems), STATUS_UNSUPPORTED, "wavy");
    graph_destroy(&graph);
    keras_close(&file);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_json), cmocka_unit_test(test_text),
                                       cmocka_unit_test(test_partly_known)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
