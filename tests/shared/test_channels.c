/* How channels pass through graphs: groups, classes, what is kept whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "graph_build.h"
#include "shared/channels.h"
#include "shared/rng.h"

static struct graph *begin(void) {
    struct graph *g;
    build_ok(graph_create("channels", &g));
    return g;
}

static int conv(struct graph *g, const char *name, int filters, int in) {
    char attrs[96];
    snprintf(attrs, sizeof attrs, "filters=%d kernel_size=3 padding=same", filters);
    return build_layer(g, "Conv2D", name, attrs, 1, &in);
}

static int on(struct graph *g, const char *class_name, const char *name, const char *attrs, int in) {
    return build_layer(g, class_name, name, attrs, 1, &in);
}

static struct channel_map *map_of(struct graph *g) {
    struct channel_map *map;
    build_ok(graph_infer(g));
    build_ok(channel_map_create(g, &map));
    return map;
}

static struct channel at(const struct graph *g, const struct channel_map *map, const char *layer, int i) {
    int width;
    const struct channel *c = channel_map_of(map, build_node(g, layer), &width);
    assert_in_range(i, 0, width - 1);
    return c[i];
}

static int group(const struct graph *g, const struct channel_map *map, const char *layer) {
    return at(g, map, layer, 0).group;
}

/* All of the layer's channels are in one group of `width`, channel i being class i. */
static void expect_straight(const struct graph *g, const struct channel_map *map, const char *layer,
                            int width) {
    int n;
    const struct channel *c = channel_map_of(map, build_node(g, layer), &n);
    assert_int_equal(n, width);
    assert_int_equal(channel_map_width(map, c[0].group), width);
    for (int i = 0; i < n; i++) {
        assert_int_equal(c[i].group, c[0].group);
        assert_int_equal(c[i].index, i);
    }
    assert_int_equal(channel_map_whole(map, build_node(g, layer), false), c[0].group);
}

static void end(struct graph *g, struct channel_map *map) {
    channel_map_destroy(&map);
    assert_null(map);
    graph_destroy(&g);
}

static void test_chain(void **state) {
    (void)state;
    struct graph *g = begin();
    int x = build_input(g, "x", "?,8,8,3");
    x = conv(g, "a", 6, x);
    x = on(g, "BatchNormalization", "a_bn", "", x);
    x = on(g, "ReLU", "a_relu", "", x);
    x = on(g, "MaxPooling2D", "pool", "", x);
    x = conv(g, "b", 5, x);
    x = on(g, "GlobalAveragePooling2D", "gap", "", x);
    x = on(g, "Dense", "head", "units=4 activation=softmax", x);
    build_output(g, x);
    struct channel_map *map = map_of(g);
    assert_int_equal(channel_map_groups(map), 4);
    expect_straight(g, map, "pool", 6);
    expect_straight(g, map, "gap", 5);
    assert_int_equal(group(g, map, "pool"), group(g, map, "a"));
    assert_int_equal(group(g, map, "gap"), group(g, map, "b"));
    assert_true(channel_map_fixed(map, group(g, map, "x")));
    assert_false(channel_map_fixed(map, group(g, map, "a")));
    assert_false(channel_map_fixed(map, group(g, map, "b")));
    assert_true(channel_map_fixed(map, group(g, map, "head")));
    end(g, map);
}

static void test_residual_ties(void **state) {
    (void)state;
    struct graph *g = begin();
    int x = build_input(g, "x", "?,8,8,3");
    int stem = conv(g, "stem", 6, x);
    int a = conv(g, "a", 9, stem), b = conv(g, "b", 6, a);
    int sum = build_layer(g, "Add", "sum", "", 2, (int[]){stem, b});
    int c = conv(g, "c", 6, sum);
    int sum2 = build_layer(g, "Add", "sum2", "", 2, (int[]){c, sum});
    build_output(g, conv(g, "last", 2, sum2));
    struct channel_map *map = map_of(g);
    assert_int_equal(channel_map_groups(map), 4); /* x, the trunk, a, last */
    const char *trunk[] = {"stem", "b", "sum", "c", "sum2"};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(group(g, map, trunk[i]), group(g, map, "stem"));
        expect_straight(g, map, trunk[i], 6);
    }
    assert_int_not_equal(group(g, map, "a"), group(g, map, "stem"));
    assert_false(channel_map_fixed(map, group(g, map, "stem")));
    end(g, map);
}

