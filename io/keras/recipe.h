/* How a weight is made of the tensors that a file stores, where Keras has changed its mind since the file was
 * written: Keras 1, Theano, cuDNN. Internal to io/keras.
 * Facts: preprocess_weights_for_loading in tf_keras/saving/legacy/hdf5_format.py, and in Keras 2.0's
 * keras/engine/topology.py. */
#ifndef GODWIT_IO_KERAS_RECIPE_H
#define GODWIT_IO_KERAS_RECIPE_H

#include "shared/layer.h"

enum conversion {
    CONVERT_NONE,         /* the values as they are, whatever the shape: (k,1,C,M) is (k,C,M) */
    CONVERT_AXES,         /* axes in another order, windows perhaps backwards */
    CONVERT_GATES,        /* a tensor for each gate, joined along the last axis */
    CONVERT_CUDNN_KERNEL, /* each gate's values are those of the transposed kernel */
    CONVERT_CUDNN_BIAS    /* two halves, summed */
};

#define RECIPE_MAX_PARTS 4

struct recipe {
    enum conversion conversion;
    int axis[SHAPE_MAX_RANK]; /* AXES: which axis of the stored tensor each axis of the weight is */
    bool flip;                /* AXES: all axes but the last two run backwards */
    int gates;                /* side by side along the last axis */
};

/* Who wrote the file. */
struct origin {
    int keras_version; /* major; 1 if the file does not say */
    bool theano;       /* its convolutions flip the kernel */
};

/* What to do with one tensor of shape `stored` to have a weight. DATA error if it cannot be that weight. */
status recipe_choose(const struct origin *origin, const struct layer *layer, int weight,
                     const struct shape *stored, struct recipe *recipe) STATUS_MUST_USE;

/* Is it a number that counts, which Keras keeps as an integer? Normalization has one. */
bool recipe_may_count(const struct weight *weight);

/* DATA error that names both shapes if they differ. */
status recipe_check_shape(const struct shape *stored, const struct shape *needed) STATUS_MUST_USE;

/* Are weights w, w + 1 and w + 2 of a layer the kernels and the bias of an LSTM or GRU? Number of its gates,
 * 0 if not. */
int recipe_gates(const struct layer *layer, int w);
/* Which of the gates that the weights have, in order, is gate g of those that Keras 1 stored one by one. */
int recipe_gate(int gates, int g);
/* Recipes of such three weights stored by cuDNN's layers, told by the shape of the bias; false if they are
 * not. */
bool recipe_cudnn(const struct layer *layer, int w, const struct shape *stored, struct recipe *recipe);

/* `values`, of the weight's shape, from the stored tensors: one of shape `stored`, or, for CONVERT_GATES, one
 * for each gate, one after the other. */
void recipe_apply(const struct recipe *recipe, const struct shape *weight, const struct shape *stored,
                  const float *from, float *values);

#endif
