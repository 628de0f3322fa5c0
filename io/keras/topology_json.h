/* JSON of topologies: text to values, and values as Keras wraps them. Internal to io/keras. */
#ifndef GODWIT_IO_KERAS_TOPOLOGY_JSON_H
#define GODWIT_IO_KERAS_TOPOLOGY_JSON_H

#include "shared/status.h"

#include <stddef.h>

struct cJSON;

#define TOPOLOGY_MAX_BYTES ((size_t)64 << 20)

/* Parses one JSON value; *json is owned by the caller (cJSON_Delete). DATA error for text that is not UTF-8
 * or not JSON, is nested deeper than 512, has more than 4 million values, an object with the same key twice,
 * or a key or name that is longer than 1,024 bytes or has control characters. */
status topology_parse(const char *text, struct cJSON **json) STATUS_MUST_USE;
/* Text that need not end in NUL. */
status topology_parse_bytes(const char *text, size_t length, struct cJSON **json) STATUS_MUST_USE;

/* The value inside the wrappers that Keras's serialization puts around tuples, NumPy scalars and arrays and
 * functions: {"class_name": "__tuple__", "items": [...]} and the like; `json` itself if there is none. */
const struct cJSON *topology_unwrap(const struct cJSON *json);

/* The member of an object, NULL if there is none or it is no object; its string, NULL if it is no string. */
const struct cJSON *topology_member(const struct cJSON *object, const char *key);
const char *topology_string(const struct cJSON *object, const char *key);

/* A value as short text for a message, in text[TOPOLOGY_TEXT_MAX]; returns text. */
#define TOPOLOGY_TEXT_MAX 80
const char *topology_text(const struct cJSON *json, char *text);

#endif
