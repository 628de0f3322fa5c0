/* What a model says of its precision: kept in its JSON beside what is there, and given back to each
 * operation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "graph_build.h"
#include "io/quantization.h"

#include <math.h>
#include <unistd.h>

/* A separable convolution is two operations; layer "again" is called twice. */
static struct model *make(void) {
    struct graph *graph = NULL;
    struct model *model = NULL;
    build_ok(graph_create("net", &graph));
    int x = build_input(graph, "x", "?,4,4,3");
    int y = build_layer(graph, "SeparableConv2D", "sep", "filters=5 kernel_size=3 padding=same", 1, &x);
    int again = build_layer(graph, "ReLU", "again", "", 1, &y), node;
    build_ok(graph_add_node(graph, graph->node[again].layer, 1, (struct edge[]){{x, 0}}, &node));
    build_ok(graph_add_output(graph, (struct edge){again, 0}));
    build_ok(graph_add_output(graph, (struct edge){node, 0}));
    build_ok(graph_infer(graph));
    build_ok(model_create(graph, &model));
    return model;
}

static void there_and_back(void **state) {
    (void)state;
    struct model *m = make();
    struct quantization q = {.precision = PRECISION_INT8}, back;
    q.range = calloc((size_t)m->ops->nvalues, sizeof *q.range);
    assert_non_null(q.range);
    assert_true(m->ops->nops >= 4);
    for (int v = 0; v < m->ops->nvalues; v++)
        q.range[v] = (struct value_range){-0.5F * (float)v, 2 + (float)v};
    q.range[m->ops->op[0].out] = (struct value_range){NAN, NAN};
    m->preprocessing = strdup("{\"scale\":0.25,\"labels\":[\"a\"]}");
    build_ok(quantization_write(m, &q));
    assert_non_null(strstr(m->preprocessing, "\"scale\":0.25"));
    assert_non_null(strstr(m->preprocessing, "\"labels\":[\"a\"]"));
    build_ok(quantization_read(m, &back));
    assert_int_equal(back.precision, PRECISION_INT8);
    for (int i = 0; i < m->ops->nops; i++) {
        const int v = m->ops->op[i].out;
        if (i == 0) assert_true(isnan(back.range[v].low) && isnan(back.range[v].high));
        else assert_true(back.range[v].low == -0.5F * (float)v && back.range[v].high == 2 + (float)v);
    }
    assert_true(back.range[m->ops->input[0]].high == 2 + (float)m->ops->input[0]);
    quantization_clear(&back);
    q.precision = PRECISION_FLOAT32; /* takes it back */
    build_ok(quantization_write(m, &q));
    assert_string_equal(m->preprocessing, "{\"scale\":0.25,\"labels\":[\"a\"]}");
    build_ok(quantization_read(m, &back));
    assert_true(back.precision == PRECISION_FLOAT32 && !back.range);
    quantization_clear(&q);
    model_destroy(&m);
}

/* In the file, and without ranges. */
static void in_file(void **state) {
    (void)state;
    struct model *m = make(), *read = NULL;
    struct quantization q = {.precision = PRECISION_BFLOAT16}, back;
    char path[] = "/tmp/godwit-quantization-XXXXXX";
    int file = mkstemp(path);
    assert_true(file >= 0);
    build_ok(quantization_write(m, &q));
    build_ok(model_write(path, m));
    build_ok(model_read(path, NULL, &read));
    build_ok(quantization_read(read, &back));
    assert_true(back.precision == PRECISION_BFLOAT16 && !back.range);
    model_destroy(&m);
    model_destroy(&read);
    close(file);
    unlink(path);
}

static void damaged(void **state) {
    (void)state;
    static const char *const refused[] = {"{\"quantization\": {}}", "{\"quantization\": {\"precision\": 8}}",
                                          "{\"quantization\": {\"precision\": \"int3\"}}",
                                          "{\"quantization\"", "{\"quantization\": 3}"};
    static const char *const unknown[] = {"{\"quantization\": {\"precision\": \"int8\", \"ranges\": {}}}",
                                          "{\"quantization\": {\"precision\": \"int8\", \"ranges\": "
                                          "{\"sep\": 3, \"x\": [], \"again\": [[1]]}}}",
                                          "{\"quantization\": {\"precision\": \"int8\", \"ranges\": "
                                          "{\"sep\": [[\"a\", 1], null], \"x\": [[]]}}}"};
    struct model *m = make();
    struct quantization q;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        m->preprocessing = strdup(refused[i]);
        build_refused(quantization_read(m, &q), STATUS_DATA, "the model's ");
        free(m->preprocessing);
    }
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        m->preprocessing = strdup(unknown[i]);
        build_ok(quantization_read(m, &q));
        for (int v = 0; v < m->ops->nvalues; v++) assert_true(isnan(q.range[v].low));
        quantization_clear(&q);
        free(m->preprocessing);
    }
    m->preprocessing = NULL;
    model_destroy(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(there_and_back), cmocka_unit_test(in_file),
                                       cmocka_unit_test(damaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
