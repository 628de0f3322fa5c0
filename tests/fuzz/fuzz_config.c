/* A configuration's JSON text: read, printed, and read again: it prints the same. */
#include "io/config.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static _Noreturn void fail(const char *what, status error) {
    fprintf(stderr, "fuzz: %s: %s\n", what, status_message(error));
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct config *config = NULL, *again = NULL;
    char *json = malloc(size + 1), *first = NULL, *second = NULL;
    if (!json) return 0;
    memcpy(json, data, size);
    json[size] = 0;
    status error = config_parse(json, "c.json", &config);
    if (!error) {
        error = config_print(config, &first);
        if (!error) error = config_parse(first, "again", &again);
        if (!error) error = config_print(again, &second);
        if (error) fail("what was printed is not read", error);
        if (strcmp(first, second) != 0) fail("what was printed is read otherwise", error);
    }
    if (status_code(error) == STATUS_INTERNAL) fail("internal", error);
    status_drop(&error);
    if (config) {
        error = config_set(config, json); /* as --set has it */
        status_drop(&error);
    }
    config_destroy(&config);
    config_destroy(&again);
    free(first);
    free(second);
    free(json);
    return 0;
}
