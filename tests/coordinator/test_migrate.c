/* Migration programs executed over ranks: every target tensor against direct slicing and folding in double
 * precision; the same bytes in chunks of any size; only what is needed is read. Checks are on values
 * reduced over the ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <sys/stat.h>

#include "io/io_testing.h"

#include "coordinator/compile.h"
#include "graph_build.h"
#include "shared/partition.h"
#include "shared/evaluation.h"
#include "worker/migrate.h"
#include "worker/nets.h"

#include "model_file.h"

static struct comm *world, *self;

static void all_true(bool mine) {
    bool any_false = false;
    assert_null(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

static int make_shared_folder(void **state) {
    int made = comm_is_root(world) ? make_test_folder(state) : 0;
    status error = comm_bcast(world, 0, test_folder, sizeof test_folder);
    return error ? -1 : made;
}

static int remove_shared_folder(void **state) {
    status error = comm_barrier(world);
    if (error) return -1;
    return comm_is_root(world) ? remove_test_folder(state) : 0;
}
#define IN_SHARED_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_shared_folder, remove_shared_folder)

/* ---- a net with every kind of statement, and what its target's tensors are ---- */

static int on(struct graph *g, const char *class_name, const char *name, const char *attrs, int in) {
    return build_layer(g, class_name, name, attrs, 1, &in);
}

