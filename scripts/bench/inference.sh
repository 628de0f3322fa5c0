#!/bin/sh
# Inference of the same models at the same shapes in Godwit, ONNX Runtime, PyTorch and TensorFlow.js, in one run, in
# turn: in each round each of them runs for half a second, after passes that do not count. Prints a table of the medians
# over the rounds of each round's median, and Godwit's time as a part of ONNX Runtime's, the median of the rounds'
# ratios. That all compute the same (to a thousandth of the largest output) is checked before.
#   scripts/bench/inference.sh [--rounds R] [--seconds S] [--threads 1,2] [--batches 1,64] [--csv FILE] [MODEL...]
# MODEL: fashion_source fashion_small fer2013_big_XCEPTION mobilenet_v2 esrgan_slim_x2, by default all; or a Keras file
# with the shape of its input, "model.h5:64x64x3". Without PyTorch (scripts/install_peers.sh torch) its column is empty.
set -eu
cd "$(dirname "$0")/../.."
. scripts/mpi_environment.sh
scripts/install_peers.sh >&2
cmake --build build --target godwit bench_infer_model bench_ort_infer >&2
exec "${PYTHON:-/usr/bin/python3}" scripts/bench/inference.py "$@"
