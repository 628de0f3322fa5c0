/* run_inference as a user starts it, on several images: what it prints, as JSON too, what it writes, how
 * images become inputs, and large images in tiles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coordinator/predict_testing.h"

#include <cjson/cJSON.h>

#define RUN RUN_INFERENCE_PROGRAM " --models=models "

/* Any size: a convolution, then twice as fine. */
static const char finer_json[] =
    "{\"class_name\":\"Functional\",\"config\":{\"name\":\"finer\",\"layers\":["
    "{\"class_name\":\"InputLayer\",\"name\":\"in\",\"config\":{\"name\":\"in\",\"batch_input_shape\":"
    "[null,null,null,3]},\"inbound_nodes\":[]},"
    "{\"class_name\":\"Conv2D\",\"name\":\"a\",\"config\":{\"name\":\"a\",\"filters\":12,\"kernel_size\":[5,"
    "5],"
    "\"padding\":\"same\",\"activation\":\"sigmoid\"},\"inbound_nodes\":[[[\"in\",0,0,{}]]]},"
    "{\"class_name\":\"DepthToSpace\",\"name\":\"b\",\"config\":{\"name\":\"b\",\"block_size\":2},"
    "\"inbound_nodes\":[[[\"a\",0,0,{}]]]}],"
    "\"input_layers\":[[\"in\",0,0]],\"output_layers\":[[\"b\",0,0]]}}";

static int setup(void **state) {
    if (make_test_folder(state)) return -1;
    mkdir(in_folder("models"), 0777);
    static const char *const folder[] = {"models/pixels", "models/pixels/1", "models/finer",
                                         "models/finer/3"};
    for (int i = 0; i < 4; i++) mkdir(in_folder(folder[i]), 0777);
    write_model("models/pixels/1/model.h5", pixels_json, labels_json);
    write_model("models/finer/3/model.h5", finer_json, NULL);
    write_images("images", 5);
    return 0;
}

static cJSON *printed(void) {
    cJSON *root = cJSON_Parse(out);
    if (!root) fail_msg("no JSON: %s", out);
    return root;
}

/* Image s as it is in the list at place `at`, of inputs pixel * scale + offset. */
static void check_image(const cJSON *list, int at, int s, double scale, double offset) {
    const cJSON *object = list->child && cJSON_IsArray(list) ? cJSON_GetArrayItem(list, at) : list,
                *classes = cJSON_GetObjectItem(object, "classes");
    char name[64];
    double x[4], before = INFINITY;
    snprintf(name, sizeof name, "images/%03d.png", s);
    assert_string_equal(cJSON_GetObjectItem(object, "image")->valuestring, name);
    assert_string_equal(cJSON_GetObjectItem(object, "model")->valuestring, "pixels");
    assert_true(cJSON_GetObjectItem(object, "latency_ms")->valuedouble > 0);
    assert_int_equal(cJSON_GetArraySize(classes), 3);
    pixel_inputs(s, scale, offset, x);
    for (int k = 0; k < 3; k++) {
        const cJSON *item = cJSON_GetArrayItem(classes, k);
        double score = cJSON_GetObjectItem(item, "score")->valuedouble,
               wanted = linear(x, cJSON_GetObjectItem(item, "class")->valueint);
        if (!(fabs(score - wanted) < 1e-3)) fail_msg("%s: %g, not %g", name, score, wanted);
        assert_true(score <= before);
        before = score;
    }
}

