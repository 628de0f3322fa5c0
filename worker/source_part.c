#include "worker/source_part.h"

#include <stdlib.h>

#define DEPTH 4 /* messages under way to a stage */

struct source_part {
    struct stage *stage;
    bool all;
    struct opgraph *graph;
    struct exec *exec; /* NULL: the source has nothing here */
    const float *x;    /* of the present turn */
    struct stage_link in, out;
};

static status make(struct source_part *p) {
    struct stage *s = p->stage;
    const struct slicing *slicing = s->task->slicing;
    STATUS_TRY(slicing_cut_source(slicing, s->first, s->end, p->all, &p->graph));
    if (p->graph->noutputs) {
        struct exec_options options = {.batch = s->micro, .mode = EXEC_INFER, .threads = s->machine->threads};
        STATUS_TRY(s->machine->engine->compile(p->graph, &options, &p->exec));
        STATUS_TRY(exec_set_params(p->exec, s->source));
    }
    if (!stage_is_first(s))
        STATUS_TRY(link_open(&p->in, s, LINK_SOURCE, s->index - 1, true,
                             slicing_source_floats(slicing, s->first), DEPTH));
    if (!stage_is_last(s))
        STATUS_TRY(link_open(&p->out, s, LINK_SOURCE, s->index + 1, false,
                             slicing_source_floats(slicing, s->end), DEPTH));
    return SUCCESS;
}

status source_part_open(struct stage *stage, bool all, struct source_part **part) {
    struct source_part *p = calloc(1, sizeof *p);
    if (!p) return status_no_memory("the source's part", sizeof *p);
    p->stage = stage;
    p->all = all;
    status error = make(p);
    if (error) source_part_close(&p);
    *part = p;
    return error;
}

void source_part_close(struct source_part **part) {
    struct source_part *p = *part;
    if (!p) return;
    link_close(&p->in);
    link_close(&p->out);
    exec_destroy(&p->exec);
    opgraph_destroy(&p->graph);
    free(p);
    *part = NULL;
}

status source_part_begin(struct source_part *p, int64_t step, int64_t end) {
    return link_begin(&p->in, step, end);
}

const float *source_part_at(const struct source_part *p, int boundary) {
    int first = p->stage->first;
    if (boundary == first) return p->x;
    return exec_output(p->exec, p->all ? boundary - first - 1 : 0);
}

status source_part_turn(struct source_part *p, const struct turn *turn, const float *x, bool failed) {
    struct stage *s = p->stage;
    status error = SUCCESS;
    p->x = x;
    if (p->in.relay) error = link_take(&p->in, &p->x);
    struct span begin = span_begin();
    if (!error && !failed && p->exec) error = exec_forward(p->exec, &p->x);
    stage_computed(s, "source", -1, turn, begin);
    if (p->out.relay)
        error =
            status_first(error, link_give(&p->out, turn, error || failed ? NULL : source_part_at(p, s->end)));
    return error;
}

status source_part_end(struct source_part *p) {
    return p->in.relay ? link_release(&p->in) : SUCCESS;
}

status source_part_flush(struct source_part *p) {
    return link_flush(&p->out);
}

void source_part_progress(const struct source_part *p) {
    relay_progress(p->in.relay);
    relay_progress(p->out.relay);
}

size_t source_part_memory(const struct source_part *p) {
    return p->exec ? exec_memory(p->exec) : 0;
}
