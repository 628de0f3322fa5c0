/* Operations that move values about: reshape, transpose, slices, padding, resizing. */
#include "io/keras/topology_json.h"
#include "io/keras/topology_op.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 256

/* "[2, -1]" in text[TEXT_MAX]; returns text. */
static const char *list_text(int n, const int64_t *v, char *text) {
    char *at = text + sprintf(text, "[");
    for (int i = 0; i < n; i++) at += sprintf(at, "%s%" PRId64, i ? ", " : "", v[i]);
    strcpy(at, "]");
    return text;
}

/* To dimensions that leave the batch alone; one of them may be unknown. */
static int reshape(struct topology_op_call *call, int value, const struct shape *shape) {
    int64_t target[SHAPE_MAX_RANK];
    int unknown = 0;
    char text[TEXT_MAX];
    for (int i = 1; i < shape->rank; i++) {
        target[i - 1] = shape->dim[i];
        unknown += shape->dim[i] == SHAPE_UNKNOWN;
    }
    if (unknown > 1 || shape->rank < 1) return -1;
    return op_emit(call, "Reshape", 1, &value, "{\"target_shape\": %s}",
                   list_text(shape->rank - 1, target, text));
}

/* The first dimension must be the batch: -1, with all others known. */
bool op_reshape(struct topology_op_call *call) {
    int x = op_tensor(call, 0), n;
    int64_t to[SHAPE_MAX_RANK];
    char text[TEXT_MAX];
    if (x < 0 || !op_ints(call, 1, SHAPE_MAX_RANK, to, &n) || n < 1 || to[0] != -1) return false;
    for (int i = 1; i < n; i++)
        if (to[i] < 1) return false;
    call->result = op_emit(call, "Reshape", 1, &x, "{\"target_shape\": %s}", list_text(n - 1, to + 1, text));
    return true;
}

bool op_transpose(struct topology_op_call *call) {
    int x = op_tensor(call, 0), n;
    int64_t axis[SHAPE_MAX_RANK];
    char text[TEXT_MAX];
    if (x < 0 || !op_ints(call, 1, SHAPE_MAX_RANK, axis, &n) || n < 2 || axis[0] != 0) return false;
    call->result = op_emit(call, "Permute", 1, &x, "{\"dims\": %s}", list_text(n - 1, axis + 1, text));
    return true;
}

bool op_concatenate(struct topology_op_call *call) {
    const struct topology_arg *arg = op_argument(call, 0);
    int n = 1;
    int64_t axis = 0; /* Keras 3's default */
    if (!arg || arg->n == 0 || arg->mixed) return false;
    if (op_constant(call, 1) && !op_ints(call, 1, 1, &axis, &n)) return false;
    int *in = malloc((size_t)arg->n * sizeof *in);
    if (!in) {
        call->no_memory = true;
        return false;
    }
    for (int k = 0; k < arg->n; k++) in[k] = arg->first + k;
    call->result = op_emit(call, "Concatenate", arg->n, in, "{\"axis\": %d}", (int)axis);
    free(in);
    return n == 1 && axis != 0;
}

bool op_expand_dims(struct topology_op_call *call) {
    int x = op_tensor(call, 0), n;
    int64_t axis;
    if (x < 0 || !op_ints(call, 1, 1, &axis, &n) || n != 1) return false;
    struct shape shape = *op_shape(call, x);
    if (axis < 0) axis += shape.rank + 1;
    if (!shape.rank || shape.rank == SHAPE_MAX_RANK || axis < 1 || axis > shape.rank) return false;
    memmove(&shape.dim[axis + 1], &shape.dim[axis], (size_t)(shape.rank - axis) * sizeof *shape.dim);
    shape.dim[axis] = 1;
    shape.rank++;
    call->result = reshape(call, x, &shape);
    return true;
}

