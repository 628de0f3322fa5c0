#include "tests/fuzz/fuzz_model.h"

#include "io/child.h"
#include "io/keras.h"
#include "tests/sanitizer_report.h"

#include <errno.h>
#include <fcntl.h>
#include <sanitizer/asan_interface.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILD_CPU_SECONDS 5
#define MAX_PARAMS ((int64_t)64 << 20)

/* Counters of libFuzzer, one for each edge of instrumented code. */
extern uint8_t __start___sancov_cntrs[];
extern uint8_t __stop___sancov_cntrs[];

/* What the child tells: its counters, and whether its crash is ours. */
static struct {
    size_t n;
    uint8_t *counter; /* [n], shared with children */
    struct verdict {
        bool reported, ours;
        char text[8192];
    } * verdict; /* shared with children */
    char folder[64];
    struct {
        long files, read, refused, crashed, slow;
    } count;
} fuzz;

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "fuzz: %s\n", what);
    abort();
}

/* The sanitizer's runtime calls these too, before it is ready for instrumented code. */
#define PLAIN __attribute__((no_sanitize("address", "undefined", "coverage")))

PLAIN static void publish(void) {
    for (size_t i = 0; i < fuzz.n; i++)
        if (__start___sancov_cntrs[i] > fuzz.counter[i]) fuzz.counter[i] = __start___sancov_cntrs[i];
}

/* ---- in the child: see --wrap in CMakeLists.txt ---- */

static void on_report(const char *report) {
    fuzz.verdict->reported = true;
    fuzz.verdict->ours = sanitizer_blames_us(report);
    strncpy(fuzz.verdict->text, report, sizeof fuzz.verdict->text - 1);
}

/* Of a report that is not AddressSanitizer's: undefined behaviour, which is looked for in our code only. */
static void on_death(void) {
    if (!fuzz.verdict->reported) fuzz.verdict->ours = true;
    fuzz.verdict->reported = true;
    publish();
}

void __sanitizer_set_death_callback(void (*callback)(void));

pid_t __real_fork(void);
pid_t __wrap_fork(void);
PLAIN pid_t __wrap_fork(void) {
    pid_t pid = __real_fork();
    if (pid == 0) {
        __asan_set_error_report_callback(on_report);
        __sanitizer_set_death_callback(on_death);
    }
    return pid;
}

_Noreturn void __real__exit(int code);
_Noreturn void __wrap__exit(int code);
PLAIN _Noreturn void __wrap__exit(int code) {
    publish();
    __real__exit(code);
}

void __real_channel_send(struct channel *channel, status error, const struct message *message);
void __wrap_channel_send(struct channel *channel, status error, const struct message *message);
void __wrap_channel_send(struct channel *channel, status error, const struct message *message) {
    publish();
    __real_channel_send(channel, error, message);
}

int __real_setrlimit(int resource, const struct rlimit *limit);
int __wrap_setrlimit(int resource, const struct rlimit *limit);
PLAIN int __wrap_setrlimit(int resource, const struct rlimit *limit) {
    struct rlimit less = *limit;
    struct rusage used;
    if (resource == RLIMIT_CPU && getrusage(RUSAGE_SELF, &used) == 0)
        less.rlim_cur = (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec + 1) + CHILD_CPU_SECONDS;
    return __real_setrlimit(resource, &less);
}

/* ---- in the parent ---- */

static void print_counts(void) {
    fprintf(stderr,
            "fuzz: %ld files: %ld read, %ld refused, of them %ld crashed a library and %ld were slow\n",
            fuzz.count.files, fuzz.count.read, fuzz.count.refused, fuzz.count.crashed, fuzz.count.slow);
}

static void *shared_memory(size_t nbytes) {
    void *memory = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) fail("no shared memory");
    return memory;
}

