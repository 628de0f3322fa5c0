/* The compiler: source graph and target description to target graph and migration program. */
#ifndef GODWIT_COORDINATOR_COMPILE_H
#define GODWIT_COORDINATOR_COMPILE_H

#include "coordinator/skeleton.h"
#include "io/config.h"
#include "shared/channels.h"
#include "shared/plan.h"

/* What comes out. The skeleton and the target have the same layers and nodes by number, and their operation
 * graphs the same operations and values: the target differs in widths only. */
struct compiled {
    struct fold *fold;
    struct skeleton *skeleton;
    struct graph *target;
    struct channel_map *map; /* of the skeleton */
    int *kept;               /* [groups] classes kept of each group */
    struct plan *whole;      /* source -> folded graph: the source itself, batch norms folded */
    struct plan *uncut;      /* source -> skeleton; NULL if that is the folded graph */
    struct plan *plan;       /* source -> target */
};

/* `source` is inferred and borrowed by the result. `digest` may be NULL. Errors: USAGE, UNSUPPORTED. */
status compile_target(const struct graph *source, const char *source_path, const char *digest,
                      const struct target_config *config, const char *name,
                      struct compiled **compiled) STATUS_MUST_USE;

/* The same from a program's text: the target has the layers that the configuration asks for, and the widths
 * of the program's statements. DATA error, with its position in the text in *at, line 0 if it has none. */
status compile_program(const struct graph *source, const char *source_path, const char *digest,
                       const char *text, const struct target_config *config, const char *name,
                       struct compiled **compiled, struct position *at) STATUS_MUST_USE;

/* Chooses the widths again and makes the target and its program for them: with a budget, by
 * error[group][kept] (see coordinator/budget.h; NULL: nothing is known). */
status compile_widths(struct compiled *compiled, const struct target_config *config,
                      const double *const *error, const char *name) STATUS_MUST_USE;
/* The same with kept[groups] classes of each group. */
status compile_kept(struct compiled *compiled, const struct target_config *config, const int *kept,
                    const char *name) STATUS_MUST_USE;
/* The skeleton narrowed to kept[groups] classes; *graph is the caller's, on failure too. */
status compile_narrowed(const struct compiled *compiled, const int *kept,
                        struct graph **graph) STATUS_MUST_USE;

void compiled_destroy(struct compiled **compiled);

/* Has the program's text chosen the classes of all groups that are pruned? */
bool compile_is_given(const struct compiled *compiled);
/* The classes that it has chosen: chosen[group] is owned by the caller; others that are there are freed. */
status compile_given(const struct compiled *compiled, int64_t **chosen) STATUS_MUST_USE;

/* Likewise those of all keep lists that have their positions, given or chosen. */
status compile_chosen(const struct compiled *compiled, int64_t **chosen) STATUS_MUST_USE;

/* Where the target can be cut in slices: nodes of it that end a slice of the program, with the folded
 * source's node of the same meaning, and which of its channels the target has. What is not known of a node's
 * channels leaves it out. */
struct compiled_boundary {
    int source, target;
    int64_t *column; /* [channels of the target's], NULL: all of them; owned */
};
/* *boundary [*n] is the caller's, on failure too. Channels have been chosen. */
status compile_boundaries(const struct compiled *compiled, int *n,
                          struct compiled_boundary **boundary) STATUS_MUST_USE;

/* Gives the classes chosen for every group that is pruned: chosen[group] has kept[group] ascending class
 * numbers, NULL where all are kept. Fills the keep lists of the plan. DATA error for a list
 * that a text has with other positions than these choices leave. */
status compile_choose(struct compiled *compiled, int64_t *const *chosen) STATUS_MUST_USE;

#endif
