/* Batch norm over the global batch: two execs with a part of the batch each, whose `sum` hooks meet, compute
 * what one exec does with the whole batch; and the moving statistics follow Keras's rule. */
#include "worker/engine_check.h"
#include "worker/nets.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS = 2 };

/* Where the threads, which stand for ranks, sum. */
struct meeting {
    pthread_barrier_t barrier;
    double *v[RANKS];
    double sum[1024];
};

struct rank {
    struct meeting *meeting;
    int number;
    const struct engine *engine;
    const struct trial *trial; /* of the whole batch */
    int64_t first, batch;      /* its samples */
    int steps;
    struct params *params, *grads;
    float *output, *input_grad; /* of the last step */
    status error;
};

static status sum_ranks(void *context, double *v, int n) {
    struct rank *r = context;
    struct meeting *m = r->meeting;
    if (n > 1024) return status_fail(STATUS_INTERNAL, "too many sums");
    m->v[r->number] = v;
    pthread_barrier_wait(&m->barrier);
    if (r->number == 0)
        for (int i = 0; i < n; i++) {
            m->sum[i] = 0;
            for (int k = 0; k < RANKS; k++) m->sum[i] += m->v[k][i];
        }
    pthread_barrier_wait(&m->barrier);
    memcpy(v, m->sum, (size_t)n * sizeof *v);
    pthread_barrier_wait(&m->barrier);
    return SUCCESS;
}

static status run_steps(struct rank *r, struct exec *exec) {
    const struct trial *t = r->trial;
    const int64_t n = shape_sample_count(&t->graph->value[t->graph->input[0]]);
    const int64_t m = shape_sample_count(&t->graph->value[t->graph->output[0]]);
    const float *inputs[] = {t->input[0] + r->first * n};
    const float *output_grads[] = {t->weight[0] + r->first * m};
    STATUS_TRY(exec_set_params(exec, r->params));
    for (int step = 0; step < r->steps; step++) {
        STATUS_TRY(exec_forward(exec, inputs));
        STATUS_TRY(exec_backward(exec, output_grads, r->grads));
    }
    memcpy(r->output, exec_output(exec, 0), (size_t)(r->batch * m) * sizeof(float));
    memcpy(r->input_grad, exec_input_grad(exec, 0), (size_t)(r->batch * n) * sizeof(float));
    return SUCCESS;
}

/* No assertion in here: it runs on a thread of its own. */
static void *run_rank(void *context) {
    struct rank *r = context;
    struct exec_options options = {.batch = r->batch,
                                   .mode = EXEC_TRAIN,
                                   .threads = 1,
                                   .batch_norm = BATCH_NORM_BATCH,
                                   .input_grads = true,
                                   .context = r};
    if (r->meeting) {
        options.sum = sum_ranks;
        options.global_batch = r->trial->batch;
    }
    struct exec *exec = NULL;
    r->error = r->engine->compile(r->trial->graph, &options, &exec);
    if (!r->error) r->error = run_steps(r, exec);
    exec_destroy(&exec);
    return NULL;
}

static struct rank rank_of(const struct trial *t, const struct engine *engine, int64_t first, int64_t batch) {
    struct rank r = {.engine = engine, .trial = t, .first = first, .batch = batch, .steps = 3};
    must(params_clone(t->params, &r.params));
    must(params_create(t->graph, &r.grads));
    r.output = calloc((size_t)net_count(t->graph, t->graph->output[0], batch), sizeof(float));
    r.input_grad = calloc((size_t)net_count(t->graph, t->graph->input[0], batch), sizeof(float));
    assert_true(r.output && r.input_grad);
    return r;
}

static void rank_free(struct rank *r) {
    params_destroy(&r->params);
    params_destroy(&r->grads);
    free(r->output);
    free(r->input_grad);
}

