/* EinsumDense, where its equation is a dense layer over the last axes: "abc,cd->abd", "...x,xy->...y",
 * "abc,cde->abde", "abcd,cde->abe". */
#include "shared/layers/emit.h"
#include "shared/layers/kind.h"

#include <inttypes.h>
#include <string.h>

static const struct attr_spec attrs[] = {
    {.name = "equation", .type = ATTR_STRING},
    {.name = "output_shape", .type = ATTR_SHAPE}, /* without the batch, or what an ellipsis stands for */
    ATTR_ACTIVATION,
    {.name = "bias_axes", .type = ATTR_STRING, .initial = "null"},
};

#define MAX_LETTERS SHAPE_MAX_RANK

/* "...abc" */
struct term {
    bool ellipsis;
    int n;
    char letter[MAX_LETTERS];
};

struct equation {
    struct term in, kernel, out;
    int contracted; /* the last letters of the input and the first of the kernel */
    int made;       /* the other letters of the kernel and the last of the output */
    int biased;     /* how many of those, the last, have a bias */
};

static status unsupported(const struct layer *layer) {
    return status_fail(
        STATUS_UNSUPPORTED,
        "equation \"%.80s\" is not supported; it must be a dense layer over the last axes, such "
        "as \"abc,cd->abd\"",
        layer_string(layer, "equation"));
}

