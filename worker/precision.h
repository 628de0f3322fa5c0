/* At what precision a model is run. */
#ifndef GODWIT_WORKER_PRECISION_H
#define GODWIT_WORKER_PRECISION_H

#include "io/quantization.h"
#include "worker/engine.h"

#define PRECISION_NAMES "auto, float32, bfloat16 or int8"

/* Is `name` one of PRECISION_NAMES? */
bool precision_is_name(const char *name);

/* For `wanted` "auto" or NULL: what the model says (io/quantization.h), if the engine is faster so on this
 * processor, or else float32. For another: that; an engine that has no such arithmetic computes in float32.
 * *chosen holds the ranges that int8 needs and is to be cleared. Errors: USAGE (no such precision), DATA
 * (int8 of a model that does not say what its values lie between). */
status precision_choose(const char *wanted, const struct model *model, const struct engine *engine,
                        struct quantization *chosen) STATUS_MUST_USE;

#endif
