/* The choice of channels: the pursuit against greedy search with explicit least squares; planted channels
 * found in graphs. Checks are on values reduced over the ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "graph_build.h"
#include "shared/rng.h"
#include "worker/nets.h"
#include "worker/pursuit.h"
#include "worker/select.h"

#include "model_file.h"

static struct comm *world;
static struct log *quiet;

static void all_true(bool mine) {
    bool any_false = false;
    assert_null(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

/* ---- pursuit ---- */

#define ROWS 80
#define K 15
#define M 3
#define NCLASSES 6
#define READERS 2

/* One reader: rows of u, and the outputs u * w that are to be kept. */
struct linear {
    int k, m;
    double u[ROWS][K], w[K][M], y[ROWS][M], total;
    int class[K];
};

/* Squared error of the outputs when only the entries with chosen classes (and those of class -1) are there:
 * least squares by Gauss elimination on the normal equations. */
static double error_of(const struct linear *l, const bool *chosen) {
    double a[K][K + M];
    int entry[K], n = 0;
    for (int i = 0; i < l->k; i++)
        if (l->class[i] < 0 || chosen[l->class[i]]) entry[n++] = i;
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            a[i][j] = 0;
            for (int r = 0; r < ROWS; r++) a[i][j] += l->u[r][entry[i]] * l->u[r][entry[j]];
        }
        for (int j = 0; j < l->m; j++) {
            a[i][n + j] = 0;
            for (int r = 0; r < ROWS; r++) a[i][n + j] += l->u[r][entry[i]] * l->y[r][j];
        }
    }
    for (int c = 0; c < n; c++)
        for (int r = 0; r < n; r++) {
            if (r == c) continue;
            double factor = a[r][c] / a[c][c];
            for (int j = c; j < n + l->m; j++) a[r][j] -= factor * a[c][j];
        }
    double error = 0;
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < l->m; j++) {
            double p = 0;
            for (int i = 0; i < n; i++) p += l->u[r][entry[i]] * a[i][n + j] / a[i][i];
            error += (l->y[r][j] - p) * (l->y[r][j] - p);
        }
    return error;
}

static void linear_fill(struct linear *l, struct rng *rng) {
    *l = (struct linear){.k = K - (int)rng_below(rng, 3), .m = 1 + (int)rng_below(rng, M)};
    double mix[K][K];
    for (int i = 0; i < l->k; i++) {
        /* About two entries a class, one entry that is always there, and the bias. */
        l->class[i] = i >= l->k - 2 ? -1 : (int)rng_below(rng, NCLASSES);
        for (int j = 0; j < l->k; j++) mix[i][j] = rng_normal(rng);
        double size = exp(rng_normal(rng));
        for (int j = 0; j < l->m; j++) l->w[i][j] = size * rng_normal(rng);
    }
    for (int r = 0; r < ROWS; r++) {
        double z[K];
        for (int i = 0; i < l->k; i++) z[i] = rng_normal(rng);
        for (int i = 0; i < l->k; i++) {
            l->u[r][i] = 2 * z[i];
            for (int j = 0; j < l->k; j++) l->u[r][i] += 0.3 * mix[i][j] * z[j]; /* correlated */
        }
        l->u[r][l->k - 1] = 1;
        for (int j = 0; j < l->m; j++) {
            for (int i = 0; i < l->k; i++) l->y[r][j] += l->u[r][i] * l->w[i][j];
            l->total += l->y[r][j] * l->y[r][j];
        }
    }
}

/* The equations that the pursuit takes; freed by the caller. */
static struct pursuit_reader equations(const struct linear *l) {
    struct pursuit_reader r = {.k = l->k, .m = l->m, .total = l->total, .class = l->class};
    r.g = calloc((size_t)(l->k * l->k), sizeof *r.g);
    r.h = calloc((size_t)(l->k * l->m), sizeof *r.h);
    assert_true(r.g && r.h);
    for (int s = 0; s < ROWS; s++)
        for (int i = 0; i < l->k; i++) {
            for (int j = 0; j < l->k; j++) r.g[i * l->k + j] += l->u[s][i] * l->u[s][j];
            for (int j = 0; j < l->m; j++) r.h[i * l->m + j] += l->u[s][i] * l->y[s][j];
        }
    return r;
}

