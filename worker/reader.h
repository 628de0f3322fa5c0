/* Readers: the maps of channels whose outputs say what the channels they read are worth: convolutions, dense
 * layers, and the two that make a recurrent layer's gates, of its inputs and of its own outputs. */
#ifndef GODWIT_WORKER_READER_H
#define GODWIT_WORKER_READER_H

#include "worker/normal.h"
#include "worker/patches.h"
#include "worker/select.h"

struct reader {
    int value;        /* that it reads */
    int kernel, bias; /* parameters; bias -1: none */
    struct patches patches;
    struct channel *channel; /* [input channels], owned; group -1: nothing is known */
    struct channel *made;    /* [output channels], owned, likewise */
    struct normal *normal;   /* while its groups are chosen, owned; NULL */
};

/* Those of selection->ops that weigh all their inputs: no depthwise and no grouped convolution, and
 * none with very large patches, whose channels are chosen otherwise. Owned, also after an error. */
status readers_find(const struct selection *selection, int *n, struct reader **reader) STATUS_MUST_USE;
void readers_destroy(int n, struct reader **reader);

bool reader_reads(const struct reader *reader, int group);

#endif
