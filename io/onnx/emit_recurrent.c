/* Recurrent layers by ONNX's operators RNN, LSTM and GRU, where they express them; else see unrolled.h. */
#include "io/onnx/emit.h"
#include "io/onnx/unrolled.h"

#include <math.h>
#include <stdio.h>

/* The parameters of functions, one after the other. */
struct functions {
    int n, nalpha, nbeta;
    const char *name[3];
    float alpha[3], beta[3];
};

/* What ONNX's recurrent operators know; false: not this one. */
static bool add_function(struct functions *f, const struct activation_function *function) {
    const char *name = NULL;
    bool alpha = false, beta = false;
    float a = function->alpha, b = function->beta;
    switch (function->kind) {
    case ACTIVATION_TANH:
        name = "Tanh";
        break;
    case ACTIVATION_SIGMOID:
        name = "Sigmoid";
        break;
    case ACTIVATION_SOFTSIGN:
        name = "Softsign";
        break;
    case ACTIVATION_RELU:
        if (a == 0 && isinf(b) && function->gamma == 0) name = "Relu";
        break;
    case ACTIVATION_HARD_SIGMOID:
        name = "HardSigmoid";
        alpha = beta = true;
        break;
    case ACTIVATION_LINEAR:
        name = "Affine";
        alpha = beta = true;
        a = 1;
        b = 0;
        break;
    default:
        break;
    }
    if (!name) return false;
    f->name[f->n++] = name;
    if (alpha) f->alpha[f->nalpha++] = a;
    if (beta) f->beta[f->nbeta++] = b;
    return true;
}

static bool find_functions(const struct recurrent *r, struct functions *f) {
    *f = (struct functions){0};
    if (r->cell == CELL_SIMPLE) return add_function(f, &r->activation);
    if (!add_function(f, &r->gate) || !add_function(f, &r->activation)) return false;
    return r->cell == CELL_GRU || add_function(f, &r->activation);
}

/* ---- who reads it ---- */

enum reading {
    READS_HIDDEN,  /* the hidden states of all steps */
    READS_LAST,    /* the last step computed */
    READS_TURNED,  /* all steps the other way round */
    READS_ANYTHING /* in another way */
};

static bool whole_axis(const struct op *op, const struct shape *in, const struct shape *out, int axis) {
    return op->u.slice.start[axis] == 0 && op->u.slice.step[axis] == 1 && out->dim[axis] == in->dim[axis];
}

static enum reading reading_of(const struct onnx_export *e, const struct op *reader, bool cell_state) {
    const struct shape *in = onnx_shape(e, reader->in[0]), *out = onnx_shape(e, reader->out);
    const int64_t steps = in->dim[1], *n = out->dim;
    if (reader->kind != OP_SLICE) return READS_ANYTHING;
    if (cell_state && whole_axis(reader, in, out, 1) && reader->u.slice.start[2] == 0 &&
        reader->u.slice.step[2] == 1 && n[2] == in->dim[2] / 2)
        return READS_HIDDEN;
    if (!whole_axis(reader, in, out, 2) || steps < 1) return READS_ANYTHING;
    if (n[1] == 1 && reader->u.slice.start[1] == steps - 1) return READS_LAST;
    if (n[1] == steps && reader->u.slice.start[1] == steps - 1 && reader->u.slice.step[1] == -1)
        return READS_TURNED;
    return READS_ANYTHING;
}

static bool is_output(const struct onnx_export *e, int value) {
    for (int i = 0; i < e->ops->noutputs; i++)
        if (e->ops->output[i] == value) return true;
    return false;
}

/* Are the cell's states, if they are there, read of the last step only? */
static bool readers_fit(const struct onnx_export *e, const struct op *op) {
    if (!op->u.recurrent.cell_state) return true;
    if (is_output(e, op->out)) return false;
    for (int i = 0; i < e->ops->nops; i++)
        for (int k = 0; k < e->ops->op[i].nin; k++) {
            if (e->ops->op[i].in[k] != op->out) continue;
            enum reading reading = reading_of(e, &e->ops->op[i], true);
            if (reading != READS_HIDDEN && reading != READS_LAST) return false;
        }
    return true;
}

/* ---- constants ---- */

/* Our gate in the place of ONNX's: LSTM i, o, f, c of i, f, c, o. */
static int gate_at(enum cell cell, int i) {
    static const int lstm[] = {0, 3, 1, 2};
    return cell == CELL_LSTM ? lstm[i] : i;
}

