/* Any bytes as a .keras archive. */
#include "tests/fuzz/fuzz_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_put("m.keras", data, size);
    fuzz_model("m.keras");
    return 0;
}
