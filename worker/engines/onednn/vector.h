/* Vectors of 16 floats, whatever the processor has: the compiler splits them where it has shorter ones. */
#ifndef GODWIT_WORKER_ENGINES_ONEDNN_VECTOR_H
#define GODWIT_WORKER_ENGINES_ONEDNN_VECTOR_H

#include <stdint.h>

typedef float v16 __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t i16 __attribute__((vector_size(64), aligned(4), may_alias));

#endif
