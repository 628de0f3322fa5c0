#include "io/keras/manifest.h"

#include "io/file.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ITEMS (1 << 20)

static const struct {
    const char *name;
    enum manifest_type type;
    size_t size;
} types[] = {
    {"float32", MANIFEST_FLOAT32, 4}, {"float16", MANIFEST_FLOAT16, 2}, {"int32", MANIFEST_INT32, 4},
    {"uint16", MANIFEST_UINT16, 2},   {"uint8", MANIFEST_UINT8, 1},     {"bool", MANIFEST_UINT8, 1},
};

void manifest_clear(struct manifest *manifest) {
    for (int i = 0; i < manifest->nweights; i++) free(manifest->weight[i].name);
    for (int i = 0; i < manifest->nshards; i++) free(manifest->shard[i].path);
    free(manifest->weight);
    free(manifest->shard);
    *manifest = (struct manifest){0};
}

/* ---- reading ---- */

static const cJSON *get(const cJSON *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static status read_shape(const cJSON *json, const char *name, struct shape *shape) {
    int64_t count;
    shape->rank = 0;
    if (!cJSON_IsArray(json)) return status_fail(STATUS_DATA, "weight %.80s has no shape", name);
    for (const cJSON *item = json->child; item; item = item->next) {
        if (shape->rank == SHAPE_MAX_RANK)
            return status_fail(STATUS_DATA, "weight %.80s has more than %d dimensions", name, SHAPE_MAX_RANK);
        double size = cJSON_IsNumber(item) ? item->valuedouble : -1;
        if (!(size >= 0 && size <= 0x1p53) || size != floor(size))
            return status_fail(STATUS_DATA, "weight %.80s has a dimension that is not a whole number", name);
        shape->dim[shape->rank++] = (int64_t)size;
    }
    return status_context(shape_count(shape, &count), "weight %.80s", name);
}

static status read_type(const cJSON *json, struct manifest_weight *weight) {
    const cJSON *quantization = get(json, "quantization");
    const char *dtype = cJSON_GetStringValue(get(quantization ? quantization : json, "dtype"));
    const size_t ntypes = sizeof types / sizeof *types;
    size_t i = 0;
    while (dtype && i < ntypes && strcmp(types[i].name, dtype) != 0) i++;
    if (!dtype || i == ntypes)
        return status_fail(STATUS_UNSUPPORTED,
                           "weight %.80s has elements of type \"%.20s\"; only float32, "
                           "float16, int32, uint16, uint8 and bool are read",
                           weight->name, dtype ? dtype : "");
    weight->type = types[i].type;
    weight->size = types[i].size;
    const cJSON *scale = get(quantization, "scale"), *min = get(quantization, "min");
    weight->scaled = quantization && weight->type != MANIFEST_FLOAT16;
    if (!weight->scaled) return SUCCESS;
    if (!cJSON_IsNumber(scale) || !cJSON_IsNumber(min))
        return status_fail(STATUS_DATA, "weight %.80s is quantized and has no scale or no min", weight->name);
    weight->scale = scale->valuedouble;
    weight->min = min->valuedouble;
    return SUCCESS;
}

/* Appends one weight; *offset is where it begins in its group, then where it ends. */
static status read_weight(const cJSON *json, int group, int64_t *offset, struct manifest *manifest) {
    struct manifest_weight *weight = &manifest->weight[manifest->nweights];
    const char *name = cJSON_GetStringValue(get(json, "name"));
    int64_t count, nbytes;
    if (!name) return status_fail(STATUS_DATA, "weightsManifest has a weight without a name");
    *weight = (struct manifest_weight){.name = strdup(name), .group = group, .offset = *offset};
    if (!weight->name) return status_no_memory("a weight's name", strlen(name));
    manifest->nweights++;
    STATUS_TRY(read_shape(get(json, "shape"), name, &weight->shape));
    STATUS_TRY(read_type(json, weight));
    STATUS_TRY(shape_count(&weight->shape, &count));
    if (__builtin_mul_overflow(count, (int64_t)weight->size, &nbytes) ||
        __builtin_add_overflow(*offset, nbytes, offset))
        return status_fail(STATUS_DATA, "weight %.80s is too large", name);
    return SUCCESS;
}

/* A path that stays below the folder. */
static bool is_below(const char *path) {
    if (!*path || *path == '/' || strstr(path, "://")) return false;
    for (const char *part = path; part; part = strchr(part, '/') ? strchr(part, '/') + 1 : NULL)
        if (strcspn(part, "/") == 2 && part[0] == '.' && part[1] == '.') return false;
    return true;
}

static status read_shard(const cJSON *json, int group, struct manifest *manifest) {
    const char *path = cJSON_GetStringValue(json);
    if (!path || !is_below(path))
        return status_fail(STATUS_DATA,
                           "weightsManifest names the shard \"%.80s\", which is not in the model's folder",
                           path ? path : "");
    struct manifest_shard *shard = &manifest->shard[manifest->nshards];
    *shard = (struct manifest_shard){.path = strdup(path), .group = group};
    if (!shard->path) return status_no_memory("a path", strlen(path));
    manifest->nshards++;
    return SUCCESS;
}

/* Counts the items of a list in all groups, and checks that there is one. */
static status count_items(const cJSON *groups, const char *key, int *n) {
    *n = 0;
    for (const cJSON *group = groups->child; group; group = group->next) {
        if (!cJSON_IsArray(get(group, key)))
            return status_fail(STATUS_DATA, "weightsManifest has a group without %s", key);
        *n += cJSON_GetArraySize(get(group, key));
        if (*n > MAX_ITEMS)
            return status_fail(STATUS_DATA, "weightsManifest has more than %d %s", MAX_ITEMS, key);
    }
    return SUCCESS;
}

static status read_groups(const cJSON *groups, struct manifest *manifest) {
    for (const cJSON *group = groups->child; group; group = group->next, manifest->ngroups++) {
        int64_t offset = 0;
        for (const cJSON *item = get(group, "weights")->child; item; item = item->next)
            STATUS_TRY(read_weight(item, manifest->ngroups, &offset, manifest));
        for (const cJSON *item = get(group, "paths")->child; item; item = item->next)
            STATUS_TRY(read_shard(item, manifest->ngroups, manifest));
    }
    return SUCCESS;
}

status manifest_read(const cJSON *json, struct manifest *manifest) {
    struct manifest m = {0};
    int nweights, nshards;
    if (!cJSON_IsArray(json)) return status_fail(STATUS_DATA, "weightsManifest is not a list");
    STATUS_TRY(count_items(json, "weights", &nweights));
    STATUS_TRY(count_items(json, "paths", &nshards));
    m.weight = calloc((size_t)nweights + 1, sizeof *m.weight);
    m.shard = calloc((size_t)nshards + 1, sizeof *m.shard);
    status error = m.weight && m.shard ? SUCCESS : status_no_memory("a list of weights", (size_t)nweights);
    if (!error) error = read_groups(json, &m);
    if (error) manifest_clear(&m);
    else *manifest = m;
    return error;
}

/* ---- shards ---- */

static status measure_shard(struct manifest_shard *shard, const char *folder) {
    char *path = NULL;
    int fd;
    if (asprintf(&path, "%s/%s", folder, shard->path) < 0) return status_no_memory("a path", strlen(folder));
    status error = file_open_input(path, &fd, &shard->nbytes);
    if (!error) close(fd);
    if (!error && shard->nbytes < 0)
        error = status_fail(STATUS_DATA, "%s is a folder, not a shard of weights", path);
    free(path);
    return error;
}

status manifest_measure(struct manifest *manifest, const char *folder) {
    int64_t *stored = calloc(2 * (size_t)manifest->ngroups + 1, sizeof *stored);
    int64_t *needed = stored + manifest->ngroups;
    if (!stored) return status_no_memory("a list of shards", (size_t)manifest->ngroups * sizeof *stored);
    status error = SUCCESS;
    for (int i = 0; i < manifest->nshards && !error; i++) {
        struct manifest_shard *shard = &manifest->shard[i];
        error = measure_shard(shard, folder);
        shard->offset = stored[shard->group];
        if (!error && __builtin_add_overflow(shard->offset, shard->nbytes, &stored[shard->group]))
            error = status_fail(STATUS_DATA, "the shards are too large");
    }
    for (int i = 0; i < manifest->nweights; i++) {
        const struct manifest_weight *weight = &manifest->weight[i];
        int64_t nbytes = (int64_t)weight->size;
        for (int k = 0; k < weight->shape.rank; k++) nbytes *= weight->shape.dim[k];
        needed[weight->group] = weight->offset + nbytes;
    }
    for (int g = 0; g < manifest->ngroups && !error; g++)
        if (stored[g] != needed[g])
            error = status_fail(
                STATUS_DATA,
                "the shards of weight group %d have %lld bytes, and its weights take %lld; copy the "
                "model again",
                g, (long long)stored[g], (long long)needed[g]);
    free(stored);
    return error;
}

/* ---- values ---- */

static float half_to_float(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, exponent = half >> 10 & 31u, fraction = half & 1023u;
    float value;
    if (exponent == 0) { /* zero or subnormal: fraction * 2^-24 */
        value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    uint32_t bits = sign | (exponent == 31 ? 255u : exponent + 112u) << 23 | fraction << 13;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t little_endian(const unsigned char *at, size_t size) {
    uint32_t value = 0;
    for (size_t i = size; i-- > 0;) value = value << 8 | at[i];
    return value;
}

void manifest_decode(const struct manifest_weight *weight, const void *stored, int64_t n, float *values) {
    const unsigned char *at = stored;
    for (int64_t i = 0; i < n; i++, at += weight->size) {
        uint32_t raw = little_endian(at, weight->size);
        double value;
        switch (weight->type) {
        case MANIFEST_FLOAT32:
            memcpy(&values[i], &raw, sizeof raw);
            value = (double)values[i];
            break;
        case MANIFEST_FLOAT16:
            value = (double)half_to_float((uint16_t)raw);
            break;
        case MANIFEST_INT32:
            value = (double)(int32_t)raw;
            break;
        default:
            value = (double)raw;
        }
        values[i] = (float)(weight->scaled ? value * weight->scale + weight->min : value);
    }
}
