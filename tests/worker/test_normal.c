/* Normal equations against Gauss elimination in double precision. Checks are on values reduced over the
 * ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "worker/grid.h"
#include "worker/least_squares.h"
#include "worker/nets.h"
#include "worker/normal.h"

static struct comm *world, *self;

static void all_true(bool mine) {
    bool any_false = false;
    assert_null(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

static void test_normal(void **state) {
    (void)state;
    enum { ROWS = 900, K = 13, M = 4 };
    float *u = random_floats(ROWS * K, 1), *y = random_floats(ROWS * M, 2);
    for (int r = 0; r < ROWS; r++) {
        u[r * K + K - 1] = 1;
        for (int i = 0; i < K - 1; i++) u[r * K + i] *= 1 + (float)i; /* of different size */
    }
    double start[K * M], wanted[K * M], w[K * M], used;
    int64_t dropped;
    for (int i = 0; i < K * M; i++) start[i] = 0.3 * i - 7;
    static const double ridges[] = {0, 1e-4, 0.5};
    for (int i = 0; i < 3; i++)
        for (int with_start = 0; with_start < 2; with_start++) {
            struct normal *n = NULL;
            must(normal_create(K, M, &n));
            int64_t first = share_begin(ROWS, comm_rank(world), comm_size(world));
            int64_t end = share_begin(ROWS, comm_rank(world) + 1, comm_size(world));
            for (int64_t r = first; r < end; r += 100) {
                int64_t rows = end - r < 100 ? end - r : 100;
                normal_add_gram(n, rows, u + r * K, 2);
                normal_add_cross(n, rows, u + r * K, y + r * M, 2);
            }
            must(normal_sum_gram(n, world));
            must(normal_sum_cross(n, world));
            must(normal_factor(n, K - 1, ridges[i], &used, &dropped));
            assert_int_equal(dropped, 0);
            must(normal_solve(n, K - 1, used, with_start ? start : NULL, w));
            ridge_solution(ROWS, K, M, u, y, K - 1, ridges[i], with_start ? start : NULL, wanted);
            float found[K * M];
            for (int j = 0; j < K * M; j++) found[j] = (float)w[j];
            bool right = close_to("normal equations", found, wanted, K * M, 1e-4);
            normal_destroy(&n);
            all_true(right);
        }
    free(u);
    free(y);
}

/* Columns that repeat or are zero have no unique solution: the one of least norm is taken. */
static void test_normal_singular(void **state) {
    (void)state;
    enum { ROWS = 50, K = 6 };
    float *u = random_floats(ROWS * K, 3), y[ROWS];
    for (int r = 0; r < ROWS; r++) {
        u[r * K + 1] = u[r * K];
        u[r * K + 2] = 0;
        y[r] = 3 * u[r * K] - u[r * K + 4];
    }
    struct normal *n = NULL;
    double used, w[K];
    int64_t dropped;
    must(normal_create(K, 1, &n));
    normal_add_gram(n, ROWS, u, 1);
    normal_add_cross(n, ROWS, u, y, 1);
    must(normal_sum_gram(n, self));
    must(normal_sum_cross(n, self));
    must(normal_factor(n, K, 0, &used, &dropped));
    assert_true(used == 0 && dropped == 2);
    must(normal_solve(n, K, used, NULL, w));
    assert_true(fabs(w[0] - 1.5) < 1e-4 && fabs(w[1] - 1.5) < 1e-4 && fabs(w[2]) < 1e-4 &&
                fabs(w[3]) < 1e-4 && fabs(w[4] + 1) < 1e-4 && fabs(w[5]) < 1e-4);
    must(normal_factor(n, K, 1e-3, &used, &dropped)); /* a penalty makes it regular */
    assert_true(used > 0 && dropped == 0);
    must(normal_solve(n, K, used, NULL, w));
    assert_true(fabs(w[0] - 1.5) < 1e-2 && fabs(w[1] - 1.5) < 1e-2 && fabs(w[2]) < 1e-2);
    n->diagonal[0] = NAN;
    status error = normal_factor(n, K, 0, &used, &dropped);
    assert_int_equal(status_code(error), STATUS_DATA);
    status_drop(&error);
    normal_destroy(&n);
    free(u);
}

/* Sums of the same runs in another order: on a grid the same bits, and without it not. */
static void test_order_of_sums(void **state) {
    (void)state;
    enum { RUNS = 200, ROWS = 20, K = 9, M = 2 };
    float *u = random_floats(RUNS * ROWS * K, 5), *y = random_floats(RUNS * ROWS * M, 6);
    for (int i = 0; i < RUNS * ROWS * K; i++) u[i] *= expf(3 * u[i]); /* of very different sizes */
    float largest = 0;
    for (int i = 0; i < RUNS * ROWS * K; i++) largest = fmaxf(largest, fabsf(u[i]));
    double bound = (double)RUNS * ROWS * largest * largest;
    for (int on_grid = 0; on_grid < 2; on_grid++) {
        struct normal *n[2] = {NULL, NULL};
        for (int back = 0; back < 2; back++) {
            must(normal_create(K, M, &n[back]));
            n[back]->grid_g = n[back]->grid_h = on_grid ? grid_for(bound) : 0;
            for (int i = 0; i < RUNS; i++) {
                int r = back ? RUNS - 1 - i : i;
                normal_add_gram(n[back], ROWS, u + r * ROWS * K, 1);
                normal_add_cross(n[back], ROWS, u + r * ROWS * K, y + r * ROWS * M, 1);
            }
            must(normal_sum_gram(n[back], self));
        }
        bool alike = !memcmp(n[0]->g, n[1]->g, K * K * sizeof *n[0]->g) &&
                     !memcmp(n[0]->h, n[1]->h, K * M * sizeof *n[0]->h);
        for (int i = 0; i < K * K; i++)
            assert_true(fabs(n[0]->g[i] - n[1]->g[i]) <= 1e-12 * bound); /* and right */
        assert_true(alike == on_grid);
        normal_destroy(&n[0]);
        normal_destroy(&n[1]);
    }
    free(u);
    free(y);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = comm_split(world, comm_rank(world), 0, &self);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normal),
        cmocka_unit_test(test_normal_singular),
        cmocka_unit_test(test_order_of_sums),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_destroy(&self);
    comm_stop(&world);
    return failed;
}
