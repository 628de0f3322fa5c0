#include "shared/stages.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void stages_destroy(struct stages **stages) {
    if (!*stages) return;
    free((*stages)->first_slice);
    free((*stages)->first_rank);
    free(*stages);
    *stages = NULL;
}

static status stages_alloc(int nslices, int nranks, struct stages **stages) {
    struct stages *s = calloc(1, sizeof *s);
    if (!s) return status_no_memory("stages", sizeof *s);
    s->nslices = nslices;
    s->nranks = nranks;
    s->first_slice = calloc((size_t)nslices + 2, sizeof *s->first_slice);
    s->first_rank = calloc((size_t)nslices + 2, sizeof *s->first_rank);
    if (!s->first_slice || !s->first_rank) {
        stages_destroy(&s);
        return status_no_memory("stages", (size_t)nslices * sizeof *s->first_slice);
    }
    *stages = s;
    return SUCCESS;
}

int stages_of_rank(const struct stages *s, int rank) {
    int stage = 0;
    while (s->first_rank[stage + 1] <= rank) stage++;
    return stage;
}

int stages_of_slice(const struct stages *s, int slice) {
    int stage = 0;
    while (s->first_slice[stage + 1] <= slice) stage++;
    return stage;
}

bool stages_equal(const struct stages *a, const struct stages *b) {
    size_t n = (size_t)a->nstages + 1;
    return a->nstages == b->nstages && !memcmp(a->first_slice, b->first_slice, n * sizeof *a->first_slice) &&
           !memcmp(a->first_rank, b->first_rank, n * sizeof *a->first_rank);
}

/* ---- text ---- */

static status wrong_text(const char *text, int nslices, int nranks) {
    return status_fail(
        STATUS_USAGE,
        "training.slices.stages \"%s\" has to share out %d slices and %d rank%s as \"slices:ranks\" of "
        "each stage, like \"%d:%d\"",
        text, nslices, nranks, nranks == 1 ? "" : "s", nslices, nranks);
}

status stages_parse(const char *text, int nslices, int nranks, struct stages **stages) {
    struct stages *s = NULL;
    STATUS_TRY(stages_alloc(nslices, nranks, &s));
    int used = 0, slices, ranks, length;
    while (sscanf(text + used, "%d:%d %n", &slices, &ranks, &length) == 2) {
        int i = s->nstages, slice = s->first_slice[i] + slices, rank = s->first_rank[i] + ranks;
        if (slices < 1 || ranks < 1 || slices > nslices || ranks > nranks || slice > nslices || rank > nranks)
            break;
        s->first_slice[i + 1] = slice;
        s->first_rank[i + 1] = rank;
        s->nstages++;
        used += length;
    }
    if (text[used] || s->first_slice[s->nstages] != nslices || s->first_rank[s->nstages] != nranks) {
        stages_destroy(&s);
        return wrong_text(text, nslices, nranks);
    }
    *stages = s;
    return SUCCESS;
}

status stages_print(const struct stages *s, char **text) {
    size_t room = (size_t)s->nstages * 24 + 1, at = 0;
    char *t = calloc(room, 1);
    if (!t) return status_no_memory("stages", room);
    for (int i = 0; i < s->nstages; i++)
        at += (size_t)snprintf(t + at, room - at, "%s%d:%d", i ? " " : "",
                               s->first_slice[i + 1] - s->first_slice[i], stages_ranks(s, i));
    *text = t;
    return SUCCESS;
}

/* ---- what stages take ---- */

/* The part of a batch that the rank with most micro-batches has. */
static double largest_share(const struct stages_cost *c, int ranks) {
    return (double)((c->micro_batches + ranks - 1) / ranks) / (double)c->micro_batches;
}

/* Seconds of a batch for the slices [first, end) on so many ranks; infinite if one cannot hold them. */
static double stage_seconds(const struct stages_cost *c, int first, int end, int ranks) {
    double compute = 0, sum = 0, bytes = 0;
    for (int i = first; i < end; i++) {
        compute += c->compute[i];
        sum += c->sum[i];
        bytes += c->bytes[i];
    }
    if (c->bytes_limit > 0 && bytes > c->bytes_limit) return INFINITY;
    if (first > 0) compute += c->transfer[first];
    if (end < c->nslices) compute += c->transfer[end];
    return compute * largest_share(c, ranks) + (ranks > 1 ? sum : 0);
}

double stages_seconds(const struct stages *s, const struct stages_cost *c) {
    double slowest = 0, fill = 0;
    for (int i = 0; i < s->nstages; i++) {
        int ranks = stages_ranks(s, i);
        double seconds = stage_seconds(c, s->first_slice[i], s->first_slice[i + 1], ranks);
        slowest = fmax(slowest, seconds);
        fill += seconds * ranks / (double)c->micro_batches; /* one micro-batch goes through */
        if (i == s->nstages - 1) fill -= seconds * ranks / (double)c->micro_batches;
    }
    return slowest + (c->flushed ? fill : 0);
}

double stages_utilization(const struct stages *s, const struct stages_cost *c) {
    double compute = 0;
    for (int i = 0; i < c->nslices; i++) compute += c->compute[i];
    return compute / (stages_seconds(s, c) * s->nranks);
}

/* ---- the best stages ---- */

