/* Registry of models: <models>/<name>/<version>/model.h5 with model.json. Versions are positive integers
 * without leading zeros, the highest is the default (as TensorFlow Serving has it). */
#ifndef GODWIT_IO_REGISTRY_H
#define GODWIT_IO_REGISTRY_H

#include "shared/status.h"

/* Path of model.h5 for MODEL: an existing file, or name[:version]. Owned. `models` NULL: $GODWIT_MODELS, else
 * "models". IO error listing what there is. */
status registry_resolve(const char *models, const char *model, char **path) STATUS_MUST_USE;

/* A version being staged in <models>/<name>/.staging-<pid>: write files into registry_staging_folder(), then
 * publish: synced, renamed to the next version (or a given one, which must be free). Rank 0 only. */
struct registry_staging;
status registry_stage(const char *models, const char *name, struct registry_staging **staging) STATUS_MUST_USE;
const char *registry_staging_folder(const struct registry_staging *staging);
status registry_publish(struct registry_staging **staging, char **folder) STATUS_MUST_USE; /* folder owned: "models/name/3" */
void registry_abandon(struct registry_staging **staging); /* removes it; accepts NULL */

#endif
