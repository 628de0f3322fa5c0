/* JPEG by libjpeg (ITU-T T.81). Errors come by longjmp; what must be released after one lives in a struct of
 * the caller's. libjpeg only warns of data that ends too early: such warnings are errors here. */
#include "io/image_format.h"

#include "io/file.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#define QUALITY 95
#define SCANS_MAX 100 /* of a progressive file; more serve only to waste time */
#define EXIF_MAX_BYTES 0xffff
#define MEMORY_MAX (3L << 29) /* bytes for coefficients of a progressive file */

struct jpeg_job {
    struct jpeg_error_mgr errors; /* first: libjpeg knows this address */
    jmp_buf jump;
    struct jpeg_progress_mgr progress;
    struct jpeg_decompress_struct in;
    struct jpeg_compress_struct out;
    FILE *file;
    const char *path;
    struct image *image;        /* made by reading */
    const struct image *source; /* to be written */
    uint8_t *row;               /* one row of CMYK */
    int orientation;            /* as EXIF says */
    status error;               /* found by our own code */
    char message[JMSG_LENGTH_MAX];
};

static void fail(j_common_ptr common) {
    struct jpeg_job *job = (struct jpeg_job *)common->err;
    common->err->format_message(common, job->message);
    longjmp(job->jump, 1);
}

static void check_warning(j_common_ptr common, int level) {
    int code = common->err->msg_code;
    if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER || code == JWRN_HUFF_BAD_CODE))
        fail(common);
}

static void ignore_message(j_common_ptr common) {
    (void)common;
}

static void limit_scans(j_common_ptr common) {
    if (!common->is_decompressor) return;
    struct jpeg_job *job = (struct jpeg_job *)common->err;
    if (job->in.input_scan_number <= SCANS_MAX) return;
    snprintf(job->message, sizeof job->message, "more than %d scans", SCANS_MAX);
    longjmp(job->jump, 1);
}

static void set_errors(struct jpeg_job *job) {
    jpeg_std_error(&job->errors);
    job->errors.error_exit = fail;
    job->errors.emit_message = check_warning;
    job->errors.output_message = ignore_message;
}

/* Adobe stores CMYK inverted: 255 is no ink. */
static void cmyk_to_rgb(const uint8_t *from, uint8_t *to, int64_t n, bool inverted) {
    for (int64_t i = 0; i < n; i++, from += 4, to += 3) {
        unsigned k = inverted ? from[3] : 255u - from[3];
        for (int c = 0; c < 3; c++)
            to[c] = (uint8_t)(((inverted ? from[c] : 255u - from[c]) * k + 127u) / 255u);
    }
}

/* Of the first EXIF block. */
static int find_orientation(const struct jpeg_decompress_struct *in) {
    for (const struct jpeg_marker_struct *m = in->marker_list; m; m = m->next)
        if (m->marker == JPEG_APP0 + 1 && m->data_length >= 4 && !memcmp(m->data, "Exif", 4))
            return image_exif_orientation(m->data, m->data_length);
    return 1;
}

/* 0, or -1 with job->error or job->message. */
static int decode(struct jpeg_job *job) {
    struct jpeg_decompress_struct *in = &job->in;
    if (setjmp(job->jump)) return -1;
    jpeg_create_decompress(in);
    in->mem->max_memory_to_use = MEMORY_MAX;
    job->progress.progress_monitor = limit_scans;
    in->progress = &job->progress;
    jpeg_stdio_src(in, job->file);
    jpeg_save_markers(in, JPEG_APP0 + 1, EXIF_MAX_BYTES);
    jpeg_read_header(in, TRUE);
    job->orientation = find_orientation(in);
    job->error = image_check_size(job->path, in->image_height, in->image_width);
    if (job->error) return -1;
    bool cmyk = in->jpeg_color_space == JCS_CMYK || in->jpeg_color_space == JCS_YCCK;
    in->out_color_space = cmyk ? JCS_CMYK : in->jpeg_color_space == JCS_GRAYSCALE ? JCS_GRAYSCALE : JCS_RGB;
    int channels = in->out_color_space == JCS_GRAYSCALE ? 1 : 3;
    job->error = image_create(in->image_height, in->image_width, channels, &job->image);
    if (job->error) return -1;
    if (cmyk) {
        job->row = malloc((size_t)in->image_width * 4);
        if (!job->row) job->error = status_no_memory("an image", (size_t)in->image_width * 4);
        if (job->error) return -1;
    }
    jpeg_start_decompress(in);
    while (in->output_scanline < in->output_height) {
        uint8_t *to =
            job->image->pixel + (size_t)in->output_scanline * in->image_width * (size_t)job->image->channels;
        JSAMPROW row = job->row ? job->row : to;
        jpeg_read_scanlines(in, &row, 1);
        if (job->row) cmyk_to_rgb(job->row, to, in->image_width, in->saw_Adobe_marker);
    }
    jpeg_finish_decompress(in);
    return 0;
}

status image_jpeg_read(FILE *file, const char *path, struct image **image) {
    struct jpeg_job *job = calloc(1, sizeof *job);
    if (!job) return status_no_memory("an image", sizeof *job);
    job->file = file;
    job->path = path;
    set_errors(job);
    job->in.err = &job->errors;
    status error = SUCCESS;
    if (decode(job) != 0) {
        error = job->error
                    ? job->error
                    : status_fail(STATUS_DATA, "%s is not a readable JPEG image (%s); is the file complete?",
                                  path, job->message);
    } else {
        error = image_orient(&job->image, job->orientation);
        if (!error) {
            *image = job->image;
            job->image = NULL;
        }
    }
    jpeg_destroy_decompress(&job->in);
    image_destroy(&job->image);
    free(job->row);
    free(job);
    return error;
}

static int encode(struct jpeg_job *job) {
    struct jpeg_compress_struct *out = &job->out;
    if (setjmp(job->jump)) return -1;
    jpeg_create_compress(out);
    jpeg_stdio_dest(out, job->file);
    const struct image *image = job->source;
    out->image_width = (JDIMENSION)image->width;
    out->image_height = (JDIMENSION)image->height;
    out->input_components = image->channels;
    out->in_color_space = image->channels == 3 ? JCS_RGB : JCS_GRAYSCALE;
    jpeg_set_defaults(out);
    jpeg_set_quality(out, QUALITY, TRUE);
    jpeg_start_compress(out, TRUE);
    while (out->next_scanline < out->image_height) {
        JSAMPROW row = image->pixel + (size_t)out->next_scanline * out->image_width * (size_t)image->channels;
        jpeg_write_scanlines(out, &row, 1);
    }
    jpeg_finish_compress(out);
    return 0;
}

status image_jpeg_write(FILE *file, const char *path, const struct image *image) {
    struct jpeg_job *job = calloc(1, sizeof *job);
    if (!job) return status_no_memory("an image", sizeof *job);
    job->file = file;
    job->path = path;
    job->source = image;
    set_errors(job);
    job->out.err = &job->errors;
    status error = SUCCESS;
    errno = 0;
    if (encode(job) != 0)
        error = errno ? file_fail("write", path, errno)
                      : status_fail(STATUS_IO, "cannot write %s: %s", path, job->message);
    jpeg_destroy_compress(&job->out);
    free(job);
    return error;
}
