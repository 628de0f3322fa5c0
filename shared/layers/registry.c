/* All layer kinds.
 *
 * To add one: write shared/layers/<name>.c, which defines `const struct layer_kind layer_kind_<name>`, and
 * add X(<name>) below. Start from a kind that resembles it: relu.c (elementwise), dense.c (weights),
 * pooling.c (windows), merge.c (several inputs). What each entry of the kind must do is said in
 * shared/layer.h; what kinds share is in kind.h. Reading, writing and computing follow from the table;
 * nothing else knows a kind by name. Then give it a case in tests/shared/test_layers.c, and
 * cases of another program (tests/data/layers/README.md) with a line in shared/layer_coverage.c: a kind
 * without is noticed by tests/worker/test_layer_cases.c. */
#include "shared/layer.h"

#include <string.h>

#define LAYER_KINDS(X)                                                                                       \
    X(activation)                                                                                            \
    X(activity_regularization)                                                                               \
    X(add)                                                                                                   \
    X(additive_attention)                                                                                    \
    X(alpha_dropout)                                                                                         \
    X(attention)                                                                                             \
    X(average)                                                                                               \
    X(average_pooling1d)                                                                                     \
    X(average_pooling2d)                                                                                     \
    X(batch_normalization)                                                                                   \
    X(bidirectional)                                                                                         \
    X(concatenate)                                                                                           \
    X(conv1d)                                                                                                \
    X(conv1d_transpose)                                                                                      \
    X(conv2d)                                                                                                \
    X(conv2d_transpose)                                                                                      \
    X(cropping1d)                                                                                            \
    X(cropping2d)                                                                                            \
    X(cu_dnn_gru)                                                                                            \
    X(cu_dnn_lstm)                                                                                           \
    X(dense)                                                                                                 \
    X(depth_to_space)                                                                                        \
    X(depthwise_conv1d)                                                                                      \
    X(depthwise_conv2d)                                                                                      \
    X(dot)                                                                                                   \
    X(dropout)                                                                                               \
    X(einsum_dense)                                                                                          \
    X(elu)                                                                                                   \
    X(embedding)                                                                                             \
    X(flatten)                                                                                               \
    X(gaussian_dropout)                                                                                      \
    X(gaussian_noise)                                                                                        \
    X(global_average_pooling1d)                                                                              \
    X(global_average_pooling2d)                                                                              \
    X(global_max_pooling1d)                                                                                  \
    X(global_max_pooling2d)                                                                                  \
    X(group_normalization)                                                                                   \
    X(grouped_query_attention)                                                                               \
    X(gru)                                                                                                   \
    X(gru_cell)                                                                                              \
    X(identity)                                                                                              \
    X(input_layer)                                                                                           \
    X(layer_normalization)                                                                                   \
    X(layer_scale)                                                                                           \
    X(leaky_relu)                                                                                            \
    X(lstm)                                                                                                  \
    X(lstm_cell)                                                                                             \
    X(masking)                                                                                               \
    X(max_pooling1d)                                                                                         \
    X(max_pooling2d)                                                                                         \
    X(maximum)                                                                                               \
    X(minimum)                                                                                               \
    X(multi_head_attention)                                                                                  \
    X(multiply)                                                                                              \
    X(normalization)                                                                                         \
    X(permute)                                                                                               \
    X(prelu)                                                                                                 \
    X(random_brightness)                                                                                     \
    X(random_contrast)                                                                                       \
    X(random_flip)                                                                                           \
    X(random_height)                                                                                         \
    X(random_rotation)                                                                                       \
    X(random_translation)                                                                                    \
    X(random_width)                                                                                          \
    X(random_zoom)                                                                                           \
    X(relu)                                                                                                  \
    X(repeat_vector)                                                                                         \
    X(rescaling)                                                                                             \
    X(reshape)                                                                                               \
    X(resizing)                                                                                              \
    X(rms_normalization)                                                                                     \
    X(rnn)                                                                                                   \
    X(separable_conv1d)                                                                                      \
    X(separable_conv2d)                                                                                      \
    X(simple_rnn)                                                                                            \
    X(simple_rnn_cell)                                                                                       \
    X(softmax)                                                                                               \
    X(space_to_depth)                                                                                        \
    X(spatial_dropout1d)                                                                                     \
    X(spatial_dropout2d)                                                                                     \
    X(stacked_rnn_cells)                                                                                     \
    X(stochastic_depth)                                                                                      \
    X(subtract)                                                                                              \
    X(thresholded_relu)                                                                                      \
    X(time_distributed)                                                                                      \
    X(unit_normalization)                                                                                    \
    X(up_sampling1d)                                                                                         \
    X(up_sampling2d)                                                                                         \
    X(zero_padding1d)                                                                                        \
    X(zero_padding2d)

#define DECLARE(name) extern const struct layer_kind layer_kind_##name;
LAYER_KINDS(DECLARE)
#undef DECLARE

static const struct layer_kind *const kinds[] = {
#define ADDRESS(name) &layer_kind_##name,
    LAYER_KINDS(ADDRESS)
#undef ADDRESS
};

int layer_kind_count(void) {
    return (int)(sizeof kinds / sizeof kinds[0]);
}

const struct layer_kind *layer_kind_at(int i) {
    return kinds[i];
}

/* Names under which Keras had, or has, the same classes. */
static const struct {
    const char *name, *class_name;
} other_names[] = {
    {"AvgPool1D", "AveragePooling1D"},
    {"AvgPool2D", "AveragePooling2D"},
    {"BatchNormalizationV1", "BatchNormalization"}, /* TensorFlow 1.13 to 1.15 */
    {"BatchNormalizationV2", "BatchNormalization"},
    {"Convolution1D", "Conv1D"},
    {"Convolution1DTranspose", "Conv1DTranspose"},
    {"Convolution2D", "Conv2D"},
    {"Convolution2DTranspose", "Conv2DTranspose"},
    {"GlobalAvgPool1D", "GlobalAveragePooling1D"},
    {"GlobalAvgPool2D", "GlobalAveragePooling2D"},
    {"GlobalMaxPool1D", "GlobalMaxPooling1D"},
    {"GlobalMaxPool2D", "GlobalMaxPooling2D"},
    {"MaxPool1D", "MaxPooling1D"},
    {"MaxPool2D", "MaxPooling2D"},
    {"SeparableConvolution1D", "SeparableConv1D"},
    {"SeparableConvolution2D", "SeparableConv2D"},
    {"SyncBatchNormalization", "BatchNormalization"},
};

const struct layer_kind *layer_kind_find(const char *class_name) {
    for (size_t i = 0; i < sizeof other_names / sizeof *other_names; i++)
        if (!strcmp(other_names[i].name, class_name)) class_name = other_names[i].class_name;
    for (int i = 0; i < layer_kind_count(); i++)
        if (!strcmp(kinds[i]->class_name, class_name)) return kinds[i];
    return NULL;
}
