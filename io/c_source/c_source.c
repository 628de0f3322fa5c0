#include "io/c_source/c_source.h"

#include "io/c_source/emit.h"
#include "io/file.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NUMBERS_A_LINE 8

/* ---- what emitters ask for ---- */

const struct shape *c_shape(const struct c_source *s, int value) {
    return &s->ops->value[value];
}

static const struct layer *layer_of(const struct c_source *s, const struct op *op) {
    return &s->graph->layer[s->graph->node[op->node].layer];
}

const char *c_layer(const struct c_source *s, const struct c_step *step) {
    return layer_of(s, step->op)->name;
}

static const char *constant_of(struct c_source *s, int param, const float *folded) {
    const struct param *p = &s->ops->param[param];
    const struct layer *layer = &s->graph->layer[p->layer];
    return c_constant(s->text, layer->name, layer->weight[p->weight].name, &p->shape,
                      folded ? folded : params_at(s->params, param), NULL);
}

const char *c_param(struct c_source *s, const struct c_step *step, int which) {
    return step->op->param[which] >= 0 ? constant_of(s, step->op->param[which], NULL) : NULL;
}

const char *c_kernel(struct c_source *s, struct c_step *step) {
    return constant_of(s, step->op->param[0], step->kernel);
}

const char *c_bias(struct c_source *s, struct c_step *step) {
    if (!step->bias) return c_param(s, step, 1);
    const struct shape *out = c_shape(s, step->out);
    return c_constant(s->text, c_layer(s, step), "bias", &SHAPE(out->dim[out->rank - 1]), step->bias, NULL);
}

/* An input or output of a model that has several is an element of an array. */
static const char *end_text(const char *name, int n, int index, char *buffer) {
    if (n == 1) snprintf(buffer, 64, "%s", name);
    else snprintf(buffer, 64, "%s[%d]", name, index);
    return buffer;
}

const char *c_value(const struct c_source *s, int value, char *buffer) {
    const struct c_place *place = &s->steps->place[value];
    switch (place->where) {
    case C_INPUT:
        return end_text("input", s->ops->ninputs, place->index, buffer);
    case C_OUTPUT:
        return end_text("output", s->ops->noutputs, place->index, buffer);
    case C_WORK:
        break;
    }
    if (place->offset) snprintf(buffer, 64, "work + %" PRId64, place->offset);
    else snprintf(buffer, 64, "work");
    return buffer;
}

const char *c_result(struct c_source *s, const struct c_step *step, const char *x, char *buffer,
                     size_t room) {
    return c_apply(s->text, step->has_function ? &step->function : NULL, x, buffer, room);
}

/* ---- steps ---- */

static status emit(struct c_source *s, struct c_step *step) {
    switch (step->op->kind) {
    case OP_CONV:
        return c_emit_conv(s, step);
    case OP_DEPTHWISE:
        return c_emit_depthwise(s, step);
    case OP_CONV_TRANSPOSE:
        return c_emit_conv_transpose(s, step);
    case OP_DENSE:
        return c_emit_dense(s, step);
    case OP_BATCH_NORM:
    case OP_SCALE:
    case OP_AFFINE:
        return c_emit_channels(s, step);
    case OP_ACTIVATION:
        return c_emit_activation(s, step);
    case OP_PRELU:
        return c_emit_prelu(s, step);
    case OP_LAYER_NORM:
        return c_emit_layer_norm(s, step);
    case OP_SOFTMAX:
        return c_emit_softmax(s, step);
    case OP_BINARY:
        return c_emit_binary(s, step);
    case OP_MATMUL:
        return c_emit_matmul(s, step);
    case OP_CONCAT:
        return c_emit_concat(s, step);
    case OP_POOL:
        return c_emit_pool(s, step);
    case OP_REDUCE:
        return c_emit_reduce(s, step);
    case OP_PAD:
        return c_emit_pad(s, step);
    case OP_SLICE:
        return c_emit_slice(s, step);
    case OP_TRANSPOSE:
        return c_emit_transpose(s, step);
    case OP_RESIZE:
        return c_emit_resize(s, step);
    case OP_EMBEDDING:
        return c_emit_embedding(s, step);
    case OP_RECURRENT:
        return c_emit_recurrent(s, step);
    case OP_RESHAPE:
    case OP_DROPOUT:
        return c_emit_copy(s, step);
    }
    return status_fail(STATUS_INTERNAL, "an operation of kind %d is not known", (int)step->op->kind);
}

