/* Memory of one exec: every value, gradient and scratch lives from one point in time to another (forward step
 * i is at time i, backward of step i at time 2n-1-i), so most can share memory. Renaming operations and
 * elementwise ones whose input is read by nobody later work in place. */
#include "worker/engines/arena.h"
#include "worker/engines/onednn/step.h"

#include <stdlib.h>
#include <string.h>

struct memory {
    struct onednn_exec *exec;
    int nvalues, nsteps, end; /* end: after everything */
    bool *input;              /* [nvalues] is a graph input */
    int *last;      /* [nvalues] last reading of a value, then of the values that share its memory */
    int *grad_root; /* [nvalues] */
    struct arena_block *value, *grad;    /* [nvalues], of roots */
    struct arena_block *saved, *scratch; /* [nsteps], [2*nsteps] */
    struct arena_block *block;           /* all of them in one array, owned */
};

static int max_int(int a, int b) {
    return a > b ? a : b;
}

static int backward_time(const struct memory *m, int step) {
    return 2 * m->nsteps - 1 - step;
}

static size_t value_bytes(const struct memory *m, int value) {
    return (size_t)m->exec->count[value] * dtype_size(m->exec->format[value].dtype);
}

static status memory_create(struct memory *m) {
    const size_t n = (size_t)m->nvalues, s = (size_t)m->nsteps;
    m->input = calloc(n + 1, sizeof *m->input);
    m->last = calloc(n + 1, sizeof *m->last);
    m->grad_root = calloc(n + 1, sizeof *m->grad_root);
    m->block = calloc(2 * n + 3 * s + 1, sizeof *m->block);
    if (!m->input || !m->last || !m->grad_root || !m->block)
        return status_no_memory("a memory plan", (2 * n + 3 * s) * sizeof *m->block);
    m->value = m->block;
    m->grad = m->value + n;
    m->saved = m->grad + n;
    m->scratch = m->saved + s;
    return SUCCESS;
}

/* Who reads each value last. */
static void find_lasts(struct memory *m) {
    const struct onednn_exec *e = m->exec;
    const bool train = step_trains(e);
    for (int i = 0; i < m->nsteps; i++) {
        const struct step *s = &e->step[i];
        m->last[s->out] = max_int(m->last[s->out], i);
        for (int k = 0; k < s->nin; k++) {
            int *last = &m->last[s->in[k]];
            *last = max_int(*last, train && s->needs_in ? backward_time(m, i) : i);
        }
        if (train && s->needs_out) m->last[s->out] = max_int(m->last[s->out], backward_time(m, i));
    }
    for (int i = 0; i < e->graph->noutputs; i++) m->last[e->graph->output[i]] = m->end;
}

static bool works_in_place(const struct memory *m, const struct step *s, int i) {
    const struct onednn_exec *e = m->exec;
    const int root = e->root[s->in[0]];
    if (!s->inplace || m->input[root] || m->last[root] > i || value_bytes(m, root) != value_bytes(m, s->out))
        return false;
    for (int k = 1; k < s->nin; k++)
        if (e->root[s->in[k]] == root) return false;
    return true;
}

static void place_values(struct memory *m) {
    struct onednn_exec *e = m->exec;
    for (int v = 0; v < m->nvalues; v++) e->root[v] = v;
    for (int i = 0; i < m->nsteps; i++) {
        const struct step *s = &e->step[i];
        const int root = e->root[s->in[0]];
        bool share = s->alias || works_in_place(m, s, i);
        if (s->alias && m->input[root] && m->last[s->out] == m->end)
            share = false; /* an output is not borrowed */
        if (share) {
            e->root[s->out] = root;
            m->last[root] = max_int(m->last[root], m->last[s->out]);
            continue;
        }
        m->value[s->out].first = i;
        m->value[s->out].nbytes = value_bytes(m, s->out);
    }
    for (int v = 0; v < m->nvalues; v++) m->value[v].last = m->last[v];
}

