/* Ranks that are stopped, stuck or slow. The test starts itself under mpirun, as ranks of which one stops; it
 * is no rank itself. With "all": every rank of 2, 3 and 4 in every kind of operation. */
#include <dirent.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "shared/comm.h"
#include "shared/comm_mpi.h"
#include "shared/comm_watch.h"

#define LIMIT_S 1.0
#define IN_TIME_S 10.0 /* beyond the limit */
#define FLOATS ((size_t)1 << 18)

/* ---- a rank ---- */

struct rank {
    struct comm *world, *node;
    struct comm_window *window;
    float *data;
};

static status do_barrier(struct rank *r) {
    return comm_barrier(r->world);
}

static status do_agreement(struct rank *r) {
    return comm_agree(r->world, SUCCESS);
}

static status do_small_sum(struct rank *r) {
    double sum[4] = {1, 2, 3, 4};
    return comm_sum_f64(r->world, sum, 4);
}

static status do_large_sum(struct rank *r) {
    return comm_sum_f32(r->world, r->data, FLOATS);
}

static status do_background_sum(struct rank *r) {
    struct comm_sum *sum = NULL;
    STATUS_TRY(comm_sum_f32_begin(r->world, r->data, FLOATS, &sum));
    return comm_sum_end(&sum);
}

static status do_broadcast(struct rank *r) {
    return comm_bcast(r->world, comm_size(r->world) - 1, r->data, FLOATS * sizeof(float));
}

static status do_window(struct rank *r) {
    return comm_window_sync(r->window);
}

static status do_split(struct rank *r) {
    struct comm *part = NULL;
    STATUS_TRY(comm_split(r->world, 0, 0, &part));
    comm_destroy(&part);
    return SUCCESS;
}

/* A ring: each rank has one that it waits for. */
static status do_ring(struct rank *r) {
    int rank = comm_rank(r->world), n = comm_size(r->world);
    int to = (rank + 1) % n, from = (rank + n - 1) % n;
    size_t nbytes = FLOATS * sizeof(float);
    if (rank) STATUS_TRY(comm_recv(r->world, from, 1, r->data, nbytes));
    STATUS_TRY(comm_send(r->world, to, 1, r->data, nbytes));
    return rank ? SUCCESS : comm_recv(r->world, from, 1, r->data, nbytes);
}

/* What MPI does by itself. */
static status do_blocking(struct rank *r) {
    comm_guard_begin(r->world, "blocking");
    int code = MPI_Barrier(comm_mpi(r->world));
    comm_guard_end();
    return comm_mpi_check(code, "barrier");
}

static const struct kind {
    const char *name;
    const char *places; /* where the others wait then */
    status (*operation)(struct rank *r);
} KINDS[] = {
    {"barrier", "barrier", do_barrier},
    {"agreement", "agreement", do_agreement},
    {"small sum", "all-reduce", do_small_sum},
    {"large sum", "all-reduce", do_large_sum},
    {"background sum", "all-reduce", do_background_sum},
    {"broadcast", "broadcast", do_broadcast},
    {"window", "window", do_window},
    {"split", "split end", do_split},
    {"ring", "send receive", do_ring},
    {"blocking call", "blocking", do_blocking},
};
#define NKINDS ((int)(sizeof KINDS / sizeof *KINDS))

static void tell(void *context, const char *line) {
    (void)context;
    fprintf(stderr, "godwit: %s\n", line);
}

static void leave_pid(const char *folder, int rank) {
    char path[512];
    snprintf(path, sizeof path, "%s/%d.%d", folder, rank, (int)getpid());
    FILE *file = fopen(path, "w");
    if (file) fclose(file);
}

/* One rank does something else: stops, computes and answers, computes and does not. */
static status misbehave(struct rank *r, const char *how) {
    double begin = comm_time();
    volatile double x = 1;
    if (!strcmp(how, "stop")) raise(SIGSTOP);
    else if (!strcmp(how, "deadlock")) return comm_recv(r->world, 0, 5, r->data, 4);
    else
        while (comm_time() - begin < 6 * LIMIT_S) {
            x = x * 1.0000001;
            if (!strcmp(how, "alive")) comm_alive(r->world);
        }
    return SUCCESS;
}

static status run_rank(struct rank *r, const struct kind *kind, int which, const char *how) {
    size_t nbytes = FLOATS * sizeof(float);
    void *shared = NULL;
    STATUS_TRY(comm_split_node(r->world, &r->node));
    STATUS_TRY(comm_window_create(r->node, nbytes, &shared, &r->window));
    for (int i = 0; i < 20; i++) {
        if (i == 10 && comm_rank(r->world) == which) STATUS_TRY(misbehave(r, how));
        STATUS_TRY(kind->operation(r));
    }
    comm_window_destroy(&r->window);
    comm_destroy(&r->node);
    return SUCCESS;
}

