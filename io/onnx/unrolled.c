#include "io/onnx/unrolled.h"

#include <stdio.h>
#include <stdlib.h>

/* What the steps share; the names of values. */
struct unrolled {
    struct onnx_graph *g;
    const struct recurrent *r;
    int64_t steps, units;
    int gates;
    const char **sums;      /* [steps] of the inputs: (N, gates*u) */
    const char **mask;      /* [steps] truths (N,1); NULL: no mask */
    const char *kernel;     /* recurrent (u, gates*u); GRU that resets before: (u, 2*u) */
    const char *candidate;  /* GRU that resets before: (u, u) */
    const char *inner_bias; /* GRU that resets after: (gates*u) */
    const char *zeros;      /* (N,u) */
};

static const char *binary(struct unrolled *u, const char *type, const char *a, const char *b) {
    return onnx_graph_node(u->g, type, ONNX_IN(a, b), ONNX_PLAIN);
}

static const char *choose(struct unrolled *u, const char *mask, const char *yes, const char *no) {
    return onnx_graph_node(u->g, "Where", ONNX_IN(mask, yes, no), ONNX_PLAIN);
}

/* Equal parts along axis 1. */
static void split(struct onnx_graph *g, const char *x, int n, const char **part) {
    for (int i = 0; i < n; i++) part[i] = NULL;
    if (n == 1) part[0] = x;
    else onnx_graph_node_outputs(g, "Split", ONNX_IN(x), ONNX_WITH(ONNX_INT("axis", 1)), n, part);
}

/* ---- before the steps ---- */

/* Columns [first, first + n) of a parameter's rows. */
static const char *columns(struct onnx_export *e, int param, int64_t first, int64_t n) {
    const struct shape *shape = onnx_param_shape(e, param);
    const int64_t rows = shape->dim[0], all = shape->dim[1];
    float *to = onnx_graph_memory(e->onnx, rows * n);
    char name[512];
    for (int64_t i = 0; to && i < rows * n; i++)
        to[i] = onnx_param_values(e, param)[i / n * all + first + i % n];
    onnx_param_name(e, param, name, sizeof name);
    return onnx_graph_floats(e->onnx, name, &SHAPE(rows, n), to, true);
}

/* Row `row` of the bias. */
static const char *bias_row(struct onnx_export *e, int param, int64_t row, int64_t n) {
    char name[512];
    onnx_param_name(e, param, name, sizeof name);
    return onnx_graph_floats(e->onnx, name, &SHAPE(n), onnx_param_values(e, param) + row * n, true);
}

static void prepare_kernels(struct onnx_export *e, const struct op *op, struct unrolled *u) {
    const int64_t width = u->gates * u->units;
    if (u->r->cell == CELL_GRU && !u->r->reset_after) {
        u->kernel = columns(e, op->param[1], 0, 2 * u->units);
        u->candidate = columns(e, op->param[1], 2 * u->units, u->units);
    } else {
        u->kernel = onnx_param(e, op->param[1], NULL);
    }
    if (u->r->reset_after && op->param[2] >= 0) u->inner_bias = bias_row(e, op->param[2], 1, width);
}

/* The inputs' products and biases of all steps. */
static void prepare_sums(struct onnx_export *e, const struct op *op, struct unrolled *u) {
    const int64_t axis = 1;
    const char *x =
        binary(u, "MatMul", onnx_in(e, op->in[0], LAYOUT_LAST), onnx_param(e, op->param[0], NULL));
    if (op->param[2] >= 0) x = binary(u, "Add", x, bias_row(e, op->param[2], 0, u->gates * u->units));
    split(u->g, x, (int)u->steps, u->sums);
    const char *constant = onnx_graph_ints(u->g, "axis", 1, &axis);
    for (int64_t t = 0; t < u->steps; t++) u->sums[t] = binary(u, "Squeeze", u->sums[t], constant);
}

static void prepare_zeros(struct unrolled *u, const char *x) {
    const char *batch =
        onnx_graph_node(u->g, "Shape", ONNX_IN(x), ONNX_WITH(ONNX_INT("start", 0), ONNX_INT("end", 1)));
    const char *shape =
        onnx_graph_node(u->g, "Concat", ONNX_IN(batch, onnx_graph_ints(u->g, "units", 1, &u->units)),
                        ONNX_WITH(ONNX_INT("axis", 0)));
    u->zeros = onnx_graph_node(u->g, "ConstantOfShape", ONNX_IN(shape), ONNX_PLAIN);
}

static void prepare_mask(struct onnx_export *e, const struct op *op, struct unrolled *u) {
    const char *mask = onnx_in(e, op->in[op->nin - 1], LAYOUT_LAST);
    mask = onnx_graph_node(u->g, "Cast", ONNX_IN(mask), ONNX_WITH(ONNX_INT("to", 9)));
    split(u->g, mask, (int)u->steps, u->mask);
}

/* ---- a step ---- */

struct states {
    const char *h, *c;
};

