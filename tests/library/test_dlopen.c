/* libgodwit loaded, used and let go by a program that was not linked with it. */
#include "worker/library/godwit.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>

#define TAKE(name) __typeof__(&name) name##_ = (__typeof__(&name))dlsym(library, #name)

static int use(void *library) {
    TAKE(godwit_open);
    TAKE(godwit_run);
    TAKE(godwit_close);
    static float x[3 * 28 * 28], y[3 * 10];
    const float *in = x;
    float *out = y, sum = 0;
    godwit_model *model = NULL;
    godwit_error error = {0};
    if (!godwit_open_ || !godwit_run_ || !godwit_close_) {
        printf("a function is missing: %s\n", dlerror());
        return 1;
    }
    int code = godwit_open_(GODWIT_SOURCE_DIR "/configs/models/fashion_source.h5", NULL, &model, &error);
    if (!code) code = godwit_run_(model, 3, &in, &out, &error);
    if (code) printf("%d: %s\n", code, error.message);
    godwit_close_(model);
    for (int i = 0; i < 30; i++) sum += y[i]; /* three times probabilities */
    return code || fabsf(sum - 3) > 1e-4f;
}

int main(void) {
    for (int i = 0; i < 2; i++) {
        void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (!library) {
            printf("%s\n", dlerror());
            return 1;
        }
        if (use(library)) return 1;
        dlclose(library);
    }
    return 0;
}
