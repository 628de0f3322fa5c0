/* What this program adds to the HDF5 that it writes, as attributes of the root, where Keras leaves them
 * alone. Internal to io/keras. */
#ifndef GODWIT_IO_KERAS_MARKS_H
#define GODWIT_IO_KERAS_MARKS_H

#include "shared/status.h"

#include <stdint.h>

/* "godwit_keras_version": which Keras the layers mean, whatever dialect they are written in; *keras_version
 * stays what it is if there is none. "godwit_preprocessing": JSON, owned, NULL if there is none. */
status marks_read(int64_t root, int *keras_version, char **preprocessing) STATUS_MUST_USE;
status marks_write(int64_t root, int keras_version, const char *preprocessing) STATUS_MUST_USE;

#endif