static void test_pursuit_is_greedy(void **state) {
    (void)state;
    struct linear *l = calloc(READERS, sizeof *l);
    assert_non_null(l);
    for (uint64_t trial = 0; trial < 60; trial++) {
        struct rng rng = rng_make(trial, 1, 1);
        int nreaders = 1 + (int)(trial % READERS), kept = 1 + (int)rng_below(&rng, NCLASSES);
        struct pursuit_reader reader[READERS];
        for (int i = 0; i < nreaders; i++) {
            linear_fill(&l[i], &rng);
            reader[i] = equations(&l[i]);
        }
        bool taken[NCLASSES] = {0};
        double left[NCLASSES + 1] = {0}, costs[NCLASSES + 1];
        for (int i = 0; i < nreaders; i++) left[0] += error_of(&l[i], taken) / l[i].total;
        for (int n = 0; n < kept; n++) {
            int best = -1;
            double least = INFINITY;
            for (int c = 0; c < NCLASSES; c++) {
                if (taken[c]) continue;
                double error = 0;
                taken[c] = true;
                for (int i = 0; i < nreaders; i++) error += error_of(&l[i], taken) / l[i].total;
                taken[c] = false;
                if (error < least - 1e-9) {
                    least = error;
                    best = c;
                }
            }
            taken[best] = true;
            left[n + 1] = least;
        }
        int64_t chosen[NCLASSES];
        must(pursuit_choose(nreaders, reader, NCLASSES, kept, 1, chosen, costs));
        for (int n = 0; n <= kept; n++)
            if (!(fabs(costs[n] - left[n]) < 1e-6))
                fail_msg("trial %d: %d classes cost %g, not %g", (int)trial, n, costs[n], left[n]);
        int n = 0;
        for (int c = 0; c < NCLASSES; c++)
            if (taken[c] && chosen[n++] != c) fail_msg("trial %d: class %d is not chosen", (int)trial, c);
        assert_int_equal(n, kept);
        for (int i = 0; i < nreaders; i++) {
            free(reader[i].g);
            free(reader[i].h);
        }
    }
    free(l);
}

/* Of two channels that are the same, one is enough; dead ones come last. */
static void test_pursuit_with_copies(void **state) {
    (void)state;
    struct linear *l = calloc(1, sizeof *l);
    assert_non_null(l);
    struct rng rng = rng_make(5, 1, 1);
    linear_fill(l, &rng);
    l->k = 7;
    l->m = 2;
    for (int i = 0; i < 7; i++) l->class[i] = i < 6 ? i : -1;
    l->total = 0;
    for (int r = 0; r < ROWS; r++) {
        l->u[r][1] = l->u[r][0]; /* class 1 copies class 0 */
        l->u[r][4] = 0;          /* class 4 is dead */
        l->u[r][6] = 1;
        for (int j = 0; j < 2; j++) {
            l->y[r][j] = 9 * l->u[r][0] + 3 * l->u[r][2] * (j + 1) + 2 * l->u[r][3] - l->u[r][5] + 4;
            l->total += l->y[r][j] * l->y[r][j];
        }
    }
    struct pursuit_reader reader = equations(l);
    int64_t chosen[NCLASSES];
    must(pursuit_choose(1, &reader, NCLASSES, 4, 1, chosen, NULL));
    assert_true((chosen[0] == 0 || chosen[0] == 1) && chosen[1] == 2 && chosen[2] == 3 && chosen[3] == 5);
    free(reader.g);
    free(reader.h);
    free(l);
    /* All of them, though some add nothing. */
    l = calloc(1, sizeof *l);
    assert_non_null(l);
    linear_fill(l, &rng);
    reader = equations(l);
    memset(reader.g, 0, (size_t)(l->k * l->k) * sizeof *reader.g);
    memset(reader.h, 0, (size_t)(l->k * l->m) * sizeof *reader.h);
    reader.total = 0;
    must(pursuit_choose(1, &reader, NCLASSES, NCLASSES, 1, chosen, NULL));
    for (int c = 0; c < NCLASSES; c++) assert_int_equal(chosen[c], c);
    free(reader.g);
    free(reader.h);
    free(l);
}

