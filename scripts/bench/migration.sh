#!/bin/sh
# The main job's figures: accuracy of source, refit and target, and the time of the whole job.
#   scripts/bench/migration.sh [ROUNDS] [WIDTH]       (3, 0.5)
# Runs on two ranks of one thread; the results do not depend on the round, only the times do.
set -eu
cd "$(dirname "$0")/../.."
. scripts/mpi_environment.sh
rounds="${1:-3}"
width="${2:-0.5}"
godwit="${GODWIT:-build/coordinator/godwit}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

echo "round,seconds,source_accuracy,refit_accuracy,target_accuracy"
for round in $(seq "$rounds"); do
    mpirun -n 2 "$godwit" migrate configs/fashion_mnist.json --set target.width="$width" --set models="$work/models" \
        --set runs="$work/runs" --log-level error >"$work/table"
    awk -v round="$round" '
        /^test accuracy, refit only/ { refit = $7 }
        /^test accuracy  /           { source = $3; target = $5 }
        /^total/                     { seconds = $2 }
        END { printf "%d,%s,%s,%s,%s\n", round, seconds, source, refit, target }' "$work/table" | tee -a "$work/rows"
done
cut -d, -f2 "$work/rows" | sort -n | awk '{ t[NR] = $1 } END { printf "# median %s s\n", t[int((NR + 1) / 2)] }'
