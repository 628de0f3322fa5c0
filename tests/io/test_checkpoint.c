/* Checkpoints: what is written is read, to the bit; another run's, damaged or truncated ones are refused. */
#include "io_testing.h"

#include <float.h>
#include <math.h>
#include <sys/stat.h>

#include "io/checkpoint.h"
#include "io/file.h"

struct state {
    int64_t step;
    double loss;
    float a[5], b[3];
};

static void describe(struct state *s, const char *key, struct checkpoint *c) {
    *c = (struct checkpoint){.key = key};
    checkpoint_add_integer(c, "step", &s->step);
    checkpoint_add_real(c, "loss", &s->loss);
    checkpoint_add_array(c, "a", s->a, 5);
    checkpoint_add_array(c, "b", s->b, 3);
}

static const struct state written = {
    INT64_C(9007199254740993), 0.1, {1, -0.0f, FLT_MIN / 2, INFINITY, 3e38f}, {NAN, 2, 3}};

static void write_one(const char *path) {
    struct state s = written;
    struct checkpoint c;
    describe(&s, "run 1", &c);
    assert_success(checkpoint_write(path, &c));
}

static void test_round_trip(void **state) {
    (void)state;
    struct state s = {0};
    struct checkpoint c;
    bool found = true;
    describe(&s, "run 1", &c);
    assert_success(checkpoint_read(in_folder("none"), &c, &found));
    assert_false(found);
    write_one(in_folder("c"));
    assert_success(checkpoint_read(in_folder("c"), &c, &found));
    assert_true(found);
    assert_true(s.step == written.step);
    assert_memory_equal(&s.loss, &written.loss, sizeof s.loss);
    assert_memory_equal(s.a, written.a, sizeof s.a);
    assert_memory_equal(s.b, written.b, sizeof s.b);
    checkpoint_remove(in_folder("c"));
    assert_success(checkpoint_read(in_folder("c"), &c, &found));
    assert_false(found);
}

static void test_other_runs(void **state) {
    (void)state;
    struct state s = {0};
    struct checkpoint c;
    bool found;
    write_one(in_folder("c"));
    describe(&s, "run 2", &c);
    assert_error(checkpoint_read(in_folder("c"), &c, &found), STATUS_DATA, "another configuration");
    describe(&s, "run 1", &c);
    c.array[1].n = 2;
    assert_error(checkpoint_read(in_folder("c"), &c, &found), STATUS_DATA, "delete it");
    describe(&s, "run 1", &c);
    c.number[0].name = "epoch";
    assert_error(checkpoint_read(in_folder("c"), &c, &found), STATUS_DATA, "delete it");
}

/* Every truncation and one byte too many. */
static void test_damaged(void **state) {
    (void)state;
    struct state s;
    struct checkpoint c;
    struct stat info;
    bool found;
    char bytes[512];
    write_one(in_folder("c"));
    assert_int_equal(stat(in_folder("c"), &info), 0);
    size_t n = (size_t)info.st_size;
    assert_true(n + 1 < sizeof bytes);
    FILE *f = fopen(in_folder("c"), "r");
    assert_int_equal(fread(bytes, 1, n, f), n);
    fclose(f);
    bytes[n] = 0;
    describe(&s, "run 1", &c);
    for (size_t length = 0; length <= n + 1; length++) {
        if (length == n) continue;
        assert_success(file_write_atomic(in_folder("cut"), bytes, length));
        assert_error(checkpoint_read(in_folder("cut"), &c, &found), STATUS_DATA, "delete it");
    }
    assert_error(checkpoint_write("/nowhere/c", &c), STATUS_IO, "/nowhere/c");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_round_trip),
        IN_FOLDER(test_other_runs),
        IN_FOLDER(test_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
