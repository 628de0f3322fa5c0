/* How a camera was held: the orientation that EXIF notes in a JPEG file (CIPA DC-008, 4.6.4, tag 0x0112). */
#include "io/image_format.h"

#include <stdlib.h>
#include <string.h>

#define TIFF_HEAD 8
#define ENTRY 12
#define TAG_ORIENTATION 0x0112
#define TYPE_SHORT 3

struct tiff {
    const uint8_t *at;
    size_t n;
    bool big_endian;
};

static unsigned read_16(const struct tiff *t, size_t at) {
    const uint8_t *b = t->at + at;
    return t->big_endian ? (unsigned)b[0] << 8 | b[1] : (unsigned)b[1] << 8 | b[0];
}

static size_t read_32(const struct tiff *t, size_t at) {
    size_t high = read_16(t, at), low = read_16(t, at + 2);
    return t->big_endian ? high << 16 | low : low << 16 | high;
}

int image_exif_orientation(const uint8_t *data, size_t n) {
    static const uint8_t exif[] = {'E', 'x', 'i', 'f', 0, 0};
    if (n < sizeof exif + TIFF_HEAD || memcmp(data, exif, sizeof exif)) return 1;
    struct tiff t = {.at = data + sizeof exif, .n = n - sizeof exif};
    t.big_endian = t.at[0] == 'M';
    if (t.at[0] != t.at[1] || (t.at[0] != 'M' && t.at[0] != 'I') || read_16(&t, 2) != 42) return 1;
    size_t at = read_32(&t, 4);
    if (at > t.n || t.n - at < 2) return 1;
    size_t entries = read_16(&t, at);
    at += 2;
    for (size_t i = 0; i < entries && t.n - at >= ENTRY; i++, at += ENTRY) {
        if (read_16(&t, at) != TAG_ORIENTATION) continue;
        unsigned value = read_16(&t, at + 8);
        bool good = read_16(&t, at + 2) == TYPE_SHORT && read_32(&t, at + 4) == 1 && value >= 1 && value <= 8;
        return good ? (int)value : 1;
    }
    return 1;
}

/* Orientations 5 to 8 exchange rows and columns; then some are seen from the right, or from below. */
status image_orient(struct image **image, int orientation) {
    const struct image *from = *image;
    struct image *to = NULL;
    bool swapped = orientation >= 5;
    bool right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8,
         below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
    if (orientation == 1) return SUCCESS;
    STATUS_TRY(image_create(swapped ? from->width : from->height, swapped ? from->height : from->width,
                            from->channels, &to));
    size_t channels = (size_t)from->channels;
    for (int64_t y = 0; y < to->height; y++)
        for (int64_t x = 0; x < to->width; x++) {
            int64_t row = swapped ? x : y, column = swapped ? y : x;
            if (below) row = from->height - 1 - row;
            if (right) column = from->width - 1 - column;
            memcpy(to->pixel + (size_t)(y * to->width + x) * channels,
                   from->pixel + (size_t)(row * from->width + column) * channels, channels);
        }
    image_destroy(image);
    *image = to;
    return SUCCESS;
}
