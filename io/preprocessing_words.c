/* Preprocessing as it is said in a command line: words "key=value", with commas between them. */
#include "io/preprocessing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char preprocessing_words[] =
    "crop=centre (the middle, of the input's aspect), crop=none (all, squeezed) or crop=X:Y:WIDTH:HEIGHT; "
    "size=HEIGHTxWIDTH or size=own, where the model takes any; resize=smooth, bilinear, area or nearest; "
    "colour=grey, rgb or model; scale=S, offset=O, mean=M, std=S, the last two for all channels or one "
    "for each, 0.485:0.456:0.406: an input is (pixel * scale + offset - mean) / std";

bool preprocessing_fill(struct preprocessing *p, int nmean, int nstd) {
    if (nmean > 1 && nstd > 1 && nmean != nstd) return false;
    p->nmean = nmean > nstd ? nmean : nstd;
    for (int c = 0; c < p->nmean; c++) {
        if (nmean <= c) p->mean[c] = nmean ? p->mean[0] : 0;
        if (nstd <= c) p->std[c] = nstd ? p->std[0] : 1;
    }
    return true;
}

/* Up to `most` numbers with `between` between them; 0: it is something else. */
static int numbers(const char *text, char between, int most, double low, double high, double *value) {
    for (int n = 0; n < most;) {
        char *end;
        value[n] = strtod(text, &end);
        if (end == text || !(value[n] >= low && value[n] <= high)) return 0;
        n++;
        if (!*end) return n;
        if (*end != between) return 0;
        text = end + 1;
    }
    return 0;
}

/* Number of the word in a list that ends in NULL; -1: it is none. */
static int one_of(const char *text, const char *const *words) {
    for (int i = 0; words[i]; i++)
        if (!strcmp(text, words[i])) return i;
    return -1;
}

static bool take_crop(struct preprocessing *p, const char *text) {
    static const char *const words[] = {"centre", "none", NULL};
    static const enum preprocessing_crop kinds[] = {CROP_CENTRE, CROP_NONE};
    double box[4];
    int word = one_of(text, words);
    if (word >= 0) {
        p->crop = kinds[word];
        return true;
    }
    if (numbers(text, ':', 4, 0, IMAGE_MAX_SIDE, box) != 4 || box[2] < 1 || box[3] < 1) return false;
    p->crop = CROP_BOX;
    for (int i = 0; i < 4; i++) {
        p->box[i] = (int64_t)box[i];
        if ((double)p->box[i] != box[i]) return false;
    }
    return true;
}

static bool take_size(struct preprocessing *p, const char *text) {
    double size[2] = {0};
    bool own = !strcmp(text, "own");
    if (!own && numbers(text, 'x', 2, 1, IMAGE_MAX_SIDE, size) != 2) return false;
    for (int i = 0; i < 2; i++) {
        p->size[i] = (int64_t)size[i];
        if ((double)p->size[i] != size[i]) return false;
    }
    return true;
}

static bool take_resize(struct preprocessing *p, const char *text) {
    static const char *const words[] = {"smooth", "bilinear", "area", "nearest", NULL};
    int word = one_of(text, words);
    if (word >= 0) p->filter = (enum image_filter)word;
    return word >= 0;
}

static bool take_colour(struct preprocessing *p, const char *text) {
    static const char *const words[] = {"model", "grey", "rgb", NULL};
    int word = one_of(text, words);
    if (word >= 0) p->colour = (enum preprocessing_colour)word;
    return word >= 0;
}

static bool take_scale(struct preprocessing *p, const char *text) {
    return numbers(text, ':', 1, -1e30, 1e30, &p->scale) == 1 && p->scale != 0;
}

static bool take_offset(struct preprocessing *p, const char *text) {
    return numbers(text, ':', 1, -1e30, 1e30, &p->offset) == 1;
}

static bool take_mean(struct preprocessing *p, const char *text) {
    int had = p->nmean, n = numbers(text, ':', PREPROCESSING_CHANNELS, -1e30, 1e30, p->mean);
    return n && preprocessing_fill(p, n, had);
}

static bool take_std(struct preprocessing *p, const char *text) {
    int had = p->nmean, n = numbers(text, ':', PREPROCESSING_CHANNELS, 1e-30, 1e30, p->std);
    return n && preprocessing_fill(p, had, n);
}

static const struct {
    const char *key;
    bool (*take)(struct preprocessing *p, const char *text);
} word_kinds[] = {{"crop", take_crop},     {"size", take_size},   {"resize", take_resize},
                  {"colour", take_colour}, {"scale", take_scale}, {"offset", take_offset},
                  {"mean", take_mean},     {"std", take_std}};

/* One word; it is changed. */
static bool take_word(struct preprocessing *p, char *word) {
    char *equals = strchr(word, '=');
    for (size_t i = 0; equals && i < sizeof word_kinds / sizeof *word_kinds; i++) {
        size_t length = strlen(word_kinds[i].key);
        if (length == (size_t)(equals - word) && !strncmp(word, word_kinds[i].key, length))
            return word_kinds[i].take(p, equals + 1);
    }
    return false;
}

status preprocessing_change(struct preprocessing *preprocessing, const char *words) {
    struct preprocessing changed = *preprocessing;
    char *copy = strdup(words), *rest = copy;
    if (!copy) return status_no_memory("preprocessing", strlen(words));
    status error = SUCCESS;
    for (char *word = strsep(&rest, ","); word && !error; word = strsep(&rest, ","))
        if (!take_word(&changed, word))
            error = status_fail(STATUS_USAGE, "preprocessing: \"%s\" is not understood; there are: %s", word,
                                preprocessing_words);
    free(copy);
    if (!error) *preprocessing = changed;
    return error;
}
