/* The engines built in; see registry.c. */
#ifndef GODWIT_WORKER_ENGINES_ENGINES_H
#define GODWIT_WORKER_ENGINES_ENGINES_H

#include "worker/engine.h"

#ifdef GODWIT_HAVE_ONEDNN
extern const struct engine engine_onednn;
#endif
extern const struct engine engine_openblas;

#endif
