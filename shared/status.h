/* Status of a call: nothing (success), or one error that says what to do about it.
 *
 * Every function that can fail returns a `status`. NULL means success. An error is created once, where it
 * is found, with status_fail(); callers only propagate it (STATUS_TRY) or put a few words of context before
 * it (status_context). It is owned by whoever holds it: return it, or drop it. Nothing below main prints it.
 * Ranks agree on an error at the end of each phase with comm_agree() (shared/comm.h). */
#ifndef GODWIT_SHARED_STATUS_H
#define GODWIT_SHARED_STATUS_H

#include <stdbool.h>

/* The one list of codes: name, exit code of the program, meaning. */
#define STATUS_CODES(X)                                                                                      \
    X(OK, 0, "success")                                                                                      \
    X(USAGE, 2, "wrong command line or configuration")                                                       \
    X(DATA, 65, "bad model or data")                                                                         \
    X(UNSUPPORTED, 69, "unsupported layer or option")                                                        \
    X(INTERNAL, 70, "internal error")                                                                        \
    X(MEMORY, 71, "out of memory")                                                                           \
    X(IO, 74, "input or output failed")                                                                      \
    X(CHECKPOINTED, 75, "checkpointed; run again to continue")                                               \
    X(SILENT, 76, "a rank no longer answered; run again to continue")

enum status_code {
#define STATUS_ENUM(name, exit_code, meaning) STATUS_##name,
    STATUS_CODES(STATUS_ENUM)
#undef STATUS_ENUM
};

typedef struct status_error *status;
#define SUCCESS ((status)0)

#define STATUS_MUST_USE __attribute__((warn_unused_result))

/* Creates an error. `format` is one line without a full stop at its end; it names the thing (file, key,
 * tensor) and what the user can do. Never returns NULL: if there is no memory left, returns a static error.
 */
status status_fail(enum status_code code, const char *format, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));

/* Puts "context: " before the message of `error` and returns it. SUCCESS passes through. */
status status_context(status error, const char *format, ...)
    __attribute__((format(printf, 2, 3), warn_unused_result));

/* The same error with another code. SUCCESS passes through. */
status status_recode(status error, enum status_code code) STATUS_MUST_USE;

enum status_code status_code(status error); /* STATUS_OK for SUCCESS */
const char *status_message(status error);   /* borrowed; "" for SUCCESS */
const char *status_meaning(enum status_code code);
int status_exit_code(enum status_code code);
void status_drop(status *error); /* frees, sets to SUCCESS; accepts SUCCESS */

/* The first of two errors; the other is dropped. For cleaning up after a failure. */
status status_first(status a, status b) STATUS_MUST_USE;

/* Out of memory while allocating `nbytes` for `what`. */
status status_no_memory(const char *what, unsigned long long nbytes) STATUS_MUST_USE;

#define STATUS_TRY(call)                                                                                     \
    do {                                                                                                     \
        status status_try_ = (call);                                                                         \
        if (status_try_) return status_try_;                                                                 \
    } while (0)

/* For functions with a cleanup label: stores the error in the variable `error` and jumps. */
#define STATUS_GOTO(error, label, call)                                                                      \
    do {                                                                                                     \
        (error) = (call);                                                                                    \
        if (error) goto label;                                                                               \
    } while (0)

#endif