/* Axes of one, all of them or those that are named, are left out. */
bool op_squeeze(struct topology_op_call *call) {
    int x = op_tensor(call, 0), n = 0;
    int64_t axis[SHAPE_MAX_RANK];
    if (x < 0 || (op_constant(call, 1) && !op_ints(call, 1, SHAPE_MAX_RANK, axis, &n))) return false;
    const struct shape *shape = op_shape(call, x);
    if (!shape->rank) return false;
    unsigned axes = 0;
    for (int i = 0; i < n; i++) {
        int64_t a = axis[i] < 0 ? axis[i] + shape->rank : axis[i];
        if (a < 1 || a >= shape->rank || shape->dim[a] != 1) return false;
        axes |= 1u << a;
    }
    struct shape left = {.rank = 1, .dim = {shape->dim[0]}};
    for (int i = 1; i < shape->rank; i++)
        if (!(n ? axes >> i & 1 : shape->dim[i] == 1)) left.dim[left.rank++] = shape->dim[i];
    call->result = reshape(call, x, &left);
    return true;
}

/* ---- slices ---- */

/* What is taken of one axis. */
struct index {
    bool single; /* one element; the axis vanishes */
    bool has_start, has_stop;
    int64_t start, stop, step;
};

static bool read_bound(const cJSON *json, bool *has, int64_t *value) {
    *has = json && !cJSON_IsNull(json);
    if (!*has) return true;
    *value = cJSON_IsNumber(json) ? (int64_t)fmax(-1e9, fmin(1e9, json->valuedouble)) : 0;
    return cJSON_IsNumber(json) && json->valuedouble == floor(json->valuedouble);
}

/* A number, {"start": ..., "stop": ..., "step": ...}, or the same in the "config" of a "__slice__". */
static bool read_index(const cJSON *json, struct index *index) {
    bool has_step;
    *index = (struct index){.step = 1};
    if (cJSON_IsNumber(json)) {
        index->single = true;
        return read_bound(json, &index->has_start, &index->start);
    }
    const char *class_name = topology_string(json, "class_name");
    if (class_name && strcmp(class_name, "__slice__")) return false;
    const cJSON *slice = class_name ? topology_member(json, "config") : json;
    if (!cJSON_IsObject(slice)) return false;
    return read_bound(topology_member(slice, "start"), &index->has_start, &index->start) &&
           read_bound(topology_member(slice, "stop"), &index->has_stop, &index->stop) &&
           read_bound(topology_member(slice, "step"), &has_step, &index->step) && index->step > 0;
}

static bool is_ellipsis(const cJSON *json) {
    const char *class_name = topology_string(json, "class_name");
    return class_name && !strcmp(class_name, "__ellipsis__");
}

/* Elements [*first, *first + *count) in steps of a dimension. */
static bool resolve(const struct index *index, int64_t dim, int64_t *first, int64_t *count) {
    int64_t start = index->has_start ? index->start : 0, stop = index->has_stop ? index->stop : dim;
    if (start < 0) start += dim;
    if (stop < 0) stop += dim;
    if (index->single) stop = start + 1;
    else if (stop > dim) stop = dim;
    *first = start;
    *count = stop - start;
    return start >= 0 && *count > 0 && stop <= dim;
}

/* Crops, then takes every so many, then leaves axes out. Only the axes between the batch and the channels can
 * be cropped by a layer. */
