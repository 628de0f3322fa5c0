/* Rooms that go round between three who work at the same time: what one has read, the next computes, and the
 * last writes. Each is a thread; the rooms are numbers. */
#ifndef GODWIT_WORKER_CONVEYOR_H
#define GODWIT_WORKER_CONVEYOR_H

#include "shared/status.h"

enum conveyor_stage { CONVEYOR_READ, CONVEYOR_COMPUTE, CONVEYOR_WRITE, CONVEYOR_STAGES };

struct conveyor;

status conveyor_create(int rooms, struct conveyor **conveyor) STATUS_MUST_USE;
void conveyor_destroy(struct conveyor **conveyor); /* accepts NULL */

/* The next room for a stage, once the stage before is done with it; -1: there will be none, because the stage
 * before has ended and nothing is left of it, or one that follows has ended. */
int conveyor_take(struct conveyor *conveyor, enum conveyor_stage stage);
/* It goes on to the next. */
void conveyor_pass(struct conveyor *conveyor, enum conveyor_stage stage);
/* The stage does no more; those after it finish what it has passed on. */
void conveyor_end(struct conveyor *conveyor, enum conveyor_stage stage);

#endif
