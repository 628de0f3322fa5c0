#include "shared/interrupt.h"

#include <signal.h>

/* A signal handler has no argument of ours: this flag is the one variable it can reach. */
static volatile sig_atomic_t requested;
static int catchers;

static void request(int signal_number) {
    (void)signal_number;
    requested = 1;
}

void interrupt_catch(void) {
    if (catchers++) return;
    struct sigaction action = {.sa_handler = request, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
}

void interrupt_release(void) {
    if (--catchers) return;
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    requested = 0;
}

bool interrupt_requested(void) {
    return requested != 0;
}
