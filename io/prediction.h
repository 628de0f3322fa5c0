/* A classifier's answer for one sample: the best classes with their names. */
#ifndef GODWIT_IO_PREDICTION_H
#define GODWIT_IO_PREDICTION_H

#include "io/preprocessing.h"

struct prediction_class {
    int64_t number;
    double score;
    char label[64]; /* its name, or "class 7" */
};

/* The n best of `classes` scores, best first; n <= classes. `best` has room for n. */
void prediction_best(const struct preprocessing *preprocessing, const float *score, int64_t classes, int n,
                     struct prediction_class *best);

struct prediction {
    const char *model, *image;
    bool probabilities; /* scores are shown as percentages */
    double latency_s;
    int n;
    const struct prediction_class *best; /* [n] */
};

#define PREDICTION_SCORE_MAX 32
/* A score as "99.1 %" or, if it is no probability, "12.34", in text[PREDICTION_SCORE_MAX]; returns text. */
const char *prediction_score(const struct prediction *prediction, double score, char *text);

/* {"model", "image", "latency_ms", "classes": [{"label", "class", "score"}]}; owned. */
status prediction_json(const struct prediction *prediction, char **json) STATUS_MUST_USE;

/* What an image-to-image model gave. */
struct prediction_image {
    const char *model, *image, *output;
    int64_t width, height, tiles;
    double latency_s;
};
/* {"model", "image", "output", "width", "height", "tiles", "latency_ms"}; owned. */
status prediction_image_json(const struct prediction_image *prediction, char **json) STATUS_MUST_USE;

/* The image with the best classes in a caption below it, written to `path`. */
status prediction_draw(const struct prediction *prediction, const struct image *image,
                       const char *path) STATUS_MUST_USE;

#endif