/* A kernel (rows, gates*u) as (1, gates*u, rows). */
static const char *kernel_of(struct onnx_export *e, const struct op *op, int param, int gates) {
    const struct shape *shape = onnx_param_shape(e, op->param[param]);
    const int64_t rows = shape->dim[0], columns = shape->dim[1], u = columns / gates;
    const float *from = onnx_param_values(e, op->param[param]);
    float *to = onnx_graph_memory(e->onnx, rows * columns);
    char name[512];
    for (int64_t i = 0; to && i < columns; i++) {
        const int64_t column = gate_at(op->u.recurrent.cell, (int)(i / u)) * u + i % u;
        for (int64_t k = 0; k < rows; k++) to[i * rows + k] = from[k * columns + column];
    }
    onnx_param_name(e, op->param[param], name, sizeof name);
    return onnx_graph_floats(e->onnx, name, &SHAPE(1, columns, rows), to, true);
}

/* The bias (gates*u), or (2, gates*u), as (1, 2*gates*u): of the inputs, then of the recurrent part. */
static const char *bias_of(struct onnx_export *e, const struct op *op, int gates) {
    if (op->param[2] < 0) return "";
    const struct shape *shape = onnx_param_shape(e, op->param[2]);
    const int64_t columns = shape->dim[shape->rank - 1], u = columns / gates;
    const float *from = onnx_param_values(e, op->param[2]);
    float *to = onnx_graph_memory(e->onnx, 2 * columns);
    char name[512];
    for (int64_t i = 0; to && i < columns; i++) {
        const int64_t column = gate_at(op->u.recurrent.cell, (int)(i / u)) * u + i % u;
        to[i] = from[column];
        to[columns + i] = shape->rank > 1 ? from[columns + column] : 0;
    }
    onnx_param_name(e, op->param[2], name, sizeof name);
    return onnx_graph_floats(e->onnx, name, &SHAPE(1, 2 * columns), to, true);
}

/* ---- the operator ---- */

static const char *first_state(struct onnx_export *e, const struct op *op, int state) {
    if (op->u.recurrent.states <= state) return "";
    const int64_t axis = 0;
    return onnx_graph_node(
        e->onnx, "Unsqueeze",
        ONNX_IN(onnx_in(e, op->in[1 + state], LAYOUT_LAST), onnx_graph_ints(e->onnx, "axis", 1, &axis)),
        ONNX_PLAIN);
}

static void add_operator(struct onnx_export *e, const struct op *op, const struct functions *f,
                         const char **out) {
    static const char *const types[] = {[CELL_SIMPLE] = "RNN", [CELL_LSTM] = "LSTM", [CELL_GRU] = "GRU"};
    static const int64_t time_first[] = {1, 0, 2};
    const struct recurrent *r = &op->u.recurrent;
    const int gates = r->cell == CELL_LSTM ? 4 : r->cell == CELL_GRU ? 3 : 1;
    const int64_t units = onnx_param_shape(e, op->param[1])->dim[0];
    const char *x = onnx_graph_node(e->onnx, "Transpose", ONNX_IN(onnx_in(e, op->in[0], LAYOUT_LAST)),
                                    ONNX_WITH(ONNX_INTS("perm", 3, time_first)));
    const char *in[] = {x,
                        kernel_of(e, op, 0, gates),
                        kernel_of(e, op, 1, gates),
                        bias_of(e, op, gates),
                        "",
                        first_state(e, op, 0),
                        r->cell == CELL_LSTM ? first_state(e, op, 1) : ""};
    int nin = r->cell == CELL_LSTM ? 7 : 6, n = 0;
    while (!*in[nin - 1]) nin--;
    struct onnx_attribute attr[6];
    attr[n++] = (struct onnx_attribute)ONNX_INT("hidden_size", units);
    attr[n++] = (struct onnx_attribute)ONNX_STRINGS("activations", f->n, f->name);
    attr[n++] = (struct onnx_attribute)ONNX_STRING("direction", r->backwards ? "reverse" : "forward");
    if (f->nalpha) attr[n++] = (struct onnx_attribute)ONNX_FLOATS("activation_alpha", f->nalpha, f->alpha);
    if (f->nbeta) attr[n++] = (struct onnx_attribute)ONNX_FLOATS("activation_beta", f->nbeta, f->beta);
    if (r->reset_after) attr[n++] = (struct onnx_attribute)ONNX_INT("linear_before_reset", 1);
    onnx_graph_node_outputs(e->onnx, types[r->cell], nin, in, n, attr, r->cell == CELL_LSTM ? 3 : 2, out);
}

