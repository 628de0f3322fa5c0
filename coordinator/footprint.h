/* What a process holds of the machine's memory, as the system counts it. */
#ifndef GODWIT_COORDINATOR_FOOTPRINT_H
#define GODWIT_COORDINATOR_FOOTPRINT_H

struct footprint {
    double peak; /* bytes it had at most, each page that it shares counted in full (VmHWM) */
    double part; /* bytes it has, of pages that it shares only its part (Pss) */
};

/* Zeros where the system does not tell. */
void footprint_read(struct footprint *footprint);

#endif
