/* String attributes, as h5py 2 and 3 write them; what they claim is checked before anything is allocated. */
#include "io/keras/hdf5.h"

#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT ((size_t)64 << 20) /* of one attribute, all its strings together */
#define MAX_ATTRIBUTES 65536        /* of one object */
/* An attribute in an object header is smaller than 64 KiB; a variable-length name takes 16 bytes of it. */
#define NAMES_PER_ATTRIBUTE (64512 / 16)

void names_clear(struct names *names) {
    for (int i = 0; i < names->n; i++) free(names->name[i]);
    free(names->name);
    *names = (struct names){0};
}

static status damaged(const char *name) {
    return status_fail(STATUS_DATA, "attribute %s cannot be read: the file is damaged", name);
}

static status too_large(const char *name) {
    return status_fail(STATUS_DATA, "attribute %s is longer than %zu MiB; is this a Keras model?", name,
                       MAX_TEXT >> 20);
}

static status append(struct names *names, const char *text, size_t length) {
    char *copy = strndup(text, length);
    if (!copy) return status_no_memory("names", length);
    names->name[names->n++] = copy;
    return SUCCESS;
}

static status read_fixed(hid_t attribute, const char *name, hid_t type, int count, struct names *names) {
    size_t size = H5Tget_size(type);
    if (size == 0 || size > MAX_TEXT / (size_t)count) return too_large(name);
    char *buffer = calloc((size_t)count, size);
    if (!buffer) return status_no_memory("an attribute", (size_t)count * size);
    status error = H5Aread(attribute, type, buffer) < 0 ? damaged(name) : SUCCESS;
    for (int i = 0; i < count && !error; i++) {
        const char *text = buffer + (size_t)i * size;
        size_t length = strnlen(text, size);
        while (H5Tget_strpad(type) == H5T_STR_SPACEPAD && length && text[length - 1] == ' ') length--;
        error = append(names, text, length);
    }
    free(buffer);
    return error;
}

static status read_variable(hid_t attribute, const char *name, hid_t type, hid_t space, int count,
                            struct names *names) {
    status error = SUCCESS;
    size_t total = 0;
    char **buffer = calloc((size_t)count, sizeof *buffer);
    hid_t memory = H5Tcopy(H5T_C_S1);
    if (!buffer) {
        error = status_no_memory("an attribute", (size_t)count * sizeof *buffer);
    } else if (memory < 0 || H5Tset_size(memory, H5T_VARIABLE) < 0 ||
               H5Tset_cset(memory, H5Tget_cset(type)) < 0 || H5Aread(attribute, memory, buffer) < 0) {
        error = damaged(name);
    } else {
        for (int i = 0; i < count && !error; i++) {
            const char *text = buffer[i] ? buffer[i] : "";
            size_t length = strlen(text);
            total += length;
            error = total > MAX_TEXT ? too_large(name) : append(names, text, length);
        }
        H5Dvlen_reclaim(memory, space, H5P_DEFAULT, buffer);
    }
    if (memory >= 0) H5Tclose(memory);
    free(buffer);
    return error;
}

/* Is it there? An object with too many attributes is refused before any is looked for. */
static status find_attribute(hid_t object, const char *name, bool *found) {
    H5O_info_t info;
    if (H5Oget_info2(object, &info, H5O_INFO_NUM_ATTRS) < 0)
        return status_fail(STATUS_DATA, "attributes cannot be read: the file is damaged");
    if (info.num_attrs > MAX_ATTRIBUTES)
        return status_fail(STATUS_DATA, "an object has %llu attributes; is this a Keras model?",
                           (unsigned long long)info.num_attrs);
    htri_t exists = info.num_attrs ? H5Aexists(object, name) : 0;
    *found = exists > 0;
    return exists < 0 ? damaged(name) : SUCCESS;
}

/* A text or a list of texts of the attribute's own type. */
static status check_attribute(const char *name, hid_t type, hid_t space, hssize_t count, int had) {
    if (H5Tcommitted(type) > 0)
        return status_fail(STATUS_DATA, "attribute %s has a type that is kept elsewhere in the file", name);
    if (H5Sget_simple_extent_ndims(space) > 1)
        return status_fail(STATUS_DATA, "attribute %s is not one text or a list of texts", name);
    if (count > HDF5_MAX_NAMES - had)
        return status_fail(STATUS_DATA, "attribute %s has more than %d names", name, HDF5_MAX_NAMES);
    if (count > 0 && H5Tget_class(type) != H5T_STRING)
        return status_fail(STATUS_DATA, "attribute %s is not text", name);
    return SUCCESS;
}

