/* Precision: kernels rounded to what bfloat16 or, with a scale for each output channel, eight bits hold. The
 * file keeps float32, in which these values are exact. */
#include "coordinator/target_kind.h"

#include "shared/transform.h"

#include <string.h>

static status finish(const struct target_config *config, const struct plan *plan, const struct layer *layer,
                     int weight, struct expr **expr) {
    const struct weight *w = &layer->weight[weight];
    if (!config->precision || !strcmp(config->precision, "float32") || w->shape.rank < 2) return SUCCESS;
    bool bytes = !strcmp(config->precision, "int8");
    STATUS_TRY(expr_create(bytes ? &transform_quantize : &transform_cast, *expr, expr));
    const struct operand_spec *spec = (*expr)->transform->operand;
    (*expr)->operand[0] =
        (struct operand){.present = true, .u.i = transform_choice(spec[0].choices, config->precision)};
    if (bytes)
        (*expr)->operand[1] =
            (struct operand){.present = true, .u.i = w->out_axis >= 0 ? w->out_axis : w->shape.rank - 1};
    struct position at;
    return expr_check(plan, *expr, &at);
}

const struct target_kind target_precision = {.finish = finish};
