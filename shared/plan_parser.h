/* The parser of migration programs: what plan_parse.c, plan_parse_expr.c and plan_words.c share. Internal to
 * shared/plan*.c. All give a DATA error for what is not there, whose place in the text is in *parser->at. */
#ifndef GODWIT_SHARED_PLAN_PARSER_H
#define GODWIT_SHARED_PLAN_PARSER_H

#include "shared/plan_lexer.h"

struct parser {
    struct lexer lexer;
    struct position *at; /* of the error, if there is one */
    const struct graph *source, *target;
    struct plan *plan;
};

/* ---- words: each takes what it is named after ---- */

const struct token *parser_token(const struct parser *p); /* the word at hand */
status parser_next(struct parser *p) STATUS_MUST_USE;
status parser_expected(struct parser *p, const char *what) STATUS_MUST_USE; /* the error */
bool token_is_mark(const struct token *t, char mark);
bool token_is_word(const struct token *t, const char *word);
status parser_mark(struct parser *p, char mark) STATUS_MUST_USE;
status parser_word(struct parser *p, const char *word) STATUS_MUST_USE;
/* The text of a name or a string; owned by the caller. */
status parser_text(struct parser *p, enum token_kind kind, const char *what, char **text) STATUS_MUST_USE;
status parser_integer(struct parser *p, int64_t least, int64_t most, int64_t *value) STATUS_MUST_USE;
/* (3, 3, 1, 16), (16,), () of dimensions not less than `least`. */
status parser_shape(struct parser *p, int64_t least, struct shape *shape) STATUS_MUST_USE;
/* [0 3 4]; *list is owned by the caller, on failure too. */
status parser_list(struct parser *p, int64_t **list, int64_t *n) STATUS_MUST_USE;
/* "layer/weight" and "layer" of a graph. */
status parser_tensor(struct parser *p, const struct graph *graph, int *layer, int *weight) STATUS_MUST_USE;
status parser_layer(struct parser *p, const struct graph *graph, int *layer) STATUS_MUST_USE;

/* ---- expressions ---- */

int plan_find_keep(const struct plan *plan, const char *name); /* -1 if there is none */
/* Checked; owned by the caller. `depth`: in how many others it is. */
status parser_expr(struct parser *p, int depth, struct expr **expr) STATUS_MUST_USE;

#endif
