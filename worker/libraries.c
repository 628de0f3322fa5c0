#include "worker/libraries.h"

#include <cblas.h>
#include <stdio.h>
#ifdef GODWIT_HAVE_ONEDNN
#include <oneapi/dnnl/dnnl.h>
#endif

const char *worker_libraries(char *text) {
    int n = snprintf(text, 384, "%s", openblas_get_config());
    while (n > 0 && n < 384 && text[n - 1] == ' ') text[--n] = '\0';
    if (n >= 384) n = 383;
#ifdef GODWIT_HAVE_ONEDNN
    const dnnl_version_t *version = dnnl_version();
    snprintf(text + n, 128, ", oneDNN %d.%d.%d", version->major, version->minor, version->patch);
#else
    snprintf(text + n, 128, ", without oneDNN");
#endif
    return text;
}