static struct states lstm_step(struct unrolled *u, const char *sums, struct states s) {
    const char *gate[4];
    split(u->g, binary(u, "Add", sums, binary(u, "MatMul", s.h, u->kernel)), 4, gate);
    const char *in = onnx_function(u->g, &u->r->gate, gate[0]);
    const char *forget = onnx_function(u->g, &u->r->gate, gate[1]);
    const char *candidate = onnx_function(u->g, &u->r->activation, gate[2]);
    const char *out = onnx_function(u->g, &u->r->gate, gate[3]);
    s.c = binary(u, "Add", binary(u, "Mul", forget, s.c), binary(u, "Mul", in, candidate));
    s.h = binary(u, "Mul", out, onnx_function(u->g, &u->r->activation, s.c));
    return s;
}

/* h = z*h + (1 - z)*candidate = candidate + z*(h - candidate) */
static struct states gru_step(struct unrolled *u, const char *sums, struct states s) {
    const char *x[3], *h[3];
    split(u->g, sums, 3, x);
    const char *product = binary(u, "MatMul", s.h, u->kernel);
    if (u->inner_bias) product = binary(u, "Add", product, u->inner_bias);
    split(u->g, product, u->r->reset_after ? 3 : 2, h);
    const char *update = onnx_function(u->g, &u->r->gate, binary(u, "Add", x[0], h[0]));
    const char *reset = onnx_function(u->g, &u->r->gate, binary(u, "Add", x[1], h[1]));
    const char *inner = u->r->reset_after ? binary(u, "Mul", reset, h[2])
                                          : binary(u, "MatMul", binary(u, "Mul", reset, s.h), u->candidate);
    const char *candidate = onnx_function(u->g, &u->r->activation, binary(u, "Add", x[2], inner));
    s.h = binary(u, "Add", candidate, binary(u, "Mul", update, binary(u, "Sub", s.h, candidate)));
    return s;
}

static struct states step(struct unrolled *u, const char *sums, struct states s) {
    switch (u->r->cell) {
    case CELL_LSTM:
        return lstm_step(u, sums, s);
    case CELL_GRU:
        return gru_step(u, sums, s);
    case CELL_SIMPLE:
        break;
    }
    s.h = onnx_function(u->g, &u->r->activation, binary(u, "Add", sums, binary(u, "MatMul", s.h, u->kernel)));
    return s;
}

/* Steps that the mask leaves out change no state and give the output before. outputs: [steps] (N,1,u). */
static void all_steps(struct unrolled *u, struct states s, const char **outputs) {
    const int64_t axis = 1;
    const char *before = u->zeros, *constant = onnx_graph_ints(u->g, "axis", 1, &axis);
    for (int64_t i = 0; i < u->steps; i++) {
        const int64_t t = u->r->backwards ? u->steps - 1 - i : i;
        struct states next = step(u, u->sums[t], s);
        const char *y = next.h;
        if (u->mask) {
            y = choose(u, u->mask[t], next.h, before);
            next.h = choose(u, u->mask[t], next.h, s.h);
            if (next.c) next.c = choose(u, u->mask[t], next.c, s.c);
        }
        before = y;
        s = next;
        if (u->r->cell_state)
            y = onnx_graph_node(u->g, "Concat", ONNX_IN(y, s.c), ONNX_WITH(ONNX_INT("axis", 1)));
        outputs[i] = binary(u, "Unsqueeze", y, constant);
    }
}

static struct states first_states(struct onnx_export *e, const struct op *op, const struct unrolled *u) {
    struct states s = {u->zeros, u->r->cell == CELL_LSTM ? u->zeros : NULL};
    if (u->r->states > 0) s.h = onnx_in(e, op->in[1], LAYOUT_LAST);
    if (u->r->states > 1) s.c = onnx_in(e, op->in[2], LAYOUT_LAST);
    return s;
}

status onnx_emit_unrolled(struct onnx_export *e, const struct op *op) {
    struct unrolled u = {.g = e->onnx,
                         .r = &op->u.recurrent,
                         .steps = onnx_shape(e, op->in[0])->dim[1],
                         .units = onnx_param_shape(e, op->param[1])->dim[0]};
    u.gates = (int)(onnx_param_shape(e, op->param[0])->dim[1] / u.units);
    if (u.steps == SHAPE_UNKNOWN) return onnx_refuse_unknown(e, op);
    if (u.steps > UNROLLED_MAX)
        return onnx_refuse(e, op, "its mask, states or functions, and it has too many steps to write out");
    const char **names = malloc((size_t)(3 * u.steps) * sizeof *names), **outputs = names;
    if (!names) return status_no_memory("an ONNX graph", (size_t)(3 * u.steps) * sizeof *names);
    u.sums = names + u.steps;
    prepare_kernels(e, op, &u);
    prepare_sums(e, op, &u);
    prepare_zeros(&u, onnx_in(e, op->in[0], LAYOUT_LAST));
    if (u.r->mask) {
        u.mask = names + 2 * u.steps;
        prepare_mask(e, op, &u);
    }
    all_steps(&u, first_states(e, op, &u), outputs);
    const char *y = outputs[0];
    if (u.steps > 1)
        y = onnx_graph_node(u.g, "Concat", (int)u.steps, outputs, ONNX_WITH(ONNX_INT("axis", 1)));
    onnx_set(e, op->out, LAYOUT_LAST, y);
    free(names);
    return SUCCESS;
}
