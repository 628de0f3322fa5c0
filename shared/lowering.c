/* What layer kinds use to emit operations. */
#include "shared/layer.h"

#include <math.h>
#include <string.h>

status lowering_add(struct lowering *lowering, const struct op *op, const struct shape *shape, int *value) {
    struct op copy = *op;
    copy.node = lowering->node;
    return opgraph_add_op(lowering->graph, &copy, shape, value);
}

struct op op_make(enum op_kind kind, int *in, int nin) {
    return (struct op){.kind = kind, .node = -1, .nin = nin, .in = in, .out = -1, .param = {-1, -1, -1, -1}};
}

const struct shape *lowering_shape(const struct lowering *lowering, int value) {
    return &lowering->graph->value[value];
}

/* Keras's activation functions by name, with the parameters they have when named as a string. */
static const struct named_activation {
    const char *name;
    enum activation kind;
    float alpha, beta, gamma;
} activations[] = {
    {"linear", ACTIVATION_LINEAR, 0, 0, 0},
    {"relu", ACTIVATION_RELU, 0, INFINITY, 0},
    {"relu6", ACTIVATION_RELU, 0, 6, 0},
    {"leaky_relu", ACTIVATION_RELU, 0.2f, INFINITY, 0},
    {"sigmoid", ACTIVATION_SIGMOID, 0, 0, 0},
    {"tanh", ACTIVATION_TANH, 0, 0, 0},
    {"softplus", ACTIVATION_SOFTPLUS, 0, 0, 0},
    {"softsign", ACTIVATION_SOFTSIGN, 0, 0, 0},
    {"elu", ACTIVATION_ELU, 1, 0, 0},
    {"selu", ACTIVATION_SELU, 0, 0, 0},
    {"exponential", ACTIVATION_EXPONENTIAL, 0, 0, 0},
    {"silu", ACTIVATION_SILU, 0, 0, 0},
    {"swish", ACTIVATION_SILU, 0, 0, 0},
    {"gelu", ACTIVATION_GELU, 0, 0, 0},
    {"hard_sigmoid", ACTIVATION_HARD_SIGMOID, 1.0f / 6, 0.5f, 0}, /* Keras 2: 0.2, see below */
    {"hard_silu", ACTIVATION_HARD_SILU, 0, 0, 0},
    {"hard_swish", ACTIVATION_HARD_SILU, 0, 0, 0},
};

static const struct named_activation *find_activation(const char *name) {
    for (size_t i = 0; i < sizeof activations / sizeof activations[0]; i++)
        if (!strcmp(activations[i].name, name)) return &activations[i];
    return NULL;
}

status activation_check(const char *name) {
    if (!strcmp(name, "softmax") || find_activation(name)) return SUCCESS;
    return status_fail(STATUS_UNSUPPORTED, "activation \"%s\" is not supported", name);
}

status activation_find(const char *name, int keras_version, struct activation_function *function) {
    const struct named_activation *found = find_activation(name);
    if (!found) return status_fail(STATUS_UNSUPPORTED, "activation \"%s\" is not supported here", name);
    *function = (struct activation_function){
        .kind = found->kind, .alpha = found->alpha, .beta = found->beta, .gamma = found->gamma};
    if (found->kind == ACTIVATION_HARD_SIGMOID && keras_version < 3) function->alpha = 0.2f;
    return SUCCESS;
}

status lowering_add_activation(struct lowering *lowering, const char *name, int value, int *out) {
    const struct shape shape = *lowering_shape(lowering, value);
    if (!strcmp(name, "softmax")) {
        struct op op = op_make(OP_SOFTMAX, &value, 1);
        op.u.axis.axis = shape.rank - 1;
        return lowering_add(lowering, &op, &shape, out);
    }
    struct op op = op_make(OP_ACTIVATION, &value, 1);
    STATUS_TRY(activation_find(name, lowering->keras_version, &op.u.act));
    *out = value;
    return op.u.act.kind == ACTIVATION_LINEAR ? SUCCESS : lowering_add(lowering, &op, &shape, out);
}

status layer_lower(const struct layer *layer, struct lowering *lowering) {
    int mask = -1;
    for (int k = 0; layer->kind->passes_mask && mask < 0 && k < lowering->nin; k++) mask = lowering->mask[k];
    for (int k = 0; k < LAYER_MAX_OUTPUTS; k++) lowering->out_mask[k] = mask;
    return layer->kind->lower(layer, lowering);
}
