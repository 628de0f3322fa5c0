/* Stands in a graph for a layer whose class is not known, where a model is only looked at. */
#include "io/keras.h"
#include "io/keras/topology_layer.h"

static const struct attr_spec attrs[] = {{.name = "class_name", .type = ATTR_STRING, .initial = "null"}};

static status refuse(const struct layer *layer) {
    (void)layer;
    return status_fail(STATUS_UNSUPPORTED, "is of an unknown class");
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    (void)in, (void)nin, (void)out, (void)nout;
    return refuse(layer);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    (void)lowering;
    return refuse(layer);
}

static const struct layer_kind unknown = {.class_name = "?",
                                          .attrs = attrs,
                                          .nattrs = 1,
                                          .min_inputs = 0,
                                          .max_inputs = -1,
                                          .check = refuse,
                                          .infer = infer,
                                          .lower = lower};

status topology_unknown_create(const char *class_name, const char *name, struct layer *layer) {
    STATUS_TRY(layer_create(&unknown, name, layer));
    status error = attr_parse(&attrs[0], class_name, &layer->attr[0]);
    if (error) layer_clear(layer);
    return error;
}

const char *keras_class_name(const struct layer *layer) {
    return layer->kind == &unknown && layer->attr[0].present ? layer->attr[0].u.s : layer->kind->class_name;
}
