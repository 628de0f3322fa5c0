/* HDF5's settings of a program that uses this one as a library: reading models changes them. */
#ifndef GODWIT_IO_HDF5_HOST_H
#define GODWIT_IO_HDF5_HOST_H

#include <stdbool.h>
#include <stdint.h>

struct hdf5_host {
    bool old_style; /* errors are reported by a function of HDF5 1.6 */
    int (*report)(int64_t stack, void *data);
    int (*report_old)(void *data);
    void *data;
    unsigned plugins; /* filters that may be loaded */
};

/* As they are now. Not thread-safe where HDF5 is not. */
void hdf5_host_save(struct hdf5_host *host);
/* As they were. */
void hdf5_host_restore(const struct hdf5_host *host);

#endif
