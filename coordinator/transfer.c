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
    fprintf(out, "%s: %d layers, %lld parameters, %lld bytes; %s, which %s load%s\n", path,
            model->graph->nlayers, (long long)counts.params, (long long)info.st_size, exporter->description,
            readers, strstr(readers, " and ") ? "" : "s");
    return SUCCESS;
}

status transfer_model(const struct model_arguments *arguments, const struct exporter *exporter,
                      const char *path, struct log *log, FILE *out) {
    struct model *model = NULL;
    char *source = NULL;
    status error;
    STATUS_GOTO(error, done, model_arguments_resolve(arguments, &source));
    log_line(log, LOG_INFO, "reading %s", source);
    STATUS_GOTO(error, done, model_read(source, &arguments->keras, &model));
    log_line(log, LOG_INFO, "writing %s", path);
    STATUS_GOTO(error, done, exporter->write(path, model));
    error = print_summary(exporter, path, model, out);
done:
    model_destroy(&model);
    free(source);
    return error;
}
