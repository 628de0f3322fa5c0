/* Children that crash, spin, eat memory, say nothing, talk nonsense or end early, and those that do well. */
#include "io/child.h"

#include "io/io_testing.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#ifdef __SANITIZE_ADDRESS__
#define SANITIZED true
#else
#define SANITIZED false
#endif

static const struct child_limits limits = {.memory = 64 << 20, .cpu_seconds = 1, .silence_seconds = 20};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int lowest_descriptor(void) {
    int fd = dup(2);
    close(fd);
    return fd;
}

static void no_children_left(void) {
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* ---- what children do ---- */

/* Sends back the numbers it gets, doubled; a text is an error to give back. */
static status echo(struct channel *channel, const int *files, void *argument) {
    (void)files;
    (void)argument;
    for (;;) {
        struct message message = {0}, answer = {0};
        channel_receive(channel, &message);
        int64_t number = message_get_integer(&message);
        char *text = message_get_text(&message);
        message_put_integer(&answer, 2 * number);
        status error = text ? status_fail(STATUS_UNSUPPORTED, "%s", text) : SUCCESS;
        channel_send(channel, error, &answer);
        free(text);
        message_clear(&message);
        message_clear(&answer);
    }
    return SUCCESS;
}

static status fails(struct channel *channel, const int *files, void *argument) {
    (void)channel;
    (void)files;
    return status_fail(STATUS_UNSUPPORTED, "layer \"%s\" is not known", (const char *)argument);
}

static status gets_signal(struct channel *channel, const int *files, void *argument) {
    (void)channel;
    (void)files;
    signal(*(int *)argument, SIG_DFL); /* sanitizers have handlers of their own */
    raise(*(int *)argument);
    return SUCCESS;
}

static status spins(struct channel *channel, const int *files, void *argument) {
    (void)channel;
    (void)files;
    volatile unsigned *count = argument;
    for (;;) ++*count;
    return SUCCESS;
}

static status sleeps(struct channel *channel, const int *files, void *argument) {
    (void)channel;
    (void)files;
    (void)argument;
    for (;;) pause();
    return SUCCESS;
}

static status ends_early(struct channel *channel, const int *files, void *argument) {
    (void)channel;
    (void)files;
    _exit(*(int *)argument);
}

static status writes_garbage(struct channel *channel, const int *files, void *argument) {
    (void)channel;
    (void)files;
    const size_t *nbytes = argument;
    unsigned char garbage[64];
    memset(garbage, 0xa5, sizeof garbage);
    assert_true(write(3, garbage, *nbytes) == (ssize_t)*nbytes);
    return SUCCESS;
}

/* Says that an answer is longer than any is. */
static status exaggerates(struct channel *channel, const int *files, void *argument) {
    (void)channel;
    (void)files;
    (void)argument;
    uint64_t header[2] = {STATUS_OK, (uint64_t)1 << 40};
    if (write(3, header, sizeof header) < 0) return SUCCESS;
    pause();
    return SUCCESS;
}

static status allocates(struct channel *channel, const int *files, void *argument) {
    (void)channel;
    (void)files;
    (void)argument;
    for (size_t total = 0; total < (size_t)1 << 40; total += 1 << 20) {
        void *volatile block = malloc(1 << 20);
        if (!block) return status_no_memory("an attribute", total);
        memset(block, 1, 1 << 20);
    }
    return SUCCESS;
}

/* Reports what it was given: descriptors that are open, limits, the files' first bytes. */
static status looks_around(struct channel *channel, const int *files, void *argument) {
    struct message answer = {0};
    int given = *(int *)argument;
    for (int fd = 0; fd < 200; fd++)
        if (fcntl(fd, F_GETFD) >= 0) message_put_integer(&answer, fd);
    message_put_integer(&answer, -1);
    for (int i = 0; i < given; i++) {
        char text[8] = "";
        if (pread(files[i], text, 7, 0) < 0) return status_fail(STATUS_IO, "file %d", i);
        message_put_text(&answer, text);
    }
    int fd = open("/tmp", O_WRONLY | O_TMPFILE, 0600); /* a file to write to has no room */
    message_put_integer(&answer, fd < 0 || write(fd, "x", 1) < 0);
    channel_send(channel, SUCCESS, &answer);
    message_clear(&answer);
    return SUCCESS;
}

/* ---- tests ---- */

static struct child *start(child_function *run, void *argument) {
    struct child *child = NULL;
    assert_success(child_start(&limits, 0, NULL, run, argument, &child));
    return child;
}

/* The first answer is such an error; the next ones too. */
static void expect(child_function *run, void *argument, enum status_code code, const char *part) {
    int lowest = lowest_descriptor();
    struct message message = {0};
    struct child *child = start(run, argument);
    assert_error(child_receive(child, &message), code, part);
    assert_error(child_receive(child, &message), code, part);
    message_put_integer(&message, 1);
    assert_error(child_send(child, &message), code, part);
    message_clear(&message);
    child_stop(&child);
    assert_null(child);
    assert_int_equal(lowest_descriptor(), lowest);
    no_children_left();
}

static void conversations(void **state) {
    (void)state;
    struct child *child[5];
    int lowest = lowest_descriptor();
    for (int i = 0; i < 5; i++) child[i] = start(echo, NULL);
    for (int round = 0; round < 40; round++)
        for (int i = 0; i < 5; i++) {
            struct message message = {0};
            message_put_integer(&message, 100 * round + i);
            message_put_text(&message, (round + i) % 3 ? NULL : "odd");
            assert_success(child_send(child[i], &message));
            if ((round + i) % 3) {
                assert_success(child_receive(child[i], &message));
                assert_int_equal(message_get_integer(&message), 2 * (100 * round + i));
                assert_success(message_check_end(&message));
            } else {
                assert_error(child_receive(child[i], &message), STATUS_UNSUPPORTED, "odd");
            }
            message_clear(&message);
        }
    for (int i = 0; i < 5; i++) child_stop(&child[i]);
    child_stop(&child[0]); /* NULL */
    assert_int_equal(lowest_descriptor(), lowest);
    no_children_left();
}

/* Longer than a socket holds, both ways. */
static void long_messages(void **state) {
    (void)state;
    struct child *child = start(echo, NULL);
    size_t size = (size_t)5 << 20;
    char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'x', size);
    text[size] = 0;
    struct message message = {0};
    message_put_integer(&message, 1);
    message_put_text(&message, text);
    assert_success(child_send(child, &message));
    status error = child_receive(child, &message);
    assert_int_equal(status_code(error), STATUS_UNSUPPORTED);
    assert_string_equal(status_message(error), text);
    status_drop(&error);
    message_clear(&message);
    free(text);
    child_stop(&child);
}

