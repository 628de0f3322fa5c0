/* Replace: convolutions by separable ones: "replace": ["conv_3 SeparableConv2D", "conv_4 SeparableConv2D 2"],
 * the number the depth multiplier; or "* SeparableConv2D": all that read at least as many channels as the
 * window has positions (the first layer of an image seldom does, and has little to gain) and get smaller. */
#include "coordinator/target_kind.h"

#include <stdlib.h>
#include <string.h>

struct replacement {
    char layer[256], class_name[64];
    int64_t multiplier;
};

static status bad_text(const char *text) {
    return status_fail(STATUS_USAGE,
                       "target.replace: \"%.80s\" is no layer's name (or *), the class that takes its place "
                       "(SeparableConv2D) and perhaps a depth multiplier",
                       text);
}

/* From the end, as names may have spaces. */
static status parse(const char *text, struct replacement *r) {
    size_t length = strlen(text);
    const char *last = strrchr(text, ' ');
    char *end = NULL;
    r->multiplier = 1;
    if (last && last[1] >= '0' && last[1] <= '9') {
        r->multiplier = strtoll(last + 1, &end, 10);
        if (*end || r->multiplier < 1) return bad_text(text);
        length = (size_t)(last - text);
    }
    last = memrchr(text, ' ', length);
    size_t name = last ? (size_t)(last - text) : 0, class_name = last ? length - name - 1 : 0;
    if (!name || !class_name || name >= sizeof r->layer || class_name >= sizeof r->class_name)
        return bad_text(text);
    memcpy(r->layer, text, name);
    memcpy(r->class_name, last + 1, class_name);
    r->layer[name] = r->class_name[class_name] = 0;
    return SUCCESS;
}

static int64_t window_of(const struct layer *layer, int64_t *channels, int64_t *outputs) {
    const struct shape *s = &layer->weight[0].shape;
    int64_t window = 1;
    for (int i = 0; i < s->rank - 2; i++) window *= s->dim[i];
    *channels = s->dim[s->rank - 2];
    *outputs = s->dim[s->rank - 1];
    return window;
}

/* Is it worth it, where all are meant? */
static bool gains(const struct layer *layer, int64_t multiplier) {
    int64_t channels, outputs, window = window_of(layer, &channels, &outputs);
    return channels >= window && multiplier * (window + outputs) < window * outputs;
}

static bool counts(const struct graph *g, int layer) {
    return skeleton_separable(&g->layer[layer]) != NULL;
}

static status no_layer(const struct graph *folded, const char *name) {
    const char *near = graph_nearest_layer(folded, counts, name);
    return status_fail(STATUS_USAGE, "target.replace: there is no layer \"%.80s\"%s%s%s", name,
                       near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static status check_layer(const struct layer *layer, const struct replacement *r) {
    const struct layer_kind *kind = skeleton_separable(layer);
    int64_t channels, outputs;
    if (!kind || strcmp(kind->class_name, r->class_name) != 0)
        return status_fail(STATUS_USAGE, "target.replace: layer \"%s\" (%s) cannot become a %.60s%s%s",
                           layer->name, layer->kind->class_name, r->class_name,
                           kind ? "; it can become a " : "", kind ? kind->class_name : "");
    int64_t window = window_of(layer, &channels, &outputs);
    if (r->multiplier > window)
        return status_fail(STATUS_USAGE,
                           "target.replace: the window of \"%s\" has %lld positions; a larger multiplier "
                           "gains nothing",
                           layer->name, (long long)window);
    return SUCCESS;
}

static bool is_meant(const struct layer *layer, const struct replacement *r, bool all) {
    const struct layer_kind *kind = skeleton_separable(layer);
    if (!all) return !strcmp(layer->name, r->layer);
    return kind && !strcmp(kind->class_name, r->class_name) && gains(layer, r->multiplier);
}

static status replace(const struct graph *folded, const struct replacement *r, struct edit *edit) {
    bool all = !strcmp(r->layer, "*");
    int layer = all ? -1 : graph_find_layer(folded, r->layer);
    if (!all && layer < 0) return no_layer(folded, r->layer);
    if (!all) STATUS_TRY(check_layer(&folded->layer[layer], r));
    for (int i = 0; i < folded->nnodes; i++)
        if (edit[i].kind == EDIT_KEEP && is_meant(&folded->layer[folded->node[i].layer], r, all))
            edit[i] = (struct edit){.kind = EDIT_SEPARATE, .width = r->multiplier};
    return SUCCESS;
}

/* Those that are named first, so that "*" means the others. */
static status edit(const struct target_config *config, const struct graph *folded, struct edit *edit) {
    for (int all = false; all <= true; all++)
        for (int i = 0; i < config->nreplace; i++) {
            struct replacement r;
            STATUS_TRY(parse(config->replace[i], &r));
            if ((strcmp(r.layer, "*") == 0) == all) STATUS_TRY(replace(folded, &r, edit));
        }
    return SUCCESS;
}

const struct target_kind target_replace = {.edit = edit};
