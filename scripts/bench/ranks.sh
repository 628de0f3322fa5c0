#!/bin/sh
# The migrated and refitted weights on 1, 2, 3, 4 and 9 ranks (more than slices), and static against dynamic
# migration, compared with those of one rank, with one thread a rank. Needs python3-h5py and python3-numpy.
#   scripts/bench/ranks.sh
set -eu
cd "$(dirname "$0")/../.."
. scripts/mpi_environment.sh
godwit="${GODWIT:-build/coordinator/godwit}"
python="${PYTHON:-/usr/bin/python3}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

migrate() { # ranks mode refit_samples name
    mpirun --oversubscribe -n "$1" "$godwit" migrate configs/fashion_mnist.json --set training.epochs=0 --set threads=1 --set migration.mode="$2" \
        --set migration.chunk_mib=0.01 --set refit.samples="$3" --set refit.select=next_layer --set output="$work/$4.h5" \
        --set runs="$work/runs" --log-level error >/dev/null
}
echo "what,largest_relative_difference,bytes"
migrate 1 dynamic 4096 one
for ranks in 1 2 3 4 9; do
    migrate "$ranks" dynamic 4096 "n$ranks"
    echo "$ranks ranks against 1,$("$python" scripts/bench/compare_weights.py "$work/one.h5" "$work/n$ranks.h5" | tr ' ' ',')"
done
for ranks in 1 3; do
    migrate "$ranks" static 4096 "static$ranks"
    echo "static on $ranks ranks against dynamic,$("$python" scripts/bench/compare_weights.py "$work/n$ranks.h5" "$work/static$ranks.h5" | tr ' ' ',')"
done
migrate 1 static 0 plain
migrate 4 dynamic 0 plain4
echo "no refit: static on 1 against dynamic on 4,$("$python" scripts/bench/compare_weights.py "$work/plain.h5" "$work/plain4.h5" | tr ' ' ',')"
