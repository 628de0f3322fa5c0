/* Real files, truncated at every 512th byte and with single bits turned: each is refused in one line or
 * loads, and nothing is left behind. A bit among a weight's values changes that value and no other. */
#include "io/keras.h"

#include "io/io_testing.h"
#include "tests/sanitizer_report.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define STEP 512
#define LONG_STEP (32 * STEP)
#define FLIPS 667 /* of each file: 2,001 in all */

#ifdef __SANITIZE_ADDRESS__
void __asan_set_error_report_callback(void (*callback)(const char *report));
#define SANITIZED true
#else
#define SANITIZED false
#endif

/* A damaged file may crash HDF5 in the child. A sanitizer's report tells whether it was that or our code. */
static struct report {
    bool ours;
    char text[16384];
} * report;

#ifdef __SANITIZE_ADDRESS__
static void on_report(const char *text) {
    if (!sanitizer_blames_us(text)) return;
    report->ours = true;
    strncpy(report->text, text, sizeof report->text - 1);
}
#endif

static struct file {
    const char *path; /* below ../shared/models */
    unsigned char *data;
    size_t n;
    struct params *params; /* as undamaged */
} file;

static bool all;

static uint64_t random_state;

static uint64_t draw(uint64_t n) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 11) % n;
}

static status load(const char *path, struct params **params) {
    struct keras_file *model = NULL;
    struct graph *graph = NULL;
    struct opgraph *ops = NULL;
    STATUS_TRY(keras_open(path, NULL, &model, &graph));
    status error = graph_lower(graph, &ops, NULL);
    if (!error) error = params_create(ops, params);
    if (!error) error = keras_read_params(model, *params);
    if (error) params_destroy(params);
    opgraph_destroy(&ops);
    graph_destroy(&graph);
    keras_close(&model);
    return error;
}

static int lowest_descriptor(void) {
    int fd = dup(2);
    close(fd);
    return fd;
}

