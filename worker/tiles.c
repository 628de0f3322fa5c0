#include "worker/tiles.h"

#include "shared/comm.h"
#include "shared/receptive.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tiles along height or width. */
struct axis {
    int64_t length, size, margin, step, n;
    int64_t up, down; /* `up` output pixels for `down` of the input */
};

static struct shape shape_for(const struct tiles_task *task, int64_t height, int64_t width) {
    return SHAPE(1, height, width, task->pixels->channels);
}

status tiles_output(const struct tiles_task *task, struct shape *output) {
    struct shape shape = shape_for(task, task->pixels->height, task->pixels->width);
    return predictor_outputs(task->predictor, &shape, output);
}

/* ---- how to cut ---- */

static double values_bytes(const struct opgraph *ops) {
    double bytes = 0;
    for (int v = 0; v < ops->nvalues; v++) {
        int64_t count = shape_sample_count(&ops->value[v]);
        if (count > 0) bytes += (double)count * sizeof(float);
    }
    return bytes;
}

/* Tiles of at most `most` pixels; false: there are none. All have the same size, which is the image's up to a
 * multiple of the alignment, so that strides and paddings fall as they do in the whole. */
static bool cut(struct axis *axis, int64_t length, int64_t most, const struct receptive *field) {
    double margin = ceil(fmax(fmax(field->before, field->after), 0));
    int64_t align = field->align;
    *axis = (struct axis){.length = length, .size = length, .step = length, .n = 1};
    if (length <= most) return true;
    axis->margin = ((int64_t)margin + align - 1) / align * align;
    axis->size = length - (length - most + align - 1) / align * align;
    axis->step = (axis->size - 2 * axis->margin) / align * align;
    if (axis->size < 1 || axis->step < 1) return false;
    axis->n = 1 + (length - axis->size + axis->step - 1) / axis->step;
    return true;
}

static int64_t tile_begin(const struct axis *axis, int64_t i) {
    return i < axis->n - 1 ? i * axis->step : axis->length - axis->size;
}

/* Where what is taken of tile i begins; of the tile after the last it is the end of the image. */
static int64_t part_begin(const struct axis *axis, int64_t i) {
    return i == 0 ? 0 : i == axis->n ? axis->length : tile_begin(axis, i) + axis->margin;
}

/* Output pixels of the first `end` of the input. */
static int64_t output_end(const struct axis *axis, int64_t end) {
    return (end * axis->up + axis->down - 1) / axis->down;
}

/* How many output pixels there are for those of the input; false: not the same for tiles and the whole. */
static bool set_factor(struct axis *axis, const struct receptive *field, int64_t whole, int64_t tile) {
    double step = field->step;
    axis->down = step >= 1 ? (int64_t)step : 1;
    axis->up = step >= 1 ? 1 : (int64_t)lrint(1 / step);
    if (fabs((double)axis->down / (double)axis->up - step) > 1e-9) return false;
    return whole == output_end(axis, axis->length) && tile == output_end(axis, axis->size);
}

static bool takes_any_size(const struct model *model) {
    const struct edge *edge = &model->graph->input[0];
    const struct shape *shape = &model->graph->node[edge->node].out[edge->slot];
    return shape->rank == 4 && shape->dim[1] == SHAPE_UNKNOWN && shape->dim[2] == SHAPE_UNKNOWN;
}

static void take_whole(const struct tiles_task *task, struct axis axis[2]) {
    const int64_t length[2] = {task->pixels->height, task->pixels->width};
    for (int d = 0; d < 2; d++)
        axis[d] = (struct axis){.length = length[d], .size = length[d], .step = length[d], .n = 1, .up = 0};
}

static status too_small(const struct tiles_task *task, const struct receptive field[2]) {
    int64_t least[2];
    for (int d = 0; d < 2; d++) {
        int64_t margin = (int64_t)ceil(fmax(fmax(field[d].before, field[d].after), 0));
        margin = (margin + field[d].align - 1) / field[d].align * field[d].align;
        least[d] = 2 * margin + 2 * field[d].align;
    }
    return status_fail(STATUS_USAGE,
                       "tiles of %" PRId64 " pixels are too small: the model sees %" PRId64
                       " pixels around each; use %" PRId64 " or more",
                       task->size, (least[0] > least[1] ? least[0] : least[1]) / 2,
                       least[0] > least[1] ? least[0] : least[1]);
}

/* The same number of output pixels for input pixels, in tiles and in the whole. */
static status factors_fit(const struct tiles_task *task, struct axis axis[2], const struct receptive field[2],
                          bool *fit) {
    struct shape whole, tile, shape = shape_for(task, axis[0].size, axis[1].size);
    STATUS_TRY(tiles_output(task, &whole));
    STATUS_TRY(predictor_outputs(task->predictor, &shape, &tile));
    *fit = whole.rank == 4 && tile.rank == 4;
    for (int d = 0; d < 2 && *fit; d++)
        *fit = set_factor(&axis[d], &field[d], whole.dim[1 + d], tile.dim[1 + d]);
    return SUCCESS;
}

