/* Commands: what `godwit NAME ...` runs. One command is one file coordinator/main_<name>.c, which defines its
 * `struct command`, and one line of the table in coordinator/main.c; run_inference is a command of its own
 * program.
 *
 * A command says with glibc's argp what its arguments are; they are parsed before MPI starts, so that --help
 * and usage errors cost nothing and are printed once. Then command_execute starts the session, calls run,
 * lets the ranks agree on its status, prints the one error line on rank 0 and gives the exit code. */
#ifndef GODWIT_COORDINATOR_COMMAND_H
#define GODWIT_COORDINATOR_COMMAND_H

#include "coordinator/session.h"

#include <argp.h>

struct command {
    const char *name;        /* "inspect" */
    const char *summary;     /* one line for the list of commands */
    bool parallel;           /* runs under MPI; else only the first process of a launch does anything */
    const struct argp *argp; /* its parser's state->input is the options; needs no --help of its own */
    size_t options_size;     /* bytes of the options struct, zero-filled before parsing */
    /* Does the work. `options` are as the parser left them; strings in them lie in argv. Collective if
     * parallel; ranks may return different statuses. */
    status (*run)(const struct session *session, const void *options);
};

/* Runs `command`, whose words after its own name are argv[1..argc-1]; `program` is what precedes the
 * arguments in messages ("godwit inspect"). `words` are all words as typed. Returns the program's exit code.
 */
int command_execute(const struct command *command, const char *program, int argc, char **argv, int nwords,
                    char **words);

/* Prints the help of a command on standard output. */
void command_help(const struct command *command, const char *program);

/* What to call in a parser for bad arguments:
 *     return command_argument_error(state, "--top: \"%s\" is not a number", arg); */
error_t command_argument_error(struct argp_state *state, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A whole number in [min, max] for `option` ("--top"), or command_argument_error. */
error_t command_argument_int(struct argp_state *state, const char *option, const char *arg, long min,
                             long max, long *value);
/* A number in [min, max] for `option`, or command_argument_error. */
error_t command_argument_number(struct argp_state *state, const char *option, const char *arg, double min,
                                double max, double *value);

#endif
