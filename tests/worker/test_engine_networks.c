/* Small networks on every engine: against the reference, against each other over several training steps, and
 * what an exec promises beyond single operations: outputs anywhere, gradients reported once and in order,
 * repeatability. */
#include "worker/engine_check.h"
#include "worker/nets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct window_options SAME = {.same = true, .no_bias = true};
static const struct window_options HALVE = {.stride = {2, 2}, .same = true, .no_bias = true};

static int conv_bn(struct opgraph *g, int x, int size, int filters, struct window_options o) {
    return net_batch_norm(g, net_conv(g, x, size, size, filters, o), true, true);
}

static int residual_block(struct opgraph *g, int x, int filters, bool halve) {
    int y = net_relu(g, conv_bn(g, x, 3, filters, halve ? HALVE : SAME));
    y = conv_bn(g, y, 3, filters, SAME);
    int shortcut = halve ? conv_bn(g, x, 1, filters, HALVE) : x;
    return net_relu(g, net_binary(g, BINARY_ADD, y, shortcut));
}

static int residual_net(struct opgraph *g) {
    int x = net_relu(g, conv_bn(g, net_input(g, SHAPE(-1, 8, 8, 3)), 3, 8, SAME));
    x = residual_block(g, x, 8, false);
    x = residual_block(g, x, 16, true);
    return net_dense(g, net_reduce(g, x, REDUCE_MEAN, 6, false), 5, true);
}

/* Inverted bottlenecks with ReLU6 and squeeze-and-excitation. */
static int separable_net(struct opgraph *g) {
    int x = net_activation(g, conv_bn(g, net_input(g, SHAPE(-1, 10, 10, 3)), 3, 8, HALVE),
                           ACTIVATION_HARD_SILU, 0, 0, 0);
    int y = net_activation(g, conv_bn(g, x, 1, 16, SAME), ACTIVATION_RELU, 0, 6, 0);
    y = net_batch_norm(g, net_depthwise(g, y, 3, 3, 1, SAME), true, true);
    y = net_activation(g, y, ACTIVATION_RELU, 0, 6, 0);
    int gate = net_reduce(g, y, REDUCE_MEAN, 6, true);
    gate = net_relu(g, net_conv(g, gate, 1, 1, 4, (struct window_options){0}));
    gate = net_conv(g, gate, 1, 1, 16, (struct window_options){0});
    gate = net_activation(g, gate, ACTIVATION_HARD_SIGMOID, 1.0f / 6, 0.5f, 0);
    y = net_binary(g, BINARY_MUL, y, gate);
    y = net_binary(g, BINARY_ADD, x, conv_bn(g, y, 1, 8, SAME));
    y = net_depthwise(g, net_pad(g, y, (int[]){0, 0, 0, 0}, (int[]){0, 1, 1, 0}), 3, 3, 2,
                      (struct window_options){.stride = {2, 2}});
    y = net_activation(g, y, ACTIVATION_SILU, 0, 0, 0);
    return net_softmax(g, net_dense(g, net_reduce(g, y, REDUCE_MAX, 6, false), 4, true), 1);
}

/* Dense blocks (BN, ReLU, convolution, concatenation) and a decoder with a skip connection. */
static int concat_net(struct opgraph *g) {
    int input = net_input(g, SHAPE(-1, 8, 8, 2));
    float scale = 1.0f / 2, offset = 0.1f;
    int x = net_conv(g, net_affine(g, input, 1, &scale, &offset), 3, 3, 6, SAME);
    for (int i = 0; i < 2; i++) {
        int y = net_conv(g, net_relu(g, net_batch_norm(g, x, true, true)), 3, 3, 4, SAME);
        x = net_concat(g, 3, 2, (int[]){x, y});
    }
    int low = net_pool(g, x, POOL_MEAN, 2, 2, (struct window_options){.stride = {2, 2}});
    low = net_activation(g, net_conv(g, low, 3, 3, 5, SAME), ACTIVATION_GELU, 0, 0, 0);
    low = net_resize(g, low, RESIZE_BILINEAR, 8, 8);
    int both = net_concat(
        g, 3, 3, (int[]){low, x, net_pool(g, x, POOL_MAX, 3, 3, (struct window_options){.same = true})});
    return net_conv(g, both, 1, 1, 2, (struct window_options){0});
}

