/* Images: what libpng and libjpeg can be given, hostile files, and operations on pixels. */
#include "io/image_format.h"

#include "io/io_testing.h"

#include <math.h>
#include <png.h>
#include <signal.h>
#include <sys/resource.h>

#include <jpeglib.h>

static struct image *make_pattern(int64_t height, int64_t width, int channels) {
    struct image *image;
    assert_success(image_create(height, width, channels, &image));
    for (int64_t y = 0; y < height; y++)
        for (int64_t x = 0; x < width; x++)
            for (int c = 0; c < channels; c++)
                image->pixel[(y * width + x) * channels + c] = (uint8_t)(7 * y + 3 * x + 50 * c);
    return image;
}

static void assert_same(const struct image *a, const struct image *b) {
    assert_int_equal(a->height, b->height);
    assert_int_equal(a->width, b->width);
    assert_int_equal(a->channels, b->channels);
    assert_memory_equal(a->pixel, b->pixel, (size_t)(a->height * a->width * a->channels));
}

static void test_png_round_trip(void **state) {
    (void)state;
    const int64_t size[][2] = {{1, 1}, {28, 28}, {3, 1000}, {257, 5}};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++)
        for (int channels = 1; channels <= 3; channels += 2) {
            struct image *image = make_pattern(size[i][0], size[i][1], channels), *back;
            assert_success(image_write(in_folder("a.png"), image));
            assert_success(image_read(in_folder("a.png"), &back));
            assert_same(image, back);
            image_destroy(&image);
            image_destroy(&back);
        }
    assert_int_equal(count_entries(test_folder), 1);
}

static void test_jpeg_round_trip(void **state) {
    (void)state;
    for (int channels = 1; channels <= 3; channels += 2) {
        struct image *image, *back;
        assert_success(image_create(64, 48, channels, &image));
        for (int64_t i = 0; i < 64 * 48; i++)
            for (int c = 0; c < channels; c++)
                image->pixel[i * channels + c] = (uint8_t)(i / 48 * 3 + i % 48);
        assert_success(image_write(in_folder("a.JPEG"), image));
        assert_success(image_read(in_folder("a.JPEG"), &back));
        assert_int_equal(back->height, 64);
        assert_int_equal(back->width, 48);
        assert_int_equal(back->channels, channels);
        for (int64_t i = 0; i < 64 * 48 * channels; i++)
            assert_true(abs(back->pixel[i] - image->pixel[i]) <= 6);
        image_destroy(&image);
        image_destroy(&back);
    }
}

/* Writes a PNG with libpng itself, of any kind. */
static void write_png(const char *path, int width, int height, int depth, int type, int interlace,
                      const uint8_t *rows, size_t row_bytes, const png_color *palette, int ncolors,
                      const uint8_t *alpha, int nalpha) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_init_io(png, file);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, depth, type, interlace, 0, 0);
    if (ncolors) png_set_PLTE(png, info, palette, ncolors);
    if (nalpha) png_set_tRNS(png, info, alpha, nalpha, NULL);
    png_write_info(png, info);
    int passes = png_set_interlace_handling(png);
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < height; y++) png_write_row(png, rows + (size_t)y * row_bytes);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    fclose(file);
}

static struct image *read_png(int channels) {
    struct image *image;
    assert_success(image_read(in_folder("a.png"), &image));
    assert_int_equal(image->channels, channels);
    return image;
}