static struct opgraph *network(void) {
    struct opgraph *g = net_create();
    struct window_options same = {.same = true, .no_bias = true};
    int x = net_conv(g, net_input(g, SHAPE(-1, 6, 6, 3)), 3, 3, 8, same);
    x = net_relu(g, net_batch_norm(g, x, true, true));
    int y = net_batch_norm(g, net_depthwise(g, x, 3, 3, 1, same), true, true);
    x = net_relu(g, net_binary(g, BINARY_ADD, x, y));
    x = net_batch_norm(g, net_reduce(g, x, REDUCE_MEAN, 6, false), true, false);
    x = net_dense(g, x, 3, true);
    net_finish(g, 1, &x);
    return g;
}

/* The whole batch of 7 against parts of 4 and 3 samples. */
static void two_ranks_equal_one(void **state) {
    (void)state;
    for (int e = 0; e < engine_count(); e++) {
        struct trial *t = trial_create(network(), 7, 5);
        struct rank whole = rank_of(t, engine_at(e), 0, 7);
        run_rank(&whole);
        must(whole.error);

        struct meeting meeting;
        struct rank rank[RANKS] = {rank_of(t, engine_at(e), 0, 4), rank_of(t, engine_at(e), 4, 3)};
        pthread_t thread[RANKS];
        assert_int_equal(pthread_barrier_init(&meeting.barrier, NULL, RANKS), 0);
        for (int i = 0; i < RANKS; i++) {
            rank[i].meeting = &meeting;
            rank[i].number = i;
            assert_int_equal(pthread_create(&thread[i], NULL, run_rank, &rank[i]), 0);
        }
        for (int i = 0; i < RANKS; i++) pthread_join(thread[i], NULL);
        for (int i = 0; i < RANKS; i++) must(rank[i].error);
        pthread_barrier_destroy(&meeting.barrier);

        /* Sums are in double precision, but each is of terms rounded to single. */
        const double tolerance = 2e-5;
        const struct opgraph *g = t->graph;
        for (int i = 0; i < RANKS; i++) {
            int64_t m = net_count(g, g->output[0], 1), n = net_count(g, g->input[0], 1);
            assert_close("output", rank[i].output, whole.output + rank[i].first * m, rank[i].batch * m,
                         tolerance);
            assert_close("input gradient", rank[i].input_grad, whole.input_grad + rank[i].first * n,
                         rank[i].batch * n, tolerance);
        }
        for (int p = 0; p < g->nparams; p++) {
            char what[64];
            int64_t n = whole.params->count[p];
            snprintf(what, sizeof what, "%s, parameter %d", engine_at(e)->name, p);
            if (g->param[p].trainable) {
                float *sum = calloc((size_t)n, sizeof *sum);
                assert_non_null(sum);
                for (int64_t i = 0; i < n; i++)
                    sum[i] = params_at(rank[0].grads, p)[i] + params_at(rank[1].grads, p)[i];
                assert_close(what, sum, params_at(whole.grads, p), n, 1e-4);
                free(sum);
            } else {
                for (int k = 0; k < RANKS; k++)
                    assert_close(what, params_at(rank[k].params, p), params_at(whole.params, p), n,
                                 tolerance);
                /* Ranks stay equal to the bit. */
                assert_memory_equal(params_at(rank[0].params, p), params_at(rank[1].params, p),
                                    (size_t)n * sizeof(float));
            }
        }
        for (int i = 0; i < RANKS; i++) rank_free(&rank[i]);
        rank_free(&whole);
        trial_destroy(t);
    }
}

static struct trial *lone_batch_norm(void) {
    struct opgraph *g = net_create();
    int y = net_batch_norm(g, net_input(g, SHAPE(-1, 4, 4, 5)), true, true);
    net_finish(g, 1, &y);
    return trial_create(g, 3, 8);
}