/* Cuts the image, or leaves it whole and says why. */
static status cut_image(const struct tiles_task *task, const struct opgraph *ops, double bytes,
                        struct axis axis[2], const char **why) {
    struct receptive field[2];
    const struct image *p = task->pixels;
    double most = task->size > 0 ? (double)task->size
                                 : floor(sqrt((task->bytes > 0 ? task->bytes : TILES_BYTES) / bytes *
                                              (double)(p->height * p->width)));
    bool fit = false;
    take_whole(task, axis);
    *why = takes_any_size(task->model) ? NULL : "its input has one size";
    if (!*why) STATUS_TRY(receptive_field(ops, field, why));
    if (*why) return SUCCESS;
    if (!cut(&axis[0], p->height, (int64_t)most, &field[0]) ||
        !cut(&axis[1], p->width, (int64_t)most, &field[1])) {
        if (task->size > 0) return too_small(task, field);
        *why = "what it sees around each pixel";
        take_whole(task, axis);
        return SUCCESS;
    }
    STATUS_TRY(factors_fit(task, axis, field, &fit));
    if (fit) return SUCCESS;
    *why = "the size of its output";
    take_whole(task, axis);
    return SUCCESS;
}

static status plan(const struct tiles_task *task, struct axis axis[2], struct tiles_report *report) {
    struct opgraph *ops = NULL;
    const struct image *p = task->pixels;
    const struct shape shape = shape_for(task, p->height, p->width);
    take_whole(task, axis);
    STATUS_TRY(model_fit(task->model, &shape, &ops));
    report->bytes = values_bytes(ops);
    bool large = report->bytes > (task->bytes > 0 ? task->bytes : TILES_BYTES);
    if (task->size > 0) large = p->height > task->size || p->width > task->size;
    status error = SUCCESS;
    if (large && task->size >= 0) error = cut_image(task, ops, report->bytes, axis, &report->why);
    opgraph_destroy(&ops);
    report->height = axis[0].size;
    report->width = axis[1].size;
    report->rows = axis[0].n;
    report->columns = axis[1].n;
    for (int d = 0; d < 2; d++) report->margin[d] = axis[d].margin;
    report->bytes *= (double)(report->height * report->width) / (double)(p->height * p->width);
    return error;
}

/* ---- computing ---- */

static void fill(const struct tiles_task *task, const struct preprocessing_table *table,
                 const struct axis axis[2], int64_t top, int64_t left, float *x) {
    const struct image *p = task->pixels;
    int64_t row = axis[1].size * p->channels;
    for (int64_t y = 0; y < axis[0].size; y++)
        preprocessing_values(table, p->pixel + ((top + y) * p->width + left) * p->channels, row, x + y * row);
}

/* Gives what is taken of tile (r, c). */
static void give(const struct tiles_task *task, const struct axis axis[2], int64_t r, int64_t c,
                 const struct shape *out, const float *y) {
    const int64_t at[2] = {r, c};
    int64_t first[2], n[2], inside[2], channels = out->dim[3], stride = out->dim[2] * channels;
    for (int d = 0; d < 2; d++) {
        if (axis[d].n == 1) { /* whatever size it has */
            first[d] = inside[d] = 0;
            n[d] = out->dim[1 + d];
            continue;
        }
        int64_t begin = part_begin(&axis[d], at[d]), end = part_begin(&axis[d], at[d] + 1);
        first[d] = output_end(&axis[d], begin);
        n[d] = output_end(&axis[d], end) - first[d];
        inside[d] = output_end(&axis[d], begin - tile_begin(&axis[d], at[d]));
    }
    task->put(task->context, first[0], first[1], n[0], n[1], stride,
              y + inside[0] * stride + inside[1] * channels);
}

static status run_tiles(const struct tiles_task *task, const struct axis axis[2], float *x, float *y,
                        const struct shape *out, double *seconds) {
    struct preprocessing_table table;
    struct shape shape = shape_for(task, axis[0].size, axis[1].size);
    STATUS_TRY(preprocessing_table(task->preprocessing, task->pixels->channels, &table));
    STATUS_TRY(predictor_prepare(task->predictor, 1, &shape));
    for (int64_t r = 0; r < axis[0].n; r++)
        for (int64_t c = 0; c < axis[1].n; c++) {
            double start = comm_time();
            fill(task, &table, axis, tile_begin(&axis[0], r), tile_begin(&axis[1], c), x);
            STATUS_TRY(
                predictor_run(task->predictor, 1, &shape, (const float *const[]){x}, (float *const[]){y}));
            give(task, axis, r, c, out, y);
            *seconds += comm_time() - start;
        }
    return SUCCESS;
}

status tiles_run(const struct tiles_task *task, struct tiles_report *report) {
    struct axis axis[2];
    struct shape out;
    float *x = NULL, *y = NULL;
    *report = (struct tiles_report){0};
    STATUS_TRY(plan(task, axis, report));
    struct shape shape = shape_for(task, axis[0].size, axis[1].size);
    STATUS_TRY(predictor_outputs(task->predictor, &shape, &out));
    status error = memory_alloc("an image (give smaller tiles, --tile)", (size_t)shape_sample_count(&shape),
                                sizeof *x, (void **)&x);
    if (!error)
        error = memory_alloc("an image (give smaller tiles, --tile)", (size_t)shape_sample_count(&out),
                             sizeof *y, (void **)&y);
    if (!error) error = run_tiles(task, axis, x, y, &out, &report->seconds);
    free(x);
    free(y);
    return error;
}
