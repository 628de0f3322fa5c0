#include "worker/select.h"
#include "worker/forward.h"
#include "worker/kernel_norm.h"
#include "worker/pursuit.h"
#include "worker/reader.h"

#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GRAM_BUDGET                                                                                          \
    ((size_t)512 << 20) /* bytes of Gram matrices held at once, unless one group needs more                  \
                         */

struct selector {
    const struct machine *machine;
    const struct selection *s;
    int nreaders;
    struct reader *reader;
    int64_t **chosen; /* [groups] what is chosen so far */
    double **worth;   /* [groups][classes] of those: what an error in the channel is worth to what follows */
};

static bool is_pruned(const struct selection *s, int group) {
    return s->kept[group] < channel_map_width(s->map, group);
}

/* ---- Gram matrices ---- */

/* Adds this rank's calibration samples to the readers in `which`. */
static status add_samples(struct selector *l, int n, const int *which) {
    const struct selection *s = l->s;
    const struct calibration *c = s->calibration;
    int threads = l->machine->threads, *values = malloc(((size_t)n + 1) * sizeof *values);
    struct opgraph *cut = NULL;
    struct forward *forward = NULL;
    float *u = NULL;
    int64_t widest = 0;
    status error = values ? SUCCESS : status_no_memory("channels", (size_t)n * sizeof *values);
    for (int i = 0; i < n && !error; i++) {
        values[i] = l->reader[which[i]].value;
        if (l->reader[which[i]].patches.columns > widest) widest = l->reader[which[i]].patches.columns;
    }
    if (!error) error = opgraph_cut(s->ops, s->ops->ninputs, s->ops->input, n, values, &cut);
    if (!error) error = forward_create(l->machine, cut, s->params, CALIBRATION_BLOCK, &forward);
    if (!error) error = memory_alloc("patches", (size_t)(NORMAL_ROWS * (widest + 1)), sizeof *u, (void **)&u);
    for (int64_t block = 0; block < c->n && !error; block += CALIBRATION_BLOCK) {
        int64_t samples = c->n - block < CALIBRATION_BLOCK ? c->n - block : CALIBRATION_BLOCK;
        error = forward_inputs(forward, c->x + block * c->sample, samples);
        for (int i = 0; i < n && !error; i++) {
            struct reader *r = &l->reader[which[i]];
            int64_t rows = samples * r->patches.rows;
            for (int64_t first = 0; first < rows; first += NORMAL_ROWS) {
                int64_t run = rows - first < NORMAL_ROWS ? rows - first : NORMAL_ROWS;
                patches_gather(&r->patches, forward_output(forward, i), first, run, r->patches.columns + 1,
                               threads, u);
                normal_add_gram(r->normal, run, u, threads);
            }
        }
        log_progress(l->machine->log, (double)(block + samples) * comm_size(l->machine->world), NULL);
    }
    forward_destroy(&forward);
    opgraph_destroy(&cut);
    free(values);
    free(u);
    return error;
}

static status gram_matrices(struct selector *l, int n, const int *which) {
    status error = SUCCESS;
    for (int i = 0; i < n && !error; i++) {
        struct reader *r = &l->reader[which[i]];
        const struct shape *out = &r->patches.out;
        error = normal_create(r->patches.columns + 1, out->dim[out->rank - 1], &r->normal);
    }
    if (!error) error = add_samples(l, n, which);
    STATUS_TRY(comm_agree(l->machine->world, error));
    for (int i = 0; i < n; i++) STATUS_TRY(normal_sum_gram(l->reader[which[i]].normal, l->machine->world));
    return SUCCESS;
}

/* ---- choosing ---- */

static void pursuit_reader_clear(struct pursuit_reader *p) {
    free(p->g);
    free(p->h);
    free((int *)p->class);
}

/* The reader's outputs that the target has, as far as is chosen already; owned. */
static status outputs_that_count(const struct selector *l, const struct reader *r, int group,
                                 int64_t **output, int64_t *n) {
    int64_t all = r->patches.outputs;
    STATUS_TRY(memory_alloc("a choice of channels", (size_t)all, sizeof **output, (void **)output));
    *n = 0;
    for (int64_t j = 0; j < all; j++) {
        const struct channel *c = &r->made[j];
        const int64_t *chosen = c->group >= 0 && c->group != group ? l->chosen[c->group] : NULL;
        bool kept = !chosen;
        for (int i = 0; !kept && i < l->s->kept[c->group]; i++) kept = chosen[i] == c->index;
        if (kept) (*output)[(*n)++] = j;
    }
    return SUCCESS;
}

