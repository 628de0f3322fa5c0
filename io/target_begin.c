#include "io/target_begin.h"

#include "io/digest.h"
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HEAD_BYTES 4096
#define LOCK_SECONDS 10 /* ranks of a run that was killed may take a while to end */

/* ---- locks ---- */

status target_lock(int fd, int how, const char *path) {
    double start = comm_time();
    while (flock(fd, how | LOCK_NB) != 0) {
        if (errno == EINTR) continue;
        if (errno != EWOULDBLOCK) return SUCCESS; /* a file system without locks */
        if (comm_time() - start > LOCK_SECONDS)
            return status_fail(STATUS_IO,
                               "another run is writing %s; wait for it, or give this one another name", path);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    return SUCCESS;
}

status target_open_locked(const char *path, int *fd) {
    for (;;) {
        struct stat mine, named;
        *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (*fd < 0) return file_fail("write", path, errno);
        status error = target_lock(*fd, LOCK_EX, path);
        bool same = !error && fstat(*fd, &mine) == 0 && stat(path, &named) == 0 &&
                    mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
        if (same && mine.st_nlink == 1) return SUCCESS;
        if (same && unlink(path)) error = file_fail("write", path, errno);
        close(*fd);
        *fd = -1;
        STATUS_TRY(error);
    }
}

/* ---- what is there, and what there is to be ---- */

status target_read_journal(const char *path, struct journal **journal) {
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t length = 0;
    struct stat info;
    *journal = NULL;
    if (!file) return errno == ENOENT ? SUCCESS : file_fail("read", path, errno);
    status error = fstat(fileno(file), &info) ? file_fail("read", path, errno) : SUCCESS;
    if (!error) error = memory_alloc("a journal", (size_t)info.st_size + 1, 1, (void **)&text);
    if (!error) length = fread(text, 1, (size_t)info.st_size, file);
    if (!error && ferror(file)) error = file_fail("read", path, errno);
    if (!error) error = journal_parse(text, length, journal);
    free(text);
    fclose(file);
    return error;
}

status target_same_journal(int fd, const char *path, const char *text, bool *same) {
    char head[HEAD_BYTES];
    size_t length = strlen(text), n = length < sizeof head ? length : sizeof head;
    ssize_t got = pread(fd, head, n, 0);
    *same = got == (ssize_t)n && !memcmp(head, text, n);
    return got < 0 ? file_fail("read", path, errno) : SUCCESS;
}

/* Everything of the target but its values. */
static status target_digest(const struct target_task *task, char **digest) {
    char *json = NULL, *text = NULL;
    STATUS_TRY(keras_graph_to_json(task->graph, &json));
    int length = asprintf(&text, "%s\n%s\n%s\n%d\n", json, task->preprocessing ? task->preprocessing : "",
                          task->values, task->graph->keras_version);
    free(json);
    if (length < 0) return status_no_memory("a digest", 0);
    status error = bytes_digest(text, (size_t)length, digest);
    free(text);
    return error;
}

static char *copy_of(const char *text) {
    return strdup(text ? text : "none");
}

/* The journal of the task, without places and chunks. */
static status begin_journal(const struct target_task *task, struct journal **journal) {
    struct journal *j = calloc(1, sizeof *j);
    if (!j) return status_no_memory("a journal", sizeof *j);
    *j = (struct journal){
        .program = copy_of(task->program), .source = copy_of(task->source), .chunk_bytes = task->chunk_bytes};
    status error =
        j->program && j->source ? target_digest(task, &j->target) : status_no_memory("a journal", 0);
    if (error) journal_destroy(&j);
    *journal = j;
    return error;
}

status target_draw_run(struct journal *journal) {
    return getrandom(&journal->run, sizeof journal->run, 0) == (ssize_t)sizeof journal->run
               ? SUCCESS
               : status_fail(STATUS_IO, "no random numbers from the system");
}

/* What the file that is there is of another of; NULL: it can be gone on with. */
static const char *difference(const struct journal *there, const struct journal *task, int fd) {
    struct stat info;
    if (strcmp(there->source, task->source)) return "source";
    if (strcmp(there->program, task->program)) return "program";
    if (there->chunk_bytes != task->chunk_bytes) return "size of chunks";
    if (strcmp(there->target, task->target)) return "target";
    if (fstat(fd, &info) || info.st_size != there->file_bytes) return "size";
    return NULL;
}

static status name_tensors(const struct graph *graph, const struct keras_place *place, struct journal *j) {
    int n = 0;
    for (int l = 0; l < graph->nlayers; l++) n += graph->layer[l].nweights;
    STATUS_TRY(memory_alloc("a journal", (size_t)n + 1, sizeof *j->tensor, (void **)&j->tensor));
    for (int l = 0; l < graph->nlayers; l++)
        for (int w = 0; w < graph->layer[l].nweights; w++) {
            struct journal_tensor *t = &j->tensor[j->ntensors];
            if (asprintf(&t->name, "%s/%s", graph->layer[l].name, graph->layer[l].weight[w].name) < 0) {
                t->name = NULL;
                return status_no_memory("a journal", 0);
            }
            t->place = place[j->ntensors++];
        }
    return SUCCESS;
}

/* Lays out a file under a temporary name, locks it, and puts it in the place of the one that is open. */
static status lay_out(const struct target_task *task, struct journal *journal, int *fd) {
    char *temporary = NULL;
    struct keras_place *place = NULL;
    struct stat info;
    int made = -1, n = 0;
    for (int l = 0; l < task->graph->nlayers; l++) n += task->graph->layer[l].nweights;
    STATUS_TRY(file_temporary(task->path, &temporary));
    status error = memory_alloc("places", (size_t)n + 1, sizeof *place, (void **)&place);
    if (!error) error = keras_lay_out(temporary, task->graph, task->preprocessing, place);
    if (!error) error = name_tensors(task->graph, place, journal);
    if (!error && (made = open(temporary, O_RDWR | O_CLOEXEC)) < 0)
        error = file_fail("write", task->path, errno);
    if (!error) error = target_lock(made, LOCK_EX, task->path);
    if (!error && fstat(made, &info)) error = file_fail("write", task->path, errno);
    if (error) file_abandon(temporary);
    else error = file_commit(temporary, task->path);
    free(temporary);
    free(place);
    if (error) {
        if (made >= 0) close(made);
        return error;
    }
    journal->file_bytes = info.st_size;
    close(*fd);
    *fd = made;
    return SUCCESS;
}

status target_begin(const struct target_task *task, struct log *log, const char *journal_path, int *fd,
                    char **text, size_t *length) {
    struct journal *there = NULL, *journal = NULL;
    STATUS_TRY(target_open_locked(task->path, fd));
    status error = target_read_journal(journal_path, &there);
    if (!error) error = begin_journal(task, &journal);
    if (!error && there) {
        const char *other = difference(there, journal, *fd);
        if (other) log_line(log, LOG_INFO, "%s is of another %s: it is made anew", task->path, other);
        if (other) journal_destroy(&there);
    }
    bool anew = !there;
    if (!error && anew) {
        unlink(journal_path);             /* it must not tell of the new file */
        if (ftruncate(*fd, 0)) errno = 0; /* the disk may not have room for both; else lay_out finds out */
        error = lay_out(task, journal, fd);
    } else if (!error) {
        journal_destroy(&journal);
        journal = there;
        there = NULL;
    }
    if (!error) error = target_draw_run(journal);
    if (!error) error = journal_print(journal, text, length);
    if (!error) error = file_write_atomic(journal_path, *text, *length);
    if (error && anew) target_file_remove(task->path);
    journal_destroy(&journal);
    journal_destroy(&there);
    return error;
}
