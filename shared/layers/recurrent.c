/* SimpleRNN, LSTM and GRU, over the time axis of (N,T,C).
 *
 * Dropout on inputs and states is applied neither in inference, as in Keras, nor in training. Layers that are
 * stateful are refused when they are read: here each sample begins with fresh states, and what Keras would
 * carry over from the batch before would be missing. */
#include "shared/layers/emit.h"
#include "shared/layers/kind.h"
#include "shared/layers/mask.h"
#include "shared/layers/recurrent.h"

#include <string.h>

static const struct attr_spec simple_attrs[] = {ATTR_UNITS, ATTR_CELL, ATTR_SEQUENCES};
static const struct attr_spec lstm_attrs[] = {ATTR_UNITS, ATTR_GATE, ATTR_CELL, ATTR_SEQUENCES};
static const struct attr_spec gru_attrs[] = {ATTR_UNITS, ATTR_GATE, ATTR_CELL, ATTR_SEQUENCES,
                                             ATTR_RESET_AFTER("false")};
static const struct attr_spec cudnn_gru_attrs[] = {ATTR_UNITS, ATTR_GATE, ATTR_CELL, ATTR_SEQUENCES,
                                                   ATTR_RESET_AFTER("true")};

static const struct facts {
    enum cell cell;
    int gates, states;
} simple = {CELL_SIMPLE, 1, 1}, lstm = {CELL_LSTM, 4, 2}, gru = {CELL_GRU, 3, 1};

static const struct facts *facts_of(const struct layer *layer) {
    if (layer_has_attr(layer, "reset_after")) return &gru;
    return layer_has_attr(layer, "recurrent_activation") ? &lstm : &simple;
}

static bool resets_after(const struct layer *layer) {
    return layer_has_attr(layer, "reset_after") && layer_bool(layer, "reset_after");
}

status recurrent_check(const struct layer *layer) {
    struct activation_function function;
    if (layer_has_attr(layer, "recurrent_activation"))
        STATUS_TRY(activation_find(layer_string(layer, "recurrent_activation"), 3, &function));
    return activation_find(layer_string(layer, "activation"), 3, &function);
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    const struct facts *facts = facts_of(layer);
    char is[SHAPE_TEXT_MAX], should[SHAPE_TEXT_MAX];
    STATUS_TRY(kind_positive(layer, "units"));
    int64_t units = layer_int(layer, "units");
    const struct shape state = SHAPE(in[0].dim[0], units);
    if (in[0].rank != 3 || in[0].dim[2] < 1)
        return status_fail(STATUS_DATA,
                           "its input has shape %s; it takes (batch, steps, features), features known",
                           shape_format(&in[0], is));
    if (nin != 1 && nin != 1 + facts->states)
        return status_fail(STATUS_DATA, "has %d inputs; it takes 1, or %d with its states", nin,
                           1 + facts->states);
    for (int i = 1; i < nin; i++)
        if (in[i].rank != 2 || in[i].dim[1] != units)
            return status_fail(STATUS_DATA, "a state has shape %s; it must be %s", shape_format(&in[i], is),
                               shape_format(&state, should));
    int n = 0;
    out[n++] = layer_bool(layer, "return_sequences") ? SHAPE(in[0].dim[0], in[0].dim[1], units) : state;
    if (layer_bool(layer, "return_state"))
        while (n <= facts->states) out[n++] = state;
    *nout = n;
    return SUCCESS;
}

static struct weight weight_of(const char *name, const struct shape *shape, int in_axis, int gates) {
    return (struct weight){.name = name,
                           .shape = *shape,
                           .path = "cell",
                           .trainable = true,
                           .in_axis = in_axis,
                           .out_axis = shape->rank - 1,
                           .blocks = gates};
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    int gates = facts_of(layer)->gates, n = 0;
    int64_t units = layer_int(layer, "units"), width = units * gates;
    (void)nin;
    weight[n++] = weight_of("kernel", &SHAPE(in[0].dim[2], width), 0, gates);
    weight[n] = weight_of("recurrent_kernel", &SHAPE(units, width), 0, gates);
    weight[n++].feedback = true;
    if (layer_bool(layer, "use_bias"))
        weight[n++] = weight_of("bias", resets_after(layer) ? &SHAPE(2, width) : &SHAPE(width), -1, gates);
    *nweights = n;
    return SUCCESS;
}

/* The first input's channels are free, and so are the units, unless states are given or read, which would
 * have to go with them. */
static status channels(const struct layer *layer, struct channels *c) {
    for (int k = 1; k < c->nin; k++) channels_keep(c, k);
    bool states = c->nin > 1 || layer_bool(layer, "return_state");
    return states ? channels_fresh_whole(c) : channels_fresh(c);
}

static status set_width(struct layer *layer, int64_t n) {
    layer_attr(layer, "units")->u.i = n;
    return SUCCESS;
}

/* ---- lowering ---- */

/* The outputs of all steps: (N,T,u), or (N,T,2u) with the cell's states. */
static status emit_steps(const struct layer *layer, struct lowering *lowering, int mask, int *steps) {
    const struct facts *facts = facts_of(layer);
    const struct shape in = *lowering_shape(lowering, lowering->in[0]);
    int values[4], n = 0;
    for (int i = 0; i < lowering->nin; i++) values[n++] = lowering->in[i];
    if (mask >= 0) values[n++] = mask;
    struct op op = op_make(OP_RECURRENT, values, n);
    op.u.recurrent = (struct recurrent){
        .cell = facts->cell,
        .reset_after = resets_after(layer),
        .backwards = layer_bool(layer, "go_backwards"),
        .mask = mask >= 0,
        .cell_state = facts->cell == CELL_LSTM && layer_bool(layer, "return_state"),
        .states = lowering->nin - 1,
    };
    int version = lowering->keras_version;
    STATUS_TRY(activation_find(layer_string(layer, "activation"), version, &op.u.recurrent.activation));
    if (layer_has_attr(layer, "recurrent_activation"))
        STATUS_TRY(
            activation_find(layer_string(layer, "recurrent_activation"), version, &op.u.recurrent.gate));
    for (int i = 0; i < 3; i++) op.param[i] = lowering->param[i];
    if (!layer_bool(layer, "use_bias")) op.param[2] = -1;
    int64_t width = layer_int(layer, "units") * (op.u.recurrent.cell_state ? 2 : 1);
    return lowering_add(lowering, &op, &SHAPE(in.dim[0], in.dim[1], width), steps);
}

