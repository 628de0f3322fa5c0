/* One layer: struct layer to JSON. */
#include "io/keras/topology_json.h"
#include "io/keras/topology_layer.h"

#include <cjson/cJSON.h>
#include <string.h>

static status no_memory(void) {
    return status_no_memory("a topology", 0);
}

/* A list, or a list of two pairs. */
static cJSON *write_ints(const struct attr_spec *spec, const struct attr *attr) {
    bool pairs = spec->pairs && attr->u.ints.n == 4;
    cJSON *list = cJSON_CreateArray();
    cJSON *pair = NULL;
    for (int i = 0; list && i < attr->u.ints.n; i++) {
        if (pairs && i % 2 == 0) {
            pair = cJSON_CreateArray();
            if (!cJSON_AddItemToArray(list, pair)) cJSON_Delete(pair), pair = NULL;
        }
        int64_t v = attr->u.ints.v[i];
        cJSON *item = spec->type == ATTR_SHAPE && v == SHAPE_UNKNOWN ? cJSON_CreateNull()
                                                                     : cJSON_CreateNumber((double)v);
        if (!cJSON_AddItemToArray(pairs ? pair : list, item)) {
            cJSON_Delete(item);
            cJSON_Delete(list);
            return NULL;
        }
    }
    return list;
}

/* Keras 2 knows one of Keras 3's functions under its older name only, which Keras 3 knows too. */
static const char *spelling(const struct attr_spec *spec, const char *value, enum topology_dialect dialect) {
    bool older = dialect == TOPOLOGY_COMMON && strstr(spec->name, "activation") && !strcmp(value, "silu");
    return older ? "swish" : value;
}

/* A layer in another: Keras 3 looks for its class in a module. */
static status write_inner(const struct layer *layer, enum topology_dialect dialect, cJSON **json) {
    STATUS_TRY(topology_layer_write(layer, dialect, json));
    if (dialect == TOPOLOGY_KERAS3 || cJSON_AddStringToObject(*json, "module", "keras.layers"))
        return SUCCESS;
    cJSON_Delete(*json);
    *json = NULL;
    return no_memory();
}

static status write_layers(const struct attr *attr, enum topology_dialect dialect, cJSON **json) {
    cJSON *list = cJSON_CreateArray();
    status error = list ? SUCCESS : no_memory();
    for (int i = 0; i < attr->u.layers.n && !error; i++) {
        cJSON *item = NULL;
        error = write_inner(&attr->u.layers.v[i], dialect, &item);
        if (error || cJSON_AddItemToArray(list, item)) continue;
        cJSON_Delete(item);
        error = no_memory();
    }
    if (error) cJSON_Delete(list);
    else *json = list;
    return error;
}

static status write_attr(const struct attr_spec *spec, const struct attr *attr, enum topology_dialect dialect,
                         cJSON **json) {
    cJSON *written = NULL;
    if (!attr->present) {
        written = cJSON_CreateNull();
    } else {
        switch (spec->type) {
        case ATTR_BOOL:
            written = cJSON_CreateBool(attr->u.b);
            break;
        case ATTR_INT:
            written = cJSON_CreateNumber((double)attr->u.i);
            break;
        case ATTR_FLOAT:
            written = cJSON_CreateNumber(attr->u.f);
            break;
        case ATTR_STRING:
            written = cJSON_CreateString(spelling(spec, attr->u.s, dialect));
            break;
        case ATTR_INTS:
        case ATTR_SHAPE:
            written = write_ints(spec, attr);
            break;
        case ATTR_FLOATS:
            written = attr->u.floats.n == 1 ? cJSON_CreateNumber(attr->u.floats.v[0])
                                            : cJSON_CreateDoubleArray(attr->u.floats.v, attr->u.floats.n);
            break;
        case ATTR_LAYER:
            STATUS_TRY(write_inner(attr->u.layer, dialect, &written));
            break;
        case ATTR_LAYERS:
            STATUS_TRY(write_layers(attr, dialect, &written));
            break;
        }
    }
    if (!written) return status_no_memory("a topology", 0);
    *json = written;
    return SUCCESS;
}