static void test_png_kinds(void **state) {
    (void)state;
    struct image *image;
    /* 1 bit grey: 1010 */
    write_png(in_folder("a.png"), 4, 1, 1, PNG_COLOR_TYPE_GRAY, 0, (const uint8_t[]){0xa0}, 1, NULL, 0, NULL,
              0);
    image = read_png(1);
    assert_memory_equal(image->pixel, ((uint8_t[]){255, 0, 255, 0}), 4);
    image_destroy(&image);
    /* 16 bit RGB: v * 255 / 65535 rounded */
    write_png(in_folder("a.png"), 1, 1, 16, PNG_COLOR_TYPE_RGB, 0,
              (const uint8_t[]){0x80, 0x00, 0xff, 0xff, 0x00, 0x80}, 6, NULL, 0, NULL, 0);
    image = read_png(3);
    assert_memory_equal(image->pixel, ((uint8_t[]){128, 255, 0}), 3);
    image_destroy(&image);
    /* palette of 2 bits with a transparent colour: blended on white */
    const png_color palette[] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {10, 20, 30}};
    write_png(in_folder("a.png"), 4, 1, 2, PNG_COLOR_TYPE_PALETTE, 0, (const uint8_t[]){0x1b}, 1, palette, 4,
              (const uint8_t[]){255, 0, 51}, 3);
    image = read_png(3);
    assert_memory_equal(image->pixel, ((uint8_t[]){255, 0, 0, 255, 255, 255, 204, 204, 255, 10, 20, 30}), 12);
    image_destroy(&image);
    /* grey and RGB with alpha 128: (v * 128 + 255 * 127) / 255 rounded */
    write_png(in_folder("a.png"), 2, 1, 8, PNG_COLOR_TYPE_GRAY_ALPHA, 0, (const uint8_t[]){100, 128, 200, 0},
              4, NULL, 0, NULL, 0);
    image = read_png(1);
    assert_memory_equal(image->pixel, ((uint8_t[]){(100 * 128 + 255 * 127 + 127) / 255, 255}), 2);
    image_destroy(&image);
    write_png(in_folder("a.png"), 1, 1, 8, PNG_COLOR_TYPE_RGB_ALPHA, 0, (const uint8_t[]){1, 2, 3, 255}, 4,
              NULL, 0, NULL, 0);
    image = read_png(3);
    assert_memory_equal(image->pixel, ((uint8_t[]){1, 2, 3}), 3);
    image_destroy(&image);
    /* interlaced */
    struct image *pattern = make_pattern(37, 53, 3);
    write_png(in_folder("a.png"), 53, 37, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_ADAM7, pattern->pixel, 53 * 3,
              NULL, 0, NULL, 0);
    image = read_png(3);
    assert_same(image, pattern);
    image_destroy(&image);
    image_destroy(&pattern);
}

static void test_jpeg_cmyk(void **state) {
    (void)state;
    /* libjpeg writes an Adobe marker with CMYK: stored values are inverted, 255 is no ink */
    FILE *file = fopen(in_folder("a.jpg"), "wb");
    assert_non_null(file);
    struct jpeg_compress_struct out;
    struct jpeg_error_mgr errors;
    out.err = jpeg_std_error(&errors);
    jpeg_create_compress(&out);
    jpeg_stdio_dest(&out, file);
    out.image_width = out.image_height = 16;
    out.input_components = 4;
    out.in_color_space = JCS_CMYK;
    jpeg_set_defaults(&out);
    jpeg_set_quality(&out, 100, TRUE);
    jpeg_start_compress(&out, TRUE);
    uint8_t row[16 * 4];
    for (int x = 0; x < 16; x++) memcpy(row + 4 * x, (uint8_t[]){255, 102, 0, 200}, 4);
    JSAMPROW rows = row;
    for (int y = 0; y < 16; y++) jpeg_write_scanlines(&out, &rows, 1);
    jpeg_finish_compress(&out);
    jpeg_destroy_compress(&out);
    fclose(file);
    struct image *image;
    assert_success(image_read(in_folder("a.jpg"), &image));
    assert_int_equal(image->channels, 3);
    for (int i = 0; i < 16 * 16; i++) {
        assert_true(abs(image->pixel[3 * i] - 200) <= 2);
        assert_true(abs(image->pixel[3 * i + 1] - 102 * 200 / 255) <= 2);
        assert_true(abs(image->pixel[3 * i + 2] - 0) <= 2);
    }
    image_destroy(&image);
}

static size_t load(const char *path, uint8_t **data) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    *data = malloc(1 << 20);
    assert_non_null(*data);
    size_t n = fread(*data, 1, 1 << 20, file);
    fclose(file);
    return n;
}

