/* Versions of the libraries behind io/, for --version and the provenance of models. */
#ifndef GODWIT_IO_LIBRARIES_H
#define GODWIT_IO_LIBRARIES_H

#define LIBRARIES_TEXT_MAX 512
/* Writes "HDF5 1.10.8 (parallel), cJSON 1.7.15, ..." into text[LIBRARIES_TEXT_MAX]; returns text. */
const char *io_libraries(char *text);

#endif
