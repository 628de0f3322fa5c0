/* Image-to-image models in tiles: what is put together is what the whole gives, for nets that see pixels
 * around each in many ways; receptive fields against what changes when a pixel does; nets that need the whole
 * image are not cut. */
#include "io/io_testing.h"

#include <math.h>

#include "io/keras.h"
#include "shared/receptive.h"
#include "shared/rng.h"
#include "worker/tiles.h"

#define LAYER(class, name, in, config)                                                                       \
    "{\"class_name\":\"" class "\",\"name\":\"" name "\",\"config\":{\"name\":\"" name "\"" config           \
                               "},\"inbound_nodes\":[[" in "]]},"
#define IN(name) "[\"" name "\",0,0,{}]"
#define CONV(name, in, filters, size, more)                                                                  \
    LAYER("Conv2D", name, in,                                                                                \
          ",\"filters\":" #filters ",\"kernel_size\":[" #size "," #size "],\"padding\":\"same\"" more)

/* A net from "in" (?, ?, ?, 3) to "out". */
#define NET(layers)                                                                                          \
    "{\"class_name\":\"Functional\",\"config\":{\"name\":\"net\",\"layers\":[" layers                        \
    "{\"class_name\":\"InputLayer\",\"name\":\"in\",\"config\":{\"name\":\"in\",\"batch_input_shape\":"      \
    "[null,null,null,3]},\"inbound_nodes\":[]}],\"input_layers\":[[\"in\",0,0]],"                            \
    "\"output_layers\":[[\"out\",0,0]]}}"

static const struct {
    const char *name, *json;
    bool tiled;
} nets[] = {
    {"convolutions",
     NET(CONV("a", IN("in"), 4, 3, ",\"activation\":\"relu\"") CONV("b", IN("a"), 4, 5, "") CONV(
         "c", IN("b"), 4, 1, "") LAYER("Add", "d", IN("a") "," IN("c"), "") CONV("out", IN("d"), 3, 3, "")),
     true},
    {"dilated", NET(CONV("a", IN("in"), 4, 3, ",\"dilation_rate\":[3,2]") CONV("out", IN("a"), 3, 3, "")),
     true},
    {"pixel shuffle",
     NET(CONV("a", IN("in"), 12, 3, ",\"activation\":\"tanh\"")
             LAYER("DepthToSpace", "b", IN("a"), ",\"block_size\":2") CONV("out", IN("b"), 3, 3, "")),
     true},
    {"space to depth",
     NET(LAYER("SpaceToDepth", "a", IN("in"), ",\"block_size\":3") CONV("b", IN("a"), 27, 3, "")
             LAYER("DepthToSpace", "out", IN("b"), ",\"block_size\":3")),
     true},
    {"u-net",
     NET(CONV("a", IN("in"), 4, 3, ",\"activation\":\"relu\"") CONV("b", IN("a"), 6, 3, ",\"strides\":[2,2]")
             LAYER("MaxPooling2D", "c", IN("b"), ",\"pool_size\":[2,2],\"padding\":\"same\"")
                 CONV("d", IN("c"), 6, 3, "") LAYER("UpSampling2D", "e", IN("d"), ",\"size\":[2,2]")
                     LAYER("Concatenate", "f", IN("b") "," IN("e"), ",\"axis\":-1")
                         LAYER("Conv2DTranspose", "g", IN("f"),
                               ",\"filters\":4,\"kernel_size\":[4,4],\"strides\":[2,2],\"padding\":\"same\"")
                             LAYER("Concatenate", "h", IN("a") "," IN("g"), ",\"axis\":-1")
                                 CONV("out", IN("h"), 3, 3, "")),
     true},
    {"bilinear",
     NET(CONV("a", IN("in"), 4, 3, "")
             LAYER("UpSampling2D", "b", IN("a"), ",\"size\":[3,3],\"interpolation\":\"bilinear\"")
                 CONV("out", IN("b"), 3, 3, "")),
     true},
    {"smaller",
     NET(CONV("a", IN("in"), 4, 3, ",\"strides\":[2,2]") LAYER(
         "PReLU", "b", IN("a"), ",\"shared_axes\":[1,2]") CONV("out", IN("b"), 3, 3, ",\"strides\":[2,2]")),
     true},
    {"padded",
     NET(LAYER("ZeroPadding2D", "a", IN("in"), ",\"padding\":[[2,2],[1,1]]")
             LAYER("Conv2D", "out", IN("a"), ",\"filters\":3,\"kernel_size\":[5,3],\"padding\":\"valid\"")),
     true},
    {"squeeze",
     NET(CONV("a", IN("in"), 4, 3, "") LAYER("GlobalAveragePooling2D", "b", IN("a"), ",\"keepdims\":true")
             LAYER("Multiply", "c", IN("a") "," IN("b"), "") CONV("out", IN("c"), 3, 3, "")),
     false},
    {"valid", NET(LAYER("Conv2D", "out", IN("in"), ",\"filters\":3,\"kernel_size\":[3,3]")), false},
};
#define NETS ((int)(sizeof nets / sizeof *nets))

struct fixture {
    struct model *model;
    struct predictor *predictor;
    struct preprocessing *preprocessing;
};

static void open_net(int n, struct fixture *f) {
    struct graph *graph = NULL;
    const struct engine *engine = NULL;
    assert_success(status_context(keras_graph_from_json(nets[n].json, &graph), "%s", nets[n].name));
    assert_success(model_create(graph, &f->model));
    struct rng rng = rng_make(7, 1, (uint64_t)n);
    for (int64_t i = 0; i < f->model->params->total; i++)
        f->model->params->data[i] = (float)(0.3 * rng_normal(&rng));
    assert_success(engine_find(NULL, &engine));
    struct predictor_options options = {.engine = engine, .threads = 1};
    assert_success(predictor_create(&options, f->model, &f->predictor));
    assert_success(
        preprocessing_parse("{\"scale\":0.01,\"mean\":[0.1,0.2,0.3],\"std\":[1,2,1]}", &f->preprocessing));
}

static void close_net(struct fixture *f) {
    predictor_destroy(&f->predictor);
    model_destroy(&f->model);
    preprocessing_destroy(&f->preprocessing);
}

static struct image *make_pixels(int64_t height, int64_t width) {
    struct image *image;
    struct rng rng = rng_make(3, 2, 1);
    assert_success(image_create(height, width, 3, &image));
    for (int64_t i = 0; i < height * width * 3; i++) image->pixel[i] = (uint8_t)rng_below(&rng, 256);
    return image;
}

/* A whole output; each value must be put once. */
struct output {
    int64_t height, width, channels;
    float *y;
    int *times;
};

static void put(void *context, int64_t top, int64_t left, int64_t height, int64_t width, int64_t stride,
                const float *y) {
    struct output *o = context;
    assert_true(top >= 0 && left >= 0 && top + height <= o->height && left + width <= o->width);
    for (int64_t r = 0; r < height; r++)
        for (int64_t i = 0; i < width * o->channels; i++) {
            int64_t at = ((top + r) * o->width + left) * o->channels + i;
            o->y[at] = y[r * stride + i];
            o->times[at]++;
        }
}

static float *run_net(struct fixture *f, const struct image *pixels, int64_t size, struct output *o,
                      struct tiles_report *report) {
    struct tiles_task task = {.model = f->model,
                              .predictor = f->predictor,
                              .preprocessing = f->preprocessing,
                              .pixels = pixels,
                              .size = size,
                              .put = put,
                              .context = o};
    struct shape shape;
    assert_success(tiles_output(&task, &shape));
    *o = (struct output){.height = shape.dim[1], .width = shape.dim[2], .channels = shape.dim[3]};
    int64_t count = shape_sample_count(&shape);
    o->y = calloc((size_t)count, sizeof *o->y);
    o->times = calloc((size_t)count, sizeof *o->times);
    assert_non_null(o->y);
    assert_non_null(o->times);
    assert_success(tiles_run(&task, report));
    for (int64_t i = 0; i < count; i++) assert_int_equal(o->times[i], 1);
    free(o->times);
    return o->y;
}

static void test_same_as_whole(void **state) {
    (void)state;
    static const int64_t sizes[][2] = {{97, 61}, {64, 90}, {75, 75}};
    static const int64_t tiles[] = {33, 48, 64};
    for (int n = 0; n < NETS; n++) {
        struct fixture f = {0};
        int cut = 0;
        open_net(n, &f);
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            struct output whole, part;
            struct tiles_report report;
            int64_t h = sizes[s][0], w = sizes[s][1];
            if (!strcmp(nets[n].name, "space to depth")) h -= h % 3, w -= w % 3;
            if (!strcmp(nets[n].name, "u-net")) h -= h % 4, w -= w % 4; /* it takes no others */
            struct image *pixels = make_pixels(h, w);
            float *y = run_net(&f, pixels, -1, &whole, &report), largest = 0;
            assert_true(report.rows == 1 && report.columns == 1);
            for (int64_t i = 0; i < whole.height * whole.width * whole.channels; i++)
                largest = fmaxf(largest, fabsf(y[i]));
            for (size_t t = 0; t < sizeof tiles / sizeof *tiles; t++) {
                float *tiled = run_net(&f, pixels, tiles[t], &part, &report);
                cut += report.rows * report.columns > 1;
                if (nets[n].tiled ? report.why != NULL : !report.why)
                    fail_msg("%s: %s", nets[n].name, report.why ? report.why : "is cut");
                if (nets[n].tiled) assert_true(report.height <= tiles[t] && report.width <= tiles[t]);
                for (int64_t i = 0; i < whole.height * whole.width * whole.channels; i++)
                    if (!(fabsf(tiled[i] - y[i]) <= 1e-4f * largest))
                        fail_msg("%s, %d x %d in tiles of %d: %g, not %g, at %d", nets[n].name, (int)w,
                                 (int)h, (int)tiles[t], (double)tiled[i], (double)y[i], (int)i);
                free(tiled);
            }
            free(y);
            image_destroy(&pixels);
        }
        if (nets[n].tiled ? cut != 9 : cut != 0) fail_msg("%s: %d were cut", nets[n].name, cut);
        close_net(&f);
    }
}

