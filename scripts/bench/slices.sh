#!/bin/sh
# Training in slices on 1, 2 and 4 ranks of one thread, the same work each, in turn on the same machine:
# Fashion-MNIST, half width, one epoch after another, medians over the rounds.
#   scripts/bench/slices.sh [ROUNDS]        (3)
# way,stages: how (slices:ranks of each stage, or how many stages, empty: any); samples_per_s of all ranks; ratio to one rank; busy: share of the time that
# ranks compute in; balance: mean over longest of the core seconds that ranks compute in, which is what so many free cores would
# reach; MiB: most that a rank holds of its slices.
set -eu
cd "$(dirname "$0")/../.."
. scripts/mpi_environment.sh
rounds="${1:-3}"
godwit="${GODWIT:-build/coordinator/godwit}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=1

median() { sort -n "$1" | sed -n "$(((rounds + 1) / 2))p"; }

# ranks way stages micro_batches batch more... -> "samples_per_s busy balance MiB"
run() {
    ranks="$1" way="$2" stages="$3" parts="$4" batch="$5"
    shift 5
    rm -rf "$work/runs"
    mpirun --oversubscribe -n "$ranks" "$godwit" migrate configs/fashion_mnist.json --set threads=1 --set refit.samples=0 \
        --set training.way="$way" --set training.epochs=2 --set training.slices.stages="$stages" \
        --set training.slices.micro_batches="$parts" --set training.batch="$batch" --set training.slices.cache=off \
        --set output="$work/model.h5" --set runs="$work/runs" "$@" >"$work/out" 2>"$work/err"
    sed -n "s/^$way epoch 2: .* \([0-9]*\) samples\/s, ranks busy \([0-9]*\) %, balance \([0-9]*\) %.*/\1 \2 \3/p" "$work/err" |
        tr '\n' ' '
    sed -n 's/.*at most \([0-9.]*\) MiB of a rank.*/\1/p' "$work/err" | tail -1
}

echo "way,ranks,stages,round,samples_per_s,busy_percent,balance_percent,MiB"
measure() { # ranks way stages micro_batches batch file
    run "$1" "$2" "$3" "$4" "$5" >"$work/line"
    read -r rate busy balance mib <"$work/line"
    echo "$2,$1,$3,$round,$rate,$busy,$balance,$mib"
    echo "$rate" >>"$work/$6"
}
for way in blockwise joint; do
    for f in one two pipe; do : >"$work/$f"; done
    parts=4 batch=128
    [ "$way" = joint ] && parts=16 && batch=512
    for round in $(seq "$rounds"); do
        measure 1 "$way" "8:1" "$parts" "$batch" one
        measure 2 "$way" "" "$parts" "$batch" two
        measure 2 "$way" "2" "$parts" "$batch" pipe
    done
    round=1
    measure 4 "$way" "" "$parts" "$batch" four
    measure 4 "$way" "4" "$parts" "$batch" four
    awk -v w="$way" -v a="$(median "$work/one")" -v b="$(median "$work/two")" -v c="$(median "$work/pipe")" \
        'BEGIN { printf "# %s: 2 ranks over 1: %.2f as shared out, %.2f as two stages\n", w, b / a, c / a }'
done
