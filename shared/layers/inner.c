#include "shared/layers/inner.h"

#include <stdio.h>
#include <string.h>

struct layer *inner_layer(const struct layer *layer, const char *attr) {
    const struct attr *a = layer_attr(layer, attr);
    return a->present ? a->u.layer : NULL;
}

status inner_check(const struct layer *inner) {
    return status_context(layer_check(inner), "inner layer \"%s\" (%s)", inner->name,
                          inner->kind->class_name);
}

/* Names of weights are borrowed from the kinds, so those with a prefix are kept here. */
static const char *prefixed(const char *prefix, const char *name) {
#define NAMES(before) before "kernel", before "recurrent_kernel", before "bias"
#define CELLS(before)                                                                                        \
    NAMES(before "cell0/"), NAMES(before "cell1/"), NAMES(before "cell2/"), NAMES(before "cell3/"),          \
        NAMES(before "cell4/")
    static const char *const names[] = {NAMES("forward/"), NAMES("backward/"), CELLS(""), CELLS("forward/"),
                                        CELLS("backward/")};
#undef CELLS
#undef NAMES
    size_t length = strlen(prefix);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strncmp(names[i], prefix, length) && !strcmp(names[i] + length, name)) return names[i];
    return NULL;
}

status inner_weights(const struct layer *inner, const char *path, const char *prefix, const struct shape *in,
                     int nin, struct weight *weight, int *nweights) {
    struct weight own[LAYER_MAX_WEIGHTS];
    int n = 0;
    if (inner->kind->weights) STATUS_TRY(inner->kind->weights(inner, in, nin, own, &n));
    if (n > LAYER_MAX_WEIGHTS - *nweights)
        return status_fail(STATUS_UNSUPPORTED, "its inner layers have more than %d weights",
                           LAYER_MAX_WEIGHTS);
    for (int i = 0; i < n; i++) {
        struct weight *w = &weight[*nweights];
        *w = own[i];
        w->trainable = own[i].trainable && inner->trainable;
        if (prefix) w->name = prefixed(prefix, own[i].name);
        if (!w->name)
            return status_fail(STATUS_INTERNAL, "weight \"%s\" has no name with %s", own[i].name, prefix);
        int length = snprintf(w->path, sizeof w->path, "%s%s%s", path, *path && own[i].path[0] ? "/" : "",
                              own[i].path);
        if (length >= (int)sizeof w->path)
            return status_fail(STATUS_UNSUPPORTED, "layers are inside layers too deeply");
        ++*nweights;
    }
    return SUCCESS;
}

void inner_hide_outputs(struct weight *weight, int n) {
    for (int i = 0; i < n; i++) {
        if (weight[i].feedback) weight[i].in_axis = -1;
        weight[i].feedback = false;
        weight[i].out_axis = -1;
        weight[i].blocks = 0;
    }
}

status inner_lower(const struct layer *inner, const struct lowering *outer, int nin, const int *in,
                   const int *mask, const int *param, struct lowering *result) {
    *result = (struct lowering){.graph = outer->graph,
                                .node = outer->node,
                                .keras_version = outer->keras_version,
                                .nin = nin,
                                .in = in,
                                .mask = mask,
                                .param = param};
    return layer_lower(inner, result);
}
