/* Rooms that go round between three threads: each stage sees all that were passed, in order, never more than
 * there are; what is passed is finished when a stage ends; whoever waits is told when another has ended. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "worker/conveyor.h"

#define ROOMS 3
#define ITEMS 20000

struct belt {
    struct conveyor *conveyor;
    int content[ROOMS]; /* number of the item, owned by the stage that has the room */
    int reads, computes;
    int seen[CONVEYOR_STAGES]; /* items that each has passed on */
    bool wrong;
};

static void *read_items(void *argument) {
    struct belt *b = argument;
    for (int at;
         b->seen[CONVEYOR_READ] < b->reads && (at = conveyor_take(b->conveyor, CONVEYOR_READ)) >= 0;) {
        b->content[at] = b->seen[CONVEYOR_READ]++;
        conveyor_pass(b->conveyor, CONVEYOR_READ);
    }
    conveyor_end(b->conveyor, CONVEYOR_READ);
    return NULL;
}

static void *write_items(void *argument) {
    struct belt *b = argument;
    for (int at; (at = conveyor_take(b->conveyor, CONVEYOR_WRITE)) >= 0;) {
        if (b->content[at] != 2 * b->seen[CONVEYOR_WRITE] + 1) b->wrong = true;
        b->content[at] = -1;
        b->seen[CONVEYOR_WRITE]++;
        if (b->seen[CONVEYOR_WRITE] % 1000 == 0) sched_yield();
        conveyor_pass(b->conveyor, CONVEYOR_WRITE);
    }
    conveyor_end(b->conveyor, CONVEYOR_WRITE);
    return NULL;
}

static void compute_items(struct belt *b) {
    for (int at; b->seen[CONVEYOR_COMPUTE] < b->computes &&
                 (at = conveyor_take(b->conveyor, CONVEYOR_COMPUTE)) >= 0;) {
        if (b->content[at] != b->seen[CONVEYOR_COMPUTE]) b->wrong = true;
        b->content[at] = 2 * b->content[at] + 1;
        b->seen[CONVEYOR_COMPUTE]++;
        conveyor_pass(b->conveyor, CONVEYOR_COMPUTE);
    }
    conveyor_end(b->conveyor, CONVEYOR_COMPUTE);
}

static void run_belt(struct belt *b, int reads, int computes) {
    pthread_t reader, writer;
    *b = (struct belt){.reads = reads, .computes = computes};
    status error = conveyor_create(ROOMS, &b->conveyor);
    assert_null(error);
    assert_int_equal(pthread_create(&reader, NULL, read_items, b), 0);
    assert_int_equal(pthread_create(&writer, NULL, write_items, b), 0);
    compute_items(b);
    pthread_join(reader, NULL);
    pthread_join(writer, NULL);
    conveyor_destroy(&b->conveyor);
    assert_false(b->wrong);
}

static void test_all(void **state) {
    (void)state;
    struct belt b;
    run_belt(&b, ITEMS, ITEMS + 1);
    for (int s = 0; s < CONVEYOR_STAGES; s++) assert_int_equal(b.seen[s], ITEMS);
    run_belt(&b, 0, 1);
    for (int s = 0; s < CONVEYOR_STAGES; s++) assert_int_equal(b.seen[s], 0);
}

/* The middle stops: the reader, which waits for a room, ends too; what was computed is written. */
static void test_middle_stops(void **state) {
    (void)state;
    struct belt b;
    for (int n = 0; n < 50; n++) {
        run_belt(&b, ITEMS, n);
        assert_int_equal(b.seen[CONVEYOR_COMPUTE], n);
        assert_int_equal(b.seen[CONVEYOR_WRITE], n);
        assert_true(b.seen[CONVEYOR_READ] >= n && b.seen[CONVEYOR_READ] <= n + ROOMS);
    }
}

/* The writer stops: nobody waits for it. */
static void test_writer_stops(void **state) {
    (void)state;
    struct belt b = {.reads = ITEMS, .computes = ITEMS};
    pthread_t reader;
    status error = conveyor_create(ROOMS, &b.conveyor);
    assert_null(error);
    assert_int_equal(pthread_create(&reader, NULL, read_items, &b), 0);
    for (int i = 0; i < 5; i++) {
        assert_true(conveyor_take(b.conveyor, CONVEYOR_COMPUTE) == i % ROOMS);
        conveyor_pass(b.conveyor, CONVEYOR_COMPUTE);
        assert_true(conveyor_take(b.conveyor, CONVEYOR_WRITE) == i % ROOMS);
        conveyor_pass(b.conveyor, CONVEYOR_WRITE);
    }
    conveyor_end(b.conveyor, CONVEYOR_WRITE);
    assert_int_equal(conveyor_take(b.conveyor, CONVEYOR_COMPUTE), -1);
    pthread_join(reader, NULL);
    assert_true(b.seen[CONVEYOR_READ] <= 5 + ROOMS);
    conveyor_destroy(&b.conveyor);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all), cmocka_unit_test(test_middle_stops),
                                       cmocka_unit_test(test_writer_stops)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
