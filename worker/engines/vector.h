/* The processor's vectors of floats, by the compiler's vector extension. */
#ifndef GODWIT_WORKER_ENGINES_VECTOR_H
#define GODWIT_WORKER_ENGINES_VECTOR_H

#include <stdint.h>

#if defined(__AVX512F__)
#define VEC 16 /* floats of a vector; divides 16 */
#elif defined(__AVX__)
#define VEC 8
#else
#define VEC 4
#endif

/* May be loaded from and stored to any float array. */
typedef float vec __attribute__((vector_size(4 * VEC), aligned(4), may_alias));
typedef int32_t veci __attribute__((vector_size(4 * VEC), aligned(4), may_alias));

#endif
