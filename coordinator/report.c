#include "coordinator/report.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

/* 297450 as "297,450". */
static const char *with_commas(int64_t n, char *text, size_t size) {
    char digits[32];
    int length = snprintf(digits, sizeof digits, "%lld", (long long)n);
    size_t used = 0;
    for (int i = 0; i < length && used + 2 < size; i++) {
        if (i && (length - i) % 3 == 0) text[used++] = ',';
        text[used++] = digits[i];
    }
    text[used] = '\0';
    return text;
}

static void print_row(FILE *out, const char *what, const char *source, const char *target,
                      const char *ratio) {
    fprintf(out, "%-28s %14s %14s %10s\n", what, source, target, ratio);
}

static void print_percent(FILE *out, const char *what, double source, double target) {
    char a[32], b[32], c[32];
    if (isnan(target)) return;
    snprintf(b, sizeof b, "%.2f %%", 100 * target);
    if (isnan(source)) { /* another task */
        print_row(out, what, "", b, "");
        return;
    }
    snprintf(a, sizeof a, "%.2f %%", 100 * source);
    snprintf(c, sizeof c, "%.1f %%", 100 * target / source);
    print_row(out, what, a, b, c);
}

static void print_agreement(FILE *out, const char *what, double share) {
    char text[32];
    if (isnan(share)) return;
    snprintf(text, sizeof text, "%.1f %%", 100 * share);
    print_row(out, what, "", "", text);
}

static void print_number(FILE *out, const char *what, const char *format, double source, double target) {
    char a[32], b[32], c[32];
    if (!(source > 0)) return;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(a, sizeof a, format, source);
    snprintf(b, sizeof b, format, target);
#pragma GCC diagnostic pop
    snprintf(c, sizeof c, "%.2f", target / source);
    print_row(out, what, a, b, c);
}

void report_print(FILE *out, const struct report *r) {
    char a[32], b[32], c[32];
    print_row(out, "", "source", "target", "ratio");
    snprintf(c, sizeof c, "%.2f",
             (double)r->target.parameters / (double)(r->source.parameters ? r->source.parameters : 1));
    print_row(out, "parameters", with_commas(r->source.parameters, a, sizeof a),
              with_commas(r->target.parameters, b, sizeof b), c);
    print_number(out, "MFLOP a sample", "%.2f", r->source.flops / 1e6, r->target.flops / 1e6);
    print_percent(out, "test accuracy, refit only", r->source.accuracy, r->refit_accuracy);
    print_percent(out, "test accuracy", r->source.accuracy, r->target.accuracy);
    print_agreement(out, "same class, refit only", r->refit_agreement);
    print_agreement(out, "same class as the source", r->agreement);
    print_number(out, "latency of one sample, ms", "%.3f", 1e3 * r->source.latency_s,
                 1e3 * r->target.latency_s);
    double total = 0;
    fprintf(out, "\n%-28s %14s\n", "phase", "seconds");
    for (int i = 0; i < r->nphases; i++) {
        fprintf(out, "%-28s %14.2f\n", r->phase[i].name, r->phase[i].seconds);
        total += r->phase[i].seconds;
    }
    fprintf(out, "%-28s %14.2f\n", "total", total);
}

/* ---- several targets ---- */

enum { QUALITY, PARAMETERS, FLOPS, LATENCY, MEASURES };

/* What a target does and costs, the less the better; 0 where it is not known. */
static void measure(const struct report *r, double value[MEASURES]) {
    double quality = !isnan(r->target.accuracy) ? r->target.accuracy : r->agreement;
    value[QUALITY] = isnan(quality) ? 0 : -quality;
    value[PARAMETERS] = (double)r->target.parameters;
    value[FLOPS] = r->target.flops > 0 ? r->target.flops : 0;
    value[LATENCY] = r->target.latency_s > 0 ? r->target.latency_s : 0;
}

/* Is `a` nowhere worse and somewhere better? */
static bool betters(const struct report *a, const struct report *b) {
    double x[MEASURES], y[MEASURES];
    bool better = false;
    measure(a, x);
    measure(b, y);
    for (int i = 0; i < MEASURES; i++) {
        if (x[i] > y[i]) return false;
        better = better || x[i] < y[i];
    }
    return better;
}

static void format(char *text, size_t size, double value, double scale, int digits, const char *unit) {
    if (value > 0) snprintf(text, size, "%.*f%s", digits, scale * value, unit);
    else text[0] = '\0';
}

void report_print_targets(FILE *out, int n, const struct report_target *t) {
    fprintf(out, "%-26s %10s %11s %14s %10s %12s\n", "target", "accuracy", "same class", "parameters",
            "MFLOP", "latency, ms");
    for (int i = 0; i < n; i++) {
        const struct report *r = &t[i].report;
        char accuracy[32], same[32], parameters[32], flops[32], latency[32];
        bool bettered = false;
        for (int j = 0; j < n; j++) bettered = bettered || (j != i && betters(&t[j].report, r));
        format(accuracy, sizeof accuracy, r->target.accuracy, 100, 2, " %");
        format(same, sizeof same, r->agreement, 100, 1, " %");
        format(flops, sizeof flops, r->target.flops, 1e-6, 2, "");
        format(latency, sizeof latency, r->target.latency_s, 1e3, 3, "");
        fprintf(out, "%c %-24s %10s %11s %14s %10s %12s\n", bettered ? ' ' : '*', t[i].name, accuracy, same,
                with_commas(r->target.parameters, parameters, sizeof parameters), flops, latency);
    }
    fprintf(out, "* no other target betters it in all of this\n");
}