static int be_rank(int argc, char **argv) {
    struct rank r = {.data = calloc(FLOATS, sizeof(float))};
    int kind = atoi(argv[2]), which = atoi(argv[3]);
    const char *how = argv[4], *folder = argv[5];
    status error = comm_start(&argc, &argv, &r.world);
    if (error || !r.data) return 99;
    leave_pid(folder, comm_rank(r.world));
    comm_watchdog(r.world, strcmp(how, "patient") ? LIMIT_S : 60);
    comm_tell(r.world, tell, NULL);
    comm_phase(r.world, "test");
    bool at_end = !strcmp(how, "end");
    error = run_rank(&r, &KINDS[kind], at_end ? -1 : which, strcmp(how, "patient") ? how : "stop");
    if (error) return 98;
    if (at_end && comm_rank(r.world) == which) {
        comm_destroy(&r.world);
        raise(SIGSTOP);
    }
    comm_stop(&r.world);
    free(r.data);
    return 0;
}

/* ---- the test ---- */

static const char *program;
static char err[1 << 16], folder[64];

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/godwit-watchdog-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

/* Calls `with` for every rank that ran; returns how many there were. */
static int for_each_pid(bool (*with)(pid_t pid)) {
    int n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        const char *dot = strchr(e->d_name, '.');
        if (e->d_name[0] >= '0' && e->d_name[0] <= '9' && dot) n += with((pid_t)atoi(dot + 1));
    }
    if (dir) closedir(dir);
    return n;
}

static bool lives(pid_t pid) {
    return kill(pid, 0) == 0;
}

static bool end_process(pid_t pid) {
    kill(pid, SIGCONT);
    return kill(pid, SIGKILL) == 0;
}

static bool stop_process(pid_t pid) {
    return kill(pid, SIGSTOP) == 0;
}

static bool let_go_on(pid_t pid) {
    return kill(pid, SIGCONT) == 0;
}

static void empty_folder(void) {
    char path[512];
    DIR *dir = opendir(folder);
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (e->d_name[0] != '.') unlink(path);
    }
    if (dir) closedir(dir);
}

static int remove_folder(void **state) {
    (void)state;
    for_each_pid(end_process);
    empty_folder();
    return rmdir(folder);
}

static void sleep_until(double end) {
    while (comm_time() < end) usleep(10000);
}

/* Runs ranks; returns mpirun's exit code, with what they wrote in err and the time it took. `stop`, `go_on`:
 * seconds after which all are stopped, and go on; 0: never. */
static int run(int n, int kind, int which, const char *how, double stop, double go_on, double *seconds) {
    char command[2048], path[128];
    empty_folder();
    snprintf(path, sizeof path, "%s/err", folder);
    snprintf(command, sizeof command,
             "timeout -k 5 60 mpirun --oversubscribe -n %d '%s' rank %d %d %s '%s' 2>'%s' </dev/null", n,
             program, kind, which, how, folder, path);
    double begin = comm_time();
    pid_t pid = fork();
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(97);
    }
    int code = 0;
    if (stop > 0) sleep_until(begin + stop);
    if (stop > 0) for_each_pid(stop_process);
    if (go_on > 0) sleep_until(begin + go_on);
    if (go_on > 0) for_each_pid(let_go_on);
    waitpid(pid, &code, 0);
    *seconds = comm_time() - begin;
    FILE *file = fopen(path, "r");
    size_t used = file ? fread(err, 1, sizeof err - 1, file) : 0;
    err[used] = '\0';
    if (file) fclose(file);
    for (int i = 0; i < 200 && for_each_pid(lives) > 0; i++) usleep(10000);
    if (for_each_pid(lives) > 0) {
        for_each_pid(end_process);
        fail_msg("ranks were left behind: %s", err);
    }
    return WIFEXITED(code) ? WEXITSTATUS(code) : -1;
}

static const char *the_line(char *line, size_t size) {
    int n = 0;
    for (const char *at = err; (at = strstr(at, "godwit: ")); at += 8) {
        if (at != err && at[-1] != '\n') continue;
        n++;
        snprintf(line, size, "%.*s", (int)strcspn(at, "\n"), at);
    }
    if (n != 1) fail_msg("%d lines where there is to be one:\n%s", n, err);
    return line;
}

