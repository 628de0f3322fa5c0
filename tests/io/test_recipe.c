/* Conversions of recurrent layers' and 1-D kernels, against NumPy's definitions spelled out. */
#include "io/io_testing.h"

#include "io/keras/recipe.h"

#define UNITS 3
#define IN 4

/* An LSTM (4 gates) or GRU (3) as shape inference leaves it, weights of which begin at `first`. */
static struct layer recurrent(int gates, int first, bool reset_after) {
    struct layer layer = {.nweights = first + 3};
    struct weight *weight = layer.weight + first;
    for (int i = 0; i < first; i++)
        layer.weight[i] = (struct weight){.name = "gamma", .shape = SHAPE(5), .trainable = true};
    weight[0] = (struct weight){.name = "kernel", .shape = SHAPE(IN, gates * UNITS), .path = "cell"};
    weight[1] =
        (struct weight){.name = "recurrent_kernel", .shape = SHAPE(UNITS, gates * UNITS), .path = "cell"};
    weight[2] = (struct weight){.name = "bias", .path = "cell"};
    weight[2].shape = reset_after ? SHAPE(2, gates * UNITS) : SHAPE(gates * UNITS);
    return layer;
}

static void gates_are_counted(void **state) {
    (void)state;
    struct layer lstm = recurrent(4, 0, false), gru = recurrent(3, 2, true), other = recurrent(4, 0, false);
    assert_int_equal(recipe_gates(&lstm, 0), 4);
    assert_int_equal(recipe_gates(&lstm, 1), 0);
    assert_int_equal(recipe_gates(&gru, 0), 0);
    assert_int_equal(recipe_gates(&gru, 2), 3);
    strcpy(other.weight[2].path, "backward_layer/cell");
    assert_int_equal(recipe_gates(&other, 0), 0);
    other = recurrent(4, 0, false);
    other.nweights = 2; /* no bias */
    assert_int_equal(recipe_gates(&other, 0), 0);
}

/* func of one gate's kernel (rows, UNITS): kernel.T.reshape(kernel.shape, order="F"). */
static void reshape_transposed(int rows, const float *kernel, float *out) {
    float transposed[UNITS][IN], flat[UNITS * IN];
    int n = 0;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < UNITS; j++) transposed[j][i] = kernel[i * UNITS + j];
    for (int i = 0; i < rows; i++) /* in Fortran's order the first axis runs fastest */
        for (int j = 0; j < UNITS; j++) flat[n++] = transposed[j][i];
    n = 0;
    for (int j = 0; j < UNITS; j++)
        for (int i = 0; i < rows; i++) out[i * UNITS + j] = flat[n++];
}

/* np.hstack([func(k) for k in np.hsplit(kernels, gates)]) */
static void transform_kernels(int rows, int gates, const float *kernels, float *out) {
    for (int g = 0; g < gates; g++) {
        float kernel[IN * UNITS], converted[IN * UNITS];
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < UNITS; j++)
                kernel[i * UNITS + j] = kernels[i * gates * UNITS + g * UNITS + j];
        reshape_transposed(rows, kernel, converted);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < UNITS; j++) out[i * gates * UNITS + g * UNITS + j] = converted[i * UNITS + j];
    }
}

static void cudnn_is_told_by_its_bias(void **state) {
    (void)state;
    for (int gates = 3; gates <= 4; gates++) {
        struct layer layer = recurrent(gates, 1, gates == 3);
        struct recipe recipe[3];
        struct shape stored[3] = {SHAPE(IN, gates * UNITS), SHAPE(UNITS, gates * UNITS),
                                  SHAPE(2 * gates * UNITS)};
        float from[2 * 4 * UNITS * IN], values[4 * UNITS * IN], expected[4 * UNITS * IN];
        for (int i = 0; i < 2 * 4 * UNITS * IN; i++) from[i] = (float)(i * i % 101);
        assert_true(recipe_cudnn(&layer, 1, stored, recipe));

        recipe_apply(&recipe[0], &layer.weight[1].shape, &stored[0], from, values);
        transform_kernels(IN, gates, from, expected);
        assert_memory_equal(values, expected, (size_t)(IN * gates * UNITS) * sizeof *values);

        recipe_apply(&recipe[1], &layer.weight[2].shape, &stored[1], from, values);
        for (int i = 0; i < UNITS; i++) /* each gate's k.T */
            for (int g = 0; g < gates; g++)
                for (int j = 0; j < UNITS; j++)
                    assert_true(values[(i * gates + g) * UNITS + j] == from[(j * gates + g) * UNITS + i]);

        recipe_apply(&recipe[2], &layer.weight[3].shape, &stored[2], from, values);
        for (int i = 0; i < gates * UNITS; i++) {
            if (gates == 4) assert_true(values[i] == from[i] + from[gates * UNITS + i]);
            else assert_true(values[i] == from[i] && values[gates * UNITS + i] == from[gates * UNITS + i]);
        }

        stored[2] = layer.weight[3].shape; /* Keras's own */
        assert_false(recipe_cudnn(&layer, 1, stored, recipe));
        layer = recurrent(gates, 1, false);
        stored[2] = SHAPE(2 * gates * UNITS);
        /* A GRU that resets before it multiplies has no form in cuDNN. */
        assert_int_equal(recipe_cudnn(&layer, 1, stored, recipe), gates == 4);
    }
}

