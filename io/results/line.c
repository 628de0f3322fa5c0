/* The lines of CSV (RFC 4180) and of JSON. */
#include "io/prediction.h"
#include "io/results/format.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define MESSAGE_MAX 400 /* bytes of an error's message */
#define NUMBER_MAX 24   /* characters of a number, with what parts it from the next */

/* ---- texts ---- */

static void put_csv(const char *text, int most, FILE *out) {
    int n = (int)strnlen(text, (size_t)most);
    if (!strpbrk(text, "\",\r\n")) {
        fprintf(out, "%.*s", n, text);
        return;
    }
    fputc('"', out);
    for (int i = 0; i < n; i++) {
        if (text[i] == '"') fputc('"', out);
        fputc(text[i], out);
    }
    fputc('"', out);
}

/* Bytes of the character of UTF-8 that begins here; 0: it is none. */
static int utf8_length(const unsigned char *c) {
    int n = c[0] < 0x80                   ? 1
            : c[0] >= 0xc2 && c[0] < 0xe0 ? 2
            : (c[0] & 0xf0) == 0xe0       ? 3
            : c[0] >= 0xf0 && c[0] < 0xf5 ? 4
                                          : 0;
    for (int i = 1; i < n; i++)
        if ((c[i] & 0xc0) != 0x80) return 0;
    /* Longer than need be, surrogates, and what is above U+10FFFF (RFC 3629). */
    if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f)) return 0;
    if ((c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f)) return 0;
    return n;
}

/* Bytes that are no UTF-8 become a question mark. */
static void put_json(const char *text, int most, FILE *out) {
    const unsigned char *c = (const unsigned char *)text, *end = c + strnlen(text, (size_t)most);
    fputc('"', out);
    while (c < end) {
        int n = utf8_length(c);
        if (n == 1 && (*c == '"' || *c == '\\')) fprintf(out, "\\%c", *c);
        else if (n == 1 && *c < 0x20) fprintf(out, "\\u%04x", *c);
        else if (n && c + n <= end) fwrite(c, 1, (size_t)n, out);
        else fputc('?', out);
        c += n ? n : 1;
    }
    fputc('"', out);
}

static void put_json_number(double value, FILE *out) {
    if (isfinite(value)) fprintf(out, "%.9g", value);
    else fputs("null", out);
}

/* ---- CSV ---- */

void results_head(const struct results_task *task, FILE *out) {
    if (task->kind != RESULTS_CSV) return;
    fputs(task->file ? "file" : "index", out);
    if (task->top == 1) fputs(",class,label,score", out);
    for (int k = 1; k <= task->top && task->top > 1; k++) fprintf(out, ",class%d,label%d,score%d", k, k, k);
    for (int i = 0; i < task->noutputs && !task->top; i++)
        for (int64_t k = 0, n = shape_sample_count(&task->shape[i]); k < n; k++) {
            fputc(',', out);
            put_csv(task->name[i], INT32_MAX, out);
            if (n > 1) fprintf(out, "_%" PRId64, k);
        }
    if (task->skip_bad) fputs(",error", out);
    fputc('\n', out);
}

static void put_csv_values(const struct results_task *task, const float *const *y, bool bad, FILE *out) {
    for (int i = 0; i < task->noutputs; i++)
        for (int64_t k = 0, n = shape_sample_count(&task->shape[i]); k < n; k++) {
            if (bad) fputc(',', out);
            else fprintf(out, ",%.9g", (double)y[i][k]);
        }
}

static void put_csv_line(const struct results_task *task, int64_t sample, const float *const *y,
                         const char *bad, const struct prediction_class *best, FILE *out) {
    if (task->file) put_csv(task->file[sample], INT32_MAX, out);
    else fprintf(out, "%" PRId64, sample);
    if (!task->top) put_csv_values(task, y, bad, out);
    for (int k = 0; k < task->top; k++) {
        if (bad) {
            fputs(",,,", out);
            continue;
        }
        fprintf(out, ",%" PRId64 ",", best[k].number);
        put_csv(best[k].label, INT32_MAX, out);
        fprintf(out, ",%.9g", best[k].score);
    }
    if (task->skip_bad) fputc(',', out);
    if (bad) put_csv(bad, MESSAGE_MAX, out);
    fputc('\n', out);
}

/* ---- JSON ---- */

/* Values as lists of lists; returns how many there were. */
static int64_t put_nested(const struct shape *shape, int axis, const float *value, FILE *out) {
    if (axis == shape->rank) {
        put_json_number(*value, out);
        return 1;
    }
    int64_t used = 0;
    fputc('[', out);
    for (int64_t i = 0; i < shape->dim[axis]; i++) {
        if (i) fputc(',', out);
        used += put_nested(shape, axis + 1, value + used, out);
    }
    fputc(']', out);
    return used;
}

static void put_json_values(const struct results_task *task, const float *const *y, FILE *out) {
    fputs(",\"outputs\":{", out);
    for (int i = 0; i < task->noutputs; i++) {
        if (i) fputc(',', out);
        put_json(task->name[i], INT32_MAX, out);
        fputc(':', out);
        put_nested(&task->shape[i], 1, y[i], out);
    }
    fputc('}', out);
}

static void put_json_classes(const struct results_task *task, const struct prediction_class *best,
                             FILE *out) {
    fputs(",\"classes\":[", out);
    for (int k = 0; k < task->top; k++) {
        fprintf(out, "%s{\"class\":%" PRId64 ",\"label\":", k ? "," : "", best[k].number);
        put_json(best[k].label, INT32_MAX, out);
        fputs(",\"score\":", out);
        put_json_number(best[k].score, out);
        fputc('}', out);
    }
    fputc(']', out);
}

static void put_json_line(const struct results_task *task, int64_t sample, const float *const *y,
                          const char *bad, const struct prediction_class *best, FILE *out) {
    fprintf(out, "{\"index\":%" PRId64, sample);
    if (task->file) {
        fputs(",\"file\":", out);
        put_json(task->file[sample], INT32_MAX, out);
    }
    if (bad) {
        fputs(",\"error\":", out);
        put_json(bad, MESSAGE_MAX, out);
    } else if (task->top) {
        put_json_classes(task, best, out);
    } else {
        put_json_values(task, y, out);
    }
    fputs("}\n", out);
}

/* ---- both ---- */

void results_line(const struct results_task *task, int64_t sample, const float *const *y, const char *bad,
                  FILE *out) {
    struct prediction_class best[RESULTS_TOP_MAX];
    if (task->top && !bad) prediction_best(task->preprocessing, y[0], task->shape[0].dim[1], task->top, best);
    (task->kind == RESULTS_CSV ? put_csv_line : put_json_line)(task, sample, y, bad, best, out);
}

int64_t results_line_max(const struct results_task *task) {
    int64_t bytes = 128 + 6 * MESSAGE_MAX, longest = 0;
    for (int64_t i = 0; task->file && i < task->samples; i++) {
        int64_t length = (int64_t)strlen(task->file[i]);
        if (length > longest) longest = length;
    }
    bytes += 6 * longest +
             task->top * (6 * (int64_t)sizeof((struct prediction_class *)0)->label + 3 * NUMBER_MAX + 64);
    for (int i = 0; i < task->noutputs && !task->top; i++) {
        int64_t values;
        if (__builtin_mul_overflow(shape_sample_count(&task->shape[i]), 2 * NUMBER_MAX, &values) ||
            __builtin_add_overflow(bytes, values + 6 * (int64_t)strlen(task->name[i]) + 64, &bytes))
            return INT64_MAX;
    }
    return bytes;
}
