/* Expressions of a migration program. */
#include "shared/plan_parser.h"
#include "shared/transform.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DEPTH 64 /* of expressions in expressions */

int plan_find_keep(const struct plan *plan, const char *name) {
    int i = plan->nkeeps - 1;
    while (i >= 0 && strcmp(plan->keep[i].name, name) != 0) i--;
    return i;
}

static status take_word_of(struct parser *p, const char *choices, int64_t *word) {
    if (parser_token(p)->kind != TOKEN_NAME) return parser_expected(p, choices);
    *word = transform_choice(choices, parser_token(p)->text);
    return *word >= 0 ? parser_next(p) : parser_expected(p, choices);
}

static status take_operand(struct parser *p, const struct operand_spec *spec, struct operand *o) {
    int layer;
    *o = (struct operand){.at = parser_token(p)->at};
    switch (spec->type) {
    case OPERAND_INTEGER:
        STATUS_TRY(parser_integer(p, 0, INT64_MAX, &o->u.i));
        break;
    case OPERAND_AXIS:
        STATUS_TRY(parser_integer(p, -SHAPE_MAX_RANK, SHAPE_MAX_RANK, &o->u.i));
        break;
    case OPERAND_NUMBER:
        if (parser_token(p)->kind != TOKEN_INTEGER && parser_token(p)->kind != TOKEN_NUMBER)
            return parser_expected(p, "a number");
        o->u.f = parser_token(p)->number;
        STATUS_TRY(parser_next(p));
        break;
    case OPERAND_AXES:
    case OPERAND_SHAPE:
        STATUS_TRY(parser_shape(p, spec->type == OPERAND_SHAPE, &o->u.shape));
        break;
    case OPERAND_WORD:
        STATUS_TRY(take_word_of(p, spec->choices, &o->u.i));
        break;
    case OPERAND_LAYER:
        STATUS_TRY(parser_layer(p, p->source, &layer));
        o->u.i = layer;
        break;
    case OPERAND_TENSOR:
        STATUS_TRY(parser_tensor(p, p->source, &o->u.tensor.layer, &o->u.tensor.weight));
        break;
    }
    o->present = true;
    return SUCCESS;
}

/* The operand that comes now: one that is named, or the next one that is told by its place. -1: none. */
static int which_operand(const struct parser *p, const struct expr *e) {
    const struct transform *t = e->transform;
    for (int i = 0; i < t->noperands; i++)
        if (t->operand[i].name && token_is_word(parser_token(p), t->operand[i].name) &&
            !e->operand[i].present)
            return i;
    for (int i = 0; i < t->noperands; i++)
        if (!t->operand[i].name && !e->operand[i].present) return i;
    return -1;
}

static status wrong_use(struct parser *p, const struct transform *t) {
    char text[64];
    *p->at = parser_token(p)->at;
    return status_fail(STATUS_DATA, "%s is not what %s takes here: %s", token_describe(parser_token(p), text),
                       t->name, t->usage);
}

/* x, y, axis 0) */
static status parse_arguments(struct parser *p, int depth, struct expr *e) {
    const struct transform *t = e->transform;
    for (bool first = true; !token_is_mark(parser_token(p), ')'); first = false) {
        if (!first) STATUS_TRY(parser_mark(p, ','));
        const struct token *ahead = &p->lexer.ahead;
        bool call =
            parser_token(p)->kind == TOKEN_NAME && (token_is_mark(ahead, '(') || token_is_mark(ahead, '['));
        if (call && (t->max_args < 0 || e->nargs < t->max_args)) {
            struct expr *arg = NULL;
            STATUS_TRY(parser_expr(p, depth + 1, &arg));
            STATUS_TRY(expr_add(e, arg));
            continue;
        }
        int i = e->nargs < t->min_args ? -1 : which_operand(p, e);
        if (i < 0) return wrong_use(p, t);
        if (t->operand[i].name) STATUS_TRY(parser_next(p));
        STATUS_TRY(take_operand(p, &t->operand[i], &e->operand[i]));
    }
    for (int i = 0; i < t->noperands; i++)
        if (!e->operand[i].present && !t->operand[i].optional) return wrong_use(p, t);
    return parser_next(p);
}

