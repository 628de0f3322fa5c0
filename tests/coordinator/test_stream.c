/* Migration streamed into the target's file over ranks: the same bytes as a file written from memory; what
 * was done is not done again, on any number of ranks, and what is damaged is; failures of one rank are those
 * of all. Checks are on values reduced over the ranks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "io/io_testing.h"

#include "coordinator/compile.h"
#include "graph_build.h"
#include "io/file.h"
#include "shared/evaluation.h"
#include "shared/partition.h"
#include "worker/chunk.h"
#include "worker/finish.h"
#include "worker/kernel_norm.h"
#include "worker/nets.h"
#include "worker/stream.h"

#include "model_file.h"

static struct comm *world, *self;
static struct log *quiet;

static void all_true(bool mine) {
    bool any_false = false;
    assert_null(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

static int make_shared_folder(void **state) {
    int made = comm_is_root(world) ? make_test_folder(state) : 0;
    status error = comm_bcast(world, 0, test_folder, sizeof test_folder);
    return error ? -1 : made;
}

static int remove_shared_folder(void **state) {
    status error = comm_barrier(world);
    if (error) return -1;
    return comm_is_root(world) ? remove_test_folder(state) : 0;
}
#define IN_SHARED_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_shared_folder, remove_shared_folder)

static void together(void) {
    build_ok(comm_barrier(world));
}

/* ---- a net with tensors of all ranks, from scalars on, and its target ---- */

static int on(struct graph *g, const char *class_name, const char *name, const char *attrs, int in) {
    return build_layer(g, class_name, name, attrs, 1, &in);
}

static struct graph *net(void) {
    struct graph *g = NULL;
    build_ok(graph_create("source", &g));
    int x = build_input(g, "input", "-1,7,7,3");
    x = on(g, "Normalization", "count", "", x);
    x = on(g, "Conv2D", "c1", "filters=6 kernel_size=3 use_bias=false", x);
    x = on(g, "BatchNormalization", "n1", "", x);
    x = on(g, "ReLU", "r1", "", x);
    x = on(g, "DepthwiseConv2D", "w1", "kernel_size=3 padding=same", x);
    x = on(g, "Conv2DTranspose", "t1", "filters=5 kernel_size=2", x);
    x = on(g, "Conv2D", "c2", "filters=8 kernel_size=2", x);
    int y = on(g, "Conv2D", "left", "filters=4 kernel_size=1", x);
    int z = on(g, "Conv2D", "right", "filters=6 kernel_size=1", x);
    x = build_layer(g, "Concatenate", "both", "", 2, (int[]){y, z});
    x = on(g, "Flatten", "flat", "", x);
    x = on(g, "Dense", "d1", "units=9", x);
    x = on(g, "Dense", "d2", "units=3", x);
    build_output(g, x);
    return g;
}

struct fixture {
    struct keras_file *file;
    struct graph *graph;
    struct compiled *compiled;
    struct params *start, *last; /* of the target, from memory: as tensors start, and finished */
    char *bytes[2];              /* the files that are written of these */
    size_t nbytes;
};

static char *contents(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    struct stat info;
    if (!file || fstat(fileno(file), &info)) fail_msg("no %s", path);
    char *bytes = malloc((size_t)info.st_size + 1);
    assert_non_null(bytes);
    *n = fread(bytes, 1, (size_t)info.st_size, file);
    bytes[*n] = 0;
    fclose(file);
    return bytes;
}

/* The weights of a program, evaluated in memory; the partition is not used. */
static struct migration program_of(const struct fixture *f, const struct plan *plan, int64_t chunk_bytes) {
    return (struct migration){.file = f->file, .plan = plan, .chunk_bytes = chunk_bytes};
}