static bool take(struct topology_op_call *call, int x, const struct index *index) {
    const struct shape *shape = op_shape(call, x);
    int inner = shape->rank - 2;
    int64_t crop[4] = {0}, step[2] = {1, 1};
    bool crops = false, steps = false, singles = false;
    struct shape left = {.rank = 1, .dim = {SHAPE_UNKNOWN}};
    for (int i = 0; i < shape->rank; i++) {
        int64_t first, count, dim = shape->dim[i];
        bool all = !index[i].single && !index[i].has_start && !index[i].has_stop && index[i].step == 1;
        if (!all && (i == 0 || i > inner || inner > 2)) return false;
        if (all) {
            if (i) left.dim[left.rank++] = dim;
            continue;
        }
        if (dim == SHAPE_UNKNOWN && (index[i].single || index[i].has_start || index[i].has_stop))
            return false;
        if (dim != SHAPE_UNKNOWN) {
            if (!resolve(&index[i], dim, &first, &count)) return false;
            crop[2 * (i - 1)] = first;
            crop[2 * (i - 1) + 1] = dim - first - count;
            crops |= crop[2 * (i - 1)] || crop[2 * (i - 1) + 1];
            dim = (count + index[i].step - 1) / index[i].step;
        }
        step[i - 1] = index[i].step;
        steps |= index[i].step > 1;
        singles |= index[i].single;
        if (!index[i].single) left.dim[left.rank++] = dim;
    }
    if (crops && inner == 1)
        x = op_emit(call, "Cropping1D", 1, &x, "{\"cropping\": [%d, %d]}", (int)crop[0], (int)crop[1]);
    else if (crops)
        x = op_emit(call, "Cropping2D", 1, &x, "{\"cropping\": [[%d, %d], [%d, %d]]}", (int)crop[0],
                    (int)crop[1], (int)crop[2], (int)crop[3]);
    if (x >= 0 && steps && inner == 1)
        x = op_emit(call, "MaxPooling1D", 1, &x, "{\"pool_size\": 1, \"strides\": %d}", (int)step[0]);
    else if (x >= 0 && steps)
        x = op_emit(call, "MaxPooling2D", 1, &x, "{\"pool_size\": [1, 1], \"strides\": [%d, %d]}",
                    (int)step[0], (int)step[1]);
    if (x >= 0 && singles) x = reshape(call, x, &left);
    call->result = x;
    return true;
}

/* x[:, 1:-1, 0], and with "..." for the axes that are not said. */
bool op_get_item(struct topology_op_call *call) {
    int x = op_tensor(call, 0), said = 0, at = 0;
    struct index index[SHAPE_MAX_RANK];
    const cJSON *key = op_constant(call, 1);
    int rank = op_shape(call, x)->rank;
    const cJSON *item = cJSON_IsArray(key) ? key->child : key;
    if (x < 0 || !rank || !item) return false;
    for (int i = 0; i < SHAPE_MAX_RANK; i++) index[i] = (struct index){.step = 1};
    for (const cJSON *i = item; i; i = cJSON_IsArray(key) ? i->next : NULL) said += !is_ellipsis(i);
    for (bool open = true; item; item = cJSON_IsArray(key) ? item->next : NULL) {
        if (is_ellipsis(item)) {
            if (!open) return false;
            at += rank - said;
            open = false;
        } else if (at < 0 || at >= rank || !read_index(topology_unwrap(item), &index[at++])) {
            return false;
        }
    }
    return said <= rank && take(call, x, index);
}

/* TensorFlow's node: begins, ends and steps, and bits that say where a bound does not count. */
bool op_strided_slice(struct topology_op_call *call) {
    enum { BEGIN = 1, END, STRIDES, BEGIN_MASK, END_MASK, SHRINK, ELLIPSIS, NEW_AXIS };
    int x = op_tensor(call, 0), n, nend, nstep = 0, one;
    int64_t begin[SHAPE_MAX_RANK], end[SHAPE_MAX_RANK], step[SHAPE_MAX_RANK];
    int64_t mask[5] = {0};
    struct index index[SHAPE_MAX_RANK];
    for (int i = 0; i < 5; i++)
        if (op_constant(call, BEGIN_MASK + i) && !op_ints(call, BEGIN_MASK + i, 1, &mask[i], &one))
            return false;
    int rank = op_shape(call, x)->rank;
    if (x < 0 || !rank || mask[3] || mask[4] || !op_ints(call, BEGIN, rank, begin, &n) ||
        !op_ints(call, END, rank, end, &nend) || n != nend)
        return false;
    if (op_constant(call, STRIDES) && (!op_ints(call, STRIDES, rank, step, &nstep) || nstep != n))
        return false;
    for (int i = 0; i < SHAPE_MAX_RANK; i++) index[i] = (struct index){.step = 1};
    for (int i = 0; i < n; i++) {
        index[i] = (struct index){.single = mask[2] >> i & 1,
                                  .has_start = !(mask[0] >> i & 1),
                                  .has_stop = !(mask[1] >> i & 1),
                                  .start = begin[i],
                                  .stop = end[i],
                                  .step = nstep ? step[i] : 1};
        /* from 0 is from the beginning */
        if (!index[i].single && index[i].has_start && index[i].start == 0) index[i].has_start = false;
        if (index[i].step < 1) return false;
    }
    return take(call, x, index);
}

