#include "io/libraries.h"

#include <cjson/cJSON.h>
#include <hdf5.h>
#include <openssl/crypto.h>
#include <png.h>
#include <stdio.h>
#include <zip.h>
#include <zlib.h>

const char *io_libraries(char *text) {
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
#ifdef H5_HAVE_PARALLEL
    const char *kind = "parallel";
#else
    const char *kind = "serial";
#endif
    snprintf(text, LIBRARIES_TEXT_MAX,
             "HDF5 %u.%u.%u (%s), cJSON %s, libzip %s, zlib %s, libpng %s, OpenSSL %s", major, minor, release,
             kind, cJSON_Version(), zip_libzip_version(), zlibVersion(), png_get_libpng_ver(NULL),
             OpenSSL_version(OPENSSL_VERSION_STRING));
    return text;
}
