/* Models as ONNX files: opset 17, float32, inputs and outputs named after their layers and shaped as Keras
 * shapes them. docs/export.md says which operations become which operators. */
#ifndef GODWIT_IO_ONNX_ONNX_H
#define GODWIT_IO_ONNX_ONNX_H

#include "io/model.h"

/* Complete or absent. Constants go into `path`.data beside it if all together they are more than a protobuf
 * message holds. Errors: IO, MEMORY, UNSUPPORTED naming the layer, for what ONNX's operators do not express
 * and for what depends on dimensions of the inputs that are not known (see model_set_inputs()). */
status onnx_write(const char *path, const struct model *model) STATUS_MUST_USE;
/* The same; constants go into the other file if they are more than `inline_max` bytes. */
status onnx_write_parts(const char *path, const struct model *model, int64_t inline_max) STATUS_MUST_USE;

/* Who computes what it writes: for struct exporter. */
status onnx_readers(const struct graph *graph, const char **text) STATUS_MUST_USE;

#endif
