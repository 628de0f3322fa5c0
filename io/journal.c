#include "io/journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define MAGIC "godwit journal 1"
#define CHECK_LENGTH 9 /* a blank and eight hexadecimal digits */

void journal_destroy(struct journal **journal) {
    struct journal *j = *journal;
    if (!j) return;
    for (int i = 0; i < j->ntensors; i++) free(j->tensor[i].name);
    free(j->tensor);
    free(j->chunk);
    free(j->program);
    free(j->source);
    free(j->target);
    free(j);
    *journal = NULL;
}

/* ---- lines ---- */

static unsigned check_of(const char *line, size_t length) {
    return (unsigned)crc32(crc32(0, NULL, 0), (const unsigned char *)line, (unsigned)length);
}

/* What is left of a text. */
struct lines {
    const char *at, *end;
};

/* The next line without its check, owned; NULL at the end; "" for a torn one. */
static status next_line(struct lines *lines, bool *torn, char **line) {
    *line = NULL;
    *torn = false;
    if (lines->at >= lines->end) return SUCCESS;
    const char *stop = memchr(lines->at, '\n', (size_t)(lines->end - lines->at)), *at = lines->at;
    size_t length = (size_t)((stop ? stop : lines->end) - at);
    lines->at = stop ? stop + 1 : lines->end;
    char check[CHECK_LENGTH + 1] = "";
    *torn = !stop || length < CHECK_LENGTH || memchr(at, 0, length);
    if (!*torn) {
        length -= CHECK_LENGTH;
        snprintf(check, sizeof check, " %08x", check_of(at, length));
        *torn = memcmp(check, at + length, CHECK_LENGTH) != 0;
    }
    *line = strndup(at, *torn ? 0 : length);
    return *line ? SUCCESS : status_no_memory("a journal", length);
}

static void put_line(FILE *out, const char *line) {
    fprintf(out, "%s %08x\n", line, check_of(line, strlen(line)));
}

/* The text between the first and the last quotation mark; it ends where the latter was. NULL: there is none.
 */
static char *quoted(char *line) {
    char *first = strchr(line, '"'), *last = strrchr(line, '"');
    if (!first || last == first || last[1]) return NULL;
    *last = 0;
    return first + 1;
}

/* ---- reading ---- */

/* Grows an array that has room in powers of two. */
static status make_room(void **array, int64_t n, size_t size) {
    if (n & (n - 1)) return SUCCESS;
    size_t room = (n ? 2 * (size_t)n : 1) * size;
    void *larger = realloc(*array, room);
    if (!larger) return status_no_memory("a journal", room);
    *array = larger;
    return SUCCESS;
}

static status add_tensor(struct journal *j, char *line, bool *known) {
    char type[16] = "";
    long long offset;
    char *name = quoted(line);
    *known = name && sscanf(line, "place %lld %15s", &offset, type) == 2;
    if (!*known) return SUCCESS;
    STATUS_TRY(make_room((void **)&j->tensor, j->ntensors, sizeof *j->tensor));
    struct journal_tensor *t = &j->tensor[j->ntensors];
    *t = (struct journal_tensor){.name = strdup(name), .place = {offset, !strcmp(type, "int64")}};
    if (!t->name) return status_no_memory("a journal", strlen(name));
    j->ntensors++;
    return SUCCESS;
}

/* Number of a tensor, usually that of the line before or the next one; -1 if there is none of the name. */
static int find_tensor(const struct journal *j, const char *name, int last) {
    for (int i = 0; i < j->ntensors; i++) {
        int at = (last + i) % j->ntensors;
        if (!strcmp(j->tensor[at].name, name)) return at;
    }
    return -1;
}

static status add_chunk(struct journal *j, char *line, int *last) {
    struct journal_chunk c = {0};
    char *name = quoted(line);
    if (!name || sscanf(line, "done %" SCNd64 " %" SCNd64 " %79s", &c.first, &c.rows, c.digest) != 3)
        return SUCCESS;
    c.tensor = find_tensor(j, name, *last);
    if (c.tensor < 0) return SUCCESS;
    *last = c.tensor;
    STATUS_TRY(make_room((void **)&j->chunk, j->nchunks, sizeof *j->chunk));
    j->chunk[j->nchunks++] = c;
    return SUCCESS;
}

static int compare_places(const struct journal_chunk *a, const struct journal_chunk *b) {
    if (a->tensor != b->tensor) return a->tensor < b->tensor ? -1 : 1;
    return (a->first > b->first) - (a->first < b->first);
}

static int compare_chunks(const void *a, const void *b) {
    return compare_places(a, b);
}

/* In order; of those at one place the last line stays. */
static status sort_chunks(struct journal *j) {
    int64_t n = 0;
    struct journal_chunk *sorted = NULL;
    STATUS_TRY(memory_alloc("a journal", (size_t)j->nchunks + 1, sizeof *sorted, (void **)&sorted));
    for (int64_t i = 0; i < j->nchunks; i++) sorted[i] = j->chunk[i];
    qsort(sorted, (size_t)j->nchunks, sizeof *sorted, compare_chunks);
    for (int64_t i = 0; i < j->nchunks; i++)
        if (!n || compare_places(&sorted[n - 1], &sorted[i])) sorted[n++] = sorted[i];
    for (int64_t i = 0; i < j->nchunks; i++) { /* later lines over earlier ones */
        struct journal_chunk *at = bsearch(&j->chunk[i], sorted, (size_t)n, sizeof *sorted, compare_chunks);
        *at = j->chunk[i];
    }
    free(j->chunk);
    j->chunk = sorted;
    j->nchunks = n;
    return SUCCESS;
}

