#include "io/checkpoint.h"
#include "io/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC "godwit checkpoint 1"

static void check_room(int n) {
    if (n >= CHECKPOINT_MAX) abort();
}

void checkpoint_add_array(struct checkpoint *c, const char *name, float *data, size_t n) {
    check_room(c->narrays);
    c->array[c->narrays].name = name;
    c->array[c->narrays].data = data;
    c->array[c->narrays++].n = n;
}

void checkpoint_add_integer(struct checkpoint *c, const char *name, int64_t *value) {
    check_room(c->nnumbers);
    c->number[c->nnumbers].name = name;
    c->number[c->nnumbers].real = NULL;
    c->number[c->nnumbers++].integer = value;
}

void checkpoint_add_real(struct checkpoint *c, const char *name, double *value) {
    check_room(c->nnumbers);
    c->number[c->nnumbers].name = name;
    c->number[c->nnumbers].integer = NULL;
    c->number[c->nnumbers++].real = value;
}

/* The lines before the arrays' bytes; owned. Doubles are written in hexadecimal, to the last bit. */
static status header_of(const struct checkpoint *c, char **text) {
    size_t size;
    FILE *out = open_memstream(text, &size);
    if (!out) return status_no_memory("a checkpoint", 0);
    fprintf(out, "%s\n%s\n", MAGIC, c->key);
    for (int i = 0; i < c->nnumbers; i++) {
        if (c->number[i].integer)
            fprintf(out, "number %s %lld\n", c->number[i].name, (long long)*c->number[i].integer);
        else fprintf(out, "number %s %a\n", c->number[i].name, *c->number[i].real);
    }
    for (int i = 0; i < c->narrays; i++) fprintf(out, "array %s %zu\n", c->array[i].name, c->array[i].n);
    fprintf(out, "end\n");
    if (fclose(out) == 0) return SUCCESS;
    free(*text);
    return status_no_memory("a checkpoint", size);
}

status checkpoint_write(const char *path, const struct checkpoint *c) {
    char *header = NULL, *temporary = NULL;
    FILE *file = NULL;
    status error = header_of(c, &header);
    if (!error) error = file_temporary(path, &temporary);
    if (!error && !(file = fopen(temporary, "w"))) error = file_fail("write", path, errno);
    bool ok = !error && fputs(header, file) >= 0;
    for (int i = 0; i < c->narrays && ok; i++)
        ok = fwrite(c->array[i].data, sizeof(float), c->array[i].n, file) == c->array[i].n;
    if (!error && !ok) error = file_fail("write", path, errno);
    if (file && fclose(file) && !error) error = file_fail("write", path, errno);
    if (error) file_abandon(temporary);
    else error = file_commit(temporary, path);
    free(temporary);
    free(header);
    return error;
}

static status damaged(const char *path) {
    return status_fail(STATUS_DATA,
                       "the checkpoint %s is damaged or of another model; delete it to start anew", path);
}

static bool read_line(FILE *file, char *line, size_t size) {
    if (!fgets(line, (int)size, file)) return false;
    size_t n = strlen(line);
    if (!n || line[n - 1] != '\n') return false;
    line[n - 1] = '\0';
    return true;
}

/* "number NAME VALUE" of the i-th number. */
static bool read_number(const struct checkpoint *c, int i, char *line) {
    char name[64], value[64], *end;
    if (sscanf(line, "number %63s %63s", name, value) != 2 || strcmp(name, c->number[i].name)) return false;
    if (c->number[i].integer) *c->number[i].integer = strtoll(value, &end, 10);
    else *c->number[i].real = strtod(value, &end);
    return *end == '\0';
}

static status read_all(FILE *file, const char *path, const struct checkpoint *c) {
    char line[4096], name[64];
    size_t n;
    if (!read_line(file, line, sizeof line) || strcmp(line, MAGIC) || !read_line(file, line, sizeof line))
        return damaged(path);
    if (strcmp(line, c->key))
        return status_fail(STATUS_DATA,
                           "the checkpoint %s is of another configuration; delete it to start anew", path);
    for (int i = 0; i < c->nnumbers; i++)
        if (!read_line(file, line, sizeof line) || !read_number(c, i, line)) return damaged(path);
    for (int i = 0; i < c->narrays; i++)
        if (!read_line(file, line, sizeof line) || sscanf(line, "array %63s %zu", name, &n) != 2 ||
            strcmp(name, c->array[i].name) || n != c->array[i].n)
            return damaged(path);
    if (!read_line(file, line, sizeof line) || strcmp(line, "end")) return damaged(path);
    for (int i = 0; i < c->narrays; i++)
        if (fread(c->array[i].data, sizeof(float), c->array[i].n, file) != c->array[i].n)
            return damaged(path);
    return fgetc(file) == EOF ? SUCCESS : damaged(path);
}

status checkpoint_read(const char *path, const struct checkpoint *c, bool *found) {
    FILE *file = fopen(path, "r");
    *found = file != NULL;
    if (!file) return errno == ENOENT ? SUCCESS : file_fail("read", path, errno);
    status error = read_all(file, path, c);
    fclose(file);
    return error;
}

void checkpoint_remove(const char *path) {
    unlink(path);
}
