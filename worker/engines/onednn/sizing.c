#include "worker/engines/onednn/sizing.h"

#include <math.h>

/* Of a step's input and output: what of the last cache a process can count on, with the weights beside it.
 * (What the system says of its size may be that of all the machine's.) */
#define CACHE_BYTES (8 << 20)

/* What a core does in a second, low and roughly, and the least time that is worth another thread. */
#define CORE_FLOPS 2e11
#define CORE_BYTES 2e10
#define THREAD_SECONDS 1e-6

/* Bytes of the largest operation's inputs and output, for one sample; -1: a shape is not known. */
static double largest_step(const struct opgraph *graph) {
    double largest = 0;
    for (int i = 0; i < graph->nops; i++) {
        const struct op *op = &graph->op[i];
        double floats = 0;
        for (int k = -1; k < op->nin; k++) {
            const int64_t count = shape_sample_count(&graph->value[k < 0 ? op->out : op->in[k]]);
            if (count < 0) return -1;
            floats += (double)count;
        }
        largest = fmax(largest, floats * (double)sizeof(float));
    }
    return largest;
}

int64_t sizing_part(const struct opgraph *graph, int64_t batch) {
    const double sample = largest_step(graph), most = CACHE_BYTES;
    if (sample <= 0 || sample * (double)batch <= most) return batch;
    const int64_t fits = sample > most ? 1 : (int64_t)(most / sample);
    for (int64_t part = fits; 2 * part > fits; part--)
        if (batch % part == 0) return part;
    return fits; /* the last part begins before the end of the one before it */
}

int sizing_threads(const struct onednn_exec *exec, const struct step *step, int threads) {
    const struct opgraph *graph = exec->graph;
    double bytes = (double)exec->count[step->out] * (double)sizeof(float);
    for (int k = 0; k < step->nin; k++) bytes += (double)exec->count[step->in[k]] * (double)sizeof(float);
    const double samples = (double)exec->shape[step->out].dim[0];
    const double seconds = fmax(op_flops(graph, step->op) * samples / CORE_FLOPS, bytes / CORE_BYTES);
    const double worth = floor(seconds / THREAD_SECONDS);
    return worth < 1 ? 1 : worth < threads ? (int)worth : threads;
}
