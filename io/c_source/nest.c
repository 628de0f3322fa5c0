#include "io/c_source/nest.h"

#include <inttypes.h>
#include <string.h>

struct shape c_sample(const struct shape *shape) {
    struct shape sample = {.rank = shape->rank - 1};
    for (int i = 0; i < sample.rank; i++) sample.dim[i] = shape->dim[i + 1];
    return sample;
}

void c_strides(const struct shape *shape, int64_t *stride) {
    int64_t step = 1;
    for (int i = shape->rank - 1; i > 0; i--) {
        stride[i - 1] = step;
        step *= shape->dim[i];
    }
}

void c_broadcast(const struct shape *shape, const struct shape *to, int64_t *stride) {
    int64_t step = 1;
    for (int i = to->rank - 1; i >= 0; i--) {
        const int k = i - (to->rank - shape->rank);
        const int64_t dim = k >= 0 ? shape->dim[k] : 1;
        stride[i] = dim == 1 ? 0 : step;
        step *= dim;
    }
}

/* Does axis i + 1 go on where axis i makes a step, in all arrays? */
static bool joins(const struct c_nest *n, int i) {
    for (int a = 0; a < n->narrays; a++)
        if (n->stride[a][i] != n->stride[a][i + 1] * n->dim[i + 1]) return false;
    return true;
}

static void remove_axis(struct c_nest *n, int i) {
    n->rank--;
    for (int k = i; k < n->rank; k++) {
        n->dim[k] = n->dim[k + 1];
        for (int a = 0; a < n->narrays; a++) n->stride[a][k] = n->stride[a][k + 1];
    }
}

void c_nest_simplify(struct c_nest *n) {
    for (int i = n->rank - 1; i >= 0; i--)
        if (n->dim[i] == 1) remove_axis(n, i);
    for (int i = n->rank - 2; i >= 0; i--) {
        if (!joins(n, i)) continue;
        n->dim[i + 1] *= n->dim[i];
        remove_axis(n, i);
    }
}

void c_nest_open(struct c_text *t, const struct c_nest *n, char letter) {
    for (int i = 0; i < n->rank; i++)
        c_line(t, "for (int %c%d = 0; %c%d < %" PRId64 "; %c%d++) {", letter, i, letter, i, n->dim[i], letter,
               i);
}

void c_nest_close(struct c_text *t, const struct c_nest *n) {
    for (int i = 0; i < n->rank; i++) c_line(t, "}");
}

const char *c_nest_at(const struct c_nest *n, int array, char letter, char *buffer) {
    size_t used = 0;
    buffer[0] = 0;
    for (int i = 0; i < n->rank; i++) {
        const int64_t stride = n->stride[array][i];
        if (!stride) continue;
        const char *sign = stride < 0 ? used ? " - " : "-" : used ? " + " : "";
        const int64_t size = stride < 0 ? -stride : stride;
        used += (size_t)snprintf(buffer + used, 256 - used, size == 1 ? "%s%c%d" : "%s%c%d * %" PRId64, sign,
                                 letter, i, size);
    }
    const int64_t offset = n->offset[array];
    if (offset || !used)
        snprintf(buffer + used, 256 - used, "%s%" PRId64, used && offset >= 0 ? " + " : "", offset);
    return buffer;
}
