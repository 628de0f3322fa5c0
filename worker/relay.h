/* Relay: a stream of activations, or gradients, from the ranks of one stage to those of a neighbouring one,
 * a micro-batch a message. Several are under way at a time, so that neither side waits for the other as long
 * as they keep pace. Each side is a ring of slots. Not collective. */
#ifndef GODWIT_WORKER_RELAY_H
#define GODWIT_WORKER_RELAY_H

#include "shared/comm.h"

struct relay;

/* One side, of messages of so many floats; `depth` slots, at least 2. The other side has the same tag. */
status relay_open(const struct comm *comm, int tag, int64_t floats, int depth,
                  struct relay **relay) STATUS_MUST_USE;
void relay_close(struct relay **relay); /* after an error, too: waits for what is under way */

/* Sender: the place for the next message, when there is one free; then it goes to a rank. */
status relay_place(struct relay *relay, float **data) STATUS_MUST_USE;
status relay_send(struct relay *relay, int to) STATUS_MUST_USE;
/* Waits until all has been taken over by the receivers. */
status relay_flush(struct relay *relay) STATUS_MUST_USE;

/* Receiver: may another message be expected, that is, is a slot free? Then it comes from this rank. */
bool relay_room(const struct relay *relay);
status relay_expect(struct relay *relay, int from) STATUS_MUST_USE;
/* The next one that was expected, when it is there: borrowed, until relay_release() has been called as often
 * as it takes for it: messages are released in their order. */
status relay_take(struct relay *relay, const float **data) STATUS_MUST_USE;
void relay_release(struct relay *relay);

/* Lets messages go on; NULL is accepted. */
void relay_progress(const struct relay *relay);

int64_t relay_floats(const struct relay *relay); /* of a message */

#endif