static void test_truncated_and_garbage(void **state) {
    (void)state;
    struct image *image = make_pattern(40, 40, 3), *back = NULL;
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "a.jpg" : "a.png";
        assert_success(image_write(in_folder(name), image));
        uint8_t *data;
        size_t n = load(in_folder(name), &data);
        for (size_t cut = 1; cut < n - 2;
             cut = cut + 1 + cut / 16) { /* the last bytes of JPEG are an empty marker */
            write_bytes(in_folder("cut"), data, cut);
            assert_error(image_read(in_folder("cut"), &back), STATUS_DATA, "cut");
            assert_null(back);
        }
        /* damage anywhere: an image or an error, nothing else */
        for (size_t at = 0; at < n; at += 3) {
            uint8_t kept = data[at];
            data[at] ^= 0x55;
            write_bytes(in_folder("bad"), data, n);
            status error = image_read(in_folder("bad"), &back);
            if (error) assert_null(back);
            status_drop(&error);
            image_destroy(&back);
            data[at] = kept;
        }
        free(data);
    }
    image_destroy(&image);
    assert_error(image_read(in_folder("none"), &back), STATUS_IO, "No such file");
    assert_error(image_read(test_folder, &back), STATUS_IO, "directory");
    write_bytes(in_folder("empty"), "", 0);
    assert_error(image_read(in_folder("empty"), &back), STATUS_DATA, "empty");
    write_bytes(in_folder("text"), "GIF89a and more", 15);
    assert_error(image_read(in_folder("text"), &back), STATUS_DATA, "not a PNG or JPEG");
}

/* A PNG of just a header (with its CRC) and nothing to decode. */
static void write_png_header(uint32_t width, uint32_t height) {
    uint8_t file[8 + 25] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I', 'H', 'D', 'R'};
    for (int i = 0; i < 4; i++) {
        file[16 + i] = (uint8_t)(width >> (24 - 8 * i));
        file[20 + i] = (uint8_t)(height >> (24 - 8 * i));
    }
    file[24] = 8;
    uint32_t crc = 0xffffffffu; /* ISO/IEC 15948, annex D */
    for (int i = 12; i < 29; i++) {
        crc ^= file[i];
        for (int bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320u ^ (crc >> 1) : crc >> 1;
    }
    crc = ~crc;
    for (int i = 0; i < 4; i++) file[29 + i] = (uint8_t)(crc >> (24 - 8 * i));
    write_bytes(in_folder("head.png"), file, sizeof file);
}

static void test_impossible_sizes(void **state) {
    (void)state;
    struct image *image = NULL;
    const uint32_t size[][2] = {{0, 0},         {0, 5}, {65535, 65535}, {100000, 1}, {0x7fffffff, 0x7fffffff},
                                {0xffffffff, 1}};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        write_png_header(size[i][0], size[i][1]);
        assert_error(image_read(in_folder("head.png"), &image), STATUS_DATA, "head.png");
        assert_null(image);
    }
    write_png_header(10, 10);
    assert_error(image_read(in_folder("head.png"), &image), STATUS_DATA, "complete");
    assert_error(image_create(0, 5, 1, &image), STATUS_DATA, "0");
    assert_error(image_create(5, 5, 2, &image), STATUS_DATA, "2 channels");
    assert_error(image_create(INT64_MAX, INT64_MAX, 1, &image), STATUS_DATA, "scale it down");
}

static void test_write_errors(void **state) {
    (void)state;
    struct image *image = make_pattern(4, 4, 1);
    assert_error(image_write(in_folder("a.bmp"), image), STATUS_USAGE, ".png");
    assert_error(image_write(in_folder("a"), image), STATUS_USAGE, ".png");
    assert_error(image_write(in_folder("none/a.png"), image), STATUS_IO, "none/a.png");
    /* a limit on the size of files fails a write half-way, as a full disk does */
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 2; i++) {
        struct rlimit small = {20, old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
        status error = image_write(in_folder(i ? "a.png" : "a.jpg"), image);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        assert_error(error, STATUS_IO, "File too large");
    }
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(count_entries(test_folder), 0);
    image_destroy(&image);
}

