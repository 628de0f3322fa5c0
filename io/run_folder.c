#include "io/run_folder.h"

#include "io/file.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Columns of metrics.csv after time and phase: figures of "epoch" events. */
static const char *const columns[] = {
    "epoch",     "step",          "loss", "accuracy",      "holdout_loss",  "holdout_accuracy",
    "test_loss", "test_accuracy", "rate", "gradient_norm", "samples_per_s", "seconds"};
#define NCOLUMNS ((int)(sizeof columns / sizeof *columns))

struct run_folder {
    char *path;
    struct log *log;
    int events;  /* run.jsonl, appended to by every rank; -1: not open */
    int metrics; /* metrics.csv, by rank 0; -1: not open */
    int failed;  /* errno of the first write that failed, else 0 */
};

/* ---- writing ---- */

/* "2024-05-06T07:08:09.123Z" */
static void format_time(char *text, size_t nbytes) {
    struct timespec now;
    struct tm utc;
    char seconds[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(text, nbytes, "%s.%03dZ", seconds, (int)(now.tv_nsec / 1000000));
}

/* Appends all of it, under a lock where the file system has them: O_APPEND alone is not atomic between nodes.
 */
static void append(struct run_folder *folder, int file, const char *data, size_t nbytes) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool locked = fcntl(file, F_SETLKW, &lock) == 0;
    while (nbytes > 0) {
        ssize_t n = write(file, data, nbytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            if (!folder->failed) folder->failed = errno;
            break;
        }
        data += n;
        nbytes -= (size_t)n;
    }
    lock.l_type = F_UNLCK;
    if (locked) fcntl(file, F_SETLK, &lock);
}

/* JSON has no NaN and no infinity: those are texts. */
static cJSON *figure_value(const struct log_figure *figure) {
    char text[40];
    if (figure->text) return cJSON_CreateString(figure->text);
    snprintf(text, sizeof text, "%.9g", figure->number);
    return isfinite(figure->number) ? cJSON_CreateRaw(text) : cJSON_CreateString(text);
}

static char *event_line(int rank, const char *phase, const char *event, const struct log_figure *figures,
                        int n) {
    char time_text[48];
    format_time(time_text, sizeof time_text);
    cJSON *line = cJSON_CreateObject();
    cJSON_AddStringToObject(line, "time", time_text);
    cJSON_AddNumberToObject(line, "rank", rank);
    cJSON_AddStringToObject(line, "phase", phase);
    cJSON_AddStringToObject(line, "event", event);
    cJSON *all = cJSON_AddObjectToObject(line, "figures");
    bool complete = all != NULL;
    for (int i = 0; complete && i < n; i++) {
        cJSON *value = figure_value(&figures[i]);
        complete = value && cJSON_AddItemToObject(all, figures[i].name, value);
        if (!complete) cJSON_Delete(value);
    }
    char *text = complete ? cJSON_PrintUnformatted(line) : NULL;
    cJSON_Delete(line);
    return text;
}

static void append_metrics(struct run_folder *folder, const char *phase, const struct log_figure *figures,
                           int n) {
    char row[1024], time_text[48];
    format_time(time_text, sizeof time_text);
    size_t used = (size_t)snprintf(row, sizeof row, "%s,%.64s", time_text, phase);
    for (int column = 0; column < NCOLUMNS; column++) {
        row[used++] = ',';
        for (int i = 0; i < n; i++)
            if (!figures[i].text && strcmp(figures[i].name, columns[column]) == 0) {
                used += (size_t)snprintf(row + used, 32, "%.9g", figures[i].number);
                break;
            }
    }
    row[used++] = '\n';
    append(folder, folder->metrics, row, used);
}

static void listen(void *data, int rank, const char *phase, const char *event,
                   const struct log_figure *figures, int n) {
    struct run_folder *folder = data;
    char *text = event_line(rank, phase, event, figures, n);
    size_t length = text ? strlen(text) : 0;
    char *line = text ? realloc(text, length + 2) : NULL;
    if (!line) {
        free(text);
        if (!folder->failed) folder->failed = ENOMEM;
        return;
    }
    line[length] = '\n';
    append(folder, folder->events, line, length + 1);
    free(line);
    if (folder->metrics >= 0 && strcmp(event, "epoch") == 0) append_metrics(folder, phase, figures, n);
}

