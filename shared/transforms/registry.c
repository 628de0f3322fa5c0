/* All transforms.
 *
 * To add one: write shared/transforms/<name>.c, which defines `const struct transform transform_<name>`, and
 * add X(<name>) below. Start from one that resembles it: arithmetic.c (element by element), concat.c (rows of
 * its arguments), normalize.c (numbers of all of the argument first), transpose.c (all of the argument at
 * once). Then give it a case in tests/worker/test_transforms.c. docs/program.md has the table that `godwit
 * help program` prints. */
#include "shared/nearest.h"
#include "shared/transform.h"

#include <string.h>

#define TRANSFORMS(X)                                                                                        \
    X(cast)                                                                                                  \
    X(concat)                                                                                                \
    X(fold_bn)                                                                                               \
    X(fold_bn_bias)                                                                                          \
    X(index)                                                                                                 \
    X(init)                                                                                                  \
    X(low_rank)                                                                                              \
    X(normalize)                                                                                             \
    X(offset)                                                                                                \
    X(project)                                                                                               \
    X(quantize)                                                                                              \
    X(refit)                                                                                                 \
    X(reshape)                                                                                               \
    X(scale)                                                                                                 \
    X(separable)                                                                                             \
    X(source)                                                                                                \
    X(transpose)

#define DECLARE(name) extern const struct transform transform_##name;
TRANSFORMS(DECLARE)
#undef DECLARE

static const struct transform *const transforms[] = {
#define POINTER(name) &transform_##name,
    TRANSFORMS(POINTER)
#undef POINTER
};

int transform_count(void) {
    return (int)(sizeof transforms / sizeof *transforms);
}

const struct transform *transform_at(int i) {
    return transforms[i];
}

const struct transform *transform_find(const char *name) {
    for (int i = 0; i < transform_count(); i++)
        if (!strcmp(transforms[i]->name, name)) return transforms[i];
    return NULL;
}

const char *transform_nearest(const char *name) {
    const char *names[sizeof transforms / sizeof *transforms];
    for (int i = 0; i < transform_count(); i++) names[i] = transforms[i]->name;
    return nearest_word(name, names, transform_count());
}

int transform_choice(const char *choices, const char *word) {
    size_t length = strlen(word);
    for (int i = 0;; i++) {
        size_t n = strcspn(choices, "|");
        if (n == length && !strncmp(choices, word, n)) return i;
        if (!choices[n]) return -1;
        choices += n + 1;
    }
}
