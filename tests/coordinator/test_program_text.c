/* Programs as text: printed and parsed they are the same, for many graphs and widths, chosen or not; errors
 * have a place; ten thousand edited programs are refused with a place or run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>

#include "io/io_testing.h"

#include "coordinator/program.h"
#include "graph_build.h"
#include "io/file.h"
#include "io/keras.h"
#include "shared/evaluation.h"
#include "shared/rng.h"
#include "shared/transform.h"
#include "worker/decomposition.h"

#include "coordinator/source_nets.h"

#define EDITS 10000

/* Programs have widths of their own. */
static const struct target_config any_width = {.width = 0.9};

/* Not inlined: the compiler would see dangling pointers where a failing check may jump. */
__attribute__((noinline)) static char *printed(const struct compiled *c) {
    char *text = NULL;
    build_ok(plan_print(c->plan, &text));
    return text;
}

static char *topology(const struct graph *g) {
    char *text = NULL;
    build_ok(keras_graph_to_json(g, &text));
    return text;
}

static struct graph *source_of(int net) {
    struct graph *g = nets[net].build();
    build_ok(graph_infer(g));
    return g;
}

static struct compiled *compiled_as(const struct graph *g, const struct target_config *config) {
    struct compiled *c = NULL;
    build_ok(compile_target(g, "source.h5", "sha256:0123", config, "small", &c));
    return c;
}

static struct compiled *compiled_to(const struct graph *g, double width) {
    return compiled_as(g, &(struct target_config){.width = width});
}

/* Chooses the last classes of every group. */
static void choose_last(struct compiled *c) {
    int groups = channel_map_groups(c->map);
    int64_t **chosen = calloc((size_t)groups + 1, sizeof *chosen);
    assert_non_null(chosen);
    for (int g = 0; g < groups; g++) {
        int width = channel_map_width(c->map, g);
        chosen[g] = calloc((size_t)width + 1, sizeof **chosen);
        for (int i = 0; i < c->kept[g]; i++) chosen[g][i] = width - c->kept[g] + i;
    }
    build_ok(compile_choose(c, chosen));
    for (int g = 0; g < groups; g++) free(chosen[g]);
    free(chosen);
}

static void same_again(const struct graph *g, struct compiled *c, const struct target_config *config,
                       const char *what) {
    struct compiled *again = NULL;
    struct position at;
    c->plan->statement[0].residual = 0.25; /* a comment */
    char *commented = printed(c);
    c->plan->statement[0].residual = NAN;
    char *text = printed(c);
    assert_non_null(strstr(commented, "# residual 0.25"));
    status error = compile_program(g, "source.h5", "sha256:0123", commented, config, "small", &again, &at);
    if (error) fail_msg("%s: %d:%d: %s\n%s", what, at.line, at.column, status_message(error), text);
    char *second = printed(again), *target = topology(c->target), *target_again = topology(again->target);
    assert_string_equal(text, second);
    assert_string_equal(target, target_again);
    for (int group = 0; group < channel_map_groups(c->map); group++)
        if (c->kept[group] != again->kept[group])
            fail_msg("%s: group %d keeps %d, not %d", what, group, again->kept[group], c->kept[group]);
    assert_int_equal(again->whole->nstatements, c->whole->nstatements);
    free(commented);
    free(text);
    free(second);
    free(target);
    free(target_again);
    compiled_destroy(&again);
}

static void test_printed_and_parsed(void **state) {
    (void)state;
    static char bytes[] = "int8", affine[] = "int8_affine", half[] = "bfloat16", all[] = "* SeparableConv2D",
                all1d[] = "* SeparableConv1D";
    static char *separable[] = {all, all1d};
    static const struct target_config configs[] = {{.width = 1},
                                                   {.width = 0.75},
                                                   {.width = 0.5},
                                                   {.width = 0.3},
                                                   {.width = 0.01},
                                                   {.width = 1, .rank = 0.4},
                                                   {.width = 0.5, .rank = 0.25, .precision = bytes},
                                                   {.width = 0.6, .precision = half},
                                                   {.width = 1, .precision = affine},
                                                   {.width = 0.7, .replace = separable, .nreplace = 2}};
    for (int i = 0; i < NNETS; i++)
        for (size_t k = 0; k < sizeof configs / sizeof *configs; k++) {
            struct graph *g = source_of(i);
            struct compiled *c = compiled_as(g, &configs[k]);
            struct target_config other = configs[k];
            other.width = 0.9; /* widths are the program's */
            same_again(g, c, &other, nets[i].name);
            choose_last(c);
            same_again(g, c, &other, nets[i].name);
            compiled_destroy(&c);
            graph_destroy(&g);
        }
}

