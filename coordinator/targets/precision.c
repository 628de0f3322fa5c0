/* Precision: kernels rounded to what bfloat16 or, with a scale for each output channel, eight or four bits
 * hold, to the nearest or by gptq ("int8_gptq"). The file keeps float32, in which these values are exact. */
#include "coordinator/target_kind.h"

#include "shared/transform.h"

#include <stdlib.h>
#include <string.h>

static const char by_gptq[] = "_gptq";

static status set_word(struct expr *expr, int operand, const char *word) {
    int64_t choice = transform_choice(expr->transform->operand[operand].choices, word);
    expr->operand[operand] = (struct operand){.present = true, .u.i = choice};
    return choice >= 0 ? SUCCESS
                       : status_fail(STATUS_INTERNAL, "%s knows no %s", expr->transform->name, word);
}

/* "int8_gptq": quantize(x, int8, axis 3, rounding gptq) */
static status quantized(const char *precision, int axis, struct expr **expr) {
    const char *end = strstr(precision, by_gptq);
    char *bits = strndup(precision, end ? (size_t)(end - precision) : strlen(precision));
    if (!bits) return status_no_memory("a word", strlen(precision));
    status error = expr_create(&transform_quantize, *expr, expr);
    if (!error) error = set_word(*expr, 0, bits);
    if (!error) (*expr)->operand[1] = (struct operand){.present = true, .u.i = axis};
    if (!error && end) error = set_word(*expr, 2, end + 1);
    free(bits);
    return error;
}

static status finish(const struct target_config *config, const struct plan *plan, const struct layer *layer,
                     int weight, struct expr **expr) {
    const struct weight *w = &layer->weight[weight];
    if (!config->precision || !strcmp(config->precision, "float32") || w->shape.rank < 2) return SUCCESS;
    if (!strcmp(config->precision, "bfloat16")) {
        STATUS_TRY(expr_create(&transform_cast, *expr, expr));
        STATUS_TRY(set_word(*expr, 0, config->precision));
    } else {
        STATUS_TRY(quantized(config->precision, w->out_axis >= 0 ? w->out_axis : w->shape.rank - 1, expr));
    }
    return expr_check(plan, *expr, NULL);
}

const struct target_kind target_precision = {.finish = finish};