static void test_channels(void **state) {
    (void)state;
    struct image *image, *grey, *back;
    assert_success(image_create(1, 4, 3, &image));
    memcpy(image->pixel, (uint8_t[]){255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255}, 12);
    assert_success(image_to_channels(image, 1, &grey));
    /* 0.299, 0.587, 0.114 of 255 */
    assert_memory_equal(grey->pixel, ((uint8_t[]){76, 150, 29, 255}), 4);
    assert_success(image_to_channels(grey, 3, &back));
    assert_memory_equal(back->pixel, ((uint8_t[]){76, 76, 76, 150, 150, 150, 29, 29, 29, 255, 255, 255}), 12);
    image_destroy(&image);
    image_destroy(&grey);
    image_destroy(&back);
}

static void test_crop(void **state) {
    (void)state;
    struct image *image = make_pattern(10, 20, 3), *part;
    assert_success(image_crop(image, 2, 5, 3, 4, &part));
    for (int y = 0; y < 3; y++)
        for (int x = 0; x < 4; x++)
            for (int c = 0; c < 3; c++)
                assert_int_equal(part->pixel[(y * 4 + x) * 3 + c],
                                 (uint8_t)(7 * (y + 2) + 3 * (x + 5) + 50 * c));
    image_destroy(&part);
    assert_error(image_crop(image, 8, 0, 3, 4, &part), STATUS_DATA, "crop");
    assert_error(image_crop(image, -1, 0, 3, 4, &part), STATUS_DATA, "crop");
    assert_error(image_crop(image, 0, INT64_MAX, 3, 4, &part), STATUS_DATA, "crop");
    assert_success(image_crop_centre(image, 1.0, &part));
    assert_int_equal(part->height, 10);
    assert_int_equal(part->width, 10);
    assert_int_equal(part->pixel[0], (uint8_t)(3 * 5));
    image_destroy(&part);
    assert_success(image_crop_centre(image, 4.0, &part));
    assert_int_equal(part->height, 5);
    assert_int_equal(part->width, 20);
    image_destroy(&part);
    assert_success(image_crop_centre(image, 1e-9, &part));
    assert_int_equal(part->width, 1);
    image_destroy(&part);
    assert_error(image_crop_centre(image, NAN, &part), STATUS_DATA, "aspect");
    assert_error(image_crop_centre(image, 0, &part), STATUS_DATA, "aspect");
    image_destroy(&image);
}

static void test_resize(void **state) {
    (void)state;
    struct image *image = make_pattern(9, 7, 3), *out;
    assert_success(image_resize(image, 9, 7, &out));
    assert_same(image, out);
    image_destroy(&out);
    image_destroy(&image);
    /* a constant stays one, a ramp stays a ramp with its mean */
    assert_success(image_create(64, 64, 1, &image));
    memset(image->pixel, 77, 64 * 64);
    const int64_t size[][2] = {{1, 1}, {32, 16}, {65, 200}, {64, 3}};
    for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
        assert_success(image_resize(image, size[i][0], size[i][1], &out));
        for (int64_t k = 0; k < size[i][0] * size[i][1]; k++) assert_int_equal(out->pixel[k], 77);
        image_destroy(&out);
    }
    for (int i = 0; i < 64 * 64; i++) image->pixel[i] = (uint8_t)(4 * (i % 64));
    assert_success(image_resize(image, 16, 16, &out));
    for (int x = 1; x < 15; x++) /* mean of columns 4x .. 4x+3 */
        for (int y = 0; y < 16; y++) assert_true(abs(out->pixel[y * 16 + x] - (4 * (4 * x) + 6)) <= 1);
    image_destroy(&out);
    image_destroy(&image);
    assert_success(image_create(65535, 4000, 1, &image));
    assert_error(image_resize(image, 1, 4000, &out), STATUS_DATA, "resize");
    assert_error(image_resize(image, 0, 4000, &out), STATUS_DATA, "0");
    image_destroy(&image);
}

