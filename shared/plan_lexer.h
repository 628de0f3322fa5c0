/* Words of a migration program's text. Internal to shared/plan*.c. */
#ifndef GODWIT_SHARED_PLAN_LEXER_H
#define GODWIT_SHARED_PLAN_LEXER_H

#include "shared/plan.h"

enum token_kind {
    TOKEN_END,
    TOKEN_NAME,    /* letters, digits and _, not beginning with a digit */
    TOKEN_STRING,  /* "a \"name\""; without quotation marks and escapes in `text` */
    TOKEN_INTEGER, /* -12 */
    TOKEN_NUMBER,  /* 0.5, 1e-3 */
    TOKEN_DIGEST,  /* sha256:8f0c */
    TOKEN_MARK     /* one of ( ) [ ] { } , : = */
};

struct token {
    enum token_kind kind;
    struct position at;
    char *text;      /* owned: of NAME, STRING, DIGEST */
    int64_t integer; /* of INTEGER */
    double number;   /* of INTEGER and NUMBER */
    char mark;       /* of MARK */
};

/* The word at hand and the one after it. */
struct lexer {
    const char *next, *end;
    struct position at; /* of `next` */
    struct token token, ahead;
};

/* Begins; afterwards token is the first word. DATA error for what is no word, with its position in *at. */
status lexer_begin(struct lexer *lexer, const char *text, size_t length, struct position *at) STATUS_MUST_USE;
status lexer_next(struct lexer *lexer, struct position *at) STATUS_MUST_USE;
void lexer_end(struct lexer *lexer);

/* The word as an error message shows it: "(", "a name", at most a few characters; in text[64], which it
 * returns. */
const char *token_describe(const struct token *token, char *text);

#endif
