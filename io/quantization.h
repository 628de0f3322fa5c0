/* What a model says of running in less than full precision: kept in its "preprocessing" JSON, which says how
 * the model is used, as {"quantization": {"precision": "int8", "ranges": {"<layer>": [[low, high], ...]}}}. A
 * layer's list has what each of the operations of its calls gives, in order; an input layer's has the input.
 * Ranges are there for int8 only. */
#ifndef GODWIT_IO_QUANTIZATION_H
#define GODWIT_IO_QUANTIZATION_H

#include "io/model.h"

struct quantization {
    enum precision precision;
    struct value_range *range; /* [model->ops->nvalues], owned; NULL: none are known */
};

/* Of a model that says nothing, float32. Ranges of operations that the model does not know are NaN. Errors:
 * DATA. */
status quantization_read(const struct model *model, struct quantization *quantization) STATUS_MUST_USE;
void quantization_clear(struct quantization *quantization);

/* Puts it into the model's JSON, in the place of what was there; float32 removes it. */
status quantization_write(struct model *model, const struct quantization *quantization) STATUS_MUST_USE;

#endif
