/* Jobs that are killed or stopped while they run. Include after cmocka.h. */
#ifndef GODWIT_TESTS_COORDINATOR_JOB_PROCESS_H
#define GODWIT_TESTS_COORDINATOR_JOB_PROCESS_H

#include "coordinator/jobs_testing.h"

#include "io/keras.h"

#include <fcntl.h>
#include <signal.h>
#include <time.h>

/* A larger source: three layers of SIZE x SIZE and one of SIZE x 2, migrated a row at a time; of the last one
 * 131 rows of 8 bytes go into a chunk of 1048. */
#define SIZE 1800
#define CHUNKS (3 * (SIZE + 1) + (SIZE + 130) / 131)
static const char large[] =
    "{\"name\":\"large\",\"source\":\"large.h5\",\"target\":{\"width\":1,\"precision\":"
    "\"bfloat16\"},\"refit\":{\"samples\":0},\"training\":{\"epochs\":0},"
    "\"migration\":{\"chunk_mib\":0.001},\"output\":\"made.h5\",\"runs\":\"srk\"}";

static inline void write_large(void) {
    struct graph *graph = NULL;
    struct model *model = NULL;
    char json[2048];
    snprintf(json, sizeof json,
             "{\"class_name\":\"Sequential\",\"config\":{\"name\":\"large\",\"layers\":["
             "{\"class_name\":\"InputLayer\",\"config\":{\"name\":\"in\",\"batch_input_shape\":[null,%d]}},"
             "{\"class_name\":\"Dense\",\"config\":{\"name\":\"a\",\"units\":%d}},"
             "{\"class_name\":\"Dense\",\"config\":{\"name\":\"b\",\"units\":%d}},"
             "{\"class_name\":\"Dense\",\"config\":{\"name\":\"c\",\"units\":%d}},"
             "{\"class_name\":\"Dense\",\"config\":{\"name\":\"d\",\"units\":2,\"use_bias\":false}}]}}",
             SIZE, SIZE, SIZE, SIZE);
    assert_success(keras_graph_from_json(json, &graph));
    assert_success(model_create(graph, &model));
    struct rng rng = rng_make(1, 2, 3);
    for (int64_t i = 0; i < model->params->total; i++) model->params->data[i] = (float)rng_uniform(&rng);
    assert_success(model_write(in_folder("large.h5"), model));
    model_destroy(&model);
    write_text("large.json", large);
}

/* Starts a command of godwit in a process group of its own. */
static inline pid_t start_command(int ranks, const char *arguments) {
    pid_t pid = fork();
    if (pid) return pid;
    char program[] = GODWIT_PROGRAM, number[16], command[4096];
    snprintf(number, sizeof number, "%d", ranks);
    int to = open(in_folder("err.txt"), O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (setpgid(0, 0) || chdir(test_folder) || to < 0) _exit(99);
    dup2(to, STDOUT_FILENO);
    dup2(to, STDERR_FILENO);
    snprintf(command, sizeof command, "exec %s%s %s %s", ranks ? "mpirun -n " : "", ranks ? number : "",
             program, arguments);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(99);
}

static inline pid_t start(int ranks, const char *arguments) {
    char line[2048];
    snprintf(line, sizeof line, "migrate %s", arguments);
    return start_command(ranks, line);
}

/* Lines of chunks in a journal. */
static inline int lines_of(const char *journal) {
    FILE *file = fopen(in_folder(journal), "r");
    char line[1024];
    int n = 0;
    while (file && fgets(line, sizeof line, file)) n += !strncmp(line, "done ", 5);
    if (file) fclose(file);
    return n;
}

static inline int journal_lines(void) {
    return lines_of(".made.h5.migration.journal");
}

static inline void sleep_ms(long ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Waits until the journal has so many lines. */
static inline void wait_for_lines(int lines) {
    for (int i = 0; i < 60000 && journal_lines() < lines; i++) sleep_ms(1);
    assert_true(journal_lines() >= lines);
}

/* Waits for the end; exit code, or -signal. */
static inline int end_of(pid_t pid) {
    int code;
    assert_int_equal(waitpid(pid, &code, 0), pid);
    return WIFSIGNALED(code) ? -WTERMSIG(code) : WEXITSTATUS(code);
}

/* Is it this rank of a job? */
static inline bool is_rank(pid_t pid, int rank) {
    char path[64], wanted[64];
    static char text[1 << 16];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    snprintf(wanted, sizeof wanted, "OMPI_COMM_WORLD_RANK=%d", rank);
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (file) fclose(file);
    text[n] = 0;
    for (const char *at = text; at < text + n; at += strlen(at) + 1)
        if (!strcmp(at, wanted)) return true;
    return false;
}

/* A rank of mpirun's; -1: it is not there. */
static inline pid_t rank_of(pid_t mpirun, int rank) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)mpirun, (int)mpirun);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(text, sizeof text, file)) strcpy(text, "");
    if (file) fclose(file);
    char *rest = text;
    for (long pid; (pid = strtol(rest, &rest, 10)) > 0;)
        if (is_rank((pid_t)pid, rank)) return (pid_t)pid;
    return -1;
}

#endif
