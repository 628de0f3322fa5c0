#include "io/keras/topology_op.h"

#include "io/keras/topology_json.h"
#include "shared/layer.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names: of Keras 3's classes, of TensorFlow's functions without "compat.v1.", of TensorFlow's node types.
 * Signature: positions separated by "|", the names that one has by ",". */
struct op_row {
    const char *names, *signature;
    op_translation *translate;
    const char *variant;
};

static const struct op_row rows[] = {
    {"Add|math.add|add|__operators__.add|AddV2|BiasAdd|nn.bias_add", "x,x1,value|y,x2,bias", op_add, NULL},
    {"math.add_n|add_n|AddN", "inputs", op_add, "list"},
    {"Multiply|math.multiply|multiply|__operators__.mul|Mul", "x,x1|y,x2", op_multiply, NULL},
    {"Subtract|math.subtract|subtract|__operators__.sub|Sub", "x,x1|y,x2", op_subtract, NULL},
    {"Divide|TrueDivide|math.truediv|math.divide|__operators__.truediv|RealDiv|Div", "x,x1|y,x2", op_divide,
     NULL},
    {"Maximum|math.maximum|maximum", "x,x1|y,x2", op_extreme, "Maximum"},
    {"Minimum|math.minimum|minimum", "x,x1|y,x2", op_extreme, "Minimum"},
    {"Power|math.pow|pow|__operators__.pow|Pow", "x,x1|y,x2", op_power, NULL},
    {"Square|math.square|square", "x", op_power, "2"},
    {"Negative|math.negative|negative|Neg", "x", op_negative, NULL},
    {"Absolute|Abs|math.abs|abs", "x", op_absolute, NULL},
    {"Clip|clip_by_value|ClipByValue", "x,t|x_min,clip_value_min|x_max,clip_value_max", op_clip, NULL},
    {"Relu|nn.relu", "x,features", op_relu, "null"},
    {"Relu6|nn.relu6", "x,features", op_relu, "6"},
    {"LeakyRelu|nn.leaky_relu", "x,features|negative_slope,alpha", op_leaky_relu, NULL},
    {"Elu|nn.elu", "x,features|alpha", op_elu, NULL},
    {"Softmax|nn.softmax", "x,logits|axis", op_softmax, NULL},
    {"Gelu", "x|approximate", op_gelu, "true"},
    {"nn.gelu", "features|approximate", op_gelu, "false"},
    {"Selu|nn.selu", "x,features", op_activation, "selu"},
    {"Sigmoid|math.sigmoid|nn.sigmoid|sigmoid", "x", op_activation, "sigmoid"},
    {"Tanh|math.tanh|nn.tanh|tanh", "x", op_activation, "tanh"},
    {"Silu|Swish|nn.silu|nn.swish", "x,features", op_activation, "silu"},
    {"Softplus|math.softplus|nn.softplus", "x,features", op_activation, "softplus"},
    {"Softsign|nn.softsign", "x,features", op_activation, "softsign"},
    {"Exp|math.exp|exp", "x", op_activation, "exponential"},
    {"HardSigmoid", "x", op_activation, "hard_sigmoid"},
    {"HardSilu|HardSwish", "x", op_activation, "hard_silu"},
    {"Mean|math.reduce_mean|reduce_mean", "x,input_tensor|axis,reduction_indices|keepdims,keep_dims",
     op_reduce, "Average"},
    {"Max|math.reduce_max|reduce_max", "x,input_tensor|axis,reduction_indices|keepdims,keep_dims", op_reduce,
     "Max"},
    {"Cast|cast", "x|dtype,DstT", op_cast, NULL},
    {"identity|Identity|stop_gradient|StopGradient|convert_to_tensor", "x,input,value", op_identity, NULL},
    {"Reshape|reshape", "x,tensor|newshape,shape", op_reshape, NULL},
    {"Transpose|transpose", "x,a|axes,perm", op_transpose, NULL},
    {"Concatenate|concat|ConcatV2", "xs,values|axis", op_concatenate, "list"},
    {"ExpandDims|expand_dims", "x,input|axis,dim", op_expand_dims, NULL},
    {"Squeeze|squeeze", "x,input|axis,squeeze_dims", op_squeeze, NULL},
    {"GetItem|__operators__.getitem", "x,tensor|key,slice_spec", op_get_item, NULL},
    {"StridedSlice|strided_slice",
     "input_|begin|end|strides|begin_mask|end_mask|shrink_axis_mask|"
     "ellipsis_mask|new_axis_mask",
     op_strided_slice, NULL},
    {"Pad|pad", "x,tensor|pad_width,paddings|mode|constant_values", op_pad, NULL},
    {"Resize|image.resize",
     "images,data|size|interpolation,method|antialias|preserve_aspect_ratio,"
     "pad_to_aspect_ratio|crop_to_aspect_ratio",
     op_resize, NULL},
    {"ResizeBilinear", "images|size|method|antialias|aspect|crop|align_corners|half_pixel_centers", op_resize,
     "bilinear"},
    {"ResizeNearestNeighbor", "images|size|method|antialias|aspect|crop|align_corners|half_pixel_centers",
     op_resize, "nearest"},
    {"DepthToSpace|nn.depth_to_space", "x,input|block_size|data_format", op_depth_to_space, NULL},
};

