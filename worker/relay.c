#include "worker/relay.h"

#include <stdlib.h>

struct slot {
    float *data;
    struct comm_message *message; /* under way */
};

struct relay {
    const struct comm *comm;
    int tag, depth;
    int64_t floats;
    struct slot *slot; /* [depth] */
    int64_t begun, taken, released;
};

static size_t bytes_of(const struct relay *r) {
    return (size_t)r->floats * sizeof(float);
}

static struct slot *slot_of(const struct relay *r, int64_t message) {
    return &r->slot[message % r->depth];
}

status relay_open(const struct comm *comm, int tag, int64_t floats, int depth, struct relay **relay) {
    struct relay *r = calloc(1, sizeof *r);
    if (!r) return status_no_memory("a relay", sizeof *r);
    *r = (struct relay){.comm = comm, .tag = tag, .depth = depth, .floats = floats};
    r->slot = calloc((size_t)depth, sizeof *r->slot);
    status error = r->slot ? SUCCESS : status_no_memory("a relay", (size_t)depth * sizeof *r->slot);
    for (int i = 0; i < depth && !error; i++)
        error = memory_alloc("a relay (lower training.batch)", (size_t)floats, sizeof(float),
                             (void **)&r->slot[i].data);
    if (error) relay_close(&r);
    *relay = r;
    return error;
}

void relay_close(struct relay **relay) {
    struct relay *r = *relay;
    if (!r) return;
    for (int i = 0; r->slot && i < r->depth; i++) {
        status error = comm_message_end(&r->slot[i].message);
        status_drop(&error); /* what failed has been reported where it was waited for */
        free(r->slot[i].data);
    }
    free(r->slot);
    free(r);
    *relay = NULL;
}

status relay_place(struct relay *r, float **data) {
    struct slot *slot = slot_of(r, r->begun);
    *data = slot->data;
    return comm_message_end(&slot->message);
}

status relay_send(struct relay *r, int to) {
    struct slot *slot = slot_of(r, r->begun++);
    return comm_send_begin(r->comm, to, r->tag, slot->data, bytes_of(r), &slot->message);
}

status relay_flush(struct relay *r) {
    status error = SUCCESS;
    for (int i = 0; i < r->depth; i++) error = status_first(error, comm_message_end(&r->slot[i].message));
    return error;
}

bool relay_room(const struct relay *r) {
    return r->begun - r->released < r->depth;
}

status relay_expect(struct relay *r, int from) {
    struct slot *slot = slot_of(r, r->begun++);
    return comm_recv_begin(r->comm, from, r->tag, slot->data, bytes_of(r), &slot->message);
}

status relay_take(struct relay *r, const float **data) {
    struct slot *slot = slot_of(r, r->taken++);
    *data = slot->data;
    return comm_message_end(&slot->message);
}

void relay_release(struct relay *r) {
    r->released++;
}

void relay_progress(const struct relay *r) {
    for (int i = 0; r && i < r->depth; i++) (void)comm_message_done(r->slot[i].message);
}

int64_t relay_floats(const struct relay *r) {
    return r->floats;
}