static int dense_net(struct opgraph *g) {
    int x = net_reshape(g, net_input(g, SHAPE(-1, 4, 6)), SHAPE(-1, 24));
    x = net_relu(g, net_batch_norm(g, net_dense(g, x, 32, false), true, true));
    x = net_activation(g, net_dense(g, x, 24, true), ACTIVATION_TANH, 0, 0, 0);
    return net_dense(g, x, 3, true);
}

static int (*const NETS[])(struct opgraph *) = {residual_net, separable_net, concat_net, dense_net};
enum { NNETS = sizeof NETS / sizeof NETS[0] };

/* A network as a trial; its result is the only output. */
static struct trial *trial_of(int (*net)(struct opgraph *), int64_t batch, uint64_t seed) {
    struct opgraph *g = net_create();
    int y = net(g);
    net_finish(g, 1, &y);
    return trial_create(g, batch, seed);
}

static void against_reference(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        static const int64_t batches[] = {1, 3, 8};
        for (int b = 0; b < 3; b++) {
            /* The statistics of one sample's single pixel have no variance: a batch of one is for images. */
            if (NETS[i] == dense_net && batches[b] == 1) continue;
            struct trial *t = trial_of(NETS[i], batches[b], 10 + (uint64_t)b);
            trial_check(t);
            trial_destroy(t);
        }
    }
}