/* ---- select ---- */

#define WIDTH 10
static const int64_t planted[] = {3, 5, 7};

/* Layers between a convolution "make" of WIDTH channels and its reader "read". */
enum between { NOTHING, RELU, OWN_RELU, DEPTHWISE, FLATTEN, SEPARABLE, SUM, BETWEENS, NARROWED, WEIGHED };

static struct graph *build(enum between between) {
    struct graph *g = NULL;
    build_ok(graph_create("source", &g));
    int x = build_input(g, "input", "-1,6,6,12");
    x = build_layer(
        g, "Conv2D", "make",
        between == OWN_RELU ? "filters=10 kernel_size=3 activation=relu" : "filters=10 kernel_size=3", 1, &x);
    switch (between) {
    case RELU:
        x = build_layer(g, "ReLU", "relu", "", 1, &x);
        break;
    case DEPTHWISE:
        x = build_layer(g, "DepthwiseConv2D", "deep", "kernel_size=2 depth_multiplier=2", 1, &x);
        break;
    case SUM: {
        int y = build_layer(g, "Conv2D", "other", "filters=10 kernel_size=1", 1, &x);
        x = build_layer(g, "Add", "add", "", 2, (int[]){x, y});
        break;
    }
    default:
        break;
    }
    if (between == FLATTEN) {
        x = build_layer(g, "Flatten", "flat", "", 1, &x);
        x = build_layer(g, "Dense", "read", "units=4", 1, &x);
    } else {
        x = build_layer(g, between == SEPARABLE ? "SeparableConv2D" : "Conv2D", "read",
                        "filters=4 kernel_size=2", 1, &x);
        x = build_layer(g, "GlobalAveragePooling2D", "pool", "", 1, &x);
        if (between > BETWEENS) x = build_layer(g, "Dense", "end", "units=3", 1, &x);
    }
    build_output(g, x);
    return g;
}

static bool is_planted(int64_t c) {
    return c == 3 || c == 5 || c == 7;
}

/* Readers use the planted channels only. Rows of their kernels are (…, channel), with depthwise two a
 * channel. */
static void plant(struct model *m, enum between between) {
    static const char *const readers[] = {"read", "other"};
    for (int i = 0; i < (between == SUM ? 2 : 1); i++) {
        int p = model_param(m->graph, readers[i], between == SEPARABLE ? "pointwise_kernel" : "kernel");
        const struct shape *s = &m->ops->param[p].shape;
        int64_t columns = s->dim[s->rank - 1], each = between == DEPTHWISE ? 2 : 1;
        for (int64_t j = 0; j < m->params->count[p]; j++)
            if (!is_planted(j / columns % (WIDTH * each) / each)) params_at(m->params, p)[j] = 0;
    }
}

/* Outputs 1 and 3 of the reader use the planted channels, 0 and 2 the others, and more of them. What is read
 * after the reader is, of the latter, nothing, and none is kept, or little, and one is. */
static void plant_later(struct model *m, enum between between) {
    int read = model_param(m->graph, "read", "kernel"), end = model_param(m->graph, "end", "kernel");
    for (int64_t j = 0; j < m->params->count[read]; j++) {
        bool later = j % 4 % 2 == 1, from_planted = is_planted(j / 4 % WIDTH);
        params_at(m->params, read)[j] *= later == from_planted ? (later ? 1 : 3) : 0;
    }
    for (int64_t j = 0; j < m->params->count[end]; j++)
        if (j / 3 % 2 == 0) params_at(m->params, end)[j] *= between == NARROWED ? 0 : 1e-3f;
}

