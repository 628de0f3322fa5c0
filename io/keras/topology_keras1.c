#include "io/keras/topology_keras1.h"

#include "io/keras/topology_json.h"

#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *old, *now;
} classes[] = {
    {"Convolution1D", "Conv1D"},
    {"Convolution2D", "Conv2D"},
    {"Convolution3D", "Conv3D"},
    {"AtrousConvolution1D", "Conv1D"},
    {"AtrousConvolution2D", "Conv2D"},
    {"SeparableConvolution2D", "SeparableConv2D"},
    {"Deconvolution2D", "Conv2DTranspose"},
    {"TimeDistributedDense", "Dense"}, /* which works on the last axis of any input */
};

static const struct {
    const char *mode, *class_name;
} merges[] = {{"sum", "Add"},     {"mul", "Multiply"}, {"concat", "Concatenate"},
              {"ave", "Average"}, {"max", "Maximum"},  {"min", "Minimum"}};

/* Keys, of the classes that have them (NULL: whichever): what they are called now, NULL: nothing that matters
 * to a trained layer. */
static const struct {
    const char *old, *now, *classes;
} keys[] = {
    {"nb_filter", "filters", NULL},
    {"border_mode", "padding", NULL},
    {"dim_ordering", "data_format", NULL},
    {"subsample", "strides", NULL},
    {"subsample_length", "strides", NULL},
    {"filter_length", "kernel_size", NULL},
    {"atrous_rate", "dilation_rate", NULL},
    {"bias", "use_bias", NULL},
    {"pool_length", "pool_size", NULL},
    {"stride", "strides", NULL},
    {"length", "size", "UpSampling1D"},
    {"p", "rate", "Dropout|SpatialDropout1D|SpatialDropout2D|SpatialDropout3D|GaussianDropout"},
    {"sigma", "stddev", "GaussianNoise"},
    {"output_dim", "units", "Dense|LSTM|GRU|SimpleRNN"},
    {"inner_activation", "recurrent_activation", NULL},
    {"dropout_W", "dropout", NULL},
    {"dropout_U", "recurrent_dropout", NULL},
    {"input_dtype", "dtype", "InputLayer"},
    {"dropout", NULL, "Embedding"},
    {"input_dim", NULL, "Dense|LSTM|GRU|SimpleRNN|Conv1D|Bidirectional|TimeDistributed"},
    {"input_length", NULL, NULL},
    {"init", NULL, NULL},
    {"inner_init", NULL, NULL},
    {"forget_bias_init", NULL, NULL},
    {"gamma_init", NULL, NULL},
    {"beta_init", NULL, NULL},
    {"W_regularizer", NULL, NULL},
    {"U_regularizer", NULL, NULL},
    {"b_regularizer", NULL, NULL},
    {"W_constraint", NULL, NULL},
    {"b_constraint", NULL, NULL},
    {"consume_less", NULL, NULL},
    {"output_shape", NULL, "Conv2DTranspose"},
};

/* Of these the model is one of Keras 1. */
static const char *const old_keys[] = {"nb_filter",        "border_mode",   "dim_ordering",
                                       "inner_activation", "W_regularizer", "b_regularizer"};

static status no_memory(void) {
    return status_no_memory("a topology", 0);
}

static bool is_listed(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *at = list; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL)
        if (strcspn(at, "|") == length && !strncmp(at, name, length)) return true;
    return false;
}

/* The list of a model's layers: its config, or "layers" in it; NULL of what is no model. */
static cJSON *layers_of(const cJSON *model) {
    cJSON *config = cJSON_GetObjectItemCaseSensitive(model, "config");
    cJSON *layers = cJSON_IsArray(config) ? config : cJSON_GetObjectItemCaseSensitive(config, "layers");
    const char *class_name = topology_string(model, "class_name");
    bool merge = class_name && !strcmp(class_name, "Merge");
    return cJSON_IsArray(layers) && !merge ? layers : NULL;
}

