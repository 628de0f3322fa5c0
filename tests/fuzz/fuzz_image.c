/* A PNG or JPEG file: decoded, and what comes out is an image of the size that it says; cropped, resized,
 * written and read again. Its first byte chooses what it is made into. */
#include "io/preprocessing.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PIXELS_MAX ((int64_t)1 << 20) /* of images that more is done with: it takes time */

static _Noreturn void fail(const char *what, status error) {
    fprintf(stderr, "fuzz: %s: %s\n", what, status_message(error));
    abort();
}

/* The sum of all pixels, so that each is read. */
static unsigned sum_of(const struct image *image) {
    unsigned sum = 0;
    for (int64_t i = 0; i < image->height * image->width * image->channels; i++) sum += image->pixel[i];
    return sum;
}

static void use(const struct image *image, uint8_t choice) {
    static const char *const words[] = {"crop=none", "crop=1:1:3:2", "size=5x7,resize=nearest,colour=grey",
                                        "crop=none,resize=area,mean=1:2:3,std=2", "resize=bilinear,size=9x2"};
    static const struct shape inputs[] = {{4, {-1, -1, -1, 3}}, {4, {-1, 8, 9, 1}}, {3, {-1, 6, 6}}};
    struct preprocessing *p = NULL;
    struct tensor *x = NULL;
    status error = preprocessing_parse(NULL, &p);
    if (!error) error = preprocessing_change(p, words[choice % 5]);
    if (error) fail("preprocessing", error);
    error = preprocessing_apply(p, image, &inputs[choice / 5 % 3], &x);
    if (status_code(error) == STATUS_INTERNAL) fail("an image", error);
    status_drop(&error);
    tensor_destroy(&x);
    preprocessing_destroy(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char path[64];
    struct image *image = NULL;
    if (size < 2) return 0;
    int fd = memfd_create("image", 0);
    if (fd < 0 || write(fd, data + 1, size - 1) != (ssize_t)(size - 1)) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    status error = image_read(path, &image);
    if (!error) {
        volatile unsigned sum = sum_of(image);
        (void)sum;
        if (image->height * image->width <= PIXELS_MAX) use(image, data[0]);
    } else if (image) {
        fail("an image besides an error", error);
    } else if (status_code(error) == STATUS_INTERNAL) {
        fail("internal", error);
    }
    status_drop(&error);
    image_destroy(&image);
    close(fd);
    return 0;
}
