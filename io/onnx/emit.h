/* From operations to ONNX's operators. Private to io/onnx/.
 *
 * ONNX's convolutions and poolings take channels first, Godwit's operations channels last. So a value may be
 * in the graph in two layouts: as it is, or with its channels (the last axis) moved behind the batch. Each
 * operation takes what suits it and gives what comes of that; a Transpose appears only where a value is
 * needed in the layout that it does not have, once. */
#ifndef GODWIT_IO_ONNX_EMIT_H
#define GODWIT_IO_ONNX_EMIT_H

#include "io/model.h"
#include "io/onnx/onnx_graph.h"

enum layout { LAYOUT_LAST, LAYOUT_FIRST };

struct onnx_value {
    const char *name[2]; /* in each layout; NULL: not there */
};

struct onnx_export {
    const struct graph *graph;
    const struct opgraph *ops; /* without what no output needs */
    const struct params *params;
    struct onnx_graph *onnx;
    struct onnx_value *value; /* [ops->nvalues] */
    const char **constant;    /* [ops->nparams] the parameter as it was last made a constant; NULL: never */
    int *constant_form;       /* [ops->nparams] and in which form, see onnx_param_moved() */
};

/* ---- layout.c ---- */

const struct shape *onnx_shape(const struct onnx_export *e, int value);
/* Where axis `axis` of a value is in a layout, and the shape there. Of ranks below 3 both are the same. */
int onnx_axis(int rank, enum layout layout, int axis);
struct shape onnx_layout_shape(const struct shape *shape, enum layout layout);

bool onnx_has(const struct onnx_export *e, int value, enum layout layout);
/* The value in a layout, transposed if need be. */
const char *onnx_in(struct onnx_export *e, int value, enum layout layout);
void onnx_set(struct onnx_export *e, int value, enum layout layout, const char *name);
/* The layout in which an operation on single elements, whose inputs are of one rank, is done: channels first
 * if an input is there in no other way. */
enum layout onnx_common_layout(const struct onnx_export *e, const struct op *op);

/* A shape as a constant for Reshape, the batch and other unknown dimensions as 0 where they are the input's
 * own. UNSUPPORTED error if it depends on dimensions that are not known. */
status onnx_target(struct onnx_export *e, const struct shape *from, const struct shape *to,
                   const char **constant) STATUS_MUST_USE;

/* ---- parameters: constants.c ---- */

const float *onnx_param_values(const struct onnx_export *e, int param);
const struct shape *onnx_param_shape(const struct onnx_export *e, int param);
/* A parameter as it is, or in another shape of as many elements. */
const char *onnx_param(struct onnx_export *e, int param, const struct shape *shape);
/* The same with its axes in the order axis[], then seen as `shape`. */
const char *onnx_param_moved(struct onnx_export *e, int param, const int *axis, const struct shape *shape);
/* The shape of a vector over the channels of a value of that rank and layout: (C) or (C,1,1). */
struct shape onnx_channel_shape(int rank, enum layout layout, int64_t channels);
/* A constant named after a parameter, "layer/weight". */
const char *onnx_param_name(const struct onnx_export *e, int param, char *name, size_t room);

/* ---- operations ---- */

/* UNSUPPORTED error naming the layer: `what` is what ONNX lacks. */
status onnx_refuse(const struct onnx_export *e, const struct op *op, const char *what) STATUS_MUST_USE;
/* The same for what depends on heights, widths or lengths that are not known. */
status onnx_refuse_unknown(const struct onnx_export *e, const struct op *op) STATUS_MUST_USE;

/* An activation function of a value; "linear" gives the value itself. */
const char *onnx_function(struct onnx_graph *g, const struct activation_function *f, const char *x);

/* Each puts an operation into the graph and sets its output's name. */
typedef status onnx_emit(struct onnx_export *e, const struct op *op);
onnx_emit onnx_emit_conv, onnx_emit_conv_transpose, onnx_emit_pool, onnx_emit_resize;   /* emit_window.c */
onnx_emit onnx_emit_activation, onnx_emit_binary, onnx_emit_affine, onnx_emit_scale;    /* emit_elements.c */
onnx_emit onnx_emit_prelu, onnx_emit_batch_norm, onnx_emit_identity;                    /* likewise */
onnx_emit onnx_emit_concat, onnx_emit_pad, onnx_emit_slice, onnx_emit_transpose;        /* emit_axes.c */
onnx_emit onnx_emit_reshape, onnx_emit_reduce, onnx_emit_softmax;                       /* likewise */
onnx_emit onnx_emit_dense, onnx_emit_matmul, onnx_emit_layer_norm, onnx_emit_embedding; /* emit_product.c */
onnx_emit onnx_emit_recurrent;                                                          /* emit_recurrent.c */

#endif
