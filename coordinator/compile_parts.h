/* Parts of the compiler that both ways need: from a description and from a program's text. Internal to
 * coordinator/compile*.c. */
#ifndef GODWIT_COORDINATOR_COMPILE_PARTS_H
#define GODWIT_COORDINATOR_COMPILE_PARTS_H

#include "coordinator/compile.h"

/* Folded source, skeleton and channel map. */
status compile_begin(const struct graph *source, const struct target_config *config,
                     struct compiled **compiled) STATUS_MUST_USE;
/* kept: all of every group. */
status compile_keep_all(struct compiled *c) STATUS_MUST_USE;
/* The target, as wide as `kept` says. */
status compile_narrow(struct compiled *c, const char *name) STATUS_MUST_USE;
/* The programs that give what the target is compared with. */
status compile_full_programs(struct compiled *c, const struct graph *source, const char *path,
                             const char *digest) STATUS_MUST_USE;
/* The channels of a node's output, or those inside the node; borrowed, [*width]. */
const struct channel *compile_channels(const struct compiled *c, int node, bool inner, int *width);
/* How many positions of a node's output, or of the channels inside it, stay when the classes chosen[group]
 * stay; NULL for a group: the first kept[group]. They go to `index`, which may be NULL, else has room for
 * all. */
int64_t compile_positions(const struct compiled *c, const int *kept, int node, bool inner,
                          int64_t *const *chosen, int64_t *index);
/* The program's list of what stays there, each position repeated; made at first use. *index -1: everything
 * stays. */
status compile_keep_of(struct compiled *c, struct plan *plan, int node, bool inner, int repeat,
                       int *index) STATUS_MUST_USE;

#endif
