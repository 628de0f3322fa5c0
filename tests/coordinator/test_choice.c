/* The choice among several targets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "coordinator/choice.h"

static char automatic[] = "auto", accuracy[] = "accuracy", params[] = "params", flops[] = "flops",
            latency[] = "latency";

/* The source has 1000 parameters, 10 MFLOP, and takes 1 ms. */
#define SOURCE                                                                                               \
    { 1000, 10e6, 0.95, 0.001 }

static const struct report_target targets[] = {
    {"wide", {.source = SOURCE, .target = {800, 8e6, 0.94, 0.0009}, .agreement = 0.97}},
    {"half", {.source = SOURCE, .target = {500, 3e6, 0.92, 0.0003}, .agreement = 0.95}},
    {"thin", {.source = SOURCE, .target = {300, 4e6, 0.92, 0.0002}, .agreement = 0.93}},
    {"tiny", {.source = SOURCE, .target = {100, 1e6, 0.80, 0.0004}, .agreement = 0.81}},
};

static struct choice choose(struct choose_config config, int n, const struct report_target *t) {
    struct choice choice;
    assert_true(choice_is_wanted(&config));
    assert_null(choice_make(&config, n, t, &choice));
    assert_non_null(choice.reason);
    return choice;
}

static void test_chosen(void **state) {
    (void)state;
    static const struct {
        struct choose_config config;
        const char *chosen, *reason;
    } cases[] = {
        {{.by = accuracy}, "wide", "highest accuracy, 94.00 %, of the 4 of 4 targets within the limits"},
        {{.by = params}, "tiny", "fewest parameters, 100, of the 4 of 4"},
        {{.by = flops}, "tiny", "fewest operations, 1.00 MFLOP, of the 4 of 4"},
        {{.by = latency}, "thin", "lowest latency, 0.200 ms, of the 4 of 4"},
        /* equal in accuracy: the one with fewer parameters */
        {{.by = automatic, .params = 0.5}, "thin", "highest accuracy, 92.00 %, of the 3 of 4"},
        {{.by = automatic, .params = 500}, "thin", "of the 3 of 4"},
        {{.by = automatic, .params = 499}, "thin", "of the 2 of 4"},
        {{.by = automatic, .flops = 0.3}, "half", "of the 2 of 4"},
        {{.by = automatic, .flops = 3e6}, "half", "of the 2 of 4"},
        {{.by = automatic, .latency_ms = 0.95}, "wide", "of the 4 of 4"},
        {{.by = automatic, .latency_ms = 0.85}, "thin", "of the 3 of 4"},
        {{.by = automatic, .latency_ratio = 0.25}, "thin", "of the 1 of 4"},
        /* accuracy alone: the smallest */
        {{.by = automatic, .accuracy = 0.92}, "thin", "fewest parameters, 300, of the 3 of 4"},
        {{.by = automatic, .accuracy = 0.9, .latency_ms = 0.5},
         "thin",
         "highest accuracy, 92.00 %, of the 2"},
        {{.by = flops, .accuracy = 0.9}, "half", "fewest operations, 3.00 MFLOP, of the 3 of 4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct choice choice = choose(cases[i].config, 4, targets);
        assert_true(choice.chosen >= 0);
        assert_string_equal(targets[choice.chosen].name, cases[i].chosen);
        if (!strstr(choice.reason, cases[i].reason)) fail_msg("%s: %s", cases[i].reason, choice.reason);
        choice_free(&choice);
    }
}

/* The one that misses its worst limit by the smallest part of it. */
static void test_nearest(void **state) {
    (void)state;
    static const struct {
        struct choose_config config;
        const char *nearest, *reason;
    } cases[] = {
        {{.by = automatic, .params = 0.05}, "tiny", "100 parameters, choose.params allows 50 at most"},
        {{.by = automatic, .accuracy = 0.99}, "wide", "94 %, choose.accuracy allows 99 at least"},
        {{.by = automatic, .latency_ms = 0.1}, "thin", "0.2 ms, choose.latency_ms allows 0.1 at most"},
        /* thin misses by (300 - 250) / 250, half by 1, tiny by (0.92 - 0.8) / 0.92 */
        {{.by = automatic, .params = 250, .accuracy = 0.92},
         "tiny",
         "80 %, choose.accuracy allows 92 at least"},
        {{.by = automatic, .params = 290, .accuracy = 0.92},
         "thin",
         "300 parameters, choose.params allows 290"},
        {{.by = automatic, .flops = 0.05}, "tiny", "1 MFLOP, choose.flops allows 0.5 at most"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct choice choice = choose(cases[i].config, 4, targets);
        assert_int_equal(choice.chosen, -1);
        assert_string_equal(targets[choice.nearest].name, cases[i].nearest);
        if (!strstr(choice.reason, cases[i].reason)) fail_msg("%s: %s", cases[i].reason, choice.reason);
        choice_free(&choice);
    }
}

/* Without labels accuracy is how often the source's class is given; what is not known keeps to no limit. */
static void test_unknown(void **state) {
    (void)state;
    const struct report_target t[] = {
        {"a", {.source = {1000, -1, NAN, 0}, .target = {500, -1, NAN, 0}, .agreement = 0.9}},
        {"b", {.source = {1000, -1, NAN, 0}, .target = {600, -1, NAN, 0}, .agreement = 0.8}}};
    struct choice choice = choose((struct choose_config){.by = accuracy}, 2, t);
    assert_int_equal(choice.chosen, 0);
    assert_non_null(strstr(choice.reason, "highest agreement with the source, 90.00 %"));
    choice_free(&choice);
    choice = choose((struct choose_config){.by = automatic, .latency_ms = 1}, 2, t);
    assert_int_equal(choice.chosen, -1);
    assert_non_null(strstr(choice.reason, "choose.latency_ms is limited, but not known of it"));
    choice_free(&choice);
    assert_false(choice_is_wanted(&(struct choose_config){.by = automatic}));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_chosen), cmocka_unit_test(test_nearest),
                                       cmocka_unit_test(test_unknown)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