/* Least ranks with which slices [first, end) take at most `limit`; too many if no number does. */
static int ranks_needed(const struct stages_cost *c, int first, int end, double limit, int nranks) {
    for (int ranks = 1; ranks <= nranks; ranks++)
        if (stage_seconds(c, first, end, ranks) <= limit) return ranks;
    return nranks + 1;
}

/* Least ranks for stages within the limit, of exactly `n` stages. `best` and `cut` [n + 1][nslices + 1] say
 * how: best[k][i] ranks for the first i slices in k stages, the last of which begins at cut[k][i]. */
static int fewest_ranks(const struct stages_cost *c, int n, double limit, int nranks, int *best, int *cut) {
    int width = c->nslices + 1;
    for (int i = 0; i < (n + 1) * width; i++) best[i] = nranks + 1;
    best[0] = 0;
    for (int k = 1; k <= n; k++)
        for (int end = k; end <= c->nslices; end++)
            for (int first = k - 1; first < end; first++) {
                int before = best[(k - 1) * width + first];
                if (before >= nranks) continue;
                int ranks = before + ranks_needed(c, first, end, limit, nranks - before);
                if (ranks >= best[k * width + end]) continue;
                best[k * width + end] = ranks;
                cut[k * width + end] = first;
            }
    return best[n * width + c->nslices];
}

/* Further ranks go where they help the slowest stage. */
static void spread(const struct stages_cost *c, struct stages *s, int *ranks) {
    int left = s->nranks;
    for (int i = 0; i < s->nstages; i++) left -= ranks[i];
    for (; left > 0; left--) {
        int slowest = 0;
        double most = -1;
        for (int i = 0; i < s->nstages; i++) {
            double seconds = stage_seconds(c, s->first_slice[i], s->first_slice[i + 1], ranks[i]);
            if (seconds > most) {
                most = seconds;
                slowest = i;
            }
        }
        ranks[slowest]++;
    }
    for (int i = 0; i < s->nstages; i++) s->first_rank[i + 1] = s->first_rank[i] + ranks[i];
}

/* The best of exactly s->nstages stages; false if there is none. */
static bool fill_stages(const struct stages_cost *c, struct stages *s, int *best, int *cut, int *ranks) {
    int n = s->nstages, width = c->nslices + 1;
    double low = 0, high = 0;
    for (int i = 0; i < c->nslices; i++) high += c->compute[i] + c->sum[i] + 2 * c->transfer[i];
    high = 2 * high + 1e-30;
    if (fewest_ranks(c, n, high, s->nranks, best, cut) > s->nranks) return false;
    for (int round = 0; round < 50; round++) {
        double middle = low + (high - low) / 2;
        if (fewest_ranks(c, n, middle, s->nranks, best, cut) <= s->nranks) high = middle;
        else low = middle;
    }
    fewest_ranks(c, n, high, s->nranks, best, cut);
    for (int k = n, end = c->nslices; k > 0; k--) {
        int first = cut[k * width + end];
        s->first_slice[k] = end;
        ranks[k - 1] = best[k * width + end] - best[(k - 1) * width + first];
        end = first;
    }
    spread(c, s, ranks);
    return true;
}

static status too_large(const struct stages_cost *c, int nranks, int wanted) {
    double most = 0, load = 0;
    int groups = 1;
    for (int i = 0; i < c->nslices; i++) {
        most = fmax(most, c->bytes[i]);
        if (load > 0 && load + c->bytes[i] > c->bytes_limit) {
            groups++;
            load = 0;
        }
        load += c->bytes[i];
    }
    if (c->bytes_limit > 0 && most > c->bytes_limit)
        return status_fail(STATUS_USAGE, "one slice alone needs %.0f MiB, more than the %.0f MiB of a rank",
                           most / 1048576, c->bytes_limit / 1048576);
    if (c->bytes_limit > 0 && groups > nranks)
        return status_fail(STATUS_USAGE, "the slices do not fit %d rank%s of %.0f MiB; use at least %d",
                           nranks, nranks == 1 ? "" : "s", c->bytes_limit / 1048576, groups);
    return status_fail(
        STATUS_USAGE,
        "there can be no %d stages: there are %d slices and %d rank%s, and each stage needs one "
        "of both",
        wanted, c->nslices, nranks, nranks == 1 ? "" : "s");
}

status stages_create(const struct stages_cost *c, int nranks, int wanted, struct stages **stages) {
    int most = c->nslices < nranks ? c->nslices : nranks;
    size_t table = ((size_t)most + 1) * ((size_t)c->nslices + 1);
    int *best = calloc(table, sizeof *best), *cut = calloc(table, sizeof *cut),
        *ranks = calloc((size_t)most + 1, sizeof *ranks);
    struct stages *found = NULL, *s = NULL;
    status error = best && cut && ranks ? SUCCESS : status_no_memory("stages", table * sizeof *best);
    for (int n = wanted ? wanted : 1; n <= (wanted ? wanted : most) && n <= most && !error; n++) {
        error = stages_alloc(c->nslices, nranks, &s);
        if (error) break;
        s->nstages = n;
        bool better = fill_stages(c, s, best, cut, ranks) &&
                      (!found || stages_seconds(s, c) < stages_seconds(found, c));
        if (better) {
            stages_destroy(&found);
            found = s;
        } else {
            stages_destroy(&s);
        }
        s = NULL;
    }
    if (!error && !found) error = too_large(c, nranks, wanted);
    free(best);
    free(cut);
    free(ranks);
    if (error) stages_destroy(&found);
    *stages = found;
    return error;
}