bool topology_is_keras1(const cJSON *model) {
    const cJSON *layers = layers_of(model);
    for (const cJSON *layer = layers ? layers->child : NULL; layer; layer = layer->next) {
        const char *class_name = topology_string(layer, "class_name");
        const cJSON *config = topology_member(layer, "config");
        for (size_t i = 0; class_name && i < sizeof classes / sizeof *classes; i++)
            if (!strcmp(class_name, classes[i].old)) return true;
        for (size_t i = 0; i < sizeof old_keys / sizeof *old_keys; i++)
            if (topology_member(config, old_keys[i])) return true;
        if (class_name && !strcmp(class_name, "Merge") && topology_member(config, "mode")) return true;
        if (topology_is_keras1(layer)) return true;
    }
    return false;
}

/* ---- one layer ---- */

static bool add(cJSON *object, const char *key, cJSON *value) {
    if (cJSON_AddItemToObject(object, key, value)) return true;
    cJSON_Delete(value);
    return false;
}

static bool set_class(cJSON *layer, const char *class_name) {
    cJSON *value = cJSON_CreateString(class_name);
    if (cJSON_ReplaceItemInObjectCaseSensitive(layer, "class_name", value)) return true;
    cJSON_Delete(value);
    return false;
}

static status convert_keys(const char *class_name, cJSON *config) {
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        if (keys[i].classes && !is_listed(keys[i].classes, class_name)) continue;
        cJSON *value = cJSON_DetachItemFromObjectCaseSensitive(config, keys[i].old);
        if (!value) continue;
        if (!keys[i].now || topology_member(config, keys[i].now)) cJSON_Delete(value);
        else if (!add(config, keys[i].now, value)) return no_memory();
    }
    return SUCCESS;
}

/* "th" and "tf" */
static status convert_format(cJSON *config) {
    const char *format = topology_string(config, "data_format");
    bool theano = format && !strcmp(format, "th");
    if (!format || (!theano && strcmp(format, "tf"))) return SUCCESS;
    cJSON *value = cJSON_CreateString(theano ? "channels_first" : "channels_last");
    if (cJSON_ReplaceItemInObjectCaseSensitive(config, "data_format", value)) return SUCCESS;
    cJSON_Delete(value);
    return no_memory();
}

/* Two keys become a pair. */
static status pair(cJSON *config, const char *first, const char *second, const char *now) {
    cJSON *a = cJSON_DetachItemFromObjectCaseSensitive(config, first);
    cJSON *b = cJSON_DetachItemFromObjectCaseSensitive(config, second);
    cJSON *list = a || b ? cJSON_CreateArray() : NULL;
    bool made = list != NULL;
    cJSON *items[] = {a, b};
    for (int i = 0; i < 2; i++) {
        if (items[i] && made && cJSON_AddItemToArray(list, items[i])) continue;
        made = made && !items[i];
        cJSON_Delete(items[i]);
    }
    if (made) return add(config, now, list) ? SUCCESS : no_memory();
    cJSON_Delete(list);
    return a || b ? no_memory() : SUCCESS;
}

/* {"top_pad": 1, ...} becomes [[top, bottom], [left, right]], {"left_pad": 1, ...} of sequences [left,
 * right].
 */
static status convert_padding(cJSON *config, bool images) {
    static const char *const sides[] = {"top_pad", "bottom_pad", "left_pad", "right_pad"};
    const cJSON *padding = topology_member(config, "padding");
    int side[4];
    if (!cJSON_IsObject(padding)) return SUCCESS;
    for (int i = 0; i < 4; i++) {
        const cJSON *value = topology_member(padding, sides[i]);
        side[i] = cJSON_IsNumber(value) && value->valuedouble >= 0 && value->valuedouble < 1e6
                      ? (int)value->valuedouble
                      : 0;
    }
    cJSON *list = cJSON_CreateIntArray(images ? side : side + 2, images ? 4 : 2);
    if (cJSON_ReplaceItemInObjectCaseSensitive(config, "padding", list)) return SUCCESS;
    cJSON_Delete(list);
    return no_memory();
}

