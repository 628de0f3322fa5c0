/* A teacher: the source's logits for samples of the training part, to distil from. */
#ifndef GODWIT_WORKER_TEACHER_H
#define GODWIT_WORKER_TEACHER_H

#include "worker/forward.h"

struct teacher;

/* `graph`'s output 0 is the logits; graph and params are borrowed. With `cache` the logits of all training
 * samples are computed once, split over the ranks, and kept (right only without augmentation); else they are
 * computed batch by batch, `batch` samples at a time. Collective. */
status teacher_create(const struct machine *machine, const struct opgraph *graph, struct params *params,
                      struct dataset *dataset, bool cache, int64_t batch,
                      struct teacher **teacher) STATUS_MUST_USE;
void teacher_destroy(struct teacher **teacher);

/* Logits (n, classes) of the training samples index[n], whose inputs as augmented are x; n <= batch. Borrowed
 * until the next call. Not collective. */
status teacher_logits(struct teacher *teacher, const int64_t *index, const float *x, int64_t n,
                      const float **logits) STATUS_MUST_USE;

#endif