/* What an error in output j of the reader is worth. */
static double output_worth(const struct selector *l, const struct reader *r, int group, int64_t j) {
    const struct channel *c = &r->made[j];
    return c->group >= 0 && c->group != group && l->worth[c->group] ? l->worth[c->group][c->index] : 1;
}

/* What errors in the classes of a group are worth to its readers: by the squares of their kernels, each
 * output weighed by its own worth, relative to the mean class. The root of it, for the nonlinearities between
 * leave half of such products true at best. */
static status weigh_classes(struct selector *l, int group) {
    int width = channel_map_width(l->s->map, group);
    double *worth = NULL, mean = 0;
    STATUS_TRY(memory_alloc("a choice of channels", (size_t)width, sizeof *worth, (void **)&worth));
    for (int i = 0; i < l->nreaders; i++) {
        const struct reader *r = &l->reader[i];
        if (!reader_reads(r, group)) continue;
        const float *kernel = params_at(l->s->params, r->kernel);
        int64_t *out = NULL, m, channels = r->patches.in.dim[r->patches.in.rank - 1];
        status error = outputs_that_count(l, r, group, &out, &m);
        for (int64_t k = 0; k < r->patches.columns && !error; k++) {
            const struct channel *c = &r->channel[k % channels];
            for (int64_t j = 0; j < m && c->group == group; j++) {
                double w = kernel[patches_weight(&r->patches, 0, k, out[j])];
                worth[c->index] += w * w * output_worth(l, r, group, out[j]);
            }
        }
        free(out);
        if (error) {
            free(worth);
            return error;
        }
    }
    for (int c = 0; c < width; c++) mean += worth[c] / width;
    for (int c = 0; c < width; c++) worth[c] = mean > 0 ? sqrt(worth[c] / mean) : 1;
    l->worth[group] = worth;
    return SUCCESS;
}

/* A copy of the reader's equations, its entries classed for the group and its outputs weighed. */
static status pursuit_reader_init(const struct selector *l, const struct reader *r, int group,
                                  struct pursuit_reader *p) {
    int64_t k = r->normal->k, m = r->normal->m, channels = r->patches.in.dim[r->patches.in.rank - 1];
    double *w = NULL;
    int *class = NULL;
    int64_t *out = NULL;
    STATUS_TRY(outputs_that_count(l, r, group, &out, &m));
    *p = (struct pursuit_reader){.k = k, .m = m};
    status error = memory_alloc("a choice of channels", (size_t)(k * k), sizeof *p->g, (void **)&p->g);
    if (!error) error = memory_alloc("a choice of channels", (size_t)(k * m), sizeof *p->h, (void **)&p->h);
    if (!error) error = memory_alloc("a choice of channels", (size_t)k, sizeof *class, (void **)&class);
    if (!error) error = memory_alloc("a choice of channels", (size_t)(k * m), sizeof *w, (void **)&w);
    p->class = class;
    if (error) {
        free(w);
        free(out);
        return error;
    }
    memcpy(p->g, r->normal->g, (size_t)(k * k) * sizeof *p->g);
    for (int64_t i = 0; i < k - 1; i++)
        for (int64_t j = 0; j < m; j++)
            w[i * m + j] = params_at(l->s->params, r->kernel)[patches_weight(&r->patches, 0, i, out[j])];
    for (int64_t j = 0; j < m; j++)
        w[(k - 1) * m + j] = r->bias >= 0 ? params_at(l->s->params, r->bias)[out[j]] : 0;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < m; j++) w[i * m + j] *= sqrt(output_worth(l, r, group, out[j]));
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)k, (int)m, (int)k, 1, p->g, (int)k, w, (int)m,
                0, p->h, (int)m);
    for (int64_t i = 0; i < k * m; i++) p->total += w[i] * p->h[i];
    for (int64_t i = 0; i < k; i++) {
        const struct channel *c = &r->channel[i % channels];
        class[i] = i < k - 1 && c->group == group ? c->index : -1;
    }
    free(w);
    free(out);
    return SUCCESS;
}

