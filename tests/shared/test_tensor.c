#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "shared/tensor.h"

static void expect_refused(status error, enum status_code code) {
    assert_int_equal(status_code(error), code);
    status_drop(&error);
}

static void test_shapes(void **state) {
    (void)state;
    struct shape a = SHAPE(3, 3, 1, 16), b = SHAPE(3, 3, 1), c = SHAPE(SHAPE_UNKNOWN, 28, 28);
    int64_t count;
    char text[SHAPE_TEXT_MAX];
    assert_true(shape_equal(&a, &SHAPE(3, 3, 1, 16)));
    assert_false(shape_equal(&a, &b));
    assert_false(shape_equal(&a, &SHAPE(3, 3, 1, 17)));
    assert_null(shape_count(&a, &count));
    assert_int_equal(count, 144);
    assert_null(shape_count(&(struct shape){0}, &count)); /* a scalar */
    assert_int_equal(count, 1);
    assert_true(shape_is_known(&a));
    assert_false(shape_is_known(&c));
    assert_int_equal(shape_sample_count(&c), 784);
    assert_int_equal(shape_sample_count(&SHAPE(1, SHAPE_UNKNOWN, 28)), -1);
    assert_string_equal(shape_format(&a, text), "(3, 3, 1, 16)");
    assert_string_equal(shape_format(&c, text), "(?, 28, 28)");
    assert_string_equal(shape_format(&SHAPE(16), text), "(16,)");
    assert_string_equal(shape_format(&(struct shape){0}, text), "()");
    struct shape widest = {.rank = SHAPE_MAX_RANK};
    for (int i = 0; i < SHAPE_MAX_RANK; i++) widest.dim[i] = INT64_MAX;
    assert_true(strlen(shape_format(&widest, text)) < SHAPE_TEXT_MAX);
    expect_refused(shape_count(&c, &count), STATUS_DATA);
    expect_refused(shape_count(&widest, &count), STATUS_DATA);
    assert_int_equal(shape_sample_count(&widest), -1);
}

static void test_tensors(void **state) {
    (void)state;
    struct tensor *t = NULL;
    assert_null(tensor_create(DTYPE_F32, &SHAPE(5, 7), &t));
    assert_int_equal(t->count, 35);
    assert_int_equal((uintptr_t)t->data % 64, 0);
    for (int i = 0; i < 35; i++) assert_true(tensor_f32(t)[i] == 0);
    tensor_destroy(&t);
    assert_null(t);
    tensor_destroy(&t);
    expect_refused(tensor_create(DTYPE_F32, &SHAPE(SHAPE_UNKNOWN, 2), &t), STATUS_DATA);
    expect_refused(tensor_create(DTYPE_F64, &SHAPE(INT64_MAX / 2), &t), STATUS_MEMORY);
    assert_int_equal(dtype_size(DTYPE_BF16), 2);
    assert_string_equal(dtype_name(DTYPE_U8), "uint8");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_tensors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
