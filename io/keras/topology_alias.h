/* Aliases: which known layers the custom classes of a model stand for. Internal to io/keras.
 *
 * A JSON file, an object with a member for each custom class:
 *
 *   {"MultiplyBeta": {"class_name": "Rescaling", "config": {"scale": "$beta:0.2"}},
 *    "my_package>MyDense": {"class_name": "Dense", "config": "$all"},
 *    "Block": [{"class_name": "Conv2D", "config": {"filters": "$width", "kernel_size": [3, 3]}},
 *              {"class_name": "ReLU"}]}
 *
 * A class is named alone or with the package it is registered in; Keras's own classes keep their meaning. A
 * list of layers is called one after the other. In a config
 *   "$key"      is the value of the custom layer's own config, "$key:0.2" with a default (JSON, else a
 * string);
 *   "$all"      in the place of a config is the custom layer's whole config; as a member, {"$all": true,
 * ...}, it is all of it but for what is said besides or named by a "$key";
 *   "$$text"    is the string "$text"; anything else is as it stands.
 * Members of the file that begin with "_" are comments. */
#ifndef GODWIT_IO_KERAS_TOPOLOGY_ALIAS_H
#define GODWIT_IO_KERAS_TOPOLOGY_ALIAS_H

#include "shared/status.h"

struct cJSON;
struct topology_aliases;

/* Errors: IO; DATA for a file that is not of this form. */
status topology_aliases_read(const char *path, struct topology_aliases **aliases) STATUS_MUST_USE;
void topology_aliases_destroy(struct topology_aliases **aliases); /* accepts NULL */

/* What a custom layer of a topology stands for: a list of {"class_name": ..., "config": {...}}, owned; NULL
 * if its class has no alias, or if there are none (`aliases` NULL). DATA error naming file, class and key if
 * its config lacks a key. `name` is the layer's. */
status topology_aliases_expand(const struct topology_aliases *aliases, const struct cJSON *json,
                               const char *name, struct cJSON **layers) STATUS_MUST_USE;

#endif
