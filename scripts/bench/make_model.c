/* Writes a Keras model of large Dense layers with pseudo-random weights, of any size, without holding it:
 *   bench_make_model PATH LAYERS UNITS      4 * LAYERS * UNITS * UNITS bytes */
#include "io/file.h"
#include "io/keras.h"
#include "shared/rng.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VALUES ((int64_t)1 << 20)

static status make_graph(int layers, int units, struct graph **graph) {
    char *json = NULL;
    size_t size;
    FILE *out = open_memstream(&json, &size);
    if (!out) return status_no_memory("a topology", 0);
    fprintf(out,
            "{\"class_name\":\"Sequential\",\"config\":{\"name\":\"large\",\"layers\":[{\"class_name\":"
            "\"InputLayer\",\"config\":{\"name\":\"in\",\"batch_input_shape\":[null,%d]}}",
            units);
    for (int i = 0; i < layers; i++)
        fprintf(out,
                ",{\"class_name\":\"Dense\",\"config\":{\"name\":\"dense_%d\",\"units\":%d,\"activation\":\"%"
                "s\"}}",
                i, units, i < layers - 1 ? "relu" : "linear");
    fprintf(out, "]}}");
    if (fclose(out)) return status_no_memory("a topology", size);
    status error = keras_graph_from_json(json, graph);
    free(json);
    return error;
}

/* Numbers as a trained layer has them in size: 24 random bits each. */
static void fill(struct rng *rng, int64_t inputs, int64_t n, float *values) {
    float scale = 2.0f / (float)inputs;
    for (int64_t i = 0; i < n; i++) values[i] = ((float)(rng_next(rng) >> 40) / (1 << 23) - 1) * scale;
}

static status write_weight(int fd, const char *path, const struct weight *weight, struct keras_place place,
                           struct rng *rng, float *values) {
    int64_t count;
    STATUS_TRY(shape_count(&weight->shape, &count));
    for (int64_t first = 0; first < count; first += VALUES) {
        int64_t n = count - first < VALUES ? count - first : VALUES;
        fill(rng, weight->shape.dim[0], n, values);
        size_t nbytes = (size_t)n * sizeof *values;
        if (pwrite(fd, values, nbytes, (off_t)(place.offset + first * (int64_t)sizeof *values)) !=
            (ssize_t)nbytes)
            return status_fail(STATUS_IO, "cannot write %s", path);
    }
    return SUCCESS;
}

static status write_model(const char *path, const struct graph *graph) {
    struct keras_place *place = calloc((size_t)graph->nlayers * LAYER_MAX_WEIGHTS, sizeof *place);
    float *values = malloc((size_t)VALUES * sizeof *values);
    struct rng rng = rng_make(1, 1, 1);
    int fd = -1, p = 0;
    status error = place && values ? keras_lay_out(path, graph, NULL, place) : status_no_memory("a model", 0);
    if (!error && (fd = open(path, O_WRONLY)) < 0) error = status_fail(STATUS_IO, "cannot write %s", path);
    for (int l = 0; l < graph->nlayers && !error; l++)
        for (int w = 0; w < graph->layer[l].nweights && !error; w++)
            error = write_weight(fd, path, &graph->layer[l].weight[w], place[p++], &rng, values);
    if (!error && fsync(fd)) error = status_fail(STATUS_IO, "cannot write %s", path);
    if (fd >= 0) close(fd);
    free(values);
    free(place);
    return error;
}

int main(int argc, char **argv) {
    struct graph *graph = NULL;
    if (argc != 4) return 2;
    status error = make_graph(atoi(argv[2]), atoi(argv[3]), &graph);
    if (!error) error = write_model(argv[1], graph);
    if (error) fprintf(stderr, "%s\n", status_message(error));
    int code = status_exit_code(status_code(error));
    status_drop(&error);
    graph_destroy(&graph);
    return code;
}