/* Is an attribute written? `key` is what it is called. */
static status is_written(const struct layer *layer, int i, enum topology_dialect dialect, bool *written) {
    const struct attr_spec *spec = &layer->kind->attrs[i];
    bool initial = false;
    *written = !spec->call;
    if (spec->call || spec->dialect == ATTR_EITHER) return SUCCESS;
    /* What not every Keras knows is written only if the model cannot do without it. */
    STATUS_TRY(topology_attr_is_initial(spec, &layer->attr[i], &initial));
    *written = !initial;
    if (*written && dialect == TOPOLOGY_KERAS3 && spec->dialect == ATTR_KERAS2_ONLY)
        return status_fail(STATUS_UNSUPPORTED,
                           "layer \"%.80s\" (%s): Keras 3 has no %s; write the model as .h5", layer->name,
                           layer->kind->class_name, spec->name);
    return SUCCESS;
}

static status write_config(const struct layer *layer, enum topology_dialect dialect, cJSON *config) {
    const struct layer_kind *kind = layer->kind;
    bool third = dialect == TOPOLOGY_KERAS3, input = kind->max_inputs == 0;
    if (!cJSON_AddStringToObject(config, "name", layer->name) ||
        (!input && !cJSON_AddBoolToObject(config, "trainable", layer->trainable)))
        return no_memory();
    if (!layer_has_attr(layer, "dtype")) {
        cJSON *dtype = third && !input ? topology_policy() : cJSON_CreateString("float32");
        if (!cJSON_AddItemToObject(config, "dtype", dtype)) {
            cJSON_Delete(dtype);
            return no_memory();
        }
    }
    for (int i = 0; i < kind->nattrs; i++) {
        const struct attr_spec *spec = &kind->attrs[i];
        bool written;
        STATUS_TRY(is_written(layer, i, dialect, &written));
        if (!written) continue;
        cJSON *value;
        STATUS_TRY(write_attr(spec, &layer->attr[i], dialect, &value));
        if (!cJSON_AddItemToObject(config, spec->keras2 && !third ? spec->keras2 : spec->name, value)) {
            cJSON_Delete(value);
            return no_memory();
        }
    }
    return SUCCESS;
}

cJSON *topology_policy(void) {
    cJSON *policy = cJSON_CreateObject();
    cJSON *config = NULL;
    if (cJSON_AddStringToObject(policy, "module", "keras") &&
        cJSON_AddStringToObject(policy, "class_name", "DTypePolicy") &&
        (config = cJSON_AddObjectToObject(policy, "config")) &&
        cJSON_AddStringToObject(config, "name", "float32") &&
        cJSON_AddNullToObject(policy, "registered_name"))
        return policy;
    cJSON_Delete(policy);
    return NULL;
}

/* Where Keras 3 finds the class. Of those that are none of its public ones, "registered_name" is what a user
 * may give it among custom_objects. */
static bool add_module(cJSON *object, const struct layer_kind *kind) {
    if (!kind->module)
        return cJSON_AddStringToObject(object, "module", "keras.layers") &&
               cJSON_AddNullToObject(object, "registered_name");
    return (*kind->module ? cJSON_AddStringToObject(object, "module", kind->module)
                          : cJSON_AddNullToObject(object, "module")) &&
           cJSON_AddStringToObject(object, "registered_name", kind->class_name);
}

status topology_layer_write(const struct layer *layer, enum topology_dialect dialect, cJSON **json) {
    status error = SUCCESS;
    cJSON *object = cJSON_CreateObject(), *config = NULL;
    if (!cJSON_AddStringToObject(object, "class_name", layer->kind->class_name) ||
        !(config = cJSON_AddObjectToObject(object, "config")) ||
        (dialect == TOPOLOGY_KERAS3 && !add_module(object, layer->kind))) {
        error = no_memory();
        goto cleanup;
    }
    STATUS_GOTO(error, cleanup, write_config(layer, dialect, config));
    *json = object;
    return SUCCESS;
cleanup:
    cJSON_Delete(object);
    return error;
}

status topology_call_attrs_write(const struct layer *layer, cJSON *keywords) {
    for (int i = 0; i < layer->kind->nattrs; i++) {
        const struct attr_spec *spec = &layer->kind->attrs[i];
        bool initial = true;
        if (spec->call) STATUS_TRY(topology_attr_is_initial(spec, &layer->attr[i], &initial));
        if (initial) continue;
        cJSON *value;
        STATUS_TRY(write_attr(spec, &layer->attr[i], TOPOLOGY_KERAS3, &value));
        if (!cJSON_AddItemToObject(keywords, spec->name, value)) {
            cJSON_Delete(value);
            return no_memory();
        }
    }
    return SUCCESS;
}
