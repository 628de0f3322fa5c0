#!/bin/sh
# How soon a target half as wide reaches the accuracy that 6 epochs of distillation from random weights reach: migrated and
# refitted by Godwit, against these 6 epochs in Godwit and in PyTorch, on the same two cores in turn (Fashion-MNIST).
#   scripts/bench/fine_tuning.sh
# Prints what was run, seconds from start to published model (PyTorch: from the data read to the last step), test accuracy.
# Needs python3-torch and python3-h5py (scripts/install_peers.sh).
set -eu
cd "$(dirname "$0")/../.."
. scripts/mpi_environment.sh
godwit="${GODWIT:-build/coordinator/godwit}"
python="${PYTHON:-/usr/bin/python3}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1
fixed="--set training.batch=128 --set training.schedule.rate=0.005 --set training.loss.distillation=0.9 --set training.loss.temperature=2 --set training.average=0 --set data.holdout=0"

# name arguments... -> "seconds accuracy"
migrate() {
    rm -rf "$work/runs"
    mpirun -n 2 "$godwit" migrate configs/fashion_mnist.json --set output="$work/model.h5" --set runs="$work/runs" $fixed "$@" \
        >"$work/out" 2>"$work/err"
    sed -n 's/^total  *\([0-9.]*\)/\1/p' "$work/out" | tr '\n' ' '
    sed -n 's/^test accuracy  .* \([0-9.]*\) %  .*%$/\1/p' "$work/out" | tail -1
}

# The same program with every tensor begun anew.
"$godwit" plan configs/fashion_mnist.json -o "$work/plan.txt" 2>"$work/err"
sed -E 's/^(  "[^"]*kernel" )(\([^)]*\)) = .*/\1\2 = init(he_normal, \2)/; s/^(  "[^"]*bias" )(\([^)]*\)) = .*/\1\2 = init(zeros, \2)/; s/^ *keep .*//' \
    "$work/plan.txt" >"$work/scratch.txt"

echo "what,seconds,accuracy_percent"
set -- $(migrate --plan "$work/scratch.txt" --set refit.samples=0 --set training.epochs=6)
scratch_s="$1" wanted="$2"
echo "godwit from random weights, 6 epochs of distillation,$scratch_s,$wanted"
for how in "256 0 0" "512 0 0" "512 1 0" "1024 1 0" "2048 1 0" "4096 1 0" "4096 1 1" "4096 1 2"; do
    set -- $how
    samples="$1" sweeps="$2" epochs="$3"
    set -- $(migrate --set refit.samples="$samples" --set refit.sweeps="$sweeps" --set training.epochs="$epochs")
    echo "godwit refitted on $samples samples, $sweeps sweeps, then $epochs epochs,$1,$2"
    if awk -v a="$2" -v b="$wanted" 'BEGIN { exit !(a >= b) }'; then break; fi
done
ours_s="$1"
"$python" scripts/bench/torch_distil.py configs/models/fashion_source.h5 2 6 >"$work/torch"
torch_s="$(awk 'END { print $2 }' "$work/torch")"
echo "PyTorch from random weights, 6 epochs of distillation,$torch_s,$(awk 'END { print $3 }' "$work/torch")"
awk -v o="$ours_s" -v g="$scratch_s" -v t="$torch_s" 'BEGIN { printf "# sooner than Godwit from random weights: %.1f times; than PyTorch: %.1f times\n", g / o, t / o }'