/* What was chosen is not chosen again; what was not is. */
static void test_chosen_channels_stay(void **state) {
    (void)state;
    struct graph *g = source_of(0);
    struct compiled *c = compiled_to(g, 0.5), *again = NULL;
    struct position at;
    char *text = printed(c);
    build_ok(compile_program(g, "source.h5", NULL, text, &any_width, "small", &again, &at));
    assert_false(compile_is_given(again));
    compiled_destroy(&again);
    free(text);
    choose_last(c);
    text = printed(c);
    build_ok(compile_program(g, "source.h5", NULL, text, &any_width, "small", &again, &at));
    assert_true(compile_is_given(again));
    int64_t **chosen = calloc((size_t)channel_map_groups(again->map) + 1, sizeof *chosen);
    build_ok(compile_given(again, chosen));
    build_ok(compile_choose(again, chosen));
    char *second = printed(again);
    assert_string_equal(text, second);
    for (int i = 0; i < channel_map_groups(again->map); i++) free(chosen[i]);
    free(chosen);
    free(second);
    free(text);
    compiled_destroy(&again);
    compiled_destroy(&c);
    graph_destroy(&g);
}

/* The text with the first `from` in it replaced; owned. */
__attribute__((noinline)) static char *replaced(const char *text, const char *from, const char *to) {
    char *edited = NULL;
    const char *found = strstr(text, from);
    if (!found) fail_msg("there is no %s in\n%s", from, text);
    assert_true(asprintf(&edited, "%.*s%s%s", (int)(found - text), text, to, found + strlen(from)) > 0);
    return edited;
}

/* The positions of all lists that are channels(). */
static void take_out_lists(char *text) {
    for (char *at = text; (at = strstr(at, " = channels(")); at++) {
        char *list = strstr(at, ", ["), *end = strstr(at, "])");
        assert_true(list && end);
        memmove(list, end + 1, strlen(end + 1) + 1);
    }
}

/* A person selects another channel of c2 and forgets the lists of what is made of them. */
static void test_lists_agree(void **state) {
    (void)state;
    int net = 0;
    while (strcmp(nets[net].name, "depthwise") != 0) net++;
    struct graph *g = source_of(net);
    struct compiled *c = compiled_to(g, 0.5);
    choose_last(c);
    char *text = printed(c);
    for (int edits = 0; edits < 3; edits++) {
        struct compiled *again = NULL;
        struct position at;
        char *edited = replaced(text, "select(\"c2\", 2 of 4, [2 3])",
                                edits ? "select(\"c2\", 2 of 4, [1 3])" : "select(\"c2\", 2 of 4, [2 3])");
        if (edits > 1) take_out_lists(edited);
        build_ok(compile_program(g, "source.h5", NULL, edited, &any_width, "small", &again, &at));
        int64_t **chosen = calloc((size_t)channel_map_groups(again->map) + 1, sizeof *chosen);
        build_ok(compile_given(again, chosen));
        status error = compile_choose(again, chosen);
        if (edits == 1) build_refused(error, STATUS_DATA, "than the channels selected elsewhere leave");
        else build_ok(error);
        for (int i = 0; i < channel_map_groups(again->map); i++) free(chosen[i]);
        free(chosen);
        compiled_destroy(&again);
        free(edited);
    }
    free(text);
    compiled_destroy(&c);
    graph_destroy(&g);
}

