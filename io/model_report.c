#include "io/model_report.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- figures of each node ---- */

struct node_figures {
    int64_t params, trainable; /* of the layer, at its first call; else 0 */
    double flops;              /* one sample; -1: not known */
};

static void count_weights(const struct layer *layer, struct node_figures *figures) {
    for (int w = 0; w < layer->nweights; w++) {
        int64_t count = 1;
        for (int i = 0; i < layer->weight[w].shape.rank; i++) count *= layer->weight[w].shape.dim[i];
        figures->params += count;
        if (layer->weight[w].trainable && layer->trainable) figures->trainable += count;
    }
}

static status figures_create(const struct graph *graph, struct node_figures **figures) {
    struct opgraph *ops = NULL;
    struct node_figures *f = calloc((size_t)graph->nnodes + 1, sizeof *f);
    if (!f) return status_no_memory("a model's figures", (size_t)graph->nnodes * sizeof *f);
    status error = graph_lower(graph, &ops, NULL);
    if (error) {
        free(f);
        return error;
    }
    for (int i = 0; i < ops->nops; i++) {
        const struct op *op = &ops->op[i];
        if (op->node < 0 || f[op->node].flops < 0) continue;
        double flops = op_flops(ops, op);
        f[op->node].flops = flops < 0 ? -1 : f[op->node].flops + flops;
    }
    opgraph_destroy(&ops);
    for (int node = 0; node < graph->nnodes; node++) {
        int layer = graph->node[node].layer;
        if (graph_layer_node(graph, layer) == node) count_weights(&graph->layer[layer], &f[node]);
    }
    *figures = f;
    return SUCCESS;
}

static const char *node_name(const struct graph *graph, int node) {
    return graph->layer[graph->node[node].layer].name;
}

/* Everything a report says. */
struct figures {
    struct node_figures *node; /* [nnodes] */
    struct graph_counts total;
    int *boundary; /* [nboundaries] */
    int nboundaries;
};

static void figures_clear(struct figures *figures) {
    free(figures->node);
    free(figures->boundary);
}

static status figures_collect(const struct graph *graph, struct figures *figures) {
    memset(figures, 0, sizeof *figures);
    status error = figures_create(graph, &figures->node);
    if (!error) error = graph_count(graph, &figures->total);
    if (!error) error = graph_boundaries(graph, &figures->boundary, &figures->nboundaries);
    if (error) figures_clear(figures);
    return error;
}

/* ---- the table ---- */

/* "1,234,567" */
static const char *format_count(int64_t n, char text[32]) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRId64, n), out = 0;
    for (int i = 0; i < length; i++) {
        text[out++] = digits[i];
        if (i + 1 < length && (length - i - 1) % 3 == 0) text[out++] = ',';
    }
    text[out] = '\0';
    return text;
}

static const char *format_mflop(double flops, char text[32]) {
    if (flops < 0) snprintf(text, 32, "?");
    else snprintf(text, 32, "%.3f", flops * 1e-6);
    return text;
}

static int wider(int width, const char *text) {
    int length = (int)strlen(text);
    return length > width ? length : width;
}

static bool is_boundary(const struct figures *figures, int node) {
    for (int i = 0; i < figures->nboundaries; i++)
        if (figures->boundary[i] == node) return true;
    return false;
}

static void print_rule(FILE *out, int width) {
    for (int i = 0; i < width; i++) putc('-', out);
    putc('\n', out);
}

static void print_table(FILE *out, const struct graph *graph, const char *name,
                        const struct figures *figures) {
    char shape[SHAPE_TEXT_MAX], count[32], flops[32], trainable[32];
    int first = wider(0, "Layer"), second = wider(0, "Class"), third = wider(0, "Output");
    for (int i = 0; i < graph->nnodes; i++) {
        first = wider(first, node_name(graph, i));
        second = wider(second, graph->layer[graph->node[i].layer].kind->class_name);
        third = wider(third, shape_format(&graph->node[i].out[0], shape));
    }
    int width = first + second + third + 6 + 14 + 2 + 12 + 2;
    fprintf(out, "%s (Keras %d, %s)\n", name, graph->keras_version,
            graph->sequential ? "Sequential" : "functional");
    print_rule(out, width);
    fprintf(out, "%-*s  %-*s  %-*s  %14s  %12s\n", first, "Layer", second, "Class", third, "Output",
            "Parameters", "MFLOP");
    print_rule(out, width);
    for (int i = 0; i < graph->nnodes; i++)
        fprintf(out, "%-*s  %-*s  %-*s  %14s  %12s%s\n", first, node_name(graph, i), second,
                graph->layer[graph->node[i].layer].kind->class_name, third,
                shape_format(&graph->node[i].out[0], shape), format_count(figures->node[i].params, count),
                format_mflop(figures->node[i].flops, flops), is_boundary(figures, i) ? " *" : "");
    print_rule(out, width);
    fprintf(out, "%s parameters (%s trainable), %s MFLOP a sample",
            format_count(figures->total.params, count), format_count(figures->total.trainable, trainable),
            format_mflop(figures->total.flops, flops));
    if (figures->total.activation_bytes >= 0)
        fprintf(out, ", %.1f KiB of activations", (double)figures->total.activation_bytes / 1024);
    fprintf(out, "\n%d boundaries (*)\n", figures->nboundaries);
}