static int bn_add_relu(struct opgraph *g) {
    int x = net_input(g, SHAPE(-1, 6, 6, 8));
    return net_relu(g, net_binary(g, BINARY_ADD, x, conv_bn(g, x, 3, 8, SAME)));
}
static int conv_add_conv(struct opgraph *g) {
    int x = net_input(g, SHAPE(-1, 6, 6, 4));
    int a = net_conv(g, x, 3, 3, 8, (struct window_options){.same = true});
    int b = net_conv(g, x, 1, 1, 8, (struct window_options){0});
    return net_relu(g, net_binary(g, BINARY_ADD, a, b));
}
static int conv_add_itself(struct opgraph *g) {
    int a = net_conv(g, net_input(g, SHAPE(-1, 6, 6, 4)), 3, 3, 8, SAME);
    return net_relu(g, net_binary(g, BINARY_ADD, a, a));
}
/* The convolution's output goes into the addition twice, once through a ReLU: it must outlive it. */
static int conv_add_own_relu(struct opgraph *g) {
    int a = net_conv(g, net_input(g, SHAPE(-1, 6, 6, 4)), 3, 3, 8, SAME);
    return net_binary(g, BINARY_ADD, net_relu(g, a), a);
}
static int conv_add_broadcast(struct opgraph *g) {
    int x = net_input(g, SHAPE(-1, 6, 6, 4));
    return net_relu(g, net_binary(g, BINARY_ADD, net_conv(g, x, 3, 3, 8, SAME),
                                  net_conv(g, net_reduce(g, x, REDUCE_MEAN, 6, true), 1, 1, 8, SAME)));
}
static int bn_relu_conv(struct opgraph *g) {
    return net_conv(g, net_relu(g, net_batch_norm(g, net_input(g, SHAPE(-1, 6, 6, 4)), true, true)), 3, 3, 8,
                    (struct window_options){.same = true});
}
/* A batch norm before a padded convolution cannot be folded into it. */
static int bn_conv_padded(struct opgraph *g) {
    return net_conv(g, net_batch_norm(g, net_input(g, SHAPE(-1, 6, 6, 4)), true, true), 3, 3, 8,
                    (struct window_options){.same = true});
}
static int conv_relu_bn(struct opgraph *g) {
    return net_batch_norm(g,
                          net_relu(g, net_conv(g, net_input(g, SHAPE(-1, 6, 6, 4)), 3, 3, 8,
                                               (struct window_options){.same = true})),
                          true, true);
}
static int conv_bias_bn_relu6(struct opgraph *g) {
    int x = net_conv(g, net_input(g, SHAPE(-1, 6, 6, 4)), 3, 3, 8, (struct window_options){.same = true});
    return net_activation(g, net_batch_norm(g, x, false, true), ACTIVATION_RELU, 0, 6, 0);
}
static int conv_bn_sub(struct opgraph *g) {
    int x = net_input(g, SHAPE(-1, 6, 6, 8));
    return net_relu(g, net_binary(g, BINARY_SUB, x, conv_bn(g, x, 3, 8, SAME)));
}
static int conv_leaky(struct opgraph *g) {
    return net_activation(g, conv_bn(g, net_input(g, SHAPE(-1, 6, 6, 4)), 3, 8, SAME), ACTIVATION_RELU, 0.2f,
                          INFINITY, 0);
}
static int conv_swish_pool(struct opgraph *g) {
    int x =
        net_activation(g, conv_bn(g, net_input(g, SHAPE(-1, 6, 6, 4)), 3, 8, SAME), ACTIVATION_SILU, 0, 0, 0);
    return net_pool(g, x, POOL_MAX, 2, 2, (struct window_options){.stride = {2, 2}});
}
static int conv_relu_threshold(struct opgraph *g) {
    return net_activation(g, conv_bn(g, net_input(g, SHAPE(-1, 6, 6, 4)), 3, 8, SAME), ACTIVATION_RELU, 0,
                          INFINITY, 0.3f);
}
static int depthwise_bn_relu(struct opgraph *g) {
    return net_relu(g, net_batch_norm(g, net_depthwise(g, net_input(g, SHAPE(-1, 6, 6, 16)), 3, 3, 1, HALVE),
                                      true, true));
}
static int grouped_bn_relu(struct opgraph *g) {
    struct window_options o = {.groups = 4, .same = true};
    return net_relu(g, conv_bn(g, net_input(g, SHAPE(-1, 6, 6, 16)), 3, 8, o));
}
/* Channels that are no multiple of anything: other implementations in oneDNN. */
static int odd_add_relu(struct opgraph *g) {
    int x = net_input(g, SHAPE(-1, 6, 6, 9));
    int y = net_conv(g, x, 3, 3, 9, (struct window_options){.groups = 3, .dilation = {2, 2}, .same = true});
    y = net_relu(g, net_binary(g, BINARY_ADD, x, y));
    y = net_binary(g, BINARY_ADD, y, net_depthwise(g, y, 3, 1, 1, SAME));
    return net_relu(g, net_binary(g, BINARY_ADD, net_conv(g, y, 3, 3, 9, SAME), y));
}
static int dense_bn_relu(struct opgraph *g) {
    return net_relu(g, net_batch_norm(g, net_dense(g, net_input(g, SHAPE(-1, 9)), 8, true), true, false));
}
static int pad_conv_bn(struct opgraph *g) {
    int x = net_pad(g, net_input(g, SHAPE(-1, 6, 6, 4)), (int[]){0, 1, 1, 0}, (int[]){0, 1, 1, 0});
    return net_relu(g, conv_bn(g, x, 3, 8, (struct window_options){.stride = {2, 2}, .no_bias = true}));
}
static int affine_conv(struct opgraph *g) {
    float scale[] = {0.1f, 2, -1, 0.5f}, offset[] = {1, 0, -0.5f, 2};
    return net_conv(g, net_affine(g, net_input(g, SHAPE(-1, 6, 6, 4)), 4, scale, offset), 3, 3, 8,
                    (struct window_options){.same = true});
}
static int conv_flatten_dense(struct opgraph *g) {
    int x = net_relu(
        g, net_conv(g, net_input(g, SHAPE(-1, 4, 4, 3)), 3, 3, 16, (struct window_options){.same = true}));
    return net_softmax(g, net_dense(g, net_reshape(g, x, SHAPE(-1, 256)), 10, true), 1);
}
/* Two paths with the same weights. */
static int shared_conv(struct opgraph *g) {
    int x = net_input(g, SHAPE(-1, 6, 6, 4));
    int a = net_conv(g, x, 3, 3, 4, (struct window_options){.same = true});
    int b = net_again(g, a, net_relu(g, a));
    return net_binary(g, BINARY_MUL, net_again(g, a, b), x);
}
/* Trainable parameters in one branch only. */
static int half_trainable(struct opgraph *g) {
    int x = net_input(g, SHAPE(-1, 6, 6, 4));
    int a = net_pool(g, net_relu(g, x), POOL_MAX, 2, 2, (struct window_options){.same = true});
    return net_binary(g, BINARY_MUL, a, net_conv(g, x, 1, 1, 4, (struct window_options){0}));
}