static struct params *in_memory(const struct fixture *f, const struct plan *plan) {
    struct params *params = NULL;
    struct opgraph *ops = NULL;
    struct evaluation *evaluation = NULL;
    build_ok(graph_lower(plan->target, &ops, NULL));
    build_ok(params_create(ops, &params));
    struct migration migration = program_of(f, plan, 0);
    build_ok(migration_evaluation(&migration, &evaluation));
    for (int i = 0; i < plan->nstatements; i++) {
        const struct plan_statement *s = &plan->statement[i];
        int64_t rows, columns;
        shape_rows(&s->shape, &rows, &columns);
        build_ok(evaluation_rows(evaluation, plan_start(s), 0, rows,
                                 params_at(params, graph_first_param(plan->target, s->layer) + s->weight)));
        evaluation_forget(evaluation);
    }
    evaluation_destroy(&evaluation);
    opgraph_destroy(&ops);
    return params;
}

static char *written(const struct fixture *f, const struct params *params, size_t *n) {
    char name[64];
    snprintf(name, sizeof name, "static%d.h5", comm_rank(world));
    build_ok(keras_write(in_folder(name), f->compiled->target, params, "{}"));
    char *bytes = contents(in_folder(name), n);
    unlink(in_folder(name));
    return bytes;
}

static void set_up(struct fixture *f) {
    *f = (struct fixture){0};
    if (comm_is_root(world)) {
        struct model *source = model_random(net(), 17);
        build_ok(model_write(in_folder("source.h5"), source));
        model_destroy(&source);
    }
    together();
    build_ok(keras_open(in_folder("source.h5"), NULL, &f->file, &f->graph));
    char int8[] = "int8";
    const struct target_config config = {.width = 0.5, .rank = 1, .precision = int8};
    build_ok(compile_target(f->graph, "source.h5", NULL, &config, "small", &f->compiled));
    int64_t **chosen = calloc((size_t)channel_map_groups(f->compiled->map) + 1, sizeof *chosen);
    assert_non_null(chosen);
    build_ok(compile_choose(f->compiled, chosen)); /* the first ones */
    free(chosen);
    f->start = in_memory(f, f->compiled->plan);
    f->last = in_memory(f, f->compiled->plan);
    const struct machine machine = {.world = world, .log = quiet, .threads = 1};
    const struct calibration none = {0};
    const struct finish task = {.plan = f->compiled->plan, .params = f->last, .calibration = &none};
    build_ok(finish(&machine, &task));
    assert_true(memcmp(f->start->data, f->last->data, (size_t)f->last->total * sizeof(float)));
    f->bytes[0] = written(f, f->start, &f->nbytes);
    f->bytes[1] = written(f, f->last, &f->nbytes);
}

static void tear_down(struct fixture *f) {
    free(f->bytes[0]);
    free(f->bytes[1]);
    params_destroy(&f->start);
    params_destroy(&f->last);
    compiled_destroy(&f->compiled);
    graph_destroy(&f->graph);
    keras_close(&f->file);
}

/* ---- what runs ---- */

#define MADE "made.h5"
#define JOURNAL MADE ".journal"

/* What is zero is as usual. */
struct case_of {
    const struct comm *over;                      /* the world */
    int64_t chunk_bytes;                          /* 100 */
    bool start;                                   /* what tensors start as, not their final values */
    const char *program, *source, *preprocessing; /* NULL: the usual ones */
    const char *path;                             /* of this rank, NULL: MADE */
    struct params *params;                        /* NULL, or what the values are read into */
};

#define USUAL(...)                                                                                           \
    (struct case_of) {                                                                                       \
        __VA_ARGS__                                                                                          \
    }

static int64_t chunk_bytes_of(const struct case_of *c) {
    return c->chunk_bytes ? c->chunk_bytes : 100;
}

static struct target_task task_of(const struct fixture *f, const struct case_of *c) {
    return (struct target_task){.path = c->path ? c->path : in_folder(MADE),
                                .graph = f->compiled->target,
                                .preprocessing = c->preprocessing ? c->preprocessing : "{}",
                                .program = c->program ? c->program : "sha256:program",
                                .source = c->source ? c->source : "sha256:source",
                                .values = c->start ? "start" : "final",
                                .chunk_bytes = chunk_bytes_of(c)};
}

