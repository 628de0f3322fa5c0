/* Builds operation graphs for tests: each function appends one operation, with parameters and the output's
 * shape worked out here, and returns the new value. All fail the test on an error. */
#ifndef GODWIT_TESTS_WORKER_NETS_H
#define GODWIT_TESTS_WORKER_NETS_H

#include "worker/engine.h"

/* Zeros mean the usual: stride and dilation 1, no padding, one group, a bias. */
struct window_options {
    int stride[2], dilation[2], before[2], after[2];
    bool same; /* padding by the "same" rule */
    int groups;
    bool no_bias;
};

struct opgraph *net_create(void);
int net_input(struct opgraph *g, struct shape shape); /* dimension 0 is ignored */
int net_conv(struct opgraph *g, int x, int height, int width, int filters, struct window_options o);
int net_depthwise(struct opgraph *g, int x, int height, int width, int multiplier, struct window_options o);
/* A recurrent layer on x (N,T,C), with the inputs that `r` asks for after it in `more`. Parameters: kernel,
 * recurrent kernel, [bias]. */
int net_recurrent(struct opgraph *g, int x, int units, const struct recurrent *r, const int *more, bool bias);
/* To an image of height out[0] and width out[1]: the options are those of the convolution back from it. */
int net_conv_transpose(struct opgraph *g, int x, int height, int width, int filters, const int64_t out[2],
                       struct window_options o);
int net_dense(struct opgraph *g, int x, int units, bool bias);
int net_batch_norm(struct opgraph *g, int x, bool gamma, bool beta);
int net_batch_norm_fixed(struct opgraph *g, int x);
int net_layer_norm(struct opgraph *g, int x, unsigned axes, bool gamma, bool beta);
int net_scale(struct opgraph *g, int x, bool gamma, bool beta);
int net_prelu(struct opgraph *g, int x, struct shape alpha);
int net_activation(struct opgraph *g, int x, enum activation kind, float alpha, float beta, float gamma);
int net_relu(struct opgraph *g, int x);
int net_softmax(struct opgraph *g, int x, int axis);
int net_softmax_causal(struct opgraph *g, int x);
int net_binary(struct opgraph *g, enum binary kind, int a, int b);
int net_matmul(struct opgraph *g, int a, int b, bool transpose_a, bool transpose_b, float scale);
int net_concat(struct opgraph *g, int axis, int n, const int *x);
int net_pool(struct opgraph *g, int x, enum pool kind, int height, int width, struct window_options o);
int net_reduce(struct opgraph *g, int x, enum reduce kind, unsigned axes, bool keepdims);
int net_pad(struct opgraph *g, int x, const int *before, const int *after);
/* Per axis; `n` elements of each. */
int net_slice(struct opgraph *g, int x, const int *start, const int *step, const int *n);
int net_transpose(struct opgraph *g, int x, const int *axis);
int net_embedding(struct opgraph *g, int ids, int rows, int width);
int net_resize(struct opgraph *g, int x, enum resize kind, int height, int width);
int net_affine(struct opgraph *g, int x, int n, const float *scale, const float *offset);
int net_reshape(struct opgraph *g, int x, struct shape shape);
int net_dropout(struct opgraph *g, int x, float rate);
/* An operation again with the parameters of the one that computes `like` (shared weights). */
int net_again(struct opgraph *g, int like, int x);
/* All inputs, in the order they were added, and one output or several. */
void net_finish(struct opgraph *g, int noutputs, const int *outputs);

/* Random parameters: kernels scaled by their fan-in, variances positive. */
struct params *net_params(const struct opgraph *g, uint64_t seed);
/* Normal values, owned. */
float *random_floats(int64_t n, uint64_t seed);

/* Elements of a value for a batch. */
int64_t net_count(const struct opgraph *g, int value, int64_t batch);

/* Fails the test with the message of an error. */
void must(status error);

#endif
