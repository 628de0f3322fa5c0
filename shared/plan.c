#include "shared/plan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

status plan_create(const struct graph *source, const struct graph *target, const char *source_path,
                   const char *source_digest, struct plan **plan) {
    struct plan *p = calloc(1, sizeof *p);
    if (!p) return status_no_memory("a plan", sizeof *p);
    p->source = source;
    p->target = target;
    p->source_path = strdup(source_path);
    p->source_digest = source_digest ? strdup(source_digest) : NULL;
    if (!p->source_path || (source_digest && !p->source_digest)) {
        plan_destroy(&p);
        return status_no_memory("a plan", strlen(source_path));
    }
    *plan = p;
    return SUCCESS;
}

void plan_destroy(struct plan **plan) {
    struct plan *p = *plan;
    if (!p) return;
    for (int i = 0; i < p->nkeeps; i++) {
        free(p->keep[i].name);
        free(p->keep[i].index);
    }
    for (int i = 0; i < p->nstatements; i++) expr_destroy(&p->statement[i].value);
    free(p->keep);
    free(p->statement);
    free(p->slice_node);
    free(p->source_path);
    free(p->source_digest);
    free(p);
    *plan = NULL;
}

status expr_create(enum expr_kind kind, struct expr *arg, struct expr **expr) {
    struct expr *e = calloc(1, sizeof *e);
    if (!e) {
        expr_destroy(&arg);
        *expr = NULL;
        return status_no_memory("a plan", sizeof *e);
    }
    e->kind = kind;
    e->arg = arg;
    e->layer = e->weight = e->out_axis = -1;
    if (arg) e->shape = arg->shape;
    for (int i = 0; i < SHAPE_MAX_RANK; i++) e->keep[i] = -1;
    *expr = e;
    return SUCCESS;
}

void expr_destroy(struct expr **expr) {
    if (!*expr) return;
    expr_destroy(&(*expr)->arg);
    free(*expr);
    *expr = NULL;
}

/* Room for one more; capacity doubles at powers of two. */
static status grow(void **array, int n, size_t size) {
    if (n & (n - 1)) return SUCCESS;
    void *p = realloc(*array, (n ? (size_t)n * 2 : 1) * size);
    if (!p) return status_no_memory("a plan", (size_t)n * 2 * size);
    *array = p;
    return SUCCESS;
}

status plan_add_keep(struct plan *plan, struct keep *keep, int *index) {
    STATUS_TRY(grow((void **)&plan->keep, plan->nkeeps, sizeof *plan->keep));
    plan->keep[plan->nkeeps] = *keep;
    *index = plan->nkeeps++;
    *keep = (struct keep){0};
    return SUCCESS;
}

status plan_add_statement(struct plan *plan, struct plan_statement *statement) {
    STATUS_TRY(grow((void **)&plan->statement, plan->nstatements, sizeof *plan->statement));
    plan->statement[plan->nstatements++] = *statement;
    *statement = (struct plan_statement){0};
    return SUCCESS;
}

status plan_add_slice(struct plan *plan, int node) {
    STATUS_TRY(grow((void **)&plan->slice_node, plan->nslices, sizeof *plan->slice_node));
    plan->slice_node[plan->nslices++] = node;
    return SUCCESS;
}

struct plan_statement *plan_find(const struct plan *plan, int layer, int weight) {
    for (int i = 0; i < plan->nstatements; i++)
        if (plan->statement[i].layer == layer && plan->statement[i].weight == weight)
            return &plan->statement[i];
    return NULL;
}