/* ---- making ---- */

/* A new folder <runs>/<name>-<local time>, with -2, -3 ... after it if others are made in the same second. */
static status make_folder(const char *runs, const char *name, char **path) {
    STATUS_TRY(file_make_folders(runs));
    char stamp[32];
    time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    strftime(stamp, sizeof stamp, "%Y%m%d-%H%M%S", &local);
    for (int i = 1; i <= 1000; i++) {
        char suffix[16] = "";
        char *folder = NULL;
        if (i > 1) snprintf(suffix, sizeof suffix, "-%d", i);
        if (asprintf(&folder, "%s/%s-%s%s", runs, *name ? name : "run", stamp, suffix) < 0)
            return status_no_memory("the run folder's path", PATH_MAX);
        if (mkdir(folder, 0777) == 0) {
            *path = folder;
            return SUCCESS;
        }
        status error = errno == EEXIST ? SUCCESS : file_fail("create", folder, errno);
        free(folder);
        if (error) return error;
    }
    return status_fail(STATUS_IO, "cannot create a run folder in %s: all names of this second are taken",
                       runs);
}

static status open_file(const struct run_folder *folder, const char *name, int *file) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", folder->path, name) < 0)
        return status_no_memory("the run folder's path", PATH_MAX);
    *file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    status error = *file < 0 ? file_fail("write", path, errno) : SUCCESS;
    free(path);
    return error;
}

static status fill_folder(struct run_folder *folder, const char *config_json) {
    STATUS_TRY(run_folder_write(folder, "config.json", config_json));
    STATUS_TRY(open_file(folder, "metrics.csv", &folder->metrics));
    char header[512];
    size_t used = (size_t)snprintf(header, sizeof header, "time,phase");
    for (int i = 0; i < NCOLUMNS; i++)
        used += (size_t)snprintf(header + used, sizeof header - used, ",%s", columns[i]);
    header[used++] = '\n';
    append(folder, folder->metrics, header, used);
    return folder->failed ? file_fail("write", folder->path, folder->failed) : SUCCESS;
}

static void destroy(struct run_folder **folder) {
    if ((*folder)->events >= 0) close((*folder)->events);
    if ((*folder)->metrics >= 0) close((*folder)->metrics);
    free((*folder)->path);
    free(*folder);
    *folder = NULL;
}

static status create(struct run_folder *f, const char *runs, const char *name, const char *config_json,
                     const struct comm *world) {
    char *made = NULL;
    status error = comm_is_root(world) ? make_folder(runs, name, &made) : SUCCESS;
    error = comm_agree(world, error);
    if (!error) error = comm_bcast_text(world, 0, made, &f->path);
    free(made);
    if (error) return error;
    if (comm_is_root(world)) error = fill_folder(f, config_json);
    if (!error) error = open_file(f, "run.jsonl", &f->events);
    return comm_agree(world, error);
}

status run_folder_create(const char *runs, const char *name, const char *config_json,
                         const struct comm *world, struct log *log, struct run_folder **folder) {
    struct run_folder *f = calloc(1, sizeof *f);
    STATUS_TRY(comm_agree(world, f ? SUCCESS : status_no_memory("the run folder", sizeof *f)));
    f->events = f->metrics = -1;
    f->log = log;
    status error = create(f, runs, name, config_json, world);
    if (error) {
        destroy(&f);
        return error;
    }
    log_listen(log, listen, f);
    *folder = f;
    return SUCCESS;
}

const char *run_folder_path(const struct run_folder *folder) {
    return folder->path;
}

status run_folder_write(const struct run_folder *folder, const char *file, const char *text) {
    char *path = NULL;
    if (asprintf(&path, "%s/%s", folder->path, file) < 0)
        return status_no_memory("the run folder's path", PATH_MAX);
    status error = file_write_atomic(path, text, strlen(text));
    free(path);
    return error;
}

status run_folder_close(struct run_folder **folder) {
    struct run_folder *f = *folder;
    if (!f) return SUCCESS;
    log_listen(f->log, NULL, NULL);
    status error = f->failed ? file_fail("write run.jsonl or metrics.csv in", f->path, f->failed) : SUCCESS;
    destroy(folder);
    return error;
}
