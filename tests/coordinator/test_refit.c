/* The whole target refitted: nothing changes at full width, much is repaired at half, on any number of ranks.
 * Checks are on values reduced over the ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "coordinator/refit_fixture.h"

static void test_full_width_keeps_the_function(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        struct fixture f;
        double before, after;
        set_up(&f, &nets[i], 1, "first");
        output_error(&f, &before);
        build_ok(refitted(&f, world, 3, 1));
        output_error(&f, &after);
        bool right = before < 1e-5 && after < 1e-5;
        if (!right) print_error("%s: off by %g before, %g after\n", nets[i].name, before, after);
        for (int s = 0; s < f.compiled->plan->nstatements; s++) {
            const struct plan_statement *statement = &f.compiled->plan->statement[s];
            const char *name = f.target->graph->layer[statement->layer].weight[statement->weight].name;
            bool kernel = plan_is_refit(statement) && !strstr(name, "bias");
            if (kernel) right = right && statement->residual < 1e-8;
            else right = right && isnan(statement->residual);
        }
        tear_down(&f);
        all_true(right);
    }
}

static void test_half_width_is_repaired(void **state) {
    (void)state;
    int better = 0;
    for (int i = 0; i < NNETS; i++) {
        struct fixture f;
        double largest;
        set_up(&f, &nets[i], 0.5, "next_layer");
        double before = output_error(&f, &largest);
        struct params *sliced = NULL;
        build_ok(params_clone(f.target->params, &sliced));
        build_ok(refitted(&f, world, 4, 0));
        double after = output_error(&f, &largest);
        memcpy(f.target->params->data, sliced->data, (size_t)sliced->total * sizeof(float));
        params_destroy(&sliced);
        build_ok(refitted(&f, world, 4, 1));
        double swept = output_error(&f, &largest);
        bool right = after < 0.6 * before && after < 1 && swept < 1.3 * after;
        better += swept < 0.95 * after;
        if (comm_is_root(world))
            print_message("%s: error %.3f sliced, %.3f refitted, %.3f after a sweep\n", nets[i].name, before,
                          after, swept);
        tear_down(&f);
        all_true(right);
    }
    all_true(better >= NNETS / 2);
}

/* The output of a layer for all calibration samples. */
static float *output_of(const struct model *m, const char *layer, const float *x, int64_t *columns) {
    struct opgraph *cut = NULL;
    int value = m->value_of[build_node(m->graph, layer)];
    build_ok(opgraph_cut(m->ops, m->ops->ninputs, m->ops->input, 1, &value, &cut));
    float *y = model_run(engine, cut, m->params, SAMPLES, x);
    *columns = cut->value[value].dim[cut->value[value].rank - 1];
    opgraph_destroy(&cut);
    return y;
}

/* Largest mean error of a kept channel, over the samples that are fitted to, relative to the largest output.
 */
static double mean_error(const struct fixture *f, const char *layer, const int64_t *kept) {
    int64_t wide, narrow, fitted = (SAMPLES / CALIBRATION_BLOCK) * CALIBRATION_BLOCK; /* the last is held */
    float *a = output_of(f->source, layer, f->x, &wide), *b = output_of(f->target, layer, f->x, &narrow);
    int value = f->target->value_of[build_node(f->target->graph, layer)];
    int64_t rows = fitted * net_count(f->target->ops, value, 1) / narrow;
    double worst = 0, scale = 0;
    for (int64_t j = 0; j < narrow; j++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++) {
            sum += (double)b[r * narrow + j] - a[r * wide + kept[j]];
            scale = fmax(scale, fabs(a[r * wide + kept[j]]));
        }
        worst = fmax(worst, fabs(sum) / (double)rows);
    }
    free(a);
    free(b);
    return worst / scale;
}

/* A residual net whose shortcut is not exact in the target. */
static struct graph *lossy_shortcut(void) {
    int x, y;
    struct graph *g = begin("-1,6,6,3", &x);
    x = on(g, "Conv2D", "c1", "filters=8 kernel_size=3 padding=same activation=relu", x);
    x = on(g, "Conv2D", "c2", "filters=8 kernel_size=3 padding=same activation=relu", x);
    y = on(g, "Conv2D", "c3", "filters=8 kernel_size=3 padding=same", x);
    x = join(g, "Add", "add", x, y);
    x = on(g, "ReLU", "r", "", x);
    x = on(g, "GlobalAveragePooling2D", "pool", "", x);
    x = on(g, "Dense", "d", "units=5", x);
    build_output(g, x);
    return g;
}

/* Where an addition follows, the last branch is fitted so that the sum is right, not the branch: by the
 * normal equation of its bias, which is not penalised, the mean error of the sum is zero. */
static void test_sum_is_right(void **state) {
    (void)state;
    const struct net net = {.name = "lossy shortcut", .build = lossy_shortcut};
    struct fixture f;
    set_up(&f, &net, 0.5, "next_layer");
    build_ok(refitted(&f, world, 0, 0));
    int64_t *kept = NULL;
    const struct plan *plan = f.compiled->plan;
    for (int i = 0; i < plan->nstatements && !kept; i++) {
        const struct plan_statement *s = &plan->statement[i];
        if (!strcmp(plan->target->layer[s->layer].name, "c3") && s->shape.rank == 4)
            build_ok(plan_positions(plan, s, 3, &kept));
    }
    assert_non_null(kept);
    double sum = mean_error(&f, "add", kept), branch = mean_error(&f, "c3", kept);
    if (!(sum < 1e-6 && branch > 1e-4))
        print_error("mean error of the sum %g, of the branch %g\n", sum, branch);
    free(kept);
    tear_down(&f);
    all_true(sum < 1e-6 && branch > 1e-4);
}