/* One word of a program replaced: the place and the message of the error. */
static void test_places_of_errors(void **state) {
    (void)state;
    static const struct {
        const char *from, *to;
        const char *at; /* a text that begins at the place, in the edited program */
        const char *message;
    } cases[] = {
        {"plan 1", "plan 2", "2\nsource", "2 is out of range"},
        {"target \"small\"", "target small", "small\n", "expected the target's name, not small"},
        {"keep k1", "keep k0", "k0 = select(\"c2\"", "expected the name of a new keep list"},
        {"select(\"c1\", 3 of 6)", "select(\"c1\", 7 of 6)", "\"c1\", 7", "k0 cannot keep 7 of 6"},
        {"select(\"c1\", 3 of 6)", "select(\"c1\", 3 of 5)", "k0])\n  \"c1/bias",
         "k0 keeps of 5 positions, but axis 3 has 6"},
        {"keep k0", "keep k9 = select(\"d2\", 3 of 5)\nkeep k0", "\"d2\", 3", "they are kept whole"},
        {"keep k0", "keep k9 = channels(\"d2\", 3 of 7)\nkeep k0", "\"d2\", 3",
         "\"d2\" has 5 channels, not 7"},
        {"keep k0", "keep k9 = heads(\"d2\", 3 of 5)\nkeep k0", "\"d2\", 3", "\"d2\" has 0 heads, not 5"},
        {"select(\"c1\", 3 of 6)", "select(\"c1\", 3 of 6, [0 1])", "[0 1]", "3 positions, and 2 are listed"},
        {"select(\"c1\", 3 of 6)", "select(\"c1\", 3 of 6, [0 2 2])", "[0 2 2]",
         "position 2 of k0: they ascend"},
        {"select(\"c1\", 3 of 6)", "choose(\"c1\", 3 of 6)", "choose",
         "expected select, heads or channels, not choose"},
        {"slice 0", "slice 1", "1 \"r1\"", "1 is out of range"},
        {"slice 1 \"pool\"", "slice 1 \"r1\"", "\"r1\" {\n  \"c2", "does not come after the slice before"},
        {"(3, 3, 3, 3)", "(3, 3, 3, 4)", "refit(fold_bn(source[\"c1", "this has shape (3, 3, 3, 3), not"},
        {"[:, :, :, k0]", "[:, :, :, 0:2]", "refit(fold_bn(source[\"c1", "this has shape (3, 3, 3, 2), not"},
        {"\"c1/bias\" (3,)", "\"c1/kernel\" (3,)", "\"c1/kernel\" (3,)", "\"c1/kernel\" has two statements"},
        {"  \"d2/bias\" (5,) = refit(source[\"d2/bias\"])\n", "", NULL,
         "\"d2/bias\" of the target has no statement"},
        {"}\n", "", "slice 1", "expected a statement or \"}\", not slice"},
        {"= refit", "@ refit", "@ refit", "\"@\" means nothing here"},
        {"digest sha256:0123", "digest sha256:4567", NULL, "made for another source"},
    };
    struct graph *g = source_of(0);
    struct compiled *c = compiled_to(g, 0.5);
    char *text = printed(c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct compiled *again = NULL;
        struct position at;
        char *edited = replaced(text, cases[i].from, cases[i].to);
        status error =
            compile_program(g, "source.h5", "sha256:0123", edited, &any_width, "small", &again, &at);
        struct position wanted = {0};
        const char *place = cases[i].at ? strstr(edited, cases[i].at) : NULL;
        if (place) {
            wanted = (struct position){1, 1};
            for (const char *p = edited; p < place; p++) {
                wanted.column = *p == '\n' ? 1 : wanted.column + 1;
                wanted.line += *p == '\n';
            }
        }
        if (status_code(error) != STATUS_DATA || !strstr(status_message(error), cases[i].message) ||
            at.line != wanted.line || at.column != wanted.column)
            fail_msg("%s: %d:%d: \"%s\", not %d:%d: \"%s\"", cases[i].to, at.line, at.column,
                     status_message(error), wanted.line, wanted.column, cases[i].message);
        assert_null(again);
        status_drop(&error);
        free(edited);
    }
    free(text);
    compiled_destroy(&c);
    graph_destroy(&g);
}

/* Texts that end too early, at every byte. */
static void test_cut_off(void **state) {
    (void)state;
    struct graph *g = source_of(0);
    struct compiled *c = compiled_to(g, 0.5);
    char *text = printed(c);
    for (size_t n = strlen(text) - 2; n > 0; n--) {
        struct plan *plan = NULL;
        struct position at;
        status error = plan_parse(text, n, g, c->fold->graph, &plan, &at);
        /* the last slices may be missing: plan_check() finds it */
        if (error ? status_code(error) != STATUS_DATA || at.line < 1
                  : text[n - 1] != '\n' && text[n - 1] != '}')
            fail_msg("at %zu: %d:%d: %s", n, at.line, at.column, status_message(error));
        status_drop(&error);
        plan_destroy(&plan);
    }
    free(text);
    compiled_destroy(&c);
    graph_destroy(&g);
}

