/* Recurrent layers: by ONNX's own operators. */
#include "io/onnx/emit.h"

#include <string.h>

status onnx_emit_recurrent(struct onnx_export *e, const struct op *op) {
    return onnx_refuse(e, op, "recurrence");
}
