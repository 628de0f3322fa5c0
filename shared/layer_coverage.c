#include "shared/layer_coverage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* X(class, backward, against), sorted; tests/worker/test_layer_cases.c says what a line should be. */
#define COVERAGE(X)                                                                                          \
    X("Activation", true, "PyTorch, TensorFlow.js")                                                          \
    X("ActivityRegularization", true, "PyTorch")                                                             \
    X("Add", true, "PyTorch, TensorFlow.js")                                                                 \
    X("AdditiveAttention", true, "PyTorch")                                                                  \
    X("AlphaDropout", true, "TensorFlow.js")                                                                 \
    X("Attention", true, "PyTorch")                                                                          \
    X("Average", true, "TensorFlow.js")                                                                      \
    X("AveragePooling1D", true, "TensorFlow.js")                                                             \
    X("AveragePooling2D", true, "TensorFlow.js")                                                             \
    X("BatchNormalization", true, "PyTorch, TensorFlow.js")                                                  \
    X("Bidirectional", true, "PyTorch, TensorFlow.js")                                                       \
    X("Concatenate", true, "PyTorch, TensorFlow.js")                                                         \
    X("Conv1D", true, "PyTorch, TensorFlow.js")                                                              \
    X("Conv1DTranspose", true, "PyTorch")                                                                    \
    X("Conv2D", true, "PyTorch, TensorFlow.js")                                                              \
    X("Conv2DTranspose", true, "PyTorch, TensorFlow.js")                                                     \
    X("Cropping1D", true, "PyTorch")                                                                         \
    X("Cropping2D", true, "TensorFlow.js")                                                                   \
    X("CuDNNGRU", true, "PyTorch")                                                                           \
    X("CuDNNLSTM", true, "PyTorch")                                                                          \
    X("Dense", true, "PyTorch, TensorFlow.js")                                                               \
    X("DepthToSpace", true, "PyTorch")                                                                       \
    X("DepthwiseConv1D", true, "PyTorch")                                                                    \
    X("DepthwiseConv2D", true, "PyTorch, TensorFlow.js")                                                     \
    X("Dot", true, "PyTorch, TensorFlow.js")                                                                 \
    X("Dropout", true, "PyTorch, TensorFlow.js")                                                             \
    X("EinsumDense", true, "PyTorch")                                                                        \
    X("ELU", true, "PyTorch, TensorFlow.js")                                                                 \
    X("Embedding", true, "PyTorch, TensorFlow.js")                                                           \
    X("Flatten", true, "PyTorch, TensorFlow.js")                                                             \
    X("GaussianDropout", true, "TensorFlow.js")                                                              \
    X("GaussianNoise", true, "TensorFlow.js")                                                                \
    X("GlobalAveragePooling1D", true, "PyTorch, TensorFlow.js")                                              \
    X("GlobalAveragePooling2D", true, "PyTorch, TensorFlow.js")                                              \
    X("GlobalMaxPooling1D", true, "PyTorch, TensorFlow.js")                                                  \
    X("GlobalMaxPooling2D", true, "PyTorch, TensorFlow.js")                                                  \
    X("GroupedQueryAttention", true, "PyTorch")                                                              \
    X("GroupNormalization", true, "PyTorch")                                                                 \
    X("GRU", true, "PyTorch, TensorFlow.js")                                                                 \
    X("GRUCell", true, "TensorFlow.js")                                                                      \
    X("Identity", true, "PyTorch")                                                                           \
    X("InputLayer", true, "PyTorch, TensorFlow.js")                                                          \
    X("LayerNormalization", true, "PyTorch, TensorFlow.js")                                                  \
    X("LayerScale", true, "PyTorch")                                                                         \
    X("LeakyReLU", true, "PyTorch, TensorFlow.js")                                                           \
    X("LSTM", true, "PyTorch, TensorFlow.js")                                                                \
    X("LSTMCell", true, "TensorFlow.js")                                                                     \
    X("Masking", true, "TensorFlow.js")                                                                      \
    X("Maximum", true, "PyTorch, TensorFlow.js")                                                             \
    X("MaxPooling1D", true, "TensorFlow.js")                                                                 \
    X("MaxPooling2D", true, "TensorFlow.js")                                                                 \
    X("Minimum", true, "TensorFlow.js")                                                                      \
    X("MultiHeadAttention", true, "PyTorch")                                                                 \
    X("Multiply", true, "PyTorch, TensorFlow.js")                                                            \
    X("Normalization", true, "PyTorch")                                                                      \
    X("Permute", true, "TensorFlow.js")                                                                      \
    X("PReLU", true, "TensorFlow.js")                                                                        \
    X("RandomBrightness", true, "PyTorch")                                                                   \
    X("RandomContrast", true, "PyTorch")                                                                     \
    X("RandomFlip", true, "PyTorch")                                                                         \
    X("RandomHeight", true, "PyTorch")                                                                       \
    X("RandomRotation", true, "PyTorch")                                                                     \
    X("RandomTranslation", true, "PyTorch")                                                                  \
    X("RandomWidth", true, "PyTorch")                                                                        \
    X("RandomZoom", true, "PyTorch")                                                                         \
    X("ReLU", true, "PyTorch, TensorFlow.js")                                                                \
    X("RepeatVector", true, "TensorFlow.js")                                                                 \
    X("Rescaling", true, "PyTorch, TensorFlow.js")                                                           \
    X("Reshape", true, "TensorFlow.js")                                                                      \
    X("Resizing", true, "PyTorch")                                                                           \
    X("RMSNormalization", true, "PyTorch")                                                                   \
    X("RNN", true, "TensorFlow.js")                                                                          \
    X("SeparableConv1D", true, "PyTorch")                                                                    \
    X("SeparableConv2D", true, "TensorFlow.js")                                                              \
    X("SimpleRNN", true, "PyTorch, TensorFlow.js")                                                           \
    X("SimpleRNNCell", true, "TensorFlow.js")                                                                \
    X("Softmax", true, "PyTorch, TensorFlow.js")                                                             \
    X("SpaceToDepth", true, "PyTorch")                                                                       \
    X("SpatialDropout1D", true, "TensorFlow.js")                                                             \
    X("SpatialDropout2D", true, "PyTorch")                                                                   \
    X("StackedRNNCells", true, "TensorFlow.js")                                                              \
    X("StochasticDepth", true, "PyTorch")                                                                    \
    X("Subtract", true, "PyTorch")                                                                           \
    X("ThresholdedReLU", true, "TensorFlow.js")                                                              \
    X("TimeDistributed", true, "PyTorch, TensorFlow.js")                                                     \
    X("UnitNormalization", true, "PyTorch")                                                                  \
    X("UpSampling1D", true, "PyTorch")                                                                       \
    X("UpSampling2D", true, "PyTorch, TensorFlow.js")                                                        \
    X("ZeroPadding1D", true, "PyTorch")                                                                      \
    X("ZeroPadding2D", true, "PyTorch, TensorFlow.js")

