/* godwit predict as a user runs it: what it writes, in each format, on any number of ranks, against a formula
 * and against what Keras gives; what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coordinator/predict_testing.h"

#include <cjson/cJSON.h>

#define N 1000
#define NAN_AT 700

static int setup(void **state) {
    if (make_test_folder(state)) return -1;
    write_model("linear.h5", linear_json, labels_json);
    write_model("pixels.h5", pixels_json, labels_json);
    write_samples("in.h5", "x", N, NAN_AT);
    write_images("images", 30);
    return 0;
}

/* ---- formats ---- */

static void check_rows(const double *y) {
    for (int64_t s = 0; s < N; s++)
        for (int k = 0; k < 3; k++) {
            double x[4];
            for (int i = 0; i < 4; i++) x[i] = value_of(s, i);
            if (s == NAN_AT ? !isnan(y[3 * s + k]) : !near(y[3 * s + k], linear(x, k)))
                fail_msg("sample %d, output %d: %g", (int)s, k, y[3 * s + k]);
        }
}

static void test_hdf5(void **state) {
    (void)state;
    for (int ranks = 0; ranks <= 3; ranks++) {
        hsize_t dim[2];
        succeeds(run(ranks, PREDICT "linear.h5 -i in.h5:x -o out.h5%s --threads 1", ranks ? ":z/deep" : ""),
                 "predict");
        double *y = read_set("out.h5", ranks ? "z/deep" : "y", 2, dim);
        assert_int_equal(dim[0], N);
        assert_int_equal(dim[1], 3);
        check_rows(y);
        free(y);
        assert_int_equal(count_entries(test_folder), 7); /* two models, input, images, out, err, result */
    }
    assert_int_equal(unlink(in_folder("out.h5")), 0);
}

static void check_csv_all(char *text) {
    static const char *const head[] = {"index", "out_0", "out_1", "out_2"};
    char *at = text, *field;
    double *y = calloc(3 * N, sizeof *y);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(csv_field(&at, &field), i < 3 ? ',' : '\n');
        assert_string_equal(field, head[i]);
    }
    for (int s = 0; s < N; s++) {
        csv_field(&at, &field);
        assert_int_equal(strtol(field, NULL, 10), s);
        for (int k = 0; k < 3; k++) {
            assert_int_equal(csv_field(&at, &field), k < 2 ? ',' : '\n');
            y[3 * s + k] = strtod(field, NULL);
        }
    }
    assert_int_equal(*at, 0);
    check_rows(y);
    free(y);
}

static void test_csv(void **state) {
    (void)state;
    for (int ranks = 0; ranks <= 3; ranks++) {
        char *text, name[16];
        snprintf(name, sizeof name, "%d.csv", ranks);
        succeeds(run(ranks, PREDICT "linear.h5 -i in.h5 -o %s --all --threads 1", name), "predict");
        if (ranks) assert_true(same_bytes(name, "0.csv"));
        text = load_text(name);
        check_csv_all(text);
        free(text);
    }
    for (int ranks = 0; ranks <= 3; ranks++) {
        char name[16];
        snprintf(name, sizeof name, "%d.csv", ranks);
        assert_int_equal(unlink(in_folder(name)), 0);
    }
}

/* Number of the r-th best class. */
static int best_of(int64_t s, int r) {
    int order[3] = {0, 1, 2};
    double x[4];
    for (int i = 0; i < 4; i++) x[i] = value_of(s, i);
    for (int a = 0; a < 3; a++)
        for (int b = a + 1; b < 3; b++)
            if (linear(x, order[b]) > linear(x, order[a])) {
                int kept = order[a];
                order[a] = order[b];
                order[b] = kept;
            }
    return order[r];
}

static const char *const labels[] = {"a", "b,\"c\"", "d"};