static struct partition *partition_of(const struct plan *plan, int nranks) {
    struct partition *partition = NULL;
    double cost[64] = {0};
    for (int i = 0; i < plan->nstatements; i++) cost[plan->statement[i].slice] += 1;
    build_ok(partition_create(plan->nslices, cost, nranks, &partition));
    return partition;
}

/* Collective over c->over. */
static status run(const struct fixture *f, const struct case_of *c, struct stream_counts *counts) {
    const struct comm *over = c->over ? c->over : world;
    struct partition *partition = partition_of(f->compiled->plan, comm_size(over));
    struct migration migration = {.file = f->file,
                                  .plan = f->compiled->plan,
                                  .partition = partition,
                                  .chunk_bytes = chunk_bytes_of(c),
                                  .final = !c->start};
    struct machine machine = {.world = over, .threads = 1, .log = quiet};
    struct target_task task = task_of(f, c);
    struct target_file *file = NULL;
    *counts = (struct stream_counts){0};
    status error = target_file_open(over, quiet, &task, &file);
    if (!error) error = stream(&machine, &migration, file, counts);
    if (!error && c->params) error = stream_params(&machine, &migration, file, c->params);
    target_file_close(&file);
    partition_destroy(&partition);
    return error;
}

static void all_must(status error) {
    bool right = !error;
    if (error) print_error("rank %d: %s\n", comm_rank(world), status_message(error));
    status_drop(&error);
    all_true(right);
}

/* Is what was made what it should be? Every rank looks. */
static bool is_right(const struct fixture *f, bool final) {
    size_t n;
    char *bytes = contents(in_folder(MADE), &n);
    bool right = n == f->nbytes && !memcmp(bytes, f->bytes[final], n);
    free(bytes);
    return right;
}

static void remove_made(void) {
    together();
    if (comm_is_root(world)) target_file_remove(in_folder(MADE));
    together();
}

static bool is_error(status error, enum status_code code, const char *part) {
    bool right = status_code(error) == code && strstr(status_message(error), part);
    if (!right) print_error("not \"%s\": \"%s\"\n", part, status_message(error));
    status_drop(&error);
    return right;
}

/* ---- tests ---- */

/* Chunks below a row, of some rows, and above all. */
static void test_same_bytes(void **state) {
    (void)state;
    static const int64_t sizes[] = {1, 50, 333, 4096, 1 << 20};
    struct fixture f;
    struct stream_counts counts;
    set_up(&f);
    bool right = true;
    for (int i = 0; i < 10; i++) {
        bool final = i % 2;
        struct params *params = NULL, *wanted = final ? f.last : f.start;
        build_ok(params_clone(f.start, &params));
        memset(params->data, 0, (size_t)params->total * sizeof(float));
        all_must(run(&f, &USUAL(.chunk_bytes = sizes[i / 2], .start = !final, .params = params), &counts));
        right = right && is_right(&f, final) && !counts.resumed && !counts.damaged;
        for (int64_t k = 0; k < params->total; k++) right = right && params->data[k] == wanted->data[k];
        params_destroy(&params);
        remove_made();
    }
    tear_down(&f);
    all_true(right);
}

/* The journal of what is there, on every rank. */
static struct journal *read_journal(void) {
    struct journal *journal = NULL;
    size_t n;
    char *text = contents(in_folder(JOURNAL), &n);
    build_ok(journal_parse(text, n, &journal));
    free(text);
    assert_non_null(journal);
    return journal;
}

static void write_journal(const struct journal *journal) {
    char *text = NULL;
    size_t n;
    build_ok(journal_print(journal, &text, &n));
    write_bytes(in_folder(JOURNAL), text, n);
    free(text);
}

