/* Small nets with all that the compiler has to mind: batch norms that can be folded and that cannot, channels
 * that are tied, lined up and repeated, layers called again. Include after cmocka.h and graph_build.h. */
#ifndef GODWIT_TESTS_COORDINATOR_SOURCE_NETS_H
#define GODWIT_TESTS_COORDINATOR_SOURCE_NETS_H

static struct graph *begin(const char *shape, int *x) {
    struct graph *g = NULL;
    build_ok(graph_create("source", &g));
    *x = build_input(g, "input", shape);
    return g;
}

static int on(struct graph *g, const char *class_name, const char *name, const char *attrs, int in) {
    return build_layer(g, class_name, name, attrs, 1, &in);
}

static int join(struct graph *g, const char *class_name, const char *name, int a, int b) {
    return build_layer(g, class_name, name, "", 2, (int[]){a, b});
}

static int again(struct graph *g, const char *name, int in) {
    int node;
    build_ok(graph_add_node(g, graph_find_layer(g, name), 1, &(struct edge){in, 0}, &node));
    return node;
}

/* Convolutions with batch norm, with and without a bias; dense with batch norm. */
static struct graph *plain(void) {
    int x;
    struct graph *g = begin("-1,8,8,3", &x);
    x = on(g, "Conv2D", "c1", "filters=6 kernel_size=3 use_bias=false", x);
    x = on(g, "BatchNormalization", "n1", "", x);
    x = on(g, "ReLU", "r1", "", x);
    x = on(g, "Conv2D", "c2", "filters=8 kernel_size=3 strides=2 padding=same", x);
    x = on(g, "BatchNormalization", "n2", "epsilon=0.1 scale=false", x);
    x = on(g, "ReLU", "r2", "max_value=1", x);
    x = on(g, "GlobalAveragePooling2D", "pool", "", x);
    x = on(g, "Dense", "d1", "units=10", x);
    x = on(g, "BatchNormalization", "n3", "center=false", x);
    x = on(g, "Activation", "a3", "activation=tanh", x);
    x = on(g, "Dense", "d2", "units=5 activation=softmax", x);
    build_output(g, x);
    return g;
}