/* Chooses three of the channels of "make"; true if they are `wanted`. */
static bool chooses(enum between between, const char *method, const int64_t *wanted,
                    void (*change)(struct model *m, enum between between)) {
    struct model *m = model_random(build(between), 31 + (uint64_t)between);
    change(m, between);
    struct channel_map *map = NULL;
    must(channel_map_create(m->graph, &map));
    int groups = channel_map_groups(map), width;
    int *kept = calloc((size_t)groups + 1, sizeof *kept);
    int64_t **chosen = calloc((size_t)groups + 1, sizeof *chosen);
    assert_true(kept && chosen);
    int group = channel_map_of(map, build_node(m->graph, "make"), &width)[0].group;
    assert_false(channel_map_fixed(map, group));
    for (int g = 0; g < groups; g++) kept[g] = g == group ? 3 : channel_map_width(map, g);
    int narrowed =
        between > BETWEENS ? channel_map_of(map, build_node(m->graph, "read"), &width)[0].group : -1;
    if (narrowed >= 0) kept[narrowed] = between == NARROWED ? 2 : 3; /* of 4 */

    const int64_t sample = 6 * 6 * 12, total = 300;
    const struct engine *engine = NULL;
    must(engine_find("openblas", &engine));
    struct machine machine = {.world = world, .log = quiet, .engine = engine, .threads = 1};
    int64_t nblocks = (total + CALIBRATION_BLOCK - 1) / CALIBRATION_BLOCK;
    int64_t first = share_begin(nblocks, comm_rank(world), comm_size(world)) * CALIBRATION_BLOCK;
    int64_t end = share_begin(nblocks, comm_rank(world) + 1, comm_size(world)) * CALIBRATION_BLOCK;
    if (end > total) end = total;
    float *x = random_floats(total * sample, 3);
    struct calibration calibration = {
        .n = end > first ? end - first : 0, .total = total, .sample = sample, .x = x + first * sample};
    struct selection selection = {.method = method,
                                  .calibration = &calibration,
                                  .graph = m->graph,
                                  .ops = m->ops,
                                  .value_of = m->value_of,
                                  .params = m->params,
                                  .map = map,
                                  .kept = kept};
    must(select_channels(&machine, &selection, chosen));
    bool right = true;
    for (int g = 0; g < groups; g++) {
        right = right && (chosen[g] != NULL) == (g == group || g == narrowed);
        if (g == group && memcmp(chosen[g], wanted, 3 * sizeof *wanted)) {
            right = false;
            print_error("rank %d, case %d, %s: %d %d %d\n", comm_rank(world), between, method,
                        (int)chosen[g][0], (int)chosen[g][1], (int)chosen[g][2]);
        }
        free(chosen[g]);
    }
    free(chosen);
    free(kept);
    free(x);
    channel_map_destroy(&map);
    model_destroy(&m);
    return right;
}

static void test_planted_channels(void **state) {
    (void)state;
    for (int between = 0; between < BETWEENS; between++)
        all_true(chooses((enum between)between, "next_layer", planted, plant));
}

/* Of the next layer only what is kept counts, and by what it is worth to the layers after. */
static void test_outputs_that_count(void **state) {
    (void)state;
    all_true(chooses(NARROWED, "next_layer", planted, plant_later));
    all_true(chooses(WEIGHED, "next_layer", planted, plant_later));
}

/* Channels 2, 4 and 9 have the largest kernels; what reads them is no matter. */
static void enlarge(struct model *m, enum between between) {
    static const char *const makers[] = {"make", "other"};
    for (int i = 0; i < (between == SUM ? 2 : 1); i++) {
        int p = model_param(m->graph, makers[i], "kernel");
        for (int64_t j = 0; j < m->params->count[p]; j++) {
            int64_t c = j % WIDTH;
            if (c == 2 || c == 4 || c == 9) params_at(m->params, p)[j] *= 3;
        }
    }
}

static void test_norm(void **state) {
    (void)state;
    static const int64_t largest[] = {2, 4, 9};
    for (int between = 0; between < BETWEENS; between++)
        all_true(chooses((enum between)between, "norm", largest, enlarge));
}

static void test_first(void **state) {
    (void)state;
    static const int64_t first[] = {0, 1, 2};
    for (int between = 0; between < BETWEENS; between++)
        all_true(chooses((enum between)between, "first", first, plant));
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = log_create(comm_rank(world), LOG_ERROR, &quiet);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pursuit_is_greedy),
        cmocka_unit_test(test_pursuit_with_copies),
        cmocka_unit_test(test_planted_channels),
        cmocka_unit_test(test_outputs_that_count),
        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_first),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    log_destroy(&quiet);
    comm_stop(&world);
    return failed;
}