static void fusions(void **state) {
    (void)state;
    static int (*const nets[])(struct opgraph *) = {
        bn_add_relu,    conv_add_conv,   conv_add_itself,     conv_add_own_relu,  conv_add_broadcast,
        bn_relu_conv,   bn_conv_padded,  conv_relu_bn,        conv_bias_bn_relu6, conv_bn_sub,
        conv_leaky,     conv_swish_pool, conv_relu_threshold, depthwise_bn_relu,  grouped_bn_relu,
        dense_bn_relu,  pad_conv_bn,     affine_conv,         conv_flatten_dense, shared_conv,
        half_trainable, odd_add_relu};
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        struct trial *t = trial_of(nets[i], 3, 20 + i);
        trial_check(t);
        trial_destroy(t);
    }
}

/* ---- outputs ---- */

/* Every value is an output: whatever an engine fuses or lets share memory, each must be there, and each has a
 * gradient of its own. */
static void all_values_are_outputs(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        struct opgraph *g = net_create();
        NETS[i](g);
        int outputs[128], n = 0;
        assert_true(g->nvalues <= 128);
        for (int v = 0; v < g->nvalues; v++) outputs[n++] = v;
        net_finish(g, n, outputs);
        struct trial *t = trial_create(g, 2, 40 + (uint64_t)i);
        trial_check(t);
        trial_destroy(t);
    }
}

/* In inference, with each single value in turn tapped beside the result. */
static void taps(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        struct opgraph *g = net_create();
        int y = NETS[i](g);
        int outputs[128];
        for (int v = 0; v < g->nvalues; v++) outputs[v] = v;
        net_finish(g, g->nvalues, outputs);
        struct trial *t = trial_create(g, 2, 50);
        for (int e = 0; e < engine_count(); e++) {
            struct exec_options options = {.batch = 2, .mode = EXEC_INFER, .threads = 1};
            struct exec *all = exec_must(engine_at(e), g, &options);
            must(exec_set_params(all, t->params));
            must(exec_forward(all, trial_inputs(t)));
            for (int v = 0; v < t->graph->nvalues; v++) {
                struct opgraph *cut = NULL;
                must(opgraph_cut(g, g->ninputs, g->input, 2, (int[]){v, y}, &cut));
                struct exec *exec = exec_must(engine_at(e), cut, &options);
                must(exec_set_params(exec, t->params));
                must(exec_forward(exec, trial_inputs(t)));
                assert_close("tap", exec_output(exec, 0), exec_output(all, v), net_count(g, v, 2), 1e-5);
                assert_close("result", exec_output(exec, 1), exec_output(all, y), net_count(g, y, 2), 1e-5);
                exec_destroy(&exec);
                opgraph_destroy(&cut);
            }
            exec_destroy(&all);
        }
        trial_destroy(t);
    }
}

