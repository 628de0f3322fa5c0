#!/bin/sh
# Training throughput against PyTorch: the Fashion-MNIST source network, batch 128, the same machine in turn.
#   scripts/bench/training.sh [ROUNDS]        (3)
# First one process on two threads, then two ranks on one thread each against DistributedDataParallel over gloo.
# Prints each round's samples a second and the medians. Needs python3-torch (scripts/install_peers.sh).
set -eu
cd "$(dirname "$0")/../.."
. scripts/mpi_environment.sh
rounds="${1:-3}"
godwit="${GODWIT:-build/coordinator/godwit}"
python="${PYTHON:-/usr/bin/python3}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
steps=300

godwit_rate() { # ranks threads
    mpirun -n "$1" "$godwit" train configs/fashion_mnist_source.json --set threads="$2" --set training.epochs=1 \
        --set data.augment=given --set data.flip=false --set data.shift=0 --set training.average=0 \
        --set output="$work/model.h5" --set runs="$work/runs" 2>&1 |
        sed -n 's/^trained in .*(\([0-9]*\) samples.*/\1/p'
}
torch_rate() { # ranks threads
    if [ "$1" = 1 ]; then
        "$python" scripts/bench/torch_train.py "$2" "$steps"
    else
        port=$((20000 + $$ % 20000))
        "$python" scripts/bench/torch_train.py "$2" "$steps" 1 2 "$port" &
        "$python" scripts/bench/torch_train.py "$2" "$steps" 0 2 "$port"
        wait
    fi
}
median() { sort -n "$1" | sed -n "$(((rounds + 1) / 2))p"; }

echo "ranks,threads,round,godwit_samples_per_s,pytorch_samples_per_s"
for shape in "1 2" "2 1"; do
    set -- $shape
    : >"$work/ours" && : >"$work/theirs"
    for round in $(seq "$rounds"); do
        ours="$(godwit_rate "$1" "$2")"
        theirs="$(torch_rate "$1" "$2")"
        echo "$1,$2,$round,$ours,$theirs"
        echo "$ours" >>"$work/ours"
        echo "$theirs" >>"$work/theirs"
    done
    awk -v a="$(median "$work/ours")" -v b="$(median "$work/theirs")" -v r="$1" -v t="$2" \
        'BEGIN { printf "# %d x %d: godwit %.0f, PyTorch %.0f samples/s, ratio %.2f\n", r, t, a, b, a / b }'
done