static void test_concatenate_keeps_groups_apart(void **state) {
    (void)state;
    struct graph *g = begin();
    int x = build_input(g, "x", "?,8,8,3");
    int a = conv(g, "a", 4, x), b = conv(g, "b", 6, x);
    int cat = build_layer(g, "Concatenate", "cat", "", 3, (int[]){a, b, a});
    build_output(g, conv(g, "last", 2, on(g, "BatchNormalization", "bn", "", cat)));
    struct channel_map *map = map_of(g);
    assert_int_equal(channel_map_groups(map), 4);
    for (int i = 0; i < 14; i++) {
        struct channel c = at(g, map, "bn", i), should = i < 4    ? at(g, map, "a", i)
                                                         : i < 10 ? at(g, map, "b", i - 4)
                                                                  : at(g, map, "a", i - 10);
        assert_int_equal(c.group, should.group);
        assert_int_equal(c.index, should.index);
    }
    assert_int_not_equal(group(g, map, "a"), group(g, map, "b"));
    end(g, map);
}

/* Adding one producer to two that were concatenated makes them one group, its classes in order. */
static void test_add_to_concatenation(void **state) {
    (void)state;
    struct graph *g = begin();
    int x = build_input(g, "x", "?,8,8,3");
    int a = conv(g, "a", 4, x), b = conv(g, "b", 6, x), c = conv(g, "c", 10, x);
    int cat = build_layer(g, "Concatenate", "cat", "", 2, (int[]){a, b});
    int sum = build_layer(g, "Add", "sum", "", 2, (int[]){c, cat});
    build_output(g, conv(g, "last", 2, sum));
    struct channel_map *map = map_of(g);
    assert_int_equal(channel_map_groups(map), 3);
    expect_straight(g, map, "sum", 10);
    expect_straight(g, map, "c", 10);
    assert_int_equal(at(g, map, "b", 2).index, 6);
    assert_int_equal(group(g, map, "a"), group(g, map, "b"));
    end(g, map);
}

static void test_flatten_and_depthwise_repeat(void **state) {
    (void)state;
    struct graph *g = begin();
    int x = build_input(g, "x", "?,4,4,3");
    x = conv(g, "a", 5, x);
    x = on(g, "DepthwiseConv2D", "dw", "kernel_size=3 padding=same depth_multiplier=2", x);
    x = on(g, "MaxPooling2D", "pool", "", x);
    x = on(g, "Flatten", "flat", "", x);
    build_output(g, on(g, "Dense", "head", "units=3", x));
    struct channel_map *map = map_of(g);
    int width;
    const struct channel *c = channel_map_of(map, build_node(g, "dw"), &width);
    assert_int_equal(width, 10);
    for (int i = 0; i < width; i++) { /* output channel c*m + j comes from input channel c */
        assert_int_equal(c[i].group, group(g, map, "a"));
        assert_int_equal(c[i].index, i / 2);
    }
    c = channel_map_of(map, build_node(g, "flat"), &width);
    assert_int_equal(width, 40);
    for (int i = 0; i < width; i++) assert_int_equal(c[i].index, i % 10 / 2);
    assert_int_equal(channel_map_whole(map, build_node(g, "dw"), false), -1); /* twice */
    assert_int_equal(channel_map_whole(map, build_node(g, "flat"), false), -1);
    assert_int_equal(channel_map_width(map, group(g, map, "a")), 5);
    end(g, map);
}