/* One value listed twice, and a gradient that is NULL. */
static void outputs_twice_and_without_gradient(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int a = net_dense(g, net_input(g, SHAPE(-1, 6)), 4, true), b = net_dense(g, net_relu(g, a), 3, true);
    net_finish(g, 4, (int[]){a, b, a, b});
    struct trial *t = trial_create(g, 3, 60);
    trial_check(t);
    for (int e = 0; e < engine_count(); e++) {
        struct exec_options options = {.batch = 3, .mode = EXEC_TRAIN, .threads = 1};
        struct exec *exec = exec_must(engine_at(e), g, &options);
        struct params *with_null, *with_zero;
        must(params_create(g, &with_null));
        must(params_create(g, &with_zero));
        float zero[12] = {0};
        must(exec_set_params(exec, t->params));
        must(exec_forward(exec, trial_inputs(t)));
        must(exec_backward(exec, (const float *[]){t->weight[0], NULL, NULL, NULL}, with_null));
        must(exec_backward(exec, (const float *[]){t->weight[0], zero, zero, zero}, with_zero));
        assert_memory_equal(with_null->data, with_zero->data, (size_t)with_null->ntrainable * sizeof(float));
        params_destroy(&with_null);
        params_destroy(&with_zero);
        exec_destroy(&exec);
    }
    trial_destroy(t);
}

/* Operations that the outputs do not need are not computed: their parameters get no gradient. */
static void unneeded_operations(void **state) {
    (void)state;
    struct opgraph *g = net_create();
    int a = net_dense(g, net_input(g, SHAPE(-1, 6)), 4, true);
    net_dense(g, a, 5, true);
    net_finish(g, 1, &a);
    struct trial *t = trial_create(g, 2, 61);
    for (int e = 0; e < engine_count(); e++) {
        struct exec_options options = {.batch = 2, .mode = EXEC_TRAIN, .threads = 1};
        struct exec *exec = exec_must(engine_at(e), g, &options);
        struct params *grads;
        must(params_create(g, &grads));
        params_at(grads, 2)[0] = 7;
        must(exec_set_params(exec, t->params));
        must(exec_forward(exec, trial_inputs(t)));
        must(exec_backward(exec, trial_weights(t), grads));
        assert_true(params_at(grads, 2)[0] == 7);
        assert_null(exec_input_grad(exec, 0));
        params_destroy(&grads);
        exec_destroy(&exec);
    }
    trial_destroy(t);
}

/* ---- gradients reported ---- */

struct reports {
    int n, between, order[64];
    struct params *grads;
    float first[64]; /* a gradient's first value when it was reported */
};

static void grad_ready(void *context, int param) {
    struct reports *r = context;
    if (param < 0) {
        r->between++;
        return;
    }
    assert_true(r->n < 64);
    r->first[r->n] = params_at(r->grads, param)[0];
    r->order[r->n++] = param;
}

