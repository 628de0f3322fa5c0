/* Calibration samples over ranks and nodes: every sample is one of the data set's, none is there twice,
 * shares are whole blocks, and a node holds what its ranks use, once. Run on 1, 2, 3 and 4 ranks; nodes are
 * made of so many of them. */
#include "io/dataset_testing.h"

#include <math.h>

#include "worker/calibration.h"

#define N 700      /* samples of the set */
#define WANTED 600 /* five blocks, the last not whole */
#define BLOCKS 5

static struct comm *world;

static void must(status error) {
    if (error) fail_msg("%s", status_message(error));
}

static void all_true(bool mine) {
    bool any_false = false;
    must(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

/* Sample i is (i % 256, i / 256). */
static void write_samples(void) {
    uint8_t *bytes = malloc(16 + 2 * N);
    assert_non_null(bytes);
    size_t used = idx_header(bytes, 0x08, 3, (uint32_t[]){N, 1, 2});
    for (int i = 0; i < N; i++) {
        bytes[used++] = (uint8_t)(i % 256);
        bytes[used++] = (uint8_t)(i / 256);
    }
    write_bytes(in_folder("train-images-idx3-ubyte"), bytes, used);
    free(bytes);
}

static int sample_number(const float *x) {
    return (int)lrintf(255 * x[0]) + 256 * (int)lrintf(255 * x[1]);
}

/* order[position] = number + 1 of the samples that the ranks of `group` have, 0 for none. */
static void positions(const struct calibration *c, const struct comm *group, int64_t *order) {
    for (int i = 0; i < WANTED; i++) order[i] = 0;
    for (int64_t i = 0; i < c->n; i++)
        order[c->first * CALIBRATION_BLOCK + i] += sample_number(c->x + i * c->sample) + 1;
    must(comm_sum_i64(group, order, WANTED));
}

static bool is_order(const int64_t *order) {
    bool seen[N + 1] = {0}, right = true;
    for (int i = 0; i < WANTED; i++) {
        right = right && order[i] > 0 && order[i] <= N && !seen[order[i]];
        if (right) seen[order[i]] = true;
    }
    return right;
}

/* Blocks of 128 of all: a rank's share, of five blocks over `ranks`. */
static int64_t share(int rank, int ranks) {
    int64_t blocks = BLOCKS / ranks + (rank < BLOCKS % ranks), first = 0;
    for (int r = 0; r < rank; r++) first += BLOCKS / ranks + (r < BLOCKS % ranks);
    int64_t end = (first + blocks) * CALIBRATION_BLOCK;
    return blocks ? (end < WANTED ? end : WANTED) - first * CALIBRATION_BLOCK : 0;
}

static void check_nodes(struct dataset *data, struct log *log, int per_node, bool whole) {
    int rank = comm_rank(world), ranks = comm_size(world);
    struct comm *node = NULL, *group = NULL;
    struct calibration *c = NULL, *split = NULL;
    int64_t order[WANTED], of_group[WANTED];
    must(comm_split(world, rank / per_node, rank, &node));
    struct machine machine = {.world = world, .node = node, .log = log, .threads = 1};
    must(calibration_create(&machine, data, WANTED, 9, whole, &c));
    positions(c, world, order);
    int64_t held = 0, last = (rank / per_node + 1) * per_node;
    for (int r = rank / per_node * per_node; r < last && r < ranks; r++) held += share(r, ranks);
    bool right = c->total == WANTED && c->sample == 2 && c->n == share(rank, ranks) && is_order(order) &&
                 c->bytes == (whole ? WANTED : held) * 2 * (int64_t)sizeof(float);
    for (int groups = 1; groups <= ranks && whole; groups++) {
        must(comm_split(world, rank % groups, rank, &group));
        must(calibration_split(c, group, &split));
        positions(split, group, of_group);
        right = right && !memcmp(order, of_group, sizeof order) &&
                split->n == share(comm_rank(group), comm_size(group));
        calibration_destroy(&split);
        comm_destroy(&group);
    }
    calibration_destroy(&c);
    comm_destroy(&node);
    all_true(right);
}

static void test_shares(void **state) {
    (void)state;
    if (comm_is_root(world)) assert_int_equal(make_test_folder(NULL), 0);
    must(comm_bcast(world, 0, test_folder, sizeof test_folder));
    if (comm_is_root(world)) write_samples();
    must(comm_barrier(world));
    struct data_config config = make_config("idx", test_folder);
    struct dataset *data = NULL;
    struct log *log = NULL;
    must(log_create(1, LOG_ERROR, &log));
    must(dataset_open(&config, NULL, 0, 1, NULL, &data));
    for (int per_node = 1; per_node <= comm_size(world); per_node++)
        for (int whole = 0; whole <= 1; whole++) check_nodes(data, log, per_node, whole);
    dataset_close(&data);
    log_destroy(&log);
    must(comm_barrier(world));
    if (comm_is_root(world)) assert_int_equal(remove_test_folder(NULL), 0);
}

int main(int argc, char **argv) {
    if (comm_start(&argc, &argv, &world)) return 70;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shares)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_stop(&world);
    return failed;
}
