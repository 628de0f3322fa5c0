#include "coordinator/session.h"

#include "coordinator/affinity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WATCHDOG_S 600

static int environment_number(const char *name, int otherwise) {
    const char *text = getenv(name);
    if (!text || !*text) return otherwise;
    char *end;
    long value = strtol(text, &end, 10);
    return *end || value < 0 || value > 1 << 24 ? otherwise : (int)value;
}

int session_launcher_rank(void) {
    static const char *const names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int rank = environment_number(names[i], -1);
        if (rank >= 0) return rank;
    }
    return 0;
}

/* Several tasks of the batch system, each alone in its MPI world. */
static status check_launcher(const struct comm *world) {
    int ntasks = environment_number("SLURM_NTASKS", 1);
    if (ntasks <= 1 || comm_size(world) > 1 || getenv("OMPI_COMM_WORLD_SIZE")) return SUCCESS;
    return status_fail(
        STATUS_USAGE,
        "Slurm started %d tasks (SLURM_NTASKS) but MPI sees only one: start with \"srun --mpi=pmix\" "
        "or \"mpirun\", or use one task",
        ntasks);
}

/* The words as typed, with those that hold blanks in quotation marks. */
static status join_words(int argc, char **argv, char **line) {
    size_t nbytes = 1;
    for (int i = 0; i < argc; i++) nbytes += strlen(argv[i]) + 3;
    char *text = malloc(nbytes), *end = text;
    if (!text) return status_no_memory("the command line", nbytes);
    *end = '\0';
    for (int i = 0; i < argc; i++) {
        bool quote = !*argv[i] || strpbrk(argv[i], " \t\n\"'$&|;<>()*?");
        if (i) *end++ = ' ';
        if (quote) *end++ = '\'';
        end = stpcpy(end, argv[i]);
        if (quote) *end++ = '\'';
        *end = '\0';
    }
    *line = text;
    return SUCCESS;
}

/* ---- ranks that do not answer ---- */

/* Printed before it is kept: the file may be what the other rank holds. */
static void tell(void *context, const char *line) {
    const struct session *session = context;
    if (session->log) log_progress_end(session->log);
    fprintf(stderr, "godwit: %s\n", line);
    fflush(stderr);
    if (session->log) LOG_EVENT(session->log, "error", {"message", 0, line});
}

static void pulse(void *context) {
    comm_alive(((const struct session *)context)->world);
}

/* ---- life ---- */

static status use_node(struct session *session) {
    STATUS_TRY(comm_split_node(session->world, &session->node));
    struct affinity_cores cores;
    affinity_read_cores(&cores);
    affinity_widen(&cores, comm_rank(session->node), comm_size(session->node));
    return affinity_threads(&cores, session->node, &session->threads);
}

static status use_machine(struct session *session) {
    struct affinity_cores cores;
    affinity_read_cores(&cores);
    session->threads = affinity_count(&cores);
    return SUCCESS;
}

status session_start(struct session *session, bool parallel, enum log_level level, int argc, char **argv) {
    memset(session, 0, sizeof *session);
    session->threads = 1;
    status error = join_words(argc, argv, &session->command_line);
    if (parallel) {
        error = status_first(comm_start(&argc, &argv, &session->world), error);
        if (!session->world) return error;
        comm_watchdog(session->world, WATCHDOG_S);
        comm_tell(session->world, tell, session);
        error = comm_agree(session->world, status_first(error, check_launcher(session->world)));
        if (!error) error = comm_agree(session->world, use_node(session));
    } else if (!error) {
        error = use_machine(session);
    }
    if (error) return error;
    error = log_create(parallel ? comm_rank(session->world) : 0, level, &session->log);
    if (parallel) error = comm_agree(session->world, error);
    if (!error && parallel) log_set_pulse(session->log, pulse, session);
    if (!error) log_line(session->log, LOG_DEBUG, "%d threads", session->threads);
    return error;
}

void session_stop(struct session *session) {
    log_destroy(&session->log);
    if (session->node) comm_destroy(&session->node);
    if (session->world) comm_stop(&session->world);
    free(session->command_line);
    session->command_line = NULL;
}

int session_threads(const struct session *session, int64_t wanted) {
    return wanted > 0 ? (int)wanted : session->threads;
}