/* Overwrites the rows of a chunk, or one byte in the midst of them. */
static void spoil(const struct fixture *f, const struct journal *journal, const struct journal_chunk *c,
                  bool all) {
    const struct journal_tensor *t = &journal->tensor[c->tensor];
    const struct graph *g = f->compiled->target;
    for (int l = 0, n = 0; l < g->nlayers; l++)
        for (int w = 0; w < g->layer[l].nweights; w++, n++) {
            if (n != c->tensor) continue;
            int64_t rows, columns, size = t->place.counts ? 8 : 4;
            shape_rows(&g->layer[l].weight[w].shape, &rows, &columns);
            int64_t at = t->place.offset + c->first * columns * size, length = c->rows * columns * size;
            FILE *file = fopen(in_folder(MADE), "r+b");
            assert_non_null(file);
            fseek(file, (long)(at + (all ? 0 : length / 2)), SEEK_SET);
            int byte = all ? 0x55 : fgetc(file) ^ 1;
            fseek(file, (long)(at + (all ? 0 : length / 2)), SEEK_SET);
            for (int64_t i = 0; i < (all ? length : 1); i++) fputc(byte, file);
            assert_int_equal(fclose(file), 0);
        }
}

/* Bytes of the source read by all ranks since `before` of this one. */
static double bytes_read(const struct fixture *f, double before) {
    double bytes = (double)keras_bytes_read(f->file) - before;
    all_must(comm_sum_f64(world, &bytes, 1));
    return bytes;
}

/* Made alone; then of the chunks some are in the journal, and the others lost. */
static void test_resumes(void **state) {
    (void)state;
    struct fixture f;
    struct stream_counts counts;
    set_up(&f);
    bool right = true;
    double before = (double)keras_bytes_read(f.file);
    all_must(run(&f, &USUAL(), &counts));
    double whole = bytes_read(&f, before);
    int64_t chunks = counts.chunks;
    assert_true(chunks > 60);
    for (int part = 0; part <= 4; part++) {
        remove_made();
        if (comm_is_root(world)) build_ok(run(&f, &USUAL(.over = self), &counts));
        together();
        struct journal *journal = read_journal();
        right = right && journal->nchunks == chunks;
        int64_t kept = chunks * part / 4;
        together();
        if (comm_is_root(world)) {
            for (int64_t i = kept; i < chunks; i++) spoil(&f, journal, &journal->chunk[i], true);
            journal->nchunks = kept;
            write_journal(journal);
        }
        journal_destroy(&journal);
        together();
        before = (double)keras_bytes_read(f.file);
        all_must(run(&f, &USUAL(), &counts));
        right = right && counts.resumed == kept && counts.chunks == chunks && !counts.damaged &&
                is_right(&f, true);
        double bytes = bytes_read(&f, before);
        right = right && (part == 4 ? bytes == 0 : bytes > 0) && (!part || bytes < whole);
    }
    tear_down(&f);
    all_true(right);
}

/* The last line cut anywhere, bytes of its check changed, and rubbish after it. */
static void test_torn_line(void **state) {
    (void)state;
    struct fixture f;
    struct stream_counts counts;
    set_up(&f);
    all_must(run(&f, &USUAL(), &counts));
    int64_t chunks = counts.chunks;
    size_t n;
    bool right = true;
    char *text = contents(in_folder(JOURNAL), &n), *last = text + n - 1;
    while (last[-1] != '\n') last--;
    together();
    for (size_t cut = (size_t)(last - text) + 1; cut < n; cut += 9) {
        if (comm_is_root(world)) write_bytes(in_folder(JOURNAL), text, cut);
        together();
        all_must(run(&f, &USUAL(), &counts));
        right = right && counts.resumed == chunks - 1 && is_right(&f, true);
        together();
    }
    text[n - 2] = text[n - 2] == '0' ? '1' : '0';
    if (comm_is_root(world)) {
        write_bytes(in_folder(JOURNAL), text, n);
        FILE *file = fopen(in_folder(JOURNAL), "a");
        fwrite("done 0 1 sha256:00 \"c1/kernel\" 12345678\n\0\0\0", 1, 43, file);
        fclose(file);
    }
    together();
    all_must(run(&f, &USUAL(), &counts));
    right = right && counts.resumed == chunks - 1 && is_right(&f, true);
    free(text);
    tear_down(&f);
    all_true(right);
}

