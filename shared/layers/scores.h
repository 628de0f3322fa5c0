/* From the scores of attention to its weights. Private to shared/layers/. */
#ifndef GODWIT_SHARED_LAYERS_SCORES_H
#define GODWIT_SHARED_LAYERS_SCORES_H

#include "shared/layer.h"

struct score_mask {
    int query, key; /* masks (N,T) and (N,S), -1: none */
    bool causal;    /* row i sees columns 0 to i */
    bool replace;   /* a score left out is replaced (Keras 3's MultiHeadAttention), not lowered by 1e9: this
                       makes a difference where a row has none left */
};

/* Softmax over the last axis of (N,...,T,S), what is masked left out, then dropout. */
status scores_softmax(struct lowering *lowering, int scores, const struct score_mask *mask, double dropout,
                      int *weights) STATUS_MUST_USE;

#endif
