/* What a tuning found: told, and kept in a file for the run that goes on after SIGTERM. */
#include "worker/tuner.h"

#include "io/checkpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Evidence that there is no memory for is in the log only. */
static void append(char **text, const char *line) {
    size_t before = *text ? strlen(*text) : 0, length = strlen(line);
    char *grown = realloc(*text, before + length + 2);
    if (!grown) return;
    memcpy(grown + before, line, length);
    memcpy(grown + before + length, "\n", 2);
    *text = grown;
}

void tuner_tell(struct tuner *t, const char *format, ...) {
    char line[512];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    log_line(t->machine->log, LOG_INFO, "%s", line);
    LOG_EVENT(t->machine->log, "tune", {"message", 0, line});
    append(&t->tuning->evidence, line);
}

/* Numbers as they are kept. */
struct record {
    int64_t flip, head_first;
};

static void describe(struct tuner *t, struct record *r, struct checkpoint *c) {
    struct training_config *config = t->config;
    *c = (struct checkpoint){.key = t->task.checkpoint_key ? t->task.checkpoint_key : ""};
    *r = (struct record){t->tuning->augmentation.flip, t->head_first};
    checkpoint_add_integer(c, "batch", &config->batch);
    checkpoint_add_real(c, "rate", &config->schedule.rate);
    checkpoint_add_real(c, "distillation", &config->loss.distillation);
    checkpoint_add_real(c, "temperature", &config->loss.temperature);
    checkpoint_add_integer(c, "flip", &r->flip);
    checkpoint_add_integer(c, "shift", &t->tuning->augmentation.shift);
    checkpoint_add_integer(c, "head_first", &r->head_first);
    checkpoint_add_integer(c, "steps", &t->steps);
    checkpoint_add_real(c, "head_rate", &t->head_rate);
    checkpoint_add_real(c, "step_s", &t->tuning->step_s);
}

status tuner_write(struct tuner *t) {
    struct record r;
    struct checkpoint c;
    if (!t->file) return SUCCESS;
    describe(t, &r, &c);
    return comm_agree(t->machine->world,
                      comm_is_root(t->machine->world) ? checkpoint_write(t->file, &c) : SUCCESS);
}

status tuner_read(struct tuner *t, bool *found) {
    const struct comm *world = t->machine->world;
    struct record r;
    struct checkpoint c;
    *found = false;
    if (!t->file) return SUCCESS;
    describe(t, &r, &c);
    status error = comm_is_root(world) ? checkpoint_read(t->file, &c, found) : SUCCESS;
    if (status_code(error) == STATUS_DATA) { /* another run's: it is found anew, and written over */
        status_drop(&error);
        *found = false;
    }
    STATUS_TRY(comm_agree(world, error));
    STATUS_TRY(comm_any(world, *found, found));
    if (!*found) return SUCCESS;
    for (int i = 0; i < c.nnumbers; i++)
        STATUS_TRY(comm_bcast(
            world, 0, c.number[i].integer ? (void *)c.number[i].integer : (void *)c.number[i].real, 8));
    t->tuning->augmentation.flip = r.flip != 0;
    t->head_first = r.head_first != 0;
    return SUCCESS;
}