/* Loads the file with that damage; *params is NULL if it is refused. */
static void load_damaged(const char *what, size_t at, int lowest, struct params **params) {
    *params = NULL;
    status error = load(in_folder("damaged"), params);
    if (report->ours) fail_msg("%s, %s at %zu: our code crashed: %s", file.path, what, at, report->text);
    if (error) {
        enum status_code code = status_code(error);
        if (code != STATUS_DATA && code != STATUS_UNSUPPORTED && code != STATUS_MEMORY)
            fail_msg("%s, %s at %zu: \"%s\" is %s", file.path, what, at, status_message(error),
                     status_meaning(code));
        if (strchr(status_message(error), '\n') || !strstr(status_message(error), "damaged"))
            fail_msg("%s, %s at %zu: \"%s\" does not name the file", file.path, what, at,
                     status_message(error));
        status_drop(&error);
    }
    assert_int_equal(lowest_descriptor(), lowest);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

static void write_damaged(size_t n) {
    int fd = open(in_folder("damaged"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    for (size_t done = 0; done < n;) {
        ssize_t written = write(fd, file.data + done, n - done);
        assert_true(written > 0);
        done += (size_t)written;
    }
    close(fd);
}

/* ---- truncation ---- */

static void truncated(size_t step) {
    int lowest = lowest_descriptor();
    write_damaged(file.n);
    for (size_t n = (file.n - 1) / step * step;; n -= step) {
        struct params *params;
        assert_int_equal(truncate(in_folder("damaged"), (off_t)n), 0);
        load_damaged("truncated", n, lowest, &params);
        if (params) fail_msg("%s loads when truncated at %zu", file.path, n);
        if (n == 0) break;
    }
}

/* ---- single bits ---- */

/* The value whose bytes are at `at`: a run of this many bytes around it is found in one weight only. */
#define RUN 16

static float *value_at(size_t at) {
    float *found = NULL;
    size_t first = at >= RUN ? at - RUN : 0, last = at + RUN;
    if (last > file.n) return NULL;
    for (int i = 0; i < file.params->n; i++) {
        char *values = (char *)params_at(file.params, i), *from = values;
        size_t left = (size_t)file.params->count[i] * sizeof(float);
        char *match;
        while (left >= last - first && (match = memmem(from, left, file.data + first, last - first))) {
            size_t offset = (size_t)(match - values) + (at - first);
            if (found) return NULL; /* zeros, say */
            if (((size_t)(match - values) % sizeof(float) + first) % sizeof(float) == first % sizeof(float))
                found = (float *)(void *)values + offset / sizeof(float);
            left -= (size_t)(match + 1 - from);
            from = match + 1;
        }
    }
    return found;
}

static int count_changed(const struct params *params) {
    int changed = 0;
    if (params->n != file.params->n || params->total != file.params->total) return -1;
    for (int i = 0; i < params->n; i++) {
        if (params->count[i] != file.params->count[i]) return -1;
        for (int64_t k = 0; k < params->count[i]; k++)
            changed += memcmp(&params_at(params, i)[k], &params_at(file.params, i)[k], sizeof(float)) != 0;
    }
    return changed;
}

static void flipped(void) {
    int lowest = lowest_descriptor(), values = 0, read = 0;
    write_damaged(file.n);
    int fd = open(in_folder("damaged"), O_WRONLY);
    assert_true(fd >= 0);
    lowest = lowest_descriptor();
    for (int i = 0; i < FLIPS; i++) {
        struct params *params;
        size_t at = (size_t)draw(file.n);
        unsigned char byte = (unsigned char)(file.data[at] ^ 1u << draw(8));
        float *value = value_at(at);
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        load_damaged("a bit is turned", at, lowest, &params);
        read += params != NULL;
        if (value) {
            /* Then it is this one that changes, unless it is not a number any more. */
            float is = *value;
            ((unsigned char *)value)[at % sizeof(float)] = byte;
            bool finite = (*(uint32_t *)(void *)value & 0x7f800000u) != 0x7f800000u;
            if (params) assert_int_equal(count_changed(params), 0);
            else if (finite) fail_msg("%s is refused for a value that changed at %zu", file.path, at);
            *value = is;
            values++;
        }
        params_destroy(&params);
        assert_int_equal(pwrite(fd, &file.data[at], 1, (off_t)at), 1);
    }
    close(fd);
    print_message("%s: %d of %d load, %d bits were in values\n", file.path, read, FLIPS, values);
}

/* ---- files ---- */

static void read_whole(void) {
    char path[512];
    struct stat info;
    snprintf(path, sizeof path, "%s/models/%s", GODWIT_SHARED_DIR, file.path);
    int fd = open(path, O_RDONLY);
    if (fd < 0) {
        print_message("%s is not there\n", path);
        skip();
    }
    assert_int_equal(fstat(fd, &info), 0);
    file.n = (size_t)info.st_size;
    file.data = malloc(file.n);
    assert_non_null(file.data);
    assert_int_equal(read(fd, file.data, file.n), file.n);
    close(fd);
    assert_success(load(path, &file.params));
}

static void survives(const char *path, size_t step) {
    file.path = path;
    read_whole();
    random_state = 88172645463325252ull + strlen(path);
    truncated(step);
    flipped();
    free(file.data);
    params_destroy(&file.params);
}

static void whole_model(void **state) {
    (void)state;
    survives("keras3/seq_cnn.h5", STEP);
}

static void archive(void **state) {
    (void)state;
    survives("keras3/seq_cnn.keras", STEP);
}

static void old_model(void **state) {
    (void)state;
    survives("fer2013_big_XCEPTION.hdf5", all ? STEP : LONG_STEP);
}

int main(int argc, char **argv) {
    all = argc > 1 && !strcmp(argv[1], "all");
    report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED) return 1;
#ifdef __SANITIZE_ADDRESS__
    __asan_set_error_report_callback(on_report);
#endif
    const struct CMUnitTest tests[] = {IN_FOLDER(whole_model), IN_FOLDER(archive), IN_FOLDER(old_model)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
