/* Being asked to stop: a batch system's SIGTERM sets a flag, which long loops look at between steps. */
#ifndef GODWIT_SHARED_INTERRUPT_H
#define GODWIT_SHARED_INTERRUPT_H

#include <stdbool.h>

/* From now on SIGTERM only sets the flag; without this it ends the process. For commands that look at the
 * flag. May be nested: as many releases end it. */
void interrupt_catch(void);
/* SIGTERM ends the process again; the flag is down. */
void interrupt_release(void);
/* Has this rank been asked to stop? Ranks may learn of it at different steps: agree with comm_any(). */
bool interrupt_requested(void);

#endif