/* The text with nothing in it that would end a comment. */
static void print_comment(struct c_text *t, const char *text) {
    char copy[600];
    snprintf(copy, sizeof copy, "%s", text);
    for (char *at = copy; *at; at++)
        if (*at == '*' || !isprint((unsigned char)*at)) *at = '_';
    c_line(t, "/* %s */", copy);
}

static void describe(struct c_source *s, const struct c_step *step) {
    char in[SHAPE_TEXT_MAX], out[SHAPE_TEXT_MAX], text[700];
    const struct shape from = c_sample(c_shape(s, step->op->in[0])), to = c_sample(c_shape(s, step->out));
    snprintf(text, sizeof text, "%s (%s): %s of %s to %s%s%s%s", c_layer(s, step),
             layer_of(s, step->op)->kind->class_name, op_name(step->op->kind), shape_format(&from, in),
             shape_format(&to, out), step->kernel ? ", batch norm in its kernel" : "",
             step->has_function ? ", " : "", step->has_function ? activation_name(step->function.kind) : "");
    print_comment(s->text, text);
}

static bool same_place(const struct c_place *a, const struct c_place *b) {
    return a->where == b->where && a->index == b->index && a->offset == b->offset;
}

static status emit_step(struct c_source *s, struct c_step *step) {
    const struct op *op = step->op;
    char place[64];
    if (c_step_only_reshapes(step) && same_place(&s->steps->place[op->in[0]], &s->steps->place[step->out]))
        return SUCCESS;
    describe(s, step);
    c_line(s->text, "{");
    if (op->kind != OP_CONCAT) c_line(s->text, "const float *x = %s;", c_value(s, op->in[0], place));
    if (op->kind == OP_BINARY || op->kind == OP_MATMUL)
        c_line(s->text, "const float *z = %s;", c_value(s, op->in[1], place));
    c_line(s->text, "float *y = %s;", c_value(s, step->out, place));
    STATUS_TRY(emit(s, step));
    c_line(s->text, "}");
    return SUCCESS;
}

/* Outputs that lie elsewhere: inputs, and values that are given twice. */
static void copy_outputs(struct c_source *s) {
    for (int i = 0; i < s->ops->noutputs; i++) {
        const struct c_place *place = &s->steps->place[s->ops->output[i]];
        char to[64], from[64];
        if (place->where == C_OUTPUT && place->index == i) continue;
        c_line(s->text, "memcpy(%s, %s, %" PRId64 " * sizeof(float));",
               end_text("output", s->ops->noutputs, i, to), c_value(s, s->ops->output[i], from),
               c_count(s->ops, s->ops->output[i]));
    }
}

static status emit_all(struct c_source *s) {
    for (int i = 0; i < s->steps->n; i++) STATUS_TRY(emit_step(s, &s->steps->step[i]));
    copy_outputs(s);
    return SUCCESS;
}

/* ---- the file ---- */

struct names {
    char *model, *upper; /* as C names: of functions, of macros */
    const char *weights; /* name of the file with weights; NULL: they are constants */
};

static void print_ends(const struct c_source *s, FILE *out, const char *what, const struct edge *edge,
                       const int *value, int n) {
    char text[SHAPE_TEXT_MAX];
    for (int i = 0; i < n; i++) {
        const struct shape shape = c_sample(c_shape(s, value[i]));
        char name[256];
        snprintf(name, sizeof name, "%s", s->graph->layer[s->graph->node[edge[i].node].layer].name);
        for (char *at = name; *at; at++)
            if (*at == '*') *at = '_';
        fprintf(out, " *   %s", what);
        if (n > 1) fprintf(out, "[%d]", i);
        fprintf(out, "  %s, %s: %" PRId64 " floats\n", name, shape_format(&shape, text),
                c_count(s->ops, value[i]));
    }
}

