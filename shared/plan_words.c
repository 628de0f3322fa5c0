/* Words and names of a migration program. */
#include "shared/nearest.h"
#include "shared/plan_parser.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const struct token *parser_token(const struct parser *p) {
    return &p->lexer.token;
}

status parser_next(struct parser *p) {
    return lexer_next(&p->lexer, p->at);
}

status parser_expected(struct parser *p, const char *what) {
    char text[64];
    *p->at = parser_token(p)->at;
    return status_fail(STATUS_DATA, "expected %s, not %s", what, token_describe(parser_token(p), text));
}

bool token_is_mark(const struct token *t, char mark) {
    return t->kind == TOKEN_MARK && t->mark == mark;
}

bool token_is_word(const struct token *t, const char *word) {
    return t->kind == TOKEN_NAME && !strcmp(t->text, word);
}

status parser_mark(struct parser *p, char mark) {
    char text[4] = {'"', mark, '"', 0};
    return token_is_mark(parser_token(p), mark) ? parser_next(p) : parser_expected(p, text);
}

status parser_word(struct parser *p, const char *word) {
    return token_is_word(parser_token(p), word) ? parser_next(p) : parser_expected(p, word);
}

/* The text of a name or a string; owned by the caller. */
status parser_text(struct parser *p, enum token_kind kind, const char *what, char **text) {
    if (parser_token(p)->kind != kind) return parser_expected(p, what);
    *text = p->lexer.token.text;
    p->lexer.token.text = NULL;
    status error = parser_next(p);
    if (error) {
        free(*text);
        *text = NULL;
    }
    return error;
}

status parser_integer(struct parser *p, int64_t least, int64_t most, int64_t *value) {
    if (parser_token(p)->kind != TOKEN_INTEGER) return parser_expected(p, "a whole number");
    *value = parser_token(p)->integer;
    if (*value < least || *value > most) {
        *p->at = parser_token(p)->at;
        return status_fail(STATUS_DATA, "%" PRId64 " is out of range: %" PRId64 " to %" PRId64, *value, least,
                           most);
    }
    return parser_next(p);
}

/* (3, 3, 1, 16), (16,), () */
status parser_shape(struct parser *p, int64_t least, struct shape *shape) {
    *shape = (struct shape){0};
    STATUS_TRY(parser_mark(p, '('));
    while (!token_is_mark(parser_token(p), ')')) {
        if (shape->rank == SHAPE_MAX_RANK) return parser_expected(p, "\")\": there are at most 8 axes");
        STATUS_TRY(parser_integer(p, least, INT32_MAX, &shape->dim[shape->rank]));
        shape->rank++;
        if (!token_is_mark(parser_token(p), ')')) STATUS_TRY(parser_mark(p, ','));
    }
    return parser_next(p);
}

/* [0 3 4]; *list is owned by the caller, on failure too. */
status parser_list(struct parser *p, int64_t **list, int64_t *n) {
    STATUS_TRY(parser_mark(p, '['));
    for (*n = 0; !token_is_mark(parser_token(p), ']'); (*n)++) {
        if (!(*n & (*n - 1))) {
            int64_t *grown = realloc(*list, (size_t)(*n ? *n * 2 : 1) * sizeof *grown);
            if (!grown) return status_no_memory("positions", (size_t)*n * 2 * sizeof *grown);
            *list = grown;
        }
        STATUS_TRY(parser_integer(p, 0, INT32_MAX, &(*list)[*n]));
    }
    return parser_next(p);
}

/* ---- names ---- */

static status find_layer(struct parser *p, const struct graph *graph, const char *name, struct position at,
                         int *layer) {
    *layer = graph_find_layer(graph, name);
    if (*layer >= 0) return SUCCESS;
    *p->at = at;
    const char *near = graph_nearest_layer(graph, NULL, name);
    return status_fail(STATUS_DATA, "there is no layer \"%.80s\"%s%.80s%s", name,
                       near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* "layer/weight", either of which may have a stroke in it. */
static status find_tensor(struct parser *p, const struct graph *graph, char *name, struct position at,
                          int *layer, int *weight) {
    char *last = NULL;
    for (char *stroke = strchr(name, '/'); stroke; stroke = strchr(stroke + 1, '/')) {
        last = stroke;
        *stroke = 0;
        *layer = graph_find_layer(graph, name);
        *stroke = '/';
        for (*weight = 0; *layer >= 0 && *weight < graph->layer[*layer].nweights; (*weight)++)
            if (!strcmp(graph->layer[*layer].weight[*weight].name, stroke + 1)) return SUCCESS;
    }
    *p->at = at;
    if (!last) return status_fail(STATUS_DATA, "\"%.80s\" is no \"layer/weight\"", name);
    *last = 0;
    STATUS_TRY(find_layer(p, graph, name, at, layer));
    const struct layer *l = &graph->layer[*layer];
    const char *names[LAYER_MAX_WEIGHTS];
    for (int i = 0; i < l->nweights; i++) names[i] = l->weight[i].name;
    const char *near = nearest_word(last + 1, names, l->nweights);
    if (!near && l->nweights) near = names[0];
    return status_fail(STATUS_DATA, "layer \"%.80s\" has no \"%.80s\"%s%s%s", l->name, last + 1,
                       near ? "; it has \"" : "", near ? near : "", near ? "\"" : "");
}

status parser_tensor(struct parser *p, const struct graph *graph, int *layer, int *weight) {
    struct position at = parser_token(p)->at;
    char *name = NULL;
    STATUS_TRY(parser_text(p, TOKEN_STRING, "\"layer/weight\"", &name));
    status error = find_tensor(p, graph, name, at, layer, weight);
    free(name);
    return error;
}

status parser_layer(struct parser *p, const struct graph *graph, int *layer) {
    struct position at = parser_token(p)->at;
    char *name = NULL;
    STATUS_TRY(parser_text(p, TOKEN_STRING, "the name of a layer", &name));
    status error = find_layer(p, graph, name, at, layer);
    free(name);
    return error;
}
