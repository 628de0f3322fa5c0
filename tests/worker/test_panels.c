/* Products by panels: right in double precision, and every row the same wherever it stands. */
#include "worker/engines/panels.h"

#include "worker/nets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct sizes {
    int64_t m, n, k;
};
static const struct sizes SIZES[] = {{1, 1, 1},    {1, 33, 7},   {7, 16, 5},    {19, 3, 24},
                                     {8, 32, 16},  {13, 48, 40}, {49, 70, 9},   {200, 17, 33},
                                     {6, 300, 70}, {3, 40, 600}, {150, 129, 1}, {2, 5000, 30}};
enum { NSIZES = sizeof SIZES / sizeof SIZES[0] };

static float *floats(size_t n) {
    float *p = calloc(n + 16, sizeof *p);
    assert_non_null(p);
    return p;
}

/* c = a b + bias, each element against the sum in double precision. */
static void check(const struct sizes *s, const float *a, const float *b, const float *bias, const float *c) {
    for (int64_t i = 0; i < s->m; i++)
        for (int64_t j = 0; j < s->n; j++) {
            double sum = bias ? bias[j] : 0, size = 1;
            for (int64_t l = 0; l < s->k; l++) {
                sum += (double)a[i * s->k + l] * b[l * s->n + j];
                size += fabs((double)a[i * s->k + l] * b[l * s->n + j]);
            }
            assert_true(fabs(c[i * s->n + j] - sum) <= 1e-6 * size);
        }
}

static void product(void **state) {
    (void)state;
    for (int i = 0; i < NSIZES; i++) {
        const struct sizes *s = &SIZES[i];
        float *a = random_floats(s->m * s->k, 1), *b = random_floats(s->k * s->n, 2);
        float *bias = random_floats(s->n, 3), *c = floats((size_t)(s->m * s->n));
        float *packed = floats(panels_floats(s->k, s->n)), *turned = floats(panels_floats(s->k, s->n));
        float *b_turned = floats((size_t)(s->k * s->n));
        for (int threads = 1; threads <= 5; threads++) {
            float *scratch = floats(panels_scratch(s->n, s->k, threads));
            panels_rows(s->m, s->n, s->k, a, b, threads & 1 ? bias : NULL, threads, scratch, c);
            check(s, a, b, threads & 1 ? bias : NULL, c);
            free(scratch);
        }
        panels_pack(s->k, s->n, 0, panels_count(s->n), b, s->n, 1, packed);
        for (int threads = 1; threads <= 5; threads++) {
            panels_rows_packed(s->m, s->n, s->k, a, packed, threads & 1 ? NULL : bias, threads, c);
            check(s, a, b, threads & 1 ? NULL : bias, c);
        }
        for (int64_t l = 0; l < s->k; l++)
            for (int64_t j = 0; j < s->n; j++) b_turned[j * s->k + l] = b[l * s->n + j];
        panels_pack(s->k, s->n, 0, panels_count(s->n), b_turned, 1, s->k, turned);
        assert_memory_equal(turned, packed, panels_floats(s->k, s->n) * sizeof *packed);
        free(a);
        free(b);
        free(bias);
        free(c);
        free(packed);
        free(turned);
        free(b_turned);
    }
}

/* Equal rows give equal rows, the same as one row alone, on any number of threads. */
static void rows_are_alike(void **state) {
    (void)state;
    for (int i = 0; i < NSIZES; i++) {
        const struct sizes *s = &SIZES[i];
        float *a = random_floats(s->m * s->k, 1), *b = random_floats(s->k * s->n, 2);
        float *c = floats((size_t)(s->m * s->n)), *first = floats((size_t)s->n);
        for (int64_t r = 1; r < s->m; r++) memcpy(a + r * s->k, a, (size_t)s->k * sizeof *a);
        for (int threads = 1; threads <= 3; threads++) {
            float *scratch = floats(panels_scratch(s->n, s->k, threads));
            if (threads == 1) panels_rows(1, s->n, s->k, a, b, NULL, 1, scratch, first);
            panels_rows(s->m, s->n, s->k, a, b, NULL, threads, scratch, c);
            for (int64_t r = 0; r < s->m; r++)
                assert_memory_equal(c + r * s->n, first, (size_t)s->n * sizeof *c);
            free(scratch);
        }
        free(a);
        free(b);
        free(c);
        free(first);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(product),
        cmocka_unit_test(rows_are_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
