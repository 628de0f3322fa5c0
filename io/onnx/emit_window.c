/* Operations with windows over height and width: channels first. */
#include "io/onnx/emit.h"

#include <math.h>
#include <stdio.h>

/* A window as ONNX's attributes. */
struct window_numbers {
    int64_t size[2], stride[2], dilation[2], pads[4];
};

static struct window_numbers numbers_of(const struct window *w) {
    struct window_numbers n;
    for (int i = 0; i < 2; i++) {
        n.size[i] = w->size[i];
        n.stride[i] = w->stride[i];
        n.dilation[i] = w->dilation[i];
        n.pads[i] = w->before[i];
        n.pads[2 + i] = w->after[i];
    }
    return n;
}

/* Padding by the "same" rule depends on the size of the image, unless each place has its window. */
static bool is_determined(const struct shape *image, const struct window *w) {
    for (int i = 0; i < 2; i++)
        if (image->dim[1 + i] == SHAPE_UNKNOWN && w->stride[i] > 1 && w->size[i] > 1) return false;
    return true;
}

/* Kernel (kh,kw,C/groups,M) to (M,C/groups,kh,kw); a depthwise one (kh,kw,C,m) to (C*m,1,kh,kw). */
static const char *conv_kernel(struct onnx_export *e, const struct op *op) {
    static const int order[] = {3, 2, 0, 1}, depthwise[] = {2, 3, 0, 1};
    const int64_t *d = onnx_param_shape(e, op->param[0])->dim;
    if (op->kind == OP_DEPTHWISE)
        return onnx_param_moved(e, op->param[0], depthwise, &SHAPE(d[2] * d[3], 1, d[0], d[1]));
    return onnx_param_moved(e, op->param[0], order, &SHAPE(d[3], d[2], d[0], d[1]));
}

status onnx_emit_conv(struct onnx_export *e, const struct op *op) {
    const struct shape *in = onnx_shape(e, op->in[0]);
    const struct window_numbers n = numbers_of(&op->u.conv.window);
    const int64_t groups = op->kind == OP_DEPTHWISE ? in->dim[3] : op->u.conv.groups;
    if (!is_determined(in, &op->u.conv.window)) return onnx_refuse_unknown(e, op);
    const char *inputs[3] = {onnx_in(e, op->in[0], LAYOUT_FIRST), conv_kernel(e, op)};
    if (op->param[1] >= 0) inputs[2] = onnx_param(e, op->param[1], NULL);
    onnx_set(
        e, op->out, LAYOUT_FIRST,
        onnx_graph_node(e->onnx, "Conv", op->param[1] >= 0 ? 3 : 2, inputs,
                        ONNX_WITH(ONNX_INTS("kernel_shape", 2, n.size), ONNX_INTS("strides", 2, n.stride),
                                  ONNX_INTS("dilations", 2, n.dilation), ONNX_INTS("pads", 4, n.pads),
                                  ONNX_INT("group", groups))));
    return SUCCESS;
}

/* The window goes from the output to the input; what of the output it does not reach is added at the end, and
 * what it reaches beyond is cut off there. */
status onnx_emit_conv_transpose(struct onnx_export *e, const struct op *op) {
    static const int order[] = {3, 2, 0, 1};
    const struct shape *in = onnx_shape(e, op->in[0]), *out = onnx_shape(e, op->out);
    const int64_t *d = onnx_param_shape(e, op->param[0])->dim;
    struct window_numbers n = numbers_of(&op->u.conv.window);
    int64_t added[2];
    for (int i = 0; i < 2; i++) {
        if (in->dim[1 + i] == SHAPE_UNKNOWN) return onnx_refuse_unknown(e, op);
        const int64_t whole = n.stride[i] * (in->dim[1 + i] - 1) + (n.size[i] - 1) * n.dilation[i] + 1;
        added[i] = out->dim[1 + i] - (whole - n.pads[i] - n.pads[2 + i]);
        if (added[i] < 0) {
            n.pads[2 + i] -= added[i];
            added[i] = 0;
        }
    }
    const char *inputs[3] = {onnx_in(e, op->in[0], LAYOUT_FIRST),
                             onnx_param_moved(e, op->param[0], order, &SHAPE(d[3], d[2], d[0], d[1]))};
    if (op->param[1] >= 0) inputs[2] = onnx_param(e, op->param[1], NULL);
    onnx_set(
        e, op->out, LAYOUT_FIRST,
        onnx_graph_node(e->onnx, "ConvTranspose", op->param[1] >= 0 ? 3 : 2, inputs,
                        ONNX_WITH(ONNX_INTS("kernel_shape", 2, n.size), ONNX_INTS("strides", 2, n.stride),
                                  ONNX_INTS("dilations", 2, n.dilation), ONNX_INTS("pads", 4, n.pads),
                                  ONNX_INTS("output_padding", 2, added))));
    return SUCCESS;
}

