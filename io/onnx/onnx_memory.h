/* Memory that is all given back at once: for the many small parts of an ONNX graph. Private to io/onnx/. */
#ifndef GODWIT_IO_ONNX_ONNX_MEMORY_H
#define GODWIT_IO_ONNX_ONNX_MEMORY_H

#include "shared/status.h"

#include <stddef.h>

struct onnx_memory;

status onnx_memory_create(struct onnx_memory **memory) STATUS_MUST_USE;
void onnx_memory_destroy(struct onnx_memory **memory); /* accepts NULL */

/* Zero-filled; NULL if there is none. */
void *onnx_memory_take(struct onnx_memory *memory, size_t count, size_t size);
char *onnx_memory_text(struct onnx_memory *memory, const char *text);

#endif
