/* Readers: the operations whose outputs say what the channels they read are worth. */
#ifndef GODWIT_WORKER_READER_H
#define GODWIT_WORKER_READER_H

#include "worker/normal.h"
#include "worker/patches.h"
#include "worker/select.h"

struct reader {
    int op;
    struct patches patches;
    struct channel *channel; /* [input channels], owned; group -1: nothing is known */
    struct channel *made;    /* [output channels], owned, likewise */
    struct normal *normal;   /* while its groups are chosen, owned; NULL */
};

/* The operations of selection->ops that weigh all their inputs: no depthwise and no grouped convolution, and
 * none with very large patches, whose channels are chosen otherwise. Owned, also after an error. */
status readers_find(const struct selection *selection, int *n, struct reader **reader) STATUS_MUST_USE;
void readers_destroy(int n, struct reader **reader);

bool reader_reads(const struct reader *reader, int group);

#endif
