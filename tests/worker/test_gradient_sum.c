/* Gradients summed over ranks bucket by bucket. Checks are on values reduced over the ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <string.h>

#include "shared/rng.h"
#include "worker/gradient_sum.h"
#include "worker/nets.h"

static struct comm *world;

#define LAYERS 9

/* Dense layers of different sizes, some frozen. */
static struct opgraph *net(void) {
    struct opgraph *g = net_create();
    int x = net_input(g, SHAPE(-1, 7));
    for (int i = 0; i < LAYERS; i++) x = net_dense(g, x, 3 + 5 * i % 37, i % 2 == 0);
    net_finish(g, 1, &x);
    g->param[3].trainable = g->param[4].trainable = g->param[10].trainable = false;
    return g;
}

/* What rank `rank` has as gradient (p, i) in round `round`: whole numbers, so that sums are exact. */
static float gradient(int rank, int p, int64_t i, int round) {
    return (float)((rank + 1) * (p + 1) + (int)(i % 11) - 7 * round);
}

static void fill(const struct opgraph *g, struct params *grads, int p, int round) {
    if (!g->param[p].trainable) return;
    for (int64_t i = 0; i < grads->count[p]; i++)
        params_at(grads, p)[i] = gradient(comm_rank(world), p, i, round);
}

/* Number of wrong sums, frozen parameters that changed included. */
static double count_wrong(const struct opgraph *g, const struct params *grads, const bool *used, int round) {
    double wrong = 0;
    for (int p = 0; p < g->nparams; p++)
        for (int64_t i = 0; i < grads->count[p]; i++) {
            float sum = 0;
            if (!g->param[p].trainable) {
                wrong += params_at(grads, p)[i] != 0;
                continue;
            }
            for (int r = 0; r < comm_size(world); r++) sum += gradient(r, p, i, round);
            if (used[p]) wrong += params_at(grads, p)[i] != sum;
        }
    must(comm_sum_f64(world, &wrong, 1));
    return wrong;
}

/* Rounds in which parameters get ready in the order `order`; `ready` of them before the end (all, or a
 * backward that stopped). */
static void check(size_t bucket_bytes, const int *order, const bool *used, int ready) {
    struct opgraph *g = net();
    struct params *grads = NULL;
    struct gradient_sum *sum = NULL;
    must(params_create(g, &grads));
    must(gradient_sum_create(world, g, used, grads, bucket_bytes, &sum));
    for (int round = 0; round < 3; round++) {
        for (int p = 0; p < g->nparams; p++) fill(g, grads, p, round);
        for (int i = 0; i < ready; i++) {
            gradient_sum_ready(sum, -1);
            if (used[order[i]]) gradient_sum_ready(sum, order[i]);
        }
        must(gradient_sum_finish(sum));
        assert_true(count_wrong(g, grads, used, round) == 0);
    }
    gradient_sum_destroy(&sum);
    params_destroy(&grads);
    opgraph_destroy(&g);
}

static const size_t sizes[] = {1, 256, 1500, 1 << 20};

/* Backward's order, forward's, and a random one. */
static void orders(int n, int order[3][64]) {
    int64_t shuffled[64];
    for (int i = 0; i < n; i++) {
        order[0][i] = n - 1 - i;
        order[1][i] = i;
        shuffled[i] = i;
    }
    struct rng rng = rng_make(4, 1, 1);
    rng_shuffle(&rng, shuffled, n);
    for (int i = 0; i < n; i++) order[2][i] = (int)shuffled[i];
}

static int count_params(void) {
    struct opgraph *g = net();
    int n = g->nparams;
    opgraph_destroy(&g);
    return n;
}

static void test_sums_in_any_order(void **state) {
    (void)state;
    int n = count_params(), order[3][64];
    bool used[64];
    orders(n, order);
    for (int i = 0; i < n; i++) used[i] = true;
    for (int o = 0; o < 3; o++)
        for (int s = 0; s < 4; s++) check(sizes[s], order[o], used, n);
}

/* Parameters that the graph does not use get no gradient and are not waited for. */
static void test_unused(void **state) {
    (void)state;
    int n = count_params(), order[3][64];
    bool used[64];
    orders(n, order);
    for (int i = 0; i < n; i++) used[i] = i != 0 && i != 6 && i != n - 1;
    for (int o = 0; o < 3; o++)
        for (int s = 0; s < 4; s++) check(sizes[s], order[o], used, n);
    for (int i = 0; i < n; i++) used[i] = i == 5;
    for (int s = 0; s < 4; s++) check(sizes[s], order[0], used, n);
}

/* A backward that fails halfway still takes part in every sum. */
static void test_backward_stops(void **state) {
    (void)state;
    int n = count_params(), order[3][64];
    bool used[64];
    orders(n, order);
    for (int i = 0; i < n; i++) used[i] = true;
    for (int s = 0; s < 4; s++) {
        check(sizes[s], order[0], used, 0);
        check(sizes[s], order[0], used, comm_rank(world) % 2 ? n / 2 : n);
    }
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums_in_any_order),
        cmocka_unit_test(test_unused),
        cmocka_unit_test(test_backward_stops),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_stop(&world);
    return failed;
}
