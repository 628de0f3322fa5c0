#include "io/model_report.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- figures ---- */

struct node_figures {
    int64_t params, trainable; /* of the layer, at its first call; else 0; -1: not known */
    double flops;              /* one sample; -1: not known */
    bool supported, known;     /* known: its shapes are */
};

/* Everything a report says. */
struct figures {
    struct node_figures *node; /* [nnodes] */
    int64_t params, trainable, activation_bytes;
    double flops; /* all of what is known */
    bool complete;
    int *boundary; /* [nboundaries] */
    int nboundaries;
};

static void count_weights(const struct layer *layer, struct node_figures *figures) {
    for (int w = 0; w < layer->nweights; w++) {
        int64_t count = 1;
        for (int i = 0; i < layer->weight[w].shape.rank; i++) count *= layer->weight[w].shape.dim[i];
        figures->params += count;
        if (layer->weight[w].trainable && layer->trainable) figures->trainable += count;
    }
}

static status lower(const struct model_report *report, struct opgraph **ops) {
    if (!report->problems) return graph_lower(report->graph, ops, NULL);
    struct graph_tolerance tolerance = keras_tolerance(report->problems);
    return graph_lower_known(report->graph, &tolerance, ops);
}

static status count_nodes(const struct model_report *report, struct node_figures *f) {
    const struct graph *graph = report->graph;
    struct opgraph *ops = NULL;
    STATUS_TRY(lower(report, &ops));
    for (int i = 0; i < ops->nops; i++) {
        const struct op *op = &ops->op[i];
        if (op->node < 0 || f[op->node].flops < 0) continue;
        double flops = op_flops(ops, op);
        f[op->node].flops = flops < 0 ? -1 : f[op->node].flops + flops;
    }
    opgraph_destroy(&ops);
    for (int i = 0; i < graph->nnodes; i++) {
        int layer = graph->node[i].layer;
        f[i].supported = !report->problems || !problems_has_layer(report->problems, layer);
        f[i].known = graph->node[i].nout > 0;
        if (!f[i].known) f[i] = (struct node_figures){-1, -1, -1, f[i].supported, false};
        else if (!f[i].supported) f[i].flops = -1;
        if (f[i].known && graph_layer_node(graph, layer) == i) count_weights(&graph->layer[layer], &f[i]);
    }
    return SUCCESS;
}

static void count_all(const struct graph *graph, struct figures *figures) {
    figures->complete = true;
    for (int i = 0; i < graph->nnodes; i++) {
        const struct node_figures *f = &figures->node[i];
        figures->complete = figures->complete && f->known && f->supported;
        if (f->params > 0) figures->params += f->params;
        if (f->trainable > 0) figures->trainable += f->trainable;
        if (f->flops < 0 && f->known && f->supported) figures->flops = -1;
        else if (f->flops > 0 && figures->flops >= 0) figures->flops += f->flops;
        for (int k = 0; k < graph->node[i].nout; k++) {
            int64_t count = shape_sample_count(&graph->node[i].out[k]);
            if (count < 0) figures->activation_bytes = -1;
            else if (figures->activation_bytes >= 0)
                figures->activation_bytes += count * (int64_t)sizeof(float);
        }
    }
}

static void figures_clear(struct figures *figures) {
    free(figures->node);
    free(figures->boundary);
}

static status figures_collect(const struct model_report *report, struct figures *figures) {
    size_t n = (size_t)report->graph->nnodes;
    *figures = (struct figures){.node = calloc(n + 1, sizeof *figures->node)};
    if (!figures->node) return status_no_memory("a model's figures", n * sizeof *figures->node);
    status error = count_nodes(report, figures->node);
    if (!error) error = graph_boundaries(report->graph, &figures->boundary, &figures->nboundaries);
    if (error) figures_clear(figures);
    else count_all(report->graph, figures);
    return error;
}

static const char *node_name(const struct graph *graph, int node) {
    return graph->layer[graph->node[node].layer].name;
}

