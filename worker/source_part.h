/* The source's part of a stage: computes the source's activations at its boundaries for one micro-batch after
 * the other, from those that the stage before sends, and sends the last ones on: over all stages together the
 * source runs once for a sample. */
#ifndef GODWIT_WORKER_SOURCE_PART_H
#define GODWIT_WORKER_SOURCE_PART_H

#include "worker/stage_link.h"

struct source_part;

/* Not collective. With `all` each boundary of the stage is computed, else only its last one. */
status source_part_open(struct stage *stage, bool all, struct source_part **part) STATUS_MUST_USE;
void source_part_close(struct source_part **part);

/* Steps [step, end) come next. */
status source_part_begin(struct source_part *part, int64_t step, int64_t end) STATUS_MUST_USE;
/* Computes a turn, in order; x: (micro, sample) for the first stage, else NULL. After `failed`, or an error
 * of this call, messages are sent and taken nevertheless, so that other ranks do not wait. Until
 * source_part_end() activations can be had. */
status source_part_turn(struct source_part *part, const struct turn *turn, const float *x,
                        bool failed) STATUS_MUST_USE;
/* Of a boundary from the stage's first to its last, as the source has it, (micro, floats); borrowed. */
const float *source_part_at(const struct source_part *part, int boundary);
status source_part_end(struct source_part *part) STATUS_MUST_USE;
/* Waits until what was sent has arrived. */
status source_part_flush(struct source_part *part) STATUS_MUST_USE;

/* Lets messages go on. */
void source_part_progress(const struct source_part *part);
size_t source_part_memory(const struct source_part *part); /* bytes held by the engine */

#endif
