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

/* What --preprocess takes, and what the model keeps of it. */
static void test_words(void **state) {
    (void)state;
    struct preprocessing *p, *back;
    char *json;
    assert_success(preprocessing_parse(NULL, &p));
    assert_success(preprocessing_change(
        p, "crop=1:2:30:40,size=224x200,resize=area,colour=grey,scale=0.25,offset=-2,mean=0.5:1:2,std=2"));
    assert_success(preprocessing_print(p, &json));
    assert_success(preprocessing_parse(json, &back));
    free(json);
    for (int k = 0; k < 2; k++) {
        const struct preprocessing *q = k ? back : p;
        assert_true(q->crop == CROP_BOX && q->box[0] == 1 && q->box[1] == 2 && q->box[2] == 30 &&
                    q->box[3] == 40);
        assert_true(q->size[0] == 224 && q->size[1] == 200);
        assert_true(q->filter == FILTER_AREA && q->colour == COLOUR_GREY);
        assert_true(q->scale == 0.25 && q->offset == -2 && q->nmean == 3);
        for (int c = 0; c < 3; c++) assert_true(q->mean[c] == 0.5 * (1 << c) && q->std[c] == 2);
    }
    assert_success(preprocessing_change(back, "crop=none,mean=7,size=own,colour=model,resize=smooth"));
    assert_true(back->crop == CROP_NONE && back->size[0] == 0 && back->colour == COLOUR_AS_MODEL);
    assert_true(back->nmean == 3 && back->mean[0] == 7 && back->mean[2] == 7 && back->std[1] == 2);
    static const char *const bad[] = {
        "crop=top",           "crop=1:2:3", "crop=1:2:0:4", "size=3",  "size=0x4",          "resize=cubic",
        "colour=red",         "scale=x",    "scale=0",      "offset=", "mean=1:2:3:4:5",    "std=0",
        "std=1:2,mean=1:2:3", "",           "mean",         "zoom=2",  "crop=none,,mean=1", "scale=1e99",
        "crop=-1:0:2:2"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct preprocessing before = *p;
        before.nmean = 0;
        struct preprocessing now = before;
        assert_error(preprocessing_change(&now, bad[i]), STATUS_USAGE,
                     "is not understood; there are: crop=centre");
        assert_memory_equal(&now, &before, sizeof now); /* all or nothing */
    }
    preprocessing_destroy(&p);
    preprocessing_destroy(&back);
    static const char *const bad_json[] = {"{\"mean\":[]}",      "{\"mean\":[1,2,3],\"std\":[1,2]}",
                                           "{\"std\":[0]}",      "{\"crop\":[1,2,3]}",
                                           "{\"crop\":\"top\"}", "{\"crop\":\"none,mean=3\"}",
                                           "{\"size\":[0,1]}",   "{\"resize\":3}",
                                           "{\"mean\":[\"1\"]}", "{\"mean\":[1,2,3,4,5]}"};
    for (size_t i = 0; i < sizeof bad_json / sizeof *bad_json; i++)
        assert_error(preprocessing_parse(bad_json[i], &p), STATUS_DATA, "preprocessing");
}

static void test_channels(void **state) {
    (void)state;
    struct preprocessing *p;
    struct image *image;
    struct tensor *x;
    struct shape input = SHAPE(SHAPE_UNKNOWN, 2, 2, 3);
    assert_success(image_create(4, 6, 3, &image));
    for (int i = 0; i < 72; i++) image->pixel[i] = (uint8_t)(i * 3);
    assert_success(preprocessing_parse("{\"scale\":2,\"offset\":1,\"mean\":[1,2,3],\"std\":[1,2,4]}", &p));
    assert_success(preprocessing_change(p, "crop=2:1:2:2"));
    assert_success(preprocessing_apply(p, image, &input, &x));
    for (int i = 0; i < 12; i++) { /* pixels (1, 2), (1, 3), (2, 2), (2, 3) */
        int pixel = 3 * (((1 + i / 6) * 6 + 2 + i / 3 % 2) * 3 + i % 3), c = i % 3;
        float wanted = (float)((pixel * 2.0 + 1 - (c + 1)) / (1 << c));
        assert_true(tensor_f32(x)[i] == wanted);
        assert_int_equal(preprocessing_pixel(p, c, wanted), pixel); /* and back */
    }
    tensor_destroy(&x);
    /* Grey for three channels: all the same but for the means. */
    assert_success(preprocessing_change(p, "colour=grey,mean=0,std=1,scale=1,offset=0"));
    assert_success(preprocessing_apply(p, image, &input, &x));
    for (int i = 0; i < 12; i++) assert_true(tensor_f32(x)[i] == tensor_f32(x)[i / 3 * 3]);
    tensor_destroy(&x);
    /* A size for a model that takes any; another than the model's, or a box outside, or means for others: no.
     */
    input = SHAPE(SHAPE_UNKNOWN, SHAPE_UNKNOWN, SHAPE_UNKNOWN, 1);
    p->nmean = 0;
    assert_success(preprocessing_change(p, "size=3x5,crop=none"));
    assert_success(preprocessing_apply(p, image, &input, &x));
    assert_true(shape_equal(&x->shape, &SHAPE(1, 3, 5, 1)));
    tensor_destroy(&x);
    input = SHAPE(SHAPE_UNKNOWN, 2, 2, 3);
    assert_error(preprocessing_apply(p, image, &input, &x), STATUS_DATA,
                 "size: the model takes images of height 2");
    assert_success(preprocessing_change(p, "size=own,crop=5:0:2:2"));
    assert_error(preprocessing_apply(p, image, &input, &x), STATUS_DATA, "cannot crop");
    assert_success(preprocessing_change(p, "crop=none,mean=1:2"));
    assert_error(preprocessing_apply(p, image, &input, &x), STATUS_DATA,
                 "means and deviations of 2 channels");
    image_destroy(&image);
    preprocessing_destroy(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_json), cmocka_unit_test(test_apply),
                                       cmocka_unit_test(test_words), cmocka_unit_test(test_channels)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
