/* The list of commands of `godwit`, in the order of its help. COMMANDS(X): one X(name) for each
 * `const struct command command_<name>`, defined in coordinator/main_<name>.c. */
#ifndef GODWIT_COORDINATOR_MAIN_COMMANDS_H
#define GODWIT_COORDINATOR_MAIN_COMMANDS_H

#include "coordinator/command.h"

#define COMMANDS(X)                                                                                          \
    X(inspect)                                                                                               \
    X(import)                                                                                                \
    X(export)                                                                                                \
    X(train)                                                                                                 \
    X(plan)                                                                                                  \
    X(migrate)                                                                                               \
    X(calibrate)                                                                                             \
    X(evaluate)                                                                                              \
    X(predict)                                                                                               \
    X(verify)

#define COMMAND_DECLARE(name) extern const struct command command_##name;
COMMANDS(COMMAND_DECLARE)
#undef COMMAND_DECLARE

#endif
