#include "shared/plan_lexer.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NUMBER 64 /* characters */

static bool is_letter(char c) {
    return isalpha((unsigned char)c) || c == '_';
}

static bool is_digit(char c) {
    return isdigit((unsigned char)c) != 0;
}

static void advance(struct lexer *lexer) {
    if (*lexer->next++ == '\n') lexer->at = (struct position){lexer->at.line + 1, 1};
    else lexer->at.column++;
}

static bool more(const struct lexer *lexer) {
    return lexer->next < lexer->end;
}

/* White space, and comments: from # to the end of the line. */
static void skip(struct lexer *lexer) {
    bool comment = false;
    for (; more(lexer) && (comment || strchr(" \t\r\n#", *lexer->next)) && *lexer->next; advance(lexer))
        comment = *lexer->next != '\n' && (comment || *lexer->next == '#');
}

static status take_text(struct token *token, const char *from, size_t n) {
    token->text = strndup(from, n);
    return token->text ? SUCCESS : status_no_memory("a word", n);
}

static status read_name(struct lexer *lexer, struct token *token) {
    const char *from = lexer->next;
    token->kind = TOKEN_NAME;
    while (more(lexer) && (is_letter(*lexer->next) || is_digit(*lexer->next))) advance(lexer);
    if (more(lexer) && *lexer->next == ':' && lexer->next - from == 6 && !strncmp(from, "sha256", 6)) {
        token->kind = TOKEN_DIGEST;
        advance(lexer);
        while (more(lexer) && (is_letter(*lexer->next) || is_digit(*lexer->next))) advance(lexer);
    }
    return take_text(token, from, (size_t)(lexer->next - from));
}

static status read_string(struct lexer *lexer, struct token *token) {
    size_t n = 0;
    token->kind = TOKEN_STRING;
    advance(lexer);
    const char *from = lexer->next;
    bool escaped = false;
    for (; more(lexer) && (escaped || *lexer->next != '"') && *lexer->next; advance(lexer))
        escaped = !escaped && *lexer->next == '\\';
    if (!more(lexer) || !*lexer->next) return status_fail(STATUS_DATA, "a quotation mark is missing");
    STATUS_TRY(take_text(token, from, (size_t)(lexer->next - from)));
    for (const char *c = token->text; *c; c++) {
        if (*c == '\\') c++;
        token->text[n++] = *c;
    }
    token->text[n] = 0;
    advance(lexer);
    return SUCCESS;
}

static status read_number(struct lexer *lexer, struct token *token) {
    char text[MAX_NUMBER + 1], *end;
    size_t n = 0;
    bool whole = true;
    for (; more(lexer) && n < MAX_NUMBER; advance(lexer), n++) {
        char c = *lexer->next;
        bool exponent = n > 0 && (text[n - 1] == 'e' || text[n - 1] == 'E');
        if (!is_digit(c) && !(c == '-' && (n == 0 || exponent)) && !(c == '+' && exponent) && c != '.' &&
            c != 'e' && c != 'E')
            break;
        text[n] = c;
        whole = whole && (is_digit(c) || c == '-');
    }
    text[n] = 0;
    token->kind = whole ? TOKEN_INTEGER : TOKEN_NUMBER;
    token->number = strtod(text, &end);
    bool good = end == text + n && n > 0 && !(more(lexer) && is_letter(*lexer->next));
    errno = 0;
    if (whole) token->integer = strtoll(text, NULL, 10);
    if (good && errno == 0 && token->number - token->number == 0) return SUCCESS;
    return status_fail(STATUS_DATA, "\"%s\" is no number", text);
}

static status read_token(struct lexer *lexer, struct token *token, struct position *at) {
    skip(lexer);
    *token = (struct token){.kind = TOKEN_END, .at = lexer->at};
    if (!more(lexer)) return SUCCESS;
    *at = lexer->at;
    char c = *lexer->next;
    if (is_letter(c)) return read_name(lexer, token);
    if (c == '"') return read_string(lexer, token);
    if (is_digit(c) || c == '-') return read_number(lexer, token);
    if (!c || !strchr("()[]{},:=", c))
        return isprint((unsigned char)c)
                   ? status_fail(STATUS_DATA, "\"%c\" means nothing here", c)
                   : status_fail(STATUS_DATA, "the character 0x%02x means nothing here", (unsigned char)c);
    token->kind = TOKEN_MARK;
    token->mark = c;
    advance(lexer);
    return SUCCESS;
}

status lexer_begin(struct lexer *lexer, const char *text, size_t length, struct position *at) {
    *lexer = (struct lexer){.next = text, .end = text + length, .at = {1, 1}};
    STATUS_TRY(read_token(lexer, &lexer->token, at));
    return read_token(lexer, &lexer->ahead, at);
}

status lexer_next(struct lexer *lexer, struct position *at) {
    free(lexer->token.text);
    lexer->token = lexer->ahead;
    lexer->ahead = (struct token){.at = lexer->at};
    if (lexer->token.kind == TOKEN_END) return SUCCESS;
    return read_token(lexer, &lexer->ahead, at);
}

void lexer_end(struct lexer *lexer) {
    free(lexer->token.text);
    free(lexer->ahead.text);
    lexer->token.text = lexer->ahead.text = NULL;
}

const char *token_describe(const struct token *token, char *text) {
    switch (token->kind) {
    case TOKEN_END:
        snprintf(text, 64, "the end");
        break;
    case TOKEN_STRING:
        snprintf(text, 64, "\"%.40s\"", token->text);
        break;
    case TOKEN_NAME:
    case TOKEN_DIGEST:
        snprintf(text, 64, "%.40s", token->text);
        break;
    case TOKEN_INTEGER:
    case TOKEN_NUMBER:
        snprintf(text, 64, "%.17g", token->number);
        break;
    case TOKEN_MARK:
        snprintf(text, 64, "%c", token->mark);
        break;
    }
    return text;
}

char *plan_excerpt(const char *text, size_t length, struct position at) {
    char *excerpt = NULL;
    if (at.line < 1 || at.column < 1) return NULL;
    const char *line = text, *end = text + length;
    for (int i = 1; i < at.line && line; i++) {
        line = memchr(line, '\n', (size_t)(end - line));
        if (line) line++;
    }
    if (!line) return NULL;
    const char *stop = memchr(line, '\n', (size_t)(end - line));
    if (!stop) stop = end;
    /* Of a long line (a list of positions) what is around the place. */
    enum { BEFORE = 60, AFTER = 40 };
    int from = at.column - 1 > BEFORE ? at.column - 1 - BEFORE : 0, n = (int)(stop - line) - from;
    if (n < 0) return NULL;
    if (n > BEFORE + AFTER) n = BEFORE + AFTER;
    if (asprintf(&excerpt, "%.*s\n%*s^", n, line + from, at.column - 1 - from, "") < 0) return NULL;
    for (char *c = excerpt; *c && *c != '\n'; c++)
        if (!isprint((unsigned char)*c)) *c = ' ';
    return excerpt;
}
