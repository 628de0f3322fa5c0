#include "worker/chunk_writer.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ROOMS 2

struct room {
    float *rows; /* owned */
    struct chunk chunk;
    bool full;
};

struct chunk_writer {
    struct target_file *file;
    struct room room[ROOMS];
    int next; /* room to fill */
    pthread_t thread;
    pthread_mutex_t mutex; /* guards what is below, and `full` */
    pthread_cond_t changed;
    bool ending;
    status error;
    double busy_s; /* the thread's until it ends */
};

/* The next full room; NULL when there will be none. */
static struct room *wait_for(struct chunk_writer *w, int at) {
    struct room *room = &w->room[at];
    pthread_mutex_lock(&w->mutex);
    while (!room->full && !w->ending) pthread_cond_wait(&w->changed, &w->mutex);
    bool full = room->full;
    pthread_mutex_unlock(&w->mutex);
    return full ? room : NULL;
}

static void release(struct chunk_writer *w, struct room *room, status error) {
    pthread_mutex_lock(&w->mutex);
    room->full = false;
    w->error = status_first(w->error, error);
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

/* After an error what comes is dropped. Only this thread changes w->error, until it ends. */
static void *write_chunks(void *argument) {
    struct chunk_writer *w = argument;
    struct room *room;
    for (int at = 0; (room = wait_for(w, at)); at = (at + 1) % ROOMS) {
        const struct chunk *c = &room->chunk;
        double start = comm_time();
        status error = w->error ? SUCCESS
                                : target_file_write(w->file, c->statement->layer, c->statement->weight,
                                                    c->first, c->n, room->rows);
        release(w, room, error);
        w->busy_s += comm_time() - start;
    }
    double start = comm_time();
    w->error = status_first(w->error, target_file_sync(w->file));
    w->busy_s += comm_time() - start;
    return NULL;
}

static void destroy(struct chunk_writer **writer) {
    for (int i = 0; i < ROOMS; i++) free((*writer)->room[i].rows);
    pthread_cond_destroy(&(*writer)->changed);
    pthread_mutex_destroy(&(*writer)->mutex);
    free(*writer);
    *writer = NULL;
}

status chunk_writer_begin(struct target_file *file, int64_t largest, struct chunk_writer **writer) {
    struct chunk_writer *w = calloc(1, sizeof *w);
    if (!w) return status_no_memory("chunks", sizeof *w);
    w->file = file;
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->changed, NULL);
    status error = SUCCESS;
    for (int i = 0; i < ROOMS && !error; i++)
        error = memory_alloc("chunks (lower migration.chunk_mib)", (size_t)largest, sizeof *w->room[i].rows,
                             (void **)&w->room[i].rows);
    int failed = error ? 0 : pthread_create(&w->thread, NULL, write_chunks, w);
    if (failed) error = status_fail(STATUS_MEMORY, "no thread to write with: %s", strerror(failed));
    if (error) destroy(&w);
    *writer = w;
    return error;
}

float *chunk_writer_room(struct chunk_writer *w) {
    struct room *room = &w->room[w->next];
    pthread_mutex_lock(&w->mutex);
    while (room->full && !w->error) pthread_cond_wait(&w->changed, &w->mutex);
    bool failed = w->error != SUCCESS;
    pthread_mutex_unlock(&w->mutex);
    return failed ? NULL : room->rows;
}

void chunk_writer_give(struct chunk_writer *w, const struct chunk *chunk) {
    struct room *room = &w->room[w->next];
    w->next = (w->next + 1) % ROOMS;
    room->chunk = *chunk;
    pthread_mutex_lock(&w->mutex);
    room->full = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
}

status chunk_writer_end(struct chunk_writer **writer, status error, double *busy_s) {
    struct chunk_writer *w = *writer;
    *busy_s = 0;
    if (!w) return error;
    pthread_mutex_lock(&w->mutex);
    w->ending = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->mutex);
    pthread_join(w->thread, NULL);
    error = status_first(error, w->error);
    *busy_s = w->busy_s;
    destroy(writer);
    return error;
}
