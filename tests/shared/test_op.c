/* Operation graphs: building, cutting, costs; windows; the arena of parameters. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "graph_build.h"

#define B SHAPE_UNKNOWN

/* An operation on the given values, with an output of `shape`. */
static int append(struct opgraph *g, struct op op, struct shape shape) {
    int value;
    build_ok(opgraph_add_op(g, &op, &shape, &value));
    return value;
}

static int value(struct opgraph *g, struct shape shape) {
    int v;
    build_ok(opgraph_add_value(g, &shape, &v));
    return v;
}

static int param(struct opgraph *g, struct shape shape, bool trainable) {
    int p;
    build_ok(opgraph_add_param(g, &(struct param){.shape = shape, .trainable = trainable}, &p));
    return p;
}

/* x -> dense a -> relu -> dense b -> softmax, and relu -> affine beside it. */
static struct opgraph *two_branches(int v[6]) {
    struct opgraph *g;
    build_ok(opgraph_create(&g));
    v[0] = value(g, SHAPE(B, 5));
    int a = param(g, SHAPE(5, 4), true), b = param(g, SHAPE(4, 3), true), bias = param(g, SHAPE(3), true);
    struct op op = op_make(OP_DENSE, &v[0], 1);
    op.param[0] = a;
    v[1] = append(g, op, SHAPE(B, 4));
    v[2] = append(g, op_make(OP_ACTIVATION, &v[1], 1), SHAPE(B, 4));
    op = op_make(OP_DENSE, &v[2], 1);
    op.param[0] = b;
    op.param[1] = bias;
    v[3] = append(g, op, SHAPE(B, 3));
    op = op_make(OP_SOFTMAX, &v[3], 1);
    op.u.axis.axis = 1;
    v[4] = append(g, op, SHAPE(B, 3));
    op = op_make(OP_AFFINE, &v[2], 1);
    op.u.affine.n = 1;
    op.u.affine.scale = calloc(1, sizeof(float));
    op.u.affine.offset = calloc(1, sizeof(float));
    op.u.affine.scale[0] = 2;
    v[5] = append(g, op, SHAPE(B, 4));
    build_ok(opgraph_set_io(g, 1, &v[0], 2, (int[]){v[4], v[5]}));
    return g;
}

static void test_build(void **state) {
    (void)state;
    int v[6];
    struct opgraph *g = two_branches(v);
    assert_int_equal(g->nops, 5);
    assert_int_equal(g->nvalues, 6);
    assert_int_equal(g->param[1].count, 12);
    assert_int_equal(opgraph_producer(g, v[0]), -1);
    assert_int_equal(opgraph_producer(g, v[3]), 2);
    assert_int_equal(opgraph_only_reader(g, v[1]), 1);
    assert_int_equal(opgraph_only_reader(g, v[2]), -1); /* two */
    assert_int_equal(opgraph_only_reader(g, v[4]), -1); /* none */
    assert_int_equal(opgraph_before_softmax(g, v[4]), v[3]);
    assert_int_equal(opgraph_before_softmax(g, v[3]), v[3]);
    g->op[opgraph_producer(g, v[4])].u.axis.axis--; /* not over the classes: no logits */
    assert_int_equal(opgraph_before_softmax(g, v[4]), v[4]);
    assert_true(opgraph_flops(g) == 4 * 2 * 5 + 4 + 3 * (2 * 4 + 1) + 3 * 3 + 2 * 4);
    opgraph_destroy(&g);
    assert_null(g);
    opgraph_destroy(&g);
}

static void test_cut(void **state) {
    (void)state;
    int v[6];
    struct opgraph *g = two_branches(v), *cut;
    build_ok(opgraph_cut(g, 1, &v[2], 1, &v[3], &cut));
    assert_int_equal(cut->nops, 1);
    assert_int_equal(cut->op[0].kind, OP_DENSE);
    assert_int_equal(cut->op[0].in[0], v[2]);
    assert_int_equal(cut->op[0].param[0], 1); /* numbers stay */
    assert_int_equal(cut->nparams, 3);
    assert_int_equal(cut->input[0], v[2]);
    assert_int_equal(cut->output[0], v[3]);
    opgraph_destroy(&cut);

    build_ok(opgraph_cut(g, 1, &v[0], 1, &v[5], &cut));
    assert_int_equal(cut->nops, 3);
    assert_ptr_not_equal(cut->op[2].u.affine.scale, g->op[4].u.affine.scale);
    assert_true(cut->op[2].u.affine.scale[0] == 2);
    opgraph_destroy(&cut);

    build_ok(opgraph_cut(g, 1, &v[2], 1, &v[2], &cut)); /* nothing between */
    assert_int_equal(cut->nops, 0);
    opgraph_destroy(&cut);

    build_refused(opgraph_cut(g, 1, &v[3], 1, &v[5], &cut), STATUS_INTERNAL, "cannot be computed");
    opgraph_destroy(&g);
}

