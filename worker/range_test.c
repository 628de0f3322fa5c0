#include "worker/range_test.h"
#include "worker/trial.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 100
#define SMOOTHING 4 /* steps on either side */

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

static void find(const double *loss, const double *before, double first, double last, struct range_test *r) {
    int64_t least = 0;
    double growth = log(last / first) / (STEPS - 1), fall[STEPS];
    for (int64_t i = 0; i < STEPS; i++) {
        fall[i] = smoothed(loss, before, i);
        if (fall[i] < fall[least]) least = i;
    }
    int64_t above = least;
    while (above < STEPS && !(fall[above] > 0)) above++;
    *r = (struct range_test){.steps = STEPS,
                             .least_at = first * exp(growth * (double)least),
                             .fall = -fall[least],
                             .above = above < STEPS ? first * exp(growth * (double)above) : INFINITY};
    r->rate = r->fall > 0 ? r->least_at / 2 : 0;
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