static void test_csv_classes(void **state) {
    (void)state;
    succeeds(run(2, PREDICT "linear.h5 -i in.h5 -o best.csv"), "predict");
    char *text = load_text("best.csv"), *at = text, *field;
    for (int i = 0; i < 4; i++) csv_field(&at, &field);
    assert_string_equal(field, "score");
    int differ = 0;
    for (int s = 0; s < N; s++) {
        csv_field(&at, &field);
        csv_field(&at, &field);
        long class = strtol(field, NULL, 10);
        differ += s != NAN_AT && class != best_of(s, 0);
        csv_field(&at, &field);
        assert_string_equal(field, labels[class]);
        csv_field(&at, &field);
    }
    assert_int_equal(*at, 0);
    assert_true(differ < 3); /* near ties */
    free(text);
    assert_int_equal(unlink(in_folder("best.csv")), 0);
}

/* The next line as JSON; owned. */
static cJSON *next_object(char **at) {
    char *line = strsep(at, "\n");
    cJSON *object = cJSON_Parse(line);
    if (!object) fail_msg("no JSON: %s", line);
    return object;
}

static void test_jsonl(void **state) {
    (void)state;
    for (int ranks = 0; ranks <= 2; ranks += 2) {
        succeeds(run(ranks, PREDICT "linear.h5 -i in.h5 -o all.jsonl --all"), "predict");
        char *text = load_text("all.jsonl"), *at = text;
        double *y = calloc(3 * N, sizeof *y);
        for (int s = 0; s < N; s++) {
            cJSON *object = next_object(&at), *values = cJSON_GetObjectItem(object, "outputs");
            assert_int_equal(cJSON_GetObjectItem(object, "index")->valueint, s);
            values = cJSON_GetObjectItem(values, "out");
            assert_int_equal(cJSON_GetArraySize(values), 3);
            for (int k = 0; k < 3; k++) {
                const cJSON *item = cJSON_GetArrayItem(values, k);
                y[3 * s + k] = cJSON_IsNull(item) ? NAN : item->valuedouble;
            }
            cJSON_Delete(object);
        }
        assert_string_equal(at, "");
        check_rows(y);
        free(y);
        free(text);
    }
    succeeds(run(2, PREDICT "linear.h5 -i in.h5 -o best.jsonl --top 2"), "predict");
    char *text = load_text("best.jsonl"), *at = text;
    for (int s = 0; s < N; s++) {
        cJSON *object = next_object(&at), *list = cJSON_GetObjectItem(object, "classes");
        assert_int_equal(cJSON_GetArraySize(list), 2);
        for (int r = 0; r < 2 && s != NAN_AT; r++) {
            const cJSON *item = cJSON_GetArrayItem(list, r);
            int class = cJSON_GetObjectItem(item, "class")->valueint;
            double x[4];
            for (int i = 0; i < 4; i++) x[i] = value_of(s, i);
            assert_string_equal(cJSON_GetObjectItem(item, "label")->valuestring, labels[class]);
            assert_true(near(cJSON_GetObjectItem(item, "score")->valuedouble, linear(x, class)));
            assert_true(linear(x, class) > linear(x, best_of(s, r)) - 1e-5);
        }
        cJSON_Delete(object);
    }
    free(text);
    assert_int_equal(unlink(in_folder("all.jsonl")), 0);
    assert_int_equal(unlink(in_folder("best.jsonl")), 0);
}

/* ---- inputs ---- */

/* Bytes of chunked and compressed HDF5, of IDX, of IDX in gzip: all as the model's preprocessing says, or as
 * the command line does; floating-point numbers as they are, or as the command line says. */
