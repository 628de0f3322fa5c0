/* Data sets shared by the ranks of a node. Checks are on values reduced over the ranks. */
#include "io/dataset_testing.h"

#include "io/dataset_store.h"
#include "io/file.h"
#include "io/image.h"

static struct comm *world, *node;

static void all_true(bool mine) {
    bool any_false = false;
    assert_null(comm_any(world, !mine, &any_false));
    assert_false(any_false);
}

/* Whether every rank has the same bytes as rank 0. */
static bool same_everywhere(const void *data, size_t nbytes) {
    void *copy = malloc(nbytes);
    if (!copy) return false;
    memcpy(copy, data, nbytes);
    status error = comm_bcast(world, 0, copy, nbytes);
    bool same = !error && !memcmp(copy, data, nbytes);
    status_drop(&error);
    free(copy);
    return same;
}

static int make_shared_folder(void **state) {
    int made = comm_is_root(world) ? make_test_folder(state) : 0;
    status error = comm_bcast(world, 0, test_folder, sizeof test_folder);
    if (error) return -1;
    return made;
}

static int remove_shared_folder(void **state) {
    status error = comm_barrier(world);
    if (error) return -1;
    return comm_is_root(world) ? remove_test_folder(state) : 0;
}

enum { N = 101, H = 6, W = 5, COUNT = H * W };

/* All samples of an epoch, augmented, in its order. */
static bool read_epoch(struct dataset *dataset, int64_t *order, float *x, int32_t *label) {
    status error = dataset_order(dataset, DATASET_TRAIN, 2, order);
    struct batch_request request = {.part = DATASET_TRAIN,
                                    .index = order,
                                    .n = dataset_size(dataset, DATASET_TRAIN),
                                    .augment = true,
                                    .epoch = 2};
    if (!error) error = dataset_read(dataset, &request, x, label);
    bool good = !error;
    status_drop(&error);
    return good;
}

static void same_content_on_every_rank(void **state) {
    (void)state;
    for (int gzip = 0; gzip < 2; gzip++)
        for (int in_memory = 0; in_memory < 2; in_memory++) {
            if (comm_is_root(world)) {
                write_idx_pair("train", N, H, W, 7, gzip);
                write_idx_pair("t10k", 9, H, W, 7, gzip);
            }
            assert_null(comm_barrier(world));
            struct data_config config = make_config("auto", test_folder);
            config.in_memory = in_memory;
            config.holdout = 0.2;
            config.flip = true;
            config.shift = 1;
            config.scale = 1;
            struct dataset *shared = NULL, *alone = NULL;
            status error = dataset_open(&config, NULL, 7, 3, node, &shared);
            all_true(!error);
            error = dataset_open(&config, NULL, 7, 3, NULL, &alone);
            all_true(!error);
            all_true(dataset_size(shared, DATASET_TRAIN) == 81 &&
                     dataset_size(shared, DATASET_HOLDOUT) == 20 && dataset_size(shared, DATASET_TEST) == 9);
            static int64_t order[2][N];
            static float x[2][N * COUNT];
            static int32_t label[2][N];
            all_true(read_epoch(shared, order[0], x[0], label[0]));
            all_true(read_epoch(alone, order[1], x[1], label[1]));
            /* as on a rank alone, so the same for any number of ranks */
            all_true(!memcmp(order[0], order[1], sizeof order[0]) && !memcmp(x[0], x[1], sizeof x[0]) &&
                     !memcmp(label[0], label[1], sizeof label[0]));
            all_true(same_everywhere(order[0], sizeof order[0]) && same_everywhere(x[0], sizeof x[0]));
            /* and as the file was written */
            bool right = true;
            int64_t index[9];
            for (int i = 0; i < 9; i++) index[i] = i;
            struct batch_request request = {.part = DATASET_TEST, .index = index, .n = 9};
            error = dataset_read(shared, &request, x[0], label[0]);
            for (int64_t i = 0; i < 9; i++) {
                right = right && label[0][i] == i % 7;
                for (int64_t k = 0; k < COUNT; k++)
                    right = right && x[0][i * COUNT + k] == idx_pixel(i, k / W, k % W);
            }
            all_true(!error && right);
            dataset_close(&alone);
            dataset_close(&shared);
            if (comm_is_root(world)) {
                remove_test_folder(NULL);
                make_test_folder(NULL);
            }
            assert_null(comm_bcast(world, 0, test_folder, sizeof test_folder));
        }
}

