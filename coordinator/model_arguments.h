/* The arguments MODEL, --models, --topology and --aliases, shared by the commands that take a model.
 *
 * In a command: a member `struct model_arguments model` in the options struct, in the argp
 *     .children = (const struct argp_child[]){{&model_argp, 0, NULL, 0}, {0}},
 * and in its parser
 *     case ARGP_KEY_INIT: state->child_inputs[0] = &options->model; return 0;
 * A parser that takes further words without a dash sees them first: it leaves them alone (ARGP_ERR_UNKNOWN)
 * while model.model is NULL. */
#ifndef GODWIT_COORDINATOR_MODEL_ARGUMENTS_H
#define GODWIT_COORDINATOR_MODEL_ARGUMENTS_H

#include "io/keras.h"

#include <argp.h>

struct model_arguments {
    const char *model;  /* as typed */
    const char *models; /* folder of the registry; NULL: the usual one */
    struct keras_options keras;
};

/* MODEL, which must be there, and the options. */
extern const struct argp model_argp;
/* The options alone, for commands that take models in another way. */
extern const struct argp model_options_argp;

/* The path of MODEL, owned. Errors as registry_resolve(). */
status model_arguments_resolve(const struct model_arguments *arguments, char **path) STATUS_MUST_USE;

#endif