/* moving = moving*momentum + batch*(1 - momentum), with the biased variance, once per forward. */
static void moving_statistics(void **state) {
    (void)state;
    enum { C = 5, ROWS = 3 * 4 * 4, STEPS = 3 };
    for (int e = 0; e < engine_count(); e++) {
        struct trial *t = lone_batch_norm();
        /* Far from zero, where E[x^2] - E[x]^2 in single precision would lose everything. */
        for (int i = 0; i < ROWS * C; i++) t->input[0][i] += 1000;
        const struct op *op = &t->graph->op[0];
        double mean[C] = {0}, variance[C] = {0}, moving_mean[C], moving_variance[C];
        for (int c = 0; c < C; c++) {
            for (int i = 0; i < ROWS; i++) mean[c] += (double)t->input[0][i * C + c] / ROWS;
            for (int i = 0; i < ROWS; i++)
                variance[c] += pow((double)t->input[0][i * C + c] - mean[c], 2) / ROWS;
            moving_mean[c] = (double)params_at(t->params, op->param[2])[c];
            moving_variance[c] = (double)params_at(t->params, op->param[3])[c];
        }
        struct exec *exec = exec_must(engine_at(e), t->graph,
                                      &(struct exec_options){.batch = 3, .mode = EXEC_TRAIN, .threads = 1});
        must(exec_set_params(exec, t->params));
        for (int step = 0; step < STEPS; step++) {
            must(exec_forward(exec, trial_inputs(t)));
            for (int c = 0; c < C; c++) {
                moving_mean[c] = 0.9 * moving_mean[c] + 0.1 * mean[c];
                moving_variance[c] = 0.9 * moving_variance[c] + 0.1 * variance[c];
            }
        }
        assert_close_double("moving mean", params_at(t->params, op->param[2]), moving_mean, C, 1e-6);
        assert_close_double("moving variance", params_at(t->params, op->param[3]), moving_variance, C, 1e-4);
        exec_destroy(&exec);
        trial_destroy(t);
    }
}

/* With moving statistics nothing is summed over ranks and nothing is updated. */
static status must_not_sum(void *context, double *v, int n) {
    (void)v;
    (void)n;
    *(bool *)context = true;
    return SUCCESS;
}

static void frozen(void **state) {
    (void)state;
    for (int e = 0; e < engine_count(); e++) {
        struct trial *t = lone_batch_norm();
        bool summed = false;
        struct exec_options options = {.batch = 3,
                                       .mode = EXEC_TRAIN,
                                       .threads = 1,
                                       .batch_norm = BATCH_NORM_FROZEN,
                                       .sum = must_not_sum,
                                       .global_batch = 6,
                                       .input_grads = true,
                                       .context = &summed};
        struct exec *exec = exec_must(engine_at(e), t->graph, &options);
        struct params *params, *grads;
        must(params_clone(t->params, &params));
        must(params_create(t->graph, &grads));
        must(exec_set_params(exec, params));
        must(exec_forward(exec, trial_inputs(t)));
        must(exec_backward(exec, trial_weights(t), grads));
        assert_false(summed);
        assert_memory_equal(params->data, t->params->data, (size_t)params->total * sizeof(float));
        params_destroy(&params);
        params_destroy(&grads);
        exec_destroy(&exec);
        trial_destroy(t);
    }
}

/* An error of the hook ends forward and backward. */
static status fail_at(void *context, double *v, int n) {
    (void)v;
    (void)n;
    int *left = context;
    return (*left)-- > 0 ? SUCCESS : status_fail(STATUS_IO, "no connection");
}

static void hook_fails(void **state) {
    (void)state;
    for (int e = 0; e < engine_count(); e++) {
        struct trial *t = lone_batch_norm();
        int left = 0;
        struct exec_options options = {.batch = 3,
                                       .mode = EXEC_TRAIN,
                                       .threads = 1,
                                       .sum = fail_at,
                                       .input_grads = true,
                                       .context = &left};
        struct exec *exec = exec_must(engine_at(e), t->graph, &options);
        struct params *grads;
        must(params_create(t->graph, &grads));
        must(exec_set_params(exec, t->params));
        status error = exec_forward(exec, trial_inputs(t));
        assert_int_equal(status_code(error), STATUS_IO);
        status_drop(&error);
        left = 1;
        must(exec_forward(exec, trial_inputs(t)));
        error = exec_backward(exec, trial_weights(t), grads);
        assert_int_equal(status_code(error), STATUS_IO);
        status_drop(&error);
        params_destroy(&grads);
        exec_destroy(&exec);
        trial_destroy(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_ranks_equal_one),
        cmocka_unit_test(moving_statistics),
        cmocka_unit_test(frozen),
        cmocka_unit_test(hook_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