static void test_damaged_chunk(void **state) {
    (void)state;
    struct fixture f;
    struct stream_counts counts;
    set_up(&f);
    all_must(run(&f, &USUAL(), &counts));
    bool right = true;
    struct journal *journal = read_journal();
    for (int64_t i = 0; i < journal->nchunks; i += 7) {
        together();
        if (comm_is_root(world)) spoil(&f, journal, &journal->chunk[i], false);
        together();
        right = right && !is_right(&f, true);
        together();
        all_must(run(&f, &USUAL(), &counts));
        right = right && counts.damaged == 1 && counts.resumed == counts.chunks - 1 && is_right(&f, true);
    }
    journal_destroy(&journal);
    tear_down(&f);
    all_true(right);
}

/* Of another source, program, target, or with chunks of another size: made anew. A file cut short likewise.
 */
static void test_made_anew(void **state) {
    (void)state;
    struct fixture f;
    struct stream_counts counts;
    set_up(&f);
    bool right = true;
    const struct case_of others[] = {USUAL(.source = "sha256:other"), USUAL(.program = "sha256:other"),
                                     USUAL(.chunk_bytes = 101), USUAL(.preprocessing = "{\"scale\":1}"),
                                     USUAL(.start = true)};
    for (int i = 0; i < 7; i++) {
        remove_made();
        all_must(run(&f, i < 5 ? &others[i] : &USUAL(), &counts));
        right = right && is_right(&f, i != 4) == (i != 3);
        together();
        if (i == 5 && comm_is_root(world))
            assert_int_equal(truncate(in_folder(MADE), (off_t)f.nbytes - 1), 0);
        if (i == 6 && comm_is_root(world)) write_bytes(in_folder(JOURNAL), "godwit journal 1", 16);
        together();
        all_must(run(&f, &USUAL(), &counts));
        right = right && !counts.resumed && !counts.damaged && is_right(&f, true);
    }
    tear_down(&f);
    all_true(right);
}

/* Writes a number over the first value of a tensor in the source's file, where that is float32; returns the
 * old one. */
static float poke(const char *path, int64_t offset, float value) {
    float old = 0;
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &old, sizeof old, offset), sizeof old);
    assert_int_equal(pwrite(fd, &value, sizeof value, offset), sizeof value);
    close(fd);
    return old;
}

/* Offset of a float32 value in a file. */
static int64_t find_value(const char *bytes, size_t n, float value) {
    for (size_t i = 0; i + sizeof value <= n; i += 4)
        if (!memcmp(bytes + i, &value, sizeof value)) return (int64_t)i;
    fail_msg("no such value");
    return -1;
}

/* A source that cannot be read at some chunk, wherever that is and whoever reads it: the same error for all;
 * what others did is not done again. */
static void test_source_fails(void **state) {
    (void)state;
    struct fixture f;
    struct stream_counts counts;
    set_up(&f);
    static const char *const tensors[] = {"n1/gamma", "w1/kernel", "c2/kernel", "d1/kernel", "d2/bias"};
    bool right = true;
    size_t n;
    char *bytes = contents(in_folder("source.h5"), &n);
    for (int i = 0; i < 5; i++) {
        char layer[16];
        snprintf(layer, sizeof layer, "%.*s", (int)strcspn(tensors[i], "/"), tensors[i]);
        int l = graph_find_layer(f.graph, layer), w = 0;
        while (strcmp(f.graph->layer[l].weight[w].name, strchr(tensors[i], '/') + 1)) w++;
        int64_t rows, columns;
        shape_rows(&f.graph->layer[l].weight[w].shape, &rows, &columns);
        float *row = calloc((size_t)columns, sizeof *row);
        assert_non_null(row);
        build_ok(keras_read_rows(f.file, l, w, 0, 1, row));
        int64_t at = find_value(bytes, n, row[0]);
        free(row);
        remove_made();
        if (comm_is_root(world)) poke(in_folder("source.h5"), at, NAN);
        together();
        right = is_error(run(&f, &USUAL(), &counts), STATUS_DATA, "is NaN at element 0") && right;
        together();
        if (comm_is_root(world)) write_bytes(in_folder("source.h5"), bytes, n);
        together();
        struct journal *journal = read_journal();
        int64_t done = journal->nchunks;
        journal_destroy(&journal);
        together();
        all_must(run(&f, &USUAL(), &counts));
        right = right && counts.resumed == done && done < counts.chunks && is_right(&f, true);
        right = right && (i < 2 || done > 0);
    }
    free(bytes);
    tear_down(&f);
    all_true(right);
}

