/* Channels of which there are more than the source has. */
#ifndef GODWIT_SHARED_PROJECTION_H
#define GODWIT_SHARED_PROJECTION_H

#include <stdint.h>

/* x [n] to out [more], more >= n: the channels, then differences of two of them, each time others. */
void projection_widen(int64_t n, const float *x, int64_t more, float *out);

#endif