/* Appends the strings of one attribute; *found is false if there is none. */
static status read_attribute(hid_t object, const char *name, struct names *names, bool *found) {
    STATUS_TRY(find_attribute(object, name, found));
    if (!*found) return SUCCESS;
    status error = SUCCESS;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    hid_t type = attribute < 0 ? -1 : H5Aget_type(attribute);
    hid_t space = attribute < 0 ? -1 : H5Aget_space(attribute);
    hssize_t count = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);
    error = type < 0 || count < 0 ? damaged(name) : check_attribute(name, type, space, count, names->n);
    if (!error && count > 0) {
        char **grown = realloc(names->name, (size_t)(names->n + count) * sizeof *grown);
        if (!grown) {
            error = status_no_memory("names", (size_t)count * sizeof *grown);
        } else {
            names->name = grown;
            error = H5Tis_variable_str(type) > 0
                        ? read_variable(attribute, name, type, space, (int)count, names)
                        : read_fixed(attribute, name, type, (int)count, names);
        }
    }
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (attribute >= 0) H5Aclose(attribute);
    return error;
}

status hdf5_read_text(int64_t object, const char *name, char **text) {
    struct names names = {0};
    bool found;
    *text = NULL;
    status error = read_attribute(object, name, &names, &found);
    if (!error && found && names.n != 1)
        error = status_fail(STATUS_DATA, "attribute %s is not one text", name);
    if (!error && found) {
        *text = names.name[0];
        names.name[0] = NULL;
    }
    names_clear(&names);
    return error;
}

status hdf5_read_names(int64_t object, const char *name, struct names *names) {
    struct names read = {0};
    bool found;
    status error = read_attribute(object, name, &read, &found);
    for (int i = 0; !error && !found; i++) {
        char part[64];
        snprintf(part, sizeof part, "%.40s%d", name, i);
        bool more;
        error = read_attribute(object, part, &read, &more);
        if (!more) break;
    }
    if (error) {
        names_clear(&read);
        return error;
    }
    *names = read;
    return SUCCESS;
}

/* ---- writing ---- */

static status write_failed(const char *name) {
    char text[HDF5_TEXT_MAX];
    return status_fail(STATUS_IO, "cannot write attribute %s: %s; check the disk", name,
                       hdf5_last_error(text));
}

/* One attribute of n variable-length strings; scalar if n is -1. */
static status write_attribute(hid_t object, const char *name, hid_t type, int n, const void *data) {
    hsize_t dims = n < 0 ? 0 : (hsize_t)n;
    hid_t space = n < 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &dims, NULL);
    hid_t attribute =
        space < 0 || type < 0 ? -1 : H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    status error =
        attribute < 0 || (n != 0 && H5Awrite(attribute, type, data) < 0) ? write_failed(name) : SUCCESS;
    if (attribute >= 0 && H5Aclose(attribute) < 0 && !error) error = write_failed(name);
    if (space >= 0) H5Sclose(space);
    return error;
}

static hid_t text_type(void) {
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type >= 0 && H5Tset_size(type, H5T_VARIABLE) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

status hdf5_write_text(int64_t object, const char *name, const char *text) {
    hid_t type = text_type();
    status error = write_attribute(object, name, type, -1, &text);
    if (type >= 0) H5Tclose(type);
    return error;
}

status hdf5_write_names(int64_t object, const char *name, int n, char *const *names) {
    if (n == 0) return write_attribute(object, name, H5T_IEEE_F64LE, 0, NULL);
    hid_t type = text_type();
    status error = SUCCESS;
    if (n <= NAMES_PER_ATTRIBUTE) {
        error = write_attribute(object, name, type, n, names);
    } else {
        for (int part = 0, first = 0; first < n && !error; part++, first += NAMES_PER_ATTRIBUTE) {
            char text[64];
            snprintf(text, sizeof text, "%.40s%d", name, part);
            error = write_attribute(object, text, type,
                                    n - first < NAMES_PER_ATTRIBUTE ? n - first : NAMES_PER_ATTRIBUTE,
                                    names + first);
        }
    }
    if (type >= 0) H5Tclose(type);
    return error;
}
