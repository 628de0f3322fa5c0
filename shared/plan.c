#include "shared/transform.h"

#include <math.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ELEMENTS ((int64_t)1 << 40) /* of the value of an expression */

status plan_create(const struct graph *source, const struct graph *target, const char *source_path,
                   const char *source_digest, struct plan **plan) {
    struct plan *p = calloc(1, sizeof *p);
    if (!p) return status_no_memory("a plan", sizeof *p);
    p->source = source;
    p->target = target;
    p->source_path = strdup(source_path);
    p->source_digest = source_digest ? strdup(source_digest) : NULL;
    p->target_name = strdup(target->name);
    if (!p->source_path || !p->target_name || (source_digest && !p->source_digest)) {
        plan_destroy(&p);
        return status_no_memory("a plan", strlen(source_path));
    }
    *plan = p;
    return SUCCESS;
}

status plan_set_source(struct plan *plan, const char *path, const char *digest) {
    char *new_path = strdup(path), *new_digest = strdup(digest);
    if (!new_path || !new_digest) {
        free(new_path);
        free(new_digest);
        return status_no_memory("a path", strlen(path));
    }
    free(plan->source_path);
    free(plan->source_digest);
    plan->source_path = new_path;
    plan->source_digest = new_digest;
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
    struct plan_edits edits = {p->nbypassed, p->nfactored, p->bypassed, p->factored};
    plan_edits_free(&edits);
    free(p->keep);
    free(p->statement);
    free(p->slice_node);
    free(p->source_path);
    free(p->source_digest);
    free(p->target_name);
    free(p);
    *plan = NULL;
}

status expr_create(const struct transform *transform, struct expr *arg, struct expr **expr) {
    struct expr *e = calloc(1, sizeof *e);
    *expr = NULL;
    if (!e) {
        expr_destroy(&arg);
        return status_no_memory("a plan", sizeof *e);
    }
    e->transform = transform;
    if (arg) {
        status error = expr_add(e, arg);
        if (error) {
            expr_destroy(&e);
            return error;
        }
    }
    *expr = e;
    return SUCCESS;
}

