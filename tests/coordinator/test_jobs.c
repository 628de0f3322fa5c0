/* The jobs as a user starts them: train, plan, migrate, evaluate and run_inference on a small data set, on
 * several ranks, and with every kind of bad input, which must end in one line and the documented exit code.
 */
#include "io/digest.h"
#include "io/dataset_testing.h"

#include <fcntl.h>
#include <hdf5.h>
#include <math.h>
#include <signal.h>
#include <sys/mount.h>
#include <time.h>

#include "io/image.h"

#include "coordinator/jobs_testing.h"

/* ---- the way through ---- */

static void test_trained_source(void **state) {
    (void)state;
    assert_true(exists("source.h5"));
    assert_false(exists("models"));
    succeeds(run(1, GODWIT_PROGRAM " evaluate source.h5 --data data --json"), "evaluate");
    assert_int_equal(figure(out, "samples"), 60);
    assert_true(figure(out, "accuracy") > 0.8);
    assert_int_equal(count_lines(run_file("runs", "source", "metrics.csv")), 5); /* a head and four epochs */
    double holdout = figure(run_file("runs", "source", "run.jsonl"), "holdout_accuracy");
    assert_true(holdout >= 0 && holdout <= 1);
    assert_non_null(strstr(run_file("runs", "source", "config.json"), "\"label_smoothing\""));
}

static void test_plan(void **state) {
    (void)state;
    succeeds(run(0, GODWIT_PROGRAM " plan migrate.json"), "plan");
    char first[sizeof out];
    strcpy(first, out);
    assert_non_null(strstr(out, "plan 1\nsource \"source.h5\" digest sha256:"));
    assert_non_null(strstr(
        out,
        "\"conv2/kernel\" (3, 3, 4, 4) = refit(fold_bn(source[\"conv2/kernel\"], \"norm2\")[:, :, k0, k1])"));
    succeeds(run(2, GODWIT_PROGRAM " plan migrate.json -o plan.txt"), "plan -o");
    assert_string_equal(out, "");
    read_into(in_folder("plan.txt"), out, sizeof out);
    assert_string_equal(out, first);
}

static void test_migrate(void **state) {
    (void)state;
    char text[1 << 16];
    succeeds(run(2, GODWIT_PROGRAM " migrate migrate.json --set models=m1 --set runs=r1"), "migrate");
    static const char *const rows[] = {"parameters",
                                       "MFLOP a sample",
                                       "test accuracy, refit only",
                                       "test accuracy",
                                       "latency of one sample, ms",
                                       "refit",
                                       "fine-tune",
                                       "total"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strstr(out, rows[i])) fail_msg("no \"%s\" in %s", rows[i], out);
    assert_int_equal(versions("m1"), 1);
    assert_int_equal(count_entries(in_folder("m1/small")), 1); /* nothing staged is left */
    assert_int_equal(count_entries(in_folder("m1/small/1")), 4);

    read_into(in_folder("m1/small/1/model.json"), text, sizeof text);
    char *digest = NULL;
    assert_success(file_digest(in_folder("source.h5"), &digest));
    assert_non_null(strstr(text, digest));
    free(digest);
    assert_success(file_digest(in_folder("m1/small/1/model.h5"), &digest));
    assert_non_null(strstr(text, digest));
    free(digest);
    static const char *const parts[] = {"migrate migrate.json --set models=m1",
                                        "\"libraries\":",
                                        "\"configuration\":",
                                        "\"width\":",
                                        "\"godwit\":",
                                        "HDF5"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr(text, parts[i])) fail_msg("no \"%s\" in %s", parts[i], text);
    assert_int_equal(figure(text, "ranks"), 2);
    assert_int_equal(figure(text, "seed"), 1);
    /* 9*4 + 4, 9*4*4 + 4, 64*3 + 3 */
    assert_int_equal(figure(text, "parameters"), 36 + 4 + 144 + 4 + 192 + 3);
    double accuracy = figure(text, "test_accuracy");
    assert_true(accuracy > 0.8);

    char plan[1 << 14];
    read_into(in_folder("m1/small/1/plan.txt"), plan, sizeof plan);
    assert_non_null(strstr(plan, "keep k0 = select(\"conv1\", 4 of 8, ["));
    assert_non_null(strstr(plan, "# residual "));
    assert_string_equal(run_file("r1", "small", "plan.txt"), plan);
    assert_non_null(strstr(run_file("r1", "small", "run.jsonl"), "\"refit\""));
    assert_int_equal(count_lines(run_file("r1", "small", "metrics.csv")), 3);
    assert_false(exists("r1/small.migration")); /* scratch is gone */
    assert_false(exists("r1/small.migration.journal"));

    succeeds(run(3, GODWIT_PROGRAM " evaluate small --models=m1 --data migrate.json --json"), "evaluate");
    assert_true(fabs(figure(out, "accuracy") - accuracy) < 1e-6);
    assert_int_equal(count_lines(out), 1);
    /* A second run is a second version. */
    succeeds(
        run(0, GODWIT_PROGRAM " migrate migrate.json --set models=m1 --set runs=r1 --set training.epochs=0"),
        "migrate");
    assert_int_equal(versions("m1"), 2);
}