/* Its class says what it does; of the rest, only the axis of Concatenate matters. */
static status convert_merge(cJSON *layer, cJSON *config) {
    const char *mode = topology_string(config, "mode"), *type = topology_string(config, "mode_type");
    const char *class_name = NULL;
    for (size_t i = 0; mode && i < sizeof merges / sizeof *merges; i++)
        if (!strcmp(mode, merges[i].mode)) class_name = merges[i].class_name;
    if (!class_name || (type && strcmp(type, "raw"))) return SUCCESS; /* refused as a Merge */
    cJSON *axis = cJSON_DetachItemFromObjectCaseSensitive(config, "concat_axis");
    cJSON *name = cJSON_DetachItemFromObjectCaseSensitive(config, "name");
    cJSON *now = cJSON_CreateObject();
    bool concatenate = !strcmp(class_name, "Concatenate");
    bool made = now && (!name || add(now, "name", name));
    if (!now) cJSON_Delete(name);
    if (axis && concatenate && made) made = add(now, "axis", axis);
    else cJSON_Delete(axis);
    /* set_class() ends `mode` */
    if (made && set_class(layer, class_name) && cJSON_ReplaceItemInObjectCaseSensitive(layer, "config", now))
        return SUCCESS;
    cJSON_Delete(now);
    return no_memory();
}

static status convert_model(cJSON *model);

static status convert_layer(cJSON *layer) {
    cJSON *config = cJSON_GetObjectItemCaseSensitive(layer, "config");
    const char *class_name = topology_string(layer, "class_name");
    if (!class_name || !cJSON_IsObject(config)) return SUCCESS;
    if (!strcmp(class_name, "Merge")) return convert_merge(layer, config);
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (!strcmp(class_name, classes[i].old)) {
            if (!set_class(layer, classes[i].now)) return no_memory();
            class_name = classes[i].now;
        }
    STATUS_TRY(convert_keys(class_name, config));
    STATUS_TRY(convert_format(config));
    STATUS_TRY(pair(config, "nb_row", "nb_col", "kernel_size"));
    if (is_listed("ZeroPadding1D|ZeroPadding2D", class_name))
        STATUS_TRY(convert_padding(config, !strcmp(class_name, "ZeroPadding2D")));
    /* Its GRU is the one that resets before; its batch norm by feature is the one that is left. */
    if (!strcmp(class_name, "GRU") && !topology_member(config, "reset_after") &&
        !cJSON_AddFalseToObject(config, "reset_after"))
        return no_memory();
    const cJSON *mode = topology_member(config, "mode");
    if (!strcmp(class_name, "BatchNormalization") && cJSON_IsNumber(mode) && mode->valuedouble == 0)
        cJSON_DeleteItemFromObjectCaseSensitive(config, "mode");
    cJSON *inner = cJSON_GetObjectItemCaseSensitive(config, "layer");
    if (!cJSON_IsObject(inner)) return SUCCESS;
    return layers_of(inner) ? convert_model(inner) : convert_layer(inner);
}

/* ---- a Sequential that begins with a Merge of models ---- */

/* The functional model that it becomes. */
struct merged {
    cJSON *layers, *inputs; /* lists, owned until they are in the model */
    char *last;             /* name of the layer that the next one is called on; owned */
};

static char *name_of(const cJSON *layer) {
    const char *name = topology_string(layer, "name");
    if (!name) name = topology_string(topology_member(layer, "config"), "name");
    return strdup(name ? name : "?");
}

/* Appends ["name", 0, 0]. */
static bool add_tensor(cJSON *list, const char *name) {
    cJSON *tensor = cJSON_CreateArray();
    if (!tensor || !cJSON_AddItemToArray(list, tensor)) {
        cJSON_Delete(tensor);
        return false;
    }
    return cJSON_AddItemToArray(tensor, cJSON_CreateString(name)) &&
           cJSON_AddItemToArray(tensor, cJSON_CreateNumber(0)) &&
           cJSON_AddItemToArray(tensor, cJSON_CreateNumber(0));
}

