#include "io/keras/topology_args.h"

#include "io/keras/topology_json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NUMBER 65536 /* of a call, of an output */
#define CONSTANT                                                                                             \
    "_CONSTANT_VALUE" /* Keras 2: a constant where a tensor could be: [CONSTANT, -1, value, {}] */

void topology_args_clear(struct topology_args *args) {
    free(args->arg);
    free(args->tensor);
    *args = (struct topology_args){0};
}

static bool is_count(const cJSON *json) {
    return cJSON_IsNumber(json) && json->valuedouble >= 0 && json->valuedouble <= MAX_NUMBER &&
           json->valuedouble == floor(json->valuedouble);
}

/* ["a", 0, 0] or ["a", 0, 0, {}] */
static bool is_tensor(const cJSON *json) {
    if (!cJSON_IsArray(json) || !cJSON_IsString(json->child)) return false;
    const cJSON *call = json->child->next;
    return is_count(call) && is_count(call->next);
}

static bool is_constant(const cJSON *json) {
    return cJSON_IsArray(json) && cJSON_IsString(json->child) &&
           !strcmp(json->child->valuestring, CONSTANT) && json->child->next && json->child->next->next;
}

/* The history of a tensor as Keras 3 writes it, NULL if it is none. */
static const cJSON *keras3_tensor(const cJSON *json) {
    const char *class_name = topology_string(json, "class_name");
    if (!class_name || strcmp(class_name, "__keras_tensor__")) return NULL;
    return topology_member(json, "config");
}

static status grow(void **array, int n, int *room, size_t size) {
    if (n < *room) return SUCCESS;
    int larger = *room ? 2 * *room : 8;
    void *grown = realloc(*array, (size_t)larger * size);
    if (!grown) return status_no_memory("a topology", (size_t)larger * size);
    *array = grown;
    *room = larger;
    return SUCCESS;
}

static status add_tensor(struct topology_args *args, const cJSON *history, const cJSON *shape) {
    void *array = args->tensor;
    STATUS_TRY(grow(&array, args->ntensors, &args->tensor_room, sizeof *args->tensor));
    args->tensor = array;
    args->tensor[args->ntensors++] =
        history
            ? (struct topology_tensor){history->child->valuestring, (int)history->child->next->valuedouble,
                                       (int)history->child->next->next->valuedouble, shape}
            : (struct topology_tensor){0};
    return SUCCESS;
}

static int compare_members(const void *a, const void *b) {
    return strcmp((*(const cJSON *const *)a)->string, (*(const cJSON *const *)b)->string);
}

/* What is met in an argument, besides its tensors. */
struct search {
    struct topology_args *args;
    bool keras3;
    int nulls, constants;
};

static status find_tensors(struct search *s, const cJSON *json);

/* By their keys' order. */
static status find_in_object(struct search *s, const cJSON *object) {
    size_t n = (size_t)cJSON_GetArraySize(object), i = 0;
    const cJSON **member = malloc((n + 1) * sizeof *member);
    if (!member) return status_no_memory("a topology", n * sizeof *member);
    for (const cJSON *item = object->child; item; item = item->next) member[i++] = item;
    qsort(member, n, sizeof *member, compare_members);
    status error = SUCCESS;
    for (i = 0; i < n && !error; i++) error = find_tensors(s, member[i]);
    free(member);
    return error;
}

static status find_tensors(struct search *s, const cJSON *json) {
    json = topology_unwrap(json);
    const cJSON *tensor = keras3_tensor(json);
    if (tensor) {
        const cJSON *history = topology_unwrap(topology_member(tensor, "keras_history"));
        if (!is_tensor(history)) return status_fail(STATUS_DATA, "a tensor without a keras_history");
        return add_tensor(s->args, history, topology_unwrap(topology_member(tensor, "shape")));
    }
    if (!s->keras3 && is_constant(json)) {
        s->constants++;
        return SUCCESS;
    }
    if (!s->keras3 && is_tensor(json)) return add_tensor(s->args, json, NULL);
    if (cJSON_IsArray(json)) {
        for (const cJSON *item = json->child; item; item = item->next) STATUS_TRY(find_tensors(s, item));
        return SUCCESS;
    }
    if (cJSON_IsObject(json) && !topology_member(json, "class_name")) return find_in_object(s, json);
    if (!cJSON_IsNull(json)) {
        s->constants++;
        return SUCCESS;
    }
    s->nulls++;
    return add_tensor(s->args, NULL, NULL);
}

static status add_arg(struct topology_args *args, const char *name, const cJSON *value, bool keras3) {
    void *array = args->arg;
    STATUS_TRY(grow(&array, args->n, &args->room, sizeof *args->arg));
    args->arg = array;
    value = topology_unwrap(value);
    struct search s = {.args = args, .keras3 = keras3};
    struct topology_arg arg = {.name = name, .value = value, .first = args->ntensors};
    STATUS_TRY(find_tensors(&s, value));
    arg.n = args->ntensors - arg.first;
    arg.mixed = s.constants && arg.n > s.nulls;
    arg.list = cJSON_IsArray(value) && (keras3 || !is_tensor(value));
    if (arg.n == s.nulls) { /* a constant */
        args->ntensors = arg.first;
        arg.n = 0;
        if (!keras3 && is_constant(value)) arg.value = topology_unwrap(value->child->next->next);
    }
    args->arg[args->n++] = arg;
    return SUCCESS;
}

/* The keywords of a call in Keras 2: those of the last tensor of the first argument, as Keras takes them. */
static const cJSON *keras2_keywords(const cJSON *json) {
    const cJSON *found = NULL;
    if (is_tensor(json) || is_constant(json)) return json->child->next->next->next;
    if (cJSON_IsArray(json) || cJSON_IsObject(json))
        for (const cJSON *item = json->child; item; item = item->next) {
            const cJSON *keywords = keras2_keywords(item);
            if (keywords) found = keywords;
        }
    return found;
}

status topology_args_read(const cJSON *call, struct topology_args *args) {
    args->n = args->ntensors = 0;
    const cJSON *positional = topology_unwrap(topology_member(call, "args"));
    bool keras3 = positional != NULL;
    if (keras3 && !cJSON_IsArray(positional))
        return status_fail(STATUS_DATA, "a call whose args are no list");
    if (!keras3 && !cJSON_IsArray(call) && !cJSON_IsObject(call))
        return status_fail(STATUS_DATA, "a call that is no list");
    for (const cJSON *item = keras3 ? positional->child : NULL; item; item = item->next)
        STATUS_TRY(add_arg(args, NULL, item, true));
    if (!keras3) STATUS_TRY(add_arg(args, NULL, call, false));
    const cJSON *keywords = keras3 ? topology_member(call, "kwargs") : keras2_keywords(call);
    if (cJSON_IsObject(keywords))
        for (const cJSON *item = keywords->child; item; item = item->next)
            STATUS_TRY(add_arg(args, item->string, item, keras3));
    return SUCCESS;
}

status topology_ends_read(const cJSON *ends, struct topology_args *args) {
    args->n = args->ntensors = 0;
    return ends ? add_arg(args, NULL, ends, false) : SUCCESS;
}

bool topology_arg_is_unused(const struct topology_arg *arg) {
    return arg->n == 0 && (!arg->value || cJSON_IsNull(arg->value) || cJSON_IsFalse(arg->value));
}
