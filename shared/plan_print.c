#include "shared/plan.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A name in quotation marks, with \" and \\ for those in it. */
static void print_name(FILE *out, const char *layer, const char *weight) {
    fputc('"', out);
    for (const char *c = layer; *c; c++) {
        if (*c == '"' || *c == '\\') fputc('\\', out);
        fputc(*c, out);
    }
    fprintf(out, "%s%s\"", weight ? "/" : "", weight ? weight : "");
}

static void print_index(FILE *out, const struct keep *k) {
    fputs("  # [", out);
    for (int64_t i = 0; i < k->n; i++) fprintf(out, "%s%" PRId64, i ? " " : "", k->index[i]);
    fputs("]", out);
}

static void print_keep(FILE *out, const struct plan *plan, const struct keep *k) {
    const char *layer = plan->target->layer[plan->target->node[k->node].layer].name;
    fprintf(out, "keep %s = %s(", k->name, k->group >= 0 ? "select" : "channels");
    print_name(out, layer, NULL);
    fprintf(out, ", %" PRId64 " of %" PRId64 "%s", k->n, k->of, k->repeat > 1 ? "" : ")");
    if (k->repeat > 1) fprintf(out, ", repeat %d)", k->repeat);
    if (k->index) print_index(out, k);
    fputs("\n", out);
}

static void print_expr(FILE *out, const struct plan *plan, const struct expr *e) {
    const struct graph *source = plan->source;
    switch (e->kind) {
    case EXPR_SOURCE:
        fputs("source[", out);
        print_name(out, source->layer[e->layer].name, source->layer[e->layer].weight[e->weight].name);
        fputs("]", out);
        return;
    case EXPR_ZEROS:
        fputs("zeros", out);
        return;
    case EXPR_INDEX:
        print_expr(out, plan, e->arg);
        fputs("[", out);
        for (int i = 0; i < e->shape.rank; i++)
            fprintf(out, "%s%s", i ? ", " : "", e->keep[i] >= 0 ? plan->keep[e->keep[i]].name : ":");
        fputs("]", out);
        return;
    case EXPR_FOLD_BN:
    case EXPR_FOLD_BN_BIAS:
        fputs(e->kind == EXPR_FOLD_BN ? "fold_bn(" : "fold_bn_bias(", out);
        print_expr(out, plan, e->arg);
        fputs(", ", out);
        print_name(out, source->layer[e->layer].name, NULL);
        fputs(")", out);
        return;
    case EXPR_REFIT:
        fputs("refit(", out);
        print_expr(out, plan, e->arg);
        fputs(")", out);
        return;
    }
}

static void print_statement(FILE *out, const struct plan *plan, const struct plan_statement *s) {
    const struct layer *layer = &plan->target->layer[s->layer];
    char text[SHAPE_TEXT_MAX];
    fputs("  ", out);
    print_name(out, layer->name, layer->weight[s->weight].name);
    fprintf(out, " %s = ", shape_format(&s->shape, text));
    print_expr(out, plan, s->value);
    if (!isnan(s->residual)) fprintf(out, "  # residual %.3g", s->residual);
    fputs("\n", out);
}

status plan_print(const struct plan *plan, char **text) {
    size_t size;
    *text = NULL;
    FILE *out = open_memstream(text, &size);
    if (!out) return status_no_memory("a plan's text", 0);
    fputs("plan 1\nsource ", out);
    print_name(out, plan->source_path, NULL);
    if (plan->source_digest) fprintf(out, " digest %s", plan->source_digest);
    fputs("\ntarget ", out);
    print_name(out, plan->target->name, NULL);
    fputs("\n", out);
    if (plan->nkeeps) fputs("\n", out);
    for (int i = 0; i < plan->nkeeps; i++) print_keep(out, plan, &plan->keep[i]);
    int at = 0;
    for (int slice = 0; slice < plan->nslices; slice++) {
        const struct graph *t = plan->target;
        fprintf(out, "\nslice %d ", slice);
        print_name(out, t->layer[t->node[plan->slice_node[slice]].layer].name, NULL);
        fputs(" {\n", out);
        for (; at < plan->nstatements && plan->statement[at].slice == slice; at++)
            print_statement(out, plan, &plan->statement[at]);
        fputs("}\n", out);
    }
    if (fclose(out) || !*text) {
        free(*text);
        *text = NULL;
        return status_no_memory("a plan's text", size);
    }
    return SUCCESS;
}
