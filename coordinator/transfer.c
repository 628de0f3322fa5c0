#include "coordinator/transfer.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static status print_summary(const struct exporter *exporter, const char *path, const struct model *model,
                            FILE *out) {
    struct graph_counts counts;
    struct stat info = {0};
    const char *readers;
    STATUS_TRY(graph_count(model->graph, &counts));
    STATUS_TRY(exporter->readers(model->graph, &readers));
    stat(path, &info);
    fprintf(out, "%s: %d layers, %lld parameters, %lld bytes; %s, for %s\n", path, model->graph->nlayers,
            (long long)counts.params, (long long)info.st_size, exporter->description, readers);
    return SUCCESS;
}

status input_shapes_add(struct input_shapes *shapes, const char *text) {
    struct shape shape = {.rank = 1, .dim = {SHAPE_UNKNOWN}};
    const char *at = text;
    if (shapes->n == TRANSFER_MAX_SHAPES)
        return status_fail(STATUS_USAGE, "--shape: more than %d inputs", TRANSFER_MAX_SHAPES);
    for (;;) {
        char *end;
        const long n = strtol(at, &end, 10);
        if (end == at || n < 1 || n > INT32_MAX || (*end && *end != ',') || shape.rank == SHAPE_MAX_RANK)
            return status_fail(STATUS_USAGE,
                               "--shape: \"%s\" is no shape of an input without the batch, such as 224,224,3",
                               text);
        shape.dim[shape.rank++] = n;
        if (!*end) break;
        at = end + 1;
    }
    shapes->shape[shapes->n++] = shape;
    return SUCCESS;
}

static status set_shapes(struct model *model, const struct input_shapes *shapes) {
    if (!shapes || !shapes->n) return SUCCESS;
    if (shapes->n != model->graph->ninputs)
        return status_fail(STATUS_USAGE, "--shape: %d given; \"%s\" has %d inputs, give it once for each",
                           shapes->n, model->graph->name, model->graph->ninputs);
    return model_set_inputs(model, shapes->shape);
}

status transfer_model(const struct model_arguments *arguments, const struct input_shapes *shapes,
                      const struct exporter *exporter, const struct export_options *options, const char *path,
                      struct log *log, FILE *out) {
    struct model *model = NULL;
    char *source = NULL;
    status error;
    STATUS_GOTO(error, done, model_arguments_resolve(arguments, &source));
    log_line(log, LOG_INFO, "reading %s", source);
    STATUS_GOTO(error, done, model_read(source, &arguments->keras, &model));
    STATUS_GOTO(error, done, set_shapes(model, shapes));
    log_line(log, LOG_INFO, "writing %s", path);
    STATUS_GOTO(error, done, exporter->write(path, model, options));
    error = print_summary(exporter, path, model, out);
done:
    model_destroy(&model);
    free(source);
    return error;
}