status onnx_emit_pool(struct onnx_export *e, const struct op *op) {
    const struct window *w = &op->u.pool.window;
    const struct window_numbers n = numbers_of(w);
    const char *x = onnx_in(e, op->in[0], LAYOUT_FIRST), *y;
    if (!is_determined(onnx_shape(e, op->in[0]), w)) return onnx_refuse_unknown(e, op);
    if (op->u.pool.kind == POOL_MAX) {
        y = onnx_graph_node(e->onnx, "MaxPool", ONNX_IN(x),
                            ONNX_WITH(ONNX_INTS("kernel_shape", 2, n.size), ONNX_INTS("strides", 2, n.stride),
                                      ONNX_INTS("dilations", 2, n.dilation), ONNX_INTS("pads", 4, n.pads)));
    } else {
        if (w->dilation[0] > 1 || w->dilation[1] > 1) return onnx_refuse(e, op, "a mean over places apart");
        y = onnx_graph_node(e->onnx, "AveragePool", ONNX_IN(x),
                            ONNX_WITH(ONNX_INTS("kernel_shape", 2, n.size), ONNX_INTS("strides", 2, n.stride),
                                      ONNX_INTS("pads", 4, n.pads), ONNX_INT("count_include_pad", 0)));
    }
    onnx_set(e, op->out, LAYOUT_FIRST, y);
    return SUCCESS;
}

/* ---- resize ---- */

/* How many times as large an axis becomes; 0: no whole number of times. Unknown ones are asked of the layer,
 * which then can only enlarge by a whole factor. */
static int64_t factor_of(const struct onnx_export *e, const struct op *op, int i) {
    const int64_t in = onnx_shape(e, op->in[0])->dim[1 + i], out = onnx_shape(e, op->out)->dim[1 + i];
    const struct layer *layer = &e->graph->layer[e->graph->node[op->node].layer];
    if (in > 0 && out > 0) return out % in ? 0 : out / in;
    if (!layer_has_attr(layer, "size")) return 0;
    const struct attr *size = layer_attr(layer, "size");
    if (layer->kind->spatial == 1) return i ? size->u.i : 1;
    return size->u.ints.v[i];
}

/* Such that ONNX's floor(in * scale) is the size wanted. */
static float scale_of(int64_t in, int64_t out) {
    float scale = (float)out / (float)in;
    while ((int64_t)floorf((float)in * scale) < out) scale = nextafterf(scale, INFINITY);
    return scale;
}

static const char *resize_by(struct onnx_export *e, const char *x, float height, float width, bool linear,
                             bool whole) {
    const float scales[] = {1, 1, height, width};
    char name[300];
    snprintf(name, sizeof name, "%s/scales", x);
    const char *constant = onnx_graph_floats(e->onnx, name, &SHAPE(4), scales, false);
    /* Of whole factors "asymmetric" and "floor" take the same pixels, and are what is fast. */
    return onnx_graph_node(e->onnx, "Resize", ONNX_IN(x, "", constant),
                           ONNX_WITH(ONNX_STRING("mode", linear ? "linear" : "nearest"),
                                     ONNX_STRING("coordinate_transformation_mode",
                                                 linear || !whole ? "half_pixel" : "asymmetric"),
                                     ONNX_STRING("nearest_mode", whole ? "floor" : "round_prefer_ceil")));
}

/* The pixels that nearest takes, in the arithmetic of the engines. */
static const char *gather_axis(struct onnx_export *e, const char *x, int axis, int64_t in, int64_t out) {
    if (in == out) return x;
    float *places = onnx_graph_memory(e->onnx, 2 * out); /* room for integers */
    if (!places) return "";
    int64_t *place = (int64_t *)(void *)places;
    for (int64_t i = 0; i < out; i++) {
        place[i] = (int64_t)floorf(((float)i + 0.5f) * ((float)in / (float)out));
        if (place[i] > in - 1) place[i] = in - 1;
    }
    return onnx_graph_node(e->onnx, "Gather", ONNX_IN(x, onnx_graph_ints(e->onnx, "places", (int)out, place)),
                           ONNX_WITH(ONNX_INT("axis", axis)));
}

status onnx_emit_resize(struct onnx_export *e, const struct op *op) {
    const int64_t *in = onnx_shape(e, op->in[0])->dim, *out = onnx_shape(e, op->out)->dim;
    const int64_t factor[2] = {factor_of(e, op, 0), factor_of(e, op, 1)};
    const bool linear = op->u.resize.kind == RESIZE_BILINEAR, whole = factor[0] && factor[1];
    const char *x = onnx_in(e, op->in[0], LAYOUT_FIRST);
    if (whole) {
        x = resize_by(e, x, (float)factor[0], (float)factor[1], linear, true);
    } else {
        if (in[1] < 0 || in[2] < 0 || out[1] < 0 || out[2] < 0) return onnx_refuse_unknown(e, op);
        if (linear) x = resize_by(e, x, scale_of(in[1], out[1]), scale_of(in[2], out[2]), true, false);
        else x = gather_axis(e, gather_axis(e, x, 2, in[1], out[1]), 3, in[2], out[2]);
    }
    onnx_set(e, op->out, LAYOUT_FIRST, x);
    return SUCCESS;
}
