/* What libgodwit leaves as it was in the process that uses it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "library_testing.h"

#include <cblas.h>
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <hdf5.h>
#include <locale.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#ifdef _OPENMP
#include <omp.h>
#endif

extern char **environ;

struct settings {
    void (*handler[NSIG])(int);
    int flags[NSIG];
    bool masked[NSIG], blocked[NSIG];
    cpu_set_t processors;
    struct rlimit memory, files;
    mode_t mask;
    int rounding, exceptions;
    int blas, openmp, nested, dynamic;
    char locale[256], folder[256];
    size_t environment;
    H5E_auto2_t report;
    void *report_data;
    unsigned plugins;
    int files_open;
};

static size_t environment_sum(void) {
    size_t sum = 0;
    for (char **e = environ; *e; e++)
        for (const char *c = *e; *c; c++) sum = sum * 31 + (unsigned char)*c;
    return sum;
}

static int count_files(void) {
    int n = 0;
    for (int fd = 0; fd < 256; fd++) n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void signals_take(struct settings *s) {
    sigset_t blocked;
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    for (int i = 1; i < NSIG; i++) {
        struct sigaction action = {0};
        if (i == 32 || i == 33) continue; /* glibc's own */
        sigaction(i, NULL, &action);
        s->handler[i] = action.sa_handler;
        s->flags[i] = action.sa_flags;
        s->masked[i] = sigismember(&action.sa_mask, SIGTERM);
        s->blocked[i] = sigismember(&blocked, i);
    }
}

static void settings_take(struct settings *s) {
    memset(s, 0, sizeof *s);
    signals_take(s);
    sched_getaffinity(0, sizeof s->processors, &s->processors);
    getrlimit(RLIMIT_AS, &s->memory);
    getrlimit(RLIMIT_NOFILE, &s->files);
    umask(s->mask = umask(0));
    s->rounding = fegetround();
    s->exceptions = fegetexcept();
    s->blas = openblas_get_num_threads();
#ifdef _OPENMP
    s->openmp = omp_get_max_threads();
    s->nested = omp_get_max_active_levels();
    s->dynamic = omp_get_dynamic();
#endif
    snprintf(s->locale, sizeof s->locale, "%s", setlocale(LC_ALL, NULL));
    assert_non_null(getcwd(s->folder, sizeof s->folder));
    s->environment = environment_sum();
    H5Eget_auto2(H5E_DEFAULT, &s->report, &s->report_data);
    H5PLget_loading_state(&s->plugins);
    s->files_open = count_files();
}

static herr_t own_report(hid_t stack, void *data) {
    (void)stack;
    ++*(int *)data;
    return 0;
}

/* Everything that a program may do with a model, on both engines, and some of what fails. */
static void use(const char *folder) {
    char path[160];
    static float x[64 * 28 * 28], y[640];
    const float *in = x;
    float *out = y;
    static const uint8_t pixels[40 * 30];
    const char *engines[] = {NULL, "openblas"};
    for (int e = 0; e < 2; e++) {
        godwit_options options = GODWIT_OPTIONS;
        godwit_model *model = NULL;
        options.engine = engines[e];
        options.threads = 2;
        if (godwit_open(FASHION, &options, &model, NULL)) abort();
        if (godwit_run(model, 64, &in, &out, NULL) || godwit_run(model, 3, &in, &out, NULL)) abort();
        if (godwit_run_image(model, 40, 30, 1, pixels, &out, NULL)) abort();
        if (!godwit_run_shapes(model, 1, &(godwit_shape){1, {3}}, &in, &out, NULL)) abort();
        godwit_close(model);
    }
    godwit_model *none;
    snprintf(path, sizeof path, "%s/damaged.h5", folder);
    FILE *file = fopen(path, "w");
    if (!file) abort();
    fputs("\x89HDF\r\n\x1a\n and then nothing", file);
    fclose(file);
    if (godwit_open(path, NULL, &none, NULL) != GODWIT_DATA) abort();
    if (godwit_open("absent", NULL, &none, NULL) != GODWIT_IO) abort();
}