/* ---- targets with other layers than the source ---- */

/* Kernels of less than half their rank; a sweep goes through both factors. */
static void test_factors_are_repaired(void **state) {
    (void)state;
    static const char *const names[] = {"plain", "residual", "concatenated", "separable", "sequence"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const struct net *net = nets;
        while (strcmp(net->name, names[k]) != 0) net++;
        struct fixture f;
        double largest;
        set_up_as(&f, net, &(struct target_config){.width = 1, .rank = 0.4});
        assert_true(f.compiled->skeleton->edited);
        double before = output_error(&f, &largest);
        build_ok(refitted(&f, world, 2, 0));
        double after = output_error(&f, &largest);
        tear_down(&f);
        set_up_as(&f, net, &(struct target_config){.width = 1, .rank = 0.4});
        build_ok(refitted(&f, world, 2, 1));
        double swept = output_error(&f, &largest);
        if (comm_is_root(world))
            print_message("%s: error %.3f factored, %.3f refitted, %.3f after a sweep\n", net->name, before,
                          after, swept);
        tear_down(&f);
        all_true(after < 0.6 * before && swept < 1.3 * after); /* as at half width */
    }
}

static void test_left_out_block_is_repaired(void **state) {
    (void)state;
    const struct net net = {.name = "lossy shortcut", .build = lossy_shortcut};
    static char add[] = "add";
    char *names[] = {add};
    struct fixture f;
    double largest;
    set_up_as(&f, &net, &(struct target_config){.width = 1, .depth = names, .ndepth = 1});
    double before = output_error(&f, &largest);
    build_ok(refitted(&f, world, 2, 1));
    double after = output_error(&f, &largest);
    if (!(after < 0.5 * before)) print_error("error %g, then %g\n", before, after);
    tear_down(&f);
    all_true(after < 0.5 * before);
}

/* A person may take refit off a statement: then the second of two factors stays as it is, and so does the
 * first, which has nothing to go with, until it is fitted in a sweep towards the next layer's outputs. */
static void test_factor_that_is_not_refitted(void **state) {
    (void)state;
    struct fixture f;
    set_up_as(&f, &nets[0], &(struct target_config){.width = 1, .rank = 0.4});
    struct params *start = NULL;
    build_ok(params_clone(f.target->params, &start));
    const struct skeleton *s = f.compiled->skeleton;
    for (int i = 0; i < f.compiled->plan->nstatements; i++) {
        struct plan_statement *statement = &f.compiled->plan->statement[i];
        if (s->part[statement->layer] != PART_RIGHT || !plan_is_refit(statement)) continue;
        struct expr *refit = statement->value;
        statement->value = refit->arg[0];
        refit->nargs = 0;
        expr_destroy(&refit);
    }
    bool right = true;
    int factors = 0, fitted = 0;
    for (int sweeps = 0; sweeps <= 1; sweeps++) {
        build_ok(refitted(&f, world, 2, sweeps));
        for (int l = 0; l < f.target->graph->nlayers; l++) {
            if (s->part[l] == PART_WHOLE) continue;
            int p = graph_first_param(f.target->graph, l);
            bool same = !memcmp(params_at(f.target->params, p), params_at(start, p),
                                (size_t)start->count[p] * sizeof(float));
            right = right && (same || (sweeps && s->part[l] == PART_LEFT));
            fitted += !same;
            factors++;
        }
    }
    right = right && fitted > 0;
    params_destroy(&start);
    tear_down(&f);
    all_true(right && factors > 1);
}

static void test_ranks_do_not_matter(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        struct fixture together, alone;
        set_up(&together, &nets[i], 0.5, "next_layer");
        set_up(&alone, &nets[i], 0.5, "next_layer");
        build_ok(refitted(&together, world, 2, 1));
        build_ok(refitted(&alone, self, 2, 1));
        const struct params *a = together.target->params, *b = alone.target->params;
        bool right = !memcmp(a->data, b->data, (size_t)a->total * sizeof(float));
        if (!right) print_error("rank %d: %s: not the same bytes\n", comm_rank(world), nets[i].name);
        tear_down(&together);
        tear_down(&alone);
        all_true(right);
    }
}

/* Activations that are not finite: one error on all ranks, which names the layer. */
static void test_not_finite(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f, &nets[0], 0.5, "first");
    if (comm_rank(world) == comm_size(world) - 1)
        f.x[SAMPLES * net_count(f.raw->ops, f.raw->ops->input[0], 1) - 1] = NAN;
    status error = refitted(&f, world, 2, 1);
    bool right = status_code(error) == STATUS_DATA && strstr(status_message(error), "refit of \"c1\"");
    if (!right) print_error("%s\n", status_message(error));
    status_drop(&error);
    tear_down(&f);
    all_true(right);
}

int main(int argc, char **argv) {
    if (fixture_open(&argc, &argv)) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_width_keeps_the_function),
        cmocka_unit_test(test_half_width_is_repaired),
        cmocka_unit_test(test_sum_is_right),
        cmocka_unit_test(test_factors_are_repaired),
        cmocka_unit_test(test_left_out_block_is_repaired),
        cmocka_unit_test(test_factor_that_is_not_refitted),
        cmocka_unit_test(test_ranks_do_not_matter),
        cmocka_unit_test(test_not_finite),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    fixture_close();
    return failed;
}
