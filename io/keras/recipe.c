#include "io/keras/recipe.h"

#include <string.h>

/* ---- what to do ---- */

static bool is_channels_first(const struct layer *layer) {
    return layer_has_attr(layer, "data_format") &&
           !strcmp(layer_string(layer, "data_format"), "channels_first");
}

status recipe_check_shape(const struct shape *stored, const struct shape *needed) {
    char has[SHAPE_TEXT_MAX], needs[SHAPE_TEXT_MAX];
    if (shape_equal(stored, needed)) return SUCCESS;
    return status_fail(STATUS_DATA, "has shape %s, but the topology needs %s", shape_format(stored, has),
                       shape_format(needed, needs));
}

bool recipe_may_count(const struct weight *weight) {
    return !weight->trainable && weight->shape.rank == 0;
}

static const char *keras2_name(const struct weight *weight) {
    return weight->keras2 ? weight->keras2 : weight->name;
}

/* The kernel of a convolution; Keras 1 stores those in one dimension with a second one of size 1. */
static bool window_shape(const struct weight *weight, const struct shape *stored, struct shape *shape) {
    *shape = weight->shape;
    if (!strstr(weight->name, "kernel")) return false;
    if (shape->rank == 3 && stored->rank == 4) *shape = SHAPE(shape->dim[0], 1, shape->dim[1], shape->dim[2]);
    return shape->rank == stored->rank && (shape->rank == 4 || shape->rank == 3);
}

/* Do the stored axes, taken in this order, give the shape? */
static bool fits(const struct shape *shape, const struct shape *stored, const int *axis) {
    for (int i = 0; i < shape->rank; i++)
        if (shape->dim[i] != stored->dim[axis[i]]) return false;
    return true;
}

static void set_axes(struct recipe *recipe, const int *axis, int rank) {
    static const int same[] = {0, 1, 2, 3};
    memcpy(recipe->axis, axis, (size_t)rank * sizeof *axis);
    if (recipe->flip || memcmp(axis, same, (size_t)rank * sizeof *axis) != 0)
        recipe->conversion = CONVERT_AXES;
}

/* Keras 1 has (filters, channels, height, width) where channels are first; a transposed convolution's kernel
 * has its last two axes the other way round than later. */
static bool choose_keras1(const struct layer *layer, const struct weight *weight, const struct shape *shape,
                          const struct shape *stored, struct recipe *recipe) {
    static const int last[] = {0, 1, 2, 3}, last_transposed[] = {0, 1, 3, 2};
    static const int first[] = {2, 3, 1, 0}, first_transposed[] = {2, 3, 0, 1};
    bool transposed = weight->in_axis > weight->out_axis && weight->out_axis >= 0;
    const int *ways[] = {transposed ? last_transposed : last, transposed ? first_transposed : first};
    int likely = is_channels_first(layer) ? 1 : 0;
    for (int k = 0; k < 2; k++) {
        const int *axis = ways[k == 0 ? likely : 1 - likely];
        if (!fits(shape, stored, axis)) continue;
        set_axes(recipe, axis, 4);
        return true;
    }
    return false;
}

status recipe_choose(const struct origin *origin, const struct layer *layer, int w,
                     const struct shape *stored, struct recipe *recipe) {
    const struct weight *weight = &layer->weight[w];
    struct shape shape;
    *recipe = (struct recipe){.conversion = CONVERT_NONE};
    bool window = window_shape(weight, stored, &shape);
    recipe->flip = window && origin->theano && !strcmp(keras2_name(weight), "kernel");
    if (window && shape.rank == 4 && origin->keras_version == 1 &&
        choose_keras1(layer, weight, &shape, stored, recipe))
        return SUCCESS;
    STATUS_TRY(recipe_check_shape(stored, &weight->shape));
    static const int same[] = {0, 1, 2, 3};
    if (recipe->flip) set_axes(recipe, same, shape.rank);
    return SUCCESS;
}

int recipe_gates(const struct layer *layer, int w) {
    static const char *const names[] = {"kernel", "recurrent_kernel", "bias"};
    if (w + 3 > layer->nweights) return 0;
    const struct weight *weight = &layer->weight[w];
    for (int k = 0; k < 3; k++)
        if (!strstr(weight[k].name, names[k]) || strcmp(weight[k].path, weight[0].path) != 0) return 0;
    const struct shape *shape = &weight[1].shape;
    if (weight[0].shape.rank != 2 || shape->rank != 2 || shape->dim[0] < 1) return 0;
    int64_t gates = shape->dim[1] / shape->dim[0];
    return shape->dim[1] % shape->dim[0] == 0 && (gates == 3 || gates == 4) ? (int)gates : 0;
}

