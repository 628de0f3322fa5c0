/* The models of the Fortran test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "library_testing.h"

void write_models(const char *folder);
void remove_models(const char *folder);

void write_models(const char *folder) {
    char path[256];
    snprintf(path, sizeof path, "mkdir '%s'", folder);
    if (system(path)) abort();
    snprintf(path, sizeof path, "%s/means.h5", folder);
    write_means(path, 4, "{\"scale\": 0.5, \"offset\": -3, \"labels\": [\"positive\", \"negative\"]}");
    snprintf(path, sizeof path, "%s/ends.h5", folder);
    write_ends(path);
    snprintf(path, sizeof path, "%s/pairs.h5", folder);
    write_pairs(path);
}

void remove_models(const char *folder) {
    folder_remove(folder);
}