static void one_copy_a_node(void **state) {
    (void)state;
    if (comm_is_root(world)) write_idx_pair("train", N, H, W, 7, false);
    assert_null(comm_barrier(world));
    struct data_config config = make_config("auto", test_folder);
    struct dataset *dataset = NULL;
    status error = dataset_open(&config, NULL, 7, 3, node, &dataset);
    all_true(!error);
    all_true(dataset->window && !dataset->memory && dataset->store[0].x && dataset->store[0].label);
    /* what the last rank writes, every rank sees */
    uint8_t *pixel = dataset->store[0].x;
    if (comm_rank(node) == comm_size(node) - 1) pixel[5] = 201;
    error = comm_window_sync(dataset->window);
    all_true(!error && pixel[5] == 201);
    dataset_close(&dataset);
}

static void a_failure_is_everybodys(void **state) {
    (void)state;
    if (comm_is_root(world)) write_idx_pair("train", N, H, W, 7, false);
    assert_null(comm_barrier(world));
    for (int r = 0; r < comm_size(node); r++) {
        struct data_config config =
            make_config("auto", comm_rank(node) == r ? "/nonexistent/data" : test_folder);
        struct dataset *dataset = NULL;
        status error = dataset_open(&config, NULL, 7, 3, node, &dataset);
        all_true(status_code(error) == STATUS_IO && !dataset &&
                 strstr(status_message(error), "/nonexistent/data"));
        status_drop(&error);
        /* found only after the shared memory was made */
        config = make_config("auto", test_folder);
        error = dataset_open(&config, NULL, comm_rank(node) == r ? 6 : 7, 3, node, &dataset);
        all_true(status_code(error) == STATUS_DATA && !dataset && strstr(status_message(error), "is 6"));
        status_drop(&error);
    }
}

static void a_bad_image_in_any_share_is_everybodys(void **state) {
    (void)state;
    enum { IMAGES = 9 };
    for (int bad = -1; bad < IMAGES; bad++) {
        if (comm_is_root(world)) {
            assert_success(file_make_folders(in_folder("a")));
            for (int i = 0; i < IMAGES; i++) {
                char name[32];
                snprintf(name, sizeof name, "a/%d.png", i);
                struct image *image;
                assert_success(image_create(4, 4, 1, &image));
                image->pixel[0] = (uint8_t)i;
                assert_success(image_write(in_folder(name), image));
                image_destroy(&image);
                if (i == bad) write_bytes(in_folder(name), "bad", 3);
            }
        }
        assert_null(comm_barrier(world));
        struct data_config config = make_config("folder", test_folder);
        config.scale = 1;
        struct dataset *dataset = NULL;
        status error = dataset_open(&config, NULL, 1, 3, node, &dataset);
        if (bad >= 0) {
            char name[32];
            snprintf(name, sizeof name, "a/%d.png", bad);
            all_true(status_code(error) == STATUS_DATA && strstr(status_message(error), name));
            status_drop(&error);
        } else {
            float x[IMAGES * 16];
            int64_t index[IMAGES];
            for (int i = 0; i < IMAGES; i++) index[i] = i;
            struct batch_request request = {.part = DATASET_TRAIN, .index = index, .n = IMAGES};
            if (!error) error = dataset_read(dataset, &request, x, NULL);
            bool right = !error;
            for (int i = 0; i < IMAGES; i++) right = right && x[16 * i] == (float)i;
            all_true(right);
        }
        dataset_close(&dataset);
        assert_null(comm_barrier(world));
    }
}

#define IN_SHARED_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_shared_folder, remove_shared_folder)

int main(int argc, char **argv) {
    status error = comm_start(&argc, &argv, &world);
    if (!error) error = comm_split_node(world, &node);
    if (error) return 70;
    const struct CMUnitTest tests[] = {
        IN_SHARED_FOLDER(same_content_on_every_rank),
        IN_SHARED_FOLDER(one_copy_a_node),
        IN_SHARED_FOLDER(a_failure_is_everybodys),
        IN_SHARED_FOLDER(a_bad_image_in_any_share_is_everybodys),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    comm_destroy(&node);
    comm_stop(&world);
    return failed;
}
