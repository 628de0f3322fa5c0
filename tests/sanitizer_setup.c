/* What sanitizer builds of the tests have besides. */
#include <dlfcn.h>

/* The build hides symbols; these take the place of others. */
#pragma GCC visibility push(default)

/* Plug-ins (of MPI) stay loaded, so that the leaks they are known for can be told from ours by the name of
 * the library (lsan.supp). */
int dlclose(void *handle) {
    (void)handle;
    return 0;
}

/* Crashes are the sanitizer's to report. cmocka's handlers would jump back into the test, in a child process
 * too, which would then go on as a second test. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) {
    return "handle_segv=2:handle_sigbus=2:handle_sigfpe=2:handle_sigill=2:handle_abort=2";
}

#pragma GCC visibility pop
