/* The arguments CONFIG and --set KEY=VALUE, shared by the commands that take a configuration.
 *
 * In a command: a member `struct config_arguments config` in the options struct, in the argp
 *     .children = (const struct argp_child[]){{&config_argp, 0, NULL, 0}, {0}},
 * in its parser
 *     case ARGP_KEY_INIT: state->child_inputs[0] = &options->config; return 0;
 * (and nothing for ARGP_KEY_ARG), and in run: config_load(session->world, &options->config, &config). */
#ifndef GODWIT_COORDINATOR_CONFIG_ARGUMENTS_H
#define GODWIT_COORDINATOR_CONFIG_ARGUMENTS_H

#include "io/config.h"
#include "io/keras.h"
#include "shared/comm.h"

#include <argp.h>

#define CONFIG_SETS_MAX 64

struct config_arguments {
    const char *path;
    int nsets;
    const char *set[CONFIG_SETS_MAX]; /* in the order given */
    const char *target;               /* one of several; NULL: none is named */
};

extern const struct argp config_argp;

/* Rank 0 reads the file and applies the settings, and takes the target that is named; everybody gets the
 * effective configuration. `world` may be NULL: this process alone. Collective; all ranks return the same
 * status. Errors: IO, USAGE. */
status config_load(const struct comm *world, const struct config_arguments *arguments,
                   struct config **config) STATUS_MUST_USE;

/* USAGE error naming them if the configuration has several targets, for what does one only. */
status config_require_one_target(const struct config *config) STATUS_MUST_USE;

/* The configuration behind the argument --data: a configuration file (.json), or the defaults with this as
 * path of the data set. Not collective. Errors: IO, USAGE. */
status config_of_data(const char *spec, struct config **config) STATUS_MUST_USE;

/* How to open the source that a configuration names; texts are borrowed. */
struct keras_options config_keras_options(const struct config *config);

#endif