static const char *node_class(const struct graph *graph, int node) {
    return keras_class_name(&graph->layer[graph->node[node].layer]);
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

static const char *format_params(int64_t n, char text[32]) {
    return n < 0 ? "?" : format_count(n, text);
}

static const char *format_mflop(double flops, char text[32]) {
    if (flops < 0) snprintf(text, 32, "?");
    else snprintf(text, 32, "%.3f", flops * 1e-6);
    return text;
}

/* The shapes of all outputs of a node. */
#define OUTPUTS_TEXT_MAX (LAYER_MAX_OUTPUTS * (SHAPE_TEXT_MAX + 1))
static const char *format_outputs(const struct graph *graph, int node, char *text) {
    char shape[SHAPE_TEXT_MAX];
    size_t used = 0;
    for (int k = 0; k < graph->node[node].nout; k++)
        used += (size_t)sprintf(text + used, "%s%s", k ? " " : "",
                                shape_format(&graph->node[node].out[k], shape));
    if (!used) strcpy(text, "?");
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

static void print_table(FILE *out, const struct graph *graph, const struct figures *figures) {
    char shape[OUTPUTS_TEXT_MAX], count[32], flops[32];
    int first = wider(0, "Layer"), second = wider(0, "Class"), third = wider(0, "Output");
    for (int i = 0; i < graph->nnodes; i++) {
        first = wider(first, node_name(graph, i));
        second = wider(second, node_class(graph, i));
        third = wider(third, format_outputs(graph, i, shape));
    }
    int width = first + second + third + 6 + 14 + 2 + 12 + 2;
    print_rule(out, width);
    fprintf(out, "%-*s  %-*s  %-*s  %14s  %12s\n", first, "Layer", second, "Class", third, "Output",
            "Parameters", "MFLOP");
    print_rule(out, width);
    for (int i = 0; i < graph->nnodes; i++)
        fprintf(out, "%-*s  %-*s  %-*s  %14s  %12s%s%s\n", first, node_name(graph, i), second,
                node_class(graph, i), third, format_outputs(graph, i, shape),
                format_params(figures->node[i].params, count), format_mflop(figures->node[i].flops, flops),
                is_boundary(figures, i) ? " *" : "", figures->node[i].supported ? "" : " not supported");
    print_rule(out, width);
}

/* "inputs: a (?, 8), b (?, 3)" */
static void print_ends(FILE *out, const char *what, const struct graph *graph, const struct edge *end,
                       int n) {
    char shape[SHAPE_TEXT_MAX];
    fprintf(out, "%s%s:", what, n == 1 ? "" : "s");
    for (int i = 0; i < n; i++) {
        const struct node *node = &graph->node[end[i].node];
        fprintf(out, "%s %s %s", i ? "," : "", node_name(graph, end[i].node),
                end[i].slot < node->nout ? shape_format(&node->out[end[i].slot], shape) : "?");
    }
    putc('\n', out);
}

static void print_report(FILE *out, const struct model_report *report, const struct figures *figures) {
    const struct graph *graph = report->graph;
    char count[32], trainable[32], flops[32];
    fprintf(out, "%s (%s%sKeras %d, %s)\n", report->name, report->container ? report->container : "",
            report->container ? ", " : "", graph->keras_version,
            graph->sequential ? "Sequential" : "functional");
    print_table(out, graph, figures);
    fprintf(out, "%s%s parameters (%s trainable), %s MFLOP a sample", figures->complete ? "" : "at least ",
            format_count(figures->params, count), format_count(figures->trainable, trainable),
            format_mflop(figures->flops, flops));
    if (figures->complete && figures->activation_bytes >= 0)
        fprintf(out, ", %.1f KiB of activations", (double)figures->activation_bytes / 1024);
    putc('\n', out);
    print_ends(out, "input", graph, graph->input, graph->ninputs);
    print_ends(out, "output", graph, graph->output, graph->noutputs);
    fprintf(out, "%d boundar%s (*)\n", figures->nboundaries, figures->nboundaries == 1 ? "y" : "ies");
    for (int i = 0; report->problems && i < report->problems->n; i++)
        fprintf(out, "%s  %s\n", i ? "" : "not supported:\n", report->problems->problem[i].text);
}

status model_report_text(const struct model_report *report, char **text) {
    struct figures figures;
    STATUS_TRY(figures_collect(report, &figures));
    char *buffer = NULL;
    size_t nbytes = 0;
    FILE *out = open_memstream(&buffer, &nbytes);
    if (out) print_report(out, report, &figures);
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

static cJSON *text_of(const char *text) {
    return text ? cJSON_CreateString(text) : cJSON_CreateNull();
}

static cJSON *node_of(const struct graph *graph, int i, const struct node_figures *figures) {
    const struct node *node = &graph->node[i];
    cJSON *object = cJSON_CreateObject(), *inputs = cJSON_CreateArray(), *outputs = cJSON_CreateArray();
    for (int j = 0; j < node->nin; j++)
        cJSON_AddItemToArray(inputs, cJSON_CreateString(node_name(graph, node->in[j].node)));
    for (int k = 0; k < node->nout; k++) cJSON_AddItemToArray(outputs, shape_of(&node->out[k]));
    cJSON_AddStringToObject(object, "name", node_name(graph, i));
    cJSON_AddStringToObject(object, "class", node_class(graph, i));
    cJSON_AddItemToObject(object, "inputs", inputs);
    cJSON_AddItemToObject(object, "output", node->nout ? shape_of(&node->out[0]) : cJSON_CreateNull());
    cJSON_AddItemToObject(object, "outputs", node->nout ? outputs : cJSON_CreateNull());
    if (!node->nout) cJSON_Delete(outputs);
    cJSON_AddItemToObject(object, "params", number_of((double)figures->params));
    cJSON_AddItemToObject(object, "trainable", number_of((double)figures->trainable));
    cJSON_AddItemToObject(object, "flops", number_of(figures->flops));
    cJSON_AddBoolToObject(object, "supported", figures->supported);
    return object;
}

static cJSON *ends_of(const struct graph *graph, const struct edge *end, int n) {
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < n; i++) {
        const struct node *node = &graph->node[end[i].node];
        cJSON *object = cJSON_CreateObject();
        cJSON_AddStringToObject(object, "layer", node_name(graph, end[i].node));
        cJSON_AddItemToObject(object, "shape",
                              end[i].slot < node->nout ? shape_of(&node->out[end[i].slot])
                                                       : cJSON_CreateNull());
        cJSON_AddItemToArray(list, object);
    }
    return list;
}

static cJSON *unsupported_of(const struct graph *graph, const struct problems *problems) {
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; problems && i < problems->n; i++) {
        const struct problem *problem = &problems->problem[i];
        cJSON *object = cJSON_CreateObject();
        cJSON_AddItemToObject(object, "layer",
                              text_of(problem->layer < 0 ? NULL : graph->layer[problem->layer].name));
        cJSON_AddStringToObject(object, "problem", problem->text);
        cJSON_AddItemToArray(list, object);
    }
    return list;
}

/* cJSON's functions accept the NULL of one that ran out of memory; then the whole may lack members, which
 * only a machine without memory for a few kilobytes would see. */
static cJSON *report_of(const struct model_report *report, const struct figures *figures) {
    const struct graph *graph = report->graph;
    cJSON *object = cJSON_CreateObject(), *layers = cJSON_CreateArray(), *boundaries = cJSON_CreateArray();
    cJSON *total = cJSON_CreateObject();
    for (int i = 0; i < graph->nnodes; i++)
        cJSON_AddItemToArray(layers, node_of(graph, i, &figures->node[i]));
    for (int i = 0; i < figures->nboundaries; i++)
        cJSON_AddItemToArray(boundaries, cJSON_CreateString(node_name(graph, figures->boundary[i])));
    cJSON_AddItemToObject(total, "params", number_of((double)figures->params));
    cJSON_AddItemToObject(total, "trainable", number_of((double)figures->trainable));
    cJSON_AddItemToObject(total, "flops", number_of(figures->flops));
    cJSON_AddItemToObject(total, "activation_bytes", number_of((double)figures->activation_bytes));
    cJSON_AddBoolToObject(total, "complete", figures->complete);
    cJSON_AddStringToObject(object, "model", report->name);
    cJSON_AddItemToObject(object, "container", text_of(report->container));
    cJSON_AddNumberToObject(object, "keras", graph->keras_version);
    cJSON_AddBoolToObject(object, "sequential", graph->sequential);
    cJSON_AddItemToObject(object, "inputs", ends_of(graph, graph->input, graph->ninputs));
    cJSON_AddItemToObject(object, "outputs", ends_of(graph, graph->output, graph->noutputs));
    cJSON_AddItemToObject(object, "layers", layers);
    cJSON_AddItemToObject(object, "boundaries", boundaries);
    cJSON_AddItemToObject(object, "unsupported", unsupported_of(graph, report->problems));
    cJSON_AddItemToObject(object, "total", total);
    return object;
}

status model_report_json(const struct model_report *report, char **json) {
    struct figures figures;
    STATUS_TRY(figures_collect(report, &figures));
    cJSON *object = report_of(report, &figures);
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
