#include "worker/infer.h"

#include <stdlib.h>
#include <string.h>

#define PIECE 16 /* samples at a time */

static status check_shapes(const struct opgraph *graph, const int *value, int n, int64_t samples,
                           struct tensor *const *tensor, const char *what) {
    for (int i = 0; i < n; i++) {
        struct shape shape = graph->value[value[i]];
        char takes[SHAPE_TEXT_MAX], given[SHAPE_TEXT_MAX];
        shape.dim[0] = samples;
        if (!shape_equal(&shape, &tensor[i]->shape))
            return status_fail(STATUS_DATA, "%s %d of the model is %s, not %s", what, i,
                               shape_format(&shape, takes), shape_format(&tensor[i]->shape, given));
    }
    return SUCCESS;
}

/* Samples [first, first + n) of all inputs; what is left of the piece repeats the last. */
static void fill(const struct opgraph *graph, int64_t first, int64_t n, int64_t piece,
                 struct tensor *const *x, float **in) {
    for (int i = 0; i < graph->ninputs; i++) {
        int64_t size = shape_sample_count(&graph->value[graph->input[i]]);
        for (int64_t s = 0; s < piece; s++)
            memcpy(in[i] + s * size, tensor_f32(x[i]) + (first + (s < n ? s : n - 1)) * size,
                   (size_t)size * sizeof(float));
    }
}

static status run_pieces(const struct opgraph *graph, struct exec *exec, int64_t piece, int64_t samples,
                         struct tensor *const *x, struct tensor *const *y, float **in) {
    for (int64_t first = 0; first < samples; first += piece) {
        int64_t n = samples - first < piece ? samples - first : piece;
        fill(graph, first, n, piece, x, in);
        STATUS_TRY(exec_forward(exec, (const float *const *)in));
        for (int i = 0; i < graph->noutputs; i++) {
            int64_t size = shape_sample_count(&graph->value[graph->output[i]]);
            memcpy(tensor_f32(y[i]) + first * size, exec_output(exec, i), (size_t)(n * size) * sizeof(float));
        }
    }
    return SUCCESS;
}

status infer(const struct machine *machine, const struct opgraph *graph, struct params *params,
             int64_t samples, struct tensor *const *x, struct tensor *const *y) {
    STATUS_TRY(check_shapes(graph, graph->input, graph->ninputs, samples, x, "input"));
    STATUS_TRY(check_shapes(graph, graph->output, graph->noutputs, samples, y, "output"));
    int64_t piece = samples < PIECE ? samples : PIECE;
    struct exec_options options = machine_forward_options(machine, piece);
    struct exec *exec = NULL;
    float **in = calloc((size_t)graph->ninputs + 1, sizeof *in);
    if (!in) return status_no_memory("inputs", (size_t)graph->ninputs * sizeof *in);
    status error = SUCCESS;
    for (int i = 0; i < graph->ninputs && !error; i++) {
        int64_t size = shape_sample_count(&graph->value[graph->input[i]]);
        error = memory_alloc("inputs", (size_t)(piece * size), sizeof(float), (void **)&in[i]);
    }
    if (!error) error = machine->engine->compile(graph, &options, &exec);
    if (!error) error = exec_set_params(exec, params);
    if (!error) error = run_pieces(graph, exec, piece, samples, x, y, in);
    exec_destroy(&exec);
    for (int i = 0; i < graph->ninputs; i++) free(in[i]);
    free(in);
    return error;
}
