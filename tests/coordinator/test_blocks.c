/* Residual blocks left out by measured cost: against targets compiled without them, for every set of blocks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>

#include "coordinator/trial_source.h"
#include "coordinator/blocks.h"
#include "worker/bypass.h"

#define BLOCKS 4
#define SAMPLES 300
#define CLASSES 5

static struct comm *self;
static struct log *logbook;

/* Four residual blocks, the third of which has a fifth in its branch. */
static struct graph *four_blocks(void) {
    int x;
    struct graph *g = begin("-1,7,7,3", &x);
    x = on(g, "Conv2D", "stem", "filters=6 kernel_size=3 activation=relu", x);
    for (int i = 1; i <= BLOCKS; i++) {
        char name[3][16];
        for (int k = 0; k < 3; k++)
            snprintf(name[k], sizeof name[k], "%s%d", k == 2 ? "add" : k ? "b" : "a", i);
        int y = on(g, "Conv2D", name[0], "filters=6 kernel_size=3 padding=same activation=relu", x);
        if (i == 3) y = join(g, "Add", "within", y, on(g, "Conv2D", "c", "filters=6 kernel_size=1", y));
        y = on(g, "Conv2D", name[1], "filters=6 kernel_size=1", y);
        x = i % 2 ? join(g, "Add", name[2], x, y) : join(g, "Add", name[2], y, x);
    }
    x = on(g, "GlobalAveragePooling2D", "pool", "", x);
    x = on(g, "Dense", "d", "units=5 activation=softmax", x);
    build_output(g, x);
    return g;
}

static const struct net net = {"four", four_blocks, 0};

static bool agreed(bool mine) {
    bool any = false;
    build_ok(comm_any(world, !mine, &any));
    return !any;
}

/* Kullback-Leibler divergence of the target's probabilities from the source's, over that of equal ones. */
static double error_between(const float *source, const float *target) {
    double sum = 0, base = 0;
    for (int i = 0; i < SAMPLES * CLASSES; i++) {
        sum += source[i] * log(source[i] / target[i]);
        base += source[i] * log(source[i] * CLASSES);
    }
    return sum / base;
}

struct blocks_trial {
    struct trial_source t;
    int n;
    struct block *block;
    struct bypass *bypass;
    const char **name;
    float *x, *y;
    double *error; /* [1 << n] of the target without each set of blocks */
};

/* The target without these blocks, compiled as "target.depth" has it. */
static double error_without(struct blocks_trial *r, int set) {
    char *depth[8];
    int ndepth = 0;
    for (int i = 0; i < r->n; i++)
        if (set >> i & 1) depth[ndepth++] = (char *)r->name[i];
    compiled_destroy(&r->t.compiled);
    build_ok(compile_target(r->t.graph, "source.h5", NULL,
                            &(struct target_config){.width = 1, .depth = depth, .ndepth = ndepth}, "small",
                            &r->t.compiled));
    assert_int_equal(r->t.compiled->plan->nbypassed, ndepth);
    build_ok(compile_choose(r->t.compiled, NULL));
    struct graph *copy = NULL;
    struct model *model = NULL;
    struct partition *partition = NULL;
    double *cost = calloc((size_t)r->t.compiled->plan->nslices + 1, sizeof *cost);
    build_ok(graph_clone(r->t.compiled->target, &copy));
    build_ok(model_create(copy, &model));
    build_ok(partition_create(r->t.compiled->plan->nslices, cost, 1, &partition));
    struct machine machine = {.world = self, .log = logbook, .engine = r->t.engine, .threads = 1};
    struct migration job = {.file = r->t.file, .plan = r->t.compiled->plan, .partition = partition};
    build_ok(migrate(&machine, &job, model->params));
    float *z = model_run(r->t.engine, model->ops, model->params, SAMPLES, r->x);
    double error = error_between(r->y, z);
    free(z);
    free(cost);
    partition_destroy(&partition);
    model_destroy(&model);
    return error;
}

/* factor: of the last kernel of each block. */
static void open_trial(struct blocks_trial *r, const float *factor, uint64_t seed) {
    *r = (struct blocks_trial){0};
    make_source(&net, seed, &r->t);
    struct model *m = r->t.source;
    for (int i = 0; i < BLOCKS; i++) {
        char name[] = {'b', (char)('1' + i), 0};
        int p = model_param(m->graph, name, "kernel");
        for (int64_t k = 0; k < m->params->count[p]; k++) params_at(m->params, p)[k] *= factor[i];
        p = model_param(m->graph, name, "bias");
        memset(params_at(m->params, p), 0, (size_t)m->params->count[p] * sizeof(float));
    }
    int d = model_param(m->graph, "d", "kernel");
    for (int64_t k = 0; k < m->params->count[d]; k++) params_at(m->params, d)[k] *= 4;
    write_and_open(&r->t);
    build_ok(blocks_find(m->graph, &r->n, &r->block));
    r->bypass = calloc((size_t)r->n, sizeof *r->bypass);
    r->name = calloc((size_t)r->n, sizeof *r->name);
    for (int i = 0; i < r->n; i++) {
        const struct node *node = &m->graph->node[r->block[i].node];
        r->name[i] = m->graph->layer[node->layer].name;
        r->bypass[i] =
            (struct bypass){m->value_of[r->block[i].node], m->value_of[node->in[r->block[i].input].node]};
    }
    r->x = random_floats(net_count(m->ops, m->ops->input[0], SAMPLES), 31);
    r->y = model_run(r->t.engine, m->ops, m->params, SAMPLES, r->x);
    r->error = calloc((size_t)1 << r->n, sizeof *r->error);
    for (int set = 0; set < 1 << r->n; set++) r->error[set] = error_without(r, set);
}

