#include "worker/outcome.h"

#include <math.h>

struct outcome outcome_of(const struct opgraph *g, int value) {
    const struct outcome linear = {.kind = OUTCOME_LINEAR, .maximum = INFINITY};
    int only = opgraph_only_reader(g, value), last = g->value[value].rank - 1;
    if (only < 0) return linear;
    const struct op *reader = &g->op[only];
    if (reader->kind == OP_SOFTMAX && reader->u.axis.axis == last && !reader->u.axis.causal)
        return (struct outcome){.kind = OUTCOME_SOFTMAX, .maximum = INFINITY};
    const struct activation_function *act = &reader->u.act;
    if (reader->kind != OP_ACTIVATION || act->kind != ACTIVATION_RELU || act->alpha != 0 || act->gamma != 0)
        return linear;
    return (struct outcome){.kind = OUTCOME_RELU, .maximum = act->beta};
}

static inline float clamp(float v, float minimum, float maximum) {
    return v < minimum ? minimum : v > maximum ? maximum : v;
}

static void compare_squares(const struct outcome *o, int64_t n, bool aware, float *y, const float *p,
                            double *sum) {
    bool relu = o->kind == OUTCOME_RELU;
    float maximum = relu ? o->maximum : INFINITY, minimum = relu ? 0 : -INFINITY, error = 0, base = 0;
    aware = aware && relu;
#pragma omp simd reduction(+ : error, base)
    for (int64_t i = 0; i < n; i++) {
        float a = clamp(y[i], minimum, maximum), b = clamp(p[i], minimum, maximum);
        error += (a - b) * (a - b);
        base += a * a;
        float dead = p[i] < 0 ? p[i] : 0, full = p[i] > maximum ? p[i] : maximum;
        float wanted = y[i] <= 0 ? dead : y[i] >= maximum ? full : y[i];
        y[i] = (aware ? wanted : y[i]) - p[i];
    }
    sum[0] += error;
    sum[1] += base;
}

/* Logarithm of the sum of exponentials. */
static double log_sum(int64_t m, const float *z) {
    float top = z[0];
    double sum = 0;
    for (int64_t j = 1; j < m; j++) top = z[j] > top ? z[j] : top;
    for (int64_t j = 0; j < m; j++) sum += expf(z[j] - top);
    return top + log(sum);
}

static void compare_probabilities(int64_t m, bool aware, float *y, const float *p, double *sum) {
    double wanted = log_sum(m, y), found = log_sum(m, p);
    sum[1] += log((double)m);
    for (int64_t j = 0; j < m; j++) {
        double log_a = y[j] - wanted, log_b = p[j] - found, a = exp(log_a);
        if (a > 0) {
            sum[0] += a * (log_a - log_b);
            sum[1] += a * log_a;
        }
        y[j] = aware ? (float)(2 * (a - exp(log_b))) : y[j] - p[j];
    }
}

void outcome_compare(const struct outcome *o, int64_t rows, int64_t m, bool aware, float *y, const float *p,
                     double *sum) {
    if (o->kind != OUTCOME_SOFTMAX) compare_squares(o, rows * m, aware, y, p, sum);
    for (int64_t r = 0; r < rows && o->kind == OUTCOME_SOFTMAX; r++)
        compare_probabilities(m, aware, y + r * m, p + r * m, sum);
}