static int lowest_descriptor(void) {
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(fd);
    return fd;
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc, (void)argv;
    struct stat info;
    fuzz.n = (size_t)(__stop___sancov_cntrs - __start___sancov_cntrs);
    fuzz.counter = shared_memory(fuzz.n);
    fuzz.verdict = shared_memory(sizeof *fuzz.verdict);
    bool in_memory = stat("/dev/shm", &info) == 0 && access("/dev/shm", W_OK) == 0;
    snprintf(fuzz.folder, sizeof fuzz.folder, "%s/godwit_fuzz_%ld", in_memory ? "/dev/shm" : "/tmp",
             (long)getpid());
    if (mkdir(fuzz.folder, 0700) != 0 && errno != EEXIST) fail("no folder for files");
    atexit(print_counts);
    return 0;
}

const char *fuzz_folder(void) {
    return fuzz.folder;
}

static void path_of(const char *name, char *path, size_t size) {
    snprintf(path, size, "%s/%s", fuzz.folder, name);
}

void fuzz_put(const char *name, const void *data, size_t size) {
    char path[128];
    path_of(name, path, sizeof path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) fail("a file cannot be written");
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, (const char *)data + done, size - done);
        if (n <= 0) fail("a file cannot be written");
        done += (size_t)n;
    }
    close(fd);
}

static status read_model(const char *path) {
    struct keras_file *file = NULL;
    struct graph *graph = NULL;
    struct opgraph *ops = NULL;
    struct params *params = NULL;
    status error = keras_open(path, NULL, &file, &graph);
    if (!error) error = graph_lower(graph, &ops, NULL);
    int64_t total = 0;
    for (int i = 0; !error && i < ops->nparams; i++) total += ops->param[i].count;
    if (!error && total < MAX_PARAMS) {
        error = params_create(ops, &params);
        if (!error) error = keras_read_params(file, params);
        for (int i = 0; !error && i < ops->nparams; i++) { /* the last row once more, on its own */
            const struct param *param = &ops->param[i];
            const struct shape *shape = &graph->layer[param->layer].weight[param->weight].shape;
            int64_t rows, columns;
            shape_rows(shape, &rows, &columns);
            if (rows * columns == 0) continue;
            float *row = malloc((size_t)columns * sizeof *row);
            if (!row) fail("no memory for a row");
            error = keras_read_rows(file, param->layer, param->weight, rows - 1, 1, row);
            if (!error &&
                memcmp(row, params_at(params, i) + (rows - 1) * columns, (size_t)columns * sizeof *row))
                fail("a row read on its own differs");
            free(row);
        }
    }
    params_destroy(&params);
    opgraph_destroy(&ops);
    graph_destroy(&graph);
    keras_close(&file);
    return error;
}

/* A file that took all the time it may: kept, but no finding by itself. */
static void keep_slow(const char *path) {
    char command[256];
    fuzz.count.slow++;
    snprintf(command, sizeof command, "mkdir -p slow && cp '%s' slow/%ld-%ld", path, (long)getpid(),
             fuzz.count.slow);
    if (system(command) != 0) fprintf(stderr, "fuzz: a slow file cannot be kept\n");
}

void fuzz_model(const char *name) {
    char path[128];
    path_of(name, path, sizeof path);
    memset(fuzz.counter, 0, fuzz.n);
    fuzz.verdict->reported = fuzz.verdict->ours = false;
    int lowest = lowest_descriptor();
    bool alone = waitpid(-1, NULL, WNOHANG) < 0; /* libFuzzer may have a symbolizer */

    status error = read_model(path);

    fuzz.count.files++;
    fuzz.count.read += !error;
    fuzz.count.refused += error != SUCCESS;
    if (error && strstr(status_message(error), "processor time")) keep_slow(path);
    if (error && status_code(error) == STATUS_INTERNAL) fail(status_message(error));
    status_drop(&error);
    if (fuzz.verdict->ours) {
        fprintf(stderr, "%s\n", fuzz.verdict->text);
        fail("our code crashed in the child");
    }
    fuzz.count.crashed += fuzz.verdict->reported;
    for (size_t i = 0; i < fuzz.n; i++)
        if (fuzz.counter[i] > __start___sancov_cntrs[i]) __start___sancov_cntrs[i] = fuzz.counter[i];
    if (lowest_descriptor() != lowest) fail("a descriptor is left open");
    if (alone && waitpid(-1, NULL, WNOHANG) >= 0) fail("a process is left");
}