/* Files may not grow, or be written, beyond this. */
static void limit(rlim_t size) {
    struct rlimit l;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &l), 0);
    l.rlim_cur = size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &l), 0);
}

/* A file system that is too small by this or that: found before anything is done, and nothing is left. */
static void test_no_room(void **state) {
    (void)state;
    struct fixture f;
    struct stream_counts counts;
    set_up(&f);
    bool right = true, mounted = true;
    for (int pages = 1; pages < (int)(f.nbytes / 4096) + 1 && mounted; pages++) {
        char options[32], *small = in_folder("small");
        snprintf(options, sizeof options, "size=%dk", 4 * pages);
        if (comm_is_root(world)) {
            mkdir(small, 0777);
            mounted = mount("tmpfs", small, "tmpfs", 0, options) == 0;
        }
        build_ok(comm_bcast(world, 0, &mounted, sizeof mounted));
        if (!mounted) break;
        status error = run(&f, &USUAL(.path = in_folder("small/" MADE)), &counts);
        right = is_error(error, STATUS_IO, "No space left on device") && count_entries(small) == 0 && right;
        together();
        if (comm_is_root(world)) umount(small);
        together();
    }
    tear_down(&f);
    all_true(right);
    if (!mounted) print_message("[   SKIP   ] a small file system cannot be mounted here\n");
    if (!mounted) skip();
}

/* No room at the places of one rank, found when it writes there. */
static void test_write_fails(void **state) {
    (void)state;
    struct fixture f;
    struct stream_counts counts;
    set_up(&f);
    bool right = true;
    signal(SIGXFSZ, SIG_IGN);
    for (int bad = 0; bad < comm_size(world); bad++) {
        struct target_task task = task_of(&f, &USUAL());
        struct target_file *file = NULL;
        remove_made();
        all_must(target_file_open(world, quiet, &task, &file));
        target_file_close(&file);
        struct journal *journal = read_journal();
        together();
        /* Below all that this rank has to write, but for what is small. */
        struct partition *partition = partition_of(f.compiled->plan, comm_size(world));
        int64_t lowest = INT64_MAX, number = 0;
        struct migration migration = {
            .plan = f.compiled->plan, .partition = partition, .chunk_bytes = 100, .final = true};
        for (struct chunk c = {0}; chunk_next(&migration, &c);) {
            int t = graph_first_param(f.compiled->target, c.statement->layer) + c.statement->weight;
            if (c.owner != bad) continue;
            number++;
            if (journal->tensor[t].place.offset < lowest) lowest = journal->tensor[t].place.offset;
        }
        partition_destroy(&partition);
        journal_destroy(&journal);
        assert_true(number > 0 && lowest > 4000);
        if (bad == comm_rank(world)) limit((rlim_t)lowest);
        right = is_error(run(&f, &USUAL(), &counts), STATUS_IO, "File too large") && right;
        limit(RLIM_INFINITY);
        together();
        all_must(run(&f, &USUAL(), &counts));
        right = right && counts.resumed == counts.chunks - number && is_right(&f, true);
    }
    signal(SIGXFSZ, SIG_DFL);
    tear_down(&f);
    all_true(right);
}

