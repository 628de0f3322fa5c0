#include "io/hdf5_host.h"

#include <hdf5.h>

_Static_assert(sizeof(hid_t) == sizeof(int64_t), "HDF5 1.10 or newer");

void hdf5_host_save(struct hdf5_host *host) {
    unsigned new_style = 1;
    *host = (struct hdf5_host){0};
    H5Eauto_is_v2(H5E_DEFAULT, &new_style);
    host->old_style = !new_style;
    if (new_style) H5Eget_auto2(H5E_DEFAULT, &host->report, &host->data);
    else H5Eget_auto1(&host->report_old, &host->data);
    H5PLget_loading_state(&host->plugins);
}

void hdf5_host_restore(const struct hdf5_host *host) {
    if (host->old_style) H5Eset_auto1(host->report_old, host->data);
    else H5Eset_auto2(H5E_DEFAULT, host->report, host->data);
    H5PLset_loading_state(host->plugins);
}
