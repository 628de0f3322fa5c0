#include "worker/conveyor.h"

#include <pthread.h>
#include <stdlib.h>

struct conveyor {
    int rooms;
    pthread_mutex_t mutex; /* guards what is below */
    pthread_cond_t changed;
    long long passed[CONVEYOR_STAGES]; /* rooms that each has passed on so far */
    bool ended[CONVEYOR_STAGES];
};

status conveyor_create(int rooms, struct conveyor **conveyor) {
    struct conveyor *c = calloc(1, sizeof *c);
    if (!c) return status_no_memory("a conveyor", sizeof *c);
    c->rooms = rooms;
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->changed, NULL);
    *conveyor = c;
    return SUCCESS;
}

void conveyor_destroy(struct conveyor **conveyor) {
    if (!*conveyor) return;
    pthread_cond_destroy(&(*conveyor)->changed);
    pthread_mutex_destroy(&(*conveyor)->mutex);
    free(*conveyor);
    *conveyor = NULL;
}

/* Is there a room for the stage? The first stage takes what the last has emptied. */
static bool is_ready(const struct conveyor *c, int stage) {
    if (stage > 0) return c->passed[stage] < c->passed[stage - 1];
    return c->passed[0] < c->passed[CONVEYOR_STAGES - 1] + c->rooms;
}

static bool is_over(const struct conveyor *c, int stage) {
    for (int s = stage + 1; s < CONVEYOR_STAGES; s++)
        if (c->ended[s]) return true;
    return stage > 0 && c->ended[stage - 1] && !is_ready(c, stage);
}

int conveyor_take(struct conveyor *c, enum conveyor_stage stage) {
    pthread_mutex_lock(&c->mutex);
    while (!is_over(c, stage) && !is_ready(c, stage)) pthread_cond_wait(&c->changed, &c->mutex);
    int room = is_over(c, stage) ? -1 : (int)(c->passed[stage] % c->rooms);
    pthread_mutex_unlock(&c->mutex);
    return room;
}

void conveyor_pass(struct conveyor *c, enum conveyor_stage stage) {
    pthread_mutex_lock(&c->mutex);
    c->passed[stage]++;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

void conveyor_end(struct conveyor *c, enum conveyor_stage stage) {
    pthread_mutex_lock(&c->mutex);
    c->ended[stage] = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}
