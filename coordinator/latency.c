#include "coordinator/latency.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TERMS 4
#define PIVOT_LEAST 1e-9
#define LINE_SAMPLES 3

/* ---- parts ---- */

/* Engines compute it along with what it reads: one input, no weights, the same shape. */
static bool passes_on(const struct graph *g, int node) {
    const struct node *n = &g->node[node];
    const struct edge *in = n->in;
    return n->nin == 1 && n->nout == 1 && in->slot == 0 && !g->layer[n->layer].nweights &&
           shape_equal(&g->node[in->node].out[0], &n->out[0]);
}

status latency_model_create(const struct graph *g, struct latency_model **model) {
    struct latency_model *m = calloc(1, sizeof *m);
    bool *done = calloc((size_t)g->nnodes + 1, sizeof *done);
    if (m) m->part = calloc((size_t)g->nnodes + 1, sizeof *m->part);
    if (!m || !m->part || !done) {
        latency_model_destroy(&m);
        free(done);
        return status_no_memory("a model of latency", (size_t)g->nnodes * sizeof *m->part);
    }
    m->scale = 1;
    for (int i = 0; i < g->nnodes; i++) {
        if (done[i] || !g->node[i].nin) continue;
        int last = i, next;
        while (g->node[last].nout == 1 && (next = graph_only_reader(g, last)) >= 0 && passes_on(g, next)) {
            last = next;
            done[last] = true;
        }
        m->part[m->nparts++] = (struct latency_part){.first = i, .last = last};
    }
    free(done);
    *model = m;
    return SUCCESS;
}

void latency_model_destroy(struct latency_model **model) {
    if (!*model) return;
    for (int i = 0; i < (*model)->nparts; i++) free((*model)->part[i].line);
    free((*model)->part);
    free(*model);
    *model = NULL;
}

static double channels_of(const struct shape *shape) {
    return shape->rank ? (double)shape->dim[shape->rank - 1] : 1;
}

void latency_widths(const struct graph *graph, const struct latency_part *part, double *in, double *out) {
    const struct edge *edge = graph->node[part->first].in;
    *in = channels_of(&graph->node[edge->node].out[edge->slot]);
    *out = channels_of(&graph->node[part->last].out[0]);
}

/* ---- the fit ---- */

static void terms_of(double in, double out, double term[TERMS]) {
    term[0] = 1;
    term[1] = in;
    term[2] = out;
    term[3] = in * out;
}

/* Solves a x = b by elimination, a positive definite with a diagonal of about one; false if it is not. */
static bool eliminate(int n, double a[TERMS][TERMS], double *b) {
    for (int i = 0; i < n; i++) {
        if (!(a[i][i] > PIVOT_LEAST)) return false;
        for (int j = i + 1; j < n; j++) {
            double part = a[j][i] / a[i][i];
            for (int k = i; k < n; k++) a[j][k] -= part * a[i][k];
            b[j] -= part * b[i];
        }
    }
    for (int i = n - 1; i >= 0; i--) {
        for (int k = i + 1; k < n; k++) b[i] -= a[i][k] * b[k];
        b[i] /= a[i][i];
    }
    return true;
}

/* Least squares of some of the terms, each divided by its size; false if one comes out negative. */
static bool fit_terms(int n, const double *in, const double *out, const double *seconds, unsigned set,
                      const double size[TERMS], double c[TERMS]) {
    double a[TERMS][TERMS] = {{0}}, b[TERMS] = {0}, term[TERMS];
    int which[TERMS], count = 0;
    for (int t = 0; t < TERMS; t++)
        if (set >> t & 1) which[count++] = t;
    for (int i = 0; i < n; i++) {
        terms_of(in[i], out[i], term);
        for (int j = 0; j < count; j++) {
            double u = term[which[j]] / size[which[j]];
            for (int k = 0; k < count; k++) a[j][k] += u * term[which[k]] / size[which[k]];
            b[j] += u * seconds[i];
        }
    }
    if (!eliminate(count, a, b)) return false;
    memset(c, 0, TERMS * sizeof *c);
    for (int j = 0; j < count; j++) {
        if (b[j] < 0) return false;
        c[which[j]] = b[j] / size[which[j]];
    }
    return true;
}

