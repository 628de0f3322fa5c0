/* All kinds of targets, in the order in which they are applied.
 *
 * To add one: write coordinator/targets/<name>.c, which defines `const struct target_kind target_<name>`, and
 * add X(<name>) below; its fields in the configuration are lines of struct target_config (io/config.h) and of
 * its table in io/config_schema.c. Start from topology.c (gives the graph), depth.c (changes it), width.c
 * (numbers of channels) or precision.c (weights). */
#include "coordinator/target_kind.h"

#include <math.h>

#define TARGET_KINDS(X)                                                                                      \
    X(topology)                                                                                              \
    X(depth)                                                                                                 \
    X(replace)                                                                                               \
    X(rank)                                                                                                  \
    X(head)                                                                                                  \
    X(width)                                                                                                 \
    X(precision)

#define DECLARE(name) extern const struct target_kind target_##name;
TARGET_KINDS(DECLARE)
#undef DECLARE

static const struct target_kind *const kinds[] = {
#define POINTER(name) &target_##name,
    TARGET_KINDS(POINTER)
#undef POINTER
};

int target_kind_count(void) {
    return (int)(sizeof kinds / sizeof *kinds);
}

const struct target_kind *target_kind_at(int i) {
    return kinds[i];
}

int target_scaled(int width, double factor) {
    int kept = (int)lround(factor * width);
    return kept > width ? width : kept < 1 ? 1 : kept;
}