static void gates_of_keras1_are_joined(void **state) {
    (void)state;
    struct recipe recipe = {.conversion = CONVERT_GATES, .gates = 4};
    float from[4 * IN * UNITS], values[4 * IN * UNITS];
    for (int i = 0; i < 4 * IN * UNITS; i++) from[i] = (float)i;
    recipe_apply(&recipe, &SHAPE(IN, 4 * UNITS), &SHAPE(IN, UNITS), from, values);
    for (int i = 0; i < IN; i++) /* np.concatenate(parts, axis=-1) */
        for (int g = 0; g < 4; g++)
            for (int j = 0; j < UNITS; j++)
                assert_true(values[i * 4 * UNITS + g * UNITS + j] == from[g * IN * UNITS + i * UNITS + j]);
    recipe_apply(&recipe, &SHAPE(4 * UNITS), &SHAPE(UNITS), from, values);
    for (int i = 0; i < 4 * UNITS; i++) assert_true(values[i] == from[i]);
    /* Stored i, c, f, o; wanted i, f, c, o. */
    static const int lstm[] = {0, 2, 1, 3};
    for (int g = 0; g < 4; g++) assert_int_equal(recipe_gate(4, g), lstm[g]);
    for (int g = 0; g < 3; g++) assert_int_equal(recipe_gate(3, g), g);
}

static void kernels_in_one_dimension(void **state) {
    (void)state;
    enum { K = 3, M = 2 };
    struct layer layer = {.nweights = 1};
    struct recipe recipe;
    float from[K * IN * M], values[K * IN * M];
    static const struct attr_spec no_attrs[1];
    static const struct layer_kind kind = {.class_name = "Conv1D", .attrs = no_attrs};
    layer.kind = &kind;
    layer.weight[0] = (struct weight){
        .name = "kernel", .shape = SHAPE(K, IN, M), .in_axis = 1, .out_axis = 2, .trainable = true};
    for (int i = 0; i < K * IN * M; i++) from[i] = (float)i;

    /* (filter_length, 1, input_dim, nb_filter): weights[0][:, 0, :, :] */
    const struct origin keras1 = {.keras_version = 1}, theano = {.keras_version = 1, .theano = true};
    assert_success(recipe_choose(&keras1, &layer, 0, &SHAPE(K, 1, IN, M), &recipe));
    recipe_apply(&recipe, &layer.weight[0].shape, &SHAPE(K, 1, IN, M), from, values);
    assert_memory_equal(values, from, sizeof from);
    /* (nb_filter, input_dim, filter_length, 1): transposed by (2, 3, 1, 0) first */
    for (int flip = 0; flip < 2; flip++) {
        assert_success(recipe_choose(flip ? &theano : &keras1, &layer, 0, &SHAPE(M, IN, K, 1), &recipe));
        recipe_apply(&recipe, &layer.weight[0].shape, &SHAPE(M, IN, K, 1), from, values);
        for (int k = 0; k < K; k++)
            for (int i = 0; i < IN; i++)
                for (int o = 0; o < M; o++)
                    assert_true(values[(k * IN + i) * M + o] ==
                                from[(o * IN + i) * K + (flip ? K - 1 - k : k)]);
    }
    assert_error(recipe_choose(&keras1, &layer, 0, &SHAPE(K, 2, IN, M), &recipe), STATUS_DATA, "has shape");
    assert_error(recipe_choose(&(struct origin){.keras_version = 2}, &layer, 0, &SHAPE(K, 1, IN, M), &recipe),
                 STATUS_DATA, "has shape (3, 1, 4, 2), but the topology needs (3, 4, 2)");
}

/* Keras 1 has a transposed convolution's kernel as (rows, columns, stack_size, filters) or (filters,
 * stack_size, rows, columns); since Keras 2 it is (rows, columns, filters, stack_size). */
static void transposed_convolutions(void **state) {
    (void)state;
    enum { H = 2, W = 2, F = 3, S = 5 };
    struct layer layer = {.nweights = 1};
    struct recipe recipe;
    float from[H * W * F * S], values[H * W * F * S];
    static const struct attr_spec no_attrs[1];
    static const struct layer_kind kind = {.class_name = "Conv2DTranspose", .attrs = no_attrs};
    const struct origin keras1 = {.keras_version = 1};
    layer.kind = &kind;
    layer.weight[0] = (struct weight){
        .name = "kernel", .shape = SHAPE(H, W, F, S), .in_axis = 3, .out_axis = 2, .trainable = true};
    for (int i = 0; i < H * W * F * S; i++) from[i] = (float)i;
    const struct shape stored[] = {SHAPE(H, W, S, F), SHAPE(F, S, H, W)};
    for (int first = 0; first < 2; first++) {
        assert_success(recipe_choose(&keras1, &layer, 0, &stored[first], &recipe));
        recipe_apply(&recipe, &layer.weight[0].shape, &stored[first], from, values);
        for (int y = 0; y < H; y++)
            for (int x = 0; x < W; x++)
                for (int f = 0; f < F; f++)
                    for (int s = 0; s < S; s++)
                        assert_true(
                            values[((y * W + x) * F + f) * S + s] ==
                            from[first ? ((f * S + s) * H + y) * W + x : ((y * W + x) * S + s) * F + f]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gates_are_counted),          cmocka_unit_test(cudnn_is_told_by_its_bias),
        cmocka_unit_test(gates_of_keras1_are_joined), cmocka_unit_test(kernels_in_one_dimension),
        cmocka_unit_test(transposed_convolutions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