static struct graph *depthwise(void) {
    int x;
    struct graph *g = begin("-1,9,9,2", &x);
    x = on(g, "Conv2D", "c1", "filters=6 kernel_size=3", x);
    x = on(g, "ReLU", "r1", "", x);
    x = on(g, "DepthwiseConv2D", "w1", "kernel_size=3 use_bias=false padding=same", x);
    x = on(g, "BatchNormalization", "n1", "", x);
    x = on(g, "ReLU", "r2", "", x);
    x = on(g, "Conv2D", "c2", "filters=4 kernel_size=1 use_bias=false", x);
    x = on(g, "BatchNormalization", "n2", "", x);
    x = on(g, "DepthwiseConv2D", "w2", "kernel_size=3 depth_multiplier=3 strides=2", x);
    x = on(g, "BatchNormalization", "n3", "", x);
    x = on(g, "ReLU", "r3", "", x);
    x = on(g, "Conv2D", "c3", "filters=7 kernel_size=1", x);
    x = on(g, "Flatten", "flat", "", x);
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

static struct graph *separable(void) {
    int x;
    struct graph *g = begin("-1,8,8,3", &x);
    x = on(g, "SeparableConv2D", "s1", "filters=8 kernel_size=3 use_bias=false padding=same", x);
    x = on(g, "BatchNormalization", "n1", "", x);
    x = on(g, "ReLU", "r1", "", x);
    x = on(g, "MaxPooling2D", "p1", "pool_size=2", x);
    x = on(g, "SeparableConv2D", "s2", "filters=5 kernel_size=3", x);
    x = on(g, "BatchNormalization", "n2", "", x);
    x = on(g, "Flatten", "flat", "", x);
    x = on(g, "Dense", "d", "units=4", x);
    build_output(g, x);
    return g;
}

/* A residual net: the sums tie channels, and a batch norm after a sum stays. */
static struct graph *residual(void) {
    int x, y;
    struct graph *g = begin("-1,6,6,3", &x);
    x = on(g, "Conv2D", "c1", "filters=8 kernel_size=3 padding=same use_bias=false", x);
    x = on(g, "BatchNormalization", "n1", "", x);
    x = on(g, "ReLU", "r1", "", x);
    y = on(g, "Conv2D", "c2", "filters=6 kernel_size=3 padding=same use_bias=false", x);
    y = on(g, "BatchNormalization", "n2", "", y);
    y = on(g, "ReLU", "r2", "", y);
    y = on(g, "Conv2D", "c3", "filters=8 kernel_size=3 padding=same", y);
    y = on(g, "BatchNormalization", "n3", "", y);
    x = join(g, "Add", "add", x, y);
    x = on(g, "BatchNormalization", "n4", "", x);
    x = on(g, "ReLU", "r3", "", x);
    x = on(g, "Conv2D", "c4", "filters=8 kernel_size=1", x);
    x = on(g, "GlobalMaxPooling2D", "pool", "", x);
    x = on(g, "Dense", "d", "units=5", x);
    build_output(g, x);
    return g;
}

/* Batch norms that cannot be folded: on the input, after an activation, beside another reader, after a
 * convolution with an activation of its own. */
static struct graph *unfoldable(void) {
    int x, y;
    struct graph *g = begin("-1,6,6,2", &x);
    x = on(g, "BatchNormalization", "n1", "", x);
    x = on(g, "Conv2D", "c1", "filters=6 kernel_size=3 activation=relu", x);
    x = on(g, "BatchNormalization", "n2", "", x);
    x = on(g, "ReLU", "r2", "", x);
    x = on(g, "BatchNormalization", "n3", "", x);
    x = on(g, "Conv2D", "c2", "filters=6 kernel_size=1", x);
    y = on(g, "BatchNormalization", "n4", "", x);
    x = join(g, "Add", "add", x, y);
    x = on(g, "GlobalAveragePooling2D", "pool", "", x);
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

static struct graph *concatenated(void) {
    int x, a, b;
    struct graph *g = begin("-1,6,6,3", &x);
    a = on(g, "Conv2D", "c1", "filters=4 kernel_size=3 padding=same", x);
    a = on(g, "BatchNormalization", "n1", "", a);
    b = on(g, "Conv2D", "c2", "filters=6 kernel_size=1 use_bias=false", x);
    b = on(g, "BatchNormalization", "n2", "", b);
    x = join(g, "Concatenate", "cat", a, b);
    x = on(g, "ReLU", "r", "", x);
    x = on(g, "Conv2D", "c3", "filters=8 kernel_size=3 use_bias=false", x);
    x = on(g, "BatchNormalization", "n3", "", x);
    x = join(g, "Concatenate", "cat2", x, on(g, "Conv2D", "c4", "filters=2 kernel_size=1", x));
    x = on(g, "AveragePooling2D", "p", "pool_size=2", x);
    x = on(g, "Flatten", "flat", "", x);
    x = on(g, "Dense", "d", "units=6 activation=relu", x);
    x = on(g, "Dense", "d2", "units=3", x);
    build_output(g, x);
    return g;
}

/* Layers called more than once, and a batch norm that follows one of the calls. */
static struct graph *shared(void) {
    int x, y;
    struct graph *g = begin("-1,6,6,2", &x);
    x = on(g, "Conv2D", "c1", "filters=6 kernel_size=3", x);
    x = on(g, "Conv2D", "c2", "filters=6 kernel_size=3 padding=same", x);
    x = on(g, "BatchNormalization", "n2", "", x);
    x = on(g, "ReLU", "r", "", x);
    y = again(g, "c2", x);
    y = again(g, "n2", y);
    x = join(g, "Add", "add", x, y);
    x = on(g, "Conv2D", "c3", "filters=4 kernel_size=1", x);
    x = again(g, "r", x);
    x = on(g, "GlobalAveragePooling2D", "pool", "", x);
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

/* Squeeze and excitation: a Reshape and a product. */
static struct graph *excited(void) {
    int x, y;
    struct graph *g = begin("-1,6,6,2", &x);
    x = on(g, "Conv2D", "c1", "filters=8 kernel_size=3 use_bias=false", x);
    x = on(g, "BatchNormalization", "n1", "", x);
    x = on(g, "ReLU", "r", "", x);
    y = on(g, "GlobalAveragePooling2D", "squeeze", "", x);
    y = on(g, "Dense", "e1", "units=4 activation=relu", y);
    y = on(g, "Dense", "e2", "units=8 activation=sigmoid", y);
    y = on(g, "Reshape", "reshape", "target_shape=1,1,8", y);
    x = join(g, "Multiply", "times", x, y);
    x = on(g, "Conv2D", "c2", "filters=4 kernel_size=3", x);
    x = on(g, "Flatten", "flat", "", x);
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

/* The output itself is a folded batch norm. */
static struct graph *ends_in_norm(void) {
    int x;
    struct graph *g = begin("-1,6", &x);
    x = on(g, "Dense", "d1", "units=8 use_bias=false", x);
    x = on(g, "BatchNormalization", "n1", "", x);
    x = on(g, "Dropout", "drop", "rate=0.5", x);
    x = on(g, "Dense", "d2", "units=3", x);
    x = on(g, "BatchNormalization", "n2", "", x);
    build_output(g, x);
    return g;
}

/* Transposed convolutions, whose kernels have the output's channels before the input's. */
static struct graph *transposed(void) {
    int x;
    struct graph *g = begin("-1,6,6,2", &x);
    x = on(g, "Conv2D", "c1", "filters=8 kernel_size=3 strides=2 padding=same use_bias=false", x);
    x = on(g, "BatchNormalization", "n1", "", x);
    x = on(g, "ReLU", "r1", "", x);
    x = on(g, "Conv2DTranspose", "t1", "filters=6 kernel_size=3 strides=2 padding=same use_bias=false", x);
    x = on(g, "BatchNormalization", "n2", "", x);
    x = on(g, "ReLU", "r2", "", x);
    x = on(g, "Conv2DTranspose", "t2", "filters=6 kernel_size=2 activation=relu", x);
    x = on(g, "Conv2D", "c2", "filters=4 kernel_size=3 padding=same", x);
    x = on(g, "GlobalAveragePooling2D", "pool", "", x);
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

/* Sequences: kernels of three axes in files, of four in operations. */
static struct graph *sequence(void) {
    int x;
    struct graph *g = begin("-1,16,3", &x);
    x = on(g, "Conv1D", "c1", "filters=8 kernel_size=3 padding=causal dilation_rate=2 use_bias=false", x);
    x = on(g, "BatchNormalization", "n1", "", x);
    x = on(g, "ReLU", "r1", "", x);
    x = on(g, "DepthwiseConv1D", "w1", "kernel_size=3 depth_multiplier=2", x);
    x = on(g, "BatchNormalization", "n2", "", x);
    x = on(g, "ReLU", "r2", "", x);
    x = on(g, "MaxPooling1D", "p1", "", x);
    x = on(g, "SeparableConv1D", "s1", "filters=6 kernel_size=3 padding=same", x);
    x = on(g, "BatchNormalization", "n3", "", x);
    x = on(g, "ReLU", "r3", "", x);
    x = on(g, "Conv1DTranspose", "t1", "filters=6 kernel_size=3 strides=2 padding=same", x);
    x = on(g, "BatchNormalization", "n4", "", x);
    x = on(g, "ReLU", "r4", "", x);
    x = on(g, "GlobalAveragePooling1D", "pool", "", x);
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

/* Channels that come first are kept whole; batch norms over them are folded, over the width not. */
static struct graph *channels_come_first(void) {
    int x;
    struct graph *g = begin("-1,3,6,6", &x);
    x = on(g, "Conv2D", "c1", "filters=4 kernel_size=3 use_bias=false data_format=channels_first", x);
    x = on(g, "BatchNormalization", "n1", "axis=1", x);
    x = on(g, "ReLU", "r1", "", x);
    x = on(g, "Conv2D", "c2", "filters=4 kernel_size=1 data_format=channels_first", x);
    x = on(g, "BatchNormalization", "n2", "", x);
    x = on(g, "ReLU", "r2", "", x);
    x = on(g, "Flatten", "flat", "data_format=channels_first", x);
    x = on(g, "Dense", "d1", "units=8 activation=relu", x);
    x = on(g, "Dense", "d2", "units=3", x);
    build_output(g, x);
    return g;
}

/* Weights for each channel that channels pass by, and a batch norm of another axis than theirs. */
static struct graph *passed(void) {
    int x;
    struct graph *g = begin("-1,6,6,3", &x);
    x = on(g, "Normalization", "norm", "", x);
    x = on(g, "BatchNormalization", "n1", "axis=1", x);
    x = on(g, "Conv2D", "c1", "filters=8 kernel_size=3", x);
    x = on(g, "PReLU", "p1", "shared_axes=1,2", x);
    x = on(g, "LayerScale", "scale", "projection_dim=8", x);
    x = on(g, "GroupNormalization", "group", "groups=-1 epsilon=0.1", x);
    x = on(g, "DepthwiseConv2D", "w1", "kernel_size=3 padding=same", x);
    x = on(g, "PReLU", "p2", "", x);
    x = on(g, "Conv2D", "c2", "filters=4 kernel_size=3", x);
    x = on(g, "Flatten", "flat", "", x);
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

/* Recurrent layers, read by a convolution, by each other and by dense layers. */
static struct graph *recurrent_layers(void) {
    int x;
    struct graph *g = begin("-1,7,3", &x);
    x = on(g, "Conv1D", "c1", "filters=6 kernel_size=3 padding=same", x);
    x = on(g, "LSTM", "lstm", "units=8 return_sequences=true", x);
    x = on(g, "GRU", "gru", "units=8 return_sequences=true reset_after=true", x);
    x = on(g, "Conv1D", "c2", "filters=6 kernel_size=2", x);
    x = on(g, "GRU", "before", "units=6 return_sequences=true go_backwards=true use_bias=false", x);
    x = on(g, "SimpleRNN", "rnn", "units=8", x);
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

/* States that are given, and read: units are kept whole, what they read is not. */
static struct graph *with_states(void) {
    int x, pool, h, c;
    struct graph *g = begin("-1,7,3", &x);
    x = on(g, "Conv1D", "c1", "filters=8 kernel_size=3 padding=same", x);
    pool = on(g, "GlobalAveragePooling1D", "pool", "", x);
    h = on(g, "Dense", "h", "units=6 activation=tanh", pool);
    c = on(g, "Dense", "c", "units=6", pool);
    x = build_layer(g, "LSTM", "lstm", "units=6 return_sequences=true return_state=true go_backwards=true", 3,
                    (int[]){x, h, c});
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

/* Both ways through a sequence: units are kept whole, what they read is not. */
static struct graph *both_ways(void) {
    int x;
    struct graph *g = begin("-1,7,3", &x);
    x = on(g, "Conv1D", "c1", "filters=8 kernel_size=3 padding=same", x);
    x = on(g, "Bidirectional", "both", "merge_mode=concat", x);
    build_inner(g, x, "layer", "LSTM", "units=4 return_sequences=true");
    x = on(g, "Conv1D", "c2", "filters=6 kernel_size=2", x);
    x = on(g, "GlobalAveragePooling1D", "pool", "", x);
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

static int attend(struct graph *g, const char *class_name, const char *name, const char *attrs, int query,
                  int value) {
    return build_layer(g, class_name, name, attrs, 2, (int[]){query, value});
}

/* A transformer's encoder, but for its norms: what is added ties the model's channels, heads are of their
 * own. */
static struct graph *encoder(void) {
    int x, y;
    struct graph *g = begin("-1,6,5", &x);
    x = on(g, "Dense", "embed", "units=8", x);
    y = attend(g, "MultiHeadAttention", "mha", "num_heads=4 key_dim=3 value_dim=2", x, x);
    x = join(g, "Add", "add", x, y);
    y = on(g, "Dense", "d1", "units=12 activation=relu", x);
    y = on(g, "Dense", "d2", "units=8", y);
    x = join(g, "Add", "add2", x, y);
    x = on(g, "GlobalAveragePooling1D", "pool", "", x);
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

/* Queries from elsewhere than keys and values; heads in groups; an output of its own width. */
static struct graph *crossed(void) {
    int x, a, b;
    struct graph *g = begin("-1,6,5", &x);
    a = on(g, "Dense", "a", "units=8", x);
    b = on(g, "Dense", "b", "units=6", x);
    a = attend(g, "MultiHeadAttention", "wide", "num_heads=2 key_dim=3 output_shape=10", a, b);
    a = on(g, "Dense", "c", "units=8", a);
    a = attend(g, "GroupedQueryAttention", "grouped",
               "head_dim=2 num_query_heads=8 num_key_value_heads=4 use_bias=false", a, a);
    x = on(g, "GlobalAveragePooling1D", "pool", "", a);
    x = on(g, "Dense", "d", "units=3", x);
    build_output(g, x);
    return g;
}

static const struct net {
    const char *name;
    struct graph *(*build)(void);
    int norms; /* that stay */
} nets[] = {
    {"plain", plain, 0},
    {"depthwise", depthwise, 0},
    {"separable", separable, 0},
    {"residual", residual, 1},
    {"unfoldable", unfoldable, 4},
    {"concatenated", concatenated, 0},
    {"shared", shared, 1},
    {"excited", excited, 0},
    {"ends_in_norm", ends_in_norm, 0},
    {"transposed", transposed, 0},
    {"sequence", sequence, 0},
    {"channels_come_first", channels_come_first, 1},
    {"passed", passed, 1},
    {"recurrent", recurrent_layers, 0},
    {"with_states", with_states, 0},
    {"both_ways", both_ways, 0},
    {"encoder", encoder, 0},
    {"crossed", crossed, 0},
};
#define NNETS (int)(sizeof nets / sizeof *nets)

#endif
