#include "shared/transform.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A name in quotation marks, with \" and \\ for those in it. */
static void print_text(FILE *out, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '"' || text[i] == '\\') fputc('\\', out);
        fputc(text[i], out);
    }
}

static void print_name(FILE *out, const char *layer, const char *weight) {
    fputc('"', out);
    print_text(out, layer, strlen(layer));
    fprintf(out, "%s%s\"", weight ? "/" : "", weight ? weight : "");
}

static void print_list(FILE *out, const int64_t *list, int64_t n) {
    fputs("[", out);
    for (int64_t i = 0; i < n; i++) fprintf(out, "%s%" PRId64, i ? " " : "", list[i]);
    fputs("]", out);
}

static void print_keep(FILE *out, const struct plan *plan, const struct keep *k) {
    const char *layer = plan->target->layer[plan->target->node[k->node].layer].name;
    fprintf(out, "keep %s = %s(", k->name, k->inner ? "heads" : k->selected ? "select" : "channels");
    print_name(out, layer, NULL);
    fprintf(out, ", %" PRId64 " of %" PRId64, k->n, k->of);
    if (k->repeat > 1) fprintf(out, ", repeat %d", k->repeat);
    if (k->index) {
        fputs(", ", out);
        print_list(out, k->index, k->n);
    }
    fputs(")\n", out);
}

/* The fewest digits that are read as the same number. */
static void print_number(FILE *out, double value) {
    char text[32];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    fputs(text, out);
}

static void print_word(FILE *out, const char *choices, int64_t word) {
    for (; word > 0; word--) choices = strchr(choices, '|') + 1;
    fwrite(choices, 1, strcspn(choices, "|"), out);
}

static void print_operand(FILE *out, const struct plan *plan, const struct operand_spec *spec,
                          const struct operand *o) {
    const struct layer *layer = plan->source->layer;
    char text[SHAPE_TEXT_MAX];
    if (spec->name) fprintf(out, "%s ", spec->name);
    switch (spec->type) {
    case OPERAND_INTEGER:
    case OPERAND_AXIS:
        fprintf(out, "%" PRId64, o->u.i);
        return;
    case OPERAND_NUMBER:
        print_number(out, o->u.f);
        return;
    case OPERAND_AXES:
    case OPERAND_SHAPE:
        fputs(shape_format(&o->u.shape, text), out);
        return;
    case OPERAND_WORD:
        print_word(out, spec->choices, o->u.i);
        return;
    case OPERAND_LAYER:
        print_name(out, layer[o->u.i].name, NULL);
        return;
    case OPERAND_TENSOR:
        print_name(out, layer[o->u.tensor.layer].name,
                   layer[o->u.tensor.layer].weight[o->u.tensor.weight].name);
        return;
    }
}

static void print_axis_index(FILE *out, const struct plan *plan, const struct axis_index *index) {
    switch (index->kind) {
    case INDEX_ALL:
        fputs(":", out);
        return;
    case INDEX_RANGE:
        fprintf(out, "%" PRId64 ":%" PRId64, index->first, index->end);
        if (index->step != 1) fprintf(out, ":%" PRId64, index->step);
        return;
    case INDEX_LIST:
        print_list(out, index->list, index->n);
        return;
    case INDEX_KEEP:
        fputs(plan->keep[index->keep].name, out);
        return;
    }
}

static void print_expr(FILE *out, const struct plan *plan, const struct expr *e) {
    const struct transform *t = e->transform;
    bool source = t == &transform_source, index = t == &transform_index, first = true;
    if (index) print_expr(out, plan, e->arg[0]);
    fputs(index ? "[" : t->name, out);
    if (!index) fputs(source ? "[" : "(", out);
    for (int i = 0; i < e->nargs && !index; i++, first = false) {
        if (!first) fputs(", ", out);
        print_expr(out, plan, e->arg[i]);
    }
    for (int i = 0; i < t->noperands; i++) {
        if (!e->operand[i].present) continue;
        if (!first) fputs(", ", out);
        print_operand(out, plan, &t->operand[i], &e->operand[i]);
        first = false;
    }
    for (int i = 0; index && i < e->arg[0]->shape.rank; i++) {
        if (i) fputs(", ", out);
        print_axis_index(out, plan, &e->index[i]);
    }
    fputs(source || index ? "]" : ")", out);
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
    print_name(out, plan->target_name, NULL);
    fputs("\n", out);
    for (int i = 0; i < plan->nbypassed; i++) {
        fputs("bypass ", out);
        print_name(out, plan->bypassed[i], NULL);
        fputs("\n", out);
    }
    for (int i = 0; i < plan->nfactored; i++) {
        const char *rank = strrchr(plan->factored[i], ' ');
        fputs("factor \"", out);
        print_text(out, plan->factored[i], (size_t)(rank - plan->factored[i]));
        fprintf(out, "\"%s\n", rank);
    }
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