static void test_flops(void **state) {
    (void)state;
    struct opgraph *g;
    build_ok(opgraph_create(&g));
    int x = value(g, SHAPE(B, 8, 6, 4)), kernel = param(g, SHAPE(3, 5, 2, 10), true),
        bias = param(g, SHAPE(10), true);
    int depthwise = param(g, SHAPE(3, 3, 4, 2), true);
    double out = 8 * 6 * 10;
    struct op op = op_make(OP_CONV, &x, 1);
    op.param[0] = kernel; /* two groups of two channels */
    op.u.conv.groups = 2;
    append(g, op, SHAPE(B, 8, 6, 10));
    assert_true(op_flops(g, &g->op[0]) == out * 2 * 15 * 2);
    op.param[1] = bias;
    append(g, op, SHAPE(B, 8, 6, 10));
    assert_true(op_flops(g, &g->op[1]) == out * (2 * 15 * 2 + 1));
    op = op_make(OP_DEPTHWISE, &x, 1);
    op.param[0] = depthwise;
    append(g, op, SHAPE(B, 8, 6, 8));
    assert_true(op_flops(g, &g->op[2]) == 8 * 6 * 8 * 2 * 9);
    op = op_make(OP_POOL, &x, 1);
    op.u.pool.window = (struct window){.size = {2, 3}, .stride = {2, 3}, .dilation = {1, 1}};
    append(g, op, SHAPE(B, 4, 2, 4));
    assert_true(op_flops(g, &g->op[3]) == 4 * 2 * 4 * 6);
    op = op_make(OP_REDUCE, &x, 1);
    append(g, op, SHAPE(B, 4));
    assert_true(op_flops(g, &g->op[4]) == 8 * 6 * 4);
    append(g, op_make(OP_RESHAPE, &x, 1), SHAPE(B, 192));
    assert_true(op_flops(g, &g->op[5]) == 0);
    int unknown = value(g, SHAPE(B, B, 6, 4));
    append(g, op_make(OP_ACTIVATION, &unknown, 1), SHAPE(B, B, 6, 4));
    assert_true(op_flops(g, &g->op[6]) == -1);
    assert_true(opgraph_flops(g) == -1);
    opgraph_destroy(&g);
}

/* Counts by hand the places where the window lies within the padded input. */
static void test_windows(void **state) {
    (void)state;
    for (int in = 1; in <= 12; in++)
        for (int size = 1; size <= 4; size++)
            for (int stride = 1; stride <= 3; stride++)
                for (int dilation = 1; dilation <= 2; dilation++) {
                    struct window w = {{size, size}, {stride, stride}, {dilation, dilation}, {0, 0}, {0, 0}};
                    int64_t both[2] = {in, in + 1}, out[2];
                    int reach = (size - 1) * dilation, places = 0;
                    window_output(&w, both, out);
                    for (int at = 0; at + reach < in; at += stride) places++;
                    assert_int_equal(out[0], places);
                    window_pad_same(&w, both);
                    window_output(&w, both, out);
                    assert_int_equal(out[0], (in + stride - 1) / stride);
                    assert_int_equal(out[1], (in + 1 + stride - 1) / stride);
                    assert_in_range(w.after[0] - w.before[0], 0, 1);
                }
}

static void test_params(void **state) {
    (void)state;
    struct opgraph *g;
    struct params *p, *copy;
    build_ok(opgraph_create(&g));
    param(g, SHAPE(3, 5), true);
    param(g, SHAPE(7), false);
    param(g, SHAPE(33), true);
    build_ok(params_create(g, &p));
    assert_int_equal(p->n, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(p->offset[i] % 16, 0);
        assert_int_equal(p->count[i], g->param[i].count);
        assert_int_equal((uintptr_t)params_at(p, i) % 64, 0);
        for (int k = 0; k < p->count[i]; k++) assert_true(params_at(p, i)[k] == 0);
    }
    assert_int_equal(p->offset[0], 0);
    assert_int_equal(p->offset[2], 16);
    assert_int_equal(p->ntrainable, 16 + 48);
    assert_int_equal(p->offset[1], 64); /* after all that are trained */
    assert_int_equal(p->total, 80);
    params_at(p, 2)[32] = 5;
    build_ok(params_clone(p, &copy));
    assert_true(params_at(copy, 2)[32] == 5);
    params_at(copy, 2)[32] = 6;
    assert_true(params_at(p, 2)[32] == 5);
    params_destroy(&copy);
    params_destroy(&p);
    assert_null(p);
    param(g, SHAPE(INT64_MAX / 2), true);
    param(g, SHAPE(INT64_MAX / 2), true);
    build_refused(params_create(g, &p), STATUS_DATA, "too many parameters");
    opgraph_destroy(&g);
}

static struct opgraph *two_steps(bool swapped, int last) {
    static const enum op_kind kinds[] = {OP_ACTIVATION, OP_DROPOUT};
    struct opgraph *g;
    int value[3];
    build_ok(opgraph_create(&g));
    build_ok(opgraph_add_value(g, &SHAPE(SHAPE_UNKNOWN, 2 + last), &value[0]));
    for (int i = 0; i < 2; i++) {
        struct op op = {.kind = kinds[swapped ? 1 - i : i], .nin = 1, .in = &value[i && last ? 0 : i]};
        build_ok(opgraph_add_op(g, &op, &SHAPE(SHAPE_UNKNOWN, 2), &value[i + 1]));
    }
    return g;
}

/* The same numbers of values and operations are not enough. */
static void test_same(void **state) {
    (void)state;
    struct opgraph *a = two_steps(false, 0),
                   *others[] = {two_steps(false, 0), two_steps(true, 0), two_steps(false, 1)};
    others[0]->value[0].dim[1] = 7; /* shapes do not count */
    for (int i = 0; i < 3; i++) {
        assert_true(opgraph_same(a, others[i]) == (i == 0));
        opgraph_destroy(&others[i]);
    }
    opgraph_destroy(&a);
}

static void test_names(void **state) {
    (void)state;
    assert_string_equal(op_name(OP_DEPTHWISE), "depthwise");
    assert_string_equal(op_name(OP_DROPOUT), "dropout");
    assert_string_equal(activation_name(ACTIVATION_GELU_TANH), "gelu_tanh");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build),   cmocka_unit_test(test_cut),    cmocka_unit_test(test_flops),
        cmocka_unit_test(test_windows), cmocka_unit_test(test_params), cmocka_unit_test(test_names),
        cmocka_unit_test(test_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