/* ---- its outputs ---- */

/* (T,1,N,u) as (N,T,u), in the order of time. */
static const char *all_steps(struct onnx_export *e, const char *y) {
    static const int64_t direction = 1, batch_first[] = {1, 0, 2};
    y = onnx_graph_node(e->onnx, "Squeeze", ONNX_IN(y, onnx_graph_ints(e->onnx, "axis", 1, &direction)),
                        ONNX_PLAIN);
    return onnx_graph_node(e->onnx, "Transpose", ONNX_IN(y), ONNX_WITH(ONNX_INTS("perm", 3, batch_first)));
}

static const char *turned(struct onnx_export *e, const char *steps) {
    static const int64_t start = -1, end = INT64_MIN, axis = 1, step = -1;
    struct onnx_graph *g = e->onnx;
    return onnx_graph_node(g, "Slice",
                           ONNX_IN(steps, onnx_graph_ints(g, "starts", 1, &start),
                                   onnx_graph_ints(g, "ends", 1, &end), onnx_graph_ints(g, "axes", 1, &axis),
                                   onnx_graph_ints(g, "steps", 1, &step)),
                           ONNX_PLAIN);
}

/* (1,N,u) as (N,1,u), with the cell's state behind it. */
static const char *last_step(struct onnx_export *e, bool cell_state, const char *const *out) {
    static const int64_t batch_first[] = {1, 0, 2};
    const char *y = out[1];
    if (cell_state)
        y = onnx_graph_node(e->onnx, "Concat", ONNX_IN(out[1], out[2]), ONNX_WITH(ONNX_INT("axis", 2)));
    return onnx_graph_node(e->onnx, "Transpose", ONNX_IN(y), ONNX_WITH(ONNX_INTS("perm", 3, batch_first)));
}

/* What is made already, of that which may be asked for. */
struct made {
    const char *steps, *last, *turned;
};

static const char *steps_made(struct onnx_export *e, struct made *made, const char *const *out) {
    if (!made->steps) made->steps = all_steps(e, out[0]);
    return made->steps;
}

/* All steps as the operation gives them, in the order of computation. */
static const char *own_order(struct onnx_export *e, const struct op *op, struct made *made,
                             const char *const *out) {
    const char *steps = steps_made(e, made, out);
    if (!op->u.recurrent.backwards) return steps;
    if (!made->turned) made->turned = turned(e, steps);
    return made->turned;
}

/* Readers that the operator serves better than a slice of all steps would are served here. */
static void serve_readers(struct onnx_export *e, const struct op *op, const char *const *out) {
    const struct recurrent *r = &op->u.recurrent;
    struct made made = {0};
    bool whole = is_output(e, op->out);
    for (int i = 0; i < e->ops->nops; i++) {
        const struct op *reader = &e->ops->op[i];
        bool reads = false;
        for (int k = 0; k < reader->nin; k++) reads = reads || reader->in[k] == op->out;
        if (!reads) continue;
        const enum reading reading = reading_of(e, reader, r->cell_state);
        if (reading == READS_HIDDEN) {
            onnx_set(e, reader->out, LAYOUT_LAST, own_order(e, op, &made, out));
        } else if (reading == READS_LAST) {
            if (!made.last) made.last = last_step(e, r->cell_state, out);
            onnx_set(e, reader->out, LAYOUT_LAST, made.last);
        } else if (reading == READS_TURNED && r->backwards) {
            onnx_set(e, reader->out, LAYOUT_LAST, steps_made(e, &made, out));
        } else {
            whole = true;
        }
    }
    if (whole) onnx_set(e, op->out, LAYOUT_LAST, own_order(e, op, &made, out));
}

status onnx_emit_recurrent(struct onnx_export *e, const struct op *op) {
    struct functions functions;
    const char *out[3] = {NULL, NULL, NULL};
    if (op->u.recurrent.mask || !find_functions(&op->u.recurrent, &functions) || !readers_fit(e, op))
        return onnx_emit_unrolled(e, op);
    add_operator(e, op, &functions, out);
    serve_readers(e, op, out);
    return SUCCESS;
}