/* Appends a layer, which is taken, called on the last one; the first of a chain is an input. */
static status append_layer(struct merged *m, cJSON *layer) {
    char *name = name_of(layer);
    cJSON_DeleteItemFromObjectCaseSensitive(layer, "name");
    cJSON_DeleteItemFromObjectCaseSensitive(layer, "inbound_nodes");
    cJSON *nodes = NULL, *call = NULL;
    bool made = name && cJSON_AddStringToObject(layer, "name", name) &&
                (nodes = cJSON_AddArrayToObject(layer, "inbound_nodes"));
    if (made && m->last) {
        call = cJSON_CreateArray();
        made = cJSON_AddItemToArray(nodes, call);
        if (!made) cJSON_Delete(call);
        else made = add_tensor(call, m->last);
    } else if (made) {
        made = add_tensor(m->inputs, name);
    }
    if (!cJSON_AddItemToArray(m->layers, layer)) {
        cJSON_Delete(layer);
        made = false;
    }
    free(m->last);
    m->last = name;
    return made ? SUCCESS : no_memory();
}

/* The input that the first layer of a chain says. */
static status append_input(struct merged *m, const cJSON *first) {
    const cJSON *config = topology_member(first, "config");
    const cJSON *shape = topology_member(config, "batch_input_shape");
    const char *class_name = topology_string(first, "class_name"),
               *dtype = topology_string(config, "input_dtype");
    if (class_name && !strcmp(class_name, "InputLayer")) return SUCCESS;
    char *name = name_of(first), *input = NULL;
    int length = name ? asprintf(&input, "%s_input", name) : -1;
    free(name);
    if (length < 0) return no_memory();
    cJSON *layer = cJSON_CreateObject(), *own = NULL;
    bool made = cJSON_AddStringToObject(layer, "class_name", "InputLayer") &&
                (own = cJSON_AddObjectToObject(layer, "config")) &&
                cJSON_AddStringToObject(own, "name", input) &&
                cJSON_AddStringToObject(own, "dtype", dtype ? dtype : "float32") &&
                (!shape || add(own, "batch_input_shape", cJSON_Duplicate(shape, 1)));
    free(input);
    if (made) return append_layer(m, layer);
    cJSON_Delete(layer);
    return no_memory();
}

/* All layers of a list, one after the other, from an input on or from the last one. */
static status append_chain(struct merged *m, cJSON *layers, bool from_input) {
    if (from_input) {
        free(m->last);
        m->last = NULL;
        STATUS_TRY(append_input(m, layers->child));
    }
    while (layers->child) {
        cJSON *layer = cJSON_DetachItemViaPointer(layers, layers->child);
        if (!cJSON_IsObject(layer)) {
            cJSON_Delete(layer);
            return status_fail(STATUS_DATA, "a layer of a model is not an object");
        }
        STATUS_TRY(append_layer(m, layer));
    }
    return SUCCESS;
}

/* A functional model as it is; its output is the last layer. */
static status append_graph(struct merged *m, const cJSON *config, cJSON *layers) {
    const cJSON *inputs = topology_member(config, "input_layers");
    const cJSON *outputs = topology_member(config, "output_layers");
    const cJSON *output = outputs ? outputs->child : NULL;
    if (!output || output->next || !cJSON_IsString(output->child))
        return status_fail(STATUS_DATA, "a Merge of a model that has not one output");
    for (const cJSON *input = inputs ? inputs->child : NULL; input; input = input->next)
        if (!cJSON_AddItemToArray(m->inputs, cJSON_Duplicate(input, 1))) return no_memory();
    free(m->last);
    m->last = strdup(output->child->valuestring);
    while (layers->child)
        if (!cJSON_AddItemToArray(m->layers, cJSON_DetachItemViaPointer(layers, layers->child)))
            return no_memory();
    return m->last ? SUCCESS : no_memory();
}

