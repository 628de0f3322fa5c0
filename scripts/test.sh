#!/bin/sh
# Installs what is missing, builds with warnings as errors, and runs the tests; those of damaged and hostile files once
# more with the sanitizers.
#   scripts/test.sh [asan] [slow] [peer]
# asan: then builds with the sanitizers and runs the tests again; slow, peer: also the tests so labelled (minutes
# long; comparing with other programs).
set -eu
cd "$(dirname "$0")/.."

asan=no
excluded="slow peer"
for word in "$@"; do
    case "$word" in
    asan) asan=yes ;;
    slow) excluded="$(echo "$excluded" | sed "s/$word//")" ;;
    peer)
        excluded="$(echo "$excluded" | sed "s/$word//")"
        scripts/install_peers.sh
        ;;
    *)
        echo "test.sh: unknown argument \"$word\"; allowed: asan, slow, peer" >&2
        exit 2
        ;;
    esac
done
excluded="$(echo "$excluded" | xargs | tr " " "|")"

jobs="$(nproc)"
run_tests() { # folder
    if [ -n "$excluded" ]; then
        ctest --test-dir "$1" --output-on-failure -j "$jobs" -LE "$excluded"
    else
        ctest --test-dir "$1" --output-on-failure -j "$jobs"
    fi
}

scripts/install.sh
. scripts/mpi_environment.sh
cmake --preset dev
cmake --build --preset dev -j "$jobs"
run_tests build-dev

cmake --preset asan
if [ "$asan" = yes ]; then
    cmake --build --preset asan -j "$jobs"
    run_tests build-asan
else
    cmake --build --preset asan -j "$jobs" --target test_io_child test_io_keras_hostile test_io_keras_damaged
    ctest --test-dir build-asan --output-on-failure -j "$jobs" -L hostile -LE slow
fi
