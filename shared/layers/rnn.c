/* RNN: a cell, or a stack of cells, over a sequence. It is the layer of that cell, or one after the other. */
#include "shared/layers/emit.h"
#include "shared/layers/inner.h"
#include "shared/layers/mask.h"
#include "shared/layers/recurrent.h"

#include <stdio.h>
#include <string.h>

#define MAX_CELLS 5

static const struct attr_spec attrs[] = {
    {.name = "cell", .type = ATTR_LAYER},
    ATTR_SEQUENCES,
};
static const struct attr_spec simple_attrs[] = {ATTR_UNITS, ATTR_CELL};
static const struct attr_spec lstm_attrs[] = {ATTR_UNITS, ATTR_GATE, ATTR_CELL};
static const struct attr_spec gru_attrs[] = {ATTR_UNITS, ATTR_GATE, ATTR_CELL, ATTR_RESET_AFTER("false")};
static const struct attr_spec stack_attrs[] = {{.name = "cells", .type = ATTR_LAYERS}};

static const struct cell_class {
    const char *cell, *layer, *group; /* and the cell's group in .weights.h5 */
} classes[] = {
    {"SimpleRNNCell", "SimpleRNN", "simple_rnn_cell"},
    {"LSTMCell", "LSTM", "lstm_cell"},
    {"GRUCell", "GRU", "gru_cell"},
};

static const struct cell_class *class_of(const struct layer *cell) {
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (!strcmp(classes[i].cell, cell->kind->class_name)) return &classes[i];
    return NULL;
}

/* ---- the layers that it stands for ---- */

struct stack {
    int n;
    struct layer layer[MAX_CELLS];
    const struct layer *cell[MAX_CELLS];
};

static void stack_clear(struct stack *stack) {
    for (int i = 0; i < stack->n; i++) layer_clear(&stack->layer[i]);
    stack->n = 0;
}

/* Attributes that both have. */
static status copy_attrs(const struct layer *from, struct layer *to) {
    for (int i = 0; i < to->kind->nattrs; i++) {
        const struct attr_spec *spec = &to->kind->attrs[i];
        if (!layer_has_attr(from, spec->name)) continue;
        attr_clear(spec, &to->attr[i]);
        STATUS_TRY(attr_copy(spec, layer_attr(from, spec->name), &to->attr[i]));
    }
    return SUCCESS;
}

static status push(struct stack *stack, const struct layer *rnn, const struct layer *cell, bool last) {
    struct layer *made = &stack->layer[stack->n];
    STATUS_TRY(layer_create(layer_kind_find(class_of(cell)->layer), cell->name, made));
    stack->cell[stack->n++] = cell;
    STATUS_TRY(copy_attrs(cell, made));
    STATUS_TRY(copy_attrs(rnn, made));
    made->trainable = cell->trainable;
    if (stack->n > 1) layer_attr(made, "go_backwards")->u.b = false;
    if (last) return SUCCESS;
    layer_attr(made, "return_sequences")->u.b = true;
    layer_attr(made, "zero_output_for_mask")->u.b = false;
    return SUCCESS;
}

static void cells_of(const struct layer *layer, int *n, const struct layer **cells) {
    const struct layer *cell = inner_layer(layer, "cell");
    bool stacked = layer_has_attr(cell, "cells");
    *n = stacked ? layer_attr(cell, "cells")->u.layers.n : 1;
    *cells = stacked ? layer_attr(cell, "cells")->u.layers.v : cell;
}

static status stack_make(const struct layer *layer, struct stack *stack) {
    const struct layer *cells;
    int n;
    stack->n = 0;
    cells_of(layer, &n, &cells);
    for (int i = 0; i < n; i++) {
        status error = push(stack, layer, &cells[i], i + 1 == n);
        if (error) {
            stack_clear(stack);
            return error;
        }
    }
    return SUCCESS;
}

static status check(const struct layer *layer) {
    const struct layer *cells;
    int n;
    cells_of(layer, &n, &cells);
    if (n < 1 || n > MAX_CELLS)
        return status_fail(STATUS_UNSUPPORTED, "a stack of %d cells is not supported; it can have 1 to %d", n,
                           MAX_CELLS);
    for (int i = 0; i < n; i++) {
        if (!class_of(&cells[i]))
            return status_fail(STATUS_UNSUPPORTED, "cell \"%s\" (%s) is not supported", cells[i].name,
                               cells[i].kind->class_name);
        STATUS_TRY(inner_check(&cells[i]));
    }
    return SUCCESS;
}

/* ---- rules ---- */

static int states_of(const struct layer *cell) {
    return !strcmp(cell->kind->class_name, "LSTMCell") ? 2 : 1;
}

/* Initial states of all cells, or none. */
static status count_states(const struct stack *stack, int nin) {
    int states = 0;
    for (int i = 0; i < stack->n; i++) states += states_of(stack->cell[i]);
    if (nin == 1 || nin == 1 + states) return SUCCESS;
    return status_fail(STATUS_DATA, "has %d inputs; it takes 1, or %d with its states", nin, 1 + states);
}

