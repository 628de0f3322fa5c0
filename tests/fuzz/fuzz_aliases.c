/* A file of aliases of custom classes, a NUL byte, a topology that uses them. */
#include "io/keras/topology.h"
#include "tests/fuzz/fuzz_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, 0, size);
    size_t length = end ? (size_t)(end - data) : size, rest = end ? size - length - 1 : 0;
    char path[128], *json = malloc(rest + 1);
    if (!json) return 0;
    if (rest) memcpy(json, end + 1, rest);
    json[rest] = 0;
    fuzz_put("aliases.json", data, length);
    snprintf(path, sizeof path, "%s/aliases.json", fuzz_folder());
    struct keras_options options = {.aliases = path};
    struct topology topology = {0};
    status error = topology_read(json, 0, &options, &topology);
    if (!error) error = topology_infer(&topology, &options);
    if (status_code(error) == STATUS_INTERNAL) {
        fprintf(stderr, "fuzz: %s\n", status_message(error));
        abort();
    }
    status_drop(&error);
    topology_clear(&topology);
    free(json);
    return 0;
}