static struct graph *net(void) {
    struct graph *g = NULL;
    build_ok(graph_create("source", &g));
    int x = build_input(g, "input", "-1,7,7,3");
    x = on(g, "Conv2D", "c1", "filters=6 kernel_size=3 use_bias=false", x);
    x = on(g, "BatchNormalization", "n1", "", x);
    x = on(g, "ReLU", "r1", "", x);
    x = on(g, "BatchNormalization", "stay", "epsilon=0.01", x);
    x = on(g, "DepthwiseConv2D", "w1", "kernel_size=3 padding=same", x);
    x = on(g, "BatchNormalization", "n2", "scale=false", x);
    x = on(g, "DepthwiseConv2D", "w2", "kernel_size=2 depth_multiplier=2", x);
    x = on(g, "BatchNormalization", "n3", "center=false", x);
    x = on(g, "Conv2D", "c2", "filters=5 kernel_size=1", x);
    x = on(g, "SeparableConv2D", "s", "filters=4 kernel_size=2", x);
    x = on(g, "BatchNormalization", "n4", "", x);
    x = on(g, "Flatten", "flat", "", x);
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

/* Channels that are kept of what c1 (and w1, behind it), w2, c2, s and the flattened image have. */
static const int64_t of_c1[] = {1, 2, 5}, of_w2[] = {2, 3, 4, 5, 10, 11}, of_c2[] = {0, 3, 4},
                     of_s[] = {1, 3};
static int64_t of_flat[3 * 3 * 2];
#define LIST(v) (int)(sizeof(v) / sizeof *(v)), v

/* Target tensor: the layer's weight; along axis i the listed ones (n 0: all); scaled by a batch norm along
 * `axis`, or shifted by it (a bias). */
static const struct wanted {
    const char *layer, *weight;
    struct {
        int n;
        const int64_t *index;
    } list[4];
    const char *norm;
    double epsilon;
} wanted[] = {
    {"c1", "kernel", {[3] = {LIST(of_c1)}}, "n1", 1e-3},
    {"c1", "bias", {{LIST(of_c1)}}, "n1", 1e-3},
    {"stay", "gamma", {{LIST(of_c1)}}, NULL, 0},
    {"stay", "beta", {{LIST(of_c1)}}, NULL, 0},
    {"stay", "moving_mean", {{LIST(of_c1)}}, NULL, 0},
    {"stay", "moving_variance", {{LIST(of_c1)}}, NULL, 0},
    {"w1", "kernel", {[2] = {LIST(of_c1)}}, "n2", 1e-3},
    {"w1", "bias", {{LIST(of_c1)}}, "n2", 1e-3},
    {"w2", "kernel", {[2] = {LIST(of_c1)}}, "n3", 1e-3},
    {"w2", "bias", {{LIST(of_w2)}}, "n3", 1e-3},
    {"c2", "kernel", {[2] = {LIST(of_w2)}, [3] = {LIST(of_c2)}}, NULL, 0},
    {"c2", "bias", {{LIST(of_c2)}}, NULL, 0},
    {"s", "depthwise_kernel", {[2] = {LIST(of_c2)}}, NULL, 0},
    {"s", "pointwise_kernel", {[2] = {LIST(of_c2)}, [3] = {LIST(of_s)}}, "n4", 1e-3},
    {"s", "bias", {{LIST(of_s)}}, "n4", 1e-3},
    {"d", "kernel", {{LIST(of_flat)}}, NULL, 0},
    {"d", "bias", {{0, NULL}}, NULL, 0},
};
#define NWANTED (int)(sizeof wanted / sizeof *wanted)

/* A weight of the source, or `absent` where the layer has none of that name. */
static double source_weight(const struct model *m, const char *layer, const char *weight, int64_t at,
                            double absent) {
    const struct layer *l = &m->graph->layer[graph_find_layer(m->graph, layer)];
    for (int w = 0; w < l->nweights; w++)
        if (!strcmp(l->weight[w].name, weight))
            return params_at(m->params,
                             graph_first_param(m->graph, graph_find_layer(m->graph, layer)) + w)[at];
    return absent;
}

/* Element `at` (4 indices in the target) of a wanted tensor. `rank` and `dim` of the source tensor. */
static double element(const struct model *m, const struct wanted *t, int rank, const int64_t *dim,
                      const int64_t *at) {
    int64_t flat = 0, channel = 0;
    for (int i = 0; i < rank; i++) {
        int64_t index = t->list[i].n ? t->list[i].index[at[i]] : at[i];
        flat = flat * dim[i] + index;
        /* Output channel: the last axis; c * m + j of a depthwise kernel. */
        if (rank == 4 && i >= 2 && t->layer[0] == 'w') channel = channel * dim[i] + index;
        else if (i == rank - 1) channel = index;
    }
    double v = source_weight(m, t->layer, t->weight, flat, 0);
    if (!t->norm) return v;
    double scale = source_weight(m, t->norm, "gamma", channel, 1) /
                   sqrt(source_weight(m, t->norm, "moving_variance", channel, 1) + t->epsilon);
    if (strcmp(t->weight, "bias")) return v * scale;
    return source_weight(m, t->norm, "beta", channel, 0) +
           (v - source_weight(m, t->norm, "moving_mean", channel, 0)) * scale;
}

/* ---- what runs ---- */

struct fixture {
    struct model *source;
    struct keras_file *file;
    struct graph *graph;
    struct compiled *compiled;
    struct opgraph *ops; /* the target's */
};

static void set_up(struct fixture *f) {
    for (int i = 0; i < 18; i++) of_flat[i] = i / 2 * 4 + of_s[i % 2];
    *f = (struct fixture){.source = model_random(net(), 17)};
    if (comm_is_root(world)) build_ok(model_write(in_folder("source.h5"), f->source));
    must(comm_barrier(world));
    build_ok(keras_open(in_folder("source.h5"), NULL, &f->file, &f->graph));
    build_ok(compile_target(f->graph, "source.h5", NULL, &(struct target_config){.width = 0.5}, "small",
                            &f->compiled));
    static const struct {
        const char *layer;
        int n;
        const int64_t *index;
    } choice[] = {{"c1", LIST(of_c1)}, {"c2", LIST(of_c2)}, {"s", LIST(of_s)}};
    int64_t *chosen[64] = {0};
    const struct graph *folded = f->compiled->fold->graph;
    for (int i = 0; i < 3; i++) {
        int width,
            group = channel_map_of(f->compiled->map, build_node(folded, choice[i].layer), &width)->group;
        assert_int_equal(f->compiled->kept[group], choice[i].n);
        chosen[group] = calloc((size_t)choice[i].n, sizeof *chosen[group]);
        assert_non_null(chosen[group]);
        memcpy(chosen[group], choice[i].index, (size_t)choice[i].n * sizeof *chosen[group]);
    }
    build_ok(compile_choose(f->compiled, chosen));
    for (int g = 0; g < 64; g++) free(chosen[g]);
    build_ok(graph_lower(f->compiled->target, &f->ops, NULL));
}

static void tear_down(struct fixture *f) {
    opgraph_destroy(&f->ops);
    compiled_destroy(&f->compiled);
    graph_destroy(&f->graph);
    keras_close(&f->file);
    model_destroy(&f->source);
}

static struct partition *partition_of(const struct plan *plan, int nranks) {
    struct partition *partition = NULL;
    double cost[64] = {0};
    for (int i = 0; i < plan->nstatements; i++) cost[plan->statement[i].slice] += 1;
    build_ok(partition_create(plan->nslices, cost, nranks, &partition));
    return partition;
}

static status run_on(const struct fixture *f, const struct machine *machine, int64_t chunk_bytes,
                     struct params *params) {
    struct plan *plan = f->compiled->plan;
    struct partition *partition = partition_of(plan, comm_size(machine->world));
    struct migration job = {
        .file = f->file, .plan = plan, .partition = partition, .chunk_bytes = chunk_bytes};
    status error = migrate(machine, &job, params);
    partition_destroy(&partition);
    return error;
}

static status run(const struct fixture *f, const struct comm *over, int64_t chunk_bytes,
                  struct params *params) {
    struct machine machine = {.world = over, .threads = 1};
    return run_on(f, &machine, chunk_bytes, params);
}

static struct params *migrated(const struct fixture *f, const struct comm *over, int64_t chunk_bytes) {
    struct params *params = NULL;
    build_ok(params_create(f->ops, &params));
    must(run(f, over, chunk_bytes, params));
    return params;
}

/* ---- tests ---- */

static void test_every_tensor(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct params *params = migrated(&f, world, 0);
    const struct graph *target = f.compiled->target;
    bool right = true;
    assert_int_equal(f.compiled->plan->nstatements, NWANTED);
    for (int t = 0; t < NWANTED; t++) {
        int p = model_param(target, wanted[t].layer, wanted[t].weight);
        const struct shape *s = &f.ops->param[p].shape;
        struct shape source_shape = *s; /* dimensions before selection */
        int l = graph_find_layer(f.source->graph, wanted[t].layer);
        for (int w = 0; w < f.source->graph->layer[l].nweights; w++)
            if (!strcmp(f.source->graph->layer[l].weight[w].name, wanted[t].weight))
                source_shape = f.source->graph->layer[l].weight[w].shape;
        for (int i = 0; i < s->rank; i++) {
            if (wanted[t].list[i].n) assert_int_equal(s->dim[i], wanted[t].list[i].n);
            else assert_int_equal(s->dim[i], source_shape.dim[i]);
        }
        double worst = 0;
        for (int64_t e = 0; e < f.ops->param[p].count; e++) {
            int64_t at[4], rest = e;
            for (int i = s->rank - 1; i >= 0; rest /= s->dim[i--]) at[i] = rest % s->dim[i];
            double v = element(f.source, &wanted[t], s->rank, source_shape.dim, at);
            worst = fmax(worst, fabs(params_at(params, p)[e] - v) / (fabs(v) + 1e-3));
        }
        if (!(worst < 1e-6)) {
            print_error("rank %d: %s/%s is off by %g\n", comm_rank(world), wanted[t].layer, wanted[t].weight,
                        worst);
            right = false;
        }
    }
    params_destroy(&params);
    tear_down(&f);
    all_true(right);
}

/* Chunks of one row and up, on these ranks and alone: always the same bytes. */
static void test_chunks_of_any_size(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 4, 50, 333, 4096, 1 << 20};
    struct fixture f;
    set_up(&f);
    struct params *first = migrated(&f, self, 0), *params = migrated(&f, world, 0);
    size_t nbytes = (size_t)first->total * sizeof(float);
    bool right = !memcmp(first->data, params->data, nbytes);
    params_destroy(&params);
    for (int i = 0; i < 6; i++) {
        params = migrated(&f, world, sizes[i]);
        right = right && !memcmp(first->data, params->data, nbytes);
        params_destroy(&params);
    }
    params_destroy(&first);
    tear_down(&f);
    all_true(right);
}

