#include "shared/projection.h"

void projection_widen(int64_t n, const float *x, int64_t more, float *out) {
    for (int64_t j = 0; j < more; j++) {
        int64_t a = j % n, b = (a + j / n) % n;
        out[j] = j < n ? x[j] : x[a] - (a == b ? 0 : x[b]);
    }
}
