#include "worker/loss.h"

#include <math.h>
#include <string.h>

static int64_t largest(const float *v, int64_t n) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (v[i] > v[best]) best = i;
    return best;
}

/* log of the sum of exp(v/T). NaN and infinities in v come through. */
static double log_sum_exp(const float *v, int64_t n, double temperature) {
    double top = v[largest(v, n)] / temperature, sum = 0;
    for (int64_t i = 0; i < n; i++) sum += exp(v[i] / temperature - top);
    return top + log(sum);
}

static double cross_entropy(const struct loss_config *c, int64_t classes, const float *z, const float *t,
                            int32_t label, double scale, float *grad) {
    double d = t ? c->distillation : 0, s = c->label_smoothing, temperature = c->temperature, loss = 0;
    for (int64_t j = 0; grad && j < classes; j++) grad[j] = 0;
    if (d < 1) {
        double norm = log_sum_exp(z, classes, 1);
        for (int64_t j = 0; j < classes; j++) {
            double log_p = z[j] - norm, q = s / (double)classes + (j == label ? 1 - s : 0);
            if (q > 0) loss -= (1 - d) * q * log_p;
            if (grad) grad[j] += (float)(scale * (1 - d) * (exp(log_p) - q));
        }
    }
    if (d > 0) {
        double norm = log_sum_exp(z, classes, temperature),
               teacher_norm = log_sum_exp(t, classes, temperature);
        for (int64_t j = 0; j < classes; j++) {
            double log_p = z[j] / temperature - norm, log_q = t[j] / temperature - teacher_norm,
                   q = exp(log_q);
            if (q > 0) loss += d * temperature * temperature * q * (log_q - log_p);
            if (grad) grad[j] += (float)(scale * d * temperature * (exp(log_p) - q));
        }
    }
    return loss;
}

static double mean_squared_error(const struct loss_config *c, int64_t classes, const float *z, const float *t,
                                 int32_t label, double scale, float *grad) {
    double d = t ? c->distillation : 0, loss = 0, n = (double)classes;
    for (int64_t j = 0; j < classes; j++) {
        double to_label = (double)z[j] - (j == label), to_teacher = t ? (double)z[j] - t[j] : 0;
        loss += ((1 - d) * to_label * to_label + d * to_teacher * to_teacher) / n;
        if (grad) grad[j] = (float)(scale * 2 * ((1 - d) * to_label + d * to_teacher) / n);
    }
    return loss;
}

void loss_add(const struct loss_config *config, int64_t n, int64_t classes, const float *logits,
              const float *teacher, const int32_t *label, int64_t divisor, float *grad,
              struct loss_result *result) {
    bool squared = !strcmp(config->kind, "mean_squared_error");
    double scale = 1.0 / (double)divisor;
    for (int64_t i = 0; i < n; i++) {
        const float *z = logits + i * classes, *t = teacher ? teacher + i * classes : NULL;
        float *g = grad ? grad + i * classes : NULL;
        int32_t wanted = label ? label[i] : (int32_t)largest(t, classes);
        result->loss += squared ? mean_squared_error(config, classes, z, t, wanted, scale, g)
                                : cross_entropy(config, classes, z, t, wanted, scale, g);
        result->correct += largest(z, classes) == wanted;
    }
}
