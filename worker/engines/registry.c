#include "worker/engines/engines.h"

#include <string.h>

/* The first is the default. */
static const struct engine *const ENGINES[] = {
#ifdef GODWIT_HAVE_ONEDNN
    &engine_onednn,
#endif
    &engine_openblas,
};

int engine_count(void) {
    return (int)(sizeof ENGINES / sizeof ENGINES[0]);
}

const struct engine *engine_at(int i) {
    return ENGINES[i];
}

status engine_find(const char *name, const struct engine **engine) {
    if (!name || strcmp(name, "auto") == 0) {
        *engine = ENGINES[0];
        return SUCCESS;
    }
    char names[256] = "auto";
    for (int i = 0; i < engine_count(); i++) {
        if (strcmp(name, ENGINES[i]->name) == 0) {
            *engine = ENGINES[i];
            return SUCCESS;
        }
        strncat(names, ", ", sizeof names - strlen(names) - 1);
        strncat(names, ENGINES[i]->name, sizeof names - strlen(names) - 1);
    }
    return status_fail(STATUS_USAGE, "no engine \"%s\" in this build; use one of %s", name, names);
}