/* Squeeze and excitation: the gate is tied to what it multiplies, through a Reshape. */
static void test_squeeze_and_excitation(void **state) {
    (void)state;
    struct graph *g = begin();
    int x = build_input(g, "x", "?,4,4,3");
    int a = conv(g, "a", 8, x);
    int gate = on(g, "GlobalAveragePooling2D", "gap", "", a);
    gate = on(g, "Reshape", "reshape", "target_shape=1,1,8", gate);
    gate = on(g, "Conv2D", "reduce", "filters=2 kernel_size=1 activation=relu", gate);
    gate = on(g, "Conv2D", "expand", "filters=8 kernel_size=1 activation=sigmoid", gate);
    x = build_layer(g, "Multiply", "scale", "", 2, (int[]){a, gate});
    build_output(g, conv(g, "last", 2, x));
    struct channel_map *map = map_of(g);
    expect_straight(g, map, "reshape", 8);
    expect_straight(g, map, "expand", 8);
    expect_straight(g, map, "scale", 8);
    assert_int_equal(group(g, map, "expand"), group(g, map, "a"));
    assert_int_not_equal(group(g, map, "reduce"), group(g, map, "a"));
    end(g, map);
}

static void test_broadcast_and_fixed(void **state) {
    (void)state;
    struct graph *g = begin();
    int x = build_input(g, "x", "?,4,4,4");
    int a = conv(g, "a", 8, x), one = conv(g, "one", 1, x);
    int mul = build_layer(g, "Multiply", "mul", "", 2, (int[]){one, a});
    int grouped = on(g, "Conv2D", "grouped", "filters=6 kernel_size=1 groups=2", mul);
    int b = conv(g, "b", 5, grouped);
    int soft = on(g, "Softmax", "soft", "", b);
    int inner = on(g, "Conv2D", "inner", "filters=7 kernel_size=1 activation=softmax", conv(g, "c", 3, soft));
    build_output(g, conv(g, "last", 2, inner));
    struct channel_map *map = map_of(g);
    assert_int_equal(group(g, map, "mul"), group(g, map, "a"));
    assert_int_not_equal(group(g, map, "one"), group(g, map, "a"));
    const char *fixed[] = {"x", "one", "a", "grouped", "b", "soft", "inner", "last"};
    for (int i = 0; i < 8; i++) assert_true(channel_map_fixed(map, group(g, map, fixed[i])));
    assert_false(
        channel_map_fixed(map, group(g, map, "c"))); /* a softmax inside a layer leaves its input free */
    end(g, map);
}

static void test_layer_called_twice(void **state) {
    (void)state;
    struct graph *g = begin();
    int x = build_input(g, "x", "?,4,4,3");
    int a = conv(g, "a", 8, x), b = conv(g, "b", 8, x), first, second;
    int shared = build_uncalled(g, "Conv2D", "shared", "filters=6 kernel_size=1");
    build_ok(graph_add_node(g, shared, 1, &(struct edge){a, 0}, &first));
    build_ok(graph_add_node(g, shared, 1, &(struct edge){b, 0}, &second));
    build_output(g, conv(g, "p", 2, first));
    build_output(g, conv(g, "q", 2, second));
    struct channel_map *map = map_of(g);
    assert_int_equal(group(g, map, "a"), group(g, map, "b")); /* one kernel reads both */
    int width;
    const struct channel *c = channel_map_of(map, second, &width);
    assert_int_equal(width, 6);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(c[i].group, group(g, map, "shared"));
        assert_int_equal(c[i].index, i);
    }
    assert_int_equal(channel_map_width(map, group(g, map, "shared")), 6);
    assert_false(channel_map_fixed(map, group(g, map, "a")));
    end(g, map);
}

static void test_input_added_to_trunk_fixes_it(void **state) {
    (void)state;
    struct graph *g = begin();
    int x = build_input(g, "x", "?,4,4,3");
    int a = conv(g, "a", 3, x), b = conv(g, "b", 5, a);
    int sum = build_layer(g, "Add", "sum", "", 2, (int[]){x, a});
    build_output(g, build_layer(g, "Concatenate", "cat", "", 2, (int[]){sum, b}));
    struct channel_map *map = map_of(g);
    assert_true(channel_map_fixed(map, group(g, map, "a")));
    assert_true(channel_map_fixed(map, group(g, map, "b"))); /* part of the output */
    end(g, map);
}

