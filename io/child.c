#include "io/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Sanitizers map terabytes, slow the processor down, and explain crashes on the standard error. */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define FIRST_FILE 4  /* descriptors in the child: 3 is the channel, the given files follow */
#define SPARE_FILES 8 /* that it may open besides */
#define REAP_SECONDS 2

struct header {
    uint64_t code; /* enum status_code: of an error, then `nbytes` are its text */
    uint64_t nbytes;
};

/* ---- the child ---- */

struct channel {
    int socket;
    int cpu_seconds;
};

/* Only the parent decides when the child ends: by its death, a signal, or a limit. */
static void reset_signals(void) {
    static const int ignored[] = {SIGINT,  SIGTERM, SIGHUP,  SIGQUIT, SIGUSR1,
                                  SIGUSR2, SIGPIPE, SIGALRM, SIGXFSZ};
    static const int kept[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    for (int s = 1; s < NSIG; s++) {
        bool keep = false;
        for (size_t i = 0; SANITIZED && i < sizeof kept / sizeof *kept; i++) keep |= s == kept[i];
        if (!keep) signal(s, SIG_DFL);
    }
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) signal(ignored[i], SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void limit(int resource, rlim_t value) {
    struct rlimit now;
    if (getrlimit(resource, &now) != 0) return;
    if (now.rlim_max != RLIM_INFINITY && value > now.rlim_max) value = now.rlim_max;
    setrlimit(resource, &(struct rlimit){value, now.rlim_max});
}

/* Allows so much processor time from now on. */
static void allow_cpu(int seconds) {
    struct rusage used;
    if (seconds > 0 && getrusage(RUSAGE_SELF, &used) == 0)
        limit(RLIMIT_CPU, (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec + 2) +
                              (rlim_t)seconds * (SANITIZED ? 10 : 1));
}

static void limit_memory(size_t nbytes) {
    unsigned long pages;
    FILE *statm = SANITIZED || nbytes == 0 ? NULL : fopen("/proc/self/statm", "r");
    if (!statm) return;
    if (fscanf(statm, "%lu", &pages) == 1)
        limit(RLIMIT_AS, (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + nbytes);
    fclose(statm);
}

static void close_from(int first) {
    if (close_range((unsigned)first, ~0U, 0) == 0) return;
    int last = (int)sysconf(_SC_OPEN_MAX);
    for (int fd = first; fd < last; fd++) close(fd);
}

/* Moves the files to 4, 5, ... and the channel to 3; no others stay open. */
static bool arrange_files(int nfiles, const int *files, int *channel) {
    int moved[CHILD_MAX_FILES + 1];
    for (int i = 0; i <= nfiles; i++) {
        moved[i] = fcntl(i ? files[i - 1] : *channel, F_DUPFD, FIRST_FILE + CHILD_MAX_FILES);
        if (moved[i] < 0) return false;
    }
    for (int i = 0; i <= nfiles; i++)
        if (dup2(moved[i], FIRST_FILE - 1 + i) < 0) return false;
    close_from(FIRST_FILE + nfiles);
    int null = open("/dev/null", O_RDWR);
    if (null < 0) return false;
    for (int fd = 0; fd < (SANITIZED ? 2 : 3); fd++) dup2(null, fd);
    if (null > 2) close(null);
    *channel = FIRST_FILE - 1;
    return true;
}

static _Noreturn void run_child(int socket, const struct child_limits *limits, int nfiles, const int *files,
                                child_function *run, void *argument) {
    int kept[CHILD_MAX_FILES];
    struct channel channel = {socket, limits->cpu_seconds};
    reset_signals();
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    limit_memory(limits->memory);
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_FSIZE, 0);
    if (!arrange_files(nfiles, files, &channel.socket)) _exit(1);
    limit(RLIMIT_NOFILE, (rlim_t)(FIRST_FILE + nfiles + SPARE_FILES));
    allow_cpu(limits->cpu_seconds);
    for (int i = 0; i < nfiles; i++) kept[i] = FIRST_FILE + i;
    status error = run(&channel, kept, argument);
    if (error) channel_send(&channel, error, NULL);
    _exit(0);
}

static void write_all(int socket, const void *data, size_t nbytes) {
    for (size_t done = 0; done < nbytes;) {
        ssize_t n = send(socket, (const char *)data + done, nbytes - done, MSG_NOSIGNAL);
        if (n > 0) done += (size_t)n;
        else if (n == 0 || errno != EINTR) _exit(0);
    }
}

static void read_all(int socket, void *data, size_t nbytes) {
    for (size_t done = 0; done < nbytes;) {
        ssize_t n = recv(socket, (char *)data + done, nbytes - done, 0);
        if (n > 0) done += (size_t)n;
        else if (n == 0 || errno != EINTR) _exit(0);
    }
}

void channel_receive(struct channel *channel, struct message *message) {
    struct header header;
    read_all(channel->socket, &header, sizeof header);
    status error = message_resize(message, header.nbytes);
    if (error) _exit(1);
    read_all(channel->socket, message->data, message->size);
    allow_cpu(channel->cpu_seconds);
}

void channel_send(struct channel *channel, status error, const struct message *message) {
    if (!error) error = message_check(message);
    const char *text = status_message(error);
    struct header header = {status_code(error), error ? strlen(text) : message->size};
    write_all(channel->socket, &header, sizeof header);
    write_all(channel->socket, error ? (const void *)text : (const void *)message->data, header.nbytes);
    status_drop(&error);
}

/* ---- the parent ---- */

struct child {
    pid_t pid; /* -1: gone */
    int socket;
    struct child_limits limits;
    enum status_code ended; /* why it is gone, if it is */
    char *reason;           /* owned */
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Kills the child if it has not ended within `seconds`; its wait status, -1 if somebody else took it. */
static int reap(struct child *child, double seconds) {
    int code = -1;
    pid_t done = 0;
    double deadline = now() + seconds;
    while ((done = waitpid(child->pid, &code, WNOHANG)) == 0 && now() < deadline) poll(NULL, 0, 1);
    if (done == 0) kill(child->pid, SIGKILL);
    while (done == 0 || (done < 0 && errno == EINTR)) done = waitpid(child->pid, &code, 0);
    if (done < 0) code = -1;
    close(child->socket);
    child->pid = child->socket = -1;
    return code;
}

static status gone(const struct child *child) {
    return status_fail(child->ended, "%s", child->reason ? child->reason : "the reader has ended");
}

bool child_is_gone(const struct child *child) {
    return child->pid < 0;
}

/* The child is gone, or must go. */
static status end(struct child *child, enum status_code code, const char *reason) {
    child->ended = code;
    free(child->reason);
    child->reason = strdup(reason);
    return gone(child);
}

static const char *crash_name(int signal_number) {
    switch (signal_number) {
    case SIGSEGV:
        return "segmentation fault";
    case SIGBUS:
        return "bus error";
    case SIGFPE:
        return "arithmetic exception";
    case SIGILL:
        return "illegal instruction";
    case SIGABRT:
        return "aborted";
    case SIGSYS:
        return "bad system call";
    default:
        return NULL;
    }
}

/* The child closed its end, which it does when it ends only. */
static status explain_end(struct child *child) {
    char reason[160];
    enum status_code code = STATUS_DATA;
    int how = reap(child, REAP_SECONDS);
    int killer = how >= 0 && WIFSIGNALED(how) ? WTERMSIG(how) : 0;
    if (crash_name(killer)) {
        snprintf(reason, sizeof reason, "the reader crashed (%s): the file is damaged or hostile",
                 crash_name(killer));
    } else if (killer == SIGXCPU) {
        snprintf(reason, sizeof reason,
                 "the reader used up its %d s of processor time: the file is damaged or hostile",
                 child->limits.cpu_seconds);
    } else if (killer == SIGKILL) {
        snprintf(reason, sizeof reason,
                 "the reader was killed, as the system does when memory runs out; free some memory");
        code = STATUS_MEMORY;
    } else if (killer) {
        snprintf(reason, sizeof reason, "the reader was ended by signal %d", killer);
    } else {
        snprintf(reason, sizeof reason, "the reader ended without an answer: the file is damaged or hostile");
    }
    return end(child, code, reason);
}

static status nonsense(struct child *child) {
    reap(child, 0);
    return end(child, STATUS_DATA, "the reader talks nonsense: the file is damaged or hostile");
}

/* Waits until the socket is ready; any byte that comes or goes gives the child its full time again. */
static status wait_for(struct child *child, short what) {
    double deadline = now() + child->limits.silence_seconds;
    for (;;) {
        struct pollfd ready = {child->socket, what, 0};
        double left = deadline - now();
        if (left < 0) break;
        int n = poll(&ready, 1, (int)(left * 1000) + 1);
        if (n > 0) return SUCCESS;
        if (n < 0 && errno != EINTR && errno != EAGAIN) break;
    }
    char reason[160];
    snprintf(
        reason, sizeof reason,
        "the reader gave no answer for %d s: the file is damaged or hostile, or its disk does not answer",
        child->limits.silence_seconds);
    reap(child, 0);
    return end(child, STATUS_DATA, reason);
}

static status move(struct child *child, bool sending, void *data, size_t nbytes) {
    for (size_t done = 0; done < nbytes;) {
        char *at = (char *)data + done;
        ssize_t n = sending ? send(child->socket, at, nbytes - done, MSG_NOSIGNAL | MSG_DONTWAIT)
                            : recv(child->socket, at, nbytes - done, MSG_DONTWAIT);
        if (n > 0) done += (size_t)n;
        else if (n < 0 && errno == EAGAIN) STATUS_TRY(wait_for(child, sending ? POLLOUT : POLLIN));
        else if (n == 0 || errno != EINTR) return explain_end(child);
    }
    return SUCCESS;
}

status child_send(struct child *child, const struct message *message) {
    if (child->pid < 0) return gone(child);
    STATUS_TRY(message_check(message));
    struct header header = {0, message->size};
    STATUS_TRY(move(child, true, &header, sizeof header));
    return move(child, true, message->data, message->size);
}

status child_receive(struct child *child, struct message *message) {
    if (child->pid < 0) return gone(child);
    struct header header;
    STATUS_TRY(move(child, false, &header, sizeof header));
    bool known = false;
#define KNOWN_CODE(name, exit_code, meaning) known |= header.code == STATUS_##name;
    STATUS_CODES(KNOWN_CODE)
#undef KNOWN_CODE
    if (!known || header.nbytes > MESSAGE_MAX_BYTES) return nonsense(child);
    STATUS_TRY(message_resize(message, header.nbytes));
    STATUS_TRY(move(child, false, message->data, message->size));
    if (header.code == STATUS_OK) return SUCCESS;
    status error =
        status_fail((enum status_code)header.code, "%.*s", (int)message->size, (const char *)message->data);
    message_clear(message);
    return error;
}

void child_stop(struct child **child) {
    struct child *c = *child;
    if (!c) return;
    if (c->pid >= 0) reap(c, 0);
    free(c->reason);
    free(c);
    *child = NULL;
}

status child_start(const struct child_limits *limits, int nfiles, const int *files, child_function *run,
                   void *argument, struct child **child) {
    if (nfiles > CHILD_MAX_FILES) return status_fail(STATUS_INTERNAL, "%d files for one reader", nfiles);
    struct child *c = calloc(1, sizeof *c);
    if (!c) return status_no_memory("a reader", sizeof *c);
    c->limits = *limits;
    c->pid = -1;
    int ends[2], failed = 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) failed = errno;
    if (!failed) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before); /* no handler of the parent runs in the child */
        c->pid = fork();
        if (c->pid == 0) run_child(ends[1], limits, nfiles, files, run, argument);
        if (c->pid < 0) failed = errno;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        close(ends[1]);
        c->socket = ends[0];
        if (failed) close(ends[0]);
    }
    if (failed) {
        child_stop(&c);
        return status_fail(
            STATUS_IO,
            "cannot start a process to read it: %s; check the limits on processes, open files and "
            "memory (ulimit -a)",
            strerror(failed));
    }
    *child = c;
    return SUCCESS;
}