/* Into memory that ranks share, whatever the nodes are: the same bytes on every rank, and again over what was
 * there; no rank has a copy of its own. */
static void test_shared(void **state) {
    (void)state;
    static const int64_t sizes[] = {0, 4, 333};
    struct fixture f;
    set_up(&f);
    struct params *alone = migrated(&f, self, 0), *shared = NULL;
    size_t nbytes = (size_t)alone->total * sizeof(float);
    int rank = comm_rank(world);
    bool right = true;
    for (int per_node = 1; per_node <= comm_size(world); per_node++) {
        struct comm *node = NULL;
        must(comm_split(world, rank / per_node, rank, &node));
        must(params_create_shared(f.ops, node, &shared));
        right = right && shared->window && (uintptr_t)shared->data % 64 == 0 && shared->total == alone->total;
        for (int i = 0; i < 3; i++) {
            struct machine machine = {.world = world, .node = node, .threads = 1};
            must(run_on(&f, &machine, sizes[i], shared));
            right = right && !memcmp(alone->data, shared->data, nbytes);
            must(params_sync(shared));
            if (comm_is_root(node)) shared->data[1] = 77;
            must(params_sync(shared));
            right = right && shared->data[1] == 77;
        }
        params_destroy(&shared);
        comm_destroy(&node);
    }
    params_destroy(&alone);
    tear_down(&f);
    all_true(right);
}

