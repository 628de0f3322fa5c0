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
void prediction_best(const struct preprocessing *preprocessing, const float *score, int64_t classes, int n, struct prediction_class *best);

struct prediction {
    const char *model, *image;
    double latency_s;
    int n;
    const struct prediction_class *best; /* [n] */
};

/* {"model", "image", "latency_ms", "classes": [{"label", "class", "score"}]}; owned. */
status prediction_json(const struct prediction *prediction, char **json) STATUS_MUST_USE;

/* The image with the best classes in a caption below it, written to `path`. */
status prediction_draw(const struct prediction *prediction, const struct image *image, const char *path) STATUS_MUST_USE;

#endif