/* Changes one byte of a file, counted from its end. */
static void damage(const char *name, long from_end) {
    FILE *file = fopen(in_folder(name), "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -from_end, SEEK_END), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, -from_end, SEEK_END), 0);
    assert_int_equal(fputc(byte ^ 1, file), byte ^ 1);
    assert_int_equal(fclose(file), 0);
}

/* Needs the two versions of test_migrate. */
static void test_verify(void **state) {
    (void)state;
    char json[1 << 16];
    succeeds(run(0, GODWIT_PROGRAM " verify --models=m1"), "verify");
    assert_non_null(strstr(out, "small:1  pass  digest, outputs: "));
    assert_non_null(strstr(out, "small:2  pass  digest, outputs: "));
    assert_int_equal(count_lines(out), 2);
    succeeds(run(0, GODWIT_PROGRAM " verify --models=m1 small --json"), "verify small");
    assert_non_null(strstr(out, "\"openblas\""));
    assert_int_equal(figure(out, "samples"), 4);
    assert_true(figure(out, "max_y") > 0.3); /* probabilities of three classes */

    /* A damaged file. */
    damage("m1/small/2/model.h5", 1);
    fails(run(0, GODWIT_PROGRAM " verify --models=m1"), 65, "1 of 2 models failed; small:2: ");
    assert_non_null(strstr(out, "small:1  pass"));
    assert_non_null(strstr(out, "small:2  FAIL  "));
    damage("m1/small/2/model.h5", 1);
    succeeds(run(0, GODWIT_PROGRAM " verify --models=m1 small:2"), "verify small:2");
    /* No pair where there was one; then neither digests nor a pair. */
    assert_int_equal(rename(in_folder("m1/small/2/golden.h5"), in_folder("away.h5")), 0);
    fails(run(0, GODWIT_PROGRAM " verify --models=m1 small"), 65, "golden.h5");
    assert_int_equal(rename(in_folder("m1/small/2/model.json"), in_folder("away.json")), 0);
    fails(run(0, GODWIT_PROGRAM " verify --models=m1 small"), 65, "there is nothing to verify it by");
    /* The pair of another model, as a build that computes wrongly would see it: no digest says so. */
    assert_int_equal(rename(in_folder("away.h5"), in_folder("m1/small/2/golden.h5")), 0);
    assert_int_equal(rename(in_folder("m1/small/2/model.h5"), in_folder("away.h5")), 0);
    assert_int_equal(link(in_folder("m1/small/1/model.h5"), in_folder("m1/small/2/model.h5")), 0);
    fails(run(0, GODWIT_PROGRAM " verify --models=m1 --json"), 65, "output \"dense\" on engine ");
    assert_non_null(strstr(out, "\"pass\":\tfalse"));
    assert_int_equal(unlink(in_folder("m1/small/2/model.h5")), 0);
    assert_int_equal(rename(in_folder("away.h5"), in_folder("m1/small/2/model.h5")), 0);
    assert_int_equal(rename(in_folder("away.json"), in_folder("m1/small/2/model.json")), 0);
    succeeds(run(0, GODWIT_PROGRAM " verify --models=m1"), "verify");
    read_into(in_folder("m1/small/2/model.json"), json, sizeof json);
    assert_non_null(strstr(json, "\"golden_digest\":\t\"sha256:"));
}

static void test_run_inference(void **state) {
    (void)state;
    struct image *image = NULL;
    succeeds(run(2, GODWIT_PROGRAM " migrate migrate.json --set models=models --set runs=r2"), "migrate");
    for (int c = 0; c < CLASSES; c++) {
        /* Twice the size, in colour: bright at the top, in the middle or at the bottom. */
        assert_success(image_create(2 * SIDE, 2 * SIDE + 6, 3, &image));
        for (int64_t i = 0; i < image->height * image->width * 3; i++)
            image->pixel[i] = i / (image->width * 3) * CLASSES / image->height == c ? 150 : 60;
        assert_success(image_write(in_folder(c == 1 ? "in.jpg" : "in.png"), image));
        image_destroy(&image);
        const char *in = c == 1 ? "in.jpg" : "in.png";
        succeeds(
            run(0,
                RUN_INFERENCE_PROGRAM
                " --inference-engine=CPU --model-name=small --model-version=1 --input=%s --output=out.png",
                in),
            "run_inference");
        static const char *const best[] = {"1. top ", "1. middle ", "1. bottom "};
        if (strncmp(out, best[c], strlen(best[c])) != 0) fail_msg("class %d: %s", c, out);
        assert_non_null(strstr(out, "\n3. "));
        assert_null(strstr(out, "\n4. "));
        assert_success(image_read(in_folder("out.png"), &image));
        assert_true(image->height > 2 * SIDE && image->channels == 3);
        image_destroy(&image);
        succeeds(run(0,
                     RUN_INFERENCE_PROGRAM
                     " --model-name=small --models=models --input=%s --output=out.json --top=2",
                     in),
                 "run_inference");
        char text[4096];
        read_into(in_folder("out.json"), text, sizeof text);
        const char *label = strstr(text, "\"label\":");
        assert_non_null(label);
        assert_non_null(strstr(label, c == 0 ? "top" : c == 1 ? "middle" : "bottom"));
        assert_int_equal(figure(text, "class"), c);
        assert_true(figure(text, "score") > 1.0 / CLASSES && figure(text, "score") <= 1);
        assert_true(figure(text, "latency_ms") > 0);
    }
    fails(run(0, RUN_INFERENCE_PROGRAM " --model-name=small --model-version=7 --input=in.png"), 74, "7");
    fails(run(0, RUN_INFERENCE_PROGRAM " --model-name=big --input=in.png"), 74, "big");
    fails(run(0, RUN_INFERENCE_PROGRAM " --model-name=small --input=none.png"), 74, "none.png");
    fails(run(0, RUN_INFERENCE_PROGRAM " --model-name=small --input=tiny.json"), 65, "tiny.json");
    fails(run(0, RUN_INFERENCE_PROGRAM " --model-name=small --input=in.png --output=in.bmp"), 2, "in.bmp");
    fails(run(0, RUN_INFERENCE_PROGRAM " --model-name=small --input=in.png --output=tiny.json/x.png"), 74,
          "tiny.json/x.png");
    fails(run(0, RUN_INFERENCE_PROGRAM " --model-name=small --input=in.png --inference-engine=GPU"), 2,
          "GPU");
    fails(run(0, RUN_INFERENCE_PROGRAM " --model-name=small"), 2, "--input is missing");
}

/* Any number of ranks, more than slices too, and both ways of migration give the same target. */
static void test_ranks_do_not_matter(void **state) {
    (void)state;
    static const int ranks[] = {1, 1, 2, 3, 4, 7};
    struct model *first = NULL;
    for (int i = 0; i < 6; i++) {
        char name[64];
        snprintf(name, sizeof name, "same%d", i);
        succeeds(run(ranks[i],
                     GODWIT_PROGRAM " migrate migrate.json --set training.epochs=0 --set migration.mode=%s "
                                    "--set threads=1 --set models=%s --set runs=r3",
                     i == 1 ? "static" : "dynamic", name),
                 "migrate");
        snprintf(name, sizeof name, "same%d/small/1/model.h5", i);
        struct model *model = read_model(name);
        if (!first) {
            first = model;
            continue;
        }
        for (int p = 0; p < model->params->n; p++) {
            const float *a = params_at(model->params, p), *b = params_at(first->params, p);
            double scale = 0, worst = 0;
            for (int64_t j = 0; j < model->params->count[p]; j++) {
                scale = fmax(scale, fabs(b[j]));
                worst = fmax(worst, fabs((double)a[j] - b[j]));
            }
            if (!(worst <= 1e-5 * scale))
                fail_msg("%d ranks: parameter %d is off by %g (scale %g)", ranks[i], p, worst, scale);
            if (i == 1) assert_memory_equal(a, b, (size_t)model->params->count[p] * sizeof *a);
        }
        model_destroy(&model);
    }
    model_destroy(&first);
}

static void test_same_again(void **state) {
    (void)state;
    struct model *model[2];
    for (int i = 0; i < 2; i++) {
        succeeds(
            run(2, GODWIT_PROGRAM " migrate migrate.json --set threads=1 --set models=again --set runs=r4"),
            "migrate");
        model[i] = read_model(i ? "again/small/2/model.h5" : "again/small/1/model.h5");
    }
    assert_memory_equal(model[0]->params->data, model[1]->params->data,
                        (size_t)model[0]->params->total * sizeof(float));
    model_destroy(&model[0]);
    model_destroy(&model[1]);
}

/* No refit: the channels are chosen by their kernels, the rest is fine-tuning. */
static void test_without_refit(void **state) {
    (void)state;
    succeeds(run(2, GODWIT_PROGRAM
                 " migrate migrate.json --set refit.samples=0 --set models=norefit --set runs=r5"),
             "migrate");
    assert_int_equal(versions("norefit"), 1);
    char plan[1 << 14];
    read_into(in_folder("norefit/small/1/plan.txt"), plan, sizeof plan);
    assert_null(strstr(plan, "residual"));
}

/* ---- bad input ---- */

static void copy_source(const char *name) {
    char command[512];
    snprintf(command, sizeof command, "cp '%s' '%s'", in_folder("source.h5"), in_folder(name));
    assert_int_equal(system(command), 0);
}

/* Replaces the kernel of conv2 in a copy of the source by a set of this type and these dimensions. */
static void replace_kernel(const char *name, hid_t type, int rank, const hsize_t *dim, const void *data) {
    copy_source(name);
    hid_t file = H5Fopen(in_folder(name), H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(file >= 0);
    static const char *const paths[] = {"model_weights/conv2/conv2/kernel:0",
                                        "model_weights/conv2/conv2/kernel"};
    const char *path = NULL;
    H5E_BEGIN_TRY {
        for (int i = 0; i < 2; i++) {
            hid_t set = H5Dopen2(file, paths[i], H5P_DEFAULT);
            if (set < 0) continue;
            path = paths[i];
            H5Dclose(set);
        }
    }
    H5E_END_TRY
    assert_non_null(path);
    assert_true(H5Ldelete(file, path, H5P_DEFAULT) >= 0);
    hid_t space = H5Screate_simple(rank, dim, NULL),
          set = H5Dcreate2(file, path, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(set >= 0);
    if (data) assert_true(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Dclose(set);
    H5Sclose(space);
    H5Fclose(file);
}

/* What is frozen all the time is not trained: the same file as without training. */
static void test_frozen(void **state) {
    (void)state;
    succeeds(
        run(2, "%s migrate migrate.json --set training.epochs=0 --set output=untrained.h5", GODWIT_PROGRAM),
        "migrate");
    succeeds(run(2,
                 "%s migrate migrate.json --set 'training.freeze=[\"*\"]' --set data.holdout=0 --set "
                 "output=frozen.h5",
                 GODWIT_PROGRAM),
             "migrate, frozen");
    succeeds(run(2, "%s migrate migrate.json --set 'training.freeze=[\"* 1\"]' --set output=thawed.h5",
                 GODWIT_PROGRAM),
             "migrate, frozen for an epoch");
    assert_int_equal(run(0, "cmp untrained.h5 frozen.h5"), 0);
    assert_int_equal(run(0, "cmp untrained.h5 thawed.h5"), 1);
    fails(run(0, "%s migrate migrate.json --set 'training.freeze=[\"conv9\"]' --set data.path=not_looked_for",
              GODWIT_PROGRAM),
          2, "training.freeze: no layer with weights is called \"conv9\"; did you mean \"conv1\"?");
}

/* Without labels there is no accuracy, but the source's classes to learn from and to compare with. */
static void test_without_labels(void **state) {
    (void)state;
    write_set("bare", 240, SIDE, 0);
    for (int i = 0; i < 2; i++)
        unlink(in_folder(i ? "bare/train-labels-idx1-ubyte" : "bare/t10k-labels-idx1-ubyte"));
    succeeds(run(2, "%s migrate migrate.json --set data.path=bare --set output=bare.h5", GODWIT_PROGRAM),
             "migrate without labels");
    assert_non_null(strstr(err, "the data has no labels: the source's classes take their place"));
    const char *row = strstr(out, "same class as the source");
    assert_non_null(row);
    assert_true(strtod(row + strlen("same class as the source"), NULL) > 90);
    assert_null(strstr(out, "accuracy"));
    fails(run(0, "%s train train.json --set data.path=bare", GODWIT_PROGRAM), 65, "has no labels");
    fails(run(0, "%s evaluate bare.h5 --data bare", GODWIT_PROGRAM), 65, "has no labels");
}

static void test_bad_source(void **state) {
    (void)state;
    migrate_fails(3, 74, "none.h5", "--set source=none.h5");
    migrate_fails(0, 65, "tiny.json", "--set source=tiny.json");
    copy_source("short.h5");
    assert_int_equal(truncate(in_folder("short.h5"), 3000), 0);
    migrate_fails(0, 65, "short.h5", "--set source=short.h5");
    static float kernel[3 * 3 * 8 * 8];
    const hsize_t dim[] = {3, 3, 8, 8}, wrong[] = {3, 3, 8, 4};
    kernel[100] = NAN;
    replace_kernel("nan.h5", H5T_NATIVE_FLOAT, 4, dim, kernel);
    migrate_fails(3, 65, "conv2/kernel", "--set source=nan.h5");
    replace_kernel("shape.h5", H5T_NATIVE_FLOAT, 4, wrong, NULL);
    migrate_fails(0, 65, "conv2/kernel", "--set source=shape.h5");
    hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, 4);
    replace_kernel("dtype.h5", text, 4, dim, NULL);
    H5Tclose(text);
    migrate_fails(0, 65, "conv2/kernel", "--set source=dtype.h5");
}

static void test_bad_data(void **state) {
    (void)state;
    migrate_fails(0, 74, "nowhere", "--set data.path=nowhere");
    write_set("labels", 24, SIDE, 2);
    migrate_fails(3, 65, "labels must be 0 to 2", "--set data.path=labels");
    write_set("sizes", 24, SIDE + 1, 0);
    migrate_fails(0, 65, "(", "--set data.path=sizes");
    write_set("empty", 0, SIDE, 0);
    migrate_fails(3, 65, "empty", "--set data.path=empty");
    write_idx("testonly", "t10k", 24, SIDE, 0, 1);
    migrate_fails(0, 65, "no training samples", "--set data.path=testonly");
    write_set("few", 12, SIDE, 0);
    migrate_fails(0, 2, "training.batch is 16", "--set data.path=few");
}

static void test_bad_configuration(void **state) {
    (void)state;
    migrate_fails(0, 2, "\"target.width\" is 0;", "--set target.width=0");
    migrate_fails(0, 2, "\"target.width\" is 2;", "--set target.width=2");
    migrate_fails(0, 2, "key \"source\" is missing", "--set source=");
    migrate_fails(0, 2, "key \"name\" is missing", "--set name=");
    migrate_fails(0, 2, "no engine \"gpu\"", "--set engine=gpu");
    fails(run(2, GODWIT_PROGRAM " migrate"), 2, "CONFIG is missing");
    fails(run(0, GODWIT_PROGRAM " migrate nothere.json"), 74, "nothere.json");
    fails(run(0, GODWIT_PROGRAM " migrate data"), 74, "data");
    fails(
        run(0, "env SLURM_NTASKS=4 SLURM_PROCID=0 " GODWIT_PROGRAM " migrate migrate.json --set models=bad"),
        2, "SLURM_NTASKS");
    fails(run(0, GODWIT_PROGRAM " train train.json --set topology="), 2, "topology");
    fails(run(0, GODWIT_PROGRAM " train train.json --set topology=source.h5"), 65, "source.h5");
    fails(run(2, GODWIT_PROGRAM " train train.json --set output=bad.h5 --set training.schedule.rate=999 "
                                "--set training.optimizer.kind=sgd --set training.batch_norm=frozen"),
          65, "the loss is not finite in epoch ");
    assert_false(exists("bad.h5"));
}

/* What cannot be written is found before the work, not after it. */
static void test_unwritable_output(void **state) {
    (void)state;
    fails(run(2, GODWIT_PROGRAM " migrate migrate.json --set runs=rbad --set models=tiny.json/models"), 74,
          "tiny.json");
    assert_null(strstr(err, "refit"));
    fails(run(0, GODWIT_PROGRAM " migrate migrate.json --set models=bad --set runs=tiny.json/runs"), 74,
          "tiny.json");
    fails(run(2, GODWIT_PROGRAM " migrate migrate.json --set runs=rbad --set output=tiny.json/x.h5"), 74,
          "tiny.json");
    fails(run(0, GODWIT_PROGRAM " train train.json --set runs=rbad --set output=tiny.json/x.h5"), 74,
          "tiny.json");
    assert_null(strstr(err, "epoch 1"));
    fails(run(0, GODWIT_PROGRAM " plan migrate.json -o tiny.json/plan.txt"), 74, "tiny.json");
    if (geteuid() == 0) return;
    mkdir(in_folder("closed"), 0555);
    fails(run(2, GODWIT_PROGRAM " migrate migrate.json --set runs=rbad --set models=closed"), 74, "closed");
}

static void test_full_disk(void **state) {
    (void)state;
    mkdir(in_folder("disk"), 0777);
    if (mount("none", in_folder("disk"), "tmpfs", 0, "size=12k")) {
        print_message("skipped: cannot mount a tmpfs\n");
        skip();
    }
    int code[3], lines[3], made = 0;
    char line[3][2048], everything[3][4096];
    for (int i = 0; i < 3; i++) {
        /* A full registry; a full run folder, with the slices in it; a full place for a trained model. */
        static const char *const settings[] = {"migrate migrate.json --set models=disk --set runs=rbad",
                                               "migrate migrate.json --set models=bad --set runs=disk",
                                               "train train.json --set runs=rbad --set output=disk/x.h5"};
        code[i] = run(2, GODWIT_PROGRAM " %s", settings[i]);
        lines[i] = error_lines(line[i], sizeof line[i]);
        snprintf(everything[i], sizeof everything[i], "%s", err);
        made += versions("disk") + versions("bad") + exists("disk/x.h5");
    }
    assert_int_equal(umount(in_folder("disk")), 0);
    for (int i = 0; i < 3; i++)
        if (code[i] != 74 || lines[i] != 1)
            fail_msg("case %d: exit code %d, %d error lines: %s", i, code[i], lines[i], everything[i]);
    assert_int_equal(made, 0);
}

/* Children of a process. */
static int children(pid_t parent, pid_t *child, int most) {
    char path[64], text[512];
    int n = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", parent, parent);
    read_into(path, text, sizeof text);
    for (char *at = text; n < most;) {
        char *rest;
        long pid = strtol(at, &rest, 10);
        if (rest == at) break;
        child[n++] = (pid_t)pid;
        at = rest;
    }
    return n;
}

static void wait_a_little(void) {
    nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
}

/* One rank is killed while it trains: mpirun ends, and the registry shows no model. */
static void test_killed_rank(void **state) {
    (void)state;
    pid_t launcher = fork();
    assert_true(launcher >= 0);
    if (launcher == 0) {
        int log = open(in_folder("killed.txt"), O_CREAT | O_WRONLY | O_TRUNC, 0666);
        if (log < 0 || chdir(test_folder) || dup2(log, 1) < 0 || dup2(log, 2) < 0) _exit(1);
        execlp("mpirun", "mpirun", "-n", "3", GODWIT_PROGRAM, "migrate", "migrate.json", "--set",
               "models=killed", "--set", "runs=rkilled", "--set", "training.epochs=90000", "--set",
               "training.schedule.rate=1e-6", (char *)NULL);
        _exit(1);
    }
    pid_t rank[8] = {0};
    bool training = false;
    for (int i = 0; i < 1500 && !training; i++) {
        read_into(in_folder("killed.txt"), err, sizeof err);
        training = strstr(err, "epoch 2") != NULL;
        wait_a_little();
    }
    int n = children(launcher, rank, 8), code = 0, done = 0;
    if (training && n >= 3) kill(rank[1], SIGKILL);
    for (int i = 0; i < 1500 && !done && training && n >= 3; i++) {
        done = waitpid(launcher, &code, WNOHANG) == launcher;
        wait_a_little();
    }
    if (!done) {
        kill(launcher, SIGKILL);
        waitpid(launcher, &code, 0);
        fail_msg("training %d, %d ranks, mpirun did not end: %s", training, n, err);
    }
    assert_true(!WIFEXITED(code) || WEXITSTATUS(code) != 0);
    assert_int_equal(versions("killed"), 0);
    assert_false(exists("killed/small/1/model.h5"));
    for (int i = 0; i < n; i++)
        for (int j = 0; j < 250 && kill(rank[i], 0) == 0; j++) wait_a_little();
    for (int i = 0; i < n; i++) assert_true(kill(rank[i], 0) != 0);
    /* The next run is not held up by what this one left. */
    succeeds(run(2, GODWIT_PROGRAM
                 " migrate migrate.json --set models=killed --set runs=rkilled --set training.epochs=0"),
             "migrate after a kill");
    assert_int_equal(versions("killed"), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trained_source),    cmocka_unit_test(test_plan),
        cmocka_unit_test(test_migrate),           cmocka_unit_test(test_verify),
        cmocka_unit_test(test_run_inference),     cmocka_unit_test(test_ranks_do_not_matter),
        cmocka_unit_test(test_same_again),        cmocka_unit_test(test_without_refit),
        cmocka_unit_test(test_without_labels),    cmocka_unit_test(test_frozen),
        cmocka_unit_test(test_bad_source),        cmocka_unit_test(test_bad_data),
        cmocka_unit_test(test_bad_configuration), cmocka_unit_test(test_unwritable_output),
        cmocka_unit_test(test_full_disk),         cmocka_unit_test(test_killed_rank),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
