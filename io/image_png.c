/* PNG by libpng (ISO/IEC 15948). libpng reports errors by longjmp; all that must be released after one lives
 * in a struct of the caller's, so that nothing leaks and no local variable is read after the jump. */
#include "io/image_format.h"

#include "io/file.h"

#include <errno.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MAX_BYTES (8u << 20) /* of text, profiles and the like */
#define CHUNKS_MAX 1000

struct png_job {
    FILE *file;
    const char *path;
    png_structp png;
    png_infop info;
    png_bytep *row;
    struct image *image;        /* made by reading */
    const struct image *source; /* to be written */
    uint8_t *pixel;             /* reading: rows with alpha, if there is any */
    status error;               /* found by our own code */
    char message[160];          /* of libpng */
};

static void remember_error(png_structp png, png_const_charp message) {
    struct png_job *job = png_get_error_ptr(png);
    snprintf(job->message, sizeof job->message, "%s", message);
    png_longjmp(png, 1);
}

static void ignore_warning(png_structp png, png_const_charp message) {
    (void)png;
    (void)message;
}

static status make_rows(struct png_job *job, uint8_t *pixel, int64_t height, size_t row_bytes) {
    job->row = malloc((size_t)height * sizeof *job->row);
    if (!job->row) return status_no_memory("an image", (size_t)height * sizeof *job->row);
    for (int64_t y = 0; y < height; y++) job->row[y] = pixel + (size_t)y * row_bytes;
    return SUCCESS;
}

/* Memory for the decoded rows: those of the image itself, or wider ones where alpha is to be blended. */
static status make_image(struct png_job *job, int channels) {
    int64_t height = png_get_image_height(job->png, job->info),
            width = png_get_image_width(job->png, job->info);
    STATUS_TRY(image_create(height, width, channels >= 3 ? 3 : 1, &job->image));
    size_t row_bytes = png_get_rowbytes(job->png, job->info);
    if (row_bytes != (size_t)width * (size_t)channels)
        return status_fail(STATUS_INTERNAL, "%s: libpng gives rows of %zu bytes", job->path, row_bytes);
    if (channels != job->image->channels) {
        job->pixel = malloc(row_bytes * (size_t)height);
        if (!job->pixel) return status_no_memory("an image", row_bytes * (size_t)height);
    }
    return make_rows(job, job->pixel ? job->pixel : job->image->pixel, height, row_bytes);
}

/* 0, or -1 with job->error or job->message. */
static int decode(struct png_job *job) {
    if (setjmp(png_jmpbuf(job->png))) return -1;
    png_set_user_limits(job->png, IMAGE_MAX_SIDE, IMAGE_MAX_SIDE);
    png_set_chunk_malloc_max(job->png, CHUNK_MAX_BYTES);
    png_set_chunk_cache_max(job->png, CHUNKS_MAX);
    png_init_io(job->png, job->file);
    png_read_info(job->png, job->info);
    job->error = image_check_size(job->path, png_get_image_height(job->png, job->info),
                                  png_get_image_width(job->png, job->info));
    if (job->error) return -1;
    png_set_scale_16(job->png);
    png_set_palette_to_rgb(job->png);
    png_set_expand_gray_1_2_4_to_8(job->png);
    if (png_get_valid(job->png, job->info, PNG_INFO_tRNS)) png_set_tRNS_to_alpha(job->png);
    png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    job->error = make_image(job, png_get_channels(job->png, job->info));
    if (job->error) return -1;
    png_read_image(job->png, job->row);
    png_read_end(job->png, NULL);
    return 0;
}

static void blend_on_white(const uint8_t *from, struct image *image) {
    int64_t n = image->height * image->width;
    int channels = image->channels;
    uint8_t *to = image->pixel;
    for (int64_t i = 0; i < n; i++, from += channels + 1, to += channels) {
        unsigned alpha = from[channels];
        for (int c = 0; c < channels; c++)
            to[c] = (uint8_t)((from[c] * alpha + 255u * (255u - alpha) + 127u) / 255u);
    }
}

status image_png_read(FILE *file, const char *path, struct image **image) {
    struct png_job job = {.file = file, .path = path};
    status error = SUCCESS;
    job.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &job, remember_error, ignore_warning);
    if (job.png) job.info = png_create_info_struct(job.png);
    if (!job.info) {
        error = status_no_memory("an image", 0);
    } else if (decode(&job) != 0) {
        error = job.error
                    ? job.error
                    : status_fail(STATUS_DATA, "%s is not a readable PNG image (%s); is the file complete?",
                                  path, job.message);
    } else {
        if (job.pixel) blend_on_white(job.pixel, job.image);
        *image = job.image;
        job.image = NULL;
    }
    png_destroy_read_struct(&job.png, &job.info, NULL);
    image_destroy(&job.image);
    free(job.row);
    free(job.pixel);
    return error;
}

static int encode(struct png_job *job) {
    if (setjmp(png_jmpbuf(job->png))) return -1;
    const struct image *image = job->source;
    png_init_io(job->png, job->file);
    png_set_IHDR(job->png, job->info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 image->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(job->png, job->info);
    png_write_image(job->png, job->row);
    png_write_end(job->png, job->info);
    return 0;
}

status image_png_write(FILE *file, const char *path, const struct image *image) {
    struct png_job job = {.file = file, .path = path, .source = image};
    status error = make_rows(&job, image->pixel, image->height, (size_t)(image->width * image->channels));
    if (error) return error;
    job.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &job, remember_error, ignore_warning);
    if (job.png) job.info = png_create_info_struct(job.png);
    errno = 0;
    if (!job.info) error = status_no_memory("an image", 0);
    else if (encode(&job) != 0)
        error = errno ? file_fail("write", path, errno)
                      : status_fail(STATUS_IO, "cannot write %s: %s", path, job.message);
    png_destroy_write_struct(&job.png, &job.info);
    free(job.row);
    return error;
}