/* Each source row that is needed is read once, by one rank, and batch norms once a rank. */
/* What this rank would read, as a dry run tells it; batch norms of epsilon 0, whose variances it does not
 * know. */
static double bytes_to_read(const struct fixture *f, int64_t chunk_bytes) {
    double bytes[16], epsilon[64];
    struct partition *partition = partition_of(f->compiled->plan, comm_size(world));
    struct migration job = {.plan = f->compiled->plan, .partition = partition, .chunk_bytes = chunk_bytes};
    for (int l = 0; l < f->graph->nlayers; l++) {
        if (!layer_has_attr(&f->graph->layer[l], "epsilon")) continue;
        epsilon[l] = layer_float(&f->graph->layer[l], "epsilon");
        layer_attr(&f->graph->layer[l], "epsilon")->u.f = 0;
    }
    build_ok(migration_bytes(&job, bytes));
    for (int l = 0; l < f->graph->nlayers; l++)
        if (layer_has_attr(&f->graph->layer[l], "epsilon"))
            layer_attr(&f->graph->layer[l], "epsilon")->u.f = epsilon[l];
    partition_destroy(&partition);
    return bytes[comm_rank(world)];
}

static void test_reads_what_it_needs(void **state) {
    (void)state;
    static const int64_t sizes[] = {0, 1, 200};
    for (int i = 0; i < 3; i++) {
        struct fixture f;
        set_up(&f);
        double needed = 0, norms = 0;
        for (int t = 0; t < NWANTED; t++) {
            int p = model_param(f.compiled->target, wanted[t].layer, wanted[t].weight);
            int l = graph_find_layer(f.source->graph, wanted[t].layer);
            int64_t rows, columns;
            shape_rows(&f.ops->param[p].shape, &rows, &columns);
            for (int w = 0; w < f.source->graph->layer[l].nweights; w++) {
                const struct shape *s = &f.source->graph->layer[l].weight[w].shape;
                if (!strcmp(f.source->graph->layer[l].weight[w].name, wanted[t].weight))
                    needed += (double)rows * (double)s->dim[s->rank - 1] * sizeof(float);
            }
        }
        static const char *const folded[] = {"n1", "n2", "n3", "n4"};
        for (int n = 0; n < 4; n++) {
            const struct layer *l = &f.source->graph->layer[graph_find_layer(f.source->graph, folded[n])];
            norms += l->nweights * (double)l->weight[0].shape.dim[0] * sizeof(float);
        }
        double before = (double)keras_bytes_read(f.file);
        struct params *params = migrated(&f, world, sizes[i]);
        double read = (double)keras_bytes_read(f.file) - before, mine = bytes_to_read(&f, sizes[i]);
        bool foretold = mine == read;
        must(comm_sum_f64(world, &read, 1));
        if (!(read >= needed + norms && read <= needed + comm_size(world) * norms))
            fail_msg("%g bytes read; %g are needed, and %g of batch norms", read, needed, norms);
        params_destroy(&params);
        tear_down(&f);
        all_true(foretold);
    }
}