/* A rank that has a folder of its own under that name: with nothing in it, and with a run of its own. */
static void test_folder_not_shared(void **state) {
    (void)state;
    struct fixture f;
    struct stream_counts counts;
    set_up(&f);
    bool right = true;
    if (comm_is_root(world)) mkdir(in_folder("other"), 0777);
    together();
    for (int bad = 1; bad < comm_size(world); bad++)
        for (int has = 0; has < 2; has++) {
            const char *mine = bad == comm_rank(world) ? in_folder("other/" MADE) : in_folder(MADE);
            if (has && bad == comm_rank(world)) {
                struct target_task task = task_of(&f, &USUAL(.path = mine));
                struct target_file *file = NULL;
                build_ok(target_file_open(self, quiet, &task, &file));
                target_file_close(&file);
            }
            together();
            right = is_error(run(&f, &USUAL(.path = mine), &counts), STATUS_IO,
                             "must be one that all ranks see") &&
                    right;
            together();
            if (bad == comm_rank(world)) target_file_remove(mine);
        }
    tear_down(&f);
    all_true(right);
}

/* What a value that is no number would make of the file. */
static void test_not_finite(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct target_task task = task_of(&f, &USUAL());
    struct target_file *file = NULL;
    all_must(target_file_open(world, quiet, &task, &file));
    int layer = graph_find_layer(f.compiled->target, "d2");
    float row[] = {1, INFINITY, 3};
    bool right = is_error(target_file_write(file, layer, 0, 2, 1, row), STATUS_DATA,
                          "weight d2/kernel would be infinite at element 7");
    right = right &&
            is_error(target_file_write(file, layer, 0, 1000, 1, row), STATUS_INTERNAL, "has no rows 1000");
    target_file_close(&file);
    together();
    struct journal *journal = read_journal();
    right = right && journal->nchunks == 0;
    journal_destroy(&journal);
    tear_down(&f);
    all_true(right);
}

/* Every row once and in order, whatever the size; tensors without rows are passed over. */
static void test_chunks(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct plan *plan = f.compiled->plan;
    struct partition *partition = partition_of(plan, 3);
    plan->statement[2].shape = SHAPE(0, 4);
    for (int64_t bytes = 0; bytes < 5000; bytes = 2 * bytes + 1) {
        struct migration migration = {.plan = plan, .partition = partition, .chunk_bytes = bytes};
        int64_t number = 0, largest = chunk_largest(&migration), found = 0;
        int statement = 0;
        int64_t row = 0;
        for (struct chunk c = {0}; chunk_next(&migration, &c); number++) {
            int64_t rows, columns;
            if (c.index != statement) {
                shape_rows(&plan->statement[statement].shape, &rows, &columns);
                assert_int_equal(row, rows);
                assert_int_equal(c.index, statement + (statement == 1 ? 2 : 1));
                statement = c.index;
                row = 0;
            }
            assert_int_equal(c.number, number);
            assert_int_equal(c.first, row);
            assert_true(c.n > 0 && c.owner >= 0 && c.owner < 3);
            assert_true(!bytes || c.n == 1 || c.n * c.columns * 4 <= bytes);
            if (c.n * c.columns > found) found = c.n * c.columns;
            row += c.n;
        }
        assert_int_equal(statement, plan->nstatements - 1);
        assert_int_equal(found, largest);
        if (!bytes) assert_int_equal(number, plan->nstatements - 1);
    }
    partition_destroy(&partition);
    tear_down(&f);
}

/* Are the channels that are kept of a layer those whose parts of its kernel are largest, by hand? Behind the
 * axis of the channels the kernel has `inner` values. */
