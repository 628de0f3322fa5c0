#include "io/onnx/emit.h"

const struct shape *onnx_shape(const struct onnx_export *e, int value) {
    return &e->ops->value[value];
}

int onnx_axis(int rank, enum layout layout, int axis) {
    if (layout == LAYOUT_LAST || rank < 3 || axis == 0) return axis;
    return axis == rank - 1 ? 1 : axis + 1;
}

/* Which axis of the value is axis `axis` there. */
static int axis_from(int rank, enum layout layout, int axis) {
    if (layout == LAYOUT_LAST || rank < 3 || axis == 0) return axis;
    return axis == 1 ? rank - 1 : axis - 1;
}

struct shape onnx_layout_shape(const struct shape *shape, enum layout layout) {
    struct shape s = *shape;
    for (int i = 0; i < s.rank; i++) s.dim[i] = shape->dim[axis_from(s.rank, layout, i)];
    return s;
}

bool onnx_has(const struct onnx_export *e, int value, enum layout layout) {
    return e->value[value].name[layout];
}

void onnx_set(struct onnx_export *e, int value, enum layout layout, const char *name) {
    e->value[value].name[layout] = name;
    if (onnx_shape(e, value)->rank < 3) e->value[value].name[!layout] = name;
}

/* Is there one channel only, or one place only, so that no element moves? */
static bool moves_nothing(const struct shape *shape) {
    if (shape->dim[shape->rank - 1] == 1) return true;
    for (int i = 1; i < shape->rank - 1; i++)
        if (shape->dim[i] != 1) return false;
    return true;
}

/* The value, which is there in the other layout, in this one: by a Reshape where no element moves. */
static const char *relayout(struct onnx_export *e, int value, enum layout layout) {
    const struct shape *shape = onnx_shape(e, value);
    const char *from = e->value[value].name[!layout];
    int64_t axis[SHAPE_MAX_RANK];
    if (moves_nothing(shape) && shape_sample_count(shape) > 0) {
        const struct shape to = onnx_layout_shape(shape, layout);
        for (int i = 0; i < to.rank; i++) axis[i] = i ? to.dim[i] : 0;
        return onnx_graph_node(e->onnx, "Reshape",
                               ONNX_IN(from, onnx_graph_ints(e->onnx, "shape", to.rank, axis)), ONNX_PLAIN);
    }
    for (int i = 0; i < shape->rank; i++)
        axis[i] = layout == LAYOUT_FIRST ? axis_from(shape->rank, LAYOUT_FIRST, i)
                                         : onnx_axis(shape->rank, LAYOUT_FIRST, i);
    return onnx_graph_node(e->onnx, "Transpose", ONNX_IN(from),
                           ONNX_WITH(ONNX_INTS("perm", shape->rank, axis)));
}

const char *onnx_in(struct onnx_export *e, int value, enum layout layout) {
    if (!onnx_has(e, value, layout)) onnx_set(e, value, layout, relayout(e, value, layout));
    return e->value[value].name[layout];
}

enum layout onnx_common_layout(const struct onnx_export *e, const struct op *op) {
    for (int i = 0; i < op->nin; i++)
        if (!onnx_has(e, op->in[i], LAYOUT_LAST)) return LAYOUT_FIRST;
    return LAYOUT_LAST;
}

status onnx_target(struct onnx_export *e, const struct shape *from, const struct shape *to,
                   const char **constant) {
    int64_t dim[SHAPE_MAX_RANK];
    int left_over = 0;
    for (int i = 0; i < to->rank; i++) {
        const bool same = i < from->rank && from->dim[i] == SHAPE_UNKNOWN;
        dim[i] = to->dim[i];
        if (to->dim[i] != SHAPE_UNKNOWN) continue;
        /* Without an axis before that changes, the axis is the input's. */
        bool kept = same;
        for (int k = 0; k < i && kept; k++) kept = from->dim[k] == to->dim[k];
        dim[i] = kept ? 0 : -1;
        left_over += !kept;
    }
    if (left_over > 1)
        return status_fail(STATUS_UNSUPPORTED, "its shape depends on dimensions of the input that are not "
                                               "known; give them with --shape");
    *constant = onnx_graph_ints(e->onnx, "shape", to->rank, dim);
    return SUCCESS;
}
