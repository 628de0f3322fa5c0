#include "io/image.h"

#include "io/file.h"
#include "io/image_format.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

status image_check_size(const char *what, int64_t height, int64_t width) {
    if (height < 1 || width < 1)
        return status_fail(STATUS_DATA,
                           "%s is an image of %" PRId64 " x %" PRId64 " pixels; give one with pixels", what,
                           width, height);
    if (height > IMAGE_MAX_SIDE || width > IMAGE_MAX_SIDE || height * width > IMAGE_MAX_PIXELS)
        return status_fail(STATUS_DATA,
                           "%s is an image of %" PRId64 " x %" PRId64
                           " pixels; scale it down to at most %d a side "
                           "and %" PRId64 " in all",
                           what, width, height, IMAGE_MAX_SIDE, IMAGE_MAX_PIXELS);
    return SUCCESS;
}

status image_create(int64_t height, int64_t width, int channels, struct image **image) {
    STATUS_TRY(image_check_size("the result", height, width));
    if (channels != 1 && channels != 3)
        return status_fail(STATUS_DATA, "an image cannot have %d channels; choose 1 (grey) or 3 (RGB)",
                           channels);
    size_t nbytes = (size_t)(height * width) * (size_t)channels;
    struct image *made = malloc(sizeof *made);
    uint8_t *pixel = calloc(1, nbytes);
    if (!made || !pixel) {
        free(made);
        free(pixel);
        return status_no_memory("an image", nbytes);
    }
    *made = (struct image){height, width, channels, pixel};
    *image = made;
    return SUCCESS;
}

void image_destroy(struct image **image) {
    if (!*image) return;
    free((*image)->pixel);
    free(*image);
    *image = NULL;
}

status image_read(const char *path, struct image **image) {
    static const uint8_t png[] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'}, jpeg[] = {0xff, 0xd8, 0xff};
    FILE *file = fopen(path, "rbe");
    if (!file) return file_fail("open", path, errno);
    uint8_t head[8] = {0};
    errno = 0;
    size_t got = fread(head, 1, sizeof head, file);
    status error;
    if (ferror(file)) error = file_fail("read", path, errno);
    else if (got == 0) error = status_fail(STATUS_DATA, "%s is empty; give a PNG or JPEG image", path);
    else if (fseek(file, 0, SEEK_SET) != 0) error = file_fail("read", path, errno);
    else if (got == sizeof png && !memcmp(head, png, sizeof png)) error = image_png_read(file, path, image);
    else if (got >= sizeof jpeg && !memcmp(head, jpeg, sizeof jpeg))
        error = image_jpeg_read(file, path, image);
    else error = status_fail(STATUS_DATA, "%s is not a PNG or JPEG image; convert it to one", path);
    fclose(file);
    return error;
}

typedef status image_writer(FILE *file, const char *path, const struct image *image);

static image_writer *find_writer(const char *path) {
    const char *dot = strrchr(path, '.');
    if (!dot) return NULL;
    if (!strcasecmp(dot, ".png")) return image_png_write;
    if (!strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg")) return image_jpeg_write;
    return NULL;
}

status image_write(const char *path, const struct image *image) {
    image_writer *writer = find_writer(path);
    if (!writer)
        return status_fail(STATUS_USAGE,
                           "cannot tell the format of image %s; let its name end in .png, .jpg or .jpeg",
                           path);
    char *temporary;
    STATUS_TRY(file_temporary(path, &temporary));
    status error;
    FILE *file = fopen(temporary, "wbe");
    if (file) {
        error = writer(file, path, image);
        if (fclose(file) != 0 && !error) error = file_fail("write", path, errno);
    } else {
        error = file_fail("write", path, errno);
    }
    if (error) file_abandon(temporary);
    else error = file_commit(temporary, path);
    free(temporary);
    return error;
}

status image_to_channels(const struct image *image, int channels, struct image **out) {
    struct image *made = NULL;
    STATUS_TRY(image_create(image->height, image->width, channels, &made));
    int64_t n = image->height * image->width;
    const uint8_t *from = image->pixel;
    uint8_t *to = made->pixel;
    if (channels == image->channels) {
        memcpy(to, from, (size_t)(n * channels));
    } else if (channels == 1) {
        for (int64_t i = 0; i < n; i++, from += 3) /* ITU-R BT.601, rounded */
            to[i] = (uint8_t)((299u * from[0] + 587u * from[1] + 114u * from[2] + 500u) / 1000u);
    } else {
        for (int64_t i = 0; i < n; i++, to += 3) to[0] = to[1] = to[2] = from[i];
    }
    *out = made;
    return SUCCESS;
}

status image_crop(const struct image *image, int64_t top, int64_t left, int64_t height, int64_t width,
                  struct image **out) {
    if (top < 0 || left < 0 || height < 1 || width < 1 || height > image->height || width > image->width ||
        top > image->height - height || left > image->width - width)
        return status_fail(STATUS_DATA,
                           "cannot crop %" PRId64 " x %" PRId64 " pixels at (%" PRId64 ", %" PRId64
                           ") from an image of %" PRId64 " x %" PRId64 "; choose a part inside it",
                           width, height, left, top, image->width, image->height);
    struct image *made = NULL;
    STATUS_TRY(image_create(height, width, image->channels, &made));
    size_t row = (size_t)(width * image->channels);
    for (int64_t y = 0; y < height; y++)
        memcpy(made->pixel + (size_t)y * row,
               image->pixel + (size_t)(((top + y) * image->width + left) * image->channels), row);
    *out = made;
    return SUCCESS;
}

static int64_t clamp(int64_t v, int64_t low, int64_t high) {
    return v < low ? low : v > high ? high : v;
}

status image_crop_centre(const struct image *image, double aspect, struct image **out) {
    if (!isfinite(aspect) || aspect <= 0)
        return status_fail(STATUS_DATA, "cannot crop an image to the aspect %g; choose a positive one",
                           aspect);
    int64_t height = image->height, width = image->width;
    if ((double)width > (double)height * aspect)
        width = clamp((int64_t)round((double)height * aspect), 1, width);
    else height = clamp((int64_t)round((double)width / aspect), 1, height);
    return image_crop(image, (image->height - height) / 2, (image->width - width) / 2, height, width, out);
}