static double seconds_of(const double c[TERMS], double in, double out) {
    double term[TERMS], sum = 0;
    terms_of(in, out, term);
    for (int t = 0; t < TERMS; t++) sum += c[t] * term[t];
    return sum;
}

/* The best of all sets of the terms `among`: that is the solution whose coefficients are not negative. */
static void fit(int n, const double *in, const double *out, const double *seconds, unsigned among,
                double c[TERMS]) {
    double size[TERMS] = {0}, term[TERMS], least = INFINITY;
    memset(c, 0, TERMS * sizeof *c);
    for (int i = 0; i < n; i++) {
        terms_of(in[i], out[i], term);
        for (int t = 0; t < TERMS; t++) size[t] += term[t] * term[t];
    }
    for (int t = 0; t < TERMS; t++) size[t] = size[t] > 0 ? sqrt(size[t]) : 1;
    for (unsigned set = 1; set < 1u << TERMS; set++) {
        double tried[TERMS], error = 0;
        if (set & ~among || !fit_terms(n, in, out, seconds, set, size, tried)) continue;
        for (int i = 0; i < n; i++) error += pow(seconds_of(tried, in[i], out[i]) - seconds[i], 2);
        if (!(error < least)) continue;
        least = error;
        memcpy(c, tried, sizeof tried);
    }
}

/* A line for each width that was made LINE_SAMPLES times. */
static void fit_lines(int n, double *in, double *out, double *seconds, struct latency_part *part) {
    for (int first = 0; first < n;) {
        int count = 1;
        for (int i = first + 1; i < n; i++) {
            if (out[i] != out[first]) continue;
            double swap[3] = {in[i], out[i], seconds[i]};
            int to = first + count++;
            in[i] = in[to], out[i] = out[to], seconds[i] = seconds[to];
            in[to] = swap[0], out[to] = swap[1], seconds[to] = swap[2];
        }
        if (count >= LINE_SAMPLES) {
            struct latency_line *line = &part->line[part->nlines++];
            line->out = out[first];
            fit(count, in + first, out + first, seconds + first, 3, line->c);
        }
        first += count;
    }
}

status latency_fit(int n, const double *in, const double *out, const double *seconds,
                   struct latency_part *part) {
    double *sorted = NULL;
    size_t nbytes = (size_t)n * sizeof *sorted;
    free(part->line);
    part->line = NULL;
    part->nlines = 0;
    STATUS_TRY(memory_alloc("latencies", (size_t)n, sizeof *part->line, (void **)&part->line));
    STATUS_TRY(memory_alloc("latencies", 3 * (size_t)n, sizeof *sorted, (void **)&sorted));
    memcpy(sorted, in, nbytes);
    memcpy(sorted + n, out, nbytes);
    memcpy(sorted + 2 * n, seconds, nbytes);
    fit(n, in, out, seconds, 15, part->c);
    fit_lines(n, sorted, sorted + n, sorted + 2 * n, part);
    free(sorted);
    return SUCCESS;
}

double latency_of(const struct latency_model *model, const struct graph *graph) {
    double sum = 0, in, out;
    for (int i = 0; i < model->nparts; i++) {
        const struct latency_part *part = &model->part[i];
        const double *c = part->c;
        latency_widths(graph, part, &in, &out);
        for (int k = 0; k < part->nlines; k++)
            if (part->line[k].out == out) c = part->line[k].c;
        sum += seconds_of(c, in, out);
    }
    return model->scale * sum;
}

/* ---- levels ---- */

#define VECTOR 16 /* channels that fill a vector register, or two */

static int step_of(int width) {
    if (width < 4 * VECTOR) return (width + 3) / 4;
    int eighth = (width + 7) / 8;
    return (eighth + VECTOR - 1) / VECTOR * VECTOR;
}

/* Levels below the first multiple of the step. */
static int halvings(int step) {
    return step >= 4 ? 2 : step >= 2 ? 1 : 0;
}

int latency_levels(int width) {
    int step = step_of(width);
    return halvings(step) + (width + step - 1) / step;
}

int latency_level(int width, int k) {
    int step = step_of(width), below = halvings(step);
    if (k < below) return step >> (below - k);
    int level = step * (k - below + 1);
    return level < width ? level : width;
}

int latency_level_at(int width, double kept) {
    int k = latency_levels(width) - 1;
    while (k > 0 && latency_level(width, k) > kept) k--;
    return latency_level(width, k);
}