/* Is `name` one of those in a list? */
static bool is_listed(const char *list, char separator, const char *name, size_t length) {
    const char separators[] = {separator, '|', 0};
    for (const char *at = list;; at++) {
        size_t n = strcspn(at, separators);
        if (n == length && !strncmp(at, name, n)) return true;
        at += n;
        if (*at != separator) return false;
    }
}

static const struct op_row *find_row(const char *name) {
    static const char old[] = "compat.v1.";
    if (!strncmp(name, old, sizeof old - 1)) name += sizeof old - 1;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (is_listed(rows[i].names, '|', name, strlen(name))) return &rows[i];
    return NULL;
}

/* ---- recognising ---- */

static const cJSON *tensorflow_node(const cJSON *json) {
    return topology_member(topology_member(json, "config"), "node_def");
}

static bool is_class(const cJSON *json, const char *class_name) {
    const char *is = topology_string(json, "class_name");
    return is && !strcmp(is, class_name);
}

/* Of Keras 3 without modules, as in its .h5, an operation is told from a layer of the same name by what every
 * layer's config has, and by inputs that are in a list. */
static bool is_called_as_op(const cJSON *json) {
    const cJSON *config = topology_member(json, "config"), *calls = topology_member(json, "inbound_nodes");
    const cJSON *args = calls ? topology_member(calls->child, "args") : NULL;
    return args && !cJSON_IsArray(args->child) && !topology_member(config, "trainable") &&
           !topology_member(config, "dtype");
}

bool topology_is_op(const cJSON *json) {
    static const char *const modules[] = {"keras.src.ops.", "keras.ops", "keras_core.src.ops."};
    const char *class_name = topology_string(json, "class_name"), *module = topology_string(json, "module");
    if (!class_name || !cJSON_IsObject(topology_member(json, "config"))) return false;
    if (is_class(json, "TFOpLambda") || is_class(json, "SlicingOpLambda") ||
        is_class(json, "TensorFlowOpLayer"))
        return true;
    for (size_t i = 0; module && i < sizeof modules / sizeof *modules; i++)
        if (!strncmp(module, modules[i], strlen(modules[i]))) return true;
    if (module || !is_called_as_op(json)) return false;
    return find_row(class_name) || !strcmp(class_name, "NotEqual") || !strcmp(class_name, "Any");
}

const char *topology_op_name(const cJSON *json) {
    const cJSON *config = topology_member(json, "config");
    const char *name = is_class(json, "TensorFlowOpLayer") ? topology_string(tensorflow_node(json), "op")
                       : is_class(json, "TFOpLambda") || is_class(json, "SlicingOpLambda")
                           ? topology_string(config, "function")
                           : topology_string(json, "class_name");
    return name ? name : "?";
}