static void close_trial(struct blocks_trial *r) {
    free(r->block);
    free(r->bypass);
    free(r->name);
    free(r->x);
    free(r->y);
    free(r->error);
    close_source(&r->t);
}

static status choose(const struct blocks_trial *r, int count, int *chosen, double *cost, double *single) {
    int64_t nblocks = (SAMPLES + CALIBRATION_BLOCK - 1) / CALIBRATION_BLOCK,
            first = share_begin(nblocks, comm_rank(world), comm_size(world)),
            end = share_begin(nblocks, comm_rank(world) + 1, comm_size(world)) * CALIBRATION_BLOCK,
            sample = net_count(r->t.source->ops, r->t.source->ops->input[0], 1);
    if (end > SAMPLES) end = SAMPLES;
    struct calibration c = {.total = SAMPLES,
                            .n = end - first * CALIBRATION_BLOCK,
                            .first = first,
                            .sample = sample,
                            .x = r->x + first * CALIBRATION_BLOCK * sample};
    if (c.n < 0) c.n = 0;
    struct machine machine = {.world = world, .log = logbook, .engine = r->t.engine, .threads = 1};
    struct bypass_task task = {.graph = r->t.source->ops,
                               .params = r->t.source->params,
                               .calibration = &c,
                               .ncandidates = r->n,
                               .candidate = r->bypass,
                               .count = count};
    return bypass_choose(&machine, &task, chosen, cost, single);
}

/* Does the candidate, bypassed after the set, take anything more out? */
static bool has_effect(const struct blocks_trial *r, int set, int i) {
    int outer = -1;
    for (int k = 0; k < r->n; k++)
        if (!strcmp(r->name[k], "add3")) outer = k;
    return !(set >> i & 1) && !(set >> outer & 1 && !strcmp(r->name[i], "within"));
}

/* Each choice is the best after those before it, of all that the errors of all sets say; and the costs are
 * these errors. */
static void test_greedily(void **state) {
    (void)state;
    for (int trial = 0; trial < 3; trial++) {
        static const float factors[][BLOCKS] = {{1, 1, 1, 1}, {0.5f, 1, 0.2f, 0.7f}, {0.1f, 0.3f, 1, 0.2f}};
        struct blocks_trial r;
        int chosen[BLOCKS];
        double cost[BLOCKS], single[8];
        open_trial(&r, factors[trial], 40 + (uint64_t)trial);
        assert_int_equal(r.n, BLOCKS + 1);
        build_ok(choose(&r, BLOCKS, chosen, cost, single));
        for (int i = 0; i < r.n; i++)
            assert_true(agreed(fabs(single[i] - r.error[1 << i]) <= 1e-3 * r.error[1 << i]));
        for (int n = 0, set = 0; n < BLOCKS; n++) {
            int best = -1;
            for (int i = 0; i < r.n; i++)
                if (has_effect(&r, set, i) && (best < 0 || r.error[set | 1 << i] < r.error[set | 1 << best]))
                    best = i;
            assert_true(agreed(chosen[n] == best));
            set |= 1 << best;
            assert_true(agreed(fabs(cost[n] - r.error[set]) <= 1e-3 * r.error[set]));
        }
        close_trial(&r);
    }
}

/* Blocks that hardly do anything go first, the least first; they are the best set of all. */
static void test_near_identities(void **state) {
    (void)state;
    static const float factor[BLOCKS] = {1e-2f, 1, 1e-4f, 1e-3f};
    static const char *const order[] = {"add3", "add4", "add1"};
    struct blocks_trial r;
    int chosen[3], best = -1, mine = 0;
    double cost[3];
    open_trial(&r, factor, 50);
    build_ok(choose(&r, 3, chosen, cost, NULL));
    for (int n = 0; n < 3; n++) {
        /* what is within the third block may go before it: that changes even less */
        bool within = !strcmp(r.name[chosen[n]], "within");
        assert_true(agreed(n == 0 || !within));
        assert_true(
            agreed(within || !strcmp(r.name[chosen[n]], order[n - !strcmp(r.name[chosen[0]], "within")])));
        mine |= 1 << chosen[n];
    }
    for (int set = 0; set < 1 << r.n; set++) {
        int size = 0;
        for (int i = 0; i < r.n; i++) size += set >> i & 1;
        if (size == 3 && (best < 0 || r.error[set] < r.error[best])) best = set;
    }
    assert_true(agreed(r.error[mine] <= r.error[best] * 1.001 + 1e-9));
    close_trial(&r);
}