/* Reads letters up to `stop` (the end if it is ""), spaces left out; *text moves behind it. */
static bool read_term(const char **text, const char *stop, struct term *term) {
    const char *at = *text;
    *term = (struct term){0};
    for (; *at && (!*stop || strncmp(at, stop, strlen(stop))); at++) {
        if (*at == ' ') continue;
        if (!strncmp(at, "...", 3) && term->n == 0 && !term->ellipsis) {
            term->ellipsis = true;
            at += 2;
        } else if (((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z')) && term->n < MAX_LETTERS &&
                   !memchr(term->letter, *at, (size_t)term->n)) {
            term->letter[term->n++] = *at;
        } else {
            return false;
        }
    }
    if (strncmp(at, stop, strlen(stop))) return false;
    *text = at + strlen(stop);
    return true;
}

/* Are the last n letters of `a` the n letters at b? */
static bool ends_with(const struct term *a, int n, const char *b) {
    return a->n >= n && !memcmp(a->letter + a->n - n, b, (size_t)n);
}

static status parse(const struct layer *layer, struct equation *e) {
    const char *text = layer_string(layer, "equation");
    *e = (struct equation){0};
    if (!read_term(&text, ",", &e->in) || !read_term(&text, "->", &e->kernel) ||
        !read_term(&text, "", &e->out))
        return unsupported(layer);
    while (e->contracted < e->in.n &&
           memchr(e->kernel.letter, e->in.letter[e->in.n - 1 - e->contracted], (size_t)e->kernel.n))
        e->contracted++;
    e->made = e->kernel.n - e->contracted;
    int kept = e->in.n - e->contracted;
    bool fits = e->contracted > 0 && e->made > 0 && !e->kernel.ellipsis &&
                e->in.ellipsis == e->out.ellipsis && (kept > 0 || e->in.ellipsis) &&
                ends_with(&e->in, e->contracted, e->kernel.letter) && e->out.n == kept + e->made &&
                !memcmp(e->in.letter, e->out.letter, (size_t)kept) &&
                ends_with(&e->out, e->made, e->kernel.letter + e->contracted);
    if (!fits) return unsupported(layer);
    const struct attr *bias = layer_attr(layer, "bias_axes");
    if (!bias->present) return SUCCESS;
    e->biased = (int)strlen(bias->u.s);
    if (e->biased < 1 || e->biased > e->made || !ends_with(&e->out, e->biased, bias->u.s))
        return status_fail(STATUS_UNSUPPORTED,
                           "bias_axes \"%.80s\" is not supported; they must be the last ones of the output",
                           bias->u.s);
    return SUCCESS;
}

static status check(const struct layer *layer) {
    struct equation e;
    STATUS_TRY(parse(layer, &e));
    return activation_check(layer_string(layer, "activation"));
}

/* The kernel's shape: contracted dimensions, then those made. */
static status kernel_shape(const struct layer *layer, const struct equation *e, const struct shape *in,
                           struct shape *kernel) {
    const struct attr *given = layer_attr(layer, "output_shape");
    char text[SHAPE_TEXT_MAX];
    if (e->in.ellipsis ? in->rank <= e->in.n : in->rank != e->in.n)
        return status_fail(STATUS_DATA, "its input has shape %s, which is not that of the equation \"%.80s\"",
                           shape_format(in, text), layer_string(layer, "equation"));
    if (given->u.ints.n != e->out.n - !e->out.ellipsis)
        return status_fail(STATUS_DATA, "output_shape has %d dimensions, and the equation \"%.80s\" has %d",
                           given->u.ints.n, layer_string(layer, "equation"), e->out.n - !e->out.ellipsis);
    *kernel = (struct shape){.rank = e->kernel.n};
    for (int i = 0; i < e->contracted; i++) kernel->dim[i] = in->dim[in->rank - e->contracted + i];
    for (int i = 0; i < e->made; i++)
        kernel->dim[e->contracted + i] = given->u.ints.v[given->u.ints.n - e->made + i];
    for (int i = 0; i < kernel->rank; i++)
        if (kernel->dim[i] < 1 || kernel->dim[i] > INT32_MAX)
            return status_fail(STATUS_DATA, "its kernel would have shape %s", shape_format(kernel, text));
    return SUCCESS;
}

static status product(const int64_t *dim, int n, int64_t *value) {
    *value = 1;
    for (int i = 0; i < n; i++)
        if (__builtin_mul_overflow(*value, dim[i], value))
            return status_fail(STATUS_DATA, "its kernel is too large");
    return SUCCESS;
}

static status infer(const struct layer *layer, const struct shape *in, int nin, struct shape *out,
                    int *nout) {
    struct equation e;
    struct shape kernel;
    (void)nin;
    STATUS_TRY(parse(layer, &e));
    STATUS_TRY(kernel_shape(layer, &e, &in[0], &kernel));
    out[0] = in[0];
    out[0].rank -= e.contracted;
    if (out[0].rank + e.made > SHAPE_MAX_RANK)
        return status_fail(STATUS_DATA, "its output would have more than %d dimensions", SHAPE_MAX_RANK);
    for (int i = 0; i < e.made; i++) out[0].dim[out[0].rank++] = kernel.dim[e.contracted + i];
    *nout = 1;
    return SUCCESS;
}

static status weights(const struct layer *layer, const struct shape *in, int nin, struct weight *weight,
                      int *nweights) {
    struct equation e;
    struct shape kernel;
    int64_t rows, columns, biased;
    (void)nin;
    STATUS_TRY(parse(layer, &e));
    STATUS_TRY(kernel_shape(layer, &e, &in[0], &kernel));
    const int64_t *last = kernel.dim + kernel.rank - e.biased;
    STATUS_TRY(product(kernel.dim, e.contracted, &rows));
    STATUS_TRY(product(kernel.dim + e.contracted, e.made, &columns));
    STATUS_TRY(product(last, e.biased, &biased));
    weight[0] = (struct weight){.name = "kernel",
                                .shape = kernel,
                                .view = SHAPE(rows, columns),
                                .trainable = true,
                                .in_axis = -1,
                                .out_axis = -1};
    weight[1] = (struct weight){
        .name = "bias", .view = SHAPE(biased), .trainable = true, .in_axis = -1, .out_axis = -1};
    weight[1].shape.rank = e.biased;
    memcpy(weight[1].shape.dim, last, (size_t)e.biased * sizeof *last);
    *nweights = e.biased ? 2 : 1;
    return SUCCESS;
}

static status lower(const struct layer *layer, struct lowering *lowering) {
    int value = lowering->in[0], nout;
    const struct shape in = *lowering_shape(lowering, value);
    struct equation e;
    struct shape out, flat = in, kernel;
    int64_t rows, columns, biased;
    STATUS_TRY(parse(layer, &e));
    STATUS_TRY(kernel_shape(layer, &e, &in, &kernel));
    STATUS_TRY(infer(layer, &in, 1, &out, &nout));
    STATUS_TRY(product(kernel.dim, e.contracted, &rows));
    STATUS_TRY(product(kernel.dim + e.contracted, e.made, &columns));
    STATUS_TRY(product(kernel.dim + kernel.rank - e.biased, e.biased, &biased));
    flat.rank -= e.contracted;
    flat.dim[flat.rank++] = rows;
    bool whole = e.biased == e.made;
    STATUS_TRY(emit_reshape(lowering, value, &flat, &value));
    STATUS_TRY(
        emit_dense(lowering, value, lowering->param[0], whole ? lowering->param[1] : -1, columns, &value));
    if (e.biased && !whole) {
        flat.dim[flat.rank - 1] = columns / biased;
        flat.dim[flat.rank++] = biased;
        STATUS_TRY(emit_reshape(lowering, value, &flat, &value));
        STATUS_TRY(emit_scale(lowering, value, -1, lowering->param[1], &value));
    }
    STATUS_TRY(emit_reshape(lowering, value, &out, &value));
    lowering->nout = 1;
    return lowering_add_activation(lowering, layer_string(layer, "activation"), value, &lowering->out[0]);
}

const struct layer_kind layer_kind_einsum_dense = {
    .class_name = "EinsumDense",
    ATTRS(attrs),
    .min_inputs = 1,
    .max_inputs = 1,
    .check = check,
    .infer = infer,
    .weights = weights,
    .channels = kind_channels_fix,
    .lower = lower,
};