/* LSTM: i, c, f, o to i, f, c, o. */
int recipe_gate(int gates, int g) {
    static const int lstm[] = {0, 2, 1, 3};
    return gates == 4 ? lstm[g] : g;
}

bool recipe_cudnn(const struct layer *layer, int w, const struct shape *stored, struct recipe *recipe) {
    const struct weight *weight = &layer->weight[w];
    int gates = recipe_gates(layer, w);
    int64_t units = weight[1].shape.dim[0];
    if (!gates || stored[2].rank != 1 || stored[2].dim[0] != 2 * gates * units) return false;
    for (int k = 0; k < 2; k++)
        if (!shape_equal(&stored[k], &weight[k].shape)) return false;
    if (gates == 4 ? !shape_equal(&weight[2].shape, &SHAPE(gates * units))
                   : !shape_equal(&weight[2].shape, &SHAPE(2, gates * units)))
        return false;
    recipe[0] = recipe[1] = (struct recipe){.conversion = CONVERT_CUDNN_KERNEL, .gates = gates};
    recipe[2] = (struct recipe){.conversion = gates == 4 ? CONVERT_CUDNN_BIAS : CONVERT_NONE};
    return true;
}

/* ---- doing it ---- */

static void permute(const struct recipe *recipe, const struct shape *stored, const float *from,
                    float *values) {
    int rank = stored->rank;
    int64_t stride[SHAPE_MAX_RANK], dim[SHAPE_MAX_RANK], step[SHAPE_MAX_RANK], at[SHAPE_MAX_RANK] = {0};
    int64_t n = 1, start = 0;
    stride[rank - 1] = 1;
    for (int i = rank - 2; i >= 0; i--) stride[i] = stride[i + 1] * stored->dim[i + 1];
    for (int i = 0; i < rank; i++) {
        dim[i] = stored->dim[recipe->axis[i]];
        step[i] = stride[recipe->axis[i]];
        n *= dim[i];
        if (recipe->flip && i < rank - 2) {
            start += (dim[i] - 1) * step[i];
            step[i] = -step[i];
        }
    }
    const float *source = from + start;
    for (int64_t k = 0; k < n; k++) {
        values[k] = *source;
        int i = rank - 1;
        while (i >= 0 && ++at[i] == dim[i]) { /* the last axis runs fastest */
            source -= (dim[i] - 1) * step[i];
            at[i--] = 0;
        }
        if (i >= 0) source += step[i];
    }
}

/* Gates stored one after the other, each of `rows` x `columns`. */
static void join_gates(int gates, int64_t rows, int64_t columns, const float *from, float *values) {
    for (int64_t r = 0; r < rows; r++)
        for (int g = 0; g < gates; g++)
            memcpy(values + (r * gates + g) * columns, from + (g * rows + r) * columns,
                   (size_t)columns * sizeof *values);
}

/* Within each gate, a (rows, columns) block: element i, j is that which is number j * rows + i of its values
 * in order. For a square block that is the transposed one. */
static void transpose_gates(int gates, int64_t rows, int64_t columns, const float *from, float *values) {
    for (int64_t i = 0; i < rows; i++)
        for (int g = 0; g < gates; g++)
            for (int64_t j = 0; j < columns; j++) {
                int64_t k = j * rows + i;
                values[(i * gates + g) * columns + j] =
                    from[(k / columns * gates + g) * columns + k % columns];
            }
}

void recipe_apply(const struct recipe *recipe, const struct shape *weight, const struct shape *stored,
                  const float *from, float *values) {
    int64_t rows, columns;
    shape_rows(weight, &rows, &columns);
    switch (recipe->conversion) {
    case CONVERT_NONE:
        memcpy(values, from, (size_t)(rows * columns) * sizeof *values);
        break;
    case CONVERT_AXES:
        permute(recipe, stored, from, values);
        break;
    case CONVERT_GATES:
        join_gates(recipe->gates, rows, columns / recipe->gates, from, values);
        break;
    case CONVERT_CUDNN_KERNEL:
        transpose_gates(recipe->gates, rows, columns / recipe->gates, from, values);
        break;
    case CONVERT_CUDNN_BIAS:
        for (int64_t i = 0; i < rows * columns; i++) values[i] = from[i] + from[rows * columns + i];
        break;
    }
}