static status infer_stack(const struct stack *stack, const struct shape *in, int nin, struct shape *out,
                          int *nout) {
    struct shape x = in[0], state[2 * MAX_CELLS];
    int given = 1, states = 0;
    STATUS_TRY(count_states(stack, nin));
    for (int i = 0; i < stack->n; i++) {
        struct shape own[3], made[LAYER_MAX_OUTPUTS];
        int n = 0, nmade;
        own[n++] = x;
        for (int k = 0; nin > 1 && k < states_of(stack->cell[i]); k++) own[n++] = in[given++];
        STATUS_TRY(stack->layer[i].kind->infer(&stack->layer[i], own, n, made, &nmade));
        x = made[0];
        for (int k = 1; k < nmade; k++) state[states++] = made[k];
    }
    if (1 + states > LAYER_MAX_OUTPUTS)
        return status_fail(STATUS_UNSUPPORTED, "has %d outputs; at most %d are supported", 1 + states,
                           LAYER_MAX_OUTPUTS);
    out[0] = x;
    for (int i = 0; i < states; i++) out[1 + i] = state[i];
    *nout = 1 + states;
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct stack stack;
    STATUS_TRY(stack_make(layer, &stack));
    status error = infer_stack(&stack, in, nin, out, nout);
    stack_clear(&stack);
    return error;
}

/* In .weights.h5 cells of a stack are named by class and counted: lstm_cell, lstm_cell_1. */
static void set_path(const struct stack *stack, int at, struct weight *weight, int n) {
    const char *group = class_of(stack->cell[at])->group;
    int before = 0;
    char number[16] = "";
    for (int i = 0; i < at; i++) before += class_of(stack->cell[i]) == class_of(stack->cell[at]);
    if (before) snprintf(number, sizeof number, "_%d", before);
    for (int i = 0; i < n; i++)
        snprintf(weight[i].path, sizeof weight[i].path, "cell/cells/%s%s", group, number);
}

static status stack_weights(const struct layer *layer, const struct stack *stack, const struct shape *in,
                            struct weight *weight, int *nweights) {
    static const char *const prefixes[MAX_CELLS] = {"cell0/", "cell1/", "cell2/", "cell3/", "cell4/"};
    bool stacked = layer_has_attr(inner_layer(layer, "cell"), "cells");
    struct shape x = *in;
    int n = 0;
    for (int i = 0; i < stack->n; i++) {
        int first = n;
        STATUS_TRY(inner_weights(&stack->layer[i], "", stacked ? prefixes[i] : NULL, &x, 1, weight, &n));
        if (stacked) set_path(stack, i, weight + first, n - first);
        x.dim[2] = layer_int(stack->cell[i], "units");
    }
    inner_hide_outputs(weight, n);
    *nweights = n;
    return SUCCESS;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    struct stack stack;
    (void)nin;
    STATUS_TRY(stack_make(layer, &stack));
    status error = stack_weights(layer, &stack, in, weight, nweights);
    stack_clear(&stack);
    return error;
}

static status channels(const struct layer *layer, struct channels *c) {
    (void)layer;
    for (int k = 1; k < c->nin; k++) channels_keep(c, k);
    return channels_fresh_whole(c);
}

static status lower_stack(const struct layer *layer, const struct stack *stack, struct lowering *lowering) {
    int x = lowering->in[0], mask, given = 1, count = 1;
    const int *param = lowering->param;
    STATUS_TRY(mask_of_steps(lowering, &mask));
    lowering->out_mask[0] = layer_bool(layer, "return_sequences") ? mask : -1;
    for (int i = 0; i < stack->n; i++) {
        const struct layer *one = &stack->layer[i];
        struct lowering made;
        int in[3], masks[3], n = 0;
        /* What the cells after the first get is in the order of computation. */
        if (i == 1 && mask >= 0 && layer_bool(layer, "go_backwards"))
            STATUS_TRY(emit_reverse(lowering, mask, 1, &mask));
        in[n] = x;
        masks[n++] = mask;
        for (int k = 0; lowering->nin > 1 && k < states_of(stack->cell[i]); k++) {
            in[n] = lowering->in[given++];
            masks[n++] = -1;
        }
        STATUS_TRY(inner_lower(one, lowering, n, in, masks, param, &made));
        param += layer_bool(one, "use_bias") ? 3 : 2;
        x = made.out[0];
        for (int k = 1; k < made.nout; k++) lowering->out[count++] = made.out[k];
    }
    lowering->out[0] = x;
    lowering->nout = count;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    struct stack stack;
    STATUS_TRY(stack_make(layer, &stack));
    status error = lower_stack(layer, &stack, lowering);
    stack_clear(&stack);
    return error;
}

const struct layer_kind layer_kind_rnn = {
    .class_name = "RNN",
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

/* ---- cells, which are no layers by themselves ---- */

static status infer_cell(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                         int *nout) {
    (void)layer, (void)in, (void)nin, (void)out, (void)nout;
    return status_fail(STATUS_UNSUPPORTED, "a cell outside of an RNN is not supported");
}

static status lower_cell(const struct layer *layer, struct lowering *lowering) {
    return infer_cell(layer, NULL, lowering->nin, NULL, NULL);
}

#define CELL_KIND(symbol, text, table, checks)                                                               \
    const struct layer_kind layer_kind_##symbol = {                                                          \
        .class_name = text,                                                                                  \
        ATTRS(table),                                                                                        \
        .min_inputs = 1,                                                                                     \
        .max_inputs = -1,                                                                                    \
        .check = checks,                                                                                     \
        .infer = infer_cell,                                                                                 \
        .lower = lower_cell,                                                                                 \
    }

CELL_KIND(simple_rnn_cell, "SimpleRNNCell", simple_attrs, recurrent_check);
CELL_KIND(lstm_cell, "LSTMCell", lstm_attrs, recurrent_check);
CELL_KIND(gru_cell, "GRUCell", gru_attrs, recurrent_check);
CELL_KIND(stacked_rnn_cells, "StackedRNNCells", stack_attrs, NULL);
