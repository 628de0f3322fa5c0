#!/bin/sh
# Inference in float32, bfloat16 and int8, in turn: ms of a pass, medians over the rounds, and how many times faster than
# float32, the median of the rounds' ratios. int8 needs to know what values lie between: that is measured on Fashion-MNIST
# or on the model's reference inputs
# (Python with h5py takes them out of their file).
#   scripts/bench/precision.sh [ROUNDS [SECONDS]]     (5 rounds of 0.3 s each)
set -eu
cd "$(dirname "$0")/../.."
. scripts/mpi_environment.sh
rounds="${1:-5}" seconds="${2:-0.3}"
cmake --build build --target godwit bench_infer_model >&2
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
models=../shared/models

calibrate() { # name, model, data
    if [ -e "$2" ]; then build/coordinator/godwit calibrate "$2" "$work/$1.h5" --data "$3" --log-level error >&2; fi
}
reference() { # golden file: a data set of its inputs
    if [ -e "$1" ]; then
        "${PYTHON:-/usr/bin/python3}" -c "import h5py, sys
with h5py.File(sys.argv[1]) as g, h5py.File(sys.argv[2], 'w') as d: d['x_train'] = g['x'][:]" "$1" "$work/x.h5"
    fi
    echo "$work/x.h5"
}
calibrate fashion_source configs/models/fashion_source.h5 configs/fashion_mnist.json
calibrate fer2013_big_XCEPTION "$models/fer2013_big_XCEPTION.hdf5" "$(reference "$models/fer2013_big_XCEPTION.golden.h5")"
calibrate mobilenet_v2 "$models/keras3/mobilenet_v2.h5" "$(reference "$models/keras3/mobilenet_v2.golden.h5")"

pass() { # name batch threads precision
    OMP_NUM_THREADS="$3" build/scripts/bench/bench_infer_model -b "$2" -t "$3" -d "$seconds" -q "$4" "$work/$1.h5"
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

echo "| model | batch | threads | float32 ms | bfloat16 ms | int8 ms | bfloat16, times | int8, times |"
echo "|---|--:|--:|--:|--:|--:|--:|--:|"
for model in fashion_source fer2013_big_XCEPTION mobilenet_v2; do
    [ -e "$work/$model.h5" ] || continue
    for batch in 1 64; do
        for threads in 1 2; do
            : >"$work/times"
            for round in $(seq "$rounds"); do
                float32="$(pass $model $batch $threads float32)"
                bfloat16="$(pass $model $batch $threads bfloat16)"
                int8="$(pass $model $batch $threads int8)"
                echo "$float32 $bfloat16 $int8" >>"$work/times"
            done
            column() { awk "{ print $1 }" "$work/times" | median; }
            printf '| %s | %d | %d | %.3g | %.3g | %.3g | %.2f | %.2f |\n' $model $batch $threads "$(column '$1')" \
                "$(column '$2')" "$(column '$3')" "$(column '$1 / $2')" "$(column '$1 / $3')"
        done
    done
done
