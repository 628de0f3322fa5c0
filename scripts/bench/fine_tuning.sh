#!/bin/sh
# How soon a target half as wide reaches the accuracy that 6 epochs of distillation from random weights reach: migrated and
# refitted by Godwit, against these 6 epochs in Godwit and in PyTorch, on the same two cores in turn (Fashion-MNIST).
#   scripts/bench/fine_tuning.sh
# Then how soon it reaches what PyTorch reached in them. Prints what was run, seconds without those of testing and writing
# (PyTorch's without those of reading the data either), and test accuracy.
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
    awk '/^phase/ { on = 1; next } on && NF >= 2 && $0 !~ /^(evaluate|final evaluation|publish|total|target)/ { s += $NF } END { printf "%.2f ", s }' "$work/out"
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
# The first of ever longer ways that reaches an accuracy; sets ours_s.
reach() {
    for how in "256 0 0" "512 0 0" "512 1 0" "768 1 0" "1024 1 0" "2048 1 0" "4096 1 0" "4096 1 1" "4096 1 2" "4096 1 3" "4096 1 6"; do
        set -- "$1" $how
        samples="$2" sweeps="$3" epochs="$4" goal="$1"
        set -- $(migrate --set refit.samples="$samples" --set refit.sweeps="$sweeps" --set training.epochs="$epochs")
        ours_s="$1" ours="$2"
        echo "godwit refitted on $samples samples, $sweeps sweeps, then $epochs epochs,$ours_s,$ours"
        if awk -v a="$ours" -v b="$goal" 'BEGIN { exit !(a >= b) }'; then break; fi
        set -- "$goal"
    done
}
reach "$wanted"
first_s="$ours_s"
"$python" scripts/bench/torch_distil.py configs/models/fashion_source.h5 2 6 >"$work/torch"
torch_s="$(awk 'END { print $2 }' "$work/torch")" torch="$(awk 'END { print $3 }' "$work/torch")"
echo "PyTorch from random weights, 6 epochs of distillation,$torch_s,$torch"
reach "$torch"
awk -v o="$first_s" -v g="$scratch_s" -v t="$torch_s" -v w="$wanted" -v l="$ours_s" -v p="$torch" 'BEGIN {
    printf "# %s %%: %.1f times sooner than Godwit from random weights, %.1f times than PyTorch'"'"'s 6 epochs\n", w, g / o, t / o
    printf "# %s %%: %.1f times sooner than PyTorch\n", p, t / l }'
