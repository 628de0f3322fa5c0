#include "coordinator/config_arguments.h"

#include "coordinator/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct argp_option options[] = {
    {"set", 's', "KEY=VALUE", 0,
     "Set a key of the configuration, for example training.epochs=3; may be repeated (godwit help config "
     "lists the keys)",
     0},
    {"target", 't', "NAME", 0, "Of several targets (key targets) this one only", 0},
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
    case 't':
        arguments->target = arg;
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

static void list_targets(const struct config *config, char *text, size_t size) {
    size_t used = 0;
    text[0] = 0;
    for (int i = 0; i < config->ntargets && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%.*s", i ? ", " : "",
                                 (int)strcspn(config->targets[i], "\n"), config->targets[i]);
}

status config_require_one_target(const struct config *config) {
    char names[512];
    if (!config->ntargets) return SUCCESS;
    list_targets(config, names, sizeof names);
    return status_fail(STATUS_USAGE, "the configuration has several targets; choose one with --target: %s",
                       names);
}

/* The one that is named in the place of all. */
static status choose_target(const char *name, struct config **config) {
    struct config *one = NULL;
    char names[512];
    for (int i = 0; i < (*config)->ntargets; i++) {
        size_t length = strcspn((*config)->targets[i], "\n");
        if (strlen(name) != length || strncmp(name, (*config)->targets[i], length) != 0) continue;
        STATUS_TRY(config_of_target(*config, i, &one));
        config_destroy(config);
        *config = one;
        return SUCCESS;
    }
    list_targets(*config, names, sizeof names);
    return status_fail(STATUS_USAGE, "--target: there is no target \"%.80s\"%s%s", name,
                       *names ? "; there are: " : "; the configuration has no key targets", names);
}

static status load(const struct config_arguments *arguments, struct config **config) {
    STATUS_TRY(config_read(arguments->path, config));
    for (int i = 0; i < arguments->nsets; i++) {
        status error = config_set(*config, arguments->set[i]);
        if (!error) continue;
        config_destroy(config);
        return error;
    }
    status error = arguments->target ? choose_target(arguments->target, config) : SUCCESS;
    if (error) config_destroy(config);
    return error;
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

status config_of_data(const char *spec, struct config **config) {
    size_t length = strlen(spec);
    if (length > 5 && !strcmp(spec + length - 5, ".json")) return config_read(spec, config);
    STATUS_TRY(config_parse("{}", "--data", config));
    free((*config)->data.path);
    (*config)->data.path = strdup(spec);
    if ((*config)->data.path) return SUCCESS;
    config_destroy(config);
    return status_no_memory("a path", length);
}