/* Changes one pixel after the other: what changes with it must be in the field. And the field is not much
 * larger than what does. */
static void test_receptive(void **state) {
    (void)state;
    enum { SIDE = 36 };
    for (int n = 0; n < NETS; n++) {
        struct fixture f = {0};
        struct opgraph *ops = NULL;
        struct receptive field[2];
        const char *why = NULL;
        struct output a, b;
        struct tiles_report report;
        double seen[2] = {0};
        open_net(n, &f);
        assert_success(model_fit(f.model, &SHAPE(1, SIDE, SIDE, 3), &ops));
        assert_success(receptive_field(ops, field, &why));
        opgraph_destroy(&ops);
        if (!strcmp(nets[n].name, "squeeze")) assert_string_equal(why, "reduce");
        else assert_null(why);
        struct image *pixels = make_pixels(SIDE, SIDE);
        float *before = run_net(&f, pixels, -1, &a, &report);
        for (int64_t p = 0; p < SIDE && !why; p += 5) {
            uint8_t *pixel = &pixels->pixel[(p * SIDE + (SIDE - 1 - p)) * 3];
            int64_t at[2] = {p, SIDE - 1 - p};
            uint8_t kept = *pixel;
            *pixel ^= 0x80;
            float *after = run_net(&f, pixels, -1, &b, &report);
            *pixel = kept;
            for (int64_t q = 0; q < a.height * a.width; q++) {
                int64_t to[2] = {q / a.width, q % a.width};
                bool changed = false;
                for (int64_t c = 0; c < a.channels; c++)
                    changed = changed || before[q * a.channels + c] != after[q * a.channels + c];
                for (int d = 0; d < 2 && changed; d++) {
                    double first = (double)to[d] * field[d].step - field[d].before - 1e-9,
                           last = (double)to[d] * field[d].step + field[d].after + 1e-9;
                    if ((double)at[d] < first || (double)at[d] > last)
                        fail_msg("%s: pixel %d changes %d, which sees %g to %g", nets[n].name, (int)at[d],
                                 (int)to[d], first, last);
                    seen[d] = fmax(seen[d], fabs((double)at[d] - (double)to[d] * field[d].step));
                }
            }
            free(after);
        }
        for (int d = 0; d < 2 && !why; d++) {
            double most = fmax(field[d].before, field[d].after);
            if (!(seen[d] > 0.5 * most - 2)) fail_msg("%s: %g is seen of %g", nets[n].name, seen[d], most);
        }
        free(before);
        image_destroy(&pixels);
        close_net(&f);
    }
}

