#include "io/export.h"

#include "io/onnx/onnx.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static status write_h5(const char *path, const struct model *model) {
    return keras_write(path, model->graph, model->params, model->preprocessing);
}

static status write_keras(const char *path, const struct model *model) {
    return keras_write_archive(path, model->graph, model->params, model->preprocessing);
}

static status only_keras3(const struct graph *graph, const char **text) {
    (void)graph;
    *text = "Keras 3";
    return SUCCESS;
}

static const struct exporter exporters[] = {
    {"h5", ".h5|.hdf5", "whole-model HDF5", write_h5, keras_readers},
    {"keras", ".keras", "a Keras archive", write_keras, only_keras3},
    {"onnx", ".onnx", "ONNX (opset 17)", onnx_write, onnx_readers},
};
#define NEXPORTERS (sizeof exporters / sizeof exporters[0])

int exporter_count(void) {
    return (int)NEXPORTERS;
}

const struct exporter *exporter_at(int i) {
    return &exporters[i];
}

static bool has_extension(const char *path, const char *extensions) {
    size_t length = strlen(path);
    for (const char *at = extensions; *at;) {
        size_t n = strcspn(at, "|");
        if (length > n && !strncasecmp(path + length - n, at, n)) return true;
        at += n + (at[n] == '|');
    }
    return false;
}

status exporter_find(const char *name, const char *path, const struct exporter **exporter) {
    char list[256];
    size_t used = 0;
    for (size_t i = 0; i < NEXPORTERS; i++) {
        const struct exporter *e = &exporters[i];
        if (name ? !strcmp(name, e->name) : has_extension(path, e->extensions)) {
            *exporter = e;
            return SUCCESS;
        }
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                                     name ? e->name : e->extensions);
    }
    if (name) return status_fail(STATUS_USAGE, "--format: \"%s\" is none of %s", name, list);
    return status_fail(STATUS_USAGE,
                       "%s: the format is not clear from the extension (%s); say it with --format", path,
                       list);
}
