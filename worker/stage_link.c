#include "worker/stage_link.h"

#include <string.h>

status link_open(struct stage_link *l, const struct stage *stage, enum link_kind kind, int peer,
                 bool incoming, int64_t floats, int depth) {
    *l = (struct stage_link){.stage = stage, .peer = peer, .incoming = incoming};
    return relay_open(stage->machine->world, (int)kind, stage->micro * floats, depth, &l->relay);
}

void link_close(struct stage_link *l) {
    relay_close(&l->relay);
}

/* Receives are posted as far ahead as there is room. */
static status expect(struct stage_link *l) {
    while (l->ahead.step < l->end && relay_room(l->relay)) {
        STATUS_TRY(relay_expect(l->relay, stages_rank(l->stage->stages, l->peer, l->ahead.m)));
        stage_next_turn(l->stage, l->end, &l->ahead);
    }
    return SUCCESS;
}

status link_begin(struct stage_link *l, int64_t step, int64_t end) {
    if (!l->relay || !l->incoming) return SUCCESS;
    l->ahead = stage_first_turn(l->stage, step, end);
    l->end = end;
    return expect(l);
}

status link_take(struct stage_link *l, const float **data) {
    STATUS_TRY(expect(l));
    return relay_take(l->relay, data);
}

status link_release(struct stage_link *l) {
    relay_release(l->relay);
    return expect(l);
}

status link_give(struct stage_link *l, const struct turn *turn, const float *data) {
    float *place;
    STATUS_TRY(relay_place(l->relay, &place));
    size_t nbytes = (size_t)relay_floats(l->relay) * sizeof *place;
    if (data) memcpy(place, data, nbytes);
    else memset(place, 0, nbytes);
    return relay_send(l->relay, stages_rank(l->stage->stages, l->peer, turn->m));
}

status link_flush(struct stage_link *l) {
    return l->relay && !l->incoming ? relay_flush(l->relay) : SUCCESS;
}
