/* All kinds of containers, and which one a file is. */
#include "io/keras/container.h"

#include "io/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* In the order in which they are asked. */
#define CONTAINERS(X)                                                                                        \
    X(h5)                                                                                                    \
    X(keras)                                                                                                 \
    X(tfjs)

#define DECLARE(name) extern const struct container_kind container_##name;
CONTAINERS(DECLARE)
#undef DECLARE

static const struct container_kind *const kinds[] = {
#define ADDRESS(name) &container_##name,
    CONTAINERS(ADDRESS)
#undef ADDRESS
};
#define NKINDS (sizeof kinds / sizeof kinds[0])

/* ---- places ---- */

status places_create(const struct graph *graph, struct places *places) {
    struct places p = {.nlayers = graph->nlayers};
    for (int l = 0; l < p.nlayers; l++) p.n += graph->layer[l].nweights;
    p.place = calloc((size_t)p.n + 1, sizeof *p.place);
    p.first = calloc((size_t)p.nlayers + 1, sizeof *p.first);
    if (!p.place || !p.first) {
        places_clear(&p);
        return status_no_memory("a list of weights", (size_t)graph->nlayers * sizeof *p.place);
    }
    for (int l = 0; l < p.nlayers; l++) {
        const struct layer *layer = &graph->layer[l];
        p.first[l + 1] = p.first[l] + layer->nweights;
        for (int w = 0; w < layer->nweights; w++)
            p.place[p.first[l] + w] = (struct place){.shape = layer->weight[w].shape, .offset = -1};
    }
    *places = p;
    return SUCCESS;
}

status places_file(struct places *places, const char *path, int *file) {
    for (int i = 0; i < places->nfiles; i++)
        if (!strcmp(places->file[i], path)) {
            *file = i;
            return SUCCESS;
        }
    char *copy = strdup(path);
    char **grown = copy ? realloc(places->file, (size_t)(places->nfiles + 1) * sizeof *grown) : NULL;
    if (!grown) {
        free(copy);
        return status_no_memory("a path", strlen(path));
    }
    places->file = grown;
    places->file[places->nfiles] = copy;
    *file = places->nfiles++;
    return SUCCESS;
}

void places_clear(struct places *places) {
    for (int i = 0; places->place && i < places->n; i++) free(places->place[i].path);
    for (int i = 0; i < places->nfiles; i++) free(places->file[i]);
    free(places->place);
    free(places->first);
    free(places->file);
    *places = (struct places){0};
}

/* ---- opening ---- */

/* The first bytes of a file; *n is 0 for a folder. */
static status read_head(const char *path, int fd, unsigned char *head, size_t *n, bool *folder) {
    struct stat info;
    *n = 0;
    if (fstat(fd, &info) != 0) return file_fail("read", path, errno);
    *folder = S_ISDIR(info.st_mode);
    if (*folder) return SUCCESS;
    ssize_t got = pread(fd, head, CONTAINER_HEAD_BYTES, 0);
    if (got < 0) return file_fail("read", path, errno);
    *n = (size_t)got;
    return SUCCESS;
}

static status not_recognised(const char *path) {
    char text[1024];
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < NKINDS && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s",
                                 !i               ? ""
                                 : i + 1 < NKINDS ? ", "
                                                  : " or ",
                                 kinds[i]->description);
    return status_fail(STATUS_DATA, "%s is not a Keras model; what can be read is %s", path, text);
}

static status recognise(const char *path, int fd, const struct container_kind **kind) {
    unsigned char head[CONTAINER_HEAD_BYTES];
    size_t n;
    bool folder;
    STATUS_TRY(read_head(path, fd, head, &n, &folder));
    for (size_t i = 0; i < NKINDS; i++)
        if (kinds[i]->recognise(path, folder ? NULL : head, n)) {
            *kind = kinds[i];
            return SUCCESS;
        }
    return not_recognised(path);
}

int container_number(const struct container_kind *kind) {
    int i = 0;
    while (i < (int)NKINDS && kinds[i] != kind) i++;
    return i;
}

const struct container_kind *container_kind(int number) {
    return number >= 0 && number < (int)NKINDS ? kinds[number] : NULL;
}

status container_open(const char *path, int fd, const struct keras_options *options, struct container *c) {
    struct container opened = {.fd = fd};
    STATUS_TRY(recognise(path, fd, &opened.kind));
    opened.path = strdup(path);
    status error =
        opened.path ? opened.kind->open(&opened, options) : status_no_memory("a path", strlen(path));
    if (error) {
        container_close(&opened);
        return error;
    }
    *c = opened;
    return SUCCESS;
}

void container_close(struct container *c) {
    if (c->kind) c->kind->close(c);
    free(c->path);
    free(c->config);
    free(c->preprocessing);
    *c = (struct container){0};
}

/* Of a file or folder that is not JSON text. */
static status topology_of_model(const char *path, int fd, char **json, int *keras_version) {
    struct container c = {0};
    STATUS_TRY(container_open(path, fd, NULL, &c));
    status error = c.config ? SUCCESS
                            : status_fail(STATUS_DATA,
                                          "%s has no topology itself; give a JSON file with what Keras's "
                                          "model.to_json() returns, or a whole model",
                                          path);
    if (!error) {
        *json = c.config;
        c.config = NULL;
        *keras_version = c.keras_version;
    }
    container_close(&c);
    return error;
}

status container_topology(const char *path, char **json, int *keras_version) {
    unsigned char head[CONTAINER_HEAD_BYTES];
    size_t n = 0, i = 0;
    int64_t size;
    int fd;
    bool folder;
    STATUS_TRY(file_open_input(path, &fd, &size));
    status error = read_head(path, fd, head, &n, &folder);
    while (i < n && strchr(" \t\r\n", head[i]) && head[i]) i++;
    if (!error && i < n && head[i] == '{') {
        *keras_version = 0;
        error = file_read_text(path, TOPOLOGY_MAX_BYTES, json);
    } else if (!error) {
        error = topology_of_model(path, fd, json, keras_version);
    }
    close(fd);
    return error;
}
