/* What turns pixels into a model's input, and its outputs into names: stored with the model as JSON. */
#ifndef GODWIT_IO_PREPROCESSING_H
#define GODWIT_IO_PREPROCESSING_H

#include "io/image.h"
#include "shared/tensor.h"

#define PREPROCESSING_CHANNELS 4 /* that may each have a mean and a deviation */

/* What of an image the model sees. */
enum preprocessing_crop {
    CROP_CENTRE, /* the largest part in its middle that has the input's aspect */
    CROP_NONE,   /* all of it, squeezed */
    CROP_BOX     /* a part that is given, squeezed */
};
enum preprocessing_colour { COLOUR_AS_MODEL, COLOUR_GREY, COLOUR_RGB };

/* An input is (pixel * scale + offset - mean) / std. As JSON: {"scale": 0.00392, "offset": 0, "labels":
 * ["Bag"], "height": 28, "width": 28, "channels": 1, "mean": [0.5], "std": [0.25], "crop": "none" or [x, y,
 * width, height], "size": [height, width], "colour": "grey", "resize": "bilinear"}; every key may be absent.
 */
struct preprocessing {
    double scale, offset;
    int nmean; /* 0: none; 1: of all channels; else one for each channel */
    double mean[PREPROCESSING_CHANNELS], std[PREPROCESSING_CHANNELS];
    enum preprocessing_crop crop;
    int64_t box[4]; /* of CROP_BOX: x, y, width, height */
    enum preprocessing_colour colour;
    enum image_filter filter;
    int64_t size[2]; /* height, width that images get where the model takes any; 0: their own */
    int64_t height, width, channels; /* of the images the model was trained on; 0: not said */
    char **label;                    /* [nlabels], owned */
    int nlabels;
};

/* What each pixel becomes. */
struct preprocessing_table {
    int channels;
    float value[PREPROCESSING_CHANNELS][256];
};

/* NULL json: the defaults, scale 1/255. Unknown keys are passed over. Error: DATA. */
status preprocessing_parse(const char *json, struct preprocessing **preprocessing) STATUS_MUST_USE;
status preprocessing_print(const struct preprocessing *preprocessing,
                           char **json) STATUS_MUST_USE; /* owned */
/* Changes what `words` say: "crop=none,size=224x224,mean=0.485:0.456:0.406", in the order they have there;
 * the rest stays. USAGE error that names the word. preprocessing_words is what there is to say, for help
 * texts. */
status preprocessing_change(struct preprocessing *preprocessing, const char *words) STATUS_MUST_USE;
extern const char preprocessing_words[];
/* Makes means and deviations as many, of so many that are given: one of either serves all channels, no mean
 * is 0 and no deviation 1. False if there are several of both, and not as many. */
bool preprocessing_fill(struct preprocessing *preprocessing, int nmean, int nstd);
void preprocessing_destroy(struct preprocessing **preprocessing);

/* For pixels of so many channels; DATA error if there are means for another number. */
status preprocessing_table(const struct preprocessing *preprocessing, int64_t channels,
                           struct preprocessing_table *table) STATUS_MUST_USE;
/* n pixels times channels, interleaved. */
void preprocessing_values(const struct preprocessing_table *table, const uint8_t *pixel, int64_t n, float *x);
/* What of a value in [0, 255] an output of such a scale is: the inverse, rounded and cut off; NaN: 0. */
uint8_t preprocessing_pixel(const struct preprocessing *preprocessing, int channel, float value);

/* The pixels that an image becomes as one sample of shape `input`, before they are scaled: as
 * preprocessing_apply() has it. Owned by the caller. */
status preprocessing_fit(const struct preprocessing *preprocessing, const struct image *image,
                         const struct shape *input, struct image **pixels) STATUS_MUST_USE;

/* An image as one sample of shape `input` (batch, height, width, channels; unknown height and width take the
 * image's, or `size`): made grey or RGB, cropped, resized, scaled. Also (batch, height, width) for
 * grey and (batch, features) where height, width and channels are said. `x` has batch 1 and is owned by the
 * caller. Errors: DATA (an input that is not an image), MEMORY. */
status preprocessing_apply(const struct preprocessing *preprocessing, const struct image *image,
                           const struct shape *input, struct tensor **x) STATUS_MUST_USE;

#endif
