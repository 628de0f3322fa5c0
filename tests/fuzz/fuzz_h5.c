/* Any bytes as an HDF5 model file. */
#include "tests/fuzz/fuzz_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_put("m.h5", data, size);
    fuzz_model("m.h5");
    return 0;
}
