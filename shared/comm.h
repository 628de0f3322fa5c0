/* Communication between ranks. MPI is seen only in shared/comm*.c, in io/ for parallel HDF5
 * (shared/comm_mpi.h) and in main.
 *
 * "Collective" below means that every rank of the communicator calls the function, in the same order. A rank
 * that has failed skips its local work but keeps its place in the collectives, and then agrees. */
#ifndef GODWIT_SHARED_COMM_H
#define GODWIT_SHARED_COMM_H

#include "shared/status.h"
#include "shared/tensor.h"

struct comm;

/* Starts MPI (once a process) and makes the world. Collective. */
status comm_start(int *argc, char ***argv, struct comm **world) STATUS_MUST_USE;
/* Ends MPI. Collective. */
void comm_stop(struct comm **world);
/* Kills every rank at once: only when an invariant broke or a rank cannot reach the next collective. */
_Noreturn void comm_abort(const struct comm *comm, int exit_code);

int comm_rank(const struct comm *comm);
int comm_size(const struct comm *comm);
static inline bool comm_is_root(const struct comm *comm) {
    return comm_rank(comm) == 0;
}

/* ---- ranks that do not answer, and what is seen ----
 *
 * These hold for a world and all communicators made from it. */

/* A rank of which nothing is heard for `seconds`, while others wait for it, ends the run; so do ranks that
 * all wait for each other. It is heard whenever it waits itself or calls comm_alive(), so that the limit has
 * to be longer than anything that is computed, read or written between two of these. 0, as at first: never.
 * Not collective, but the same on all ranks. */
void comm_watchdog(const struct comm *comm, double seconds);
/* One rank, the lowest that waits, calls this with the line that says why, and then ends all with the exit
 * code of STATUS_SILENT, or of STATUS_INTERNAL if all wait for each other. NULL: nobody is told. */
typedef void comm_teller(void *context, const char *line);
void comm_tell(const struct comm *comm, comm_teller *tell, void *context);
/* What the ranks are doing ("refit"), for that line; borrowed, NULL: nothing. */
void comm_phase(const struct comm *comm, const char *phase);
/* Answers those who ask whether this rank is still there. Cheap: to be called from long loops. NULL is fine.
 */
void comm_alive(const struct comm *comm);

/* Sees every operation below when it has ended: its name ("all-reduce"), a literal, the bytes of it (0: a
 * barrier or an agreement), and from when to when, in comm_time(). What it spends on waiting for others and
 * on moving data cannot be told apart; up to a few KiB it is nearly all waiting. NULL: nobody sees them any
 * more, if `context` is that of who does. */
typedef void comm_observer(void *context, const char *operation, size_t nbytes, double begin, double end);
void comm_observe(const struct comm *comm, comm_observer *seen, void *context);

/* Ranks with the same color, ordered by key. Collective. */
status comm_split(const struct comm *comm, int color, int key, struct comm **part) STATUS_MUST_USE;
/* Ranks that share this rank's memory (a node). Collective. */
status comm_split_node(const struct comm *comm, struct comm **node) STATUS_MUST_USE;
void comm_destroy(struct comm **comm); /* collective */

/* All ranks learn whether any failed: if none did, SUCCESS; else each returns the same error, that of the
 * lowest failed rank, with "rank R: " before its message if there are several ranks and it is not rank 0.
 * Consumes `local`. Collective. */
status comm_agree(const struct comm *comm, status local) STATUS_MUST_USE;

status comm_barrier(const struct comm *comm) STATUS_MUST_USE;
status comm_bcast(const struct comm *comm, int root, void *data, size_t nbytes) STATUS_MUST_USE;
/* Root gives a text, everybody gets an owned copy. */
status comm_bcast_text(const struct comm *comm, int root, const char *text, char **copy) STATUS_MUST_USE;

/* In place, over all ranks, in an order that depends on the number of ranks only. Collective. */
status comm_sum_f64(const struct comm *comm, double *data, size_t n) STATUS_MUST_USE;
status comm_sum_f32(const struct comm *comm, float *data, size_t n) STATUS_MUST_USE;
status comm_sum_i64(const struct comm *comm, int64_t *data, size_t n) STATUS_MUST_USE;
status comm_max_f64(const struct comm *comm, double *data, size_t n) STATUS_MUST_USE;
/* True where any rank's flag is. */
status comm_any(const struct comm *comm, bool flag, bool *any) STATUS_MUST_USE;

/* A sum under way. begin/end are collective in order; progress is not and may be called at any time. */
struct comm_sum;
status comm_sum_f32_begin(const struct comm *comm, float *data, size_t n,
                          struct comm_sum **sum) STATUS_MUST_USE;
void comm_sum_progress(struct comm_sum *sum);
status comm_sum_end(struct comm_sum **sum) STATUS_MUST_USE;

status comm_send(const struct comm *comm, int to, int tag, const void *data, size_t nbytes) STATUS_MUST_USE;
status comm_recv(const struct comm *comm, int from, int tag, void *data, size_t nbytes) STATUS_MUST_USE;

/* A message under way: begin never waits for the other side, end does. Those between the same two ranks with
 * the same tag arrive in order. `data` must stay as it is until end; at most 2 GiB. Not collective. */
struct comm_message;
status comm_send_begin(const struct comm *comm, int to, int tag, const void *data, size_t nbytes,
                       struct comm_message **message) STATUS_MUST_USE;
status comm_recv_begin(const struct comm *comm, int from, int tag, void *data, size_t nbytes,
                       struct comm_message **message) STATUS_MUST_USE;
/* Has it arrived? Lets messages go on. NULL has. */
bool comm_message_done(const struct comm_message *message);
status comm_message_end(struct comm_message **message) STATUS_MUST_USE; /* accepts NULL */

/* Memory that the ranks of a node share: rank 0 of `node` owns `nbytes`, all see them at *data. Writers must
 * be separated from readers by comm_window_sync. Collective over `node`. */
struct comm_window;
status comm_window_create(const struct comm *node, size_t nbytes, void **data,
                          struct comm_window **window) STATUS_MUST_USE;
status comm_window_sync(struct comm_window *window) STATUS_MUST_USE;
void comm_window_destroy(struct comm_window **window);

double comm_time(void); /* seconds, monotonic */

#endif
