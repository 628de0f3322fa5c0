#include "shared/nearest.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

#define LENGTH_MAX 63

static int fold(char c) {
    return c == '-' ? '_' : tolower((unsigned char)c);
}

static int least(int a, int b) {
    return a < b ? a : b;
}

/* Optimal string alignment distance of a[na] and b[nb], both at most LENGTH_MAX long. */
static int distance(const char *a, int na, const char *b, int nb) {
    int row[3][LENGTH_MAX + 1]; /* of i - 2, i - 1 and i, modulo 3 */
    for (int j = 0; j <= nb; j++) row[0][j] = j;
    for (int i = 1; i <= na; i++) {
        int *now = row[i % 3], *before = row[(i + 2) % 3], *twice = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= nb; j++) {
            int replace = before[j - 1] + (fold(a[i - 1]) != fold(b[j - 1]));
            now[j] = least(replace, least(before[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) && fold(a[i - 2]) == fold(b[j - 1]))
                now[j] = least(now[j], twice[j - 2] + 1);
        }
    }
    return row[na % 3][nb];
}

const char *nearest_word(const char *word, const char *const *words, int n) {
    size_t length = strlen(word);
    if (length == 0 || length > LENGTH_MAX) return NULL;
    const char *best = NULL;
    int best_distance = 0;
    for (int i = 0; i < n; i++) {
        size_t other = strlen(words[i]);
        if (other == 0 || other > LENGTH_MAX) continue;
        size_t shorter = length < other ? length : other, longer = length < other ? other : length;
        int d = distance(word, (int)length, words[i], (int)other);
        if (shorter >= 3 && strncasecmp(word, words[i], shorter) == 0) d = least(d, 2);
        if (d > least(3, ((int)longer + 2) / 3)) continue;
        if (best && d >= best_distance) continue;
        best = words[i];
        best_distance = d;
    }
    return best;
}
