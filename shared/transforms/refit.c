/* refit(x): x is the start; what replaces it is fitted in closed form once the whole target has been migrated
 * (worker/refit.h). */
#include "shared/transform.h"

static status rows(struct evaluation *evaluation, const struct expr *expr, int64_t first, int64_t n,
                   float *out) {
    return evaluation_rows(evaluation, expr->arg[0], first, n, out);
}

const struct transform transform_refit = {
    .name = "refit",
    .usage = "refit(x)",
    .doc = "the closed-form fit of the layer to the source's outputs, of calibration samples; x is what it "
           "starts from. A bias goes with its kernel, and so does a "
           "recurrent kernel. It is the outermost transform of a statement, but for "
           "cast and quantize",
    .min_args = 1,
    .max_args = 1,
    .rows = rows,
};