static void test_kinds(void **state) {
    (void)state;
    enum { n = 300 };
    double *x = calloc(4 * n, sizeof *x);
    uint8_t idx[16 + 4 * n];
    size_t used = idx_header(idx, 0x08, 3, (uint32_t[]){n, 2, 2});
    for (int s = 0; s < n; s++)
        for (int i = 0; i < 4; i++) idx[used++] = (uint8_t)(x[4 * s + i] = pixel_of(s, i));
    write_bytes(in_folder("in.idx"), idx, used);
    write_gzip(in_folder("in.idx.gz"), idx, used);
    hid_t file = create_h5("kinds.h5"), list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(list, 4, (hsize_t[]){7, 2, 1, 1});
    H5Pset_deflate(list, 6);
    put_data(file, "bytes", H5T_STD_U8LE, list, 4, (hsize_t[]){n, 2, 2, 1}, x);
    H5Pclose(list);
    list = H5Pcreate(H5P_DATASET_CREATE);
    put_data(file, "flat", H5T_STD_U8LE, list, 2, (hsize_t[]){n, 4}, x);
    put_data(file, "big", H5T_IEEE_F64BE, list, 3, (hsize_t[]){n, 2, 2}, x);
    put_data(file, "whole", H5T_STD_I16LE, list, 3, (hsize_t[]){n, 2, 2}, x);
    H5Pclose(list);
    H5Fclose(file);
    free(x);
    static const struct {
        const char *input;
        double scale, offset;
    } kind[] = {{"in.idx", 0.5, -1},
                {"in.idx.gz", 0.5, -1},
                {"kinds.h5:bytes", 0.5, -1},
                {"kinds.h5:flat", 0.5, -1},
                {"kinds.h5:big", 1, 0},
                {"kinds.h5:whole", 1, 0},
                {"kinds.h5:bytes --scale=0.25", 0.25, 0},
                {"kinds.h5:big --scale=0.25 --offset=3", 0.25, 3},
                {"kinds.h5:bytes --preprocess=scale=1,offset=0,mean=2,std=4", 0.25, -0.5}};
    for (size_t k = 0; k < sizeof kind / sizeof *kind; k++) {
        hsize_t dim[2];
        succeeds(run((int)k % 3, PREDICT "pixels.h5 -o out.h5 -i %s", kind[k].input), kind[k].input);
        double *y = read_set("out.h5", "y", 2, dim), in[4];
        assert_int_equal(dim[0], n);
        for (int s = 0; s < n; s++)
            for (int c = 0; c < 3; c++) {
                pixel_inputs(s, kind[k].scale, kind[k].offset, in);
                if (!(fabs(y[3 * s + c] - linear(in, c)) < 1e-3))
                    fail_msg("%s: sample %d: %g, not %g", kind[k].input, s, y[3 * s + c], linear(in, c));
            }
        free(y);
    }
}

static void check_image_rows(const double *y, const double *failed, int n, int bad) {
    for (int s = 0; s < n; s++) {
        if (failed) assert_true(failed[s] == (s == bad));
        for (int k = 0; k < 3; k++) {
            double x[4];
            pixel_inputs(s, 0.5, -1, x);
            if (s == bad ? !isnan(y[3 * s + k]) : !(fabs(y[3 * s + k] - linear(x, k)) < 1e-3))
                fail_msg("image %d: %g", s, y[3 * s + k]);
        }
    }
}

static void check_names(const char *name) {
    char text[32];
    hid_t file = H5Fopen(in_folder(name), H5F_ACC_RDONLY, H5P_DEFAULT),
          set = H5Dopen2(file, "file", H5P_DEFAULT);
    hid_t type = H5Dget_type(set);
    assert_int_equal(H5Tget_size(type), strlen("images/000.png"));
    char *names = calloc(31, strlen("images/000.png"));
    assert_true(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, names) >= 0);
    for (int s = 0; s < 30; s++) {
        snprintf(text, sizeof text, "images/%03d.png", s);
        assert_memory_equal(names + s * 14, text, 14);
    }
    free(names);
    H5Tclose(type);
    H5Dclose(set);
    H5Fclose(file);
}

static void test_images(void **state) {
    (void)state;
    hsize_t dim[2];
    for (int ranks = 0; ranks <= 2; ranks++) {
        succeeds(run(ranks, PREDICT "pixels.h5 -o out.h5 -i %s", ranks ? "'images/*.png'" : "images"),
                 "images");
        double *y = read_set("out.h5", "y", 2, dim);
        assert_int_equal(dim[0], 30);
        check_image_rows(y, NULL, 30, -1);
        check_names("out.h5");
        free(y);
    }
    succeeds(run(0, PREDICT "pixels.h5 -o out.csv -i images/007.png"), "one image");
    char *text = load_text("out.csv");
    assert_non_null(strstr(text, "\nimages/007.png,"));
    assert_int_equal(count_lines(text), 2);
    free(text);
}