static bool keeps_largest(const struct fixture *f, const struct graph *full, struct params *params,
                          const char *layer, int64_t inner, int64_t *const *chosen) {
    int width, p = model_param(full, layer, "kernel");
    int group = channel_map_of(f->compiled->map, build_node(full, layer), &width)->group;
    int kept = f->compiled->kept[group];
    double square[16] = {0}, least = INFINITY;
    bool is_kept[16] = {false}, right = true;
    assert_true(width <= 16 && kept > 0 && kept < width);
    for (int64_t i = 0; i < params->count[p]; i++)
        square[i / inner % width] += (double)params_at(params, p)[i] * params_at(params, p)[i];
    for (int k = 0; k < kept; k++) {
        is_kept[chosen[group][k]] = true;
        least = fmin(least, square[chosen[group][k]]);
    }
    for (int c = 0; c < width; c++) right = right && (is_kept[c] || square[c] <= least);
    return right;
}

/* Kernel norms from the file, in chunks, choose the channels that kernels in memory choose. */
static void test_streamed_norms(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    const struct plan *whole = f.compiled->whole;
    struct params *params = in_memory(&f, whole);
    struct model *full = NULL;
    struct graph *copy = NULL;
    build_ok(graph_clone(whole->target, &copy));
    build_ok(model_outline(copy, &full));
    assert_null(full->params);
    struct machine machine = {.world = world, .threads = 1, .log = quiet};
    int groups = channel_map_groups(f.compiled->map);
    double **norm = calloc((size_t)groups + 1, sizeof *norm);
    int64_t **chosen[2] = {calloc((size_t)groups + 1, sizeof **chosen),
                           calloc((size_t)groups + 1, sizeof **chosen)};
    struct selection selection = {.method = "norm",
                                  .graph = full->graph,
                                  .ops = full->ops,
                                  .value_of = full->value_of,
                                  .params = params,
                                  .map = f.compiled->map,
                                  .kept = f.compiled->kept};
    all_must(select_channels(&machine, &selection, chosen[0]));
    selection.params = NULL;
    bool right = true;
    for (int64_t bytes = 1; bytes < 100000; bytes *= 30) {
        struct migration program = program_of(&f, whole, bytes);
        all_must(kernel_norms(&machine, &selection, &program, norm));
        selection.norm = norm;
        all_must(select_channels(&machine, &selection, chosen[1]));
        selection.norm = NULL;
        int pruned = 0;
        for (int g = 0; g < groups; g++) {
            int kept = f.compiled->kept[g];
            right = right && !chosen[0][g] == !chosen[1][g] && !chosen[0][g] == !norm[g];
            if (!chosen[0][g] || !chosen[1][g]) continue;
            pruned++;
            right = right && !memcmp(chosen[0][g], chosen[1][g], (size_t)kept * sizeof **chosen[0]);
            free(chosen[1][g]);
            free(norm[g]);
        }
        right = right && pruned >= 5;
    }
    right = right && keeps_largest(&f, full->graph, params, "d1", 1, chosen[0]) &&
            keeps_largest(&f, full->graph, params, "t1", 6,
                          chosen[0]); /* (2, 2, 5, 6): 5 channels, of 6 inputs */
    for (int g = 0; g < groups; g++) free(chosen[0][g]);
    free(chosen[0]);
    free(chosen[1]);
    free(norm);
    model_destroy(&full);
    params_destroy(&params);
    tear_down(&f);
    all_true(right);
}

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = comm_split(world, comm_rank(world), 0, &self);
    if (!error) error = log_create(comm_rank(world), LOG_ERROR, &quiet);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        IN_SHARED_FOLDER(test_same_bytes),
        IN_SHARED_FOLDER(test_resumes),
        IN_SHARED_FOLDER(test_torn_line),
        IN_SHARED_FOLDER(test_damaged_chunk),
        IN_SHARED_FOLDER(test_made_anew),
        IN_SHARED_FOLDER(test_source_fails),
        IN_SHARED_FOLDER(test_no_room),
        IN_SHARED_FOLDER(test_write_fails),
        IN_SHARED_FOLDER(test_folder_not_shared),
        IN_SHARED_FOLDER(test_not_finite),
        IN_SHARED_FOLDER(test_chunks),
        IN_SHARED_FOLDER(test_streamed_norms),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    log_destroy(&quiet);
    comm_destroy(&self);
    comm_stop(&world);
    return failed;
}
