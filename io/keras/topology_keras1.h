/* Topologies of Keras 1 in today's words. Internal to io/keras.
 * What became of each argument: keras/legacy/interfaces.py of Keras 2. */
#ifndef GODWIT_IO_KERAS_TOPOLOGY_KERAS1_H
#define GODWIT_IO_KERAS_TOPOLOGY_KERAS1_H

#include "shared/status.h"

struct cJSON;

/* Do the classes and keys of a model's layers say that Keras 1 wrote it? */
bool topology_is_keras1(const struct cJSON *model);

/* Changes a model, {"class_name": ..., "config": ...}, in place: classes, keys and values of its layers,
 * those inside others too; a Merge becomes Add, Concatenate and so on; a Sequential that begins with a Merge
 * of models becomes a functional model of their layers, among which Keras 1 counts them in a file of weights.
 * What Keras 2 has no word for stays as it is, to be refused by its name. */
status topology_keras1_convert(struct cJSON *model) STATUS_MUST_USE;

#endif
