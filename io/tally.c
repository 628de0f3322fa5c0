#include "io/tally.h"
#include "io/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC "godwit targets 1"
#define MAX_BYTES ((size_t)4 << 20)

struct tally {
    char *path, *key;
    int n;
    char **line; /* [n], owned: "NAME PATH" */
};

void tally_close(struct tally **tally) {
    struct tally *t = *tally;
    if (!t) return;
    for (int i = 0; i < t->n; i++) free(t->line[i]);
    free(t->line);
    free(t->path);
    free(t->key);
    free(t);
    *tally = NULL;
}

static status append(struct tally *t, const char *line, size_t length) {
    char **more = realloc(t->line, ((size_t)t->n + 1) * sizeof *more);
    if (!more) return status_no_memory("a tally", length);
    t->line = more;
    t->line[t->n] = strndup(line, length);
    if (!t->line[t->n]) return status_no_memory("a tally", length);
    t->n++;
    return SUCCESS;
}

/* The lines after the first two, if those are of this run. */
static status parse(struct tally *t, const char *text) {
    for (int number = 0; *text; number++) {
        size_t length = strcspn(text, "\n");
        const char *wanted = number == 0 ? MAGIC : t->key;
        if (number < 2 && (strlen(wanted) != length || strncmp(text, wanted, length) != 0)) return SUCCESS;
        if (number >= 2 && memchr(text, ' ', length)) STATUS_TRY(append(t, text, length));
        text += length + (text[length] == '\n');
    }
    return SUCCESS;
}

static status read_file(struct tally *t) {
    char *text = NULL;
    if (access(t->path, F_OK) != 0) return SUCCESS;
    STATUS_TRY(file_read_text(t->path, MAX_BYTES, &text));
    status error = parse(t, text);
    free(text);
    return error;
}

status tally_open(const char *path, const char *key, struct tally **tally) {
    struct tally *t = calloc(1, sizeof *t);
    if (!t) return status_no_memory("a tally", sizeof *t);
    t->path = strdup(path);
    t->key = strdup(key);
    status error = t->path && t->key ? read_file(t) : status_no_memory("a tally", strlen(path));
    if (error) {
        tally_close(&t);
        return error;
    }
    *tally = t;
    return SUCCESS;
}

static int line_of(const struct tally *t, const char *name) {
    size_t length = strlen(name);
    for (int i = 0; i < t->n; i++)
        if (!strncmp(t->line[i], name, length) && t->line[i][length] == ' ') return i;
    return -1;
}

const char *tally_find(const struct tally *t, const char *name) {
    int i = line_of(t, name);
    return i < 0 ? NULL : t->line[i] + strlen(name) + 1;
}

static status write_file(const struct tally *t) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out) return status_no_memory("a tally", 0);
    fprintf(out, "%s\n%s\n", MAGIC, t->key);
    for (int i = 0; i < t->n; i++) fprintf(out, "%s\n", t->line[i]);
    status error = fclose(out) ? status_no_memory("a tally", size) : file_write_atomic(t->path, text, size);
    free(text);
    return error;
}

status tally_add(struct tally *t, const char *name, const char *path) {
    char *line = NULL;
    int length = asprintf(&line, "%s %s", name, path), at = line_of(t, name);
    if (length < 0) return status_no_memory("a tally", strlen(path));
    status error = at < 0 ? append(t, line, (size_t)length) : SUCCESS;
    if (!error && at >= 0) {
        free(t->line[at]);
        t->line[at] = line;
        line = NULL;
    }
    free(line);
    return error ? error : write_file(t);
}

void tally_remove(const struct tally *t) {
    unlink(t->path);
}
