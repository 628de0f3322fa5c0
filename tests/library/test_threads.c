/* libgodwit in several threads: opening, running one model, inside a parallel region of OpenMP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "library_testing.h"

#include <pthread.h>

#define THREADS 4

static char folder[64], means[96];

struct caller {
    godwit_model *model;
    int number, wrong;
};

static int wrong_means(godwit_model *model, int64_t n, int64_t height, int64_t width, int seed) {
    int64_t size = height * width;
    int wrong = 0;
    float *x = malloc((size_t)(n * size) * sizeof *x), *y = malloc((size_t)n * 2 * sizeof *y);
    const float *in = x;
    if (!x || !y) abort();
    for (int64_t i = 0; i < n * size; i++) x[i] = (float)((i * 7 + seed) % 13);
    godwit_shape shape = {3, {height, width, 1}};
    wrong += godwit_run_shapes(model, n, &shape, &in, &y, NULL) != GODWIT_OK;
    for (int64_t s = 0; s < n; s++) {
        double mean = 0;
        for (int64_t i = 0; i < size; i++) mean += x[s * size + i];
        wrong += fabs(y[2 * s] - (1 + 4 * mean / (double)size)) > 1e-3;
    }
    free(x);
    free(y);
    return wrong;
}

static void *run_many(void *data) {
    struct caller *c = data;
    for (int i = 0; i < 30; i++)
        c->wrong += wrong_means(c->model, 1 + (i + c->number) % 7, 3 + i % 3, 4 + c->number % 2, i);
    return NULL;
}

/* The allocator of address sanitizer may be left locked in a child that is forked while another thread
 * allocates; glibc's is not. So with the sanitizer one thread works at a time. */
#ifdef __SANITIZE_ADDRESS__
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
#define BEGIN_FORKING pthread_mutex_lock(&one_at_a_time)
#define END_FORKING pthread_mutex_unlock(&one_at_a_time)
#else
#define BEGIN_FORKING (void)0
#define END_FORKING (void)0
#endif

static void open_once(struct caller *c, int i) {
    godwit_model *model = NULL;
    godwit_error error;
    if (godwit_open(means, NULL, &model, &error)) {
        c->wrong++;
        return;
    }
    c->wrong += wrong_means(model, 3, 4, 4, i);
    godwit_close(model);
    /* Messages of one thread do not get into another's. */
    char name[32];
    snprintf(name, sizeof name, "absent-%d-%d", c->number, i);
    c->wrong += godwit_open(name, NULL, &model, &error) != GODWIT_IO || !strstr(error.message, name);
}

static void *open_many(void *data) {
    struct caller *c = data;
    for (int i = 0; i < 5; i++) {
        BEGIN_FORKING;
        open_once(c, i);
        END_FORKING;
    }
    return NULL;
}

static void in_threads(void *(*work)(void *), godwit_model *model) {
    struct caller caller[THREADS];
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++) {
        caller[i] = (struct caller){model, i, 0};
        assert_int_equal(pthread_create(&thread[i], NULL, work, &caller[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < THREADS; i++) assert_int_equal(caller[i].wrong, 0);
}

static void one_model(void **state) {
    (void)state;
    const char *engines[] = {NULL, "openblas"};
    for (int e = 0; e < 2; e++)
        for (int memory = 0; memory < 2; memory++) {
            godwit_options options = GODWIT_OPTIONS;
            options.engine = engines[e];
            options.threads = 2;
            options.memory = (size_t)memory;
            godwit_model *model = opened(means, &options);
            in_threads(run_many, model);
            godwit_close(model);
        }
}

static void opening(void **state) {
    (void)state;
    in_threads(open_many, NULL);
}

/* A model of two threads, called by all threads of a region, on enough samples to be shared out. */
static void in_region(void **state) {
    (void)state;
    enum { N = 100, SIZE = 28 * 28 };
    godwit_options options = GODWIT_OPTIONS;
    options.threads = 2;
    godwit_model *model = opened(FASHION, &options);
    float *x = malloc(N * SIZE * sizeof *x), *alone = malloc(N * 10 * sizeof *alone);
    assert_non_null(x);
    assert_non_null(alone);
    for (int i = 0; i < N * SIZE; i++) x[i] = (float)(i * 31 % 256) / 255;
    const float *in = x;
    WORKS(godwit_run(model, N, &in, &alone, &error));
    for (int s = 0; s < N; s++) {
        float sum = 0;
        for (int k = 0; k < 10; k++) sum += alone[s * 10 + k];
        assert_true(fabsf(sum - 1) < 1e-4); /* probabilities */
    }
    int wrong = 0;
#pragma omp parallel for num_threads(THREADS) reduction(+ : wrong) schedule(dynamic, 1)
    for (int call = 0; call < 40; call++) {
        float y[N * 10], *out = y;
        const float *from = x + call % 20 * SIZE;
        int n = 1 + call * 7 % (N - 20);
        wrong += godwit_run(model, n, &from, &out, NULL) != GODWIT_OK;
        for (int i = 0; i < n * 10; i++) wrong += fabsf(y[i] - alone[call % 20 * 10 + i]) > 1e-5f;
    }
    assert_int_equal(wrong, 0);
    free(x);
    free(alone);
    godwit_close(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(one_model), cmocka_unit_test(opening),
                                       cmocka_unit_test(in_region)};
    folder_make(folder);
    snprintf(means, sizeof means, "%s/means.h5", folder);
    write_means(means, 4, NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    folder_remove(folder);
    return failed;
}
