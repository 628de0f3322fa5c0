/* Operations that are arithmetic, activations, reductions. */
#include "io/keras/topology_json.h"
#include "io/keras/topology_op.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_POWER 4

/* ---- constants ---- */

/* A number, or one per channel: a list, perhaps inside lists of one. NULL if it is none. */
static const cJSON *channel_constant(const struct topology_op_call *call, int position, int *n) {
    const cJSON *json = op_constant(call, position);
    while (cJSON_IsArray(json) && json->child && !json->child->next) json = topology_unwrap(json->child);
    *n = 0;
    for (const cJSON *item = cJSON_IsArray(json) ? json->child : json; item; item = item->next) {
        if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble)) return NULL;
        ++*n;
        if (!cJSON_IsArray(json)) break;
    }
    return *n ? json : NULL;
}

/* A list of `multiplier * constant`, or its inverse. */
static cJSON *scaled(const cJSON *constant, int n, double multiplier, bool invert) {
    cJSON *list = cJSON_CreateArray();
    const cJSON *item = cJSON_IsArray(constant) ? constant->child : constant;
    for (int i = 0; i < n; i++, item = item->next) {
        double value = multiplier * (invert ? 1 / item->valuedouble : item->valuedouble);
        cJSON *one = isfinite(value) ? cJSON_CreateNumber(value) : NULL;
        if (cJSON_AddItemToArray(list, one)) continue;
        cJSON_Delete(list);
        return NULL;
    }
    return list;
}

/* x * scale + offset with numbers or lists of them, which are taken. */
static bool rescale(struct topology_op_call *call, int tensor, cJSON *scale, cJSON *offset) {
    cJSON *config = cJSON_CreateObject();
    bool whole = config && scale && offset;
    if (!whole || !cJSON_AddItemToObject(config, "scale", scale)) cJSON_Delete(scale);
    if (!whole || !cJSON_AddItemToObject(config, "offset", offset)) cJSON_Delete(offset);
    if (!whole) {
        cJSON_Delete(config);
        return false;
    }
    call->result = op_emit_config(call, "Rescaling", 1, &tensor, config);
    return true;
}

static int affine(struct topology_op_call *call, int value, double scale, double offset) {
    return op_emit(call, "Rescaling", 1, &value, "{\"scale\": %.17g, \"offset\": %.17g}", scale, offset);
}

static int relu(struct topology_op_call *call, int value, const char *max_value) {
    return op_emit(call, "ReLU", 1, &value, "{\"max_value\": %s}", max_value);
}

static bool merge(struct topology_op_call *call, const char *class_name, int a, int b) {
    call->result = op_emit(call, class_name, 2, (int[]){a, b}, "{}");
    return true;
}

/* ---- arithmetic ---- */

bool op_add(struct topology_op_call *call) {
    int x = op_tensor(call, 0), y = op_tensor(call, 1), n;
    const struct topology_arg *list = op_argument(call, 0);
    if (op_variant(call)) { /* all of a list */
        if (!list || list->n == 0 || list->mixed) return false;
        int *in = malloc((size_t)list->n * sizeof *in);
        if (!in) return false;
        for (int k = 0; k < list->n; k++) in[k] = list->first + k;
        call->result = op_emit(call, "Add", list->n, in, "{}");
        free(in);
        return true;
    }
    if (x >= 0 && y >= 0) return merge(call, "Add", x, y);
    const cJSON *constant = channel_constant(call, x >= 0, &n);
    if (!constant || (x < 0 && y < 0)) return false;
    return rescale(call, x >= 0 ? x : y, cJSON_CreateNumber(1), scaled(constant, n, 1, false));
}

bool op_multiply(struct topology_op_call *call) {
    int x = op_tensor(call, 0), y = op_tensor(call, 1), n;
    if (x >= 0 && y >= 0) return merge(call, "Multiply", x, y);
    const cJSON *constant = channel_constant(call, x >= 0, &n);
    if (!constant || (x < 0 && y < 0)) return false;
    return rescale(call, x >= 0 ? x : y, scaled(constant, n, 1, false), cJSON_CreateNumber(0));
}