static void test_excerpt(void **state) {
    (void)state;
    static const char text[] = "one\ntwo three\n\tlast";
    static const struct {
        struct position at;
        const char *excerpt;
    } cases[] = {
        {{1, 1}, "one\n^"},    {{2, 5}, "two three\n    ^"},
        {{3, 2}, " last\n ^"}, {{3, 6}, " last\n     ^"},
        {{0, 0}, NULL},        {{9, 1}, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *excerpt = plan_excerpt(text, sizeof text - 1, cases[i].at);
        if (!cases[i].excerpt) assert_null(excerpt);
        else assert_string_equal(excerpt, cases[i].excerpt);
        free(excerpt);
    }
}

/* ---- edits ---- */

static struct rng rng;

static status any_numbers(void *context, int layer, int weight, int64_t first, int64_t n, float *out) {
    const struct graph *g = context;
    int64_t rows, columns;
    shape_rows(&g->layer[layer].weight[weight].shape, &rows, &columns);
    if (first < 0 || n < 0 || first + n > rows)
        return status_fail(STATUS_INTERNAL, "rows that are not there");
    for (int64_t i = 0; i < n * columns; i++) out[i] = (float)((first * columns + i) % 13) + 1;
    return SUCCESS;
}

static status decompose(void *context, int64_t m, int64_t n, double *a, double *u, double *s, double *vt) {
    (void)context;
    return singular_values(m, n, a, u, s, vt);
}

/* Evaluates all statements, and finds the channels that refitting needs. */
static void run_program(const struct graph *g, struct compiled *c) {
    struct evaluation *evaluation = NULL;
    struct evaluation_sources sources = {
        .context = (void *)(uintptr_t)g, .read = any_numbers, .svd = decompose};
    int64_t **chosen = calloc((size_t)channel_map_groups(c->map) + 1, sizeof *chosen);
    build_ok(compile_given(c, chosen));
    status error = compile_choose(c, chosen);
    bool uneven = status_code(error) == STATUS_UNSUPPORTED || status_code(error) == STATUS_DATA;
    if (!uneven) build_ok(error);
    status_drop(&error);
    build_ok(evaluation_create(c->plan, &sources, &evaluation));
    for (int i = 0; i < c->plan->nstatements && !uneven; i++) {
        const struct plan_statement *s = &c->plan->statement[i];
        int64_t rows, columns, *position;
        shape_rows(&s->shape, &rows, &columns);
        float *values = malloc((size_t)(rows * columns) * sizeof *values);
        error = evaluation_rows(evaluation, s->value, 0, rows, values);
        if (error && status_code(error) != STATUS_DATA) fail_msg("%s", status_message(error));
        status_drop(&error);
        for (int axis = 0; axis < s->shape.rank; axis++) {
            position = NULL;
            error = plan_positions(c->plan, s, axis, &position);
            status_drop(&error);
            free(position);
        }
        free(values);
        evaluation_forget(evaluation);
    }
    evaluation_destroy(&evaluation);
    for (int i = 0; i < channel_map_groups(c->map); i++) free(chosen[i]);
    free(chosen);
}

/* A piece of the program, or of the language. */
static void pick_piece(const char *text, char *piece, size_t size) {
    static const char *const pieces[] = {"transpose(",
                                         "reshape(",
                                         "heads(",
                                         "concat(",
                                         "normalize(",
                                         "scale(",
                                         "offset(",
                                         "cast(",
                                         "quantize(",
                                         "low_rank(",
                                         "init(",
                                         "refit(",
                                         "fold_bn(",
                                         "source[",
                                         "(1, 0)",
                                         "(3, 2, 0, 1)",
                                         "axis 0",
                                         "axis -1",
                                         ", mean",
                                         ", int8",
                                         ", 2",
                                         ", 0.5",
                                         ", bfloat16",
                                         ")",
                                         "]",
                                         "[:, :]",
                                         "[0:2]",
                                         "[[0 1]]",
                                         ", [0 1 2]",
                                         "(",
                                         "[",
                                         "{",
                                         "}",
                                         "0",
                                         "1",
                                         "99999999",
                                         "-1",
                                         "1e300",
                                         "\"",
                                         "#",
                                         "\n",
                                         "k0",
                                         "k1",
                                         ":",
                                         "repeat 2",
                                         "of",
                                         "select",
                                         "channels",
                                         "\\",
                                         "scale(source[\"c1/kernel\"], 2)",
                                         "transpose(source[\"d1/kernel\"], (1, 0))",
                                         "low_rank(source[\"d1/kernel\"], 2)",
                                         "normalize(source[\"d2/kernel\"], std, axis 0)",
                                         "quantize(source[\"c2/kernel\"], int8, axis 3)",
                                         "concat(source[\"d2/bias\"], source[\"d2/bias\"], axis 0)",
                                         "reshape(source[\"d2/kernel\"], (10, 5))",
                                         "init(he_normal, (5,))"};
    size_t length = strlen(text);
    if (rng_below(&rng, 2)) {
        snprintf(piece, size, "%s", pieces[rng_below(&rng, sizeof pieces / sizeof *pieces)]);
    } else {
        size_t n = rng_below(&rng, size - 1), from = rng_below(&rng, length);
        snprintf(piece, size, "%.*s", (int)n, text + from);
    }
}

/* Puts a transform around an expression that begins at a random place. */
static char *wrap(const char *text) {
    static const char *const wraps[][2] = {{"scale(", ", -0.5)"},       {"offset(", ", 1e-3)"},
                                           {"cast(", ", bfloat16)"},    {"quantize(", ", int8, axis -1)"},
                                           {"normalize(", ", mean)"},   {"normalize(", ", absmax, axis 0)"},
                                           {"low_rank(", ", 1)"},       {"concat(", ", axis 0)"},
                                           {"transpose(", ", (0, 1))"}, {"reshape(", ", (6,))"}};
    const char *const *w = wraps[rng_below(&rng, sizeof wraps / sizeof *wraps)];
    char *wrapped = NULL;
    const char *from = strstr(text + rng_below(&rng, strlen(text)), "source[");
    if (!from) from = strstr(text, "source[");
    size_t n = strcspn(from, "]") + 1;
    assert_true(asprintf(&wrapped, "%.*s%s%.*s%s%s", (int)(from - text), text, w[0], (int)n, from, w[1],
                         from + n) > 0);
    return wrapped;
}

/* Replaces a run at a random place by a piece: a bit of a text, a word, or a whole bracketed part. */
static char *edit(const char *text) {
    if (rng_below(&rng, 4) == 0) return wrap(text);
    char piece[64], *edited = NULL;
    size_t length = strlen(text), from = rng_below(&rng, length), n = rng_below(&rng, 12);
    switch (rng_below(&rng, 4)) {
    case 0: /* from one bracket to the next */
        while (from < length && !strchr("([", text[from])) from++;
        n = strcspn(text + from, ")]") + 1;
        break;
    case 1: /* a number or a name */
        while (from < length && strchr(" ()[],:\n\"", text[from])) from++;
        n = strcspn(text + from, " ()[],:\n\"");
        break;
    case 2: /* an expression */
        while (from < length && strncmp(text + from, "source[", 7) != 0) from++;
        n = strcspn(text + from, "]") + 1;
        break;
    default:
        break;
    }
    pick_piece(text, piece, rng_below(&rng, 2) ? sizeof piece : 8);
    if (from + n > length) n = length - from;
    assert_true(asprintf(&edited, "%.*s%s%s", (int)from, text, piece, text + from + n) > 0);
    return edited;
}

static void test_edits(void **state) {
    (void)state;
    int ran = 0, refused = 0;
    rng = rng_make(5, 1, 1);
    for (int i = 0; i < NNETS; i++) {
        struct graph *g = source_of(i);
        struct compiled *c = compiled_to(g, 0.5);
        choose_last(c);
        char *text = printed(c);
        for (int k = 0; k < EDITS / NNETS + 1; k++) {
            char *edited = edit(text);
            struct compiled *again = NULL;
            struct position at = {-1, -1};
            if (rng_below(&rng, 4) == 0) {
                char *once = edited;
                edited = edit(once);
                free(once);
            }
            status error = compile_program(g, "source.h5", NULL, edited, &any_width, "small", &again, &at);
            enum status_code code = status_code(error);
            if (error && code != STATUS_DATA && code != STATUS_UNSUPPORTED)
                fail_msg("%s\n%s", status_message(error), edited);
            if (error && at.line == 0 && !strstr(status_message(error), "has no statement") &&
                !strstr(status_message(error), "layer \""))
                fail_msg("%s has no place\n%s", status_message(error), edited);
            if (error) refused++;
            else run_program(g, again), ran++;
            status_drop(&error);
            compiled_destroy(&again);
            free(edited);
        }
        free(text);
        compiled_destroy(&c);
        graph_destroy(&g);
    }
    print_message("%d edited programs were refused, %d ran\n", refused, ran);
    assert_true(ran > EDITS / 100 && refused > EDITS / 100);
}

/* What `godwit help program` prints is what docs/program.md has. */
static void test_documentation(void **state) {
    (void)state;
    char *text = NULL, *documented = NULL;
    build_ok(program_describe(&text));
    build_ok(file_read_text(GODWIT_SOURCE_DIR "/docs/program.md", 1 << 20, &documented));
    if (!strstr(documented, text)) fail_msg("docs/program.md is not what godwit help program prints");
    free(text);
    free(documented);
}

int main(int argc, char **argv) {
    struct comm *world = NULL;
    status error = comm_start(&argc, &argv, &world);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_printed_and_parsed),
        cmocka_unit_test(test_chosen_channels_stay),
        cmocka_unit_test(test_places_of_errors),
        cmocka_unit_test(test_excerpt),
        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_lists_agree),
        cmocka_unit_test(test_edits),
        cmocka_unit_test(test_documentation),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_stop(&world);
    return failed;
}
