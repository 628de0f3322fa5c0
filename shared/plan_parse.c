/* A migration program from its text, by recursive descent; the grammar is in docs/program.md. */
#include "shared/plan_parser.h"
#include "shared/transform.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1

static const struct expr *find_refit(const struct expr *expr) {
    if (expr->transform == &transform_refit) return expr;
    const struct expr *found = NULL;
    for (int i = 0; i < expr->nargs && !found; i++) found = find_refit(expr->arg[i]);
    return found;
}

static status check_statement(struct parser *p, const struct plan_statement *s) {
    char a[SHAPE_TEXT_MAX], b[SHAPE_TEXT_MAX];
    *p->at = s->value->at;
    if (!shape_equal(&s->shape, &s->value->shape))
        return status_fail(STATUS_DATA, "this has shape %s, not %s", shape_format(&s->value->shape, a),
                           shape_format(&s->shape, b));
    const struct expr *start = plan_start(s);
    for (int i = 0; i < start->nargs; i++) {
        const struct expr *refit = find_refit(start->arg[i]);
        if (!refit) continue;
        *p->at = refit->at;
        return status_fail(STATUS_DATA,
                           "refit is the outermost transform of a statement but for cast and quantize");
    }
    return SUCCESS;
}

static status parse_statement(struct parser *p) {
    struct plan_statement s = {.slice = p->plan->nslices - 1, .residual = NAN, .at = parser_token(p)->at};
    STATUS_TRY(parser_tensor(p, p->target, &s.layer, &s.weight));
    STATUS_TRY(parser_shape(p, 1, &s.shape));
    STATUS_TRY(parser_mark(p, '='));
    STATUS_TRY(parser_expr(p, 1, &s.value));
    status error = check_statement(p, &s);
    if (!error) error = plan_add_statement(p->plan, &s);
    if (error) expr_destroy(&s.value);
    return error;
}

/* The first node after the last slice's that calls the layer. */
static status find_boundary(struct parser *p, int layer, struct position at) {
    int after = p->plan->nslices ? p->plan->slice_node[p->plan->nslices - 1] : -1, node = after + 1;
    while (node < p->target->nnodes && p->target->node[node].layer != layer) node++;
    if (node < p->target->nnodes) return plan_add_slice(p->plan, node);
    *p->at = at;
    return status_fail(STATUS_DATA, "layer \"%.80s\" does not come after the slice before",
                       p->target->layer[layer].name);
}

static status parse_slice(struct parser *p) {
    int64_t number;
    int layer;
    STATUS_TRY(parser_word(p, "slice"));
    STATUS_TRY(parser_integer(p, p->plan->nslices, p->plan->nslices, &number));
    struct position at = parser_token(p)->at;
    STATUS_TRY(parser_layer(p, p->target, &layer));
    STATUS_TRY(find_boundary(p, layer, at));
    STATUS_TRY(parser_mark(p, '{'));
    while (parser_token(p)->kind == TOKEN_STRING) STATUS_TRY(parse_statement(p));
    return token_is_mark(parser_token(p), '}') ? parser_next(p) : parser_expected(p, "a statement or \"}\"");
}

/* Ascending, of so many, each position repeated. */
static status check_keep(struct parser *p, const struct keep *k, int64_t nlisted, struct position at) {
    *p->at = k->at;
    if (k->n > k->of || k->n % k->repeat || k->of % k->repeat)
        return status_fail(STATUS_DATA, "%s cannot keep %" PRId64 " of %" PRId64 ", repeated %d times",
                           k->name, k->n, k->of, k->repeat);
    if (!k->index) return SUCCESS;
    *p->at = at;
    if (nlisted != k->n)
        return status_fail(STATUS_DATA, "%s keeps %" PRId64 " positions, and %" PRId64 " are listed", k->name,
                           k->n, nlisted);
    for (int64_t i = 0; i < k->n; i++) {
        int64_t first = k->index[i - i % k->repeat];
        if ((i && k->index[i] <= k->index[i - 1]) || k->index[i] >= k->of || first % k->repeat ||
            k->index[i] != first + i % k->repeat)
            return status_fail(STATUS_DATA, "position %" PRId64 " of %s: they ascend, below %" PRId64 "%s",
                               k->index[i], k->name, k->of, k->repeat > 1 ? ", and come in runs" : "");
    }
    return SUCCESS;
}

/* "conv2d", 16 of 32, repeat 2, [0 1 6 7]) */
static status parse_kept(struct parser *p, struct keep *k) {
    int64_t repeat = 1, nlisted = 0;
    int layer;
    k->at = parser_token(p)->at;
    STATUS_TRY(parser_layer(p, p->target, &layer));
    k->node = graph_layer_node(p->target, layer);
    STATUS_TRY(parser_mark(p, ','));
    STATUS_TRY(parser_integer(p, 1, INT32_MAX, &k->n));
    STATUS_TRY(parser_word(p, "of"));
    STATUS_TRY(parser_integer(p, 1, INT32_MAX, &k->of));
    if (token_is_mark(parser_token(p), ',') && token_is_word(&p->lexer.ahead, "repeat")) {
        STATUS_TRY(parser_next(p));
        STATUS_TRY(parser_next(p));
        STATUS_TRY(parser_integer(p, 1, INT32_MAX, &repeat));
    }
    k->repeat = (int)repeat;
    struct position at = parser_token(p)->at;
    if (token_is_mark(parser_token(p), ',')) {
        STATUS_TRY(parser_next(p));
        at = parser_token(p)->at;
        STATUS_TRY(parser_list(p, &k->index, &nlisted));
        k->given = true;
    }
    STATUS_TRY(check_keep(p, k, nlisted, at));
    return parser_mark(p, ')');
}

