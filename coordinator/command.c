#include "coordinator/command.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Options that every command has, and what parsing found. */
struct common {
    void *options; /* of the command */
    bool help;
    const char *level; /* borrowed from argv; NULL: not given */
};

enum { OPTION_LOG_LEVEL = 0x7001 };

static const struct argp_option common_options[] = {
    {"log-level", OPTION_LOG_LEVEL, "LEVEL", 0,
     "What to print on standard error: error, warn, info (default) or debug", -1},
    {"help", '?', NULL, 0, "Print this help", -1},
    {0},
};

static error_t parse_common(int key, char *arg, struct argp_state *state) {
    struct common *common = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = common->options;
        return 0;
    case OPTION_LOG_LEVEL:
        common->level = arg;
        return 0;
    case '?':
        common->help = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

#define WITH_COMMON_OPTIONS(name, command)                                                                   \
    struct argp_child name##_children[] = {{(command)->argp, 0, NULL, 0}, {0}};                              \
    struct argp name = {.options = common_options, .parser = parse_common, .children = name##_children}

void command_help(const struct command *command, const char *program) {
    WITH_COMMON_OPTIONS(argp, command);
    char *name = strdup(program);
    argp_help(&argp, stdout, ARGP_HELP_STD_HELP, name);
    free(name);
}

error_t command_argument_error(struct argp_state *state, const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) text = NULL;
    va_end(args);
    argp_error(state, "%s", text ? text : "bad argument");
    free(text);
    return EINVAL;
}

error_t command_argument_int(struct argp_state *state, const char *option, const char *arg, long min,
                             long max, long *value) {
    char *end;
    errno = 0;
    long v = strtol(arg, &end, 10);
    if (errno || end == arg || *end)
        return command_argument_error(state, "%s: \"%s\" is not a whole number", option, arg);
    if (v < min || v > max)
        return command_argument_error(state, "%s: %ld is out of range; allowed: %ld to %ld", option, v, min,
                                      max);
    *value = v;
    return 0;
}

error_t command_argument_number(struct argp_state *state, const char *option, const char *arg, double min,
                                double max, double *value) {
    char *end;
    errno = 0;
    double v = strtod(arg, &end);
    if (errno || end == arg || *end)
        return command_argument_error(state, "%s: \"%s\" is not a number", option, arg);
    if (!(v >= min && v <= max))
        return command_argument_error(state, "%s: %g is out of range; allowed: %g to %g", option, v, min,
                                      max);
    *value = v;
    return 0;
}

/* The first line that argp and getopt wrote, without the program's name before it, as an error. */
static status usage_error(const char *text, const char *program) {
    size_t name = strlen(program);
    if (strncmp(text, program, name) == 0 && strncmp(text + name, ": ", 2) == 0) text += name + 2;
    return status_fail(STATUS_USAGE, "%.*s (see %s --help)", (int)strcspn(text, "\n"), text, program);
}

/* Runs argp with its messages caught instead of printed: both argp and getopt write to `stderr`, which in
 * glibc is a variable. No other thread runs yet. */
static status parse(const struct argp *argp, const char *program, int argc, char **argv,
                    struct common *common) {
    char **words = calloc((size_t)argc + 1, sizeof *words);
    char *caught = NULL, *name = strdup(program);
    size_t ncaught = 0;
    FILE *stream = open_memstream(&caught, &ncaught);
    if (!words || !name || !stream) {
        if (stream) fclose(stream);
        free(words);
        free(caught);
        free(name);
        return status_no_memory("the arguments", (size_t)argc * sizeof *words);
    }
    memcpy(words, argv, (size_t)argc * sizeof *words);
    words[0] = name;
    FILE *terminal = stderr;
    stderr = stream;
    error_t failed = argp_parse(argp, argc, words, ARGP_NO_EXIT | ARGP_NO_HELP, NULL, common);
    stderr = terminal;
    fclose(stream);
    status error = SUCCESS;
    if (common->help) error = SUCCESS;
    else if (ncaught > 0) error = usage_error(caught, program);
    else if (failed)
        error = status_fail(STATUS_USAGE, "bad arguments: %s (see %s --help)", strerror(failed), program);
    free(caught);
    free(words);
    free(name);
    return error;
}

static void print_error(const char *program, status error) {
    fprintf(stderr, "%.*s: %s\n", (int)strcspn(program, " "), program, status_message(error));
}

/* `*reports` is whether an error is still to be printed by this process. It is printed before MPI ends: a
 * rank that has left with an exit code makes mpirun kill the others. */
static status run(const struct command *command, const char *program, enum log_level level,
                  const void *options, int nwords, char **words, bool *reports) {
    struct session session;
    status error = session_start(&session, command->parallel, level, nwords, words);
    *reports = session.world ? comm_is_root(session.world) && session_launcher_rank() == 0 : true;
    if (!error) {
        error = command->run(&session, options);
        if (session.world) error = comm_agree(session.world, error);
        if ((fflush(stdout) || ferror(stdout)) && !error)
            error = status_fail(STATUS_IO, "cannot write to standard output: %s", strerror(errno));
    }
    if (error && *reports) {
        print_error(program, error);
        *reports = false;
    }
    session_stop(&session);
    return error;
}

int command_execute(const struct command *command, const char *program, int argc, char **argv, int nwords,
                    char **words) {
    bool first = session_launcher_rank() == 0, reports = first;
    struct common common = {0};
    enum log_level level = LOG_INFO;
    WITH_COMMON_OPTIONS(argp, command);
    status error = SUCCESS;
    common.options = calloc(1, command->options_size ? command->options_size : 1);
    if (!common.options) error = status_no_memory("the options", command->options_size);
    if (!error) error = parse(&argp, program, argc, argv, &common);
    if (!error && common.level) error = log_level_parse(common.level, &level);
    if (!error && common.help) {
        if (first) command_help(command, program);
    } else if (!error && (command->parallel || first)) {
        error = run(command, program, level, common.options, nwords, words, &reports);
    }
    int code = status_exit_code(status_code(error));
    if (error && reports) print_error(program, error);
    status_drop(&error);
    free(common.options);
    return code;
}