static void print_declaration(const struct c_source *s, const struct names *names, FILE *out) {
    fprintf(out, "void %s_run(%s, %s, float *work%s)", names->model,
            s->ops->ninputs > 1 ? "const float *const input[]" : "const float *input",
            s->ops->noutputs > 1 ? "float *const output[]" : "float *output",
            names->weights ? ", const float *weights" : "");
}

static int64_t weight_count(const struct c_text *t) {
    int64_t sum = 0;
    for (int i = 0; i < t->nconstants; i++) sum += t->constant[i].count;
    return sum;
}

static void print_head(const struct c_source *s, const struct names *names, FILE *out) {
    fprintf(out, "/* %s: one sample, in C99. Made by Godwit %s.\n *\n *   ", names->model, GODWIT_VERSION);
    print_declaration(s, names, out);
    fprintf(out, ";\n *\n");
    print_ends(s, out, "input", s->graph->input, s->ops->input, s->ops->ninputs);
    print_ends(s, out, "output", s->graph->output, s->ops->output, s->ops->noutputs);
    fprintf(out, " *   work  %s_WORK floats, for values on the way: %" PRId64 " bytes\n", names->upper,
            s->steps->work * (int64_t)sizeof(float));
    if (names->weights)
        fprintf(out, " *   weights  %s_WEIGHTS floats, all of the file %s\n", names->upper, names->weights);
    fprintf(out,
            " *\n * Images are row by row, channels last. Nothing is allocated and nothing is kept from one "
            "call to\n"
            " * the next. To have the declarations only, #define %s_DECLARATIONS before including this\n"
            " * file; compile it once without. */\n",
            names->upper);
    fprintf(out, "#ifndef %s_WORK\n#define %s_WORK %" PRId64 "\n", names->upper, names->upper,
            s->steps->work ? s->steps->work : 1);
    if (names->weights) fprintf(out, "#define %s_WEIGHTS %" PRId64 "\n", names->upper, weight_count(s->text));
    print_declaration(s, names, out);
    fprintf(out, ";\n#endif\n\n#ifndef %s_DECLARATIONS\n#include <math.h>\n#include <string.h>\n\n",
            names->upper);
}

static void print_constants(const struct c_text *t, FILE *out) {
    char number[40];
    for (int i = 0; i < t->nconstants; i++) {
        const struct c_constant *c = &t->constant[i];
        fprintf(out, "/* %s */\nstatic const float %s[%" PRId64 "] = {", c->shape, c->name, c->count);
        for (int64_t k = 0; k < c->count; k++)
            fprintf(out, "%s%s,", k % NUMBERS_A_LINE ? " " : "\n    ", c_number(c->values[k], number));
        fprintf(out, "\n};\n\n");
    }
}

static void print_pointers(const struct c_text *t, FILE *out) {
    int64_t offset = 0;
    for (int i = 0; i < t->nconstants; i++) {
        fprintf(out, "    const float *const %s = weights + %" PRId64 "; /* %s */\n", t->constant[i].name,
                offset, t->constant[i].shape);
        offset += t->constant[i].count;
    }
}

static void print_file(const struct c_source *s, const void *context, FILE *out) {
    const struct names *names = context;
    print_head(s, names, out);
    if (!names->weights) print_constants(s->text, out);
    c_functions_print(s->text, out);
    print_declaration(s, names, out);
    fprintf(out, " {\n");
    if (names->weights) print_pointers(s->text, out);
    if (!s->steps->work) fprintf(out, "    (void)work;\n");
    fwrite(s->text->lines, 1, s->text->length, out);
    fprintf(out, "}\n#endif\n");
}

static void print_weights(const struct c_source *s, const void *context, FILE *out) {
    (void)context;
    for (int i = 0; i < s->text->nconstants; i++)
        fwrite(s->text->constant[i].values, sizeof(float), (size_t)s->text->constant[i].count, out);
}

