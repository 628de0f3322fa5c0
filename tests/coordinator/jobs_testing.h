/* Running the programs as a user starts them, on a small data set with a trained source. Include after
 * cmocka.h. */
#ifndef GODWIT_TESTS_COORDINATOR_JOBS_TESTING_H
#define GODWIT_TESTS_COORDINATOR_JOBS_TESTING_H

#include "io/dataset_testing.h"

#include <math.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "io/model.h"
#include "shared/rng.h"

static char out[1 << 17], err[1 << 17];

/* ---- running ---- */

static inline void read_into(const char *path, char *text, size_t nbytes) {
    FILE *file = fopen(path, "r");
    size_t n = file ? fread(text, 1, nbytes - 1, file) : 0;
    text[n] = '\0';
    if (file) fclose(file);
}

/* Runs a command line in the test's folder, with `ranks` before it (0: no mpirun); fills out and err, returns
 * the exit code, or -1 if it took longer than a minute. */
static inline int run(int ranks, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline int run(int ranks, const char *format, ...) {
    char arguments[2048], command[4096], launch[64] = "";
    va_list list;
    va_start(list, format);
    vsnprintf(arguments, sizeof arguments, format, list);
    va_end(list);
    if (ranks) snprintf(launch, sizeof launch, "mpirun -n %d ", ranks);
    snprintf(command, sizeof command, "cd '%s' && timeout -k 5 60 %s%s >out.txt 2>err.txt </dev/null",
             test_folder, launch, arguments);
    int code = system(command);
    read_into(in_folder("out.txt"), out, sizeof out);
    read_into(in_folder("err.txt"), err, sizeof err);
    code = WIFEXITED(code) ? WEXITSTATUS(code) : -2;
    return code == 124 || code == 137 ? -1 : code;
}

static inline void succeeds(int code, const char *what) {
    if (code) fail_msg("%s: exit code %d\n%s%s", what, code, out, err);
}

/* Lines of err that begin with "godwit: " or "run_inference: "; the last one is copied into `line`. */
static inline int error_lines(char *line, size_t size) {
    int n = 0;
    line[0] = '\0';
    for (const char *at = err; *at; at += strcspn(at, "\n") + (at[strcspn(at, "\n")] == '\n')) {
        if (strncmp(at, "godwit: ", 8) != 0 && strncmp(at, "run_inference: ", 15) != 0) continue;
        n++;
        snprintf(line, size, "%.*s", (int)strcspn(at, "\n"), at);
    }
    return n;
}

/* Exit code and one error line with `part` in it. */
static inline void fails(int code, int wanted, const char *part) {
    char line[2048];
    int lines = error_lines(line, sizeof line);
    if (code != wanted || lines != 1 || !strstr(line, part))
        fail_msg("exit code %d (expected %d), %d error lines (expected \"%s\"):\n%s%s", code, wanted, lines,
                 part, out, err);
}

/* ---- files ---- */

static inline void write_text(const char *name, const char *text) {
    write_bytes(in_folder(name), text, strlen(text));
}

#define SIDE 8
#define CLASSES 3

/* n images whose class is where they are bright, under noise; labels from `label0` on. */
static inline void write_idx(const char *folder, const char *prefix, uint32_t n, uint32_t height, int label0,
                             uint64_t seed) {
    uint8_t *bytes = malloc(16 + (size_t)n * height * SIDE + n);
    char name[128];
    assert_non_null(bytes);
    mkdir(in_folder(folder), 0777);
    size_t used = idx_header(bytes, 0x08, 3, (uint32_t[]){n, height, SIDE});
    for (uint32_t i = 0; i < n; i++) {
        struct rng rng = rng_make(seed, 1, i);
        for (uint32_t y = 0; y < height; y++)
            for (uint32_t x = 0; x < SIDE; x++) {
                double v = 60 + (y * CLASSES / height == i % CLASSES ? 90 : 0) + 35 * rng_normal(&rng);
                bytes[used++] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
            }
    }
    snprintf(name, sizeof name, "%s/%s-images-idx3-ubyte", folder, prefix);
    write_bytes(in_folder(name), bytes, used);
    used = idx_header(bytes, 0x08, 1, (uint32_t[]){n});
    for (uint32_t i = 0; i < n; i++) bytes[used++] = (uint8_t)(label0 + (int)(i % CLASSES));
    snprintf(name, sizeof name, "%s/%s-labels-idx1-ubyte", folder, prefix);
    write_bytes(in_folder(name), bytes, used);
    free(bytes);
}

static inline void write_set(const char *folder, uint32_t n, uint32_t height, int label0) {
    write_idx(folder, "train", n, height, label0, 1);
    write_idx(folder, "t10k", n / 4, height, label0, 2);
}

static const char topology[] =
    "{\"class_name\":\"Sequential\",\"config\":{\"name\":\"tiny\",\"layers\":["
    "{\"class_name\":\"InputLayer\",\"config\":{\"name\":\"image\",\"batch_input_shape\":[null,8,8,1],"
    "\"dtype\":\"float32\"}},"
    "{\"class_name\":\"Conv2D\",\"config\":{\"name\":\"conv1\",\"filters\":8,\"kernel_size\":[3,3],"
    "\"padding\":\"same\",\"use_bias\":false}},"
    "{\"class_name\":\"BatchNormalization\",\"config\":{\"name\":\"norm1\",\"axis\":-1,\"momentum\":0.8,"
    "\"epsilon\":0.001}},"
    "{\"class_name\":\"ReLU\",\"config\":{\"name\":\"relu1\"}},"
    "{\"class_name\":\"Conv2D\",\"config\":{\"name\":\"conv2\",\"filters\":8,\"kernel_size\":[3,3],"
    "\"strides\":[2,2],\"padding\":\"same\",\"use_bias\":false}},"
    "{\"class_name\":\"BatchNormalization\",\"config\":{\"name\":\"norm2\",\"axis\":-1,\"momentum\":0.8,"
    "\"epsilon\":0.001}},"
    "{\"class_name\":\"ReLU\",\"config\":{\"name\":\"relu2\"}},"
    "{\"class_name\":\"Flatten\",\"config\":{\"name\":\"flatten\"}},"
    "{\"class_name\":\"Dense\",\"config\":{\"name\":\"dense\",\"units\":3,\"activation\":\"softmax\"}}]}}";

static const char train_config[] =
    "{\"name\":\"source\",\"topology\":\"tiny.json\",\"output\":\"source.h5\","
    "\"data\":{\"path\":\"data\",\"labels\":[\"top\",\"middle\",\"bottom\"],\"holdout\":0.1},"
    "\"training\":{\"epochs\":4,\"batch\":16,\"schedule\":{\"rate\":0.01}}}";

static const char migrate_config[] =
    "{\"name\":\"small\",\"source\":\"source.h5\",\"target\":{\"width\":0.5},"
    "\"data\":{\"path\":\"data\",\"labels\":[\"top\",\"middle\",\"bottom\"],\"holdout\":0,"
    "\"augment\":\"given\"},"
    "\"migration\":{\"chunk_mib\":0.0002},\"refit\":{\"samples\":200},"
    "\"training\":{\"epochs\":2,\"batch\":16,\"batch_norm\":\"frozen\",\"average\":0,"
    "\"loss\":{\"distillation\":0.9,\"temperature\":2},\"schedule\":{\"rate\":0.003}}}";

/* What every test starts from; the source is trained once. */
static inline int begin(void **state) {
    if (make_test_folder(state)) return -1;
    write_text("tiny.json", topology);
    write_text("train.json", train_config);
    write_text("migrate.json", migrate_config);
    write_set("data", 240, SIDE, 0);
    succeeds(run(2, GODWIT_PROGRAM " train train.json"), "train");
    return 0;
}

static inline int end(void **state) {
    return remove_test_folder(state);
}

static inline bool exists(const char *name) {
    return access(in_folder(name), F_OK) == 0;
}

/* Versions that the registry shows of `small`, and nothing half-written beside them. */
static inline int versions(const char *models) {
    char path[512];
    int n = 0;
    snprintf(path, sizeof path, "%s/small", models);
    DIR *dir = opendir(in_folder(path));
    if (!dir) return 0;
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static inline struct model *read_model(const char *name) {
    struct model *model = NULL;
    assert_success(model_read(in_folder(name), NULL, &model));
    return model;
}

/* The figure after "key": in a JSON text. */
static inline double figure(const char *json, const char *key) {
    char quoted[64];
    snprintf(quoted, sizeof quoted, "\"%s\":", key);
    const char *at = strstr(json, quoted);
    if (!at) fail_msg("no %s in %s", quoted, json);
    return strtod(at + strlen(quoted), NULL);
}

/* The only folder in runs that begins so; its file. */
static inline char *run_file(const char *runs, const char *prefix, const char *file) {
    static char text[1 << 16];
    char path[1024];
    DIR *dir = opendir(in_folder(runs));
    assert_non_null(dir);
    path[0] = '\0';
    for (struct dirent *e = readdir(dir); e; e = readdir(dir))
        if (!strncmp(e->d_name, prefix, strlen(prefix)))
            snprintf(path, sizeof path, "%s/%s/%s", runs, e->d_name, file);
    closedir(dir);
    assert_true(*path);
    if (access(in_folder(path), R_OK)) fail_msg("no %s", path);
    read_into(in_folder(path), text, sizeof text);
    return text;
}

static inline int count_lines(const char *text) {
    int n = 0;
    for (; *text; text++) n += *text == '\n';
    return n;
}

/* migrate with these settings must fail and leave no model. Alone (0) wherever ranks do not matter: mpirun
 * waits a second when a job has failed. */
static inline void migrate_fails(int ranks, int code, const char *part, const char *settings) {
    fails(run(ranks, GODWIT_PROGRAM " migrate migrate.json --set models=bad --set runs=rbad %s", settings),
          code, part);
    assert_int_equal(versions("bad"), 0);
}

#endif