static status choose_by_readers(const struct selector *l, int group, int64_t *chosen) {
    const struct selection *s = l->s;
    int n = 0;
    struct pursuit_reader *p = calloc((size_t)l->nreaders + 1, sizeof *p);
    if (!p) return status_no_memory("a choice of channels", (size_t)l->nreaders * sizeof *p);
    status error = SUCCESS;
    for (int i = 0; i < l->nreaders && !error; i++)
        if (l->reader[i].normal && reader_reads(&l->reader[i], group))
            error = pursuit_reader_init(l, &l->reader[i], group, &p[n++]);
    if (!error)
        error = pursuit_choose(n, p, channel_map_width(s->map, group), s->kept[group], l->machine->threads,
                               chosen, s->error ? s->error[group] : NULL);
    for (int i = 0; i < n; i++) pursuit_reader_clear(&p[i]);
    free(p);
    return error;
}

/* Sums of the squares of the kernels that make the group's channels, in memory: norm[width]. */
static status norms_in_memory(const struct selection *s, int group, double *norm) {
    for (int i = 0; i < s->ops->nops; i++) {
        const struct op *op = &s->ops->op[i];
        const struct channel *channel = NULL;
        int columns = kernel_channels(s, op, &channel);
        bool makes = false;
        for (int c = 0; c < columns; c++) makes = makes || channel[c].group == group;
        if (!makes) continue;
        double *sum = NULL;
        STATUS_TRY(memory_alloc("kernel norms", (size_t)columns, sizeof *sum, (void **)&sum));
        int p = op->param[0];
        kernel_squares(s, op, columns, 0, s->params->count[p], params_at(s->params, p), sum);
        for (int c = 0; c < columns; c++)
            if (channel[c].group == group) norm[channel[c].index] += sum[c];
        free(sum);
    }
    return SUCCESS;
}

/* The classes with the largest kernels among the operations that make the group's channels. */
static status choose_by_norm(const struct selector *l, int group, int64_t *chosen) {
    const struct selection *s = l->s;
    int width = channel_map_width(s->map, group);
    double *norm = NULL;
    STATUS_TRY(memory_alloc("a choice of channels", (size_t)width, sizeof *norm, (void **)&norm));
    if (s->norm) memcpy(norm, s->norm[group], (size_t)width * sizeof *norm);
    status error = s->norm ? SUCCESS : norms_in_memory(s, group, norm);
    if (error) {
        free(norm);
        return error;
    }
    for (int n = 0; n < s->kept[group]; n++) {
        int best = -1;
        for (int c = 0; c < width; c++)
            if (norm[c] >= 0 && (best < 0 || norm[c] > norm[best])) best = c;
        norm[best] = -1;
    }
    for (int c = 0, n = 0; c < width; c++)
        if (norm[c] < 0) chosen[n++] = c;
    free(norm);
    return SUCCESS;
}

/* Rank 0 chooses, everybody gets its choice. */
static status choose(const struct selector *l, int group, bool by_readers, int64_t *chosen) {
    const struct comm *world = l->machine->world;
    int kept = l->s->kept[group];
    status error = SUCCESS;
    if (!strcmp(l->s->method, "first"))
        for (int i = 0; i < kept; i++) chosen[i] = i;
    else if (comm_is_root(world))
        error = by_readers ? choose_by_readers(l, group, chosen) : choose_by_norm(l, group, chosen);
    STATUS_TRY(comm_agree(world, error));
    STATUS_TRY(comm_bcast(world, 0, chosen, (size_t)kept * sizeof *chosen));
    double *costs = l->s->error ? l->s->error[group] : NULL;
    if (!costs) return SUCCESS;
    int width = channel_map_width(l->s->map, group);
    for (int k = 0; k <= kept && !by_readers; k++) costs[k] = 1 - (double)k / width;
    return comm_bcast(world, 0, costs, (size_t)(kept + 1) * sizeof *costs);
}

