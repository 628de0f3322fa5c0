#include "shared/layers/margin.h"

#include <inttypes.h>

#define MARGIN_MAX 32768

status margin_read(const struct layer *layer, const char *attr, struct margin *margin) {
    int n = layer_attr(layer, attr)->u.ints.n;
    const int64_t *v = layer_attr(layer, attr)->u.ints.v;
    bool sequence = layer->kind->spatial == 1;
    if (n != 1 && n != 2 && (n != 4 || sequence))
        return status_fail(STATUS_DATA, "attribute \"%s\" has %d numbers; it takes %s", attr, n,
                           sequence ? "1 or 2" : "1, 2 or 4");
    for (int i = 0; i < n; i++)
        if (v[i] < 0 || v[i] > MARGIN_MAX)
            return status_fail(STATUS_DATA, "attribute \"%s\" has %" PRId64 "; it must be between 0 and %d",
                               attr, v[i], MARGIN_MAX);
    *margin = (struct margin){0};
    if (sequence) {
        margin->before[1] = (int)v[0];
        margin->after[1] = (int)v[n - 1];
        return SUCCESS;
    }
    for (int i = 0; i < 2; i++) {
        margin->before[i] = (int)(n == 4 ? v[2 * i] : v[n == 2 ? i : 0]);
        margin->after[i] = (int)(n == 4 ? v[2 * i + 1] : margin->before[i]);
    }
    return SUCCESS;
}
