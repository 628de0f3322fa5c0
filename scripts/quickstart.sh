#!/bin/sh
# From nothing to a migrated model in use: installs what is missing, builds, migrates the trained Fashion-MNIST
# model into one of half its width on two ranks, and classifies an image with it.
set -eu
cd "$(dirname "$0")/.."

scripts/install.sh
. scripts/mpi_environment.sh
cmake --preset release
cmake --build --preset release -j "$(nproc)"

mpirun -n 2 build/coordinator/godwit migrate configs/fashion_mnist.json

# The first image of the test set, taken from its file (16 bytes of header, then 28 x 28 bytes each).
images=/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz
{
    printf 'P5 28 28 255\n'
    zcat "$images" | tail -c +17 | head -c 784
} | pnmtopng >build/sample.png
build/coordinator/run_inference --inference-engine=CPU --model-name=fashion_small --model-version=1 \
    --input=build/sample.png --output=build/sample_labelled.png
echo "The image with its labels: build/sample_labelled.png"