void expr_destroy(struct expr **expr) {
    struct expr *e = *expr;
    if (!e) return;
    if (e->index && e->nargs)
        for (int i = 0; i < e->arg[0]->shape.rank; i++) free(e->index[i].list);
    free(e->index);
    for (int i = 0; i < e->nargs; i++) expr_destroy(&e->arg[i]);
    free(e->arg);
    free(e);
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

status expr_add(struct expr *expr, struct expr *arg) {
    status error = grow((void **)&expr->arg, expr->nargs, sizeof *expr->arg);
    if (error) expr_destroy(&arg);
    else expr->arg[expr->nargs++] = arg;
    return error;
}

/* Takes the name; frees it on failure too. */
static status add_name(char ***names, int *n, char *name) {
    status error = name ? grow((void **)names, *n, sizeof **names) : status_no_memory("a plan", 0);
    if (error) free(name);
    else (*names)[(*n)++] = name;
    return error;
}

status plan_add_bypassed(struct plan *plan, const char *name) {
    return add_name(&plan->bypassed, &plan->nbypassed, strdup(name));
}

status plan_add_factored(struct plan *plan, const char *layer, int64_t rank) {
    char *text = NULL;
    if (asprintf(&text, "%s %" PRId64, layer, rank) < 0) text = NULL;
    return add_name(&plan->factored, &plan->nfactored, text);
}

void plan_edits_free(struct plan_edits *edits) {
    for (int i = 0; i < edits->nbypassed; i++) free(edits->bypassed[i]);
    for (int i = 0; i < edits->nfactored; i++) free(edits->factored[i]);
    free(edits->bypassed);
    free(edits->factored);
    *edits = (struct plan_edits){0};
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

/* ---- checking ---- */

/* Axes are counted from the first one on. */
static status check_axis(const struct expr *expr, struct operand *operand) {
    int rank = expr->arg[0]->shape.rank;
    if (operand->u.i < 0) operand->u.i += rank;
    if (operand->u.i >= 0 && operand->u.i < rank) return SUCCESS;
    char text[SHAPE_TEXT_MAX];
    return status_fail(STATUS_DATA, "%s has no such axis", shape_format(&expr->arg[0]->shape, text));
}

status expr_check(const struct plan *plan, struct expr *expr, struct position *at) {
    const struct transform *t = expr->transform;
    struct position unwanted;
    if (!at) at = &unwanted;
    *at = expr->at;
    if (expr->nargs < t->min_args || (t->max_args >= 0 && expr->nargs > t->max_args))
        return status_fail(STATUS_DATA, "%s takes %s%d expression%s, not %d: %s", t->name,
                           t->max_args < 0 ? "at least " : "", t->min_args, t->min_args == 1 ? "" : "s",
                           expr->nargs, t->usage);
    for (int i = 0; i < t->noperands; i++) {
        if (!expr->operand[i].present || t->operand[i].type != OPERAND_AXIS) continue;
        *at = expr->operand[i].at;
        STATUS_TRY(check_axis(expr, &expr->operand[i]));
    }
    *at = expr->at;
    if (!t->check) expr->shape = expr->arg[0]->shape;
    else STATUS_TRY(t->check(plan, expr, at));
    int64_t count;
    STATUS_TRY(shape_count(&expr->shape, &count));
    if (count > 0 && count <= MAX_ELEMENTS) return SUCCESS;
    char text[SHAPE_TEXT_MAX];
    return status_fail(STATUS_DATA, "a tensor of shape %s would have %s", shape_format(&expr->shape, text),
                       count ? "more values than any memory holds" : "no values");
}

status expr_reshape(const struct plan *plan, const struct shape *shape, struct expr **expr) {
    if (shape_equal(&(*expr)->shape, shape)) return SUCCESS;
    STATUS_TRY(expr_create(&transform_reshape, *expr, expr));
    (*expr)->operand[0] = (struct operand){.present = true, .u.shape = *shape};
    return expr_check(plan, *expr, NULL);
}

static bool operands_equal(const struct operand_spec *spec, const struct operand *a,
                           const struct operand *b) {
    if (!a->present || !b->present) return a->present == b->present;
    switch (spec->type) {
    case OPERAND_NUMBER:
        return a->u.f == b->u.f;
    case OPERAND_AXES:
    case OPERAND_SHAPE:
        return shape_equal(&a->u.shape, &b->u.shape);
    case OPERAND_TENSOR:
        return a->u.tensor.layer == b->u.tensor.layer && a->u.tensor.weight == b->u.tensor.weight;
    default:
        return a->u.i == b->u.i;
    }
}

static bool indices_equal(const struct axis_index *a, const struct axis_index *b) {
    if (a->kind != b->kind) return false;
    if (a->kind == INDEX_KEEP) return a->keep == b->keep;
    if (a->kind == INDEX_LIST)
        return a->n == b->n && !memcmp(a->list, b->list, (size_t)a->n * sizeof *a->list);
    return a->kind == INDEX_ALL || (a->first == b->first && a->end == b->end && a->step == b->step);
}

bool expr_equal(const struct expr *a, const struct expr *b) {
    if (a->transform != b->transform || a->nargs != b->nargs || !shape_equal(&a->shape, &b->shape))
        return false;
    for (int i = 0; i < a->transform->noperands; i++)
        if (!operands_equal(&a->transform->operand[i], &a->operand[i], &b->operand[i])) return false;
    for (int i = 0; i < a->nargs; i++)
        if (!expr_equal(a->arg[i], b->arg[i])) return false;
    for (int i = 0; a->index && i < a->arg[0]->shape.rank; i++)
        if (!indices_equal(&a->index[i], &b->index[i])) return false;
    return true;
}

int64_t axis_index_count(const struct plan *plan, const struct axis_index *index, int64_t size) {
    switch (index->kind) {
    case INDEX_RANGE:
        return (index->end - index->first + index->step - 1) / index->step;
    case INDEX_LIST:
        return index->n;
    case INDEX_KEEP:
        return plan->keep[index->keep].n;
    case INDEX_ALL:
        break;
    }
    return size;
}

int64_t axis_index_at(const struct plan *plan, const struct axis_index *index, int64_t k) {
    switch (index->kind) {
    case INDEX_RANGE:
        return index->first + k * index->step;
    case INDEX_LIST:
        return index->list[k];
    case INDEX_KEEP:
        return plan->keep[index->keep].index[k];
    case INDEX_ALL:
        break;
    }
    return k;
}

const struct expr *plan_start(const struct plan_statement *statement) {
    const struct expr *expr = statement->value;
    while (expr->transform->finishes) expr = expr->arg[0];
    return expr;
}

bool plan_is_refit(const struct plan_statement *statement) {
    return plan_start(statement)->transform == &transform_refit;
}

bool plan_projects(const struct plan_statement *statement) {
    const struct expr *expr = plan_start(statement);
    while (expr->nargs == 1 && expr->transform != &transform_project) expr = expr->arg[0];
    return expr->transform == &transform_project;
}

/* Which axis of its argument the positions on an axis are of; -1: they are computed. */
static int axis_before(const struct expr *expr, int axis) {
    if (expr->transform->from_axis) return expr->transform->from_axis(expr, axis);
    return expr->nargs == 1 && shape_equal(&expr->shape, &expr->arg[0]->shape) ? axis : -1;
}

status plan_positions(const struct plan *plan, const struct plan_statement *statement, int axis,
                      int64_t **position) {
    const struct layer *layer = &plan->target->layer[statement->layer];
    int64_t n = statement->shape.dim[axis], *list = NULL;
    int at = axis;
    *position = NULL;
    for (const struct expr *expr = statement->value; expr->nargs > 0; expr = expr->arg[0]) {
        int before = axis_before(expr, at);
        if (before < 0) {
            free(list);
            return status_fail(
                STATUS_DATA,
                "\"%s/%s\": it cannot be told which of the source's channels axis %d has; index "
                "the tensor last, refit(...[:, k0])",
                layer->name, layer->weight[statement->weight].name, axis);
        }
        if (expr->transform == &transform_index && expr->index[at].kind != INDEX_ALL) {
            if (!list) {
                STATUS_TRY(memory_alloc("positions", (size_t)n, sizeof *list, (void **)&list));
                for (int64_t k = 0; k < n; k++) list[k] = k;
            }
            for (int64_t k = 0; k < n; k++) list[k] = axis_index_at(plan, &expr->index[at], list[k]);
        }
        at = before;
    }
    *position = list;
    return SUCCESS;
}

status plan_check(const struct plan *plan, struct position *at) {
    *at = (struct position){0};
    for (int i = 0; i < plan->nstatements; i++) {
        const struct plan_statement *s = &plan->statement[i];
        const struct layer *layer = &plan->target->layer[s->layer];
        char is[SHAPE_TEXT_MAX], wanted[SHAPE_TEXT_MAX];
        *at = s->at;
        if (plan_find(plan, s->layer, s->weight) != s)
            return status_fail(STATUS_DATA, "\"%s/%s\" has two statements", layer->name,
                               layer->weight[s->weight].name);
        if (!shape_equal(&s->shape, &layer->weight[s->weight].shape))
            return status_fail(STATUS_DATA, "\"%s/%s\" has shape %s in a target of these widths, not %s",
                               layer->name, layer->weight[s->weight].name,
                               shape_format(&layer->weight[s->weight].shape, wanted),
                               shape_format(&s->shape, is));
    }
    *at = (struct position){0};
    for (int l = 0; l < plan->target->nlayers; l++)
        for (int w = 0; w < plan->target->layer[l].nweights; w++)
            if (!plan_find(plan, l, w))
                return status_fail(STATUS_DATA, "\"%s/%s\" of the target has no statement",
                                   plan->target->layer[l].name, plan->target->layer[l].weight[w].name);
    return SUCCESS;
}
