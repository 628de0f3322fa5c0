/* A teacher: the source's logits for samples of the training part, to distil from. */
#ifndef GODWIT_WORKER_TEACHER_H
#define GODWIT_WORKER_TEACHER_H

#include "worker/forward.h"

struct teacher;

/* In how many ways each of `samples` training samples may be augmented so that the teacher's outputs for all
 * of them are kept: 1 without augmentation; with it as many as 512 MiB take, at most 8, or 0 (none are kept)
 * where they do not take 4. */
int64_t teacher_variants(int64_t samples, int64_t classes, bool augment);

/* `graph`'s output 0 is the logits; graph, params and data set are borrowed. Of each training sample the
 * logits of `variants` variants are kept, of whoever asks first; 0: none, they are computed batch by batch,
 * at most `batch` samples at a time. `augment` as in struct batch_request. Not collective. */
struct teacher_options {
    int64_t variants, batch;
    bool augment;
};
status teacher_create(const struct machine *machine, const struct opgraph *graph, struct params *params,
                      struct dataset *dataset, const struct teacher_options *options,
                      struct teacher **teacher) STATUS_MUST_USE;
void teacher_destroy(struct teacher **teacher);

/* The epoch whose augmentation is to be asked for in epoch `epoch`: where variants are kept they come again
 * after as many epochs. */
int64_t teacher_epoch(const struct teacher *teacher, int64_t epoch);

/* Computes what an epoch will ask for, where it is kept: of all training samples, split over the ranks of
 * `machine`. Collective. */
status teacher_begin_epoch(struct teacher *teacher, const struct machine *machine,
                           int64_t epoch) STATUS_MUST_USE;

/* Logits (n, classes) of the training samples index[n] in epoch `epoch`, whose inputs as augmented are x.
 * Borrowed until the next call. Not collective. */
status teacher_logits(struct teacher *teacher, int64_t epoch, const int64_t *index, const float *x, int64_t n,
                      const float **logits) STATUS_MUST_USE;

/* The classes for which its logits are largest, class[size of the part]; split over the ranks of `machine`.
 * Collective. */
status teacher_classes(struct teacher *teacher, const struct machine *machine, enum dataset_part part,
                       int32_t *class) STATUS_MUST_USE;

#endif