/* Under a temporary name, which is the caller's. */
static status write_file(const struct c_source *s, const char *path, const void *context,
                         void (*print)(const struct c_source *s, const void *context, FILE *out),
                         char **temporary) {
    STATUS_TRY(file_temporary(path, temporary));
    FILE *out = fopen(*temporary, "wb");
    status error = out ? SUCCESS : file_fail("write", path, errno);
    if (out) {
        print(s, context, out);
        const bool failed = ferror(out);
        if (fclose(out) || failed) error = file_fail("write", path, errno);
    }
    return error;
}

/* The path with .weights in the place of .c; owned. */
static char *weights_path(const char *path) {
    const size_t n = strlen(path);
    const size_t stem = n > 2 && !strcmp(path + n - 2, ".c") ? n - 2 : n;
    char *made = NULL;
    return asprintf(&made, "%.*s.weights", (int)stem, path) < 0 ? NULL : made;
}

static status write_files(const struct c_source *s, const char *path, bool weights_beside) {
    char *beside = weights_beside ? weights_path(path) : NULL, *data = NULL, *text = NULL;
    struct names names = {.model = c_name(s->graph->name), .upper = c_name(s->graph->name)};
    status error = SUCCESS;
    if (!names.model || !names.upper || (weights_beside && !beside))
        error = status_no_memory("a program", strlen(path));
    for (char *at = names.upper; at && *at; at++) *at = (char)toupper((unsigned char)*at);
    if (beside) names.weights = strrchr(beside, '/') ? strrchr(beside, '/') + 1 : beside;
    if (!error && beside) error = write_file(s, beside, NULL, print_weights, &data);
    if (!error) error = write_file(s, path, &names, print_file, &text);
    error = file_commit_pair(error, data, beside, text, path);
    free(names.model);
    free(names.upper);
    free(beside);
    return error;
}

/* ---- all of it ---- */

static status check_shapes(const struct c_source *s) {
    for (int i = 0; i < s->ops->ninputs; i++)
        if (c_count(s->ops, s->ops->input[i]) < 0) {
            char text[SHAPE_TEXT_MAX];
            return status_fail(
                STATUS_UNSUPPORTED,
                "input \"%s\" has the shape %s; C needs to know all of it, give it with --shape, "
                "such as --shape 224,224,3",
                s->graph->layer[s->graph->node[s->graph->input[i].node].layer].name,
                shape_format(c_shape(s, s->ops->input[i]), text));
        }
    for (int i = 0; i < s->ops->nops; i++) {
        const int64_t count = c_count(s->ops, s->ops->op[i].out);
        if (count < 0 || count > INT32_MAX)
            return status_fail(STATUS_UNSUPPORTED, "layer \"%s\": its output is too large for C's int",
                               layer_of(s, &s->ops->op[i])->name);
    }
    return SUCCESS;
}

status c_source_write(const char *path, const struct model *model, bool weights_beside) {
    const struct opgraph *ops = model->ops;
    struct opgraph *needed = NULL;
    struct c_source s = {.graph = model->graph, .params = model->params};
    status error = opgraph_cut(ops, ops->ninputs, ops->input, ops->noutputs, ops->output, &needed);
    s.ops = needed;
    if (!error) error = check_shapes(&s);
    if (!error) error = c_steps_create(needed, model->params, &s.steps);
    if (!error) error = c_steps_place(s.steps);
    if (!error) error = c_text_create(&s.text);
    if (!error) error = emit_all(&s);
    if (!error && (fflush(s.text->body) || ferror(s.text->body))) error = status_no_memory("a program", 1);
    if (!error && s.text->error) {
        error = s.text->error;
        s.text->error = SUCCESS;
    }
    if (!error) error = write_files(&s, path, weights_beside);
    c_text_destroy(&s.text);
    c_steps_destroy(&s.steps);
    opgraph_destroy(&needed);
    return error;
}

status c_source_readers(const struct graph *graph, const char **text) {
    (void)graph;
    *text = "a C compiler";
    return SUCCESS;
}
