/* Layers: a kind, a name, attribute values. */
#include "shared/layer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static status layer_alloc(const struct layer_kind *kind, const char *name, struct layer *layer) {
    *layer = (struct layer){.kind = kind, .trainable = true, .name = strdup(name)};
    layer->attr = calloc(kind->nattrs ? (size_t)kind->nattrs : 1, sizeof *layer->attr);
    if (layer->name && layer->attr) return SUCCESS;
    layer_clear(layer);
    return status_no_memory("layer", (size_t)kind->nattrs * sizeof *layer->attr);
}

status layer_create(const struct layer_kind *kind, const char *name, struct layer *layer) {
    STATUS_TRY(layer_alloc(kind, name, layer));
    for (int i = 0; i < kind->nattrs; i++) {
        if (!kind->attrs[i].initial) continue;
        status error = attr_parse(&kind->attrs[i], kind->attrs[i].initial, &layer->attr[i]);
        if (error) {
            layer_clear(layer);
            return error;
        }
    }
    return SUCCESS;
}

status layer_copy(const struct layer *from, const char *name, struct layer *to) {
    const struct layer_kind *kind = from->kind;
    STATUS_TRY(layer_alloc(kind, name, to));
    for (int i = 0; i < kind->nattrs; i++) {
        status error = attr_copy(&kind->attrs[i], &from->attr[i], &to->attr[i]);
        if (error) {
            layer_clear(to);
            return error;
        }
    }
    to->trainable = from->trainable;
    to->nweights = from->nweights;
    memcpy(to->weight, from->weight, sizeof to->weight);
    return SUCCESS;
}

void layer_clear(struct layer *layer) {
    if (layer->attr)
        for (int i = 0; i < layer->kind->nattrs; i++) attr_clear(&layer->kind->attrs[i], &layer->attr[i]);
    free(layer->attr);
    free(layer->name);
    *layer = (struct layer){0};
}

bool layer_equal(const struct layer *a, const struct layer *b) {
    if (a->kind != b->kind) return false;
    for (int i = 0; i < a->kind->nattrs; i++)
        if (!attr_equal(&a->kind->attrs[i], &a->attr[i], &b->attr[i])) return false;
    return true;
}

static int attr_index(const struct layer_kind *kind, const char *name) {
    for (int i = 0; i < kind->nattrs; i++)
        if (!strcmp(kind->attrs[i].name, name)) return i;
    return -1;
}

struct attr *layer_attr(const struct layer *layer, const char *name) {
    int i = attr_index(layer->kind, name);
    if (i < 0) {
        fprintf(stderr, "layer kind %s has no attribute \"%s\"\n", layer->kind->class_name, name);
        abort();
    }
    return &layer->attr[i];
}

bool layer_has_attr(const struct layer *layer, const char *name) {
    return attr_index(layer->kind, name) >= 0;
}

status layer_check(const struct layer *layer) {
    for (int i = 0; i < layer->kind->nattrs; i++)
        STATUS_TRY(attr_check(&layer->kind->attrs[i], &layer->attr[i]));
    return layer->kind->check ? layer->kind->check(layer) : SUCCESS;
}