static void test_caption(void **state) {
    (void)state;
    struct image *image = make_pattern(28, 28, 1), *out;
    const char *line[] = {"Ankle boot  99.8 %", "Sneaker 0.1 %", "b\xc3\xa4g"};
    assert_success(image_caption(image, line, 3, 280, &out));
    assert_int_equal(out->width, 280);
    assert_int_equal(out->channels, 3);
    assert_true(out->height > 280 + 3 * 14);
    for (int y = 0; y < 280; y++)
        for (int x = 0; x < 280; x++)
            for (int c = 0; c < 3; c++)
                assert_int_equal(out->pixel[(y * 280 + x) * 3 + c], image->pixel[y / 10 * 28 + x / 10]);
    /* black on white below, on three lines, and nothing cut off at the right */
    int64_t black = 0, edge = 0, other = 0;
    for (int64_t y = 280; y < out->height; y++)
        for (int64_t x = 0; x < out->width; x++) {
            uint8_t v = out->pixel[(y * out->width + x) * 3];
            if (v == 0) black++;
            else if (v != 255) other++;
            if (v == 0 && (x < 4 || x >= out->width - 4)) edge++;
        }
    assert_true(black > 1000 && black < 10000);
    assert_int_equal(edge, 0);
    assert_int_equal(other, 0);
    image_destroy(&out);
    /* a line too long for the image makes it wider; one of thousands of letters is cut */
    char endless[5000];
    memset(endless, 'W', sizeof endless - 1);
    endless[sizeof endless - 1] = 0;
    const char *one[] = {endless};
    assert_success(image_caption(image, one, 1, 100, &out));
    assert_true(out->width > 100 && out->width < 4000);
    image_destroy(&out);
    assert_success(image_caption(image, NULL, 0, 0, &out));
    assert_int_equal(out->height, 28);
    image_destroy(&out);
    image_destroy(&image);
}

/* ---- EXIF ---- */

/* A JPEG of 16 x 8 pixels, whose left half and upper half differ, with an EXIF block of this orientation
 * after its first marker; `big`: in big-endian order. */
static void write_oriented(const char *path, int orientation, bool big) {
    struct image *image;
    assert_success(image_create(8, 16, 1, &image));
    for (int y = 0; y < 8; y++)
        for (int x = 0; x < 16; x++)
            image->pixel[y * 16 + x] = (uint8_t)((x < 8 ? 20 : 120) + (y < 4 ? 0 : 60));
    assert_success(image_write(in_folder("plain.jpg"), image));
    image_destroy(&image);
    uint8_t block[] = {0xff, 0xe1, 0,    34,   'E', 'x', 'i', 'f', 0, 0, 'M', 'M', 0, 42, 0, 0, 0, 8,
                       0,    1,    0x01, 0x12, 0,   3,   0,   0,   0, 1, 0,   0,   0, 0,  0, 0, 0, 0};
    if (big) block[29] = (uint8_t)orientation;
    else {
        const uint8_t little[] = {
            'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 0x01, 3, 0, 1, 0, 0, 0, (uint8_t)orientation,
            0,   0,   0,  0, 0, 0, 0};
        memcpy(block + 10, little, sizeof little);
    }
    uint8_t *data, whole[4096];
    size_t n = load(in_folder("plain.jpg"), &data);
    assert_true(n + sizeof block < sizeof whole);
    memcpy(whole, data, 2);
    memcpy(whole + 2, block, sizeof block);
    memcpy(whole + 2 + sizeof block, data + 2, n - 2);
    write_bytes(path, whole, n + sizeof block);
    free(data);
}

/* The corners as they are seen: upper left, upper right, lower left, lower right; a is the stored upper left,
 * b its right, c below it, d below b. CIPA DC-008: which side of the scene row 0 and column 0 are. */
