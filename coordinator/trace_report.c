#include "coordinator/trace_report.h"

#include <stdlib.h>

enum { COMPUTE, WAIT, COMMUNICATION, EVENTS, DROPPED, FIGURES };

status trace_report_gather(const struct comm *world, const struct trace_totals *mine,
                           struct trace_totals *all) {
    int n = comm_size(world);
    double *figure = calloc((size_t)n, FIGURES * sizeof *figure);
    status error = comm_agree(world, figure ? SUCCESS : status_no_memory("a report", (size_t)n));
    if (!error) {
        double *own = figure + (ptrdiff_t)comm_rank(world) * FIGURES;
        own[COMPUTE] = mine->compute;
        own[WAIT] = mine->wait;
        own[COMMUNICATION] = mine->communication;
        own[EVENTS] = (double)mine->events;
        own[DROPPED] = (double)mine->dropped;
        error = comm_sum_f64(world, figure, (size_t)n * FIGURES);
    }
    for (int r = 0; r < n && !error; r++) {
        const double *f = figure + (ptrdiff_t)r * FIGURES;
        all[r] = (struct trace_totals){.compute = f[COMPUTE],
                                       .wait = f[WAIT],
                                       .communication = f[COMMUNICATION],
                                       .events = (int64_t)f[EVENTS],
                                       .dropped = (int64_t)f[DROPPED]};
    }
    free(figure);
    return error;
}

double trace_report_efficiency(int n, const struct trace_totals *all) {
    double sum = 0, largest = 0;
    for (int r = 0; r < n; r++) {
        sum += all[r].compute;
        if (all[r].compute > largest) largest = all[r].compute;
    }
    return largest > 0 ? sum / n / largest : 1;
}

static void print_share(FILE *out, double seconds, double total) {
    fprintf(out, " %10.2f %5.1f %%", seconds, total > 0 ? 100 * seconds / total : 0);
}

void trace_report_print(FILE *out, int n, const struct trace_totals *all) {
    int64_t dropped = 0;
    fprintf(out, "%-8s %18s %18s %18s\n", "rank", "computes, s", "waits, s", "communicates, s");
    for (int r = 0; r < n; r++) {
        const struct trace_totals *t = &all[r];
        double total = t->compute + t->wait + t->communication;
        fprintf(out, "%-8d", r);
        print_share(out, t->compute, total);
        print_share(out, t->wait, total);
        print_share(out, t->communication, total);
        fprintf(out, "\n");
        dropped += t->dropped;
    }
    fprintf(out, "mean over longest of computing: %.1f %%\n", 100 * trace_report_efficiency(n, all));
    if (dropped) fprintf(out, "%lld spans had no room in the trace\n", (long long)dropped);
}