/* What goes by channel by channel follows them; what mixes or moves them keeps them whole. */
static void test_which_layers_channels_pass(void **state) {
    (void)state;
    static const struct {
        const char *class_name, *attrs;
        bool passes;
    } cases[] = {
        {"PReLU", "shared_axes=1,2", true},
        {"PReLU", "", true},
        {"LayerScale", "projection_dim=6", true},
        {"LayerNormalization", "", true},
        {"LayerNormalization", "axis=1,2", true},
        {"RMSNormalization", "", true},
        {"UnitNormalization", "", true},
        {"GroupNormalization", "groups=-1", true},
        {"GroupNormalization", "groups=1", true},
        {"GroupNormalization", "groups=2", false},
        {"BatchNormalization", "axis=1", true},
        {"Normalization", "", true},
        {"Normalization", "axis=1,3", false},
        {"Normalization", "mean=1 variance=1", false},
        {"Cropping2D", "cropping=1", true},
        {"Resizing", "height=3 width=5", true},
        {"SpatialDropout2D", "rate=0.5", true},
        {"GaussianNoise", "stddev=1", true},
        {"Permute", "dims=2,1,3", true},
        {"Permute", "dims=3,1,2", false},
        {"DepthToSpace", "block_size=1", false},
        {"Softmax", "axis=1,2", true},
        {"Softmax", "axis=2,3", false},
        {"Activation", "activation=mish", true},
        {"Activation", "activation=log_softmax", false},
        {"ZeroPadding2D", "data_format=channels_first", false},
        {"MaxPooling2D", "data_format=channels_first", false},
        {"Conv2D", "filters=3 kernel_size=1 data_format=channels_first", false},
        {"DepthwiseConv2D", "kernel_size=1 data_format=channels_first", false},
        {"Flatten", "data_format=channels_first", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct graph *g = begin();
        int a = conv(g, "a", 6, build_input(g, "x", "?,8,8,3"));
        int b = on(g, cases[i].class_name, "b", cases[i].attrs, a);
        build_output(g, on(g, "Dense", "head", "units=2", b));
        struct channel_map *map = map_of(g);
        if (channel_map_fixed(map, group(g, map, "a")) == cases[i].passes)
            fail_msg("%s %s", cases[i].class_name, cases[i].attrs);
        if (cases[i].passes) {
            expect_straight(g, map, "b", 6);
            assert_int_equal(group(g, map, "b"), group(g, map, "a"));
        }
        end(g, map);
    }
    struct graph *g = begin();
    int x = conv(g, "a", 6, build_input(g, "x", "?,8,8,3"));
    x = on(g, "Conv2DTranspose", "up", "filters=4 kernel_size=2", x);
    build_output(g, on(g, "Dense", "head", "units=2", x));
    struct channel_map *map = map_of(g);
    assert_false(channel_map_fixed(map, group(g, map, "a")));
    assert_false(channel_map_fixed(map, group(g, map, "up")));
    assert_int_not_equal(group(g, map, "up"), group(g, map, "a"));
    end(g, map);
}

/* Units are free where the layer has no states of which others know. */
static void test_recurrent_units(void **state) {
    (void)state;
    struct graph *g = begin();
    int x = build_input(g, "x", "?,7,3");
    int a = on(g, "LSTM", "sequence", "units=6 return_sequences=true", x);
    int b = on(g, "GRU", "last", "units=5", a);
    int c = on(g, "LSTM", "states", "units=5 return_state=true", a);
    int d = build_layer(g, "LSTM", "given", "units=5", 3, (int[]){a, b, b});
    int e = build_layer(g, "Concatenate", "cat", "", 3, (int[]){b, c, d});
    build_output(g, on(g, "Dense", "d", "units=3", e));
    struct channel_map *map = map_of(g);
    expect_straight(g, map, "sequence", 6);
    assert_false(channel_map_fixed(map, group(g, map, "sequence")));
    assert_true(channel_map_fixed(map, group(g, map, "last"))); /* it is a state */
    assert_true(channel_map_fixed(map, group(g, map, "states")));
    assert_true(channel_map_fixed(map, group(g, map, "given")));
    end(g, map);
    g = begin();
    x = build_input(g, "x", "?,7,3");
    a = on(g, "SimpleRNN", "rnn", "units=6", x);
    build_output(g, on(g, "Dense", "d", "units=3", a));
    map = map_of(g);
    expect_straight(g, map, "rnn", 6);
    assert_false(channel_map_fixed(map, group(g, map, "rnn")));
    end(g, map);
}

static void expect_heads(const struct graph *g, const struct channel_map *map, const char *layer, int heads,
                         int *group) {
    int n;
    const struct channel *c = channel_map_inner(map, build_node(g, layer), &n);
    assert_int_equal(n, heads);
    assert_int_equal(channel_map_width(map, c[0].group), heads);
    assert_false(channel_map_fixed(map, c[0].group));
    for (int i = 0; i < n; i++) {
        assert_int_equal(c[i].group, c[0].group);
        assert_int_equal(c[i].index, i);
    }
    *group = c[0].group;
}

/* Heads are a group of their own for each layer, which its calls share; features are the query's, or as many
 * as the layer says. */
static void test_heads(void **state) {
    (void)state;
    struct graph *g = begin();
    int x = build_input(g, "x", "?,7,3"), groups[3], n;
    int a = on(g, "Dense", "a", "units=8", x), b = on(g, "Dense", "b", "units=6", x);
    int c = build_layer(g, "MultiHeadAttention", "tied", "num_heads=4 key_dim=2", 2, (int[]){a, b});
    int d, e = build_layer(g, "MultiHeadAttention", "wide", "num_heads=2 key_dim=2 output_shape=9", 2,
                           (int[]){c, c});
    build_ok(graph_add_node(g, graph_find_layer(g, "wide"), 2, (struct edge[]){{c, 0}, {c, 0}}, &d));
    int f = build_layer(g, "GroupedQueryAttention", "grouped",
                        "head_dim=2 num_query_heads=6 num_key_value_heads=3", 2, (int[]){d, d});
    int h = build_layer(g, "Concatenate", "cat", "", 2, (int[]){e, f});
    build_output(g, on(g, "Dense", "d", "units=3", h));
    struct channel_map *map = map_of(g);
    expect_heads(g, map, "tied", 4, &groups[0]);
    expect_heads(g, map, "wide", 2, &groups[1]);
    expect_heads(g, map, "grouped", 3, &groups[2]);
    const struct channel *second = channel_map_inner(map, d, &n);
    assert_int_equal(n, 2);
    for (int i = 0; i < n; i++) {
        assert_int_equal(second[i].group, groups[1]);
        assert_int_equal(second[i].index, i);
    }
    assert_true(groups[0] != groups[1] && groups[1] != groups[2] && groups[0] != groups[2]);
    assert_int_equal(group(g, map, "tied"), group(g, map, "a"));
    assert_false(channel_map_fixed(map, group(g, map, "a")));
    assert_true(channel_map_fixed(map, group(g, map, "b"))); /* not the query */
    assert_int_equal(group(g, map, "grouped"), group(g, map, "wide"));
    assert_false(channel_map_fixed(map, group(g, map, "wide")));
    channel_map_inner(map, a, &n);
    assert_int_equal(n, 0);
    end(g, map);
}

static void test_unknown_width(void **state) {
    (void)state;
    struct graph *g = begin();
    int x = build_input(g, "x", "?,?,4,3");
    int a = conv(g, "a", 4, x);
    build_output(g, on(g, "Flatten", "flat", "", a));
    struct channel_map *map = map_of(g);
    int width;
    channel_map_of(map, build_node(g, "flat"), &width);
    assert_int_equal(width, 0);
    assert_true(channel_map_fixed(map, group(g, map, "a")));
    end(g, map);
}

/* ---- what the map is for: any choice of classes must leave a model whose shapes fit ---- */

static int width_of(const struct graph *g, int node) {
    const struct shape *out = &g->node[node].out[0];
    return (int)out->dim[out->rank - 1];
}

/* A layer on one of the last nodes of (N,8,8,*), or two of them merged. */
static void grow_randomly(struct graph *g, struct rng *rng) {
    int last = g->nnodes - 1, a = last - (int)rng_below(rng, last < 4 ? (uint64_t)last : 4);
    char name[16], attrs[96];
    snprintf(name, sizeof name, "n%d", g->nnodes);
    build_output(g, last);
    build_ok(graph_infer(g)); /* for the widths */
    g->noutputs = 0;
    switch (rng_below(rng, 9)) {
    case 0:
        on(g, "BatchNormalization", name, "", last);
        break;
    case 1:
        snprintf(attrs, sizeof attrs, "kernel_size=3 padding=same depth_multiplier=%d",
                 1 + (int)rng_below(rng, 2));
        on(g, "DepthwiseConv2D", name, attrs, last);
        break;
    case 2:
        snprintf(attrs, sizeof attrs, "kernel_size=3 padding=same filters=%d depth_multiplier=%d",
                 2 + (int)rng_below(rng, 5), 1 + (int)rng_below(rng, 2));
        on(g, "SeparableConv2D", name, attrs, a);
        break;
    case 3:
        build_layer(g, "Concatenate", name, "", 2, (int[]){a, last});
        break;
    case 4:
        snprintf(attrs, sizeof attrs, "target_shape=8,8,%d", width_of(g, last));
        on(g, "Reshape", name, attrs, last);
        break;
    case 5:
        on(g, "Activation", name, rng_below(rng, 8) ? "activation=relu" : "activation=softmax", last);
        break;
    case 6:
        if (width_of(g, a) == width_of(g, last)) {
            build_layer(g, rng_below(rng, 2) ? "Add" : "Multiply", name, "", 2, (int[]){a, last});
            break;
        } /* fall through */
    default:
        conv(g, name, rng_below(rng, 2) ? width_of(g, a) : 2 + (int)rng_below(rng, 5), last);
        break;
    }
}

static void test_pruning_random_graphs(void **state) {
    (void)state;
    int pruned = 0;
    for (int trial = 0; trial < 300; trial++) {
        struct rng rng = rng_make(11, RNG_INIT, (uint64_t)trial);
        struct graph *g = begin();
        int x = build_input(g, "x", "?,8,8,3");
        conv(g, "first", 4, x);
        for (int i = 0; i < 12; i++) grow_randomly(g, &rng);
        int features = conv(g, "features", 5, g->nnodes - 1);
        build_output(g, on(g, "Dense", "head", "units=3", on(g, "Flatten", "flat", "", features)));
        struct channel_map *map = map_of(g);

        /* Keep class 0 of each group and any of the others. */
        bool keep[64][64];
        assert_in_range(channel_map_groups(map), 1, 64);
        for (int i = 0; i < channel_map_groups(map); i++) {
            assert_in_range(channel_map_width(map, i), 1, 64);
            for (int k = 0; k < channel_map_width(map, i); k++) {
                keep[i][k] = k == 0 || channel_map_fixed(map, i) || rng_below(&rng, 2);
                pruned += !keep[i][k];
            }
        }
        int width[64];
        for (int n = 0; n < g->nnodes; n++) {
            int all;
            const struct channel *c = channel_map_of(map, n, &all);
            width[n] = 0;
            for (int i = 0; i < all; i++) width[n] += keep[c[i].group][c[i].index];
        }
        for (int n = 0; n < g->nnodes; n++) {
            struct layer *layer = &g->layer[g->node[n].layer];
            if (layer->kind->set_width && width[n] != width_of(g, n))
                build_ok(layer->kind->set_width(layer, width[n]));
        }
        build_ok(graph_infer(g));
        for (int n = 0; n < g->nnodes; n++) assert_int_equal(width_of(g, n), width[n]);
        end(g, map);
    }
    assert_true(pruned > 1000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chain),
        cmocka_unit_test(test_residual_ties),
        cmocka_unit_test(test_concatenate_keeps_groups_apart),
        cmocka_unit_test(test_add_to_concatenation),
        cmocka_unit_test(test_flatten_and_depthwise_repeat),
        cmocka_unit_test(test_squeeze_and_excitation),
        cmocka_unit_test(test_broadcast_and_fixed),
        cmocka_unit_test(test_layer_called_twice),
        cmocka_unit_test(test_input_added_to_trunk_fixes_it),
        cmocka_unit_test(test_which_layers_channels_pass),
        cmocka_unit_test(test_recurrent_units),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_unknown_width),
        cmocka_unit_test(test_pruning_random_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
