/* Calls of MPI that block and cannot be watched from inside: a timer ends the run if one does not return.
 * Only what a signal handler may do is done then: ranks of this node are looked up in /proc. */
#include "shared/comm_mpi.h"
#include "shared/comm_watch.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SPEAKERS 3      /* ranks after which the timers run out one after the other, so that one speaks */
#define SPEAKER_APART 3 /* seconds between them */
#define PATH_SIZE 24

struct comm_guard {
    int rank, n;
    char (*path)[PATH_SIZE]; /* [n] of each rank's /proc/<pid>/stat; "": on another node */
};

/* What the handler needs; a process waits in one call at a time. */
static const struct comm_guard *volatile guarding;
static const char *volatile operation, *volatile phase;
static volatile double limit;

struct place {
    char host[64];
    int pid;
};

static status fill(MPI_Comm world, struct comm_guard *g) {
    struct place mine = {.pid = (int)getpid()}, *all = calloc((size_t)g->n, sizeof *all);
    gethostname(mine.host, sizeof mine.host - 1);
    if (!all) return status_no_memory("a watchdog", (size_t)g->n * sizeof *all);
    status error = comm_mpi_check(
        MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, world), "gather");
    for (int r = 0; r < g->n && !error; r++)
        if (!strcmp(all[r].host, mine.host)) snprintf(g->path[r], PATH_SIZE, "/proc/%d/stat", all[r].pid);
    free(all);
    return error;
}

status comm_guard_create(MPI_Comm world, struct comm_guard **guard) {
    struct comm_guard *g = calloc(1, sizeof *g);
    if (!g) return status_no_memory("a watchdog", sizeof *g);
    MPI_Comm_rank(world, &g->rank);
    MPI_Comm_size(world, &g->n);
    g->path = calloc((size_t)g->n, sizeof *g->path);
    status error = g->path ? fill(world, g) : status_no_memory("a watchdog", (size_t)g->n * sizeof *g->path);
    if (error) comm_guard_destroy(&g);
    *guard = g;
    return error;
}

void comm_guard_destroy(struct comm_guard **guard) {
    if (!*guard) return;
    free((*guard)->path);
    free(*guard);
    *guard = NULL;
}

/* ---- in the handler ---- */

/* Is the process stopped, or gone? The state is the letter after the last parenthesis. */
static bool is_silent(const char *path) {
    char text[512];
    int file = open(path, O_RDONLY);
    if (file < 0) return true;
    ssize_t n = read(file, text, sizeof text - 1);
    close(file);
    if (n <= 0) return true;
    text[n] = '\0';
    const char *end = strrchr(text, ')');
    return end && (end[1] == ' ') && strchr("TtZX", end[2]) != NULL;
}

/* Texts are short: names of operations and phases. */
static size_t put(char *line, size_t at, const char *text) {
    size_t n = strnlen(text, 96);
    memcpy(line + at, text, n);
    return at + n;
}

static size_t put_number(char *line, size_t at, int number) {
    char digits[12];
    int n = 0;
    do digits[n++] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    while (n > 0) line[at++] = digits[--n];
    return at;
}

static void end_run(int signal_number) {
    const struct comm_guard *g = guarding;
    char line[512];
    int silent = -1;
    (void)signal_number;
    for (int r = 0; r < g->n && silent < 0; r++)
        if (r != g->rank && g->path[r][0] && is_silent(g->path[r])) silent = r;
    size_t at = put(line, 0, "godwit: ");
    if (silent >= 0) {
        at = put_number(line, put(line, at, "rank "), silent);
        at = put_number(line, put(line, at, " has not answered for "), (int)limit);
        at = put_number(line, put(line, at, " s; rank "), g->rank);
        at = put(line, put(line, at, " waits for it in "), operation);
    } else {
        at = put_number(line, put(line, at, "rank "), g->rank);
        at = put_number(line, put(line, at, " has waited for "), (int)limit);
        at = put(line, put(line, at, " s for another rank in "), operation);
    }
    if (phase) at = put(line, put(line, put(line, at, " ("), phase), ")");
    at = put(line, at, ". It may be stopped, or its node down; run the same command again\n");
    ssize_t n = write(STDERR_FILENO, line, at);
    (void)n;
    _exit(status_exit_code(STATUS_SILENT));
}

/* ---- around a call ---- */

void comm_guard_begin(const struct comm *comm, const char *name) {
    struct comm_watch *watch = comm_watch_of(comm);
    const struct comm_guard *g = comm_watch_guard(watch);
    double seconds = comm_watch_limit(watch);
    if (!(seconds > 0)) return;
    guarding = g;
    operation = name;
    phase = comm_watch_phase(watch);
    limit = seconds;
    struct sigaction action = {.sa_handler = end_run};
    sigemptyset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    int later = g->rank < SPEAKERS ? g->rank : SPEAKERS;
    alarm((unsigned)seconds + 1 + (unsigned)(SPEAKER_APART * later));
}

void comm_guard_end(void) {
    alarm(0);
}
