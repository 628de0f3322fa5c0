#!/bin/sh
# The time of loading a 100 MB model against that of reading the bytes of its file, and the memory it takes. At most
# 1.5 times and parameters + 64 MiB are wanted. Needs cmake --build build --target bench_load_model.
#   scripts/bench/loading.sh [MEGABYTES]
set -eu
cd "$(dirname "$0")/../.."
megabytes="${1:-100}"
program="${BENCH_LOAD_MODEL:-build/scripts/bench/bench_load_model}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
for extension in h5 keras; do
    "$program" make "$work/model.$extension" "$megabytes"
    "$program" read "$work/model.$extension" | tee "$work/read"
    "$program" load "$work/model.$extension" | tee "$work/load"
    awk -v extension="$extension" 'NR == FNR { read = $2; cpu = $5; next } {
        printf ".%s: %.2f times reading, %.2f by processor time; peak %+.1f MiB beyond the parameters\n", extension,
            $2 / read, $5 / cpu, $11 - $8 }' "$work/read" "$work/load"
    rm "$work/model.$extension"
done