static status unknown_transform(struct parser *p) {
    const char *name = parser_token(p)->text, *near = transform_nearest(name);
    *p->at = parser_token(p)->at;
    return status_fail(STATUS_DATA, "there is no transform %.40s%s%s%s (see godwit help program)", name,
                       near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

/* name(...), or source["layer/weight"] */
static status parse_call(struct parser *p, int depth, struct expr **expr) {
    if (parser_token(p)->kind != TOKEN_NAME) return parser_expected(p, "an expression");
    const struct transform *t = transform_find(parser_token(p)->text);
    if (!t || t == &transform_index) return unknown_transform(p);
    STATUS_TRY(expr_create(t, NULL, expr));
    (*expr)->at = parser_token(p)->at;
    STATUS_TRY(parser_next(p));
    if (t == &transform_source) {
        STATUS_TRY(parser_mark(p, '['));
        STATUS_TRY(take_operand(p, &t->operand[0], &(*expr)->operand[0]));
        STATUS_TRY(parser_mark(p, ']'));
    } else {
        STATUS_TRY(parser_mark(p, '('));
        STATUS_TRY(parse_arguments(p, depth, *expr));
    }
    return expr_check(p->plan, *expr, p->at);
}

/* :, 0:8, 0:8:2, k0, [0 3] */
static status parse_axis_index(struct parser *p, struct axis_index *index) {
    *index = (struct axis_index){.at = parser_token(p)->at, .step = 1};
    if (token_is_mark(parser_token(p), ':')) return parser_next(p);
    if (token_is_mark(parser_token(p), '[')) {
        index->kind = INDEX_LIST;
        STATUS_TRY(parser_list(p, &index->list, &index->n));
        if (index->n > 0) return SUCCESS;
        *p->at = index->at;
        return status_fail(STATUS_DATA, "a list of no positions");
    }
    if (parser_token(p)->kind == TOKEN_NAME) {
        index->kind = INDEX_KEEP;
        index->keep = plan_find_keep(p->plan, parser_token(p)->text);
        if (index->keep >= 0) return parser_next(p);
        *p->at = parser_token(p)->at;
        return status_fail(STATUS_DATA, "there is no keep list %.40s", parser_token(p)->text);
    }
    if (parser_token(p)->kind != TOKEN_INTEGER)
        return parser_expected(p, "\":\", a range, a list or the name of a keep list");
    index->kind = INDEX_RANGE;
    STATUS_TRY(parser_integer(p, 0, INT32_MAX, &index->first));
    STATUS_TRY(parser_mark(p, ':'));
    STATUS_TRY(parser_integer(p, 0, INT32_MAX, &index->end));
    if (!token_is_mark(parser_token(p), ':')) return SUCCESS;
    STATUS_TRY(parser_next(p));
    return parser_integer(p, 1, INT32_MAX, &index->step);
}

/* [:, k0] after an expression, which becomes its argument. */
static status parse_index(struct parser *p, struct expr **expr) {
    struct position at = parser_token(p)->at;
    int rank = (*expr)->shape.rank, n = rank > 0;
    char text[SHAPE_TEXT_MAX];
    STATUS_TRY(expr_create(&transform_index, *expr, expr));
    struct expr *e = *expr;
    e->at = at;
    e->index = calloc((size_t)rank + 1, sizeof *e->index);
    if (!e->index) return status_no_memory("an index", (size_t)rank * sizeof *e->index);
    STATUS_TRY(parser_next(p));
    for (int i = 0; i < rank; i++) {
        STATUS_TRY(parse_axis_index(p, &e->index[i]));
        if (i + 1 == rank || !token_is_mark(parser_token(p), ',')) break;
        STATUS_TRY(parser_next(p));
        n++;
    }
    if (n != rank || !token_is_mark(parser_token(p), ']')) {
        *p->at = parser_token(p)->at;
        return status_fail(STATUS_DATA, "%s has %d axes; an index says of each what is taken, : for all",
                           shape_format(&e->arg[0]->shape, text), rank);
    }
    STATUS_TRY(parser_next(p));
    return expr_check(p->plan, e, p->at);
}

/* On failure *expr is what there is of it, for the caller to destroy. */
static status parse_parts(struct parser *p, int depth, struct expr **expr) {
    if (depth > MAX_DEPTH) {
        *p->at = parser_token(p)->at;
        return status_fail(STATUS_DATA, "more than %d expressions in one another", MAX_DEPTH);
    }
    STATUS_TRY(parse_call(p, depth, expr));
    for (; token_is_mark(parser_token(p), '['); depth++) {
        if (depth > MAX_DEPTH) return parser_expected(p, "fewer expressions in one another");
        STATUS_TRY(parse_index(p, expr));
    }
    return SUCCESS;
}

status parser_expr(struct parser *p, int depth, struct expr **expr) {
    status error = parse_parts(p, depth, expr);
    if (error) expr_destroy(expr);
    return error;
}
