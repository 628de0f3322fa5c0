/* What run_inference gives for its images: on standard output, as JSON, and as images. */
#ifndef GODWIT_COORDINATOR_MAIN_RUN_INFERENCE_ANSWERS_H
#define GODWIT_COORDINATOR_MAIN_RUN_INFERENCE_ANSWERS_H

#include "io/image_list.h"
#include "io/prediction.h"
#include "worker/tiles.h"

struct answers;

struct answers_task {
    const char *model;  /* as typed */
    const char *output; /* a file, of several images a folder, or a .json file; NULL: none */
    bool json;          /* on standard output, instead of text */
    const struct image_list *images;
};

/* The folder is made if it is to be one. Texts are borrowed. Errors: USAGE (an output that does not fit, two
 * images of the same name for one folder), IO. */
status answers_begin(const struct answers_task *task, struct answers **answers) STATUS_MUST_USE;

/* Must an image model's output go somewhere? USAGE error if it goes nowhere. */
status answers_need_images(const struct answers *answers) STATUS_MUST_USE;

/* A classifier's for image i of the list; its `image` is filled in. */
status answers_classes(struct answers *answers, int i, struct prediction *prediction,
                       const struct image *image) STATUS_MUST_USE;
/* An image for image i. */
status answers_image(struct answers *answers, int i, const struct image *made,
                     const struct tiles_report *report) STATUS_MUST_USE;

/* Writes the JSON that was asked for, unless `error`, which is returned then; frees all. Accepts NULL. */
status answers_end(struct answers **answers, status error) STATUS_MUST_USE;

#endif