/* The models of a Merge, then the layer that it has become, called on what each gives. */
static status append_branches(struct merged *m, cJSON *merge, cJSON *branches) {
    cJSON *nodes = cJSON_CreateArray(), *call = cJSON_CreateArray();
    status error = SUCCESS;
    if (!cJSON_AddItemToArray(nodes, call)) {
        cJSON_Delete(call);
        error = no_memory();
    }
    for (cJSON *branch = branches->child; branch && !error; branch = branch->next) {
        const cJSON *config = topology_member(branch, "config");
        cJSON *layers = layers_of(branch);
        bool functional = topology_member(config, "input_layers") != NULL;
        if (!layers || !layers->child) error = status_fail(STATUS_DATA, "a Merge of what is no model");
        else error = functional ? append_graph(m, config, layers) : append_chain(m, layers, true);
        if (!error && !add_tensor(call, m->last)) error = no_memory();
    }
    char *name = error ? NULL : name_of(merge);
    if (!error && (!name || !cJSON_AddStringToObject(merge, "name", name))) error = no_memory();
    if (!error && add(merge, "inbound_nodes", nodes)) nodes = NULL;
    else if (!error) error = no_memory();
    cJSON_Delete(nodes);
    if (error || !cJSON_AddItemToArray(m->layers, merge)) {
        cJSON_Delete(merge);
        free(name);
        return error ? error : no_memory();
    }
    free(m->last);
    m->last = name;
    return SUCCESS;
}

/* Gives the model its new config. */
static status set_config(struct merged *m, cJSON *model) {
    cJSON *config = cJSON_CreateObject(), *outputs = cJSON_CreateArray();
    bool made = config && outputs && add_tensor(outputs, m->last) &&
                cJSON_AddStringToObject(config, "name", "sequential");
    if (made && (made = add(config, "layers", m->layers))) m->layers = NULL;
    if (made && (made = add(config, "input_layers", m->inputs))) m->inputs = NULL;
    if (made && (made = add(config, "output_layers", outputs))) outputs = NULL;
    if (made) made = cJSON_ReplaceItemInObjectCaseSensitive(model, "config", config);
    if (!made) cJSON_Delete(config);
    cJSON_Delete(outputs);
    return made && set_class(model, "Model") ? SUCCESS : no_memory();
}

static status expand_merge(cJSON *model, cJSON *layers, cJSON *branches) {
    struct merged m = {cJSON_CreateArray(), cJSON_CreateArray(), NULL};
    cJSON *merge = cJSON_DetachItemViaPointer(layers, layers->child);
    status error = m.layers && m.inputs ? SUCCESS : no_memory();
    if (error) cJSON_Delete(merge);
    else error = append_branches(&m, merge, branches);
    if (!error) error = append_chain(&m, layers, false);
    if (!error) error = set_config(&m, model);
    cJSON_Delete(m.layers);
    cJSON_Delete(m.inputs);
    free(m.last);
    return error;
}

/* ---- models ---- */

/* The models of a Merge at the head of a Sequential; taken out, NULL if it has none. */
static cJSON *take_branches(const cJSON *layers) {
    const char *class_name = layers ? topology_string(layers->child, "class_name") : NULL;
    if (!class_name || strcmp(class_name, "Merge")) return NULL;
    return cJSON_DetachItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(layers->child, "config"),
                                                   "layers");
}

static status convert_model(cJSON *model) {
    cJSON *layers = layers_of(model), *branches = take_branches(layers);
    status error = SUCCESS;
    for (cJSON *layer = branches ? branches->child : NULL; layer && !error; layer = layer->next)
        error = convert_model(layer);
    for (cJSON *layer = layers ? layers->child : NULL; layer && !error; layer = layer->next)
        error = layers_of(layer) ? convert_model(layer) : convert_layer(layer);
    if (branches && !error) error = expand_merge(model, layers, branches);
    cJSON_Delete(branches);
    return error;
}

status topology_keras1_convert(cJSON *model) {
    return convert_model(model);
}
