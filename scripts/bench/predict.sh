#!/bin/sh
# godwit predict over so many images of 28 x 28 bytes (Fashion-MNIST's test images again and again), with one thread
# a rank, on 1 and 2 ranks in turn: medians, as Markdown. The files are in a temporary folder, and removed.
#   scripts/bench/predict.sh [SAMPLES [ROUNDS [FORMAT...]]]
# RUN: a command before each run, e.g. one that waits until the machine is free.
set -eu
cd "$(dirname "$0")/../.."
. scripts/mpi_environment.sh
godwit="$(realpath "${GODWIT:-build/coordinator/godwit}")"
model="$(realpath "${MODEL:-configs/models/fashion_source.h5}")"
data="${DATA:-/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz}"
samples="${1:-1000000}"
rounds="${2:-3}"
[ $# -lt 2 ] || shift
[ $# -lt 1 ] || shift
formats="${*:-h5 csv jsonl}"
export OMP_NUM_THREADS=1
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

# An IDX file: its head, then the images.
byte() { printf '%b' "\\0$(printf '%o' "$1")"; }
{
    printf '\000\000\010\003'
    for shift in 24 16 8 0; do byte $(((samples >> shift) & 255)); done
    printf '\000\000\000\034\000\000\000\034'
    gzip -dc "$data" | tail -c +17 >"$work/once"
    rest=$((samples * 784))
    once=$(wc -c <"$work/once")
    while [ "$rest" -ge "$once" ]; do
        cat "$work/once"
        rest=$((rest - once))
    done
    head -c "$rest" "$work/once"
} >"$work/in.idx"

# Seconds, and the most memory of a rank in MiB.
run() { # ranks format
    ${RUN:-} mpirun -n "$1" sh -c 'exec /usr/bin/time -f "memory %M" "$0" "$@"' "$godwit" predict "$model" \
        --input "$work/in.idx" --output "$work/out.$2" --threads 1 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
    seconds="$(sed -n 's/.* were computed in \([0-9.]*\) s.*/\1/p' "$work/log")"
    memory="$(sed -n 's/^memory //p' "$work/log" | sort -n | tail -1)"
    echo "$seconds $((memory / 1024))"
}

for round in $(seq "$rounds"); do
    for format in $formats; do
        for ranks in 1 2; do run "$ranks" "$format" >>"$work/$format.$ranks"; done
    done
done

median() { sort -n "$1" | awk '{ s[NR] = $1; m[NR] = $2 } END { print s[int((NR + 1) / 2)], m[int((NR + 1) / 2)] }'; }
echo "$samples samples, medians of $rounds"
echo
echo "| output | ranks | seconds | samples/s | gain | MiB of a rank |"
echo "|---|---|---|---|---|---|"
for format in $formats; do
    one="$(median "$work/$format.1")"
    for ranks in 1 2; do
        median "$work/$format.$ranks" | awk -v f="$format" -v r="$ranks" -v n="$samples" -v one="${one% *}" \
            '{ printf "| %s | %d | %.2f | %.0f | %.2f | %d |\n", f, r, $1, n / $1, one / $1, $2 }'
    done
done
