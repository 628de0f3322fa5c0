/* Versions of the libraries behind worker/, for --version and the provenance of models. */
#ifndef GODWIT_WORKER_LIBRARIES_H
#define GODWIT_WORKER_LIBRARIES_H

/* Writes "OpenBLAS 0.3.21 ..., oneDNN 2.6.3" into text[512]; returns text. */
const char *worker_libraries(char *text);

#endif
