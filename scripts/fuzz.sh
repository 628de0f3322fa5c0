#!/bin/sh
# Builds the fuzz targets (tests/fuzz/, clang's libFuzzer) and runs them at low priority.
#   scripts/fuzz.sh MINUTES [TARGET...]     all targets by default; each runs for its share of MINUTES on one core
# JOBS=N: how many run at once, by default one a core. What is found is kept in build-fuzz/found/: crash-*, oom-*
# and timeout-* are faults of this program; slow/* made HDF5 use up the time a child has, which is no fault. To
# look at one: build-fuzz/tests/fuzz/fuzz_TARGET FILE. The corpora grow in build-fuzz/corpus/.
set -eu
cd "$(dirname "$0")/.."

if [ $# -lt 1 ] || ! [ "$1" -gt 0 ] 2>/dev/null; then
    echo "usage: scripts/fuzz.sh MINUTES [TARGET...]" >&2
    exit 2
fi
minutes="$1"
shift
targets="${*:-topology config aliases program h5 keras tfjs image}"
jobs="${JOBS:-$(nproc)}"

scripts/install.sh fuzz
cmake --preset fuzz >/dev/null
cmake --build --preset fuzz -j "$jobs"

# Crashes in the child are told by the target itself (tests/fuzz/fuzz_model.c); symbols only slow it down.
# The largest allocation stands for the limit on a child's memory, which sanitizers cannot have.
export ASAN_OPTIONS="symbolize=0:allocator_may_return_null=1:max_allocation_size_mb=1280:handle_abort=1:detect_leaks=1"
export UBSAN_OPTIONS="symbolize=0:print_stacktrace=1"
export OMP_NUM_THREADS=1

build="$PWD/build-fuzz"
seeds="$build/seeds"
rm -rf "$seeds"
mkdir -p "$seeds"
ASAN_OPTIONS="$ASAN_OPTIONS:detect_leaks=0" "$build/tests/fuzz/fuzz_seeds" "$seeds" ../shared/models configs

count="$(echo "$targets" | wc -w)"
seconds=$((minutes * 60 * jobs / count))
[ "$jobs" -lt "$count" ] || seconds=$((minutes * 60))

# One target; its last lines are in build-fuzz/log/TARGET.
run() {
    target="$1"
    mkdir -p "$build/corpus/$target" "$build/found/$target" "$build/log"
    cd "$build/found/$target"
    nice -n 19 "$build/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=60 -rss_limit_mb=2560 \
        -malloc_limit_mb=1000000 -max_len=131072 -dict="$seeds/keys.dict" -print_final_stats=1 \
        "$build/corpus/$target" "$seeds/$target" >"$build/log/$target" 2>&1 || true
}

started=0
for target in $targets; do
    run "$target" &
    started=$((started + 1))
    [ $((started % jobs)) -ne 0 ] || wait
done
wait

failed=0
for target in $targets; do
    log="$build/log/$target"
    executions="$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
    faults="$(find "$build/found/$target" -maxdepth 1 -type f \( -name 'crash-*' -o -name 'oom-*' -o -name 'timeout-*' \
        -o -name 'leak-*' \) | wc -l)"
    echo "$target: ${executions:-?} executions in $seconds s, $faults faults"
    sed -n 's/^fuzz: \([0-9]* files.*\)/  \1/p' "$log" | tail -1
    [ "$faults" = 0 ] || { failed=1; find "$build/found/$target" -maxdepth 1 -type f | sed 's/^/  /'; }
done
exit $failed
