#!/bin/sh
# Installs what the tests labelled "peer" and scripts/bench/inference.sh compare with, into FOLDER (build/peers by
# default): TensorFlow.js, h5wasm, ONNX Runtime and a trained model from npm.
# With "torch" also PyTorch for Debian's python3, by apt.
#   scripts/install_peers.sh [FOLDER] [torch]
set -eu
cd "$(dirname "$0")/.."
folder=build/peers torch=
for argument in "$@"; do
    case "$argument" in
    torch) torch=yes ;;
    *) folder="$argument" ;;
    esac
done

if [ "$torch" ] && ! /usr/bin/python3 -c 'import torch, h5py' 2>/dev/null; then
    apt-get install -y --no-install-recommends python3-torch python3-h5py
fi
if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
    echo "install_peers.sh: node and npm are missing; on Debian: apt-get install nodejs npm" >&2
    exit 1
fi
missing=
for package in @tensorflow/tfjs @tensorflow/tfjs-backend-wasm h5wasm @upscalerjs/esrgan-slim onnxruntime-node; do
    [ -d "$folder/node_modules/$package" ] || missing="$missing $package"
done
[ "$missing" ] || exit 0
mkdir -p "$folder"
# All at once: npm removes what it is not told of. Without scripts: that of ONNX Runtime would fetch what graphics cards
# need.
npm install --prefix "$folder" --no-audit --no-fund --no-save --legacy-peer-deps --ignore-scripts \
    @tensorflow/tfjs@4.22.0 @tensorflow/tfjs-backend-wasm@4.22.0 h5wasm@0.10.3 @upscalerjs/esrgan-slim@1.0.0 \
    onnxruntime-node@1.30.0