static void errors_come_through(void **state) {
    (void)state;
    struct message message = {0};
    char name[] = "dense_1";
    struct child *child = start(fails, name);
    assert_error(child_receive(child, &message), STATUS_UNSUPPORTED, "layer \"dense_1\" is not known");
    assert_error(child_receive(child, &message), STATUS_DATA, "the reader ended without an answer");
    child_stop(&child);
    no_children_left();
}

static void crashes(void **state) {
    (void)state;
    static const struct {
        int number;
        const char *name;
    } signals[] = {{SIGSEGV, "segmentation fault"}, {SIGBUS, "bus error"}, {SIGFPE, "arithmetic exception"},
                   {SIGILL, "illegal instruction"}, {SIGABRT, "aborted"},  {SIGSYS, "bad system call"}};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        char text[128];
        int number = signals[i].number;
        if (SANITIZED && number != SIGSYS) /* a sanitizer reports it and ends the process */
            snprintf(text, sizeof text, "the reader ended without an answer");
        else
            snprintf(text, sizeof text, "the reader crashed (%s): the file is damaged or hostile",
                     signals[i].name);
        expect(gets_signal, &number, STATUS_DATA, text);
    }
    int number = SIGKILL;
    expect(gets_signal, &number, STATUS_MEMORY, "was killed, as the system does when memory runs out");
    number = SIGRTMIN;
    expect(gets_signal, &number, STATUS_DATA, "ended by signal");
}

static void ends_too_early(void **state) {
    (void)state;
    for (int code = 0; code < 2; code++)
        expect(ends_early, &code, STATUS_DATA, "the reader ended without an answer");
}

