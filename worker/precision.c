#include "worker/precision.h"

#include <string.h>

static bool is_auto(const char *name) {
    return !name || !strcmp(name, "auto");
}

bool precision_is_name(const char *name) {
    enum precision precision;
    return is_auto(name) || precision_find(name, &precision);
}

status precision_choose(const char *wanted, const struct model *model, const struct engine *engine,
                        struct quantization *chosen) {
    STATUS_TRY(quantization_read(model, chosen));
    if (is_auto(wanted)) {
        const bool known = chosen->precision != PRECISION_INT8 || chosen->range;
        if (!known || !engine->has(chosen->precision)) chosen->precision = PRECISION_FLOAT32;
        return SUCCESS;
    }
    if (!precision_find(wanted, &chosen->precision)) {
        quantization_clear(chosen);
        return status_fail(STATUS_USAGE, "--precision: \"%s\" is not " PRECISION_NAMES, wanted);
    }
    if (chosen->precision != PRECISION_INT8 || chosen->range) return SUCCESS;
    return status_fail(STATUS_DATA, "the model does not say what its values lie between, which int8 needs; "
                                    "\"godwit calibrate\" measures that");
}