/* One step of (N,T,...), without the time axis. */
static status step_of(struct lowering *lowering, int value, bool last, int *out) {
    struct shape shape = *lowering_shape(lowering, value);
    int64_t at = last && shape.dim[1] > 0 ? shape.dim[1] - 1 : 0;
    STATUS_TRY(emit_slice(lowering, value, 1, at, 1, 1, out));
    for (int i = 1; i + 1 < shape.rank; i++) shape.dim[i] = shape.dim[i + 1];
    shape.dim[--shape.rank] = 0;
    return emit_reshape(lowering, *out, &shape, out);
}

/* The hidden state after the last step is the last output, but where the mask has left out every step: then
 * the output is zero and the state is what it was. */
static status add_initial_state(struct lowering *lowering, int mask, int *hidden) {
    int any, kept;
    if (mask < 0 || lowering->nin == 1) return SUCCESS;
    STATUS_TRY(emit_reduce(lowering, REDUCE_MAX, mask, 1, true, &any));
    STATUS_TRY(emit_affine(lowering, any, -1, 1, &kept));
    STATUS_TRY(emit_binary(lowering, BINARY_MUL, lowering->in[1], kept, &kept));
    return emit_binary(lowering, BINARY_ADD, *hidden, kept, hidden);
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    bool sequences = layer_bool(layer, "return_sequences"), states = layer_bool(layer, "return_state");
    bool backwards = layer_bool(layer, "go_backwards"), lstm_states = false;
    int64_t units = layer_int(layer, "units");
    int mask, steps, last = -1, n = 0;
    STATUS_TRY(mask_of_steps(lowering, &mask));
    lowering->out_mask[0] = sequences ? mask : -1;
    /* Keras 3 looks for a mask only where the sequences are the only input. */
    if (lowering->keras_version >= 3 && lowering->nin > 1) mask = -1;
    STATUS_TRY(emit_steps(layer, lowering, mask, &steps));
    lstm_states = lowering_shape(lowering, steps)->dim[2] != units;
    if (!sequences || states) STATUS_TRY(step_of(lowering, steps, true, &last));

    int output = sequences ? steps : last, zero = layer_bool(layer, "zero_output_for_mask") ? mask : -1;
    if (lstm_states) STATUS_TRY(emit_slice(lowering, output, sequences ? 2 : 1, 0, units, 1, &output));
    int hidden = sequences ? -1 : output;
    if (zero >= 0 && sequences && backwards) STATUS_TRY(emit_reverse(lowering, zero, 1, &zero));
    if (zero >= 0 && !sequences) { /* of the step computed last */
        int64_t t = lowering_shape(lowering, zero)->dim[1];
        STATUS_TRY(emit_slice(lowering, zero, 1, backwards || t < 0 ? 0 : t - 1, 1, 1, &zero));
        STATUS_TRY(emit_binary(lowering, BINARY_MUL, output, zero, &output));
    } else if (zero >= 0) {
        STATUS_TRY(mask_apply(lowering, zero, output, &output));
    }
    lowering->out[n++] = output;
    if (states) {
        if (hidden < 0 && lstm_states) STATUS_TRY(emit_slice(lowering, last, 1, 0, units, 1, &hidden));
        else if (hidden < 0) hidden = last;
        STATUS_TRY(add_initial_state(lowering, mask, &hidden));
        lowering->out[n++] = hidden;
        if (lstm_states) STATUS_TRY(emit_slice(lowering, last, 1, units, units, 1, &lowering->out[n++]));
    }
    lowering->nout = n;
    return SUCCESS;
}

#define RECURRENT_KIND(symbol, text, table, states, other)                                                   \
    const struct layer_kind layer_kind_##symbol = {                                                          \
        .class_name = text,                                                                                  \
        ATTRS(table),                                                                                        \
        .min_inputs = 1,                                                                                     \
        .max_inputs = 1 + (states),                                                                          \
        .call_args = "sequences|initial_state",                                                              \
        .becomes = other,                                                                                    \
        .fitted = true,                                                                                      \
        .check = recurrent_check,                                                                            \
        .infer = infer,                                                                                      \
        .weights = weights,                                                                                  \
        .channels = channels,                                                                                \
        .lower = lower,                                                                                      \
        .set_width = set_width,                                                                              \
    }

RECURRENT_KIND(simple_rnn, "SimpleRNN", simple_attrs, 1, NULL);
RECURRENT_KIND(lstm, "LSTM", lstm_attrs, 2, NULL);
RECURRENT_KIND(gru, "GRU", gru_attrs, 1, NULL);
/* The same layers for one library, with their weights laid out otherwise in files. */
RECURRENT_KIND(cu_dnn_lstm, "CuDNNLSTM", lstm_attrs, 2, &layer_kind_lstm);
RECURRENT_KIND(cu_dnn_gru, "CuDNNGRU", cudnn_gru_attrs, 1, &layer_kind_gru);