/* An image that cannot be read, on each rank: blocks have one image here. */
static void test_bad_image(void **state) {
    (void)state;
    hsize_t dim[2];
    unlink(in_folder("out.h5"));
    for (int ranks = 0; ranks <= 3; ranks++)
        for (int bad = 0; bad < (ranks ? ranks : 1); bad++) {
            char name[64];
            int at = 15 + bad;
            snprintf(name, sizeof name, "images/%03d.png", at);
            write_bytes(in_folder(name), "no image", 8);
            fails(run(ranks, PREDICT "pixels.h5 -o out.h5 -i images"), 65, name);
            assert_false(exists("out.h5") || exists(".out.h5.prediction") ||
                         exists(".out.h5.prediction.journal"));
            succeeds(run(ranks, PREDICT "pixels.h5 -o bad.h5 -i images --skip-bad"), "--skip-bad");
            assert_non_null(strstr(err, "1 of 30 images could not be read"));
            assert_non_null(strstr(err, name));
            double *y = read_set("bad.h5", "y", 2, dim), *failed = read_set("bad.h5", "failed", 1, dim);
            check_image_rows(y, failed, 30, at);
            free(y);
            free(failed);
            succeeds(run(ranks, PREDICT "pixels.h5 -o bad.csv -i images --skip-bad"), "--skip-bad");
            char *text = load_text("bad.csv"), begin[128], *line;
            assert_int_equal(count_lines(text), 31);
            snprintf(begin, sizeof begin, "\n%s,,,,%s is not", name, name);
            if (!(line = strstr(text, begin))) fail_msg("%s", text);
            free(text);
            succeeds(run(ranks, PREDICT "pixels.h5 -o bad.jsonl -i images --skip-bad"), "--skip-bad");
            text = load_text("bad.jsonl");
            char *rest = text;
            for (int s = 0; s < 30; s++) {
                cJSON *object = next_object(&rest);
                assert_int_equal(cJSON_HasObjectItem(object, "error"), s == at);
                assert_int_equal(cJSON_HasObjectItem(object, "classes"), s != at);
                cJSON_Delete(object);
            }
            free(text);
            write_images("images", 30);
        }
}

/* Names with what CSV and JSON have a meaning for; one that is no UTF-8. */
static void test_odd_names(void **state) {
    (void)state;
    static const char *const names[] = {"a,\"b\".png",      "n\nl\\.png",       "\xc3\xa4.png",
                                        "\xe0\x80\x80.png", "\xed\xa0\x80.png", "\xff.png"};
    static const char *const valid[] = {"a,\"b\".png", "n\nl\\.png", "\xc3\xa4.png",
                                        "???.png",     "???.png",    "?.png"};
    struct image *image;
    assert_success(image_create(2, 2, 1, &image));
    mkdir(in_folder("odd"), 0777);
    for (int i = 0; i < 6; i++) {
        char path[64];
        snprintf(path, sizeof path, "odd/%s", names[i]);
        assert_success(image_write(in_folder(path), image));
    }
    image_destroy(&image);
    succeeds(run(2, PREDICT "pixels.h5 -o odd.csv -i odd"), "CSV");
    succeeds(run(2, PREDICT "pixels.h5 -o odd.jsonl -i odd"), "JSON lines");
    char *csv = load_text("odd.csv"), *json = load_text("odd.jsonl"), *at = csv, *line = json, *field;
    for (int i = 0; i < 4; i++) csv_field(&at, &field);
    for (int i = 0; i < 6; i++) {
        csv_field(&at, &field);
        assert_memory_equal(field, "odd/", 4);
        assert_string_equal(field + 4, names[i]);
        for (int k = 0; k < 3; k++) csv_field(&at, &field);
        cJSON *object = next_object(&line);
        assert_string_equal(cJSON_GetObjectItem(object, "file")->valuestring + 4, valid[i]);
        cJSON_Delete(object);
    }
    assert_int_equal(*at, 0);
    free(csv);
    free(json);
}

