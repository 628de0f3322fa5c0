/* Recurrent layers step by step: with masks, the states of LSTM cells at every step, and any functions.
 * Private to io/onnx/. */
#ifndef GODWIT_IO_ONNX_UNROLLED_H
#define GODWIT_IO_ONNX_UNROLLED_H

#include "io/onnx/emit.h"

/* More steps than these would make files that nobody wants. */
#define UNROLLED_MAX 1024

/* UNSUPPORTED error if the number of steps is not known or more than UNROLLED_MAX. */
onnx_emit onnx_emit_unrolled;

#endif
