/* All kinds of steps; the table is in kinds.c. */
#ifndef GODWIT_WORKER_ENGINES_ONEDNN_KINDS_H
#define GODWIT_WORKER_ENGINES_ONEDNN_KINDS_H

#include "worker/engines/onednn/step.h"

extern const struct step_kind step_activation;
extern const struct step_kind step_alias;
extern const struct step_kind step_batch_norm;
extern const struct step_kind step_binary;
extern const struct step_kind step_concat;
extern const struct step_kind step_conv;
extern const struct step_kind step_dense;
extern const struct step_kind step_matmul;
extern const struct step_kind step_pool;
extern const struct step_kind step_portable;
extern const struct step_kind step_reduce;

#endif