/* keep k0 = select(...) */
static status parse_keep(struct parser *p) {
    struct keep k = {0};
    int index;
    STATUS_TRY(parser_word(p, "keep"));
    if (parser_token(p)->kind == TOKEN_NAME && plan_find_keep(p->plan, parser_token(p)->text) >= 0)
        return parser_expected(p, "the name of a new keep list");
    status error = parser_text(p, TOKEN_NAME, "the name of a keep list", &k.name);
    if (!error) error = parser_mark(p, '=');
    if (!error) {
        k.inner = token_is_word(parser_token(p), "heads");
        k.selected = k.inner || token_is_word(parser_token(p), "select");
        error = k.selected || token_is_word(parser_token(p), "channels")
                    ? parser_next(p)
                    : parser_expected(p, "select, heads or channels");
    }
    if (!error) error = parser_mark(p, '(');
    if (!error) error = parse_kept(p, &k);
    if (!error) error = plan_add_keep(p->plan, &k, &index);
    if (error) {
        free(k.name);
        free(k.index);
    }
    return error;
}

static status parse_head(struct parser *p) {
    char *path = NULL, *digest = NULL, *name = NULL;
    int64_t version;
    status error;
    STATUS_TRY(parser_word(p, "plan"));
    STATUS_TRY(parser_integer(p, VERSION, VERSION, &version));
    STATUS_TRY(parser_word(p, "source"));
    STATUS_GOTO(error, done, parser_text(p, TOKEN_STRING, "the path of the source", &path));
    if (token_is_word(parser_token(p), "digest")) {
        STATUS_GOTO(error, done, parser_next(p));
        STATUS_GOTO(error, done, parser_text(p, TOKEN_DIGEST, "sha256:...", &digest));
    }
    STATUS_GOTO(error, done, parser_word(p, "target"));
    STATUS_GOTO(error, done, parser_text(p, TOKEN_STRING, "the target's name", &name));
    STATUS_GOTO(error, done, plan_create(p->source, p->target, path, digest, &p->plan));
    free(p->plan->target_name);
    p->plan->target_name = name;
    name = NULL;
done:
    free(path);
    free(digest);
    free(name);
    return error;
}

/* bypass "add_3" */
static status parse_bypassed(struct parser *p) {
    char *name = NULL;
    STATUS_TRY(parser_word(p, "bypass"));
    STATUS_TRY(parser_text(p, TOKEN_STRING, "the name of an Add", &name));
    status error = plan_add_bypassed(p->plan, name);
    free(name);
    return error;
}

/* factor "conv_3" 12 */
static status parse_factored(struct parser *p) {
    char *layer = NULL;
    int64_t rank;
    STATUS_TRY(parser_word(p, "factor"));
    STATUS_TRY(parser_text(p, TOKEN_STRING, "the name of a layer", &layer));
    status error = parser_integer(p, 1, INT32_MAX, &rank);
    if (!error) error = plan_add_factored(p->plan, layer, rank);
    free(layer);
    return error;
}

static status parse_program(struct parser *p) {
    STATUS_TRY(parse_head(p));
    while (token_is_word(parser_token(p), "bypass")) STATUS_TRY(parse_bypassed(p));
    while (token_is_word(parser_token(p), "factor")) STATUS_TRY(parse_factored(p));
    while (token_is_word(parser_token(p), "keep")) STATUS_TRY(parse_keep(p));
    while (token_is_word(parser_token(p), "slice")) STATUS_TRY(parse_slice(p));
    if (parser_token(p)->kind != TOKEN_END)
        return parser_expected(p, p->plan->nslices ? "slice" : "keep or slice");
    return p->plan->nslices ? SUCCESS : parser_expected(p, "slice");
}

/* They stand before the first keep list and the first slice. */
static status find_edits(struct parser *p) {
    const struct token *token = parser_token(p);
    while (token->kind != TOKEN_END && !token_is_word(token, "keep") && !token_is_word(token, "slice"))
        STATUS_TRY(token_is_word(token, "bypass")   ? parse_bypassed(p)
                   : token_is_word(token, "factor") ? parse_factored(p)
                                                    : parser_next(p));
    return SUCCESS;
}

status plan_parse_edits(const char *text, size_t length, struct plan_edits *edits, struct position *at) {
    struct plan plan = {0}; /* takes them */
    struct parser p = {.at = at, .plan = &plan};
    *at = (struct position){0};
    status error = lexer_begin(&p.lexer, text, length, at);
    if (!error) error = find_edits(&p);
    lexer_end(&p.lexer);
    *edits = (struct plan_edits){plan.nbypassed, plan.nfactored, plan.bypassed, plan.factored};
    if (error) plan_edits_free(edits);
    else *at = (struct position){0};
    return error;
}

status plan_parse(const char *text, size_t length, const struct graph *source, const struct graph *target,
                  struct plan **plan, struct position *at) {
    struct parser p = {.at = at, .source = source, .target = target};
    *at = (struct position){0};
    status error = lexer_begin(&p.lexer, text, length, at);
    if (!error) error = parse_program(&p);
    lexer_end(&p.lexer);
    if (error) plan_destroy(&p.plan);
    else {
        *plan = p.plan;
        *at = (struct position){0};
    }
    return error;
}
