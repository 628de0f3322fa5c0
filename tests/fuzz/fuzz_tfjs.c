/* A TensorFlow.js folder: model.json, a NUL byte, one shard of weights. */
#include "tests/fuzz/fuzz_model.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const uint8_t *end = memchr(data, 0, size);
    size_t length = end ? (size_t)(end - data) : size;
    fuzz_put("model.json", data, length);
    fuzz_put("group1-shard1of1.bin", end ? end + 1 : data, end ? size - length - 1 : 0);
    fuzz_model("model.json");
    return 0;
}
