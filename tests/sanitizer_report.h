/* A sanitizer's report of a crash: is it in our code, or in a library that a child process is there for?
 *
 * It is a library's if the innermost frame, interceptors and libc aside, is a library's, and so are those
 * that allocated and freed the memory in question: a library that overruns a buffer of ours was given a wrong
 * one. */
#ifndef GODWIT_TESTS_SANITIZER_REPORT_H
#define GODWIT_TESTS_SANITIZER_REPORT_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum sanitizer_frame { FRAME_OURS, FRAME_LIBRARY, FRAME_RUNTIME };

/* clang links its runtime into the program; the table of instrumented places says which code is ours. */
extern const uintptr_t __start___sancov_pcs[] __attribute__((weak));
extern const uintptr_t __stop___sancov_pcs[] __attribute__((weak));

static inline bool sanitizer_instrumented(uintptr_t pc) {
    uintptr_t first = UINTPTR_MAX, last = 0;
    if (!__start___sancov_pcs || !__stop___sancov_pcs) return true;
    for (const uintptr_t *entry = __start___sancov_pcs; entry + 1 < __stop___sancov_pcs; entry += 2) {
        if (*entry < first) first = *entry;
        if (*entry > last) last = *entry;
    }
    return pc >= first && pc < last + 4096;
}

static inline enum sanitizer_frame sanitizer_frame(uintptr_t pc) {
    static const char *const libraries[] = {"libhdf5",  "libzip", "libz.",   "libmpi", "libopen-",
                                            "libcjson", "libbz2", "liblzma", "libzstd"};
    Dl_info info, own;
    if (!dladdr((void *)(pc - 1), &info) || !info.dli_fname) return FRAME_OURS;
    const char *base = strrchr(info.dli_fname, '/');
    base = base ? base + 1 : info.dli_fname;
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        if (!strncmp(base, libraries[i], strlen(libraries[i]))) return FRAME_LIBRARY;
    if (dladdr((void *)(uintptr_t)sanitizer_frame, &own) && own.dli_fbase == info.dli_fbase)
        return sanitizer_instrumented(pc) ? FRAME_OURS : FRAME_RUNTIME;
    return FRAME_RUNTIME;
}

static inline bool sanitizer_blames_us(const char *report) {
    int stacks = 0;
    bool found = true; /* the frame that counts of the stack at hand */
    bool ours = false;
    for (const char *line = report; line && *line; line = strchr(line, '\n'), line += line != NULL) {
        char *end;
        while (*line == ' ') line++;
        if (*line != '#') continue;
        long number = strtol(line + 1, &end, 10);
        while (*end == ' ') end++;
        if (strncmp(end, "0x", 2) != 0) continue;
        if (number == 0) {
            if (stacks && !found) ours = true; /* a stack of which nothing is known */
            stacks++;
            found = false;
        }
        enum sanitizer_frame frame = found ? FRAME_RUNTIME : sanitizer_frame(strtoull(end, NULL, 16));
        if (frame == FRAME_RUNTIME) continue;
        found = true;
        ours |= frame == FRAME_OURS;
    }
    return ours || stacks == 0;
}

#endif