/* ---- borders and sizes ---- */

/* Zeros around images or sequences: two numbers for each axis. */
bool op_pad(struct topology_op_call *call) {
    int x = op_tensor(call, 0), n = 0;
    int64_t v[2 * SHAPE_MAX_RANK];
    double filler = 0;
    const cJSON *widths = op_constant(call, 1);
    if (x < 0 || (op_constant(call, 2) && !op_is(call, 2, "constant") && !op_is(call, 2, "CONSTANT")))
        return false;
    if (op_constant(call, 3) && (!op_double(call, 3, &filler) || filler != 0)) return false;
    for (const cJSON *pair = cJSON_IsArray(widths) ? widths->child : NULL; pair; pair = pair->next) {
        const cJSON *two = topology_unwrap(pair);
        if (n == 2 * SHAPE_MAX_RANK || cJSON_GetArraySize(two) != 2) return false;
        for (const cJSON *one = two->child; one; one = one->next) {
            if (!cJSON_IsNumber(one) || one->valuedouble < 0 || one->valuedouble > 1e6) return false;
            v[n++] = (int64_t)one->valuedouble;
        }
    }
    if ((n != 6 && n != 8) || v[0] || v[1] || v[n - 2] || v[n - 1]) return false;
    call->result =
        n == 6 ? op_emit(call, "ZeroPadding1D", 1, &x, "{\"padding\": [%d, %d]}", (int)v[2], (int)v[3])
               : op_emit(call, "ZeroPadding2D", 1, &x, "{\"padding\": [[%d, %d], [%d, %d]]}", (int)v[2],
                         (int)v[3], (int)v[4], (int)v[5]);
    return true;
}

/* Images to a size, with half-pixel centres; by whole factors, where they are known. */
bool op_resize(struct topology_op_call *call) {
    enum { SIZE = 1, METHOD, ANTIALIAS, ASPECT, CROP, CORNERS, HALF_PIXEL };
    int x = op_tensor(call, 0), n;
    int64_t size[2];
    const char *method = op_variant(call)            ? op_variant(call)
                         : op_constant(call, METHOD) ? op_text(call, METHOD)
                                                     : "bilinear";
    const char *format = topology_string(topology_member(call->json, "config"), "data_format");
    if (x < 0 || !op_ints(call, SIZE, 2, size, &n) || n != 2 || size[0] < 1 || size[1] < 1) return false;
    if (!method || (strcmp(method, "bilinear") && strcmp(method, "nearest"))) return false;
    if (format && strcmp(format, "channels_last")) return false;
    if (op_flag(call, ANTIALIAS, false) || op_flag(call, ASPECT, false) || op_flag(call, CROP, false) ||
        op_flag(call, CORNERS, false) || (op_variant(call) && !op_flag(call, HALF_PIXEL, false)))
        return false;
    const struct shape *shape = op_shape(call, x);
    bool whole = shape->rank == 4;
    for (int i = 0; i < 2 && whole; i++) whole = shape->dim[1 + i] > 0 && size[i] % shape->dim[1 + i] == 0;
    call->result =
        whole ? op_emit(call, "UpSampling2D", 1, &x, "{\"size\": [%d, %d], \"interpolation\": \"%s\"}",
                        (int)(size[0] / shape->dim[1]), (int)(size[1] / shape->dim[2]), method)
              : op_emit(call, "Resizing", 1, &x, "{\"height\": %d, \"width\": %d, \"interpolation\": \"%s\"}",
                        (int)size[0], (int)size[1], method);
    return true;
}

bool op_depth_to_space(struct topology_op_call *call) {
    int x = op_tensor(call, 0), n;
    int64_t block;
    bool last = !op_constant(call, 2) || op_is(call, 2, "NHWC") || op_is(call, 2, "channels_last") ||
                op_is(call, 2, "TkhXQw=="); /* NHWC in base64, as TensorFlow's nodes have it in JSON */
    if (x < 0 || !last || !op_ints(call, 1, 1, &block, &n) || n != 1 || block < 1) return false;
    call->result = op_emit(call, "DepthToSpace", 1, &x, "{\"block_size\": %d}", (int)block);
    return true;
}