static status keep_text(const char *text, char **place) {
    free(*place);
    *place = strdup(text);
    return *place ? SUCCESS : status_no_memory("a journal", strlen(text));
}

/* One line of the head; *known: it is one. */
static status head_line(struct journal *j, char *line, bool *known) {
    static const char *const texts[] = {"program ", "source ", "target "};
    char **const place[] = {&j->program, &j->source, &j->target};
    *known = true;
    for (int i = 0; i < 3; i++)
        if (!strncmp(line, texts[i], strlen(texts[i]))) return keep_text(line + strlen(texts[i]), place[i]);
    if (!strncmp(line, "place ", 6)) return add_tensor(j, line, known);
    *known = sscanf(line, "chunk %" SCNd64, &j->chunk_bytes) == 1 ||
             sscanf(line, "bytes %" SCNd64, &j->file_bytes) == 1 ||
             sscanf(line, "run %" SCNx64, &j->run) == 1;
    return SUCCESS;
}

/* *whole: up to its "end". */
static status parse_head(struct journal *j, struct lines *lines, bool *whole) {
    bool torn, known = true;
    char *line = NULL;
    *whole = false;
    STATUS_TRY(next_line(lines, &torn, &line));
    bool ours = line && !torn && !strcmp(line, MAGIC);
    free(line);
    while (ours && known && !*whole) {
        STATUS_TRY(next_line(lines, &torn, &line));
        if (!line || torn) {
            free(line);
            return SUCCESS;
        }
        *whole = !strcmp(line, "end");
        status error = *whole ? SUCCESS : head_line(j, line, &known);
        free(line);
        STATUS_TRY(error);
    }
    *whole = *whole && j->program && j->source && j->target;
    return SUCCESS;
}

static status parse(struct journal *j, const char *text, size_t length, bool *whole) {
    struct lines lines = {text, text + length};
    int last = 0;
    STATUS_TRY(parse_head(j, &lines, whole));
    while (*whole) {
        bool torn;
        char *line = NULL;
        STATUS_TRY(next_line(&lines, &torn, &line));
        if (!line) break;
        status error = torn ? SUCCESS : add_chunk(j, line, &last);
        free(line);
        STATUS_TRY(error);
    }
    return sort_chunks(j);
}

status journal_parse(const char *text, size_t length, struct journal **journal) {
    bool whole = false;
    struct journal *j = calloc(1, sizeof *j);
    if (!j) return status_no_memory("a journal", sizeof *j);
    status error = parse(j, text, length, &whole);
    if (error || !whole) journal_destroy(&j);
    *journal = j;
    return error;
}

const struct journal_chunk *journal_find(const struct journal *j, int tensor, int64_t first, int64_t rows) {
    const struct journal_chunk wanted = {.tensor = tensor, .first = first};
    if (!j->nchunks) return NULL;
    const struct journal_chunk *c =
        bsearch(&wanted, j->chunk, (size_t)j->nchunks, sizeof wanted, compare_chunks);
    return c && c->rows == rows ? c : NULL;
}

/* ---- writing ---- */

static status put_chunk(FILE *out, const struct journal *j, const struct journal_chunk *c) {
    char *line = NULL;
    if (asprintf(&line, "done %" PRId64 " %" PRId64 " %s \"%s\"", c->first, c->rows, c->digest,
                 j->tensor[c->tensor].name) < 0)
        return status_no_memory("a journal", 0);
    put_line(out, line);
    free(line);
    return SUCCESS;
}

static status put_head(FILE *out, const struct journal *j) {
    char *line = NULL;
    const struct {
        const char *name, *digest;
    } key[] = {{"program", j->program}, {"source", j->source}, {"target", j->target}};
    put_line(out, MAGIC);
    for (int i = 0; i < 3; i++) {
        if (asprintf(&line, "%s %s", key[i].name, key[i].digest) < 0) return status_no_memory("a journal", 0);
        put_line(out, line);
        free(line);
    }
    char number[64];
    snprintf(number, sizeof number, "chunk %" PRId64, j->chunk_bytes);
    put_line(out, number);
    snprintf(number, sizeof number, "bytes %" PRId64, j->file_bytes);
    put_line(out, number);
    snprintf(number, sizeof number, "run %016" PRIx64, j->run);
    put_line(out, number);
    for (int i = 0; i < j->ntensors; i++) {
        const struct journal_tensor *t = &j->tensor[i];
        if (asprintf(&line, "place %" PRId64 " %s \"%s\"", t->place.offset,
                     t->place.counts ? "int64" : "float32", t->name) < 0)
            return status_no_memory("a journal", 0);
        put_line(out, line);
        free(line);
    }
    put_line(out, "end");
    return SUCCESS;
}

static status finish_text(FILE *out, status error, char **text) {
    if (fclose(out) && !error) error = status_no_memory("a journal", 0);
    if (!error) return SUCCESS;
    free(*text);
    *text = NULL;
    return error;
}

status journal_print(const struct journal *j, char **text, size_t *length) {
    FILE *out = open_memstream(text, length);
    if (!out) return status_no_memory("a journal", 0);
    status error = put_head(out, j);
    for (int64_t i = 0; i < j->nchunks && !error; i++) error = put_chunk(out, j, &j->chunk[i]);
    return finish_text(out, error, text);
}

status journal_line(const struct journal *j, const struct journal_chunk *chunk, char **line) {
    size_t length;
    FILE *out = open_memstream(line, &length);
    if (!out) return status_no_memory("a journal", 0);
    return finish_text(out, put_chunk(out, j, chunk), line);
}
