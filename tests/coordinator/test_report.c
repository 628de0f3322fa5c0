/* The table that ends a migration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include <math.h>
#include <string.h>

#include "coordinator/report.h"

static char *printed(const struct report *report) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    report_print(out, report);
    fclose(out);
    return text;
}

static void test_table(void **state) {
    (void)state;
    const struct report_phase phase[] = {{"compile", 0.5}, {"refit", 12.25}};
    const struct report r = {.source = {1297450, 30.5e6, 0.925, 0.001},
                             .target = {75002, 10e6, 0.92, 0.00025},
                             .refit_accuracy = 0.9,
                             .refit_agreement = 0.91,
                             .agreement = 0.956,
                             .nphases = 2,
                             .phase = phase};
    char *text = printed(&r);
    assert_string_equal(text, "                                     source         target      ratio\n"
                              "parameters                        1,297,450         75,002       0.06\n"
                              "MFLOP a sample                        30.50          10.00       0.33\n"
                              "test accuracy, refit only           92.50 %        90.00 %     97.3 %\n"
                              "test accuracy                       92.50 %        92.00 %     99.5 %\n"
                              "same class, refit only                                         91.0 %\n"
                              "same class as the source                                       95.6 %\n"
                              "latency of one sample, ms             1.000          0.250       0.25\n"
                              "\n"
                              "phase                               seconds\n"
                              "compile                                0.50\n"
                              "refit                                 12.25\n"
                              "total                                 12.75\n");
    free(text);
}

/* Without test samples there is no accuracy, without known shapes no FLOP count. */
static void test_unknown(void **state) {
    (void)state;
    const struct report r = {.source = {999, -1, NAN, 0},
                             .target = {0, -1, NAN, 0},
                             .refit_accuracy = NAN,
                             .refit_agreement = NAN,
                             .agreement = NAN};
    char *text = printed(&r);
    assert_non_null(strstr(text, "            999              0       0.00\n"));
    assert_null(strstr(text, "accuracy"));
    assert_null(strstr(text, "MFLOP"));
    assert_null(strstr(text, "same class"));
    assert_null(strstr(text, "nan"));
    free(text);
}

/* A star for what no other betters in all: the third is as good as the second in nothing. */
static void test_targets(void **state) {
    (void)state;
    const struct report_target t[] = {
        {"half", {.target = {75002, 10e6, 0.92, 0.00025}, .agreement = 0.95}},
        {"quarter", {.target = {19074, 2.5e6, 0.888, 0.00012}, .agreement = 0.91}},
        {"worse", {.target = {19074, 2.6e6, 0.888, 0.00012}, .agreement = 0.91}},
        {"unlabelled", {.target = {5, -1, NAN, 0}, .agreement = 0.5}}};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    report_print_targets(out, 4, t);
    fclose(out);
    assert_string_equal(
        text, "target                       accuracy  same class     parameters      MFLOP  latency, ms\n"
              "* half                        92.00 %      95.0 %         75,002      10.00        0.250\n"
              "* quarter                     88.80 %      91.0 %         19,074       2.50        0.120\n"
              "  worse                       88.80 %      91.0 %         19,074       2.60        0.120\n"
              "* unlabelled                               50.0 %              5                        \n"
              "* no other target betters it in all of this\n");
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_unknown),
        cmocka_unit_test(test_targets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