static void nonsense(void **state) {
    (void)state;
    size_t nbytes = 64;
    expect(writes_garbage, &nbytes, STATUS_DATA, "talks nonsense");
    nbytes = 5; /* of a header */
    expect(writes_garbage, &nbytes, STATUS_DATA, "ended without an answer");
    expect(exaggerates, NULL, STATUS_DATA, "talks nonsense");
}

static void spinning(void **state) {
    (void)state;
    unsigned count = 0;
    double start_time = now();
    struct message message = {0};
    struct child *child = NULL;
    struct child_limits brief = limits;
    if (SANITIZED) brief.cpu_seconds = 0, brief.silence_seconds = 2; /* which count processor time tenfold */
    assert_success(child_start(&brief, 0, NULL, spins, &count, &child));
    assert_error(child_receive(child, &message), STATUS_DATA,
                 brief.cpu_seconds ? "used up its 1 s of processor time" : "gave no answer");
    child_stop(&child);
    assert_true(now() - start_time < 19);
    assert_int_equal(count, 0); /* its memory is its own */
}

static void silence(void **state) {
    (void)state;
    struct message message = {0};
    struct child *child = NULL;
    struct child_limits brief = limits;
    brief.silence_seconds = 1;
    double start_time = now();
    assert_success(child_start(&brief, 0, NULL, sleeps, NULL, &child));
    assert_error(child_receive(child, &message), STATUS_DATA, "the reader gave no answer for 1 s");
    assert_true(now() - start_time >= 1 && now() - start_time < 15);
    child_stop(&child);
    no_children_left();
    /* one that does not read what it is sent */
    assert_success(child_start(&brief, 0, NULL, sleeps, NULL, &child));
    assert_success(message_resize(&message, 4 << 20));
    memset(message.data, 0, message.size);
    assert_error(child_send(child, &message), STATUS_DATA, "the reader gave no answer for 1 s");
    message_clear(&message);
    child_stop(&child);
    no_children_left();
}

static void memory_is_limited(void **state) {
    (void)state;
    if (SANITIZED) skip(); /* a sanitizer's address space has no limit */
    struct message message = {0};
    struct child *child = start(allocates, NULL);
    assert_error(child_receive(child, &message), STATUS_MEMORY, "no memory for an attribute");
    child_stop(&child);
}

static void surroundings(void **state) {
    (void)state;
    int files[3], other = open("/dev/null", O_RDONLY), given = 3;
    for (int i = 0; i < 3; i++) {
        char name[8], text[8];
        snprintf(name, sizeof name, "f%d", i);
        snprintf(text, sizeof text, "text %d", i);
        write_bytes(in_folder(name), text, strlen(text));
        files[i] = open(in_folder(name), O_RDONLY | O_CLOEXEC);
    }
    int order[3] = {files[2], files[0], files[1]};
    struct child *child = NULL;
    struct message message = {0};
    assert_success(child_start(&limits, 3, order, looks_around, &given, &child));
    assert_success(child_receive(child, &message));
    static const int64_t open_files[] = {0, 1, 2, 3, 4, 5, 6, -1};
    for (size_t i = 0; i < sizeof open_files / sizeof *open_files; i++)
        assert_int_equal(message_get_integer(&message), open_files[i]);
    static const char *const texts[] = {"text 2", "text 0", "text 1"};
    for (int i = 0; i < 3; i++) {
        char *text = message_get_text(&message);
        assert_string_equal(text, texts[i]);
        free(text);
    }
    assert_int_equal(message_get_integer(&message), 1);
    assert_success(message_check_end(&message));
    message_clear(&message);
    child_stop(&child);
    for (int i = 0; i < 3; i++) close(files[i]);
    close(other);
}

/* A program's own children, handlers and mask are left alone, and so is a child when its parent is asked to
 * stop. */
static volatile sig_atomic_t handled;
static void handle(int number) {
    (void)number;
    handled++;
}

