#include "worker/engines/onednn/fold.h"

#include <math.h>

enum { GAMMA, BETA, MEAN, VARIANCE };

/* What the operation makes of channel j: x*scale + shift. */
static void norm_affine(const struct onednn_exec *exec, const struct op *norm, int64_t j, double *scale,
                        double *shift) {
    const float *gamma = step_param(exec, norm->param[GAMMA]), *beta = step_param(exec, norm->param[BETA]);
    *scale = gamma ? (double)gamma[j] : 1;
    *shift = beta ? (double)beta[j] : 0;
    if (norm->kind == OP_SCALE) return;
    double variance = (double)step_param(exec, norm->param[VARIANCE])[j];
    *scale /= sqrt(variance + (double)norm->u.norm.epsilon);
    *shift -= (double)step_param(exec, norm->param[MEAN])[j] * *scale;
}

void fold_norm(const struct onednn_exec *exec, const struct step *step, int64_t rows, int64_t m,
               float *weights, float *bias) {
    const float *kernel = step_param(exec, step->op->param[0]), *b = step_param(exec, step->op->param[1]);
    for (int64_t j = 0; j < m; j++) {
        double scale = 1, shift = 0;
        if (step->norm) norm_affine(exec, step->norm, j, &scale, &shift);
        for (int64_t i = 0; i < rows; i++) weights[i * m + j] = (float)((double)kernel[i * m + j] * scale);
        bias[j] = (float)((b ? (double)b[j] : 0) * scale + shift);
    }
}