static void gradients_reported(void **state) {
    (void)state;
    static int (*const nets[])(struct opgraph *) = {residual_net, separable_net, concat_net, dense_net,
                                                    shared_conv};
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        struct trial *t = trial_of(nets[i], 2, 70);
        const struct opgraph *g = t->graph;
        for (int e = 0; e < engine_count(); e++) {
            struct reports r = {0};
            must(params_create(g, &r.grads));
            struct exec_options options = {
                .batch = 2, .mode = EXEC_TRAIN, .threads = 2, .grad_ready = grad_ready, .context = &r};
            struct exec *exec = exec_must(engine_at(e), g, &options);
            must(exec_set_params(exec, t->params));
            must(exec_forward(exec, trial_inputs(t)));
            assert_int_equal(r.n, 0);
            must(exec_backward(exec, trial_weights(t), r.grads));
            assert_true(r.between > 0);
            int trainable = 0;
            bool seen[64] = {false};
            for (int p = 0; p < g->nparams; p++) trainable += g->param[p].trainable;
            assert_int_equal(r.n, trainable);
            for (int k = 0; k < r.n; k++) {
                assert_true(g->param[r.order[k]].trainable);
                assert_false(seen[r.order[k]]); /* once each */
                seen[r.order[k]] = true;
                /* Complete when reported: it has not changed since. */
                assert_true(params_at(r.grads, r.order[k])[0] == r.first[k]);
            }
            /* The classifier's before the stem's, so that sending overlaps with computing. */
            if (nets[i] == residual_net) {
                assert_true(r.order[0] >= g->nparams - 2);
                assert_true(r.order[r.n - 1] <= 2);
            }
            params_destroy(&r.grads);
            exec_destroy(&exec);
        }
        trial_destroy(t);
    }
}

/* ---- training ---- */

/* Steps of gradient descent on sum(weight * output) + sum(output^2)/2 over the batch. */
static void train(const struct engine *engine, const struct trial *t, struct params *params, int threads,
                  int steps) {
    struct exec_options options = {
        .batch = t->batch, .mode = EXEC_TRAIN, .threads = threads, .batch_norm = BATCH_NORM_BATCH};
    struct exec *exec = exec_must(engine, t->graph, &options);
    struct params *grads;
    int64_t n = net_count(t->graph, t->graph->output[0], t->batch);
    float *dy = calloc((size_t)n, sizeof *dy);
    assert_non_null(dy);
    must(params_create(t->graph, &grads));
    must(exec_set_params(exec, params));
    for (int step = 0; step < steps; step++) {
        must(exec_forward(exec, trial_inputs(t)));
        for (int64_t i = 0; i < n; i++) dy[i] = (t->weight[0][i] + exec_output(exec, 0)[i]) / (float)n;
        must(exec_backward(exec, (const float *[]){dy}, grads));
        for (int64_t i = 0; i < params->ntrainable; i++) params->data[i] -= 0.05f * grads->data[i];
    }
    free(dy);
    params_destroy(&grads);
    exec_destroy(&exec);
}

static void infer(const struct engine *engine, const struct trial *t, struct params *params, float *y) {
    struct exec_options options = {.batch = t->batch, .mode = EXEC_INFER, .threads = 1};
    struct exec *exec = exec_must(engine, t->graph, &options);
    must(exec_set_params(exec, t->params));
    must(exec_forward(exec, trial_inputs(t)));
    must(exec_set_params(exec, params)); /* again, changed */
    must(exec_forward(exec, trial_inputs(t)));
    memcpy(y, exec_output(exec, 0), (size_t)net_count(t->graph, t->graph->output[0], t->batch) * sizeof *y);
    exec_destroy(&exec);
}

/* Engines train alike: parameters, moving statistics and what is inferred with them. Rounding grows over the
 * steps. */
static void engines_train_alike(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        struct trial *t = trial_of(NETS[i], 8, 80 + (uint64_t)i);
        const struct opgraph *g = t->graph;
        int64_t n = net_count(g, g->output[0], t->batch);
        struct params *first = NULL;
        float *y = calloc((size_t)n, sizeof *y), *y_first = calloc((size_t)n, sizeof *y);
        assert_true(y && y_first);
        for (int e = 0; e < engine_count(); e++) {
            struct params *params;
            must(params_clone(t->params, &params));
            train(engine_at(e), t, params, 2, 5);
            infer(engine_at(e), t, params, y);
            if (e == 0) {
                assert_memory_not_equal(params->data, t->params->data,
                                        (size_t)params->ntrainable * sizeof(float));
                must(params_clone(params, &first));
                memcpy(y_first, y, (size_t)n * sizeof *y);
            }
            for (int p = 0; p < g->nparams; p++) {
                char what[64];
                snprintf(what, sizeof what, "net %d, %s, parameter %d", i, engine_at(e)->name, p);
                assert_close(what, params_at(params, p), params_at(first, p), params->count[p], 1e-3);
            }
            assert_close("inference after training", y, y_first, n, 1e-3);
            params_destroy(&params);
        }
        params_destroy(&first);
        free(y);
        free(y_first);
        trial_destroy(t);
    }
}