static void stays_as_it_was(void **state) {
    (void)state;
    char folder[64], path[96];
    int reported = 0;
    static struct settings before, after;
    folder_make(folder);
    openblas_set_num_threads(2);
#ifdef _OPENMP
    omp_set_num_threads(3);
#endif
    H5open();
    H5Eset_auto2(H5E_DEFAULT, own_report, &reported);
    H5PLset_loading_state(H5PL_ALL_PLUGIN);
    fflush(stdout);
    fflush(stderr);

    /* Whatever is written to the standard output or error goes to a file for a while. */
    snprintf(path, sizeof path, "%s/said", folder);
    int said = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int terminal[2] = {dup(1), dup(2)};
    assert_true(said >= 0 && terminal[0] >= 0 && terminal[1] >= 0);
    dup2(said, 1);
    dup2(said, 2);
    settings_take(&before);
    use(folder);
    settings_take(&after);
    fflush(stdout);
    fflush(stderr);
    dup2(terminal[0], 1);
    dup2(terminal[1], 2);
    off_t nbytes = lseek(said, 0, SEEK_END);
    close(terminal[0]);
    close(terminal[1]);
    close(said);

    assert_int_equal(nbytes, 0);
    assert_int_equal(after.blas, before.blas);
    assert_int_equal(after.openmp, before.openmp);
    assert_ptr_equal((void *)(uintptr_t)after.report, (void *)(uintptr_t)before.report);
    assert_int_equal(after.plugins, before.plugins);
    assert_int_equal(after.files_open, before.files_open);
    assert_memory_equal(&after, &before, sizeof after);
    assert_int_equal(reported, 0);
    /* HDF5 still tells this program of its own errors. */
    assert_true(H5Fopen("/absent/file", H5F_ACC_RDONLY, H5P_DEFAULT) < 0);
    assert_int_equal(reported, 1);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    folder_remove(folder);
}

static void reap_all(int number) {
    (void)number;
    int kept = errno;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
    errno = kept;
}

/* Programs that do not wait for children, and those that take every child's end. */
static void children(void **state) {
    (void)state;
    void (*handlers[])(int) = {SIG_IGN, reap_all};
    for (int i = 0; i < 2; i++) {
        struct sigaction action = {.sa_handler = handlers[i]}, before;
        sigaction(SIGCHLD, &action, &before);
        for (int k = 0; k < 5; k++) godwit_close(opened(FASHION, NULL));
        godwit_model *none;
        REFUSED(godwit_open(GODWIT_SOURCE_DIR "/README.md", NULL, &none, &error), GODWIT_DATA, "README.md");
        sigaction(SIGCHLD, &before, NULL);
    }
}

/* In languages that write 0,5 and, in Pashto, a point of two bytes: numbers of a model are read as they are
 * written there. */
static void in_language(const char *language, const char *half) {
    char folder[64], path[256], name[32];
    double scale, offset;
    folder_make(folder);
    snprintf(name, sizeof name, "%s.UTF-8", language);
    snprintf(path, sizeof path, "localedef -i %s -f UTF-8 %s/%s >%s/said 2>&1", language, folder, name,
             folder);
    bool there = system(path) == 0;
    setenv("LOCPATH", folder, 1);
    there = there && setlocale(LC_ALL, name);
    if (there) {
        snprintf(path, sizeof path, "%s/means.h5", folder);
        setlocale(LC_ALL, "C");
        write_means(path, 4, "{\"scale\": 0.25, \"offset\": -1.5}");
        assert_non_null(setlocale(LC_ALL, name));
        godwit_model *model = opened(path, NULL);
        char text[8];
        snprintf(text, sizeof text, "%.1f", 0.5);
        assert_string_equal(text, half); /* still the program's */
        assert_true(godwit_preprocessing(model, &scale, &offset));
        assert_true(scale == 0.25 && offset == -1.5);
        godwit_close(model);
    } else {
        print_message("[   SKIP   ] no locale %s can be made\n", name);
    }
    setlocale(LC_ALL, "C");
    unsetenv("LOCPATH");
    folder_remove(folder);
}

static void languages(void **state) {
    (void)state;
    in_language("de_DE", "0,5");
    in_language("ps_AF", "0\xd9\xab"
                         "5");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(stays_as_it_was), cmocka_unit_test(children),
                                       cmocka_unit_test(languages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