static void test_several(void **state) {
    (void)state;
    static const char *const how[] = {
        "--input=images", "--input='images/*.png' --batch=2",
        "--input=images/000.png --input=images/001.png --input='images/00[2-4].png'",
        "--input=images --inference-engine=openblas --threads=1"};
    for (int h = 0; h < 4; h++) {
        succeeds(run(0, RUN "--model-name=pixels --json %s", how[h]), how[h]);
        cJSON *root = printed();
        assert_int_equal(cJSON_GetArraySize(root), 5);
        for (int s = 0; s < 5; s++) check_image(root, s, s, 0.5, -1);
        cJSON_Delete(root);
    }
    succeeds(run(0, RUN "--model-name=pixels --json --input=images/003.png"), "one");
    cJSON *root = printed();
    check_image(root, 0, 3, 0.5, -1);
    cJSON_Delete(root);
    /* As text, with pictures of the answers in a folder that is made; or as a JSON file. */
    succeeds(run(0, RUN "--model-name=pixels --input=images --output=answers --top=2"), "folder");
    assert_non_null(strstr(out, "images/003.png\n1. "));
    assert_int_equal(count_lines(out), 5 * 4);
    assert_int_equal(count_entries(in_folder("answers")), 5);
    struct image *image = NULL;
    assert_success(image_read(in_folder("answers/003.png"), &image));
    assert_true(image->width >= 280 && image->channels == 3);
    image_destroy(&image);
    succeeds(run(0, RUN "--model-name=pixels --input=images --output=answers.json"), "JSON file");
    char *text = load_text("answers.json");
    root = cJSON_Parse(text);
    assert_int_equal(cJSON_GetArraySize(root), 5);
    check_image(root, 4, 4, 0.5, -1);
    cJSON_Delete(root);
    free(text);
}

static void test_preprocess(void **state) {
    (void)state;
    succeeds(run(0, RUN "--model-name=pixels --json --input=images --preprocess=scale=0.25,offset=0"),
             "scale");
    cJSON *root = printed();
    for (int s = 0; s < 5; s++) check_image(root, s, s, 0.25, 0);
    cJSON_Delete(root);
    succeeds(run(0, RUN "--model-name=pixels --json --input=images --preprocess=mean=3,std=2,colour=rgb"),
             "mean");
    root = printed();
    for (int s = 0; s < 5; s++) check_image(root, s, s, 0.25, -2);
    cJSON_Delete(root);
    /* A part of a larger image, in which the pixels of image 2 are. */
    struct image *image;
    assert_success(image_create(9, 7, 3, &image));
    memset(image->pixel, 255, 9 * 7 * 3);
    for (int i = 0; i < 4; i++) memset(image->pixel + ((4 + i / 2) * 7 + 3 + i % 2) * 3, pixel_of(2, i), 3);
    mkdir(in_folder("part"), 0777);
    mkdir(in_folder("part/images"), 0777);
    assert_success(image_write(in_folder("part/images/002.png"), image));
    image_destroy(&image);
    succeeds(run(0, "sh -c 'cd part; " RUN_INFERENCE_PROGRAM " --models=../models --model-name=pixels --json "
                    "--input=images/002.png --preprocess=crop=3:4:2:2'"),
             "crop");
    root = printed();
    check_image(root, 0, 2, 0.5, -1);
    cJSON_Delete(root);
}

static void test_refused(void **state) {
    (void)state;
    mkdir(in_folder("broken"), 0777);
    write_bytes(in_folder("broken/b.png"), "no image", 8);
    write_bytes(in_folder("file"), "", 0);
    static const struct {
        const char *arguments, *part;
        int code;
    } bad[] = {
        {"--model-name=pixels --input=broken", "broken/b.png is not a PNG or JPEG image", 65},
        {"--model-name=pixels --input=file", "file is empty", 65},
        {"--model-name=pixels --input=models", "models has no .png or .jpg images", 65},
        {"--model-name=pixels --input='images/*.jpg'", "has no .png or .jpg images", 65},
        {"--model-name=pixels --input=images --input=images --output=twice", "have the same name", 2},
        {"--model-name=pixels --input=images --output=file", "file is no folder", 2},
        {"--model-name=pixels --input=images --output=images", "is an input", 2},
        {"--model-name=finer --input=images/000.png --output=./images/000.png", "000.png is an input", 2},
        {"--model-name=pixels --input=images --preprocess=zoom=2", "\"zoom=2\" is not understood", 2},
        {"--model-name=pixels --input=images --preprocess=size=3x3", "takes images of height 2, not 3", 65},
        {"--model-name=pixels --input=images --inference-engine=gpu", "no GPU engine", 2},
        {"--model-name=pixels --input=images --inference-engine=other", "other", 2},
        {"--model-name=pixels --input=images --top=0", "out of range", 2},
        {"--model-name=finer --input=images", "--output is missing: the model makes images", 2},
        {"--model-name=finer --input=images --output=x.json", "--output is missing: the model makes images",
         2},
        {"--model-name=finer --input=images/000.png --output=x.bmp", "let its name end in .png", 2},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fails(run(0, RUN "%s", bad[i].arguments), bad[i].code, bad[i].part);
        assert_false(exists("x.json") || exists("x.bmp") || exists("twice"));
    }
}