static void test_wanted(void **state) {
    (void)state;
    static char named[] = "add2", wrong[] = "stem";
    char *depth[] = {named}, *depths[] = {wrong};
    struct trial_source t;
    int wanted, of;
    make_source(&net, 3, &t);
    write_and_open(&t);
    const struct graph *g = t.source->graph;
    build_ok(blocks_wanted(&(struct target_config){.blocks_removed = 0.5}, g, &wanted, &of));
    assert_int_equal(wanted, 3); /* of 5, rounded */
    assert_int_equal(of, 5);
    build_ok(blocks_wanted(&(struct target_config){.blocks_removed = 4, .depth = depth, .ndepth = 1}, g,
                           &wanted, &of));
    assert_int_equal(wanted, 4);
    assert_int_equal(of, 4);
    static const struct {
        double asked;
        const char *message;
    } cases[] = {{1.5, "is a whole number of blocks, or below 1 a fraction"},
                 {6, "the model has 5 residual blocks that can be left out"}};
    for (int i = 0; i < 2; i++) {
        const struct target_config config = {.width = 1, .blocks_removed = cases[i].asked};
        build_refused(compile_target(t.graph, "source.h5", NULL, &config, "small", &t.compiled), STATUS_USAGE,
                      cases[i].message);
    }
    build_refused(compile_target(t.graph, "source.h5", NULL,
                                 &(struct target_config){.width = 1, .depth = depths, .ndepth = 1}, "small",
                                 &t.compiled),
                  STATUS_USAGE, "these do: add1, add2, within, add3, add4");
    close_source(&t);
}

/* More than can be left out one after another. */
static void test_too_many(void **state) {
    (void)state;
    static const float factor[BLOCKS] = {1, 1, 1e-4f, 1};
    struct blocks_trial r;
    int chosen[8];
    double cost[8];
    open_trial(&r, factor, 60);
    status error = choose(&r, 5, chosen, cost, NULL);
    bool within_first = !error; /* then both can be, one after the other */
    if (error) build_refused(error, STATUS_USAGE, "only 4 residual blocks can be left out");
    assert_true(agreed(!within_first || !strcmp(r.name[chosen[0]], "within")));
    close_trial(&r);
}

/* The program has the names, and from its text the same target comes whatever the configuration says. */
static void test_program(void **state) {
    (void)state;
    static char first[] = "add3", second[] = "add1";
    char *depth[] = {first, second}, *text = NULL, *again = NULL;
    struct trial_source t;
    struct compiled *c = NULL;
    struct position at;
    make_source(&net, 3, &t);
    write_and_open(&t);
    build_ok(compile_target(t.graph, "source.h5", NULL,
                            &(struct target_config){.width = 0.5, .depth = depth, .ndepth = 2}, "small",
                            &t.compiled));
    build_ok(plan_print(t.compiled->plan, &text));
    assert_non_null(strstr(text, "target \"small\"\nbypass \"add3\"\nbypass \"add1\"\n\nkeep k0"));
    build_ok(compile_program(
        t.graph, "source.h5", NULL, text,
        &(struct target_config){.width = 1, .blocks_removed = 4, .depth = depth + 1, .ndepth = 1}, "small",
        &c, &at));
    build_ok(plan_print(c->plan, &again));
    assert_string_equal(text, again);
    assert_int_equal(c->target->nnodes, t.compiled->target->nnodes);
    compiled_destroy(&c);
    memcpy(strstr(text, "add3"), "add9", 4);
    build_refused(compile_program(t.graph, "source.h5", NULL, text, &(struct target_config){.width = 1},
                                  "small", &c, &at),
                  STATUS_DATA, "\"add9\" ends no residual block that can be left out");
    memcpy(strstr(text, "\"add9\""), "  999 ", 6);
    build_refused(compile_program(t.graph, "source.h5", NULL, text, &(struct target_config){.width = 1},
                                  "small", &c, &at),
                  STATUS_DATA, "expected the name of an Add");
    assert_int_equal(at.line, 4);
    free(text);
    free(again);
    close_source(&t);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (error) return 70;
    build_ok(comm_split(world, comm_rank(world), 0, &self));
    build_ok(log_create(comm_rank(world), LOG_WARN, &logbook));
    const struct CMUnitTest tests[] = {IN_FOLDER(test_greedily), IN_FOLDER(test_near_identities),
                                       IN_FOLDER(test_wanted), IN_FOLDER(test_too_many),
                                       IN_FOLDER(test_program)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    log_destroy(&logbook);
    comm_destroy(&self);
    comm_stop(&world);
    return failed;
}