static void others_are_left_alone(void **state) {
    (void)state;
    setpgid(0, 0);
    pid_t own = fork();
    if (own == 0) _exit(7);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)own, &info, WEXITED | WNOWAIT), 0);
    sigset_t before, after;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    sigprocmask(SIG_SETMASK, &before, NULL);
    signal(SIGTERM, handle);
    struct message message = {0};
    struct child *child = start(echo, NULL);
    kill(0, SIGTERM); /* the whole group, as a batch system does */
    message_put_integer(&message, 4);
    message_put_text(&message, NULL);
    assert_success(child_send(child, &message));
    assert_success(child_receive(child, &message));
    assert_int_equal(message_get_integer(&message), 8);
    message_clear(&message);
    child_stop(&child);
    assert_int_equal(handled, 1);
    signal(SIGTERM, SIG_DFL);
    sigprocmask(SIG_SETMASK, NULL, &after);
    assert_true(sigismember(&after, SIGUSR2) && !sigismember(&after, SIGTERM));
    sigemptyset(&before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    int code = 0;
    assert_int_equal(waitpid(own, &code, 0), own);
    assert_int_equal(WEXITSTATUS(code), 7);
    no_children_left();
}

/* A program that ignores SIGCHLD has its children reaped by the system. */
static void children_reaped_by_others(void **state) {
    (void)state;
    signal(SIGCHLD, SIG_IGN);
    int number = SIGSEGV;
    struct message message = {0};
    struct child *child = start(gets_signal, &number);
    assert_error(child_receive(child, &message), STATUS_DATA, "the reader ended without an answer");
    child_stop(&child);
    signal(SIGCHLD, SIG_DFL);
}

/* The parent is killed: the child, which waits for it, ends. */
static void child_ends_with_its_parent(void **state) {
    (void)state;
    int fds[2];
    char byte;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
    pid_t parent = fork();
    if (parent == 0) {
        struct child *child = start(echo, NULL);
        if (write(fds[1], "x", 1) == 1 && child) pause();
        _exit(0);
    }
    assert_int_equal(read(fds[0], &byte, 1), 1);
    kill(parent, SIGKILL);
    assert_int_equal(waitpid(parent, NULL, 0), parent);
    int code = 0;
    assert_true(waitpid(-1, &code, 0) > 0); /* the grandchild, now ours */
    assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
    prctl(PR_SET_CHILD_SUBREAPER, 0);
    close(fds[0]);
    close(fds[1]);
}

static void messages(void **state) {
    (void)state;
    struct message m = {0};
    message_put_integer(&m, INT64_MIN);
    message_put_text(&m, NULL);
    message_put_text(&m, "");
    message_put_text(&m, "text");
    message_put_integer(&m, 3);
    assert_true(message_get_integer(&m) == INT64_MIN);
    assert_null(message_get_text(&m));
    char *text = message_get_text(&m);
    assert_string_equal(text, "");
    free(text);
    text = message_get_text(&m);
    assert_string_equal(text, "text");
    free(text);
    assert_error(message_check_end(&m), STATUS_DATA, "makes no sense");
    assert_int_equal(message_get_within(&m, 3, 4), 3);
    assert_success(message_check_end(&m));
    assert_int_equal(message_get_integer(&m), 0); /* beyond the end */
    assert_error(message_check(&m), STATUS_DATA, "makes no sense");
    message_clear(&m);
    static const int64_t lengths[] = {-2, 9, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        message_put_integer(&m, lengths[i]);
        message_put_integer(&m, 0x6161616161616161);
        assert_null(message_get_text(&m));
        assert_error(message_check(&m), STATUS_DATA, "makes no sense");
        message_clear(&m);
    }
    message_put_integer(&m, 8); /* a text with a NUL in it */
    message_put_integer(&m, 0x6100616161616161);
    assert_null(message_get_text(&m));
    assert_error(message_check(&m), STATUS_DATA, "makes no sense");
    message_clear(&m);
    message_put_integer(&m, 5);
    assert_int_equal(message_get_within(&m, 6, 9), 6);
    assert_error(message_check(&m), STATUS_DATA, "makes no sense");
    message_clear(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages),
        cmocka_unit_test(conversations),
        cmocka_unit_test(long_messages),
        cmocka_unit_test(errors_come_through),
        cmocka_unit_test(crashes),
        cmocka_unit_test(ends_too_early),
        cmocka_unit_test(nonsense),
        cmocka_unit_test(spinning),
        cmocka_unit_test(silence),
        cmocka_unit_test(memory_is_limited),
        IN_FOLDER(surroundings),
        cmocka_unit_test(others_are_left_alone),
        cmocka_unit_test(children_reaped_by_others),
        cmocka_unit_test(child_ends_with_its_parent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
