#include "coordinator/config_arguments.h"

#include "coordinator/command.h"

#include <stdlib.h>

static const struct argp_option options[] = {
    {"set", 's', "KEY=VALUE", 0,
     "Set a key of the configuration, for example training.epochs=3; may be repeated (godwit help config "
     "lists the keys)",
     0},
    {0},
};

static error_t parse(int key, char *arg, struct argp_state *state) {
    struct config_arguments *arguments = state->input;
    switch (key) {
    case 's':
        if (arguments->nsets == CONFIG_SETS_MAX)
            return command_argument_error(state, "more than %d times --set", CONFIG_SETS_MAX);
        arguments->set[arguments->nsets++] = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->path) return command_argument_error(state, "one CONFIG only, not \"%s\" too", arg);
        arguments->path = arg;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->path) return command_argument_error(state, "CONFIG is missing");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp config_argp = {.options = options, .parser = parse, .args_doc = "CONFIG"};

static status load(const struct config_arguments *arguments, struct config **config) {
    STATUS_TRY(config_read(arguments->path, config));
    for (int i = 0; i < arguments->nsets; i++) {
        status error = config_set(*config, arguments->set[i]);
        if (!error) continue;
        config_destroy(config);
        return error;
    }
    return SUCCESS;
}

status config_load(const struct comm *world, const struct config_arguments *arguments,
                   struct config **config) {
    struct config *loaded = NULL;
    char *json = NULL, *copy = NULL;
    status error = SUCCESS;
    if (!world) return load(arguments, config);
    if (comm_is_root(world)) {
        error = load(arguments, &loaded);
        if (!error) error = config_print(loaded, &json);
    }
    error = comm_agree(world, error);
    if (!error) {
        error = comm_bcast_text(world, 0, json, &copy);
        if (!error && !loaded) error = config_parse(copy, arguments->path, &loaded);
        error = comm_agree(world, error);
    }
    free(json);
    free(copy);
    if (error) config_destroy(&loaded);
    else *config = loaded;
    return error;
}

struct keras_options config_keras_options(const struct config *config) {
    const struct source_config *source = &config->source;
    return (struct keras_options){.topology = *source->topology ? source->topology : NULL,
                                  .aliases = *source->aliases ? source->aliases : NULL};
}