static void test_exif(void **state) {
    (void)state;
    static const char *const seen[] = {"", "abcd", "badc", "dcba", "cdab", "acbd", "cadb", "dbca", "bdac"};
    const int grey[] = {20, 120, 80, 180};
    for (int o = 1; o <= 8; o++)
        for (int big = 0; big < 2; big++) {
            struct image *image;
            write_oriented(in_folder("turned.jpg"), o, big);
            assert_success(image_read(in_folder("turned.jpg"), &image));
            assert_int_equal(image->height, o >= 5 ? 16 : 8);
            assert_int_equal(image->width, o >= 5 ? 8 : 16);
            for (int corner = 0; corner < 4; corner++) {
                int64_t y = corner / 2 ? image->height - 2 : 1, x = corner % 2 ? image->width - 2 : 1;
                int is = image->pixel[y * image->width + x], wanted = grey[seen[o][corner] - 'a'];
                if (abs(is - wanted) > 4)
                    fail_msg("orientation %d, corner %d: %d, not %d", o, corner, is, wanted);
            }
            image_destroy(&image);
        }
    /* What makes no sense is passed over. */
    for (int o = 0; o < 256; o += o ? 51 : 9) {
        struct image *image;
        write_oriented(in_folder("turned.jpg"), o ? o : 0, true);
        assert_success(image_read(in_folder("turned.jpg"), &image));
        assert_int_equal(image->height, o >= 5 && o <= 8 ? 16 : 8);
        image_destroy(&image);
    }
}

static void test_exif_blocks(void **state) {
    (void)state;
    uint8_t block[34];
    write_oriented(in_folder("turned.jpg"), 6, true);
    uint8_t *data;
    size_t n = load(in_folder("turned.jpg"), &data);
    memcpy(block, data + 6, 32);
    free(data);
    assert_true(n > 40);
    assert_int_equal(image_exif_orientation(block, 32), 6);
    for (size_t cut = 0; cut < 28; cut++) { /* copies, so that reading beyond the end is seen */
        uint8_t *part = malloc(cut + 1);
        memcpy(part, block, cut);
        assert_int_equal(image_exif_orientation(part, cut), 1);
        free(part);
    }
    for (size_t at = 0; at < 32; at++) /* any other byte gives a number from 1 to 8 */
        for (int v = 0; v < 256; v++) {
            uint8_t *copy = malloc(32);
            memcpy(copy, block, 32);
            copy[at] = (uint8_t)v;
            int o = image_exif_orientation(copy, 32);
            assert_true(o >= 1 && o <= 8);
            free(copy);
        }
}

/* ---- progressive, and bombs ---- */

static void test_jpeg_progressive(void **state) {
    (void)state;
    FILE *file = fopen(in_folder("a.jpg"), "wb");
    assert_non_null(file);
    struct jpeg_compress_struct out;
    struct jpeg_error_mgr errors;
    struct image *image, *pattern = make_pattern(40, 56, 3);
    for (int i = 0; i < 40 * 56 * 3; i++) pattern->pixel[i] = (uint8_t)(i / 3 / 56 * 4 + i / 3 % 56);
    out.err = jpeg_std_error(&errors);
    jpeg_create_compress(&out);
    jpeg_stdio_dest(&out, file);
    out.image_width = 56;
    out.image_height = 40;
    out.input_components = 3;
    out.in_color_space = JCS_RGB;
    jpeg_set_defaults(&out);
    jpeg_set_quality(&out, 95, TRUE);
    jpeg_simple_progression(&out);
    jpeg_start_compress(&out, TRUE);
    for (int y = 0; y < 40; y++) jpeg_write_scanlines(&out, (JSAMPROW[]){pattern->pixel + y * 56 * 3}, 1);
    jpeg_finish_compress(&out);
    jpeg_destroy_compress(&out);
    fclose(file);
    assert_success(image_read(in_folder("a.jpg"), &image));
    for (int i = 0; i < 40 * 56 * 3; i++) assert_true(abs(image->pixel[i] - pattern->pixel[i]) <= 6);
    image_destroy(&image);
    image_destroy(&pattern);
    /* The same file with a larger size in its head: all that is missing is missed. */
    uint8_t *data;
    size_t n = load(in_folder("a.jpg"), &data);
    for (size_t i = 2; i + 9 < n; i++)
        if (data[i] == 0xff && data[i + 1] == 0xc2) { /* SOF2: length, precision, height, width */
            data[i + 5] = data[i + 7] = 0x7f;
            break;
        }
    write_bytes(in_folder("bomb.jpg"), data, n);
    free(data);
    image = NULL;
    assert_error(image_read(in_folder("bomb.jpg"), &image), STATUS_DATA, "bomb.jpg");
    assert_null(image);
}

