/* For the tests of HDF5 files: attributes and datasets as h5py writes them. Include after io_testing.h. */
#ifndef GODWIT_TESTS_HDF5_TESTING_H
#define GODWIT_TESTS_HDF5_TESTING_H

#include <hdf5.h>

static inline hid_t text_type(bool variable, const char *longest) {
    hid_t type = H5Tcopy(H5T_C_S1);
    H5Tset_size(type, variable ? H5T_VARIABLE : strlen(longest));
    if (!variable) H5Tset_strpad(type, H5T_STR_NULLPAD);
    return type;
}

static inline void put_text(hid_t object, const char *name, const char *text, bool variable) {
    hid_t type = text_type(variable, text), space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(attribute >= 0);
    assert_true(H5Awrite(attribute, type, variable ? (const void *)&text : (const void *)text) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
}

/* A list of names: variable (h5py 3), or padded to the longest (h5py 2). */
static inline void put_names(hid_t object, const char *name, int n, const char *const *names, bool variable) {
    const char *longest = n ? names[0] : "";
    for (int i = 1; i < n; i++)
        if (strlen(names[i]) > strlen(longest)) longest = names[i];
    hid_t type = n ? text_type(variable, longest) : H5Tcopy(H5T_IEEE_F64LE);
    size_t size = strlen(longest);
    char *fixed = calloc((size_t)n + 1, size + 1);
    for (int i = 0; i < n; i++) memcpy(fixed + (size_t)i * size, names[i], strlen(names[i]));
    hid_t space = H5Screate_simple(1, &(hsize_t){(hsize_t)n}, NULL);
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(attribute >= 0);
    if (n) assert_true(H5Awrite(attribute, type, variable ? (const void *)names : (const void *)fixed) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
    free(fixed);
}

static inline hid_t float16(void) {
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    H5Tset_fields(type, 15, 10, 5, 0, 10);
    H5Tset_size(type, 2);
    H5Tset_ebias(type, 15);
    return type;
}

static inline void put_data(hid_t root, const char *path, hid_t type, hid_t list, int rank,
                            const hsize_t *dims, const double *values) {
    hid_t link = H5Pcreate(H5P_LINK_CREATE), space = H5Screate_simple(rank, dims, NULL);
    H5Pset_create_intermediate_group(link, 1);
    hid_t dataset = H5Dcreate2(root, path, type, space, link, list, H5P_DEFAULT);
    assert_true(dataset >= 0);
    assert_true(H5Dwrite(dataset, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
    H5Pclose(link);
}

#endif
