/* For leak checks: plug-ins (of MPI) stay loaded, so that the leaks they are known for can be told from ours
 * by the name of the library (lsan.supp). Linked into the tests of a sanitizer build. */
#include <dlfcn.h>

int dlclose(void *handle) {
    (void)handle;
    return 0;
}
