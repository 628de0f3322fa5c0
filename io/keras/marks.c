#include "io/keras/marks.h"

#include "io/keras/hdf5.h"

#include <stdio.h>
#include <stdlib.h>

#define VERSION "godwit_keras_version"
#define PREPROCESSING "godwit_preprocessing"

status marks_read(int64_t root, int *keras_version, char **preprocessing) {
    char *text = NULL;
    STATUS_TRY(hdf5_read_text(root, VERSION, &text));
    int version = text ? atoi(text) : 0;
    if (version >= 1 && version <= 9) *keras_version = version;
    free(text);
    return hdf5_read_text(root, PREPROCESSING, preprocessing);
}

status marks_write(int64_t root, int keras_version, const char *preprocessing) {
    char version[16];
    snprintf(version, sizeof version, "%d", keras_version);
    STATUS_TRY(hdf5_write_text(root, VERSION, version));
    return preprocessing ? hdf5_write_text(root, PREPROCESSING, preprocessing) : SUCCESS;
}
