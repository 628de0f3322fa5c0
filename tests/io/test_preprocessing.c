/* Preprocessing: its JSON and what it makes of an image. */
#include "io/preprocessing.h"

#include "io/io_testing.h"

#include <math.h>

static void test_json(void **state) {
    (void)state;
    struct preprocessing *p, *back;
    char *json;
    assert_success(preprocessing_parse(NULL, &p));
    assert_true(p->scale == 1.0 / 255.0 && p->offset == 0 && p->nlabels == 0);
    preprocessing_destroy(&p);
    assert_null(p);
    assert_success(
        preprocessing_parse("{\"scale\": 0.0078125, \"offset\": -1, \"labels\": [\"a\\\"b\", \"\\u00e4\"], "
                            "\"height\": 28, \"width\": 30, \"channels\": 1, \"later\": {}}",
                            &p));
    assert_true(p->scale == 0.0078125 && p->offset == -1);
    assert_int_equal(p->height, 28);
    assert_int_equal(p->width, 30);
    assert_int_equal(p->channels, 1);
    assert_int_equal(p->nlabels, 2);
    assert_string_equal(p->label[0], "a\"b");
    assert_string_equal(p->label[1], "\xc3\xa4");
    p->scale = 1.0 / 3.0; /* every bit must come back */
    p->offset = nextafter(-0.1, 0);
    assert_success(preprocessing_print(p, &json));
    assert_success(preprocessing_parse(json, &back));
    assert_true(back->scale == p->scale && back->offset == p->offset);
    assert_int_equal(back->width, 30);
    assert_int_equal(back->nlabels, 2);
    assert_string_equal(back->label[0], "a\"b");
    free(json);
    preprocessing_destroy(&p);
    preprocessing_destroy(&back);
    const char *bad[] = {
        "",  "[]",  "{\"scale\": \"1\"}", "{\"scale\": 1e999}", "{\"labels\": 3}", "{\"labels\": [3]}",
        "{", "nul", "{\"height\": 2.5}",  "{\"width\": -1}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_error(preprocessing_parse(bad[i], &p), STATUS_DATA, "preprocessing");
}

static void test_apply(void **state) {
    (void)state;
    struct preprocessing *p;
    assert_success(preprocessing_parse(
        "{\"scale\": 0.5, \"offset\": -3, \"height\": 2, \"width\": 2, \"channels\": 1}", &p));
    struct image *image;
    assert_success(image_create(2, 4, 3, &image));
    for (int i = 0; i < 8; i++) memset(image->pixel + 3 * i, 10 * i, 3);
    struct tensor *x;
    struct shape input = SHAPE(SHAPE_UNKNOWN, 2, 2, 1);
    assert_success(preprocessing_apply(p, image, &input, &x));
    assert_true(shape_equal(&x->shape, &SHAPE(1, 2, 2, 1)));
    const float middle[] = {2, 7, 22, 27}; /* pixels 10 20 50 60 */
    assert_memory_equal(x->data, middle, sizeof middle);
    tensor_destroy(&x);
    input = SHAPE(8, 4);
    assert_success(preprocessing_apply(p, image, &input, &x));
    assert_true(shape_equal(&x->shape, &SHAPE(1, 4)));
    assert_memory_equal(x->data, middle, sizeof middle);
    tensor_destroy(&x);
    input = SHAPE(SHAPE_UNKNOWN, SHAPE_UNKNOWN, SHAPE_UNKNOWN, 3);
    assert_success(preprocessing_apply(p, image, &input, &x));
    assert_true(shape_equal(&x->shape, &SHAPE(1, 2, 4, 3)));
    for (int i = 0; i < 24; i++) assert_true(tensor_f32(x)[i] == (float)(i / 3 * 10) * 0.5f - 3);
    tensor_destroy(&x);
    input = SHAPE(SHAPE_UNKNOWN, 6, 6);
    assert_success(preprocessing_apply(p, image, &input, &x));
    assert_true(shape_equal(&x->shape, &SHAPE(1, 6, 6)));
    tensor_destroy(&x);
    const struct shape bad[] = {SHAPE(1, 5), SHAPE(1, 2, 2, 4), SHAPE(1, 2, 2, 1, 1), SHAPE(1),
                                SHAPE(1, 0, 2, 1)};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_error(preprocessing_apply(p, image, &bad[i], &x), STATUS_DATA, "input");
    image_destroy(&image);
    preprocessing_destroy(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_json), cmocka_unit_test(test_apply)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
