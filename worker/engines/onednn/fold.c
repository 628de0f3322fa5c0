#include "worker/engines/onednn/fold.h"

#include <math.h>

enum { GAMMA, BETA, MEAN, VARIANCE };

void fold_norm(const struct onednn_exec *exec, const struct step *step, int64_t rows, int64_t m,
               float *weights, float *bias) {
    const float *kernel = step_param(exec, step->op->param[0]), *b = step_param(exec, step->op->param[1]);
    for (int64_t j = 0; j < m; j++) {
        double scale = 1, shift = b ? (double)b[j] : 0;
        if (step->norm) {
            const int *param = step->norm->param;
            const float *gamma = step_param(exec, param[GAMMA]), *beta = step_param(exec, param[BETA]);
            double mean = (double)step_param(exec, param[MEAN])[j];
            double variance = (double)step_param(exec, param[VARIANCE])[j];
            scale = (gamma ? (double)gamma[j] : 1) / sqrt(variance + (double)step->norm->u.norm.epsilon);
            shift = (shift - mean) * scale + (beta ? (double)beta[j] : 0);
        }
        for (int64_t i = 0; i < rows; i++) weights[i * m + j] = (float)((double)kernel[i * m + j] * scale);
        bias[j] = (float)shift;
    }
}