static const char two_json[] =
    "{\"class_name\":\"Functional\",\"config\":{\"name\":\"two\",\"layers\":["
    "{\"class_name\":\"InputLayer\",\"name\":\"left\",\"config\":{\"name\":\"left\",\"batch_input_shape\":["
    "null,1]},"
    "\"inbound_nodes\":[]},"
    "{\"class_name\":\"InputLayer\",\"name\":\"right\",\"config\":{\"name\":\"right\",\"batch_input_shape\":["
    "null,3]}"
    ",\"inbound_nodes\":[]},"
    "{\"class_name\":\"Concatenate\",\"name\":\"both\",\"config\":{\"name\":\"both\",\"axis\":-1},"
    "\"inbound_nodes\":[[[\"left\",0,0,{}],[\"right\",0,0,{}]]]},"
    "{\"class_name\":\"Dense\",\"name\":\"out\",\"config\":{\"name\":\"out\",\"units\":3},"
    "\"inbound_nodes\":[[[\"both\",0,0,{}]]]}],"
    "\"input_layers\":[[\"left\",0,0],[\"right\",0,0]],\"output_layers\":[[\"out\",0,0],[\"both\",0,0]]}}";

static void check_two(const char *file, const char *first, const char *second) {
    hsize_t dim[2];
    double *y = read_set(file, first, 2, dim), *both = read_set(file, second, 2, dim);
    assert_int_equal(dim[0], 50);
    assert_int_equal(dim[1], 4);
    for (int s = 0; s < 50; s++) {
        double x[4];
        for (int i = 0; i < 4; i++) x[i] = value_of(s, i);
        for (int i = 0; i < 4; i++) assert_true(near(both[4 * s + i], x[i]));
        for (int k = 0; k < 3; k++) assert_true(near(y[3 * s + k], linear(x, k)));
    }
    free(y);
    free(both);
}

static void test_several(void **state) {
    (void)state;
    double left[50], right[150];
    for (int s = 0; s < 50; s++) {
        left[s] = value_of(s, 0);
        for (int i = 0; i < 3; i++) right[3 * s + i] = value_of(s, i + 1);
    }
    write_model("two.h5", two_json, NULL);
    hid_t file = create_h5("two_in.h5"), list = H5Pcreate(H5P_DATASET_CREATE);
    put_data(file, "g/left", H5T_IEEE_F32LE, list, 1, (hsize_t[]){50}, left);
    put_data(file, "g/right", H5T_IEEE_F32LE, list, 2, (hsize_t[]){50, 3}, right);
    put_data(file, "x0", H5T_IEEE_F64LE, list, 2, (hsize_t[]){50, 1}, left);
    put_data(file, "x1", H5T_IEEE_F64LE, list, 2, (hsize_t[]){50, 3}, right);
    put_data(file, "bad0", H5T_IEEE_F64LE, list, 2, (hsize_t[]){50, 1}, left);
    put_data(file, "bad1", H5T_IEEE_F64LE, list, 2, (hsize_t[]){49, 3}, right);
    H5Pclose(list);
    H5Fclose(file);
    succeeds(run(2, PREDICT "two.h5 -i two_in.h5:/g -o two_out.h5"), "by name");
    check_two("two_out.h5", "y0", "y1");
    succeeds(run(0, PREDICT "two.h5 -i two_in.h5 -o two_out.h5:z/"), "by number");
    check_two("two_out.h5", "z/out", "z/both");
    fails(run(0, PREDICT "two.h5 -i two_in.h5:bad -o two_bad.h5"), 65, "bad1 has 49 samples");
    fails(run(0, PREDICT "two.h5 -i two_in.h5:none -o two_bad.h5"), 65, "\"none0\" or \"none/left\"");
    fails(run(0, PREDICT "two.h5 -i images -o two_bad.h5"), 2, "2 inputs");
    succeeds(run(0, PREDICT "two.h5 -i two_in.h5:/g -o two.jsonl"), "JSON lines");
    char *text = load_text("two.jsonl"), *at = text;
    cJSON *object = next_object(&at), *outputs = cJSON_GetObjectItem(object, "outputs");
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(outputs, "both")), 4);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(outputs, "out")), 3);
    cJSON_Delete(object);
    free(text);
}