static void place_grads(struct memory *m) {
    struct onednn_exec *e = m->exec;
    for (int v = 0; v < m->nvalues; v++) {
        m->grad_root[v] = v;
        m->grad[v].nbytes = e->wants_grad[v] ? value_bytes(m, v) : 0;
        m->grad[v].first = m->grad[v].last = m->end;
    }
    for (int i = m->nsteps - 1; i >= 0; i--) {
        const struct step *s = &e->step[i];
        const int time = backward_time(m, i);
        m->grad[s->out].last = time;
        for (int k = 0; k < s->nin; k++)
            if (time < m->grad[s->in[k]].first) m->grad[s->in[k]].first = time;
    }
    for (int i = 0; i < e->graph->noutputs; i++) m->grad[e->graph->output[i]].first = m->nsteps;
    /* In place: from the end, so that a root's life is known before it is extended. */
    for (int i = m->nsteps - 1; i >= 0; i--) {
        const struct step *s = &e->step[i];
        const int x = s->in[0], root = m->grad_root[s->out];
        bool share = s->inplace_backward && e->wants_grad[s->out] && e->wants_grad[x] && !s->accumulate[0] &&
                     value_bytes(m, x) == value_bytes(m, s->out);
        for (int k = 1; k < s->nin; k++) share = share && s->in[k] != x;
        if (!share) continue;
        m->grad_root[x] = root;
        m->grad[root].last = max_int(m->grad[root].last, m->grad[x].last);
        m->grad[x].nbytes = 0;
    }
}

static void place_scratch(struct memory *m) {
    const bool train = step_trains(m->exec);
    for (int i = 0; i < m->nsteps; i++) {
        const struct step *s = &m->exec->step[i];
        m->saved[i] = (struct arena_block){.nbytes = s->saved_bytes, .first = i, .last = backward_time(m, i)};
        m->scratch[2 * i] =
            (struct arena_block){.nbytes = s->scratch_bytes[PHASE_FORWARD], .first = i, .last = i};
        int time = backward_time(m, i);
        m->scratch[2 * i + 1] = (struct arena_block){
            .nbytes = train ? s->scratch_bytes[PHASE_BACKWARD] : 0, .first = time, .last = time};
    }
}

static void *address(const struct memory *m, const struct arena_block *block) {
    return block->nbytes ? m->exec->arena + block->offset : NULL;
}

static void set_pointers(struct memory *m) {
    struct onednn_exec *e = m->exec;
    for (int v = 0; v < m->nvalues; v++) {
        e->value[v] = address(m, &m->value[e->root[v]]);
        e->grad[v] = e->wants_grad[v] ? address(m, &m->grad[m->grad_root[v]]) : NULL;
    }
    for (int i = 0; i < m->nsteps; i++) {
        e->step[i].saved = address(m, &m->saved[i]);
        for (int phase = 0; phase < PHASES; phase++)
            e->step[i].scratch[phase] = address(m, &m->scratch[2 * i + phase]);
    }
}

static status memory_place(struct memory *m) {
    struct onednn_exec *e = m->exec;
    size_t nbytes = 0;
    STATUS_TRY(memory_create(m));
    for (int i = 0; i < e->graph->ninputs; i++) m->input[e->graph->input[i]] = true;
    find_lasts(m);
    place_values(m);
    if (step_trains(e)) place_grads(m);
    place_scratch(m);
    STATUS_TRY(arena_plan(m->block, 2 * m->nvalues + 3 * m->nsteps, &nbytes));
    STATUS_TRY(memory_alloc("activations", nbytes + 64, 1, (void **)&e->arena));
    e->nbytes += nbytes + 64;
    set_pointers(m);
    return SUCCESS;
}

status memory_bind(struct onednn_exec *exec) {
    struct memory m = {
        .exec = exec, .nvalues = exec->graph->nvalues, .nsteps = exec->nsteps, .end = 2 * exec->nsteps};
    status error = memory_place(&m);
    free(m.input);
    free(m.last);
    free(m.grad_root);
    free(m.block);
    return error;
}