status model_report_text(const struct graph *graph, const char *name, char **text) {
    struct figures figures;
    STATUS_TRY(figures_collect(graph, &figures));
    char *buffer = NULL;
    size_t nbytes = 0;
    FILE *out = open_memstream(&buffer, &nbytes);
    if (out) print_table(out, graph, name, &figures);
    figures_clear(&figures);
    if (!out || fclose(out)) {
        free(buffer);
        return status_no_memory("a model's report", nbytes);
    }
    *text = buffer;
    return SUCCESS;
}

/* ---- JSON ---- */

static cJSON *number_of(double number) {
    char text[40];
    if (number < 0) return cJSON_CreateNull();
    snprintf(text, sizeof text, "%.17g", number);
    return cJSON_CreateRaw(text);
}

static cJSON *shape_of(const struct shape *shape) {
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < shape->rank; i++) cJSON_AddItemToArray(list, number_of((double)shape->dim[i]));
    return list;
}

static cJSON *node_of(const struct graph *graph, int i, const struct node_figures *figures) {
    const struct node *node = &graph->node[i];
    cJSON *object = cJSON_CreateObject(), *inputs = cJSON_CreateArray();
    for (int j = 0; j < node->nin; j++)
        cJSON_AddItemToArray(inputs, cJSON_CreateString(node_name(graph, node->in[j].node)));
    cJSON_AddStringToObject(object, "name", node_name(graph, i));
    cJSON_AddStringToObject(object, "class", graph->layer[node->layer].kind->class_name);
    cJSON_AddItemToObject(object, "inputs", inputs);
    cJSON_AddItemToObject(object, "output", shape_of(&node->out[0]));
    cJSON_AddItemToObject(object, "params", number_of((double)figures->params));
    cJSON_AddItemToObject(object, "trainable", number_of((double)figures->trainable));
    cJSON_AddItemToObject(object, "flops", number_of(figures->flops));
    return object;
}

/* cJSON's functions accept the NULL of one that ran out of memory; then the whole may lack members, which
 * only a machine without memory for a few kilobytes would see. */
static cJSON *report_of(const struct graph *graph, const char *name, const struct figures *figures) {
    cJSON *object = cJSON_CreateObject(), *layers = cJSON_CreateArray(), *boundaries = cJSON_CreateArray();
    cJSON *total = cJSON_CreateObject();
    for (int i = 0; i < graph->nnodes; i++)
        cJSON_AddItemToArray(layers, node_of(graph, i, &figures->node[i]));
    for (int i = 0; i < figures->nboundaries; i++)
        cJSON_AddItemToArray(boundaries, cJSON_CreateString(node_name(graph, figures->boundary[i])));
    cJSON_AddItemToObject(total, "params", number_of((double)figures->total.params));
    cJSON_AddItemToObject(total, "trainable", number_of((double)figures->total.trainable));
    cJSON_AddItemToObject(total, "flops", number_of(figures->total.flops));
    cJSON_AddItemToObject(total, "activation_bytes", number_of((double)figures->total.activation_bytes));
    cJSON_AddStringToObject(object, "model", name);
    cJSON_AddNumberToObject(object, "keras", graph->keras_version);
    cJSON_AddBoolToObject(object, "sequential", graph->sequential);
    cJSON_AddItemToObject(object, "layers", layers);
    cJSON_AddItemToObject(object, "boundaries", boundaries);
    cJSON_AddItemToObject(object, "total", total);
    return object;
}

status model_report_json(const struct graph *graph, const char *name, char **json) {
    struct figures figures;
    STATUS_TRY(figures_collect(graph, &figures));
    cJSON *object = report_of(graph, name, &figures);
    figures_clear(&figures);
    char *text = object ? cJSON_Print(object) : NULL;
    cJSON_Delete(object);
    size_t length = text ? strlen(text) : 0;
    char *line = text ? realloc(text, length + 2) : NULL;
    if (!line) {
        free(text);
        return status_no_memory("a model's report", 65536);
    }
    strcpy(line + length, "\n");
    *json = line;
    return SUCCESS;
}
