/* A recurrent layer forwards and another one backwards in time. */
#include "shared/layers/emit.h"
#include "shared/layers/inner.h"
#include "shared/layers/kind.h"
#include "shared/layers/mask.h"

#include <string.h>

static const struct attr_spec attrs[] = {
    {.name = "layer", .type = ATTR_LAYER},
    /* The layer the other way round if absent. */
    {.name = "backward_layer", .type = ATTR_LAYER, .initial = "null"},
    /* null: both outputs, one after the other; every file has it */
    {.name = "merge_mode", .type = ATTR_STRING, .initial = "null", .choices = "concat|sum|mul|ave"},
};

static bool flag(const struct layer *layer, const char *name) {
    return layer_bool(layer, name);
}

static status check_direction(const struct layer *inner) {
    if (!layer_has_attr(inner, "go_backwards") || !layer_has_attr(inner, "zero_output_for_mask"))
        return status_fail(STATUS_UNSUPPORTED, "inner layer \"%s\" (%s) is not a recurrent layer known here",
                           inner->name, inner->kind->class_name);
    return inner_check(inner);
}

static status check(const struct layer *layer) {
    static const char *const same[] = {"return_sequences", "return_state"};
    const struct layer *forward = inner_layer(layer, "layer"),
                       *backward = inner_layer(layer, "backward_layer");
    STATUS_TRY(check_direction(forward));
    if (!backward) return SUCCESS;
    STATUS_TRY(check_direction(backward));
    if (flag(forward, "go_backwards") == flag(backward, "go_backwards"))
        return status_fail(STATUS_DATA, "both of its layers go the same way");
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if (flag(forward, same[i]) != flag(backward, same[i]))
            return status_fail(STATUS_DATA, "its layers differ in \"%s\"", same[i]);
    return SUCCESS;
}

/* The layer of one direction as Keras makes it: outputs of steps left out are zero in a sequence. */
static status make_direction(const struct layer *layer, bool backwards, struct layer *made) {
    const struct layer *given = backwards ? inner_layer(layer, "backward_layer") : NULL,
                       *inner = given ? given : inner_layer(layer, "layer");
    STATUS_TRY(layer_copy(inner, inner->name, made));
    if (backwards && !given) layer_attr(made, "go_backwards")->u.b = !flag(inner, "go_backwards");
    layer_attr(made, "zero_output_for_mask")->u.b = flag(inner, "return_sequences");
    return SUCCESS;
}

struct pair {
    struct layer way[2]; /* forward, backward */
};

static void pair_clear(struct pair *pair) {
    for (int i = 0; i < 2; i++)
        if (pair->way[i].kind) layer_clear(&pair->way[i]);
}

static status pair_make(const struct layer *layer, struct pair *pair) {
    *pair = (struct pair){0};
    status error = make_direction(layer, false, &pair->way[0]);
    if (!error) error = make_direction(layer, true, &pair->way[1]);
    if (error) pair_clear(pair);
    return error;
}

/* The inputs of one way: the sequences and half of the states. `item` is what there is of each input. */
#define MAX_WAY_INPUTS (1 + LAYER_MAX_OUTPUTS)

static status split_inputs(int nin, int *each) {
    if (nin % 2 == 0 || nin > 2 * MAX_WAY_INPUTS - 1)
        return status_fail(STATUS_DATA, "has %d inputs; it takes the sequences and the states of both ways",
                           nin);
    *each = (nin - 1) / 2;
    return SUCCESS;
}

static bool is_merged(const struct layer *layer) {
    return layer_attr(layer, "merge_mode")->present;
}