static status read_source(void *file, int layer, int weight, int64_t first, int64_t n, float *out) {
    return keras_read_rows(file, layer, weight, first, n, out);
}

/* Chunks of any size of one value, asked for out of order. */
static void test_rows_in_any_order(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct evaluation *evaluation = NULL;
    struct evaluation_sources sources = {.context = f.file, .read = read_source};
    build_ok(evaluation_create(f.compiled->plan, &sources, &evaluation));
    struct params *params = migrated(&f, self, 0);
    bool right = true;
    for (int i = 0; i < f.compiled->plan->nstatements; i++) {
        const struct plan_statement *s = &f.compiled->plan->statement[i];
        const float *all = params_at(params, graph_first_param(f.compiled->target, s->layer) + s->weight);
        int64_t rows, columns;
        shape_rows(&s->shape, &rows, &columns);
        float *part = calloc((size_t)(rows * columns), sizeof *part);
        assert_non_null(part);
        for (int64_t n = 1; n <= rows; n += 1 + n / 3)
            for (int64_t first = rows - n; first >= 0; first -= 1 + first / 4) {
                build_ok(evaluation_rows(evaluation, s->value, first, n, part));
                right = right && !memcmp(part, all + first * columns, (size_t)(n * columns) * sizeof *part);
            }
        free(part);
    }
    params_destroy(&params);
    evaluation_destroy(&evaluation);
    tear_down(&f);
    all_true(right);
}

/* A batch norm that cannot be folded, found by the rank that reads it: the same error on all ranks. */
static void test_source_cannot_be_folded(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    static const int64_t sizes[] = {0, 30};
    for (int i = 0; i < 2; i++) {
        struct params *params = NULL;
        build_ok(params_create(f.ops, &params));
        /* A variance that makes folding impossible. */
        struct model *broken = model_random(net(), 17);
        params_at(broken->params, model_param(broken->graph, "n4", "moving_variance"))[2] = -5;
        must(comm_barrier(world));
        if (comm_is_root(world)) build_ok(model_write(in_folder("broken.h5"), broken));
        must(comm_barrier(world));
        struct keras_file *file = NULL, *kept = f.file;
        struct graph *graph = NULL;
        build_ok(keras_open(in_folder("broken.h5"), NULL, &file, &graph));
        f.file = file;
        status error = run(&f, world, sizes[i], params);
        bool right = status_code(error) == STATUS_DATA &&
                     strstr(status_message(error), "the variance of \"n4\" is negative in channel 2");
        status_drop(&error);
        f.file = kept;
        keras_close(&file);
        graph_destroy(&graph);
        model_destroy(&broken);
        params_destroy(&params);
        all_true(right);
    }
    tear_down(&f);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = comm_split(world, comm_rank(world), 0, &self);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        IN_SHARED_FOLDER(test_every_tensor),
        IN_SHARED_FOLDER(test_chunks_of_any_size),
        IN_SHARED_FOLDER(test_shared),
        IN_SHARED_FOLDER(test_reads_what_it_needs),
        IN_SHARED_FOLDER(test_rows_in_any_order),
        IN_SHARED_FOLDER(test_source_cannot_be_folded),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_destroy(&self);
    comm_stop(&world);
    return failed;
}