/* A few bytes of PNG that say they are 16000 x 16000 pixels, and end: no more is made than a row after the
 * other, and nothing is left. */
static void test_png_bomb(void **state) {
    (void)state;
    struct image *image = NULL;
    write_png_header(16000, 16000);
    assert_error(image_read(in_folder("head.png"), &image), STATUS_DATA, "complete");
    assert_null(image);
}

/* ---- other resizes ---- */

static void test_resize_by(void **state) {
    (void)state;
    struct image *image, *made;
    assert_success(image_create(4, 6, 1, &image));
    for (int i = 0; i < 24; i++) image->pixel[i] = (uint8_t)(i * 10);
    assert_success(image_resize_by(image, 2, 3, FILTER_NEAREST, &made)); /* pixels (1, 1), (1, 3), ... */
    for (int i = 0; i < 6; i++)
        assert_int_equal(made->pixel[i], 10 * ((2 * (i / 3) + 1) * 6 + 2 * (i % 3) + 1));
    image_destroy(&made);
    assert_success(image_resize_by(image, 8, 12, FILTER_NEAREST, &made));
    for (int i = 0; i < 96; i++) assert_int_equal(made->pixel[i], 10 * (i / 12 / 2 * 6 + i % 12 / 2));
    image_destroy(&made);
    assert_success(image_resize_by(image, 2, 3, FILTER_AREA, &made)); /* means of 2 x 2 */
    for (int i = 0; i < 6; i++)
        assert_true(abs(made->pixel[i] - (10 * (2 * (i / 3) * 6 + 2 * (i % 3)) + 35)) <= 1);
    image_destroy(&made);
    image_destroy(&image);
    /* Any sizes, a constant stays one: with other weights it would not. */
    for (int in = 1; in < 40; in++)
        for (int to = 1; to < 40; to++)
            for (int f = FILTER_BILINEAR; f <= FILTER_NEAREST; f++) {
                assert_success(image_create(in, 3, 1, &image));
                memset(image->pixel, 201, (size_t)in * 3);
                assert_success(image_resize_by(image, to, 2, (enum image_filter)f, &made));
                for (int i = 0; i < 2 * to; i++) assert_int_equal(made->pixel[i], 201);
                image_destroy(&made);
                image_destroy(&image);
            }
    /* Two thirds of each, by areas: (2 a + b) / 3 and (b + 2 c) / 3. */
    assert_success(image_create(1, 3, 1, &image));
    image->pixel[1] = 90;
    image->pixel[2] = 240;
    assert_success(image_resize_by(image, 1, 2, FILTER_AREA, &made));
    assert_int_equal(made->pixel[0], 30);
    assert_int_equal(made->pixel[1], 190);
    image_destroy(&made);
    image_destroy(&image);
    /* Twice as many, linear: (3 a + b) / 4 and (a + 3 b) / 4 between two pixels. */
    assert_success(image_create(1, 2, 1, &image));
    image->pixel[1] = 200;
    assert_success(image_resize_by(image, 1, 4, FILTER_BILINEAR, &made));
    const int linear[] = {0, 50, 150, 200};
    for (int i = 0; i < 4; i++) assert_true(abs(made->pixel[i] - linear[i]) <= 1);
    image_destroy(&made);
    image_destroy(&image);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_png_round_trip),
        IN_FOLDER(test_jpeg_round_trip),
        IN_FOLDER(test_png_kinds),
        IN_FOLDER(test_jpeg_cmyk),
        IN_FOLDER(test_truncated_and_garbage),
        IN_FOLDER(test_impossible_sizes),
        IN_FOLDER(test_exif),
        IN_FOLDER(test_exif_blocks),
        IN_FOLDER(test_jpeg_progressive),
        IN_FOLDER(test_png_bomb),
        cmocka_unit_test(test_resize_by),
        IN_FOLDER(test_write_errors),
        cmocka_unit_test(test_channels),
        cmocka_unit_test(test_crop),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_caption),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