static status infer_pair(const struct layer *layer, const struct pair *pair, const struct shape *in, int nin,
                         struct shape *out, int *nout) {
    struct shape made[2][LAYER_MAX_OUTPUTS];
    int each = 0, n[2], count = 0;
    STATUS_TRY(split_inputs(nin, &each));
    for (int i = 0; i < 2; i++) {
        struct shape own[MAX_WAY_INPUTS];
        own[0] = in[0];
        for (int k = 0; k < each; k++) own[1 + k] = in[1 + i * each + k];
        STATUS_TRY(pair->way[i].kind->infer(&pair->way[i], own, 1 + each, made[i], &n[i]));
    }
    if (n[0] + n[1] > LAYER_MAX_OUTPUTS)
        return status_fail(STATUS_UNSUPPORTED, "has %d outputs; at most %d are supported", n[0] + n[1],
                           LAYER_MAX_OUTPUTS);
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    bool concat = is_merged(layer) && !strcmp(layer_string(layer, "merge_mode"), "concat");
    if (is_merged(layer) && !concat && !shape_equal(&made[0][0], &made[1][0]))
        return status_fail(STATUS_DATA, "outputs of shapes %s and %s cannot be merged",
                           shape_format(&made[0][0], a), shape_format(&made[1][0], b));
    out[count++] = made[0][0];
    if (concat) out[0].dim[out[0].rank - 1] += made[1][0].dim[made[1][0].rank - 1];
    if (!is_merged(layer)) out[count++] = made[1][0];
    for (int i = 0; i < 2; i++)
        for (int k = 1; k < n[i]; k++) out[count++] = made[i][k];
    *nout = count;
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct pair pair;
    STATUS_TRY(pair_make(layer, &pair));
    status error = infer_pair(layer, &pair, in, nin, out, nout);
    pair_clear(&pair);
    return error;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    struct pair pair;
    int n = 0;
    (void)nin;
    STATUS_TRY(pair_make(layer, &pair));
    status error = inner_weights(&pair.way[0], "forward_layer", "forward/", in, 1, weight, &n);
    if (!error) error = inner_weights(&pair.way[1], "backward_layer", "backward/", in, 1, weight, &n);
    pair_clear(&pair);
    inner_hide_outputs(weight, n);
    *nweights = n;
    return error;
}

static status channels(const struct layer *layer, struct channels *c) {
    (void)layer;
    for (int k = 1; k < c->nin; k++) channels_keep(c, k);
    return channels_fresh_whole(c);
}

static status merge(const struct layer *layer, struct lowering *lowering, int forward, int backward,
                    int *out) {
    const char *mode = layer_string(layer, "merge_mode");
    int both[2] = {forward, backward};
    if (!strcmp(mode, "concat"))
        return emit_concat(lowering, 2, both, lowering_shape(lowering, forward)->rank - 1, out);
    STATUS_TRY(emit_binary(lowering, !strcmp(mode, "mul") ? BINARY_MUL : BINARY_ADD, forward, backward, out));
    return !strcmp(mode, "ave") ? emit_affine(lowering, *out, 0.5f, 0, out) : SUCCESS;
}

static status lower_pair(const struct layer *layer, const struct pair *pair, struct lowering *lowering) {
    struct lowering made[2];
    int each = 0, param = 0, count = 0;
    STATUS_TRY(split_inputs(lowering->nin, &each));
    for (int i = 0; i < 2; i++) {
        int in[MAX_WAY_INPUTS] = {lowering->in[0]}, mask[MAX_WAY_INPUTS] = {lowering->mask[0]};
        for (int k = 0; k < each; k++) {
            in[1 + k] = lowering->in[1 + i * each + k];
            mask[1 + k] = -1;
        }
        STATUS_TRY(
            inner_lower(&pair->way[i], lowering, 1 + each, in, mask, lowering->param + param, &made[i]));
        while (param < layer->nweights && !strncmp(layer->weight[param].name, "forward/", 8)) param++;
    }
    if (flag(&pair->way[0], "return_sequences"))
        STATUS_TRY(emit_reverse(lowering, made[1].out[0], 1, &made[1].out[0]));
    int mask = made[0].out_mask[0];
    if (is_merged(layer)) {
        STATUS_TRY(merge(layer, lowering, made[0].out[0], made[1].out[0], &lowering->out[0]));
        lowering->out_mask[count++] = mask;
    } else {
        for (; count < 2; count++) {
            lowering->out[count] = made[count].out[0];
            lowering->out_mask[count] = mask;
        }
    }
    for (int i = 0; i < 2; i++)
        for (int k = 1; k < made[i].nout; k++) lowering->out[count++] = made[i].out[k];
    lowering->nout = count;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    struct pair pair;
    STATUS_TRY(pair_make(layer, &pair));
    status error = lower_pair(layer, &pair, lowering);
    pair_clear(&pair);
    return error;
}

const struct layer_kind layer_kind_bidirectional = {
    .class_name = "Bidirectional",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = -1,
    .call_args = "sequences|initial_state",
    .fitted = true,
    .check = check,
    .infer = infer,
    .weights = weights,
    .channels = channels,
    .lower = lower,
};
