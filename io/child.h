/* A child process for work on files that nobody vouches for: what crashes, spins or eats memory there is a
 * clean error here.
 *
 * The child is forked: it has this process's memory as it is now, but one thread, no descriptors except those
 * given to it, no input and output, and limits; it never returns to its caller's code and runs no exit
 * handlers. It must not use MPI, OpenMP or the log. It ends when its parent ends or stops it. Only the child
 * itself is ever waited for, so that a program's other children are its own business. */
#ifndef GODWIT_IO_CHILD_H
#define GODWIT_IO_CHILD_H

#include "io/message.h"

struct child_limits {
    size_t memory;       /* bytes it may map beyond what this process has mapped; 0: no limit */
    int cpu_seconds;     /* processor time it may use for one answer */
    int silence_seconds; /* time without an answer */
};

#define CHILD_MAX_FILES 8

/* The child's end of the connection. */
struct channel;

/* Runs in the child, with the descriptors given to it. An error it returns is the parent's next answer. */
typedef status child_function(struct channel *channel, const int *files, void *argument);

struct child;

/* Error: IO (no process, no memory for one). */
status child_start(const struct child_limits *limits, int nfiles, const int *files, child_function *run,
                   void *argument, struct child **child) STATUS_MUST_USE;
/* Kills it; accepts NULL, sets NULL. */
void child_stop(struct child **child);

/* In the parent. child_receive waits for the next answer, which takes the place of *message: the child's own
 * error, or DATA if it crashed, used up its time, was silent for too long, or talks nonsense, MEMORY if the
 * system killed it. After an error of that second kind the child is gone, and each call gives that error. It
 * does not name the file. */
bool child_is_gone(const struct child *child);
status child_send(struct child *child, const struct message *message) STATUS_MUST_USE;
status child_receive(struct child *child, struct message *message) STATUS_MUST_USE;

/* In the child. It ends in these calls if its parent is gone. */
void channel_receive(struct channel *channel, struct message *message);
/* An answer: an error, which is consumed, or else a message. */
void channel_send(struct channel *channel, status error, const struct message *message);

#endif