static void test_too_small(void **state) {
    (void)state;
    struct fixture f = {0};
    struct tiles_report report;
    open_net(0, &f);
    struct image *pixels = make_pixels(50, 40);
    struct tiles_task task = {.model = f.model,
                              .predictor = f.predictor,
                              .preprocessing = f.preprocessing,
                              .pixels = pixels,
                              .size = 8,
                              .put = put};
    assert_error(tiles_run(&task, &report), STATUS_USAGE, "use 10 or more");
    image_destroy(&pixels);
    close_net(&f);
}

/* Without a size, tiles are as large as the bound on their values says. */
static void test_bytes(void **state) {
    (void)state;
    struct fixture f = {0};
    struct tiles_report report;
    open_net(0, &f);
    struct image *pixels = make_pixels(300, 200);
    struct output o = {.height = 300, .width = 200, .channels = 3};
    o.y = calloc(300 * 200 * 3, sizeof *o.y);
    o.times = calloc(300 * 200 * 3, sizeof *o.times);
    struct tiles_task task = {.model = f.model,
                              .predictor = f.predictor,
                              .preprocessing = f.preprocessing,
                              .pixels = pixels,
                              .bytes = 1 << 20,
                              .put = put,
                              .context = &o};
    assert_success(tiles_run(&task, &report));
    assert_true(report.rows > 1 && report.columns > 1);
    assert_true(report.bytes <= 1 << 20 && report.bytes > 1 << 18);
    free(o.y);
    free(o.times);
    image_destroy(&pixels);
    close_net(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_as_whole),
        cmocka_unit_test(test_receptive),
        cmocka_unit_test(test_too_small),
        cmocka_unit_test(test_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