bool op_subtract(struct topology_op_call *call) {
    int x = op_tensor(call, 0), y = op_tensor(call, 1), n;
    if (x >= 0 && y >= 0) return merge(call, "Subtract", x, y);
    const cJSON *constant = channel_constant(call, x >= 0, &n);
    if (!constant || (x < 0 && y < 0)) return false;
    return x >= 0 ? rescale(call, x, cJSON_CreateNumber(1), scaled(constant, n, -1, false))
                  : rescale(call, y, cJSON_CreateNumber(-1), scaled(constant, n, 1, false));
}

/* By a constant: there is no layer that divides. */
bool op_divide(struct topology_op_call *call) {
    int x = op_tensor(call, 0), n;
    const cJSON *constant = channel_constant(call, 1, &n);
    return x >= 0 && constant && rescale(call, x, scaled(constant, n, 1, true), cJSON_CreateNumber(0));
}

/* The larger or the smaller one. With a number: max(x, c) = relu(x - c) + c, min(x, c) = c - relu(c - x). */
bool op_extreme(struct topology_op_call *call) {
    int x = op_tensor(call, 0), y = op_tensor(call, 1);
    if (x >= 0 && y >= 0) return merge(call, op_variant(call), x, y);
    double bound, sign = strcmp(op_variant(call), "Maximum") ? -1 : 1;
    if ((x < 0 && y < 0) || !op_double(call, x >= 0, &bound)) return false;
    int value = x >= 0 ? x : y;
    if (bound != 0 || sign < 0) value = affine(call, value, sign, -sign * bound);
    if (value >= 0) value = relu(call, value, "null");
    if (value >= 0 && (bound != 0 || sign < 0)) value = affine(call, value, sign, bound);
    call->result = value;
    return true;
}

/* To a whole power: x times x. */
bool op_power(struct topology_op_call *call) {
    int x = op_tensor(call, 0), in[MAX_POWER];
    double power;
    if (op_variant(call)) power = strtod(op_variant(call), NULL);
    else if (!op_double(call, 1, &power)) return false;
    if (x < 0 || power != floor(power) || power < 1 || power > MAX_POWER) return false;
    for (int k = 0; k < MAX_POWER; k++) in[k] = x;
    call->result = power == 1 ? x : op_emit(call, "Multiply", (int)power, in, "{}");
    return true;
}

bool op_negative(struct topology_op_call *call) {
    int x = op_tensor(call, 0);
    if (x >= 0) call->result = affine(call, x, -1, 0);
    return x >= 0;
}

bool op_absolute(struct topology_op_call *call) {
    int x = op_tensor(call, 0), negative = x < 0 ? -1 : affine(call, x, -1, 0);
    return negative >= 0 && merge(call, "Maximum", x, negative);
}

/* Between two numbers: relu(x - low), at most high - low, + low. */
bool op_clip(struct topology_op_call *call) {
    int x = op_tensor(call, 0);
    double low, high;
    if (x < 0 || !op_double(call, 1, &low) || !op_double(call, 2, &high) || low > high) return false;
    if (low != 0) x = affine(call, x, 1, -low);
    if (x >= 0) x = op_emit(call, "ReLU", 1, &x, "{\"max_value\": %.17g}", high - low);
    if (x >= 0 && low != 0) x = affine(call, x, 1, low);
    call->result = x;
    return true;
}

/* ---- activations ---- */

bool op_activation(struct topology_op_call *call) {
    int x = op_tensor(call, 0);
    if (x >= 0)
        call->result = op_emit(call, "Activation", 1, &x, "{\"activation\": \"%s\"}", op_variant(call));
    return x >= 0;
}

bool op_relu(struct topology_op_call *call) {
    int x = op_tensor(call, 0);
    if (x >= 0) call->result = relu(call, x, op_variant(call));
    return x >= 0;
}

