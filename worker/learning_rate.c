#include "worker/learning_rate.h"

#include <math.h>
#include <string.h>

#define PI 3.14159265358979323846

/* From a to b by half a cosine, at fraction t of the way. */
static double half_cosine(double a, double b, double t) {
    return b + (a - b) * 0.5 * (1 + cos(PI * t));
}

double learning_rate_at(const struct schedule_config *schedule, int64_t step, int64_t steps) {
    double peak = schedule->rate, last = schedule->final * peak;
    if (steps <= 1) return peak;
    double t = (double)step / (double)(steps - 1);
    if (!strcmp(schedule->kind, "one_cycle")) {
        const double rise = 0.3, start = peak / 25;
        return t < rise ? half_cosine(start, peak, t / rise)
                        : half_cosine(peak, last, (t - rise) / (1 - rise));
    }
    double warmup = schedule->warmup * (double)steps;
    if ((double)step + 1 < warmup) return peak * ((double)step + 1) / warmup;
    if (!strcmp(schedule->kind, "constant")) return peak;
    double left = (double)steps - warmup;
    double down = left > 1 ? ((double)step - warmup) / (left - 1) : 0;
    return half_cosine(peak, last, fmin(1, fmax(0, down)));
}