/* Readers of groups [first, *end) that fit into the budget together; which[*n] are their numbers. */
static void plan_batch(const struct selector *l, const int *groups, int ngroups, int first, int *end,
                       int *which, int *n) {
    size_t bytes = 0;
    *n = 0;
    for (*end = first; *end < ngroups; ++*end) {
        size_t more = 0;
        int added = 0;
        for (int i = 0; i < l->nreaders; i++) {
            const struct reader *r = &l->reader[i];
            bool there = false;
            for (int j = 0; j < *n; j++) there = there || which[j] == i;
            if (there || !reader_reads(r, groups[*end])) continue;
            more += normal_bytes(r->patches.columns + 1, r->patches.out.dim[r->patches.out.rank - 1]);
            which[*n + added++] = i;
        }
        if (*end > first && bytes + more > GRAM_BUDGET) return;
        bytes += more;
        *n += added;
    }
}

static status choose_all(struct selector *l, const int *groups, int ngroups, int64_t **chosen) {
    int *which = malloc(((size_t)l->nreaders + 1) * sizeof *which);
    status error =
        comm_agree(l->machine->world,
                   which ? SUCCESS : status_no_memory("channels", (size_t)l->nreaders * sizeof *which));
    bool measured = !strcmp(l->s->method, "next_layer");
    for (int first = 0, end; first < ngroups && !error; first = end) {
        int n = 0;
        if (measured) plan_batch(l, groups, ngroups, first, &end, which, &n);
        else end = ngroups;
        if (n) error = gram_matrices(l, n, which);
        for (int i = first; i < end && !error; i++) {
            bool read = false;
            for (int j = 0; j < n; j++) read = read || reader_reads(&l->reader[which[j]], groups[i]);
            if (measured && !read)
                log_line(l->machine->log, LOG_INFO,
                         "channels of group %d have no reader that can be measured: chosen by kernel norm",
                         groups[i]);
            error = choose(l, groups[i], read, chosen[groups[i]]);
            if (!error && measured) error = comm_agree(l->machine->world, weigh_classes(l, groups[i]));
            l->chosen[groups[i]] = chosen[groups[i]];
        }
        for (int j = 0; j < n; j++) normal_destroy(&l->reader[which[j]].normal);
    }
    free(which);
    return error;
}

status select_channels(const struct machine *machine, const struct selection *selection, int64_t **chosen) {
    struct selector l = {.machine = machine, .s = selection};
    int n = 0, total = channel_map_groups(selection->map);
    int *groups = malloc(((size_t)total + 1) * sizeof *groups);
    bool measured = !strcmp(selection->method, "next_layer");
    status error = !groups    ? status_no_memory("channels", (size_t)total * sizeof *groups)
                   : measured ? readers_find(selection, &l.nreaders, &l.reader)
                              : SUCCESS;
    for (int g = 0; g < total; g++) chosen[g] = NULL;
    for (int g = 0; g < total && !error; g++) {
        if (!is_pruned(selection, g)) continue;
        groups[n++] = g;
        error = memory_alloc("a choice of channels", (size_t)selection->kept[g], sizeof **chosen,
                             (void **)&chosen[g]);
    }
    /* From the last to the first: then only the outputs that the target has count for those before. */
    for (int i = 0; i < n / 2; i++) {
        int t = groups[i];
        groups[i] = groups[n - 1 - i];
        groups[n - 1 - i] = t;
    }
    l.chosen = calloc((size_t)total + 1, sizeof *l.chosen);
    l.worth = calloc((size_t)total + 1, sizeof *l.worth);
    if (!error && !(l.chosen && l.worth))
        error = status_no_memory("channels", (size_t)total * sizeof *l.chosen);
    error = comm_agree(machine->world, error);
    if (measured)
        log_progress_begin(machine->log, "select", "samples", (double)selection->calibration->total);
    if (!error) error = choose_all(&l, groups, n, chosen);
    for (int g = 0; g < total && l.worth; g++) free(l.worth[g]);
    free(l.worth);
    free(l.chosen);
    if (measured) log_progress_end(machine->log);
    readers_destroy(l.nreaders, &l.reader);
    free(groups);
    for (int g = 0; g < total && error; g++) {
        free(chosen[g]);
        chosen[g] = NULL;
    }
    return error;
}