static void stop_one(int n, int kind, int which, const char *how) {
    char line[1024], wanted[128];
    double seconds = 0;
    int code = run(n, kind, which, how, 0, 0, &seconds), waiter = -1;
    the_line(line, sizeof line);
    snprintf(wanted, sizeof wanted, "godwit: rank %d has not answered for ", which);
    if (code != 76 || strncmp(line, wanted, strlen(wanted)) != 0)
        fail_msg("%s, rank %d of %d: exit code %d, %s\n%s", KINDS[kind].name, which, n, code, line, err);
    double said = strtod(line + strlen(wanted), NULL);
    char place[64] = "";
    const char *rest = strstr(line, "; rank ");
    if (!rest || sscanf(rest, "; rank %d waits for it in %60[^(. ] (test). It may be", &waiter, place) != 2 ||
        waiter < 0 || waiter >= n || waiter == which || !strstr(KINDS[kind].places, place))
        fail_msg("%s, rank %d of %d: %s", KINDS[kind].name, which, n, line);
    if (said < LIMIT_S || seconds > LIMIT_S + IN_TIME_S)
        fail_msg("%s, rank %d of %d: %.1f s: %s", KINDS[kind].name, which, n, seconds, line);
}

/* Every rank and every kind once or more. */
static void a_stopped_rank_is_named(void **state) {
    (void)state;
    int kind = 0;
    for (int n = 2; n <= 4; n++)
        for (int which = 0; which < n; which++) stop_one(n, kind++ % NKINDS, which, "stop");
}

static void a_stopped_rank_is_named_everywhere(void **state) {
    (void)state;
    for (int n = 2; n <= 4; n++)
        for (int which = 0; which < n; which++)
            for (int kind = 0; kind < NKINDS; kind++) stop_one(n, kind, which, "stop");
}

static void a_rank_stopped_inside_mpi_is_named(void **state) {
    (void)state;
    for (int which = 0; which < 3; which++) stop_one(3, NKINDS - 1, which, "stop");
}

static void a_stuck_rank_is_named(void **state) {
    (void)state;
    stop_one(2, 2, 1, "stuck");
}

static void a_rank_that_computes_is_not_named(void **state) {
    (void)state;
    double seconds = 0;
    int code = run(3, 2, 1, "alive", 0, 0, &seconds);
    if (code) fail_msg("exit code %d\n%s", code, err);
    assert_true(seconds >= 6 * LIMIT_S);
}

static void a_rank_that_goes_on_is_not_named(void **state) {
    (void)state;
    double seconds = 0;
    int code = run(2, 0, 1, "patient", 0, 3, &seconds);
    if (code) fail_msg("exit code %d\n%s", code, err);
}

/* After all is done, while MPI ends. */
static void a_rank_that_does_not_end_ends_the_run(void **state) {
    (void)state;
    for (int which = 0; which < 2; which++) {
        char line[1024];
        double seconds = 0;
        int code = run(2, 0, which, "end", 0, 0, &seconds);
        the_line(line, sizeof line);
        if (code != 76 || !strstr(line, "ranks have not ended in time") || seconds > LIMIT_S + IN_TIME_S)
            fail_msg("exit code %d after %.1f s: %s", code, seconds, line);
    }
}

/* Rank 1 computes and answers; meanwhile all are stopped for longer than the limit and what is added to it.
 */
static void a_pause_of_all_is_forgiven(void **state) {
    (void)state;
    double seconds = 0;
    int code = run(3, 2, 1, "alive", 1.5, 5.5, &seconds);
    if (code) fail_msg("exit code %d\n%s", code, err);
    assert_true(seconds >= 6 * LIMIT_S);
}

/* Rank 1 waits for a message that nobody sends. */
static void ranks_that_wait_for_each_other_are_told(void **state) {
    (void)state;
    char line[1024];
    double seconds = 0;
    int code = run(3, 0, 1, "deadlock", 0, 0, &seconds);
    the_line(line, sizeof line);
    if (code != 70 || strncmp(line, "godwit: all ranks have waited for ", 34) != 0 ||
        !strstr(line, "rank 0 in barrier (test), rank 1 in receive (test), rank 2 in barrier (test)"))
        fail_msg("exit code %d: %s", code, line);
    assert_true(seconds < LIMIT_S + IN_TIME_S);
}

int main(int argc, char **argv) {
    program = argv[0];
    if (argc == 6 && !strcmp(argv[1], "rank")) return be_rank(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stopped_rank_is_named),
        cmocka_unit_test(a_rank_stopped_inside_mpi_is_named),
        cmocka_unit_test(a_stuck_rank_is_named),
        cmocka_unit_test(a_rank_that_computes_is_not_named),
        cmocka_unit_test(a_rank_that_goes_on_is_not_named),
        cmocka_unit_test(a_rank_that_does_not_end_ends_the_run),
        cmocka_unit_test(a_pause_of_all_is_forgiven),
        cmocka_unit_test(ranks_that_wait_for_each_other_are_told),
    };
    const struct CMUnitTest all[] = {cmocka_unit_test(a_stopped_rank_is_named_everywhere)};
    if (argc == 2 && !strcmp(argv[1], "all")) return cmocka_run_group_tests(all, make_folder, remove_folder);
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
