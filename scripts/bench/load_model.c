/* How long a model takes to load, against reading the bytes of its file, and how much memory.
 *
 *   load_model make MODEL.h5|MODEL.keras MEGABYTES   writes a model of that size (layers of a few MB, random)
 *   load_model load MODEL                            prints one line: seconds and memory of loading
 *   load_model read FILE                             prints one line: seconds of reading, into fresh memory
 *
 * Both times are the least of several, with the file in the page cache. */
#include "io/export.h"

#include "shared/rng.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define REPETITIONS 7
#define UNITS 1024 /* a Dense layer of them takes 4 MiB */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Processor time of this process and its children: a machine that does other things hardly changes it. */
static double spent(void) {
    double seconds = 0;
    for (int k = 0; k < 2; k++) {
        struct rusage usage;
        getrusage(k ? RUSAGE_CHILDREN : RUSAGE_SELF, &usage);
        seconds += (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec);
        seconds += 1e-6 * (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    }
    return seconds;
}

/* The least of several times. */
struct least {
    double elapsed, cpu, from, cpu_from;
};

static void begin(struct least *least) {
    least->from = now();
    least->cpu_from = spent();
}

static void end(struct least *least) {
    double elapsed = now() - least->from, cpu = spent() - least->cpu_from;
    if (!least->elapsed || elapsed < least->elapsed) least->elapsed = elapsed;
    if (!least->cpu || cpu < least->cpu) least->cpu = cpu;
}

static char *topology(int layers) {
    char *text = NULL;
    size_t n;
    FILE *out = open_memstream(&text, &n);
    fprintf(
        out,
        "{\"class_name\": \"Sequential\", \"config\": {\"name\": \"large\", \"layers\": [{\"class_name\": "
        "\"InputLayer\", \"config\": {\"name\": \"x\", \"batch_input_shape\": [null, %d]}}",
        UNITS);
    for (int i = 0; i < layers; i++)
        fprintf(out, ", {\"class_name\": \"Dense\", \"config\": {\"name\": \"d%d\", \"units\": %d}}", i,
                UNITS);
    fprintf(out, "]}}");
    fclose(out);
    return text;
}

static status make(const char *path, int megabytes) {
    struct graph *graph = NULL;
    struct model *model = NULL;
    const struct exporter *exporter;
    char *json = topology(megabytes * 1000000 / (UNITS * UNITS * 4) + 1);
    status error = exporter_find(NULL, path, &exporter);
    if (!error) error = keras_graph_from_json(json, &graph);
    if (!error) error = model_create(graph, &model);
    struct rng rng = rng_make(1, RNG_INIT, 0);
    for (int64_t i = 0; !error && i < model->params->total; i++)
        model->params->data[i] = (float)rng_uniform(&rng);
    if (!error) error = exporter->write(path, model);
    model_destroy(&model);
    free(json);
    return error;
}

/* Peak of this process and of its largest child, in bytes. */
static double peak(int who) {
    struct rusage usage;
    getrusage(who, &usage);
    return 1024.0 * (double)usage.ru_maxrss;
}

static status load(const char *path) {
    struct least least = {0};
    double nbytes = 0, start = peak(RUSAGE_SELF);
    for (int i = 0; i < REPETITIONS; i++) {
        struct model *model = NULL;
        begin(&least);
        STATUS_TRY(model_read(path, NULL, &model));
        end(&least);
        nbytes = (double)model->params->total * sizeof(float);
        model_destroy(&model);
    }
    printf("load %.4f s, cpu %.4f s; parameters %.1f MiB; peak %.1f MiB, %.1f MiB of it before; largest "
           "child %.1f MiB\n",
           least.elapsed, least.cpu, nbytes / 0x1p20, peak(RUSAGE_SELF) / 0x1p20, start / 0x1p20,
           peak(RUSAGE_CHILDREN) / 0x1p20);
    return SUCCESS;
}

static status read_file(const char *path) {
    struct least least = {0};
    struct stat info;
    if (stat(path, &info) != 0) return status_fail(STATUS_IO, "no %s", path);
    for (int i = 0; i < REPETITIONS; i++) {
        begin(&least);
        int fd = open(path, O_RDONLY);
        char *bytes = malloc((size_t)info.st_size);
        for (size_t done = 0; done < (size_t)info.st_size;) {
            ssize_t n = read(fd, bytes + done, (size_t)info.st_size - done);
            if (n <= 0) return status_fail(STATUS_IO, "cannot read %s", path);
            done += (size_t)n;
        }
        free(bytes);
        close(fd);
        end(&least);
    }
    printf("read %.4f s, cpu %.4f s; %.1f MiB\n", least.elapsed, least.cpu, (double)info.st_size / 0x1p20);
    return SUCCESS;
}

int main(int argc, char **argv) {
    status error =
        argc == 4 && !strcmp(argv[1], "make")   ? make(argv[2], atoi(argv[3]))
        : argc == 3 && !strcmp(argv[1], "load") ? load(argv[2])
        : argc == 3 && !strcmp(argv[1], "read")
            ? read_file(argv[2])
            : status_fail(STATUS_USAGE, "load_model make MODEL MEGABYTES | load MODEL | read FILE");
    if (error) fprintf(stderr, "load_model: %s\n", status_message(error));
    return status_exit_code(status_code(error));
}