/* The same bytes from the same run. */
static void repeatable(void **state) {
    (void)state;
    for (int i = 0; i < NNETS; i++) {
        struct trial *t = trial_of(NETS[i], 5, 90);
        for (int e = 0; e < engine_count(); e++)
            for (int threads = 1; threads <= 3; threads++) {
                struct params *params[2];
                for (int k = 0; k < 2; k++) {
                    must(params_clone(t->params, &params[k]));
                    train(engine_at(e), t, params[k], threads, 3);
                }
                assert_memory_equal(params[0]->data, params[1]->data,
                                    (size_t)params[0]->total * sizeof(float));
                params_destroy(&params[0]);
                params_destroy(&params[1]);
            }
        trial_destroy(t);
    }
}

/* Dense layers whose rows are several of each sample. */
static int dense_rows(struct opgraph *g) {
    int x =
        net_activation(g, net_dense(g, net_input(g, SHAPE(-1, 5, 37)), 70, true), ACTIVATION_TANH, 0, 0, 0);
    return net_dense(g, net_dense(g, x, 300, false), 33, true);
}
/* Convolutions with little or much to compute, in groups too. */
static int conv_rows(struct opgraph *g) {
    int x = net_conv(g, net_input(g, SHAPE(-1, 5, 5, 3)), 3, 3, 20, SAME);
    x = net_conv(g, x, 3, 3, 24, (struct window_options){.groups = 4, .same = true});
    x = net_conv(g, net_relu(g, x), 1, 1, 33, (struct window_options){.stride = {2, 2}});
    return net_conv(g, net_reduce(g, x, REDUCE_MEAN, 6, true), 1, 1, 7, (struct window_options){0});
}

/* A sample's result is the same wherever in the batch it stands. */
static void place_in_batch(void **state) {
    (void)state;
    enum { BATCH = 19 };
    static int (*const nets[])(struct opgraph *) = {residual_net, separable_net, concat_net,
                                                    dense_net,    dense_rows,    conv_rows};
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        struct trial *t = trial_of(nets[i], BATCH, 91);
        const struct opgraph *g = t->graph;
        int64_t n = net_count(g, g->input[0], 1), m = net_count(g, g->output[0], 1);
        for (int s = 1; s < BATCH; s++) memcpy(t->input[0] + s * n, t->input[0], (size_t)n * sizeof(float));
        for (int e = 0; e < engine_count(); e++)
            for (int threads = 1; threads <= 2; threads++) {
                struct exec_options options = {.batch = BATCH, .mode = EXEC_INFER, .threads = threads};
                struct exec *exec = exec_must(engine_at(e), g, &options);
                must(exec_set_params(exec, t->params));
                must(exec_forward(exec, trial_inputs(t)));
                const float *y = exec_output(exec, 0);
                for (int s = 1; s < BATCH; s++) assert_memory_equal(y, y + s * m, (size_t)m * sizeof *y);
                exec_destroy(&exec);
            }
        trial_destroy(t);
    }
}