bool topology_op_is_mask(const cJSON *json, const struct topology_args *args, double *value, bool *any) {
    const char *name = topology_op_name(json);
    const cJSON *axis = topology_member(topology_member(json, "config"), "axis");
    if (args->ntensors != 1 || args->n < 1 || args->arg[0].n != 1) return false;
    *any = !strcmp(name, "Any");
    if (*any) {
        if (cJSON_IsArray(axis) && axis->child && !axis->child->next) axis = axis->child;
        return args->n == 1 && cJSON_IsNumber(axis) && axis->valuedouble == -1;
    }
    if (strcmp(name, "NotEqual") || args->n != 2 || !cJSON_IsNumber(args->arg[1].value)) return false;
    *value = args->arg[1].value->valuedouble;
    return true;
}

/* ---- arguments ---- */

/* The names that a position has; NULL if the signature is shorter. */
static const char *position_names(const struct topology_op_call *call, int position) {
    const char *at = call->row->signature;
    for (; position > 0; position--) {
        at = strchr(at, '|');
        if (!at) return NULL;
        at++;
    }
    return at;
}

const struct topology_arg *op_argument(const struct topology_op_call *call, int position) {
    const char *names = position_names(call, position);
    const struct topology_arg *found = NULL;
    for (int i = 0, place = 0; names && i < call->nargs; i++) {
        const struct topology_arg *arg = &call->arg[i];
        bool here = arg->name ? is_listed(names, ',', arg->name, strlen(arg->name)) : place++ == position;
        if (here) found = arg;
    }
    return found && found->n == 0 && cJSON_IsNull(found->value) ? NULL : found;
}

int op_tensor(const struct topology_op_call *call, int position) {
    const struct topology_arg *arg = op_argument(call, position);
    return arg && arg->n == 1 && !arg->list && !arg->mixed ? arg->first : -1;
}

/* The value in TensorFlow's {"b": true}, {"i": "2"}, {"type": "DT_FLOAT"}, {"list": {"i": ["1"]}}. */
static const cJSON *attr_value(const cJSON *attr) {
    const cJSON *value = attr ? attr->child : NULL;
    if (value && value->string && !strcmp(value->string, "list")) value = value->child;
    return value;
}

const cJSON *op_constant(const struct topology_op_call *call, int position) {
    const struct topology_arg *arg = op_argument(call, position);
    if (arg) return arg->n == 0 ? arg->value : NULL;
    const cJSON *config = topology_member(call->json, "config");
    const cJSON *attrs = topology_member(tensorflow_node(call->json), "attr");
    for (const char *at = position_names(call, position); at && *at;) {
        char name[32];
        size_t length = strcspn(at, ",|");
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        const cJSON *value = topology_unwrap(topology_member(config, name));
        if (!value) value = attr_value(topology_member(attrs, name));
        if (value) return cJSON_IsNull(value) ? NULL : value;
        at += length;
        if (*at != ',') break;
        at++;
    }
    return NULL;
}

/* A number; JSON of TensorFlow has long integers in quotes. */
static bool number(const cJSON *json, double *value) {
    json = topology_unwrap(json);
    char *end = NULL;
    if (cJSON_IsString(json)) *value = strtod(json->valuestring, &end);
    else if (cJSON_IsNumber(json)) *value = json->valuedouble;
    else return false;
    return isfinite(*value) && (!end || (end != json->valuestring && !*end));
}

bool op_double(const struct topology_op_call *call, int position, double *value) {
    return number(op_constant(call, position), value);
}

bool op_ints(const struct topology_op_call *call, int position, int room, int64_t *v, int *n) {
    const cJSON *json = op_constant(call, position);
    const cJSON *item = cJSON_IsArray(json) ? json->child : json;
    bool list = cJSON_IsArray(json);
    *n = 0;
    for (; item; item = list ? item->next : NULL) {
        double value;
        if (*n == room || !number(item, &value) || value != floor(value) || fabs(value) > 1e9) return false;
        v[(*n)++] = (int64_t)value;
    }
    return json != NULL;
}

bool op_flag(const struct topology_op_call *call, int position, bool otherwise) {
    const cJSON *json = op_constant(call, position);
    return cJSON_IsBool(json) ? cJSON_IsTrue(json) : otherwise;
}

