/* Link: a relay between a stage and its neighbour, as the turns of this rank use it. Both stages go through
 * the same steps; who sends a micro-batch to whom follows from its number. Not collective. */
#ifndef GODWIT_WORKER_STAGE_LINK_H
#define GODWIT_WORKER_STAGE_LINK_H

#include "worker/relay.h"
#include "worker/stage.h"

/* What goes over links; a message's tag. */
enum link_kind { LINK_SOURCE = 100, LINK_TARGET, LINK_GRADIENT };

struct stage_link {
    const struct stage *stage;
    struct relay *relay;
    int peer; /* the neighbouring stage */
    bool incoming;
    struct turn ahead; /* the next turn whose message is expected */
    int64_t end;
};

/* Messages of `floats` a sample; `depth` as in worker/relay.h. */
status link_open(struct stage_link *link, const struct stage *stage, enum link_kind kind, int peer,
                 bool incoming, int64_t floats, int depth) STATUS_MUST_USE;
void link_close(struct stage_link *link); /* also of one that was not opened, all zero */

/* Steps [step, end) come next. */
status link_begin(struct stage_link *link, int64_t step, int64_t end) STATUS_MUST_USE;

/* Incoming: the next turn's, (micro, floats), until it is released; in order. */
status link_take(struct stage_link *link, const float **data) STATUS_MUST_USE;
status link_release(struct stage_link *link) STATUS_MUST_USE;
/* Outgoing: a copy of data (micro, floats) goes to whose turn it is; NULL: zeros, after a failure. */
status link_give(struct stage_link *link, const struct turn *turn, const float *data) STATUS_MUST_USE;
status link_flush(struct stage_link *link) STATUS_MUST_USE;

#endif
