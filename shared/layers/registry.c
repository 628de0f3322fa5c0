/* All layer kinds.
 *
 * To add one: write shared/layers/<name>.c, which defines `const struct layer_kind layer_kind_<name>`, and
 * add X(<name>) below. Start from a kind that resembles it: relu.c (elementwise), dense.c (weights),
 * pooling2d.c (windows), merge.c (several inputs). What each entry of the kind must do is said in
 * shared/layer.h; what kinds share is in kind.h. Reading, writing and computing follow from the table;
 * nothing else knows a kind by name. Then give it a case in tests/shared/test_layers.c. */
#include "shared/layer.h"

#include <string.h>

#define LAYER_KINDS(X)                                                                                       \
    X(activation)                                                                                            \
    X(add)                                                                                                   \
    X(additive_attention)                                                                                    \
    X(attention)                                                                                             \
    X(average_pooling2d)                                                                                     \
    X(batch_normalization)                                                                                   \
    X(bidirectional)                                                                                         \
    X(concatenate)                                                                                           \
    X(conv2d)                                                                                                \
    X(cu_dnn_gru)                                                                                            \
    X(cu_dnn_lstm)                                                                                           \
    X(dense)                                                                                                 \
    X(depthwise_conv2d)                                                                                      \
    X(dropout)                                                                                               \
    X(einsum_dense)                                                                                          \
    X(elu)                                                                                                   \
    X(embedding)                                                                                             \
    X(flatten)                                                                                               \
    X(global_average_pooling2d)                                                                              \
    X(global_max_pooling2d)                                                                                  \
    X(grouped_query_attention)                                                                               \
    X(gru)                                                                                                   \
    X(gru_cell)                                                                                              \
    X(input_layer)                                                                                           \
    X(leaky_relu)                                                                                            \
    X(lstm)                                                                                                  \
    X(lstm_cell)                                                                                             \
    X(masking)                                                                                               \
    X(max_pooling2d)                                                                                         \
    X(maximum)                                                                                               \
    X(minimum)                                                                                               \
    X(multi_head_attention)                                                                                  \
    X(multiply)                                                                                              \
    X(relu)                                                                                                  \
    X(rescaling)                                                                                             \
    X(reshape)                                                                                               \
    X(rnn)                                                                                                   \
    X(separable_conv2d)                                                                                      \
    X(simple_rnn)                                                                                            \
    X(simple_rnn_cell)                                                                                       \
    X(softmax)                                                                                               \
    X(stacked_rnn_cells)                                                                                     \
    X(subtract)                                                                                              \
    X(time_distributed)                                                                                      \
    X(up_sampling2d)                                                                                         \
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

const struct layer_kind *layer_kind_find(const char *class_name) {
    for (int i = 0; i < layer_kind_count(); i++)
        if (!strcmp(kinds[i]->class_name, class_name)) return kinds[i];
    return NULL;
}