/* What Keras gives, of models of many kinds. */
static void test_keras(void **state) {
    (void)state;
    static const char *const models[] = {"graph_mix", "lstm_text", "mobilenet_v2", "seq_cnn", "transformer"};
    char path[512], to[600];
    snprintf(path, sizeof path, "%s/models/keras3/%s.golden.h5", GODWIT_SHARED_DIR, models[0]);
    if (access(path, R_OK) != 0) skip();
    for (int m = 0; m < 5; m++) {
        hsize_t dim[2], wanted_dim[2];
        snprintf(path, sizeof path, "%s/models/keras3/%s", GODWIT_SHARED_DIR, models[m]);
        succeeds(run(m % 3, PREDICT "%s.h5 -i %s.golden.h5 -o keras.h5", path, path), models[m]);
        snprintf(to, sizeof to, "cp '%s.golden.h5' '%s'", path, in_folder("golden.h5"));
        assert_int_equal(system(to), 0);
        double *y = read_set("keras.h5", "y", 2, dim), *wanted = read_set("golden.h5", "y", 2, wanted_dim);
        assert_int_equal(dim[0], wanted_dim[0]);
        assert_int_equal(dim[1], wanted_dim[1]);
        for (hsize_t i = 0; i < dim[0] * dim[1]; i++)
            if (!(fabs(y[i] - wanted[i]) < 1e-4)) fail_msg("%s: %g, not %g", models[m], y[i], wanted[i]);
        free(y);
        free(wanted);
    }
}

/* ---- what is refused, and what is empty ---- */

static void test_empty(void **state) {
    (void)state;
    hsize_t dim[2];
    write_samples("none.h5", "x", 0, -1);
    succeeds(run(2, PREDICT "linear.h5 -i none.h5 -o empty.h5"), "no samples");
    double *y = read_set("empty.h5", "y", 2, dim);
    assert_int_equal(dim[0], 0);
    assert_int_equal(dim[1], 3);
    free(y);
    succeeds(run(0, PREDICT "linear.h5 -i none.h5 -o empty.csv"), "no samples");
    char *text = load_text("empty.csv");
    assert_string_equal(text, "index,class,label,score\n");
    free(text);
    succeeds(run(2, PREDICT "linear.h5 -i none.h5 -o empty.jsonl"), "no samples");
    text = load_text("empty.jsonl");
    assert_string_equal(text, "");
    free(text);
}

