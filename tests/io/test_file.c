/* Whole reads and atomic writes. */
#include "io/digest.h"
#include "io/file.h"

#include "io/io_testing.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void test_round_trip(void **state) {
    (void)state;
    static char text[200001];
    memset(text, 'a', sizeof text - 1);
    for (size_t i = 0; i < sizeof text; i += 997) text[i] = (char)('b' + i % 20);
    text[sizeof text - 1] = 0;
    const size_t length[] = {0, 1, 65534, 65535, 65536, 65537, 131071, sizeof text - 1};
    for (size_t i = 0; i < sizeof length / sizeof *length; i++) {
        char *back = NULL;
        assert_success(file_write_atomic(in_folder("text"), text, length[i]));
        assert_success(file_read_text(in_folder("text"), sizeof text, &back));
        assert_int_equal(strlen(back), length[i]);
        assert_memory_equal(back, text, length[i]);
        free(back);
    }
    assert_int_equal(count_entries(test_folder), 1); /* no temporary name is left */
}

/* What a killed process leaves goes away with the next write; what lives, or is another's, stays. */
static void test_leftovers(void **state) {
    (void)state;
    char *live = NULL, *dead = NULL;
    int pipes[2], code;
    assert_int_equal(pipe(pipes), 0);
    assert_success(file_temporary(in_folder("kept"), &live));
    pid_t pid = fork();
    if (pid == 0) { /* leaves a file, and its name */
        char *name = NULL;
        if (file_temporary(in_folder("kept"), &name)) _exit(1);
        ssize_t n = write(pipes[1], name, strlen(name) + 1);
        raise(SIGKILL);
        _exit(n < 0);
    }
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_true(WIFSIGNALED(code));
    dead = calloc(1, 4096);
    assert_non_null(dead);
    assert_true(read(pipes[0], dead, 4095) > 0);
    close(pipes[0]);
    close(pipes[1]);
    assert_int_equal(access(dead, F_OK), 0);
    assert_int_equal(access(live, F_OK), 0);
    assert_string_not_equal(dead, live);
    /* The same process on another host: its first digit differs. */
    char *other = strdup(dead), *digit = other + strlen(other) - 16;
    assert_non_null(other);
    *digit = *digit == '0' ? '1' : '0';
    FILE *file = fopen(other, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    assert_success(file_write_atomic(in_folder("another"), "1", 1));
    assert_int_equal(access(dead, F_OK), 0);
    assert_success(file_write_atomic(in_folder("kept"), "1", 1));
    assert_int_equal(access(dead, F_OK), -1);
    assert_int_equal(access(live, F_OK), 0);
    assert_int_equal(access(other, F_OK), 0);
    file_abandon(live);
    unlink(other);
    unlink(in_folder("kept"));
    unlink(in_folder("another"));
    free(live);
    free(dead);
    free(other);
}

static void test_read_errors(void **state) {
    (void)state;
    char *text = NULL;
    assert_error(file_read_text(in_folder("none"), 100, &text), STATUS_IO, "No such file");
    assert_error(file_read_text(test_folder, 100, &text), STATUS_IO, "directory");
    assert_success(file_write_atomic(in_folder("text"), "12345", 5));
    assert_error(file_read_text(in_folder("text"), 4, &text), STATUS_DATA, "longer than 4 bytes");
    assert_success(file_read_text(in_folder("text"), 5, &text));
    free(text);
    assert_success(file_write_atomic(in_folder("text"),
                                     "1\0"
                                     "3",
                                     3));
    assert_error(file_read_text(in_folder("text"), 100, &text), STATUS_DATA, "not a text file");
}

static void test_write_errors(void **state) {
    (void)state;
    assert_error(file_write_atomic(in_folder("none/file"), "x", 1), STATUS_IO, "none/file");
    assert_error(file_write_atomic(test_folder, "x", 1), STATUS_IO, "folder");
    assert_error(file_write_atomic("/dev/null", "x", 1), STATUS_IO, "device");
    assert_int_equal(count_entries(test_folder), 0);
}

static void test_full_disk_keeps_the_old_file(void **state) {
    (void)state;
    /* A limit on the size of files behaves as a full disk does: write fails half-way. */
    assert_success(file_write_atomic(in_folder("model"), "old", 3));
    char *big = calloc(1, 1 << 20);
    assert_non_null(big);
    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){4096, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    status error = file_write_atomic(in_folder("model"), big, 1 << 20);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    free(big);
    assert_error(error, STATUS_IO, "model");
    assert_int_equal(count_entries(test_folder), 1);
    char *text = NULL;
    assert_success(file_read_text(in_folder("model"), 100, &text));
    assert_string_equal(text, "old");
    free(text);
}

static void test_temporary(void **state) {
    (void)state;
    char *temporary = NULL;
    assert_success(file_temporary(in_folder("model.h5"), &temporary));
    assert_int_equal(access(temporary, F_OK), 0);
    struct stat info;
    assert_int_equal(stat(temporary, &info), 0);
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(info.st_mode & 0777, 0666 & ~mask);
    file_abandon(temporary);
    assert_int_not_equal(access(temporary, F_OK), 0);
    assert_error(file_commit(temporary, in_folder("model.h5")), STATUS_IO, "model.h5");
    free(temporary);
    assert_success(file_temporary(in_folder("model.h5"), &temporary));
    FILE *f = fopen(temporary, "w");
    assert_non_null(f);
    fputs("data", f);
    fclose(f);
    assert_success(file_commit(temporary, in_folder("model.h5")));
    assert_int_not_equal(access(temporary, F_OK), 0);
    free(temporary);
    char *text = NULL;
    assert_success(file_read_text(in_folder("model.h5"), 100, &text));
    assert_string_equal(text, "data");
    free(text);
    /* the longest name a file may have still gets a temporary name */
    char name[256];
    memset(name, 'n', 255);
    name[255] = 0;
    assert_success(file_write_atomic(in_folder(name), "x", 1));
}

static void test_folders(void **state) {
    (void)state;
    struct stat info;
    assert_success(file_make_folders(in_folder("a/b//c/")));
    assert_success(file_make_folders(in_folder("a/b/c")));
    assert_int_equal(stat(in_folder("a/b/c"), &info), 0);
    assert_true(S_ISDIR(info.st_mode));
    assert_success(file_write_atomic(in_folder("a/file"), "x", 1));
    assert_error(file_make_folders(in_folder("a/file")), STATUS_IO, "a/file");
    assert_error(file_make_folders(in_folder("a/file/b")), STATUS_IO, "a/file");
    assert_error(file_make_folders(""), STATUS_IO, "name");
}

static void test_digest(void **state) {
    (void)state;
    char *digest = NULL;
    /* FIPS 180-2, appendix B.1 and the empty message */
    assert_success(file_write_atomic(in_folder("abc"), "abc", 3));
    assert_success(file_digest(in_folder("abc"), &digest));
    assert_string_equal(digest, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    free(digest);
    assert_success(file_write_atomic(in_folder("abc"), "", 0));
    assert_success(file_digest(in_folder("abc"), &digest));
    assert_string_equal(digest, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    free(digest);
    /* FIPS 180-2, appendix B.3: a million times 'a', longer than one block read */
    char *million = malloc(1000000);
    assert_non_null(million);
    memset(million, 'a', 1000000);
    assert_success(file_write_atomic(in_folder("abc"), million, 1000000));
    free(million);
    assert_success(file_digest(in_folder("abc"), &digest));
    assert_string_equal(digest, "sha256:cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(digest);
    assert_error(file_digest(in_folder("none"), &digest), STATUS_IO, "none");
}

/* A folder's digest is that of its names and their digests, which sha256sum computes too. */
static void test_folder_digest(void **state) {
    (void)state;
    char *digest = NULL, expected[128] = "sha256:", command[1024];
    assert_success(file_make_folders(in_folder("f/sub")));
    assert_success(file_write_atomic(in_folder("f/b.bin"), "bytes", 5));
    assert_success(file_write_atomic(in_folder("f/a.json"), "{}", 2));
    assert_success(file_write_atomic(in_folder("f/sub/c"), "", 0));
    assert_success(file_write_atomic(in_folder("f/.hidden"), "x", 1));
    snprintf(
        command, sizeof command,
        "cd '%s/f' && h() { sha256sum | cut -c 1-64; } && sub=$(echo \"c sha256:$(h <sub/c)\" | h) && "
        "printf 'a.json sha256:%%s\\nb.bin sha256:%%s\\nsub sha256:%%s\\n' $(h <a.json) $(h <b.bin) $sub | h",
        test_folder);
    FILE *sum = popen(command, "r");
    assert_int_equal(fscanf(sum, "%64s", expected + strlen("sha256:")), 1);
    pclose(sum);
    assert_success(file_digest(in_folder("f"), &digest));
    assert_string_equal(digest, expected);
    free(digest);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_round_trip),
        IN_FOLDER(test_leftovers),
        IN_FOLDER(test_read_errors),
        IN_FOLDER(test_write_errors),
        IN_FOLDER(test_full_disk_keeps_the_old_file),
        IN_FOLDER(test_temporary),
        IN_FOLDER(test_folders),
        IN_FOLDER(test_digest),
        IN_FOLDER(test_folder_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
