#include "worker/range_test.h"
#include "worker/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 100
#define SMOOTHING 4 /* steps on either side */
#define FAR 0.1     /* weights whose loss falls by this part within the test are far from an optimum */

/* Rates in which an optimizer's right one lies. */
static void limits(const struct optimizer_config *config, double *first, double *last) {
    bool adamw = !strcmp(config->kind, "adamw");
    *first = adamw ? 1e-5 : 1e-4;
    *last = adamw ? 1 : 30;
}

/* Mean of the differences around step i; infinite where one is missing: it diverged. */
static double smoothed(const double *loss, const double *before, int64_t i) {
    double sum = 0;
    int64_t n = 0;
    for (int64_t j = i - SMOOTHING; j <= i + SMOOTHING; j++) {
        if (j < 0 || j >= STEPS) continue;
        if (!isfinite(loss[j])) return INFINITY;
        sum += loss[j] - before[j];
        n++;
    }
    return sum / (double)n;
}

static double mean(const double *v) {
    double sum = 0;
    for (int i = 0; i < STEPS; i++) sum += v[i];
    return sum / STEPS;
}

static void find(const double *loss, const double *before, double first, double last, struct range_test *r) {
    int least = 0, doubled = 0;
    double growth = log(last / first) / (STEPS - 1), fall[STEPS];
    *r = (struct range_test){.steps = STEPS, .start = mean(before)};
    for (int i = 0; i < STEPS; i++) {
        fall[i] = smoothed(loss, before, i);
        if (fall[i] < fall[least]) least = i;
    }
    while (doubled < STEPS && !(fall[doubled] > r->start)) doubled++;
    r->least_at = first * exp(growth * least);
    r->fall = -fall[least];
    r->doubled_at = doubled < STEPS ? first * exp(growth * doubled) : INFINITY;
    if (r->fall > FAR * r->start || !isfinite(r->doubled_at)) r->rate = r->least_at / 2;
    else r->rate = r->doubled_at;
}

status range_test(const struct machine *machine, const struct train_task *task, struct range_test *result) {
    double loss[STEPS], before[STEPS];
    struct sweep sweep = {.steps = STEPS, .loss = before};
    STATUS_TRY(trial_sweep(machine, task, &sweep));
    limits(&task->config->optimizer, &sweep.first, &sweep.last);
    sweep.loss = loss;
    STATUS_TRY(trial_sweep(machine, task, &sweep));
    find(loss, before, sweep.first, sweep.last, result);
    return SUCCESS;
}
