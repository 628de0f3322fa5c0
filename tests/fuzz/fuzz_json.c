/* Mutations of JSON as a tree, for targets whose input is JSON text, perhaps a NUL byte and a second one:
 * most changes of its bytes give what is not JSON. Half of the mutations are of bytes all the same. */
#include <cjson/cJSON.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

struct random {
    uint64_t state;
};

static unsigned draw(struct random *random, unsigned n) {
    random->state ^= random->state << 13;
    random->state ^= random->state >> 7;
    random->state ^= random->state << 17;
    return n ? (unsigned)((random->state >> 16) % n) : 0;
}

/* A node below the root, any with the same chance; *parent is what it is in. */
struct choice {
    cJSON *node, *parent;
    unsigned seen;
};

static void choose(cJSON *json, struct random *random, struct choice *choice) {
    for (cJSON *item = json->child; item; item = item->next) {
        if (draw(random, ++choice->seen) == 0) {
            choice->node = item;
            choice->parent = json;
        }
        choose(item, random, choice);
    }
}

static cJSON *new_value(struct random *random) {
    static const double numbers[] = {
        0,      1,     -1,  2,      3,          4,          5,          7,      8,      16,    255,    256,
        4096,   65536, 1e9, -2,     2147483647, 2147483648, 4294967296, 0x1p53, 0x1p63, 1e300, -1e300, 0.5,
        1e-300, -0.0,  1.5, 0x1p62, 1000,       64,         12,         100,    0.1,    1e-7};
    switch (draw(random, 8)) {
    case 0:
        return cJSON_CreateNull();
    case 1:
        return cJSON_CreateBool((int)draw(random, 2));
    case 2:
        return cJSON_CreateArray();
    case 3:
        return cJSON_CreateString("");
    default:
        return cJSON_CreateNumber(numbers[draw(random, sizeof numbers / sizeof *numbers)]);
    }
}

/* Puts `value` in the place of a node, under its key. */
static void replace(const struct choice *at, cJSON *value) {
    if (!value) return;
    if (at->node->string) {
        char *key = strdup(at->node->string);
        cJSON_AddItemToObject(at->parent, key, value);
        cJSON_DetachItemViaPointer(at->parent, value);
        free(key);
    }
    cJSON_ReplaceItemViaPointer(at->parent, at->node, value);
}

static void change(cJSON *json, struct random *random) {
    struct choice at = {0}, other = {0};
    choose(json, random, &at);
    choose(json, random, &other);
    if (!at.node) return;
    switch (draw(random, 8)) {
    case 0:
        cJSON_Delete(cJSON_DetachItemViaPointer(at.parent, at.node));
        break;
    case 1: /* again */
        if (cJSON_IsArray(at.parent)) cJSON_AddItemToArray(at.parent, cJSON_Duplicate(at.node, 1));
        break;
    case 2:
    case 3: /* what is elsewhere */
        replace(&at, cJSON_Duplicate(other.node, 1));
        break;
    case 4: /* in a list */
        if (draw(random, 2)) {
            cJSON *list = cJSON_CreateArray();
            cJSON_AddItemToArray(list, cJSON_Duplicate(at.node, 1));
            replace(&at, list);
        } else if (at.node->child) {
            replace(&at, cJSON_Duplicate(at.node->child, 1));
        }
        break;
    case 5: /* under another's key */
        if (cJSON_IsObject(at.parent) && other.node->string) {
            char *key = strdup(other.node->string);
            cJSON_AddItemToObject(at.parent, key, cJSON_Duplicate(at.node, 1));
            free(key);
        }
        break;
    default:
        replace(&at, new_value(random));
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed) {
    struct random random = {seed * 2654435761ull + 88172645463325252ull};
    for (int i = 0; i < 4; i++) draw(&random, 2);
    uint8_t *end = memchr(data, 0, size), *from = data, *to = end ? end : data + size;
    if (end && draw(&random, 3) == 0) { /* the part after the NUL byte */
        from = end + 1;
        to = data + size;
    }
    char *text = draw(&random, 2) ? strndup((char *)from, (size_t)(to - from)) : NULL;
    cJSON *json = text ? cJSON_Parse(text) : NULL;
    free(text);
    if (!json) return LLVMFuzzerMutate(data, size, max_size);
    for (unsigned n = 1 + draw(&random, 3); n; n--) change(json, &random);
    char *printed = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    size_t length = printed ? strlen(printed) : 0, before = (size_t)(from - data),
           after = (size_t)(data + size - to);
    if (!printed || before + length + after > max_size) {
        free(printed);
        return LLVMFuzzerMutate(data, size, max_size);
    }
    memmove(from + length, to, after);
    memcpy(from, printed, length);
    free(printed);
    return before + length + after;
}
