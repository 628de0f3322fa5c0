#include "io/datasets/format.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

status dataset_label(double value, int64_t index, const char *what, int32_t *label) {
    if (!(value >= 0 && value <= INT32_MAX) || value != floor(value))
        return status_fail(STATUS_DATA,
                           "%s: label %" PRId64 " is %g; labels must be class numbers 0, 1, 2, ...", what,
                           index, value);
    *label = (int32_t)value;
    return SUCCESS;
}

status dataset_check_counts(const struct dataset_source *source, int64_t nlabels) {
    if (nlabels == source->n) return SUCCESS;
    return status_fail(STATUS_DATA,
                       "%s has %" PRId64 " samples but %s has %" PRId64
                       " labels; give files that belong together",
                       source->name, source->n, source->label_name, nlabels);
}

status dataset_join(const char *folder, const char *name, char **path) {
    bool alone = name[0] == '/' || !folder[0];
    if (asprintf(path, "%s%s%s", alone ? "" : folder, alone ? "" : "/", name) < 0)
        return status_no_memory("a path", 0);
    return SUCCESS;
}
