/* Messages between processes of one machine: integers and texts, one after the other. What is unpacked is
 * checked, for the process that packed it may be damaged.
 *
 * Failures stick: after one, putting does nothing and getting gives 0 and NULL, so that a whole message is
 * packed or unpacked first and looked at once, by message_check. */
#ifndef GODWIT_IO_MESSAGE_H
#define GODWIT_IO_MESSAGE_H

#include "shared/status.h"

#include <stddef.h>
#include <stdint.h>

#define MESSAGE_MAX_BYTES ((size_t)256 << 20)

struct message {
    unsigned char *data; /* owned */
    size_t size, room;
    size_t at; /* of the next value to get */
    enum status_code failed;
};

void message_put_integer(struct message *message, int64_t value);
void message_put_text(struct message *message, const char *text); /* NULL is kept as NULL */

int64_t message_get_integer(struct message *message);
/* DATA failure unless low <= value <= high, which is then `low`. */
int64_t message_get_within(struct message *message, int64_t low, int64_t high);
char *message_get_text(struct message *message); /* owned */

/* MEMORY, or DATA if what was got was not what was put. */
status message_check(const struct message *message) STATUS_MUST_USE;
/* The same, and DATA if something is left to get. */
status message_check_end(const struct message *message) STATUS_MUST_USE;

/* Room for `size` bytes, which become the message. */
status message_resize(struct message *message, size_t size) STATUS_MUST_USE;
void message_clear(struct message *message);

#endif