static void test_refused(void **state) {
    (void)state;
    char command[1200];
    write_bytes(in_folder("text"), "neither one nor the other", 25);
    write_bytes(in_folder("nothing"), "", 0);
    mkdir(in_folder("folder"), 0777);
    assert_int_equal(symlink("nothing", in_folder("link.h5")), 0);
    snprintf(command, sizeof command, "head -c 6000 '%s' > '%s'", in_folder("in.h5"), in_folder("cut.h5"));
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof command, "head -c 1000 '%s' > '%s'", in_folder("in.idx"), in_folder("cut.idx"));
    assert_int_equal(system(command), 0);
    static const struct {
        const char *arguments, *part;
        int code;
    } bad[] = {
        {"pixels.h5 -i in.h5:y -o o.h5", "has no data set \"y\"", 65},
        {"pixels.h5 -i kinds.h5 -o o.h5", "has no data set \"x\"", 65},
        {"linear.h5 -i two_in.h5:x1 -o o.h5", "samples of two_in.h5:x1 are (?, 3) but the model wants (?, 4)",
         65},
        {"linear.h5 -i cut.h5 -o o.h5", "cut.h5 is damaged or truncated", 65},
        {"pixels.h5 -i cut.idx -o o.h5", "cut.idx is truncated", 65},
        {"linear.h5 -i text -o o.h5", "text is no HDF5 file, IDX file or image", 65},
        {"linear.h5 -i nothing -o o.h5", "nothing is empty", 65},
        {"linear.h5 -i nowhere.h5 -o o.h5", "cannot read nowhere.h5", 74},
        {"pixels.h5 -i folder -o o.h5", "folder has no .png or .jpg images", 65},
        {"pixels.h5 -i 'folder/*.png' -o o.h5", "has no .png or .jpg images", 65},
        {"linear.h5 -i images -o o.h5", "input (?, 4) is not an image", 65},
        {"linear.h5 -i in.h5 -o o.txt", "let its name end in", 2},
        {"linear.h5 -i in.h5 -o o.txt --format xml", "choose auto, hdf5, csv or jsonl", 2},
        {"linear.h5 -i in.h5 -o o.h5 --top 2", "--top is for CSV and JSON lines", 2},
        {"linear.h5 -i in.h5 -o o.csv --top 2 --all", "not both", 2},
        {"linear.h5 -i in.h5 -o o.csv --top 0", "out of range", 2},
        {"linear.h5 -i in.h5", "--output is missing", 2},
        {"linear.h5 -o o.h5", "--input is missing", 2},
        {"linear.h5 -i in.h5 -o nowhere/o.h5", "nowhere/", 74},
        {"linear.h5 -i in.h5 -o folder --format csv", "is no file", 74},
        {"linear.h5 -i in.h5 -o link.h5", "link.h5: it is no file", 74},
        {"linear.h5 -i in.h5 -o in.h5", "in.h5 is read by this run", 2},
        {"linear.h5 -i in.h5 -o ./linear.h5", "linear.h5 is read by this run", 2},
        {"pixels.h5 -i images -o images/000.png --format csv", "000.png is read by this run", 2},
        {"linear.h5 -i in.idx:x -o o.h5", "nothing in it is named \"x\"", 2},
        {"linear.h5 -i in.h5 -o o.h5 --engine nope", "nope", 2},
        {"pixels.h5 -i images -o o.h5 --preprocess=crop=top", "\"crop=top\" is not understood", 2},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fails(run(i % 5 == 0 ? 2 : 0, PREDICT "%s", bad[i].arguments), bad[i].code, bad[i].part);
        assert_false(exists("o.h5") || exists(".o.h5.prediction") || exists("o.csv") || exists("o.txt"));
    }
}

/* A value that the model cannot take is the samples' fault, and says where. */
static void test_bad_value(void **state) {
    (void)state;
    static const char json[] =
        "{\"class_name\":\"Sequential\",\"config\":{\"name\":\"ids\",\"layers\":["
        "{\"class_name\":\"InputLayer\",\"config\":{\"name\":\"in\",\"batch_input_shape\":[null,1]}},"
        "{\"class_name\":\"Embedding\",\"config\":{\"name\":\"table\",\"input_dim\":5,\"output_dim\":2}}]}}";
    double ids[300];
    write_model("ids.h5", json, NULL);
    for (int i = 0; i < 300; i++) ids[i] = i == 250 ? 5 : i % 5;
    hid_t file = create_h5("ids_in.h5"), list = H5Pcreate(H5P_DATASET_CREATE);
    put_data(file, "x", H5T_STD_I32LE, list, 2, (hsize_t[]){300, 1}, ids);
    H5Pclose(list);
    H5Fclose(file);
    fails(run(2, PREDICT "ids.h5 -i ids_in.h5 -o o.h5 --batch 10"), 65, "samples 250 to 259");
    assert_false(exists("o.h5") || exists(".o.h5.prediction"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hdf5),        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_csv_classes), cmocka_unit_test(test_jsonl),
        cmocka_unit_test(test_kinds),       cmocka_unit_test(test_images),
        cmocka_unit_test(test_bad_image),   cmocka_unit_test(test_odd_names),
        cmocka_unit_test(test_several),     cmocka_unit_test(test_keras),
        cmocka_unit_test(test_empty),       cmocka_unit_test(test_refused),
        cmocka_unit_test(test_bad_value),
    };
    return cmocka_run_group_tests(tests, setup, remove_test_folder);
}
