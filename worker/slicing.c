#include "worker/slicing.h"

#include <stdlib.h>
#include <string.h>

void slicing_destroy(struct slicing **slicing) {
    if (!*slicing) return;
    for (int i = 0; (*slicing)->boundary && i <= (*slicing)->nslices; i++)
        free((*slicing)->boundary[i].column);
    free((*slicing)->boundary);
    free(*slicing);
    *slicing = NULL;
}

static status cut_between(const struct opgraph *graph, int from, int to, struct opgraph **cut) {
    return opgraph_cut(graph, 1, &from, 1, &to, cut);
}

/* Has the part of the target between two values something to train? False too if there is no such part. */
static status trains(const struct opgraph *target, int from, int to, bool *answer) {
    struct opgraph *cut = NULL;
    bool *used = calloc((size_t)target->nparams + 1, 1);
    *answer = false;
    status error = used ? cut_between(target, from, to, &cut) : status_no_memory("slices", 0);
    if (!error) opgraph_mark_params(cut, used);
    for (int i = 0; i < target->nparams && !error; i++)
        *answer = *answer || (used[i] && target->param[i].trainable);
    opgraph_destroy(&cut);
    free(used);
    return error;
}

/* A value that does not separate what comes before from what comes after makes the cut fail. */
static bool separates(const struct opgraph *graph, int value) {
    struct opgraph *before = NULL, *after = NULL;
    bool *first = calloc((size_t)graph->nparams + 1, 1), *second = calloc((size_t)graph->nparams + 1, 1);
    status error = first && second ? SUCCESS : status_no_memory("slices", 0);
    if (!error) error = cut_between(graph, graph->input[0], value, &before);
    if (!error) error = cut_between(graph, value, graph->output[0], &after);
    bool answer = !error;
    if (answer) opgraph_mark_params(before, first);
    if (answer) opgraph_mark_params(after, second);
    for (int i = 0; i < graph->nparams && answer; i++) answer = !(first[i] && second[i]);
    status_drop(&error);
    opgraph_destroy(&before);
    opgraph_destroy(&after);
    free(first);
    free(second);
    return answer;
}

static bool separates_source(const struct opgraph *source, int value) {
    struct opgraph *after = NULL;
    status error = cut_between(source, value, source->output[0], &after);
    bool answer = !error;
    status_drop(&error);
    opgraph_destroy(&after);
    return answer;
}

static status choose(struct slicing *s, int n, struct boundary *candidate) {
    for (int i = 0; i < n; i++) {
        bool before = false, after = false;
        const struct boundary *c = &candidate[i];
        if (c->source < 0 || !separates(s->target, c->target) || !separates_source(s->source, c->source))
            continue;
        STATUS_TRY(trains(s->target, s->boundary[s->nslices].target, c->target, &before));
        if (before) STATUS_TRY(trains(s->target, c->target, s->target->output[0], &after));
        if (!before || !after) continue;
        s->boundary[++s->nslices] = *c;
        candidate[i].column = NULL;
    }
    return SUCCESS;
}

status slicing_create(const struct opgraph *source, const struct opgraph *target, bool known, int n,
                      struct boundary *candidate, struct slicing **slicing) {
    status error = SUCCESS;
    struct slicing *s = calloc(1, sizeof *s);
    if (s) s->boundary = calloc((size_t)n + 2, sizeof *s->boundary);
    if (!s || !s->boundary) error = status_no_memory("slices", (size_t)n * sizeof *candidate);
    if (!error && (source->ninputs != 1 || target->ninputs != 1))
        error =
            status_fail(STATUS_UNSUPPORTED, "the model has %d inputs; training takes one", source->ninputs);
    if (!error) {
        s->source = source;
        s->target = target;
        s->boundary[0] = (struct boundary){source->input[0], target->input[0], NULL};
        error = choose(s, n, candidate);
    }
    if (!error)
        s->boundary[++s->nslices] =
            (struct boundary){known ? source->output[0] : -1, target->output[0], NULL};
    for (int i = 0; i < n; i++) free(candidate[i].column);
    free(candidate);
    if (error) slicing_destroy(&s);
    *slicing = s;
    return error;
}

int64_t slicing_source_floats(const struct slicing *s, int boundary) {
    return shape_sample_count(&s->source->value[s->boundary[boundary].source]);
}

int64_t slicing_target_floats(const struct slicing *s, int boundary) {
    return shape_sample_count(&s->target->value[s->boundary[boundary].target]);
}

status slicing_cut_target(const struct slicing *s, int first, int end, struct opgraph **cut) {
    return cut_between(s->target, s->boundary[first].target, s->boundary[end].target, cut);
}

status slicing_cut_source(const struct slicing *s, int first, int end, bool all, struct opgraph **cut) {
    int n = 0, *output = calloc((size_t)(end - first) + 1, sizeof *output);
    if (!output) return status_no_memory("slices", 0);
    for (int b = all ? first + 1 : end; b <= end; b++)
        if (s->boundary[b].source >= 0) output[n++] = s->boundary[b].source;
    status error = opgraph_cut(s->source, 1, &s->boundary[first].source, n, output, cut);
    free(output);
    return error;
}

void slicing_map(const struct slicing *s, int boundary, int64_t n, const float *x, float *to) {
    const struct boundary *b = &s->boundary[boundary];
    int64_t floats = slicing_target_floats(s, boundary);
    if (!b->column) {
        memcpy(to, x, (size_t)(n * floats) * sizeof *x);
        return;
    }
    const struct shape *wide = &s->source->value[b->source], *narrow = &s->target->value[b->target];
    int64_t m = narrow->dim[narrow->rank - 1], of = wide->dim[wide->rank - 1], rows = n * floats / m;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < m; j++) to[i * m + j] = x[i * of + b->column[j]];
}
