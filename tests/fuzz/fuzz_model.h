/* What the fuzz targets that open model files share. */
#ifndef GODWIT_TESTS_FUZZ_MODEL_H
#define GODWIT_TESTS_FUZZ_MODEL_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A folder of this process, in memory if there is such a file system. */
const char *fuzz_folder(void);
/* Writes a file of that name in it. */
void fuzz_put(const char *name, const void *data, size_t size);

/* Opens the model of that name in the folder, reads all its weights, at once and by rows, and closes it.
 * Ends the process with a report if our code has crashed in the child, or if a descriptor or a process is
 * left. Code that the child has covered counts as covered here. */
void fuzz_model(const char *name);

#endif
