/* Attributes of recurrent layers and of their cells. Private to shared/layers/. */
#ifndef GODWIT_SHARED_LAYERS_RECURRENT_H
#define GODWIT_SHARED_LAYERS_RECURRENT_H

#include "shared/layers/kind.h"

#define ATTR_UNITS                                                                                           \
    {.name = "units", .type = ATTR_INT}, {                                                                   \
        .name = "activation", .type = ATTR_STRING, .initial = "tanh"                                         \
    }
#define ATTR_GATE                                                                                            \
    { .name = "recurrent_activation", .type = ATTR_STRING, .initial = "sigmoid" }
#define ATTR_FLAG(text)                                                                                      \
    { .name = text, .type = ATTR_BOOL, .initial = "false" }
/* What a cell has besides ... */
#define ATTR_CELL                                                                                            \
    ATTR_USE_BIAS, {.name = "dropout", .type = ATTR_FLOAT, .initial = "0"}, {                                \
        .name = "recurrent_dropout", .type = ATTR_FLOAT, .initial = "0"                                      \
    }
/* ... and what says how it goes through a sequence. */
#define ATTR_SEQUENCES                                                                                       \
    ATTR_FLAG("return_sequences"), ATTR_FLAG("return_state"), ATTR_FLAG("go_backwards"), {                   \
        .name = "zero_output_for_mask", .type = ATTR_BOOL, .initial = "false", .dialect = ATTR_KERAS3_ONLY   \
    }
/* Keras 2.0 and 2.1 know no reset_after, and do without; CuDNNGRU has it always. */
#define ATTR_RESET_AFTER(text)                                                                               \
    { .name = "reset_after", .type = ATTR_BOOL, .initial = text }

/* layer_kind.check: activations are known, and of an element alone. */
status recurrent_check(const struct layer *layer) STATUS_MUST_USE;

#endif
