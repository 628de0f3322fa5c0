#include "worker/engines/onednn/profile.h"
#include "worker/engines/onednn/step.h"

void onednn_profile_start(struct exec *exec) {
    struct onednn_exec *e = (struct onednn_exec *)exec;
    e->profile = true;
    for (int i = 0; i < e->nsteps; i++)
        e->step[i].seconds[PHASE_FORWARD] = e->step[i].seconds[PHASE_BACKWARD] = 0;
}

static double step_bytes(const struct onednn_exec *e, const struct step *s) {
    double nbytes = (double)e->count[s->out] * (double)dtype_size(e->format[s->out].dtype);
    for (int i = 0; i < s->nin; i++)
        nbytes += (double)e->count[s->in[i]] * (double)dtype_size(e->format[s->in[i]].dtype);
    for (int i = 0; i < 4; i++)
        if (s->op->param[i] >= 0)
            nbytes += (double)e->graph->param[s->op->param[i]].count * (double)sizeof(float);
    return nbytes;
}

bool onednn_profile_step(const struct exec *exec, int i, struct onednn_profile *profile) {
    const struct onednn_exec *e = (const struct onednn_exec *)exec;
    if (i < 0 || i >= e->nsteps) return false;
    const struct step *s = &e->step[i];
    *profile = (struct onednn_profile){
        .kind = op_name(s->op->kind),
        .implementation = s->implementation ? s->implementation : "",
        .node = s->op->node,
        .flops = op_flops(e->graph, s->op) * (double)e->options.batch,
        .bytes = step_bytes(e, s),
        .samples = e->options.batch,
        .threads = s->threads,
        .forward_s = s->seconds[PHASE_FORWARD],
        .backward_s = s->seconds[PHASE_BACKWARD],
    };
    return true;
}
