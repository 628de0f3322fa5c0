/* Registry of models: <models>/<name>/<version>/model.h5 with model.json. Versions are positive integers
 * without leading zeros, the highest is the default (as TensorFlow Serving has it). */
#ifndef GODWIT_IO_REGISTRY_H
#define GODWIT_IO_REGISTRY_H

#include "shared/status.h"

/* Path of the model that MODEL means: an existing file, a folder that is a model (it has a model.json) or a
 * version of a registry (it has a model.h5, which is the path then), or name[:version]. Owned. `models` NULL:
 * $GODWIT_MODELS, else "models". Errors: IO, saying what there is; USAGE for a version that is none. */
status registry_resolve(const char *models, const char *model, char **path) STATUS_MUST_USE;

/* All versions of all models, by name, then version; owned, entry [*n]. An empty registry is an IO error. */
struct registry_entry {
    char *model; /* owned: "name:version" */
    char *path;  /* owned: of its model.h5 */
};
status registry_list(const char *models, struct registry_entry **entry, int *n) STATUS_MUST_USE;
void registry_list_free(struct registry_entry *entry, int n);

/* A version being staged in <models>/<name>/.staging-<host>-<pid>: write files into
 * registry_staging_folder(), then publish: synced, renamed to the next version. A version that exists is
 * never changed; what dead processes of this host left in staging is removed. `models` as above. Nothing here
 * is collective: rank 0 only. */
struct registry_staging;
/* Makes <models>/<name>, the folder of a model's versions, for what is to become one; *folder is owned.
 * registry_tidy removes it if it is empty. */
status registry_folder(const char *models, const char *name, char **folder) STATUS_MUST_USE;
void registry_tidy(const char *models, const char *name);
status registry_stage(const char *models, const char *name,
                      struct registry_staging **staging) STATUS_MUST_USE;
const char *registry_staging_folder(const struct registry_staging *staging);
/* Ends the staging, with an error too. `folder` is owned: "models/name/3". Errors: IO. */
status registry_publish(struct registry_staging **staging, char **folder) STATUS_MUST_USE;
void registry_abandon(struct registry_staging **staging); /* removes it; accepts NULL */

#endif
