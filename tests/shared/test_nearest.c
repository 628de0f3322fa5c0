/* The nearest word: every kind of typing mistake, and none where nothing is near. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "shared/nearest.h"

#include <string.h>

static const char *const words[] = {"epochs", "batch", "batch_norm", "schedule", "train", "migrate", "ridge"};

static void expect(const char *word, const char *near) {
    const char *found = nearest_word(word, words, 7);
    if (near) assert_string_equal(found ? found : "nothing", near);
    else assert_null(found);
}

static void test_nearest(void **state) {
    (void)state;
    expect("epocs", "epochs");          /* left out */
    expect("epochss", "epochs");        /* too many */
    expect("epichs", "epochs");         /* replaced */
    expect("peochs", "epochs");         /* swapped */
    expect("Batch-Norm", "batch_norm"); /* spelled differently */
    expect("batchnorm", "batch_norm");
    expect("sched", "schedule"); /* begun */
    expect("training", "train");
    expect("migration", "migrate");
    expect("batches", "batch");
    expect("quantum", NULL);
    expect("x", NULL);
    expect("", NULL);
    char endless[1000];
    memset(endless, 'e', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    expect(endless, NULL);
    assert_null(nearest_word("a", words, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nearest)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