bool op_leaky_relu(struct topology_op_call *call) {
    int x = op_tensor(call, 0);
    double slope = 0.2; /* of Keras 3 and of TensorFlow */
    if (x < 0 || (op_constant(call, 1) && !op_double(call, 1, &slope))) return false;
    call->result = op_emit(call, "LeakyReLU", 1, &x, "{\"negative_slope\": %.17g}", slope);
    return true;
}

bool op_elu(struct topology_op_call *call) {
    int x = op_tensor(call, 0);
    double alpha = 1;
    if (x < 0 || (op_constant(call, 1) && !op_double(call, 1, &alpha))) return false;
    call->result = op_emit(call, "ELU", 1, &x, "{\"alpha\": %.17g}", alpha);
    return true;
}

bool op_softmax(struct topology_op_call *call) {
    int x = op_tensor(call, 0), n = 1;
    int64_t axis = -1;
    if (x < 0 || (op_constant(call, 1) && (!op_ints(call, 1, 1, &axis, &n) || n != 1))) return false;
    call->result = op_emit(call, "Softmax", 1, &x, "{\"axis\": %d}", (int)axis);
    return true;
}

/* Exact, or x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 * x^3))). The variant says which is the default. */
bool op_gelu(struct topology_op_call *call) {
    int x = op_tensor(call, 0);
    if (x < 0) return false;
    if (!op_flag(call, 1, !strcmp(op_variant(call), "true"))) {
        call->result = op_emit(call, "Activation", 1, &x, "{\"activation\": \"gelu\"}");
        return true;
    }
    int cube = op_emit(call, "Multiply", 3, (int[]){x, x, x}, "{}");
    int term = cube < 0 ? -1 : affine(call, cube, 0.044715, 0);
    int sum = term < 0 ? -1 : op_emit(call, "Add", 2, (int[]){x, term}, "{}");
    int inner = sum < 0 ? -1 : affine(call, sum, sqrt(2 / acos(-1)), 0);
    int bent = inner < 0 ? -1 : op_emit(call, "Activation", 1, &inner, "{\"activation\": \"tanh\"}");
    int half = bent < 0 ? -1 : affine(call, bent, 0.5, 0.5);
    return half >= 0 && merge(call, "Multiply", x, half);
}

bool op_identity(struct topology_op_call *call) {
    call->result = op_tensor(call, 0);
    return true;
}

/* All is computed in float32. */
bool op_cast(struct topology_op_call *call) {
    static const char *const floats[] = {"float32",  "float64",   "float16", "bfloat16",
                                         "DT_FLOAT", "DT_DOUBLE", "DT_HALF", "DT_BFLOAT16"};
    const char *dtype = op_text(call, 1);
    for (size_t i = 0; dtype && i < sizeof floats / sizeof *floats; i++)
        if (!strcmp(dtype, floats[i])) return op_identity(call);
    return false;
}

/* ---- reductions ---- */

/* Over height and width, or over time: global pooling. */
bool op_reduce(struct topology_op_call *call) {
    int x = op_tensor(call, 0), n;
    int64_t axis[SHAPE_MAX_RANK];
    if (x < 0 || !op_ints(call, 1, SHAPE_MAX_RANK, axis, &n)) return false;
    int rank = op_shape(call, x)->rank;
    if (!rank) rank = n + 2; /* of images or sequences; checked when shapes are inferred */
    unsigned axes = 0;
    for (int i = 0; i < n; i++) {
        int64_t a = axis[i] < 0 ? axis[i] + rank : axis[i];
        if (a < 0 || a >= rank) return false;
        axes |= 1u << a;
    }
    int dimensions = rank == 4 && axes == (1u << 1 | 1u << 2) ? 2 : rank == 3 && axes == 1u << 1 ? 1 : 0;
    if (!dimensions) return false;
    char class_name[32] = "Global";
    strcat(strcat(class_name, op_variant(call)), dimensions == 2 ? "Pooling2D" : "Pooling1D");
    call->result =
        op_emit(call, class_name, 1, &x, "{\"keepdims\": %s}", op_flag(call, 2, false) ? "true" : "false");
    return true;
}
