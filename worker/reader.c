#include "worker/reader.h"

#include <stdlib.h>
#include <string.h>

#define GRAM_ROWS 65536 /* of patches that a Gram matrix is made from, or more if the patches are large */
#define READER_MAX 8192 /* entries of a patch; wider readers fall back to kernel norms */

static int node_of(const struct selection *s, int value) {
    for (int i = 0; i < s->graph->nnodes; i++)
        if (s->value_of[i] == value) return i;
    return -1;
}

/* Does channel i of the operation's output come from channel i / (outputs / inputs) of its input? */
static bool passes_channels(const struct op *op, int64_t inputs, int64_t outputs) {
    switch (op->kind) {
    case OP_DEPTHWISE:
        return true;
    case OP_RESHAPE: /* a sequence as an image of height 1 */
    case OP_ACTIVATION:
    case OP_AFFINE:
    case OP_PAD:
        return inputs == outputs;
    default:
        return false;
    }
}

/* The node whose output a value becomes by nothing but activations, of which it has all channels; -1: none.
 */
static int node_after(const struct selection *s, int value) {
    for (;;) {
        int node = node_of(s, value), reader = opgraph_only_reader(s->ops, value);
        if (node >= 0) return node;
        if (reader < 0 || s->ops->op[reader].kind != OP_ACTIVATION) return -1;
        value = s->ops->op[reader].out;
    }
}

/* Channels of a value's last axis; owned. Values inside a layer are those
 * that its activation takes, or follow the operation that makes them; of
 * those of whose channels nothing is known the group is -1. */
static status channels_of(const struct selection *s, int value, struct channel **channel) {
    const struct shape *shape = &s->ops->value[value];
    int64_t n = shape->dim[shape->rank - 1];
    struct channel *c = malloc((size_t)(n + 1) * sizeof *c);
    if (!c) return status_no_memory("channels", (size_t)n * sizeof *c);
    *channel = c;
    int node = node_after(s, value), width;
    if (node >= 0) {
        memcpy(c, channel_map_of(s->map, node, &width), (size_t)n * sizeof *c);
        return SUCCESS;
    }
    for (int64_t i = 0; i < n; i++) c[i] = (struct channel){.group = -1, .index = -1};
    int producer = opgraph_producer(s->ops, value);
    if (producer < 0) return SUCCESS;
    const struct op *op = &s->ops->op[producer];
    if (op->kind == OP_RECURRENT && op->node >= 0) { /* all steps, of which its layer may give the last */
        const struct channel *units = channel_map_of(s->map, op->node, &width);
        if (width == n) memcpy(c, units, (size_t)n * sizeof *c);
        return SUCCESS;
    }
    const struct shape *in = &s->ops->value[op->in[0]];
    int64_t inputs = in->dim[in->rank - 1];
    struct channel *from = NULL;
    if (!passes_channels(op, inputs, n)) return SUCCESS;
    status error = channels_of(s, op->in[0], &from);
    for (int64_t i = 0; i < n && !error; i++) c[i] = from[i / (n / inputs)];
    free(from);
    if (error) {
        free(c);
        *channel = NULL;
    }
    return error;
}

/* Of a kernel's rows or columns those inside the layer: of each of its channels there are as many, one after
 * the other. Nothing changes if there are none. */
static status channels_inside(const struct selection *s, const struct op *op, bool rows, int64_t n,
                              struct channel **channel) {
    const struct param *p = &s->ops->param[op->param[0]];
    const struct weight *w = &s->graph->layer[p->layer].weight[p->weight];
    int width;
    if (op->kind != OP_DENSE || op->node < 0 || (rows ? !(w->inner_axes & 1) : w->inner_axes < 2))
        return SUCCESS;
    const struct channel *inner = channel_map_inner(s->map, op->node, &width);
    if (!width || n % width) return SUCCESS;
    free(*channel);
    *channel = malloc((size_t)(n + 1) * sizeof **channel);
    if (!*channel) return status_no_memory("channels", (size_t)n * sizeof **channel);
    for (int64_t i = 0; i < n; i++) (*channel)[i] = inner[i / (n / width)];
    return SUCCESS;
}

bool reader_reads(const struct reader *r, int group) {
    const struct shape *in = &r->patches.in;
    for (int64_t i = 0; i < in->dim[in->rank - 1]; i++)
        if (r->channel[i].group == group) return true;
    return false;
}

/* Adds a reader, unless its patches are too large; its channels are owned by it, on failure too. */
static status add_reader(const struct selection *s, struct reader *r, int *n) {
    if (r->patches.columns > READER_MAX || r->patches.groups > 1) return SUCCESS;
    patches_thin(&r->patches, s->calibration->total, GRAM_ROWS);
    ++*n;
    return channels_of(s, r->value, &r->channel);
}

/* The gates of a recurrent layer: by its inputs, and by its own outputs of the step before, unless these come
 * with another state. */
static status add_gates(const struct selection *s, const struct op *op, struct reader *reader, int *n) {
    const struct opgraph *ops = s->ops;
    const int value[2] = {op->in[0], op->out};
    for (int i = 0; i < (op->u.recurrent.cell_state ? 1 : 2); i++) {
        struct reader *r = &reader[*n];
        const struct shape *out = &ops->value[op->out];
        int64_t gates = ops->param[op->param[i]].shape.dim[1], units = out->dim[out->rank - 1];
        int before = *n;
        *r = (struct reader){.value = value[i], .kernel = op->param[i], .bias = -1};
        patches_of_steps(&ops->value[value[i]], gates, &r->patches);
        STATUS_TRY(add_reader(s, r, n));
        if (*n == before) continue;
        struct channel *unit = NULL;
        STATUS_TRY(channels_of(s, op->out, &unit));
        r->made = malloc((size_t)gates * sizeof *r->made);
        for (int64_t j = 0; j < gates && r->made; j++) r->made[j] = unit[j % units];
        free(unit);
        if (!r->made) return status_no_memory("channels", (size_t)gates * sizeof *r->made);
    }
    return SUCCESS;
}

status readers_find(const struct selection *s, int *n, struct reader **reader) {
    const struct opgraph *ops = s->ops;
    *n = 0;
    *reader = calloc(2 * (size_t)ops->nops + 1, sizeof **reader);
    if (!*reader) return status_no_memory("channels", (size_t)ops->nops * sizeof **reader);
    for (int i = 0; i < ops->nops; i++) {
        const struct op *op = &ops->op[i];
        if (op->kind == OP_RECURRENT) STATUS_TRY(add_gates(s, op, *reader, n));
        if (op->kind == OP_DEPTHWISE || !patches_known(op)) continue;
        struct reader *r = &(*reader)[*n];
        int before = *n;
        *r = (struct reader){.value = op->in[0], .kernel = op->param[0], .bias = op->param[1]};
        STATUS_TRY(patches_init(ops, op, &r->patches));
        STATUS_TRY(add_reader(s, r, n));
        if (*n == before) continue;
        STATUS_TRY(channels_of(s, op->out, &r->made));
        STATUS_TRY(channels_inside(s, op, true, r->patches.columns, &r->channel));
        STATUS_TRY(channels_inside(s, op, false, r->patches.outputs, &r->made));
    }
    return SUCCESS;
}

void readers_destroy(int n, struct reader **reader) {
    for (int i = 0; i < n && *reader; i++) {
        free((*reader)[i].channel);
        free((*reader)[i].made);
        normal_destroy(&(*reader)[i].normal);
    }
    free(*reader);
    *reader = NULL;
}