const char *op_text(const struct topology_op_call *call, int position) {
    return cJSON_GetStringValue(op_constant(call, position));
}

bool op_is(const struct topology_op_call *call, int position, const char *text) {
    const char *is = op_text(call, position);
    return is && !strcmp(is, text);
}

const char *op_variant(const struct topology_op_call *call) {
    return call->row->variant;
}

const struct shape *op_shape(const struct topology_op_call *call, int tensor) {
    static const struct shape unknown = {0};
    return tensor >= 0 && tensor < call->args->ntensors ? &call->shape[tensor] : &unknown;
}

/* TensorFlow's node has its inputs one by one, constants among them by number; `list`: its tensors come first
 * and are one argument. */
static bool spread(struct topology_op_call *call, bool list) {
    const cJSON *constants = topology_member(topology_member(call->json, "config"), "constants");
    int total = call->args->ntensors + cJSON_GetArraySize(constants), tensor = 0;
    free(call->arg);
    call->arg = calloc((size_t)total + 1, sizeof *call->arg);
    call->nargs = 0;
    if (!call->arg) return false;
    if (list) {
        tensor = call->args->ntensors;
        call->arg[call->nargs++] = (struct topology_arg){.n = tensor, .list = true};
    }
    for (int i = 0; i < total; i++) {
        char key[16];
        snprintf(key, sizeof key, "%d", i);
        const cJSON *constant = topology_member(constants, key);
        if (constant) call->arg[call->nargs++] = (struct topology_arg){.value = topology_unwrap(constant)};
        else if (tensor < call->args->ntensors)
            call->arg[call->nargs++] = (struct topology_arg){.first = tensor++, .n = 1};
    }
    return true;
}

/* ---- steps ---- */

int op_emit_config(struct topology_op_call *call, const char *class_name, int nin, const int *in,
                   cJSON *config) {
    cJSON *layer = cJSON_CreateObject();
    int *inputs = malloc((size_t)nin * sizeof *inputs);
    bool added = inputs && config && cJSON_AddStringToObject(layer, "class_name", class_name);
    if (added) added = cJSON_AddItemToObject(layer, "config", config);
    if (!added || call->nsteps == TOPOLOGY_OP_MAX_STEPS) {
        if (!added) cJSON_Delete(config);
        call->no_memory |= !added;
        cJSON_Delete(layer);
        free(inputs);
        return -1;
    }
    memcpy(inputs, in, (size_t)nin * sizeof *inputs);
    call->step[call->nsteps] = (struct topology_op_step){layer, nin, inputs};
    return call->args->ntensors + call->nsteps++;
}

int op_emit(struct topology_op_call *call, const char *class_name, int nin, const int *in, const char *format,
            ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) {
        call->no_memory = true;
        return -1;
    }
    cJSON *config = cJSON_Parse(text);
    free(text);
    return config ? op_emit_config(call, class_name, nin, in, config) : -1;
}

void topology_op_clear(struct topology_op_call *call) {
    for (int i = 0; i < call->nsteps; i++) {
        cJSON_Delete(call->step[i].layer);
        free(call->step[i].in);
    }
    free(call->arg);
    call->arg = NULL;
    call->nsteps = call->nargs = 0;
}

status topology_op_translate(struct topology_op_call *call, bool *supported) {
    call->row = find_row(topology_op_name(call->json));
    *supported = false;
    if (!call->row) return SUCCESS;
    call->nargs = call->args->n;
    call->arg = malloc(((size_t)call->nargs + 1) * sizeof *call->arg);
    if (call->arg) memcpy(call->arg, call->args->arg, (size_t)call->nargs * sizeof *call->arg);
    bool list = call->row->variant && !strcmp(call->row->variant, "list");
    if (!call->arg || (is_class(call->json, "TensorFlowOpLayer") && !spread(call, list)))
        call->no_memory = true;
    call->result = -1;
    if (!call->no_memory) *supported = call->row->translate(call) && call->result >= 0;
    if (call->no_memory || !*supported) topology_op_clear(call);
    return call->no_memory ? status_no_memory("a topology", 0) : SUCCESS;
}