static const struct layer_coverage table[] = {
#define COVERAGE_ENTRY(class, backward, against) {class, backward, against},
    COVERAGE(COVERAGE_ENTRY)
#undef COVERAGE_ENTRY
};
#define NENTRIES (sizeof table / sizeof *table)

const struct layer_coverage *layer_coverage(const struct layer_kind *kind) {
    for (size_t i = 0; i < NENTRIES; i++)
        if (!strcmp(table[i].class_name, kind->class_name)) return &table[i];
    return NULL;
}

static int compare_kinds(const void *a, const void *b) {
    const struct layer_kind *const *x = a, *const *y = b;
    return strcmp((*x)->class_name, (*y)->class_name);
}

status layer_coverage_table(char **text) {
    size_t n = (size_t)layer_kind_count(), nbytes = 0;
    const struct layer_kind **kind = malloc((n + 1) * sizeof *kind);
    char *buffer = NULL;
    FILE *out = kind ? open_memstream(&buffer, &nbytes) : NULL;
    if (!out) {
        free(kind);
        return status_no_memory("the table of layers", 8192);
    }
    for (size_t i = 0; i < n; i++) kind[i] = layer_kind_at((int)i);
    qsort(kind, n, sizeof *kind, compare_kinds);
    fprintf(out, "| layer | inference | training | same outputs as |\n|---|---|---|---|\n");
    for (size_t i = 0; i < n; i++) {
        const struct layer_coverage *c = layer_coverage(kind[i]);
        fprintf(out, "| `%s` | yes | %s | %s |\n", kind[i]->class_name, c && c->backward ? "yes" : "no",
                c ? c->against : "");
    }
    free(kind);
    if (fclose(out)) {
        free(buffer);
        return status_no_memory("the table of layers", 8192);
    }
    *text = buffer;
    return SUCCESS;
}
