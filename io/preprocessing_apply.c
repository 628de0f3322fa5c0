/* What preprocessing makes of an image. */
#include "io/preprocessing.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

status preprocessing_table(const struct preprocessing *p, int64_t channels,
                           struct preprocessing_table *table) {
    if (p->nmean > 1 && p->nmean != channels)
        return status_fail(STATUS_DATA,
                           "there are means and deviations of %d channels, but the input has %" PRId64
                           "; give as many",
                           p->nmean, channels);
    table->channels = p->nmean > 1 ? p->nmean : 1;
    for (int c = 0; c < table->channels; c++)
        for (int v = 0; v < 256; v++) {
            double value = v * p->scale + p->offset;
            table->value[c][v] = (float)(p->nmean ? (value - p->mean[c]) / p->std[c] : value);
        }
    return SUCCESS;
}

void preprocessing_values(const struct preprocessing_table *table, const uint8_t *pixel, int64_t n,
                          float *x) {
    int channels = table->channels;
    if (channels == 1)
        for (int64_t i = 0; i < n; i++) x[i] = table->value[0][pixel[i]];
    else
        for (int64_t i = 0; i < n; i += channels)
            for (int c = 0; c < channels; c++) x[i + c] = table->value[c][pixel[i + c]];
}

uint8_t preprocessing_pixel(const struct preprocessing *p, int channel, float value) {
    int c = p->nmean > 1 ? channel : 0;
    double v = p->nmean ? value * p->std[c] + p->mean[c] : value, pixel = (v - p->offset) / p->scale;
    return (uint8_t)lrint(pixel < 0 || isnan(pixel) ? 0 : pixel > 255 ? 255 : pixel);
}

struct wanted {
    int64_t height, width, channels;
};

/* A side of the input: what the model says, or what is asked for, or the image's own. */
static status wanted_side(int64_t model, int64_t asked, int64_t own, const char *what, int64_t *side) {
    if (model != SHAPE_UNKNOWN && asked && asked != model)
        return status_fail(STATUS_DATA, "size: the model takes images of %s %" PRId64 ", not %" PRId64, what,
                           model, asked);
    *side = model != SHAPE_UNKNOWN ? model : asked ? asked : own;
    return SUCCESS;
}

static status not_an_image(const struct shape *input, const char *what) {
    char text[SHAPE_TEXT_MAX];
    return status_fail(STATUS_DATA, "the model's input %s is not %s; give its input as HDF5",
                       shape_format(input, text), what);
}

/* Height, width and channels that `input` wants of a part of an image; the part's own where nothing says. */
static status find_wanted(const struct preprocessing *p, const struct image *image, const struct shape *input,
                          struct wanted *w) {
    int64_t height = SHAPE_UNKNOWN, width = SHAPE_UNKNOWN,
            own[2] = {p->crop == CROP_BOX ? p->box[3] : image->height,
                      p->crop == CROP_BOX ? p->box[2] : image->width};
    w->channels = 1;
    if (input->rank == 4 || input->rank == 3) {
        height = input->dim[1];
        width = input->dim[2];
        if (input->rank == 4) w->channels = input->dim[3];
        if (w->channels == SHAPE_UNKNOWN)
            w->channels = p->colour == COLOUR_GREY ? 1 : p->colour == COLOUR_RGB ? 3 : image->channels;
    } else if (input->rank == 2 && p->height > 0 && p->width > 0 && p->channels > 0 &&
               p->height * p->width * p->channels == input->dim[1]) {
        height = p->height;
        width = p->width;
        w->channels = p->channels;
    } else {
        return not_an_image(input, "an image");
    }
    STATUS_TRY(wanted_side(height, p->size[0], own[0], "height", &w->height));
    STATUS_TRY(wanted_side(width, p->size[1], own[1], "width", &w->width));
    return w->height < 1 || w->width < 1 || (w->channels != 1 && w->channels != 3)
               ? not_an_image(input, "a grey or RGB image")
               : SUCCESS;
}

static status colour(const struct preprocessing *p, const struct image *image, int channels,
                     struct image **out) {
    struct image *grey = NULL;
    if (p->colour != COLOUR_GREY || channels == 1) return image_to_channels(image, channels, out);
    status error = image_to_channels(image, 1, &grey);
    if (!error) error = image_to_channels(grey, channels, out);
    image_destroy(&grey);
    return error;
}

static status crop(const struct preprocessing *p, const struct image *image, const struct wanted *w,
                   struct image **out) {
    switch (p->crop) {
    case CROP_BOX:
        return image_crop(image, p->box[1], p->box[0], p->box[3], p->box[2], out);
    case CROP_NONE:
        return image_to_channels(image, image->channels, out);
    default:
        return image_crop_centre(image, (double)w->width / (double)w->height, out);
    }
}

/* The image's pixels in the input's size; owned. */
static status fit(const struct preprocessing *p, const struct image *image, const struct wanted *w,
                  struct image **out) {
    struct image *coloured = NULL, *cropped = NULL;
    status error = crop(p, image, w, &cropped);
    if (!error) error = colour(p, cropped, (int)w->channels, &coloured);
    if (!error) error = image_resize_by(coloured, w->height, w->width, p->filter, out);
    image_destroy(&cropped);
    image_destroy(&coloured);
    return error;
}

status preprocessing_fit(const struct preprocessing *p, const struct image *image, const struct shape *input,
                         struct image **pixels) {
    struct wanted w = {0};
    STATUS_TRY(find_wanted(p, image, input, &w));
    return fit(p, image, &w, pixels);
}

status preprocessing_apply(const struct preprocessing *p, const struct image *image,
                           const struct shape *input, struct tensor **x) {
    struct preprocessing_table table = {.channels = 1};
    struct image *pixels = NULL;
    struct tensor *made = NULL;
    struct shape shape = *input;
    status error = preprocessing_fit(p, image, input, &pixels);
    if (!error) error = preprocessing_table(p, pixels->channels, &table);
    shape.dim[0] = 1;
    if (!error && shape.rank > 2) {
        shape.dim[1] = pixels->height;
        shape.dim[2] = pixels->width;
    }
    if (!error && shape.rank == 4) shape.dim[3] = pixels->channels;
    if (!error) error = tensor_create(DTYPE_F32, &shape, &made);
    if (!error) preprocessing_values(&table, pixels->pixel, made->count, tensor_f32(made));
    image_destroy(&pixels);
    if (!error) *x = made;
    return error;
}
