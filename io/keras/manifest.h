/* The weights manifest of a TensorFlow.js layers model: which bytes of which shards are which tensor.
 * Internal to io/keras. Format: tfjs-core/src/io/types.ts,
 * tfjs-converter/python/tensorflowjs/write_weights.py. */
#ifndef GODWIT_IO_KERAS_MANIFEST_H
#define GODWIT_IO_KERAS_MANIFEST_H

#include "shared/tensor.h"

struct cJSON;

enum manifest_type { MANIFEST_FLOAT32, MANIFEST_FLOAT16, MANIFEST_INT32, MANIFEST_UINT16, MANIFEST_UINT8 };

struct manifest_weight {
    char *name; /* owned: "dense/kernel" */
    struct shape shape;
    enum manifest_type type; /* as stored */
    size_t size;             /* bytes of one element */
    bool scaled;             /* a value is q * scale + min */
    double scale, min;
    int group;
    int64_t offset; /* in the group: its shards one after the other */
};

struct manifest_shard {
    char *path; /* owned, from the folder of the model */
    int group;
    int64_t offset, nbytes; /* of the group; known after manifest_measure */
};

struct manifest {
    int nweights, nshards, ngroups;
    struct manifest_weight *weight; /* [nweights], owned */
    struct manifest_shard *shard;   /* [nshards], owned, group by group */
};

/* Reads "weightsManifest". DATA error for what is missing or of the wrong type, and for shards that are not
 * below the model's folder; UNSUPPORTED for types of elements that no weight has. */
status manifest_read(const struct cJSON *json, struct manifest *manifest) STATUS_MUST_USE;
void manifest_clear(struct manifest *manifest); /* accepts one that is zero */

/* Looks how long the shards are, in `folder`. IO error for one that cannot be opened, DATA if a group has
 * fewer or more bytes than its weights take. */
status manifest_measure(struct manifest *manifest, const char *folder) STATUS_MUST_USE;

/* Elements [first, first + n) of a weight as float32, from the bytes as stored. */
void manifest_decode(const struct manifest_weight *weight, const void *stored, int64_t n, float *values);

#endif