/* Inference holds less than training, and values share memory. */
static void memory_is_shared(void **state) {
    (void)state;
    for (int e = 0; e < engine_count(); e++) {
        struct opgraph *g = net_create();
        int x = net_input(g, SHAPE(-1, 32, 32, 16));
        for (int i = 0; i < 20; i++)
            x = net_relu(g, net_pool(g, x, POOL_MEAN, 3, 3, (struct window_options){.same = true}));
        net_finish(g, 1, &x);
        struct exec *infers =
            exec_must(engine_at(e), g, &(struct exec_options){.batch = 4, .mode = EXEC_INFER, .threads = 1});
        struct exec *trains =
            exec_must(engine_at(e), g, &(struct exec_options){.batch = 4, .mode = EXEC_TRAIN, .threads = 1});
        size_t value = 4 * 32 * 32 * 16 * sizeof(float);
        assert_true(exec_memory(infers) <= 8 * value);
        assert_true(exec_memory(trains) > exec_memory(infers));
        exec_destroy(&infers);
        exec_destroy(&trains);
        opgraph_destroy(&g);
    }
}

/* ---- errors ---- */

static void must_fail(status error, enum status_code code) {
    assert_int_equal(status_code(error), code);
    assert_true(status_message(error)[0] != 0);
    status_drop(&error);
}

static void errors(void **state) {
    (void)state;
    for (int e = 0; e < engine_count(); e++) {
        const struct engine *engine = engine_at(e);
        struct exec_options options = {.batch = 2, .mode = EXEC_INFER, .threads = 1};
        struct trial *t = trial_of(residual_net, 2, 95);
        struct exec *exec = NULL;

        /* No samples. */
        options.batch = 0;
        must_fail(engine->compile(t->graph, &options, &exec), STATUS_INTERNAL);
        assert_null(exec);
        options.batch = 2;

        /* Parameters not given, or of another graph. */
        exec = exec_must(engine, t->graph, &options);
        must_fail(exec_forward(exec, trial_inputs(t)), STATUS_INTERNAL);
        struct opgraph *other = net_create();
        int y = dense_net(other);
        net_finish(other, 1, &y);
        struct params *params = net_params(other, 1);
        must_fail(exec_set_params(exec, params), STATUS_INTERNAL);

        /* Backward in inference, and before a forward. */
        must(exec_set_params(exec, t->params));
        must(exec_forward(exec, trial_inputs(t)));
        must_fail(exec_backward(exec, trial_weights(t), t->params), STATUS_INTERNAL);
        exec_destroy(&exec);
        options.mode = EXEC_TRAIN;
        exec = exec_must(engine, t->graph, &options);
        must(exec_set_params(exec, t->params));
        must_fail(exec_backward(exec, trial_weights(t), t->params), STATUS_INTERNAL);
        exec_destroy(&exec);
        params_destroy(&params);
        opgraph_destroy(&other);

        /* An image of unknown height. */
        for (int v = 0; v < t->graph->nvalues; v++)
            if (t->graph->value[v].rank == 4) t->graph->value[v].dim[1] = SHAPE_UNKNOWN;
        must_fail(engine->compile(t->graph, &options, &exec), STATUS_DATA);
        assert_null(exec);
        for (int v = 0; v < t->graph->nvalues; v++)
            if (t->graph->value[v].rank == 4) t->graph->value[v].dim[1] = 8;
        trial_destroy(t);

        /* A kernel that does not fit its input. */
        struct opgraph *g = net_create();
        y = net_dense(g, net_input(g, SHAPE(-1, 6)), 4, true);
        net_finish(g, 1, &y);
        g->param[0].shape.dim[0] = 7;
        must_fail(engine->compile(g, &options, &exec), STATUS_INTERNAL);
        assert_null(exec);
        opgraph_destroy(&g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(against_reference),
        cmocka_unit_test(fusions),
        cmocka_unit_test(all_values_are_outputs),
        cmocka_unit_test(taps),
        cmocka_unit_test(outputs_twice_and_without_gradient),
        cmocka_unit_test(unneeded_operations),
        cmocka_unit_test(gradients_reported),
        cmocka_unit_test(engines_train_alike),
        cmocka_unit_test(repeatable),
        cmocka_unit_test(place_in_batch),
        cmocka_unit_test(memory_is_shared),
        cmocka_unit_test(errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