/* The output's pixel by the formula: sigmoid of a sum over 5 x 5 x 3 inputs, times 255. */
static int finer_pixel(const struct image *image, int64_t y, int64_t x, int c) {
    int filter = (int)(y % 2 * 2 + x % 2) * 3 + c;
    double sum = (double)((filter * 7 + 3) % 11 - 5) / 8;
    for (int dy = 0; dy < 5; dy++)
        for (int dx = 0; dx < 5; dx++)
            for (int ci = 0; ci < 3; ci++) {
                int64_t r = y / 2 + dy - 2, q = x / 2 + dx - 2;
                if (r < 0 || q < 0 || r >= image->height || q >= image->width) continue;
                sum += image->pixel[(r * image->width + q) * 3 + ci] / 255.0 *
                       (((((dy * 5 + dx) * 3 + ci) * 12 + filter) * 7) % 11 - 5) / 8;
            }
    return (int)lrint(255 / (1 + exp(-sum)));
}

static void write_large_image(const char *name, int64_t height, int64_t width) {
    struct image *image;
    assert_success(image_create(height, width, 3, &image));
    for (int64_t i = 0; i < height * width * 3; i++)
        image->pixel[i] = (uint8_t)(i / 3 % width * 3 + i / 3 / width * 5 + i * i % 7 * 9);
    assert_success(image_write(in_folder(name), image));
    image_destroy(&image);
}

static void check_finer(const char *from, const char *to, int64_t every) {
    struct image *image = NULL, *made = NULL;
    assert_success(image_read(in_folder(from), &image));
    assert_success(image_read(in_folder(to), &made));
    assert_int_equal(made->height, 2 * image->height);
    assert_int_equal(made->width, 2 * image->width);
    for (int64_t i = 0; i < made->height * made->width * 3; i += every) {
        int wanted = finer_pixel(image, i / 3 / made->width, i / 3 % made->width, (int)(i % 3));
        if (abs(made->pixel[i] - wanted) > 1) fail_msg("%s: %d, not %d", to, made->pixel[i], wanted);
    }
    image_destroy(&image);
    image_destroy(&made);
}

static void test_image_to_image(void **state) {
    (void)state;
    write_large_image("small.png", 70, 90);
    mkdir(in_folder("both"), 0777);
    write_large_image("both/a.png", 31, 20);
    write_large_image("both/b.jpg", 40, 50);
    for (int tile = 0; tile <= 33; tile += 33) {
        succeeds(run(0, RUN "--model-name=finer --input=small.png --output=fine.png --tile=%d", tile),
                 "tile");
        assert_true(!strstr(out, "tiles of") == !tile);
        check_finer("small.png", "fine.png", 1);
    }
    succeeds(run(0, RUN "--model-name=finer --input=both --output=fine/ --json"), "two");
    cJSON *root = printed();
    assert_int_equal(cJSON_GetArraySize(root), 2);
    assert_string_equal(cJSON_GetObjectItem(cJSON_GetArrayItem(root, 1), "output")->valuestring,
                        "fine/b.jpg");
    assert_int_equal(cJSON_GetObjectItem(cJSON_GetArrayItem(root, 1), "width")->valueint, 100);
    cJSON_Delete(root);
    check_finer("both/a.png", "fine/a.png", 1);
}

/* 6 million pixels, of which each has 51 numbers and more: in tiles with less memory than the whole would
 * take. */
static void test_large(void **state) {
    (void)state;
    write_large_image("large.png", 2000, 3000);
    succeeds(run(0, WITH_MIB(600) RUN "--model-name=finer --input=large.png --output=fine.png "
                                      "--threads=1"),
             "large");
    assert_non_null(strstr(out, "tiles of"));
    check_finer("large.png", "fine.png", 997);
#ifdef __SANITIZE_ADDRESS__
    return;
#endif
    fails(run(0, WITH_MIB(600) RUN "--model-name=finer --input=large.png --output=whole.png "
                                   "--threads=1 --tile=0"),
          71, "no memory");
    assert_false(exists("whole.png"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_several), cmocka_unit_test(test_preprocess),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_image_to_image),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, setup, remove_test_folder);
}
